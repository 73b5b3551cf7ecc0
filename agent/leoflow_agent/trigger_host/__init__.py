"""The trigger host: one asyncio process that runs the waiting triggers of one environment (ADR 16).

It lives in the author's interpreter, beside the author's packages: standard library only. `leoflowd.cheap_tasks.
trigger_hosts` starts it, and nobody else talks to it.
"""
