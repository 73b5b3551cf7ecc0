"""The pure core: facts in, decisions out.

Imported by the shells (scheduler, agents, api, store) and by tests. It never waits, reads no clock, no randomness and
no SQL, and writes no log: `now` and every identifier made by chance arrive as arguments.
"""
