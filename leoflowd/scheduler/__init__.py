"""What runs while this process leads: the loop (facts -> core -> compare-and-set -> effects), the timetable clock, the
dispatcher and the sweeps. `leadership` holds the lock and the scope of all of them.
"""
