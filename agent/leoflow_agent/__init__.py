"""The agent: starts tries, keeps their logs and outcomes on disk, and reports them to the daemon (DESIGN §6).

Runs in an interpreter of its own, beside the daemon (Lite) or as PID 1 of a task pod. Only `runner/` enters the
author's interpreter, and it uses nothing but the standard library.
"""
