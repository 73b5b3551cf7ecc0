"""What retention takes away, and what it leaves because something later depends on it (ADR 93)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leoflowd.config import RetentionConfig
from leoflowd.contract.dag_spec import CronTimetable, DagSpec, TaskSpec
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.scheduler.retention import Retention
from leoflowd.store import dag_runs, dags, retention
from leoflowd.store.database import Database
from leoflowd.store.deleted_runs import list_due
from leoflowd.store.retention import Limits, Removable
from leoflowd.store.secret_box import SecretBox

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD = Limits(before=NOW - timedelta(days=30))


async def history(
    db: Database,
    days_ago: Sequence[int],
    *,
    dag_id: str = "etl",
    run_type: DagRunType = DagRunType.SCHEDULED,
    state: str = "success",
    **spec: Any,
) -> dict[int, int]:
    """One ended run of one task for each: days ago -> dag_run.id."""
    runs = {}
    tasks = (TaskSpec(task_id="load", operator="PythonOperator"),)
    made = DagSpec(dag_id=dag_id, timetable=CronTimetable(expression="0 0 * * *"), tasks=tasks, **spec)
    async with db.api.transaction() as conn:
        await dags.register_dag(conn, made, now=NOW, fileloc="f", relative_fileloc="f")
        version = await dags.fetch_version(conn, dag_id)
        for days in days_ago:
            at = NOW - timedelta(days=days)
            runs[days] = await dag_runs.insert_dag_run(
                conn,
                version=version,
                run_id=f"{run_type}__{days}",
                run_type=run_type,
                logical_date=at,
                data_interval_start=at,
                data_interval_end=at,
                run_after=at,
                conf={},
                triggered_by=TriggeredBy.TIMETABLE,
                triggering_user_name=None,
                note=None,
                now=at,
            )
            await conn.execute(
                b"UPDATE dag_run SET state = %(state)s, start_date = %(at)s, end_date = %(at)s WHERE id = %(id)s",
                {"id": runs[days], "at": at, "state": state},
            )
        await conn.execute(
            b"UPDATE task_instance SET state = 'success' WHERE dag_run_id = ANY (%(ids)s)", {"ids": list(runs.values())}
        )
    return runs


async def change(db: Database, statement: bytes, **parameters: Any) -> None:
    async with db.api.connection() as conn:
        await conn.execute(statement, parameters)


async def left(db: Database) -> set[int]:
    async with db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT id FROM dag_run")
        return {row[0] for row in await cursor.fetchall()}


async def remove(db: Database, limits: Limits = OLD) -> int:
    async with db.history.connection() as conn:
        found = await retention.list_removable(conn, limits)
        return sum([await retention.remove_runs(conn, batch) for batch in retention.batches_of(found)])


async def test_old_runs_go_with_their_rows_and_younger_ones_stay(database: Database) -> None:
    runs = await history(database, [60, 45, 10, 1])
    assert await remove(database) == 2
    assert await left(database) == {runs[10], runs[1]}
    async with database.api.connection() as conn:
        cursor = await conn.execute(b"SELECT dag_run_id FROM task_instance ORDER BY 1")
        assert [row[0] for row in await cursor.fetchall()] == sorted((runs[10], runs[1]))


async def test_a_run_of_long_ago_that_ended_a_moment_ago_stays(database: Database) -> None:
    runs = await history(database, [60, 45, 1])
    await change(database, b"UPDATE dag_run SET end_date = %(now)s WHERE id = %(id)s", now=NOW, id=runs[60])
    assert await remove(database) == 1
    assert runs[60] in await left(database)


async def test_the_newest_runs_of_each_dag_stay_by_count(database: Database) -> None:
    runs = await history(database, [5, 4, 3, 2, 1])
    others = await history(database, [5, 4], dag_id="other")
    assert await remove(database, Limits(keep=2)) == 3
    assert await left(database) == {runs[2], runs[1], *others.values()}


async def test_without_limits_nothing_goes(database: Database) -> None:
    await history(database, [4000, 3000, 1])
    assert await remove(database, Limits()) == 0
    assert not await Retention(db=database, config=RetentionConfig(), secrets=SecretBox(dict), now=lambda: NOW).look()


async def test_the_last_run_of_a_dag_stays_however_old(database: Database) -> None:
    """Where its timetable stands: without it, catchup would make all of the past again."""
    runs = await history(database, [400, 300])
    manual = await history(database, [200, 100], run_type=DagRunType.MANUAL)
    assert await remove(database) == 2
    assert await left(database) == {runs[300], manual[100]}


async def test_as_many_runs_stay_as_pause_a_dag_when_they_fail(database: Database) -> None:
    await history(database, [400, 300, 200, 100], state="failed", max_consecutive_failed_dag_runs=3)
    assert await remove(database) == 1


async def test_what_goes_on_stays_and_so_does_the_run_before_it(database: Database) -> None:
    """`depends_on_past` and `wait_for_downstream` look at that one."""
    runs = await history(database, [400, 300, 200, 100])
    await change(database, b"UPDATE dag_run SET state = 'running', end_date = NULL WHERE id = %(id)s", id=runs[200])
    assert await remove(database) == 1
    assert await left(database) == {runs[300], runs[200], runs[100]}


@pytest.mark.parametrize(
    "needed",
    [
        b"UPDATE task_instance SET state = 'restarting' WHERE dag_run_id = %(id)s",
        b"INSERT INTO callback (try_id, dag_run_id, map_index, try_number, max_tries, call, queued_at)"
        b" VALUES (gen_random_uuid(), %(id)s, -1, 1, 0, '{}', now())",
        b"WITH c AS (INSERT INTO canary (dag_id, dag_version_id, share, rollback_above, judged_after, started_by,"
        b" started_at) SELECT dag_id, dag_version_id, 10, 10, 1, 'ann', now() FROM dag_run WHERE id = %(id)s"
        b" RETURNING id) INSERT INTO canary_run (canary_id, dag_run_id) SELECT c.id, %(id)s FROM c",
    ],
    ids=["a try that lives", "a callback that is due", "a canary that is not judged"],
)
async def test_a_run_that_something_still_needs_stays(database: Database, needed: bytes) -> None:
    runs = await history(database, [400, 300, 1])
    await change(database, needed, id=runs[400])
    assert await remove(database) == 1
    assert runs[400] in await left(database)


async def test_nothing_goes_from_a_dag_with_an_open_backfill(database: Database) -> None:
    await history(database, [400, 300, 1])
    await change(
        database,
        b"INSERT INTO backfill (dag_id, from_date, to_date, reprocess_behavior, max_active_runs, run_on_latest_version,"
        b" created_at, updated_at) VALUES ('etl', now(), now(), 'none', 1, false, now(), now())",
    )
    assert await remove(database) == 0


async def test_a_run_that_was_cleared_meanwhile_stays(database: Database) -> None:
    runs = await history(database, [400, 1])
    await change(database, b"UPDATE dag_run SET state = 'queued', end_date = NULL WHERE id = %(id)s", id=runs[400])
    async with database.history.connection() as conn:
        assert await retention.remove_runs(conn, [runs[400]]) == 0
    assert runs[400] in await left(database)


async def test_a_run_that_somebody_holds_is_left_for_the_next_time(database: Database) -> None:
    runs = await history(database, [400, 300, 1])
    async with database.api.transaction() as holder:
        await dag_runs.lock_dag_runs(holder, "etl", ["scheduled__400"])
        assert await remove(database) == 1
    assert runs[400] in await left(database)
    assert await remove(database) == 1


def test_a_batch_ends_with_the_run_that_fills_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "INSTANCES_PER_BATCH", 10)
    monkeypatch.setattr(retention, "RUNS_PER_BATCH", 3)
    runs = [Removable(id=number, instances=count) for number, count in enumerate([4, 7, 50, 1, 1, 1, 1])]
    assert list(retention.batches_of(runs)) == [[0, 1], [2], [3, 4, 5], [6]]


async def test_what_somebody_came_to_need_meanwhile_stays(database: Database) -> None:
    """Between the look for runs and their removal."""
    runs = await history(database, [400, 300, 1])
    await change(database, b"UPDATE task_instance SET state = 'restarting' WHERE dag_run_id = %(id)s", id=runs[300])
    async with database.history.connection() as conn:
        assert await retention.remove_runs(conn, list(runs.values())) == 1
    assert await left(database) == {runs[300], runs[1]}


async def test_what_would_go_is_what_goes(database: Database) -> None:
    await history(database, [400, 300, 1])
    await history(database, [200, 1], dag_id="other")
    async with database.history.connection() as conn:
        told = await retention.list_what_would_go(conn, OLD)
    assert [(one.dag_id, one.runs, one.task_instances) for one in told] == [("etl", 2, 2), ("other", 1, 1)]
    assert told[0].oldest == NOW - timedelta(days=400)
    assert await remove(database) == 3


async def test_what_a_removed_run_leaves_elsewhere_is_noted_for_who_deletes_it(database: Database) -> None:
    runs = await history(database, [400, 1])
    config = RetentionConfig(days=30, pause_s=0.001)
    retainer = Retention(db=database, config=config, secrets=SecretBox(dict), now=lambda: NOW)
    assert await retainer.look()
    assert not await retainer.look()
    assert retainer.statistics().removed_runs == 1
    assert await left(database) == {runs[1]}
    async with database.history.connection() as conn:
        (run,) = await list_due(conn, NOW, limit=10)
    assert (run.dag_run_id, run.dag_id, run.run_id) == (runs[400], "etl", "scheduled__400")
