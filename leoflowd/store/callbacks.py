"""Rows of `callback`: what ends of tries and dag runs call for. The try id of its process fences every write."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

import msgspec
from typing_extensions import override

from leoflowd.contract.callback_spec import CallbackCall, NewCallback
from leoflowd.contract.dispatch import Dispatch, Placement
from leoflowd.contract.logs import TryLog
from leoflowd.contract.values import shown
from leoflowd.core.callbacks import CallbackState, is_tried_again
from leoflowd.core.try_spec import build_callback_spec
from leoflowd.store.database import Connection, execute, fetch_all, fetch_one, statements
from leoflowd.store.hints import send_hint
from leoflowd.store.run_views import load_artifact
from leoflowd.store.tries import TryRow, fetch_try

_SQL = statements("callbacks")
OF_DAG = "~dag"
"""In place of a task id, which may not begin so: where the logs of a dag run's callbacks lie."""


class CallbackRow(msgspec.Struct, frozen=True):
    """One that is not done yet."""

    id: int
    try_id: uuid.UUID
    dag_run_id: int
    task_id: str | None
    map_index: int
    try_number: int
    max_tries: int
    call: str
    state: CallbackState
    starts: int
    launcher: str
    launched_at: datetime | None
    queued_at: datetime

    @property
    def place(self) -> tuple[int, str | None, int, int]:
        """Callbacks of one try write into one log, one after the other."""
        return self.dag_run_id, self.task_id, self.map_index, self.try_number

    def facts(self) -> NewCallback:
        return NewCallback(
            dag_run_id=self.dag_run_id,
            task_id=self.task_id,
            map_index=self.map_index,
            try_number=self.try_number,
            max_tries=self.max_tries,
            call=msgspec.json.decode(self.call, type=CallbackCall),
        )


class CallbackTry(TryRow, frozen=True, kw_only=True):
    """The process of a callback, as the agents' service knows tries."""

    callback_id: int
    of_dag: bool

    @property
    @override
    def log(self) -> TryLog:
        return log_of(self, self.callback_id, of_dag=self.of_dag)


def log_of(row: TryRow, callback_id: int, *, of_dag: bool) -> TryLog:
    """A task's callbacks write behind the try that they are about, where people look; a dag run's have their own."""
    return TryLog(
        dag_id=row.dag_id,
        run_id=row.run_id,
        dag_run_id=row.dag_run_id,
        task_id=OF_DAG if of_dag else row.task_id,
        map_index=-1 if of_dag else row.map_index,
        try_number=callback_id if of_dag else row.try_number,
    )


async def insert_callbacks(conn: Connection, new: Sequence[NewCallback], now: datetime) -> None:
    await conn.execute(
        _SQL.insert_callbacks,
        {
            "now": now,
            "try_ids": [str(uuid.uuid4()) for _ in new],
            "runs": [one.dag_run_id for one in new],
            "task_ids": [one.task_id for one in new],
            "map_indexes": [one.map_index for one in new],
            "of_tries": [one.of_try for one in new],
            "try_numbers": [one.try_number for one in new],
            "max_tries": [one.max_tries for one in new],
            "calls": [msgspec.json.encode(one.call).decode() for one in new],
        },
    )


async def list_open(conn: Connection, *, at_most: int) -> tuple[CallbackRow, ...]:
    """Those that an executor was given, then the others, oldest first."""
    return await fetch_all(conn, _SQL.list_open, CallbackRow, at_most=at_most)


async def mark_launched(conn: Connection, try_ids: Sequence[str], *, launcher: str, now: datetime) -> frozenset[str]:
    """Those that may be launched now."""
    cursor = await conn.execute(_SQL.mark_launched, {"try_ids": list(try_ids), "launcher": launcher, "now": now})
    return frozenset([row[0] for row in await cursor.fetchall()])


async def list_callback_tries(conn: Connection, try_ids: Sequence[str]) -> tuple[CallbackTry, ...]:
    return await fetch_all(conn, _SQL.fetch_of_try, CallbackTry, try_ids=list(try_ids))


async def load_dispatch(conn: Connection, row: CallbackRow, *, timeout_s: float) -> Dispatch | None:
    """What its process is told, and what it needs; None when its run is gone. Raises `run_views.BrokenRun`."""
    loaded = await load_artifact(conn, row.dag_run_id)
    if loaded is None:
        return None
    run, artifact = loaded
    spec = build_callback_spec(row.facts(), str(row.try_id), run, artifact, timeout_s=timeout_s)
    return Dispatch(spec, artifact.spec.environment, placement=Placement(image=artifact.spec.image))


async def fetch_any_try(conn: Connection, try_id: str) -> TryRow | None:
    """The try of a task, or the process of a callback; None: it was replaced, or its run deleted."""
    row = await fetch_try(conn, try_id)
    if row is not None:
        return row
    found = await list_callback_tries(conn, [try_id])
    return found[0] if found else None


async def fetch_row(conn: Connection, try_id: str) -> CallbackRow | None:
    return await fetch_one(conn, _SQL.fetch_for_spec, CallbackRow, try_id=try_id)


async def mark_started(conn: Connection, try_id: str, *, at: datetime, hostname: str) -> bool:
    return bool(await execute(conn, _SQL.mark_started, try_id=try_id, at=at, hostname=hostname))


async def mark_ended(
    conn: Connection, try_id: str, *, is_success: bool, because: str, started_at: datetime, now: datetime
) -> bool:
    """False: it has ended before, or its try id is an old one. The leader hears that there is room."""
    state = "success" if is_success else "failed"
    done = await execute(
        conn, _SQL.mark_ended, try_id=try_id, state=state, because=shown(because), started_at=started_at, now=now
    )
    await send_hint(conn, "callbacks")
    return bool(done)


async def mark_lost(conn: Connection, row: CallbackRow, *, because: str, now: datetime) -> bool:
    """Again, or failed when it has been started too often. False: it has ended meanwhile."""
    try_id = str(row.try_id)
    if is_tried_again(state=row.state, starts=row.starts):
        next_id = str(uuid.uuid4())
        done = await execute(conn, _SQL.queue_again, try_id=try_id, next_try_id=next_id, because=shown(because))
        await send_hint(conn, "callbacks")
        return bool(done)
    because = f"its process was lost {row.starts} times, most recently: {because}"
    return await mark_ended(conn, try_id, is_success=False, because=because, started_at=now, now=now)


async def queue_ended(conn: Connection, callback_id: int, *, because: str, now: datetime) -> bool:
    """False: it has not ended."""
    next_id = str(uuid.uuid4())
    done = await execute(conn, _SQL.queue_ended, id=callback_id, next_try_id=next_id, because=because, now=now)
    await send_hint(conn, "callbacks")
    return bool(done)
