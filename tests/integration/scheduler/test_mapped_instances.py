"""Two instances of one task: in one run of a real scheduler, each is what it is by (task, map index)."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.states import TaskInstanceState
from leoflowd.core.dag_run_plan import plan_expansion, plan_outcome
from leoflowd.core.decisions import Decision
from leoflowd.core.run_view import RunView
from leoflowd.scheduler import deciding
from leoflowd.scheduler.inbox import HostAttached, RunChanged
from leoflowd.store import task_instances
from leoflowd.store.database import execute
from leoflowd.store.xcoms import xcoms_of
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, dag, task, utc_now

Instance = tuple[str, int]
"""(task_id, map_index)"""


async def launched(world: World, *expected: Instance) -> dict[Instance, str]:
    """Try ids of the next launches, which are of exactly these instances."""
    found: dict[Instance, str] = {}
    with trio.fail_after(PATIENCE_S):
        while len(found) < len(expected):
            found |= {(one.task.task_id, one.facts.map_index): one.try_id for one in await world.launches.receive()}
    assert found.keys() == set(expected)
    return found


async def states(world: World, run: int, task_id: str) -> dict[int, str | None]:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(
            b"SELECT map_index, state FROM task_instance WHERE dag_run_id = %(run)s AND task_id = %(task)s",
            {"run": run, "task": task_id},
        )
        return dict(await cursor.fetchall())


async def two_instances(world: World, **fields: Any) -> int:
    """m[0] and m[1], inserted as an expansion leaves them, and z behind both."""
    run = await world.create(dag("d", task("m", **fields), task("z", "m")), is_announced=False)
    async with world.db.api.transaction() as conn:
        await execute(conn, b"UPDATE task_instance SET map_index = 0 WHERE task_id = 'm'")
        await execute(
            conn,
            b"INSERT INTO task_instance (dag_run_id, task_id, map_index, id, dag_version_id, max_tries, operator,"
            b" operator_name, task_display_name, updated_at)"
            b" SELECT dag_run_id, task_id, 1, gen_random_uuid(), dag_version_id, max_tries, operator, operator_name,"
            b" task_display_name, updated_at FROM task_instance WHERE task_id = 'm'",
        )
    await world.inbox.put(RunChanged(run))
    return run


async def test_one_is_tried_again_and_the_other_is_not_and_the_next_task_waits_for_both(world: World) -> None:
    async with world.leading():
        run = await two_instances(world, retries=1, retry_delay_s=0)
        first = await launched(world, ("m", 0), ("m", 1))
        await world.start(first["m", 0])
        await world.end(first["m", 1], return_value='"one"')
        await world.end(first["m", 0], OutcomeKind.FAILED)
        again = await launched(world, ("m", 0))
        assert await states(world, run, "m") == {0: "queued", 1: "success"}
        assert await states(world, run, "z") == {-1: None}
        await world.end(again["m", 0], return_value='"zero"')
        await world.end((await launched(world, ("z", -1)))["z", -1])
        assert await world.run_state(run) == "success"
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT map_index, try_number FROM task_instance_history")
            assert await cursor.fetchall() == [(0, 1)]
            values = await xcoms_of(conn).outputs([(run, "m")])
            assert [(x.map_index, x.value) for x in values] == [(0, '"zero"'), (1, '"one"')]


async def test_slots_are_counted_for_each_instance(world: World) -> None:
    async with world.db.api.connection() as conn:
        await execute(conn, b"UPDATE pool SET slots = 1")
    async with world.leading():
        run = await two_instances(world)
        first = await launched(world, ("m", 0))
        assert await states(world, run, "m") == {0: "queued", 1: "scheduled"}
        await world.end(first["m", 0])
        await launched(world, ("m", 1))


async def test_a_limit_per_task_counts_its_instances(world: World) -> None:
    async with world.leading():
        run = await two_instances(world, max_active_tis_per_dagrun=1)
        await launched(world, ("m", 0))
        assert await states(world, run, "m") == {0: "queued", 1: "scheduled"}


async def test_a_clear_of_one_map_index_runs_that_one_again(world: World) -> None:
    async with world.leading():
        run = await two_instances(world)
        first = await launched(world, ("m", 0), ("m", 1))
        await world.end(first["m", 0], return_value="0")
        await world.end(first["m", 1], return_value="1")
        await world.end((await launched(world, ("z", -1)))["z", -1])
        async with world.db.api.transaction() as conn:
            await task_instances.clear_instances(
                conn, run, [("m", 1)], now=utc_now(), because="ann cleared it", reset_dag_run=True
            )
        await world.inbox.put(RunChanged(run))
        again = await launched(world, ("m", 1))
        assert again["m", 1] != first["m", 1]
        assert await states(world, run, "m") == {0: "success", 1: "queued"}
        async with world.db.api.connection() as conn:
            assert [x.map_index for x in await xcoms_of(conn).outputs([(run, "m")])] == [0]


async def test_a_host_that_does_not_know_one_of_them_loses_that_one(world: World) -> None:
    async with world.leading(launcher="here"):
        run = await two_instances(world)
        first = await launched(world, ("m", 0), ("m", 1))
        for try_id in first.values():
            await world.start(try_id)
        await world.settled()
        await world.inbox.put(HostAttached("host", frozenset({first["m", 0]}), launcher="here", at=utc_now()))
        await launched(world, ("m", 1))
        assert await states(world, run, "m") == {0: "running", 1: "queued"}


# --- expansion: what an outcome upstream will decide once DAGs can be written so -----------------------------------


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Task id -> how many items its upstream returns: the outcome of `a` expands it."""
    known: dict[str, int] = {}

    def plan(view: RunView, instance: int, outcome: Outcome, now: Any) -> tuple[Decision, ...]:
        decisions = plan_outcome(view, instance, outcome, now)
        if view.node_of(instance).spec.task_id == "a":
            for task_id, count in known.items():
                because = f"its list has {count} item(s)"
                decisions += plan_expansion(view, view.shape.index_of[task_id], count, because)
        return decisions

    monkeypatch.setattr(deciding, "plan_outcome", plan)
    return known


MAPPED = dag("d", task("a"), task("m", "a", retries=3), task("z", "m"))


@pytest.mark.parametrize("count", [1, 3])
async def test_an_outcome_expands_what_waits_for_it(world: World, lengths: dict[str, int], count: int) -> None:
    lengths["m"] = count
    async with world.leading():
        run = await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1])
        ids = await launched(world, *(("m", index) for index in range(count)))
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(
                b"SELECT map_index, max_tries, operator, pool FROM task_instance WHERE task_id = 'm' ORDER BY 1"
            )
            assert await cursor.fetchall() == [(index, 3, "PythonOperator", "default_pool") for index in range(count)]
        for try_id in ids.values():
            assert await states(world, run, "z") == {-1: None}
            await world.end(try_id)
        await launched(world, ("z", -1))


async def test_an_outcome_with_no_items_skips_what_waits_for_it(world: World, lengths: dict[str, int]) -> None:
    lengths["m"] = 0
    async with world.leading():
        run = await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1])
        assert await states(world, run, "m") == {-1: "skipped"}
        assert await states(world, run, "z") == {-1: "skipped"}
        assert await world.run_state(run) == "success"


async def test_the_next_leader_finds_the_instances(world: World, lengths: dict[str, int]) -> None:
    lengths["m"] = 2
    async with world.leading():
        run = await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1])
        ids = await launched(world, ("m", 0), ("m", 1))
    async with world.leading("next"):
        await world.end(ids["m", 1])
        assert await states(world, run, "m") == {0: "queued", 1: "success"}


async def test_a_run_that_somebody_expanded_meanwhile_is_read_again(world: World, lengths: dict[str, int]) -> None:
    """Row 0 is there already: that voids the step, and is no violation of a key."""
    lengths["m"] = 2
    async with world.leading() as scheduler:
        await world.create(MAPPED)
        first = await launched(world, ("a", -1))
        async with world.db.api.connection() as conn:
            await execute(conn, b"UPDATE task_instance SET map_index = 0, id = gen_random_uuid() WHERE task_id = 'm'")
        await world.end(first["a", -1])
        await launched(world, ("m", 0), ("m", 1))
        assert scheduler.statistics().stale_steps == 1
        assert scheduler.statistics().refused_batches == 0


async def test_an_outcome_that_comes_when_the_task_has_ended_expands_nothing(
    world: World, lengths: dict[str, int]
) -> None:
    lengths["m"] = 2
    async with world.leading() as scheduler:
        run = await world.create(MAPPED)
        first = await launched(world, ("a", -1))
        async with world.db.api.transaction() as conn:
            state = TaskInstanceState.SKIPPED
            await task_instances.mark_instances(conn, run, [("m", -1)], state, now=utc_now(), because="by hand")
        await world.inbox.put(RunChanged(run))
        await world.end(first["a", -1])
        assert await states(world, run, "m") == {-1: "skipped"}
        assert scheduler.statistics().quarantined_runs == 0
