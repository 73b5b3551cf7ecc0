"""Why a watcher of an asset watches, or does not: a sentence for people. Pure; `api.own.watchers` asks."""

from __future__ import annotations

from datetime import datetime

import msgspec


class WatcherFacts(msgspec.Struct, frozen=True, kw_only=True):
    dag_id: str
    asset_name: str
    name: str
    """Of the watcher."""
    is_active: bool
    is_awaited: bool
    """A DAG that is not paused is scheduled on the asset."""
    created_at: datetime
    events: int
    fired_at: datetime | None
    failures: int
    error: str | None
    retry_at: datetime | None


def explain_watcher(facts: WatcherFacts, now: datetime) -> str:
    if not facts.is_active:
        return (
            f"asset '{facts.asset_name}' is not active, because another active one has its name or its uri: "
            "events of it would start nothing"
        )
    if not facts.is_awaited:
        return f"nothing is watched: no DAG that is not paused is scheduled on asset '{facts.asset_name}'"
    if facts.error is not None:
        assert facts.retry_at is not None
        wait_s = (facts.retry_at - now).total_seconds()
        again = f"is started again in {wait_s:.0f} s" if wait_s > 0 else "was started again"
        times = "time" if facts.failures == 1 else "times"
        return f"its trigger failed {facts.failures} {times} in a row and {again}; last: {facts.error}"
    if facts.fired_at is None:
        return f"its trigger watches since {facts.created_at:%Y-%m-%d %H:%M:%S} UTC; no event has come"
    many = "event" if facts.events == 1 else "events"
    return f"its trigger watches; {facts.events} {many}, the last at {facts.fired_at:%Y-%m-%d %H:%M:%S} UTC"
