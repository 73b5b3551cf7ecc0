"""Dag runs that somebody asks for: a person over the API, or a task (TriggerDagRunOperator), checked alike.

Callers: `api.public.dag_runs`, `agents.questions`. Runs of timetables are `scheduler.clock`'s and need none of this.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.asset_spec import PARTITION_KEY_MAX
from leoflowd.contract.errors import Invalid, LeoflowError, NotFound
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.contract.values import checked_moment, checked_text, conf_text
from leoflowd.core.run_conf import checked_conf
from leoflowd.core.timetable import manual_interval, run_id_for
from leoflowd.store import api_dags, dags
from leoflowd.store.dag_runs import insert_dag_run, version_of_new_run
from leoflowd.store.database import Connection, fetch_one, fetch_value, statements
from leoflowd.store.event_log import insert_event
from leoflowd.store.tries import TryRow

_SQL = statements("asked_runs")

NOTE_MAX = 1000
"""Characters of a run's note, as in Airflow's table."""
EVENT = "trigger_dag_run"
"""In the audit log; of a task's question it also holds which try asked, so that asking again finds the run."""


class CannotRun(LeoflowError):
    """The conf does not fit its params, or the run id is not possible."""


class AskedRun(msgspec.Struct, frozen=True, kw_only=True):
    dag_id: str
    run_id: str | None
    """None: Airflow's usual one."""
    unique: str
    """Ends the usual run id when there is no logical date: moments repeat."""
    logical_date: datetime | None
    data_interval: tuple[datetime, datetime] | None = None
    """None: the timetable's, for the logical date."""
    run_after: datetime
    conf: dict[str, Any] | None
    note: str | None
    triggered_by: TriggeredBy
    triggering_user_name: str | None
    run_type: DagRunType = DagRunType.MANUAL
    partition_key: str | None = None


class ExistingRun(msgspec.Struct, frozen=True):
    id: int
    run_id: str


async def insert_asked_run(conn: Connection, asked: AskedRun, now: datetime) -> str:
    """A queued run; its run id. A paused DAG gets it too, as in Airflow: it starts when unpaused.

    Raises `NotFound`, `CannotRun`, `Invalid` for values that cannot be kept, and `Conflict` when the DAG has a run of
    this id or logical date.
    """
    if asked.logical_date is not None and asked.logical_date.tzinfo is None:
        raise CannotRun(f"the logical date {asked.logical_date.isoformat()} has no time zone; add one")
    _check_values(asked)
    version = await fetch_runnable_version(conn, asked.dag_id)
    usual = run_id_for(
        asked.run_type, asked.logical_date or asked.run_after, unique="" if asked.logical_date else asked.unique
    )
    run_id = asked.run_id or usual
    _check_run_id(run_id)
    version, _ = await version_of_new_run(conn, version, run_id, now)  # whose params the conf has to fit
    interval = asked.data_interval
    if interval is None and asked.logical_date is not None:
        interval = _interval(version, asked.logical_date)
    try:
        conf = checked_conf(version.spec.params, asked.conf)
    except ValueError as error:
        raise CannotRun(str(error)) from error
    await insert_dag_run(
        conn,
        version=version,
        run_id=run_id,
        run_type=asked.run_type,
        logical_date=asked.logical_date,
        data_interval_start=interval[0] if interval and asked.logical_date else None,
        data_interval_end=interval[1] if interval and asked.logical_date else None,
        run_after=asked.run_after,
        conf=conf,
        triggered_by=asked.triggered_by,
        triggering_user_name=asked.triggering_user_name,
        note=asked.note,
        partition_key=asked.partition_key,
        now=now,
    )
    return run_id


async def fetch_runnable_version(conn: Connection, dag_id: str) -> dags.VersionRow:
    """The version in force, also while its file has import errors. Raises `NotFound`, also when the project is gone."""
    dag = await api_dags.fetch_dag(conn, dag_id)
    if dag["is_stale"]:
        raise NotFound(f"Dag with dag_id: '{dag_id}' not found")
    return await dags.fetch_version(conn, dag_id)


def _check_values(asked: AskedRun) -> None:
    """Whoever asks (API, CLI, task) is refused alike, before anything is written."""
    start, end = asked.data_interval or (None, None)
    moments = {"logical_date": asked.logical_date, "run_after": asked.run_after}
    for name, moment in (moments | {"data_interval_start": start, "data_interval_end": end}).items():
        if moment is not None:
            with _in_body(name):
                checked_moment(moment, name)
    with _in_body("note"):
        checked_text(asked.note or "", "note", max_length=NOTE_MAX, allow_empty=True)
    with _in_body("partition_key"):
        checked_text(asked.partition_key or "", "partition_key", max_length=PARTITION_KEY_MAX, allow_empty=True)
    with _in_body("conf"):
        conf_text(asked.conf or {})


@contextmanager
def _in_body(name: str) -> Iterator[None]:
    try:
        yield
    except Invalid as error:
        raise Invalid(str(error), location=("body", name)) from error


def _interval(version: dags.VersionRow, logical_date: datetime) -> tuple[datetime, datetime]:
    try:
        return manual_interval(version.spec.timetable, logical_date)
    except (OverflowError, ValueError) as error:
        raise CannotRun(f"the timetable of `{version.dag_id}` knows no interval for {logical_date}: {error}") from error


def _check_run_id(run_id: str) -> None:
    """A slash could never be asked for again in a path; the rest of Airflow's rule is about file names."""
    if len(run_id) > 250 or "/" in run_id or not run_id.isprintable() or run_id in (".", "..", "~"):
        raise CannotRun(
            f"The dag_run_id `{run_id[:300]}` is not possible: at most 250 printable characters, no slash, "
            "not `.`, `..` or `~`"
        )


# --- asked for by a task: the same question twice is one run ----------------------------------------------------------


async def fetch_existing_run(
    conn: Connection, dag_id: str, *, run_id: str | None, logical_date: datetime | None
) -> ExistingRun | None:
    """The run that a new one of this id or logical date would collide with."""
    return await fetch_one(
        conn, _SQL.fetch_existing_run, ExistingRun, dag_id=dag_id, run_id=run_id, logical_date=logical_date
    )


async def record_asked_by(
    conn: Connection, row: TryRow, *, request_id: int, dag_id: str, run_id: str, now: datetime
) -> None:
    """Write down, with the run, which try asked for it: for the audit log, and for `fetch_run_asked_by`."""
    asker = {"dag_id": row.dag_id, "run_id": row.run_id, "task_id": row.task_id, "map_index": row.map_index}
    extra = {"asked_by": asker, "try_id": str(row.id), "request_id": request_id}
    await insert_event(conn, now=now, event=EVENT, owner=None, dag_id=dag_id, run_id=run_id, extra=extra)


async def fetch_run_asked_by(
    conn: Connection, try_id: uuid.UUID, *, request_id: int, dag_id: str, run_id: str | None
) -> str | None:
    """The run that this try was given before: for the run id it names now, else for the same question."""
    found: str | None = await fetch_value(
        conn, _SQL.fetch_run_asked_by, try_id=str(try_id), request_id=request_id, dag_id=dag_id, run_id=run_id
    )
    return found
