"""The clock: creates a dag run when its timetable's moment comes, or events of assets start one (`asset_runs`), and
keeps each DAG's next moment in its row.

Wakes for the earliest `next_run_after`, for a hint about a DAG, when events of assets came for it, and when a run ends
(which may free `max_active_runs`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.dag_spec import ContinuousTimetable, CustomTimetable, DagSpec
from leoflowd.contract.errors import Conflict, StoreUnavailable
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.core.delays import DelayCounts, Delays
from leoflowd.core.timetable import RunSlot, next_run, ran_out, run_id_of_slot, time_restriction
from leoflowd.scheduler.asset_runs import start_asset_runs
from leoflowd.store import dag_runs, dags
from leoflowd.store.asset_events import list_waiting_dags
from leoflowd.store.dags import NextRun, VersionRow
from leoflowd.store.database import Connection, Database
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

LOOK_AGAIN_S = 30.0
"""Longest sleep, and how often Postgres is asked what is due: a clock that was set, a hint that was lost or a look that
failed costs no more than this."""
CREATED_AT_ONCE = 100
"""Runs of one DAG in one look: a catchup of years without `max_active_runs` must not hold up the others."""


class ClockStatistics(msgspec.Struct, frozen=True):
    created: int
    next_run_after: datetime | None
    failed: int
    looks: int
    delays: DelayCounts
    """From the moment that a run was due until it was made, of those that nothing but this daemon held back."""


class TimetableClock:
    def __init__(self, *, db: Database, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now
        self._wake = trio.Event()
        self._changed: set[str] | None = None
        self._created = 0
        self._failed = 0
        self._looks = 0
        self._next: datetime | None = None
        self._delays = Delays()
        self._held: set[str] = set()
        """DAGs whose next run a pause, `max_active_runs` or the years before their first day hold back: its delay is
        nobody's fault."""

    def statistics(self) -> ClockStatistics:
        return ClockStatistics(self._created, self._next, self._failed, self._looks, self._delays.counts())

    def look_at(self, dag_id: str | None) -> None:
        """Something about this DAG (None: any of them) may have changed what is due."""
        if dag_id is None:
            self._changed = None
        elif self._changed is not None:
            self._changed.add(dag_id)
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        moments: dict[str, datetime] = {}
        swept_at = self._now()
        self.look_at(None)  # after a failure, or another's term, nobody knows what was looked at
        self._held.clear()
        while True:
            changed, self._changed, self._wake = self._changed, set(), trio.Event()
            now = self._now()
            if changed is None:
                moments.clear()
            else:
                changed |= {dag_id for dag_id, at in moments.items() if at <= now}
                if not 0 <= (now - swept_at).total_seconds() < LOOK_AGAIN_S:
                    changed |= await self._missed(min(swept_at, now), now)
                    swept_at = now
            for dag_id, at in (await self._look(changed, now)).items():
                if at is None:
                    moments.pop(dag_id, None)
                else:
                    moments[dag_id] = at
            self._next = min(moments.values(), default=None)
            self._looks += 1
            await self._sleep()

    async def _missed(self, since: datetime, now: datetime) -> set[str]:
        """What nobody told us of: DAGs whose next run is due by their row, that were registered meanwhile, or for which
        events of assets wait."""
        async with self._db.scheduler.connection() as conn:
            found = set(await dags.list_dags_to_look_at(conn, since=since - timedelta(seconds=LOOK_AGAIN_S), now=now))
            return found | await list_waiting_dags(conn)

    async def _sleep(self) -> None:
        delay = LOOK_AGAIN_S
        if self._next is not None:
            delay = min(delay, max(0.0, (self._next - self._now()).total_seconds()))
        with trio.move_on_after(delay):
            await self._wake.wait()

    async def _look(self, dag_ids: set[str] | None, now: datetime) -> dict[str, datetime | None]:
        """When each of these DAGs is due next; creates the runs that are due now."""
        if dag_ids is not None and not dag_ids:
            return {}
        async with self._db.scheduler.connection() as conn:
            rows = await dags.list_next_runs(conn, dag_ids=None if dag_ids is None else sorted(dag_ids))
        due: dict[str, datetime | None] = dict.fromkeys(dag_ids or (), None)
        for row in rows:

            async def record(failure: Exception, dag_id: str = row.dag_id) -> None:
                if isinstance(failure, StoreUnavailable):
                    raise failure  # of all DAGs, not of this one
                self._failed += 1
                due[dag_id] = now + timedelta(seconds=LOOK_AGAIN_S)
                log.error("timetable_failed", exc_info=failure, dag_id=dag_id)
                await trio.lowlevel.checkpoint()

            async with contain(record):
                due[row.dag_id] = await self._advance(row, now)
        return due

    async def _advance(self, row: NextRun, now: datetime) -> datetime | None:
        """Create what is due, at most up to `max_active_runs`; when to look at this DAG again."""
        made_for: list[RunSlot] = []
        async with self._db.scheduler.transaction() as conn:
            version = await dags.fetch_version_by_id(conn, row.version_id)
            if isinstance(version.spec.timetable, CustomTimetable):
                version = await dags.fetch_version(conn, row.dag_id)
            spec = version.spec
            active, last, tried = row.active_runs, row.last, 0
            if not row.is_paused:
                made = await start_asset_runs(conn, version, now, at_most=_room(spec, active))
                self._created += made
                active += made
                if made == CREATED_AT_ONCE:
                    self.look_at(row.dag_id)  # there may be more
            slot = _next_slot(spec, last, now)
            while slot is not None and slot.run_after <= now and not row.is_paused and _has_room(spec, active):
                tried += 1
                if tried > CREATED_AT_ONCE:
                    break
                try:
                    async with conn.transaction():
                        await _insert_run(conn, version, slot, now)
                    self._created += 1
                    made_for.append(slot)
                    log.info(
                        "dag_run_created",
                        dag_id=row.dag_id,
                        logical_date=str(slot.logical_date),
                        partition_key=slot.partition_key,
                    )
                    active += 1
                except Conflict as conflict:  # someone ran this date by hand: it is done, go on with the next
                    log.info("slot_taken", dag_id=row.dag_id, because=str(conflict))
                last, slot = slot, _next_slot(spec, slot, now)
            if slot is not None or row.has_next:
                await _write_next(conn, row.dag_id, slot)
        is_due = slot is not None and slot.run_after <= now
        self._measure(row, made_for, is_held=row.is_paused or (is_due and not _has_room(spec, active)), is_due=is_due)
        if slot is None and ran_out(spec.timetable, now):
            log.warning(
                "timetable_ran_out", dag_id=row.dag_id, todo="compile it again: save its file, or `leoflow push`"
            )
        if slot is None or row.is_paused or (is_due and not _has_room(spec, active)):
            return None
        return slot.run_after

    def _measure(self, row: NextRun, made_for: list[RunSlot], *, is_held: bool, is_due: bool) -> None:
        """`is_due`: there is more to be made. What no row announced is the past of a new DAG or schedule."""
        at, announced = self._now(), None if row.dag_id in self._held else row.next_run_after
        for slot in made_for:
            if announced is not None and slot.run_after >= announced:
                self._delays.add((at - slot.run_after).total_seconds())
        if is_held or (is_due and announced is None):
            self._held.add(row.dag_id)
        else:
            self._held.discard(row.dag_id)


async def _write_next(conn: Connection, dag_id: str, slot: RunSlot | None) -> None:
    dated = slot if slot is not None and slot.partition_key is None else None
    await dags.update_next_run(
        conn,
        dag_id,
        logical_date=dated.logical_date if dated else None,
        data_interval_start=dated.data_interval_start if dated else None,
        data_interval_end=dated.data_interval_end if dated else None,
        run_after=slot.run_after if slot else None,
    )


def _next_slot(spec: DagSpec, last: RunSlot | None, now: datetime) -> RunSlot | None:
    start_date, end_date = time_restriction(spec)
    return next_run(spec.timetable, last=last, start_date=start_date, end_date=end_date, catchup=spec.catchup, now=now)


async def _insert_run(conn: Connection, version: VersionRow, slot: RunSlot, now: datetime) -> None:
    await dag_runs.insert_slot_run(
        conn,
        version,
        slot,
        run_id=run_id_of_slot(DagRunType.SCHEDULED, slot, asked_by=version.dag_id),
        run_type=DagRunType.SCHEDULED,
        conf={},
        triggered_by=TriggeredBy.TIMETABLE,
        triggering_user_name=None,
        now=now,
    )


def _room(spec: DagSpec, active: int) -> int:
    """For runs that are made in one look."""
    if isinstance(spec.timetable, ContinuousTimetable):
        return max(0, 1 - active)
    return CREATED_AT_ONCE if spec.max_active_runs == 0 else min(CREATED_AT_ONCE, spec.max_active_runs - active)


def _has_room(spec: DagSpec, active: int) -> bool:
    return _room(spec, active) > 0
