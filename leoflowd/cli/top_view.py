"""What `leoflow top` shows: one look at a server as plain facts, and those as tables. No Textual here.

"Late" is how long after their `run_after` scheduled runs began; "launch" is from queued to started, which is what
scheduler and executor need. Both are of what began in the last hour, and of the newest only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.output import seconds

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

ROWS = 50
"""Of each table."""
SAMPLE = 100
RECENT = timedelta(hours=1)

RUN_HEADERS = ("dag_id", "run_id", "state", "type", "for")
WAIT_HEADERS = ("dag_id", "task_id", "waits for", "for", "next probe", "blocked by")
POOL_HEADERS = ("pool", "slots", "running", "queued", "scheduled", "deferred", "open")


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds; None where nothing began."""

    count: int
    median_s: float | None
    max_s: float | None


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look; rows are those of the API."""

    at: datetime
    server: str
    health: dict[str, str]
    """Airflow's four components -> status."""
    faults: tuple[str, ...]
    heartbeat_age_s: float | None
    runs_count: int
    runs: tuple[dict[str, Any], ...]
    """Queued and running, the newest first."""
    waits_count: int
    waits: tuple[dict[str, Any], ...]
    pools: tuple[dict[str, Any], ...]
    late: Delays
    launch: Delays
    probes: dict[str, Any] | None
    """The numbers of the cheap-task pool; None: the server that answered has no share of it."""


def look(client: Client, now: datetime) -> Look:
    """Raises `CommandFailed`."""
    everything = "/api/v2/dags/~/dagRuns"
    since = (now - RECENT).isoformat()
    health = client.get("/api/v2/monitor/health")
    runs = client.get(everything, state=["queued", "running"], order_by="-run_after", limit=ROWS)
    begun = client.get(everything, start_date_gte=since, order_by="-start_date", run_type="scheduled", limit=SAMPLE)
    tries = client.get(f"{everything}/~/taskInstances", start_date_gte=since, order_by="-start_date", limit=SAMPLE)
    waits = client.get("/leoflow/api/waits", limit=ROWS)
    beat = health["scheduler"]["latest_scheduler_heartbeat"]
    return Look(
        at=now,
        server=client.login.server,
        health={name: part["status"] for name, part in health.items() if name != "faults" and part["status"]},
        faults=tuple(f"{fault['component']}: {fault['because']}" for fault in health["faults"]),
        heartbeat_age_s=None if beat is None else max(0.0, (now - _moment(beat)).total_seconds()),
        runs_count=runs["total_entries"],
        runs=tuple(runs["dag_runs"]),
        waits_count=waits["total_entries"],
        waits=tuple(waits["waits"]),
        pools=tuple(client.pages("/api/v2/pools", "pools", order_by="name")),
        late=_delays(begun["dag_runs"], "run_after"),
        launch=_delays(tries["task_instances"], "queued_when"),
        probes=_probes(client),
    )


def _probes(client: Client) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.get("/leoflow/api/pool")
    except CommandFailed as failure:
        if failure.code is not ExitCode.CONFLICT:
            raise
        return None
    return found


def _delays(rows: Iterable[dict[str, Any]], since: str) -> Delays:
    found = [
        max(0.0, (_moment(row["start_date"]) - _moment(row[since])).total_seconds())
        for row in rows
        if row["start_date"] and row[since]
    ]
    return Delays(count=len(found), median_s=median(found) if found else None, max_s=max(found, default=None))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- tables ------------------------------------------------------------------------------------------------------


def facts(seen: Look) -> list[tuple[str, str]]:
    """(what, how it is) for the head of the screen."""
    rows = [
        ("server", f"{seen.server}, {seen.at.astimezone(UTC):%H:%M:%S} UTC"),
        ("health", ", ".join(f"{name} {status}" for name, status in seen.health.items())),
        ("heartbeat", "none" if seen.heartbeat_age_s is None else f"{seconds(seen.heartbeat_age_s)} ago"),
        ("runs late", _told(seen.late, "scheduled runs")),
        ("queued to started", _told(seen.launch, "task instances")),
    ]
    if seen.probes is not None:
        p99 = seen.probes["lateness_p99_s"]
        late = "" if p99 is None else f", p99 {p99:.3f} s late"
        failed, in_flight = seen.probes["probes_failed"], seen.probes["probes_in_flight"]
        rows.append(("probes", f"{seen.probes['probes_made']}, {failed} failed, {in_flight} in flight{late}"))
    return [*rows, *(("fault", fault) for fault in seen.faults)]


def _told(delays: Delays, of_what: str) -> str:
    if delays.median_s is None or delays.max_s is None:
        return "nothing began in the last hour"
    return f"median {delays.median_s:.2f} s, at most {delays.max_s:.2f} s, of the last {delays.count} {of_what}"


def run_rows(seen: Look) -> list[tuple[str, ...]]:
    return [
        (
            run["dag_id"],
            run["dag_run_id"],
            run["state"],
            run["run_type"],
            _since(run["start_date"] or run["queued_at"], seen.at),
        )
        for run in seen.runs
    ]


def wait_rows(seen: Look) -> list[tuple[str, ...]]:
    return [
        (
            wait["dag_id"],
            wait["task_id"] if wait["map_index"] < 0 else f"{wait['task_id']}[{wait['map_index']}]",
            wait["waits_for"],
            _since(wait["registered_at"], seen.at),
            _until(wait["next_probe_at"] or wait["due_at"], seen.at),
            wait["blocked_by"] or "",
        )
        for wait in seen.waits
    ]


def pool_rows(seen: Look) -> list[tuple[str, ...]]:
    return [
        (
            pool["name"],
            "any" if pool["slots"] < 0 else str(pool["slots"]),
            *(str(pool[f"{name}_slots"]) for name in ("running", "queued", "scheduled", "deferred")),
            "any" if pool["open_slots"] < 0 and pool["slots"] < 0 else str(pool["open_slots"]),
        )
        for pool in seen.pools
    ]


def title(name: str, count: int, rows: Sequence[Any]) -> str:
    return f"{name}: {count}" if count == len(rows) else f"{name}: {count}, {len(rows)} shown"


def _since(text: str | None, now: datetime) -> str:
    return "" if text is None else seconds(max(0.0, (now - _moment(text)).total_seconds()))


def _until(text: str | None, now: datetime) -> str:
    if text is None:
        return ""
    left = (_moment(text) - now).total_seconds()
    return "now" if left < 1 else f"in {seconds(left)}"
