"""Versions of DAGs in the store: large ones do not hold up the event loop, and odd ones are refused with a sentence."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from leoflowd.contract import values
from leoflowd.contract.dag_spec import CustomTimetable, DagSpec, DatesTimetable, DeltaTimetable, TaskSpec
from leoflowd.contract.errors import Invalid, NotFound
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.store import dag_runs, dags, run_views
from leoflowd.store.database import Database, fetch_value

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def dag(count: int = 1, **fields: object) -> DagSpec:
    tasks = tuple(
        TaskSpec(task_id=f"t{n}", operator="EmptyOperator", upstream_task_ids=(f"t{n - 1}",) if n else ())
        for n in range(count)
    )
    return msgspec.structs.replace(DagSpec(dag_id="d", tasks=tasks), **fields)


async def register(database: Database, spec: DagSpec) -> uuid.UUID:
    async with database.api.transaction() as conn:
        done = await dags.register_dag(conn, spec, now=NOW, fileloc="dag.py", relative_fileloc="dag.py")
    return done.version_id


class Threads:
    """In which thread the work in proportion to a DAG was done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on_loop: list[str] = []
        self.elsewhere: list[str] = []
        self._loop = threading.get_ident()
        for module, name in (
            (dags, "prepare"),
            (dags, "_read"),
            (dags, "shape_of"),
            (dag_runs, "_instance_rows"),
            (run_views, "facts_of"),
        ):
            monkeypatch.setattr(module, name, self._told(name, getattr(module, name)))

    def _told(self, name: str, work):
        def tell(*args: object, **kwargs: object):
            where = self.on_loop if threading.get_ident() == self._loop else self.elsewhere
            where.append(name)
            return work(*args, **kwargs)

        return tell


async def test_the_work_of_a_large_dag_is_done_off_the_event_loop(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(monkeypatch)
    count = 2 * dags.LARGE
    await register(database, dag(count))
    async with database.api.transaction() as conn:
        version = await dags.fetch_version(conn, "d")
        run = await dag_runs.insert_dag_run(
            conn,
            version=version,
            run_id="r",
            run_type=DagRunType.MANUAL,
            logical_date=None,
            data_interval_start=None,
            data_interval_end=None,
            run_after=NOW,
            conf={},
            triggered_by=TriggeredBy.TEST,
            triggering_user_name=None,
            note=None,
            now=NOW,
        )
        loaded = await run_views.load_view(conn, run)
    assert threads.on_loop == []
    assert set(threads.elsewhere) == {"prepare", "_read", "shape_of", "_instance_rows", "facts_of"}
    assert loaded is not None
    assert len(loaded.view.facts) == count


@pytest.mark.parametrize(
    "fields",
    [
        {"dagrun_timeout_s": values.SECONDS_MAX * 2},
        {"max_active_runs": 2**40},
        {"tags": ("a\0b",)},
        {"doc_md": "\ud800"},
        {"params": {"p": {"value": 2**70}}},
        {"params": {"p": {"value": 1e20}}},
        {"start_date": datetime(9999, 12, 31, tzinfo=UTC)},
        {"start_date": datetime(2026, 1, 1)},  # noqa: DTZ001 - what it is about
        {"timetable": DeltaTimetable(seconds=1e-9)},
        {"timetable": DeltaTimetable(seconds=timedelta.max.total_seconds())},
        {"timetable": DatesTimetable(dates=(datetime(1, 1, 1, tzinfo=UTC),))},
        {"tasks": (TaskSpec(task_id="t", operator="x", retries=10**12),)},
        {"tasks": (TaskSpec(task_id="t", operator="x", pool_slots=10**12),)},
        {"tasks": (TaskSpec(task_id="t", operator="x", priority_weight=2**40),)},
    ],
    ids=str,
)
async def test_a_version_that_could_not_be_carried_is_refused(database: Database, fields: dict[str, object]) -> None:
    with pytest.raises(Invalid, match="cannot register dag 'd': "):
        await register(database, dag(**fields))
    async with database.api.connection() as conn:
        with pytest.raises(NotFound):
            await dags.fetch_version(conn, "d")


async def test_a_version_of_an_older_release_stays_readable_and_can_be_deleted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds are for what comes in: a DAG page, or its deletion, must not fail for what is there."""
    await register(database, dag())
    async with database.api.connection() as conn:
        await conn.execute(b"""UPDATE dag_version SET spec = spec || '{"dagrun_timeout_s": 1e14}'""")
        assert (await dags.fetch_version(conn, "d")).spec.dagrun_timeout_s == 1e14
        await conn.execute(b"""UPDATE dag_version SET spec = '{"nothing": 1}'""")
        monkeypatch.setattr(dags, "_versions", {})
        await dags.delete_dag(conn, "d")
        with pytest.raises(NotFound):
            await dags.fetch_version(conn, "d")


async def test_what_a_custom_timetable_says_later_is_stored_with_the_same_version(database: Database) -> None:
    def asked(day: int) -> CustomTimetable:
        start = NOW + timedelta(days=day)
        return CustomTimetable(name="m.C", slots=((start, start, start),), valid_until=start)

    first = await register(database, dag(timetable=asked(1)))
    async with database.api.connection() as conn:
        await dags.fetch_version_by_id(conn, first)  # it is in memory now
    assert await register(database, dag(timetable=asked(2))) == first
    async with database.api.connection() as conn:
        assert (await dags.fetch_version(conn, "d")).spec.timetable == asked(2)
    assert await register(database, dag(timetable=CustomTimetable(name="m.Other"))) != first


@pytest.mark.parametrize(
    ("of_file", "of_all", "expected"),
    [(None, False, False), (None, True, True), (False, True, False), (True, False, True)],
)
async def test_a_new_dag_is_paused_as_its_file_says_or_as_all_are(
    database: Database, of_file: bool | None, of_all: bool, expected: bool
) -> None:
    for spec, at_creation in ((dag(is_paused_upon_creation=of_file), of_all), (dag(2), not of_all)):
        async with database.api.transaction() as conn:
            await dags.register_dag(
                conn, spec, now=NOW, fileloc="x", relative_fileloc="x", paused_at_creation=at_creation
            )
            paused = await fetch_value(conn, b"SELECT is_paused FROM dag")
        assert paused is expected, "a new version changes nothing"
