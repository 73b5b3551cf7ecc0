"""Clear and mark as the store carries them out: under the run's lock, by compare-and-set, a statement per kind."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.core.by_hand import plan_clear
from leoflowd.store import dag_runs, dags, held_runs, task_instances, transitions
from leoflowd.store.database import Connection, execute, fetch_value
from leoflowd.store.run_views import load_view
from tests.integration.scheduler.conftest import World, dag, task, utc_now

SPEC = dag("d", task("a", retries=1), task("m", "a", retries=2), task("z", "m"))


async def expand_by_hand(conn: Connection, dag_run_id: int, task_id: str, count: int) -> None:
    await execute(
        conn,
        b"UPDATE task_instance SET map_index = 0 WHERE dag_run_id = %(run)s AND task_id = %(task)s",
        run=dag_run_id,
        task=task_id,
    )
    await execute(
        conn,
        b"INSERT INTO task_instance (dag_run_id, task_id, map_index, id, dag_version_id, max_tries, operator,"
        b" operator_name, task_display_name, updated_at)"
        b" SELECT dag_run_id, task_id, n, gen_random_uuid(), dag_version_id, max_tries, operator, operator_name,"
        b" task_display_name, updated_at"
        b" FROM task_instance, generate_series(1, %(last)s) n WHERE dag_run_id = %(run)s AND task_id = %(task)s",
        run=dag_run_id,
        task=task_id,
        last=count - 1,
    )


async def set_all(conn: Connection, state: str, **fields: Any) -> None:
    changes = b"".join(b", %s = %%(%s)s" % (name.encode(), name.encode()) for name in fields)
    await execute(conn, b"UPDATE task_instance SET state = %(state)s" + changes, state=state, **fields)


async def rows(conn: Connection, columns: bytes) -> list[tuple[Any, ...]]:
    cursor = await conn.execute(b"SELECT " + columns + b" FROM task_instance ORDER BY task_id, map_index")
    return list(await cursor.fetchall())


async def clear(conn: Connection, run: int, *keys: tuple[str, int], **options: Any) -> None:
    options.setdefault("reset_dag_run", True)
    await task_instances.clear_instances(conn, run, keys, now=utc_now(), because="ann cleared it", **options)


async def test_one_map_index_is_cleared_and_archived_and_the_others_stay(world: World) -> None:
    run = await world.create(SPEC)
    async with world.db.api.transaction() as conn:
        await expand_by_hand(conn, run, "m", 3)
        await set_all(conn, "failed", try_number=1, start_date=utc_now(), end_date=utc_now())
        await execute(
            conn,
            b"INSERT INTO xcom SELECT dag_run_id, task_id, map_index, 'k', '1', updated_at FROM task_instance",
        )
        await clear(conn, run, ("m", 1))
        assert await rows(conn, b"task_id, map_index, state, max_tries") == [
            ("a", -1, "failed", 1),
            ("m", 0, "failed", 2),
            ("m", 1, None, 3),
            ("m", 2, "failed", 2),
            ("z", -1, "failed", 0),
        ]
        cursor = await conn.execute(b"SELECT task_id, map_index, state, try_number FROM task_instance_history")
        assert await cursor.fetchall() == [("m", 1, "failed", 1)]
        cursor = await conn.execute(b"SELECT task_id, map_index FROM xcom ORDER BY 1, 2")
        assert ("m", 1) not in await cursor.fetchall()


async def test_what_a_live_try_pushed_stays_until_it_has_ended(world: World) -> None:
    run = await world.create(SPEC)
    async with world.db.api.transaction() as conn:
        await set_all(conn, "running", try_number=1, start_date=utc_now())
        await execute(
            conn, b"INSERT INTO xcom SELECT dag_run_id, task_id, map_index, 'k', '1', updated_at FROM task_instance"
        )
        await clear(conn, run, ("a", -1))
        assert (await rows(conn, b"state"))[0] == ("restarting",)
        assert await fetch_value(conn, b"SELECT count(*) FROM xcom") == 3
        assert await fetch_value(conn, b"SELECT count(*) FROM task_instance_history") == 0


@pytest.mark.parametrize(("before", "after"), [("running", "running"), ("success", "queued"), ("failed", "queued")])
async def test_a_clear_lets_a_finished_run_wait_for_its_turn_and_an_active_one_go_on(
    world: World, before: str, after: str
) -> None:
    run = await world.create(SPEC)
    began = utc_now()
    async with world.db.api.transaction() as conn:
        await execute(
            conn,
            b"UPDATE dag_run SET state = %(state)s, start_date = %(now)s, end_date = %(now)s, queued_at = %(now)s",
            state=before,
            now=began,
        )
        revision = await fetch_value(conn, b"SELECT revision FROM dag_run")
        await clear(conn, run, ("a", -1))
        cursor = await conn.execute(b"SELECT state, start_date, queued_at, revision FROM dag_run")
        ((state, start_date, queued_at, now_at),) = await cursor.fetchall()
    assert (state, now_at) == (after, revision + 1)
    assert (start_date == began, queued_at == began) == ((after == "running"), (after == "running"))


async def test_a_clear_without_reset_moves_no_run(world: World) -> None:
    run = await world.create(SPEC)
    async with world.db.api.transaction() as conn:
        await execute(conn, b"UPDATE dag_run SET state = 'failed', end_date = run_after")
        await clear(conn, run, ("a", -1), reset_dag_run=False)
        assert await fetch_value(conn, b"SELECT state FROM dag_run") == "failed"


@pytest.mark.parametrize(("reset_dag_run", "gone"), [(True, None), (False, None), (False, "running")])
async def test_a_run_moves_to_another_version_with_what_is_new_and_without_what_is_gone(
    world: World, reset_dag_run: bool, gone: str | None
) -> None:
    run = await world.create(SPEC)
    async with world.db.api.transaction() as conn:
        await expand_by_hand(conn, run, "m", 2)
        await set_all(conn, "success", try_number=1, start_date=utc_now(), end_date=utc_now())
        await execute(
            conn, b"UPDATE task_instance SET state = %(state)s, end_date = NULL WHERE task_id = 'z'", state=gone
        )
    latest = await world.register(dag("d", task("a"), task("m", "a"), task("new", "m")))
    async with world.db.api.transaction() as conn:
        await clear(conn, run, ("m", 1), version=latest, reset_dag_run=reset_dag_run)
        own = b"(SELECT v.version_number FROM dag_version v WHERE v.id = dag_version_id)"
        assert await rows(conn, b"task_id, map_index, state, " + own) == [
            ("a", -1, "success", 1),
            ("m", 0, "success", 1),
            ("m", 1, None, 2),
            ("new", -1, None, 2),
            ("z", -1, "removed", 1),
        ], "an expanded task does not get its unexpanded instance back"
        assert await fetch_value(conn, b"SELECT " + own + b" FROM dag_run") == 2


async def test_an_instance_that_runs_again_does_so_on_the_version_of_its_run(world: World) -> None:
    run = await world.create(SPEC)
    latest = await world.register(dag("d", task("a"), task("m", "a"), task("z", "m"), description="2"))
    async with world.db.api.transaction() as conn:
        await clear(conn, run, ("a", -1), version=latest)
        await clear(conn, run, ("m", -1))
        own = b"(SELECT v.version_number FROM dag_version v WHERE v.id = dag_version_id)"
        assert await rows(conn, b"task_id, " + own) == [("a", 2), ("m", 2), ("z", 1)]


async def test_a_wait_that_ended_does_not_come_to_life_when_its_task_runs_again(world: World) -> None:
    run = await world.create(SPEC)
    async with world.db.api.transaction() as conn:
        await execute(
            conn,
            b"INSERT INTO wait (dag_run_id, task_id, id, dag_id, status, kind, key, probe, terms, registered_at,"
            b" ended_at) SELECT dag_run_id, task_id, id, 'd', 'fired', 'file', 'k', '{}', '{}', updated_at, updated_at"
            b" FROM task_instance WHERE task_id = 'a'",
        )
        await set_all(conn, "success", try_number=1, start_date=utc_now(), end_date=utc_now())
        await clear(conn, run, ("a", -1))
        assert await fetch_value(conn, b"SELECT count(*) FROM wait") == 0


async def test_marks_of_a_run_are_written_with_the_run(world: World) -> None:
    run = await world.create(SPEC)
    async with world.db.api.transaction() as conn:
        await execute(
            conn,
            b"UPDATE task_instance SET state = 'running', try_number = 1, start_date = updated_at WHERE task_id = 'a'",
        )
        await dag_runs.mark_dag_run(conn, run, DagRunState.FAILED, now=utc_now(), because="ann marked it")
        assert await rows(conn, b"task_id, state, because") == [
            ("a", "failed", "ann marked it"),
            ("m", "skipped", "ann marked it"),
            ("z", "skipped", "ann marked it"),
        ]
        cursor = await conn.execute(b"SELECT state, because, end_date IS NOT NULL, revision FROM dag_run")
        assert await cursor.fetchall() == [("failed", "ann marked it", True, 1)]


async def test_the_past_of_a_mapped_task_is_that_of_all_its_instances(world: World) -> None:
    """As in Airflow. The row with the highest map index stood for all of them."""
    spec = dag("d", task("m", depends_on_past=True))
    first = await world.create(spec, "r1", datetime(2026, 1, 1, tzinfo=UTC))
    second = await world.create(spec, "r2", datetime(2026, 1, 2, tzinfo=UTC))
    async with world.db.api.transaction() as conn:
        await expand_by_hand(conn, first, "m", 3)
        for failed, allowed in ((0, False), (2, False), (None, True)):
            await execute(
                conn,
                b"UPDATE task_instance SET state = CASE WHEN map_index = %(failed)s THEN 'failed' ELSE 'success' END"
                b" WHERE dag_run_id = %(run)s",
                failed=failed,
                run=first,
            )
            loaded = await load_view(conn, second)
            assert loaded is not None
            assert loaded.view.past_ok == {0: allowed}, failed
        await execute(
            conn, b"UPDATE task_instance SET state = NULL WHERE dag_run_id = %(r)s AND map_index = 1", r=first
        )
        loaded = await load_view(conn, second)
        assert loaded is not None
        assert loaded.view.past_ok == {0: False}, "one has not ended"


async def test_what_is_changed_at_once_is_one_statement_of_each_kind_and_worked_out_off_the_event_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {}
    sizes: list[int] = []
    for run_id, width in (("few", 2), ("many", dags.LARGE)):
        run = await world.create(dag(f"d-{run_id}", task("m")), run_id)
        async with world.db.api.transaction() as conn:
            await expand_by_hand(conn, run, "m", width)
            await set_all(conn, "failed", try_number=1, start_date=utc_now(), end_date=utc_now())
            sent: Counter[bytes] = Counter()
            plain = conn.execute

            async def told(statement: Any, *args: Any, _plain: Any = plain, _sent: Any = sent, **kwargs: Any) -> Any:
                _sent[statement] += 1
                return await _plain(statement, *args, **kwargs)

            async def noted(work: Any, *, size: int) -> Any:
                sizes.append(size)
                return work()

            with monkeypatch.context() as patched:
                patched.setattr(conn, "execute", told)
                patched.setattr(held_runs, "off_loop", noted)
                patched.setattr(task_instances, "off_loop", noted)
                keys = [("m", index) for index in range(width)]
                await clear(conn, run, *keys)
                await task_instances.mark_instances(
                    conn, run, keys, TaskInstanceState.SUCCESS, now=utc_now(), because="b"
                )
            ended = b"SELECT count(*) FROM task_instance WHERE dag_run_id = %(run)s AND state = 'success'"
            assert await fetch_value(conn, ended, run=run) == width
        counts[run_id] = sent
    assert counts["few"] == counts["many"]
    assert set(sizes) == {2, dags.LARGE}


async def test_more_than_a_statement_carries_is_written_in_portions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_runs, "LARGE", 2)
    run = await world.create(SPEC)
    async with world.db.api.transaction() as conn:
        await expand_by_hand(conn, run, "m", 5)
        await set_all(conn, "failed", try_number=1, start_date=utc_now(), end_date=utc_now())
        await clear(conn, run, *(("m", index) for index in range(5)))
        assert await fetch_value(conn, b"SELECT count(*) FROM task_instance WHERE state IS NULL") == 5
        assert await fetch_value(conn, b"SELECT count(*) FROM task_instance_history") == 5


async def test_several_runs_are_cleared_together(world: World) -> None:
    one, two = await world.create(SPEC, "r1"), await world.create(SPEC, "r2")
    async with world.db.api.transaction() as conn:
        await set_all(conn, "failed", try_number=1, start_date=utc_now(), end_date=utc_now())
        await task_instances.clear_in_runs(
            conn, {two: [("a", -1)], one: [("z", -1)]}, now=utc_now(), because="b", reset_dag_run=True
        )
        cursor = await conn.execute(b"SELECT dag_run_id, task_id FROM task_instance WHERE state IS NULL ORDER BY 1")
        assert await cursor.fetchall() == [(one, "z"), (two, "a")]


async def test_rows_that_are_not_as_they_were_read_are_not_written(world: World) -> None:
    """Nobody else writes what is held; if somebody does, it is noticed."""
    run = await world.create(SPEC)
    with pytest.raises(transitions.StaleViews):
        async with world.db.api.transaction() as conn:
            runs = await held_runs.hold_runs(conn, [run])
            held = await held_runs.list_held(conn, runs, [(run, "a", -1)])
            await set_all(conn, "success")
            await held_runs.write_changes(conn, runs, plan_clear(held, because="b"), now=utc_now())
