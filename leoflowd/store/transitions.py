"""What moves task instances and dag runs: one batch, one transaction, every row by compare-and-set.

The scheduler's batches go through `write_batch`, what people clear and mark through `write_held` (ADR 30); both write
by the same statements. Locks in the order of ADR 22: the leadership row (shared), DAGs that may be paused, dag runs by
id, task instances. Raises `LeadershipLost` when another leader's term is in force, and `StaleViews` when any row is no
longer what the plan assumed; nothing is written then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncCursor

from leoflowd.contract.callback_spec import NewCallback
from leoflowd.contract.errors import LeadershipLost, LeoflowError
from leoflowd.contract.states import FINISHED, DagRunState, TaskInstanceState
from leoflowd.contract.values import shown_json
from leoflowd.contract.xcoms import XCom
from leoflowd.core.run_view import InstanceFacts
from leoflowd.store import callbacks, deadlines, hitl_details
from leoflowd.store.asset_events import AssetEventWrite, insert_events
from leoflowd.store.database import Connection, statements
from leoflowd.store.hints import send_hint
from leoflowd.store.waits import FiredWait, InstanceKey, WaitWrite, delete_waits, fire_waits, upsert_waits
from leoflowd.store.xcoms import xcoms_of

_SQL = statements("transitions")

Cursor = AsyncCursor[Any]


class StaleViews(LeoflowError):
    """These runs were changed by someone else since they were read: drop their views, read again, plan again."""

    def __init__(self, dag_run_ids: frozenset[int]) -> None:
        super().__init__(f"dag runs changed meanwhile: {sorted(dag_run_ids)}")
        self.dag_run_ids = dag_run_ids


class InstanceWrite(msgspec.Struct, frozen=True, kw_only=True):
    """One task instance from `before` to `after`, whatever moves lie between."""

    dag_run_id: int
    task_id: str
    before: InstanceFacts
    after: InstanceFacts
    hostname: str | None = None
    pid: int | None = None
    executor: str | None = None
    rendered_fields: dict[str, object] | None = None


class EndedTry(msgspec.Struct, frozen=True, kw_only=True):
    """A try that another one follows: how it ended. `facts.id` names its row."""

    facts: InstanceFacts


class Expansion(msgspec.Struct, frozen=True, kw_only=True):
    """A mapped task of a run gets its instances: what was unexpanded is map index 0 from now on.

    `added` are new rows as they begin; what else they hold they have from the first row of their task. All of the
    task's instances are among `Batch.instances` too, by the map indexes that they have then.
    """

    dag_run_id: int
    task_id: str
    added: tuple[InstanceFacts, ...]


class RunWrite(msgspec.Struct, frozen=True, kw_only=True):
    """One dag run: its revision as planned on, and its new state if it moves."""

    dag_run_id: int
    revision: int
    state: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    because: str | None = None
    has_deadlines: bool = False
    """Its DAG gives runs deadlines: they are met with its success, and may move when it is queued again."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    runs: tuple[RunWrite, ...] = ()
    instances: tuple[InstanceWrite, ...] = ()
    expansions: tuple[Expansion, ...] = ()
    ended_tries: tuple[EndedTry, ...] = ()
    emptied: tuple[str, ...] = ()
    """Ids of instances that no ended try left, and whose XComs go all the same."""
    xcoms: tuple[XCom, ...] = ()
    waits: tuple[WaitWrite, ...] = ()
    fired: tuple[FiredWait, ...] = ()
    ended_waits: tuple[InstanceKey, ...] = ()
    asset_events: tuple[AssetEventWrite, ...] = ()
    """Of tasks that succeeded."""
    callbacks: tuple[NewCallback, ...] = ()
    stop_tries_of: tuple[int, ...] = ()
    """Dag runs whose live tries were decided away (timeout, fail_fast): their agents are told by a hint."""


async def write_batch(conn: Connection, batch: Batch, *, term: int, now: datetime) -> frozenset[str]:
    """Write all or nothing; the DAGs for which events of assets have come with it.

    `conn` is inside a pipelined transaction of the scheduler lane.
    """
    leading = await conn.execute(_SQL.share_leadership, {"term": term})
    failed = [run.dag_run_id for run in batch.runs if run.state == DagRunState.FAILED]
    if failed:
        await conn.execute(_SQL.lock_failing_dags, {"ids": failed})
    locked = await conn.execute(_SQL.lock_runs, {"ids": [r.dag_run_id for r in batch.runs]})
    moved = await _write_changes(conn, batch, now)
    waiting = await insert_events(conn, batch.asset_events, now) if batch.asset_events else None
    if failed:
        await conn.execute(_SQL.pause_failing_dags, {"ids": failed})
    for dag_run_id in batch.stop_tries_of:
        await send_hint(conn, "run", dag_run_id)
    if not await leading.fetchone():
        raise LeadershipLost(f"term {term} is over; another replica leads")
    revisions = dict(await locked.fetchall())
    stale = {run.dag_run_id for run in batch.runs if revisions.get(run.dag_run_id) != run.revision}
    stale |= await _not_moved(moved, batch)
    if stale:
        raise StaleViews(frozenset(stale))
    return frozenset() if waiting is None else frozenset(row[0] for row in await waiting.fetchall())


async def write_held(conn: Connection, batch: Batch, *, now: datetime) -> None:
    """Write what was decided about rows that the caller has locked (their runs) since it read them."""
    moved = await _write_changes(conn, batch, now)
    stale = await _not_moved(moved, batch)
    if stale:
        raise StaleViews(frozenset(stale))


async def _write_changes(conn: Connection, batch: Batch, now: datetime) -> Cursor | None:
    """Send everything; what comes back, of a pipeline at its end, tells which instances were moved."""
    if batch.expansions:
        await _expand(conn, batch.expansions, now)
    if batch.ended_tries:
        await conn.execute(_SQL.archive_tries, _archive_parameters(batch.ended_tries, now))
    emptied = [*(ended.facts.id for ended in batch.ended_tries), *batch.emptied]
    if emptied:
        await xcoms_of(conn).delete_of_tries(emptied)
    moved = None
    if batch.instances:
        moved = await conn.execute(_SQL.move_instances, _instance_parameters(batch.instances, now))
    if batch.ended_waits:
        await delete_waits(conn, batch.ended_waits)
    if batch.waits:
        await upsert_waits(conn, batch.waits)
        await hitl_details.ask(conn, [write.wait for write in batch.waits])
    if batch.fired:
        await fire_waits(conn, batch.fired, now)
    if batch.xcoms:
        await xcoms_of(conn).put_all(batch.xcoms, now)
    if batch.callbacks:
        await callbacks.insert_callbacks(conn, batch.callbacks, now)
    changed = [run for run in batch.runs if run.state is not None]
    if changed:
        await conn.execute(_SQL.move_runs, _run_parameters(changed, now))
        await _move_deadlines(conn, changed, now)
    return moved


async def _move_deadlines(conn: Connection, changed: Sequence[RunWrite], now: datetime) -> None:
    met = [run.dag_run_id for run in changed if run.has_deadlines and run.state == DagRunState.SUCCESS]
    if met:
        await deadlines.delete_met(conn, met)
    again = [run.dag_run_id for run in changed if run.has_deadlines and run.state == DagRunState.QUEUED]
    if again:
        await deadlines.move_queued(conn, again, now)


async def _expand(conn: Connection, expansions: Sequence[Expansion], now: datetime) -> None:
    tasks = {"runs": [e.dag_run_id for e in expansions], "task_ids": [e.task_id for e in expansions]}
    await conn.execute(_SQL.number_unexpanded, {**tasks, "now": now})
    added = [(e.dag_run_id, e.task_id, facts) for e in expansions for facts in e.added]
    if added:
        parameters = {
            "runs": [run for run, _, _ in added],
            "task_ids": [task_id for _, task_id, _ in added],
            "map_indexes": [facts.map_index for _, _, facts in added],
            "ids": [facts.id for _, _, facts in added],
            "max_tries": [facts.max_tries for _, _, facts in added],
            "now": now,
        }
        await conn.execute(_SQL.insert_instances, parameters)


async def _not_moved(moved: Cursor | None, batch: Batch) -> set[int]:
    """Runs with an instance that was not as the plan assumed."""
    written = set() if moved is None else {(row[0], row[1], row[2]) for row in await moved.fetchall()}
    return {w.dag_run_id for w in batch.instances if (w.dag_run_id, w.task_id, w.before.map_index) not in written}


def _instance_parameters(writes: Sequence[InstanceWrite], now: datetime) -> dict[str, object]:
    after = [w.after for w in writes]
    return {
        "now": now,
        "runs": [w.dag_run_id for w in writes],
        "task_ids": [w.task_id for w in writes],
        "map_indexes": [w.before.map_index for w in writes],
        "old_ids": [w.before.id for w in writes],
        "old_states": [_stored(w.before.state) for w in writes],
        "ids": [f.id for f in after],
        "states": [_stored(f.state) for f in after],
        "tries": [f.try_number for f in after],
        "max_tries": [f.max_tries for f in after],
        "infra_faults": [f.infra_faults for f in after],
        "scheduled": [f.scheduled_at for f in after],
        "queued": [f.queued_at for f in after],
        "started": [f.start_date for f in after],
        "ended": [f.end_date for f in after],
        "due": [f.due_at for f in after],
        "because": [f.because for f in after],
        "launchers": [f.launcher for f in after],
        "hostnames": [w.hostname for w in writes],
        "pids": [w.pid for w in writes],
        "executors": [w.executor for w in writes],
        "rendered": [None if w.rendered_fields is None else shown_json(w.rendered_fields) for w in writes],
    }


def _archive_parameters(ended: Sequence[EndedTry], now: datetime) -> dict[str, object]:
    return {
        "ids": [e.facts.id for e in ended],
        # As Airflow's history: a try that did not reach a final state of its own failed.
        "states": [e.facts.state.value if e.facts.state in FINISHED else "failed" for e in ended],
        "started": [e.facts.start_date for e in ended],
        "ended": [e.facts.end_date or now for e in ended],
        "because": [e.facts.because for e in ended],
    }


def _run_parameters(writes: Sequence[RunWrite], now: datetime) -> dict[str, object]:
    return {
        "now": now,
        "ids": [r.dag_run_id for r in writes],
        "states": [r.state for r in writes],
        "started": [r.start_date for r in writes],
        "ended": [r.end_date for r in writes],
        "because": [r.because for r in writes],
    }


def _stored(state: TaskInstanceState) -> str | None:
    return None if state == TaskInstanceState.NONE else state.value
