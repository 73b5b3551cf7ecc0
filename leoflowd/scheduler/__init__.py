"""What runs while this process leads: the loop, an outbox for each executor, the timetable clock and the sweeps.

A step of `loop` in its own words: `reading` -> `deciding` (into a `draft`) -> `committing` -> `effects` -> `outbox`.
`leadership` holds the lock and the scope of all of them.
"""
