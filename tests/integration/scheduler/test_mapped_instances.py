"""Two instances of one task: in one run of a real scheduler, each is what it is by (task, map index)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio

from leoflowd.contract.agent_messages import OutcomeKind, TrySpec
from leoflowd.contract.dag_spec import EnvironmentSpec, MapInput, MappedSpec, TaskGroupSpec, XComRef
from leoflowd.contract.states import TaskInstanceState
from leoflowd.scheduler.inbox import HostAttached, RunChanged
from leoflowd.store import task_instances
from leoflowd.store.database import execute, fetch_value
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


# --- expansion ----------------------------------------------------------------------------------------------------

MAPPED = dag(
    "d",
    task("a"),
    task("m", "a", retries=3, mapped=MappedSpec(inputs=(MapInput(name="x", task_id="a"),), needs=("a",))),
    task("z", "m"),
)


@pytest.mark.parametrize("count", [1, 3])
async def test_an_outcome_expands_what_is_mapped_over_it(world: World, count: int) -> None:
    async with world.leading():
        run = await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value=str(list(range(count))))
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


async def test_an_outcome_with_no_items_skips_what_is_mapped_over_it(world: World) -> None:
    async with world.leading():
        run = await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value="[]")
        assert await states(world, run, "m") == {-1: "skipped"}
        assert await states(world, run, "z") == {-1: "skipped"}
        assert await world.run_state(run) == "success"


async def test_an_output_that_is_too_long_fails_its_task_and_is_not_stored(world: World) -> None:
    async with world.leading(max_map_length=2):
        run = await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value="[1, 2, 3]")
        assert await states(world, run, "a") == {-1: "failed"}
        assert await states(world, run, "m") == {-1: "upstream_failed"}
        async with world.db.api.connection() as conn:
            assert await xcoms_of(conn).outputs([(run, "a")]) == ()
            because = await fetch_value(conn, b"SELECT because FROM task_instance WHERE task_id = 'a'")
            assert "3 > 2" in because


async def test_the_next_leader_finds_the_instances(world: World) -> None:
    async with world.leading():
        run = await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value="[1, 2]")
        ids = await launched(world, ("m", 0), ("m", 1))
    async with world.leading("next"):
        await world.end(ids["m", 1])
        assert await states(world, run, "m") == {0: "queued", 1: "success"}


async def test_the_next_leader_knows_the_lengths_of_what_has_ended(world: World) -> None:
    """`b` holds the expansion back until another daemon leads, which reads how much `a` and `s` returned."""
    over = MappedSpec(inputs=(MapInput(name="x", task_id="a"), MapInput(name="y", task_id="s")), needs=("a", "s"))
    spec = dag(
        "d",
        task("a"),
        task("b"),
        task("s", mapped=MappedSpec(inputs=(MapInput(name="x", length=3),))),
        task("m", "a", "b", "s", mapped=over),
    )
    async with world.leading():
        run = await world.create(spec)
        ids = await launched(world, ("a", -1), ("b", -1), *(("s", index) for index in range(3)))
        await world.end(ids["a", -1], return_value='{"k": [1], "l": 2}')
        for index, returned in enumerate(['"one"', None, "[]"]):
            await world.end(ids["s", index], **({} if returned is None else {"return_value": returned}))
    async with world.leading("next"):
        assert await states(world, run, "m") == {-1: None}
        await world.end(ids["b", -1])
        await launched(world, *(("m", index) for index in range(4)))


async def test_a_run_that_somebody_expanded_meanwhile_is_read_again(world: World) -> None:
    """Row 0 is there already: that voids the step, and is no violation of a key."""
    async with world.leading() as scheduler:
        await world.create(MAPPED)
        first = await launched(world, ("a", -1))
        async with world.db.api.connection() as conn:
            await execute(conn, b"UPDATE task_instance SET map_index = 0, id = gen_random_uuid() WHERE task_id = 'm'")
        await world.end(first["a", -1], return_value="[1, 2]")
        await launched(world, ("m", 0), ("m", 1))
        assert scheduler.statistics().stale_steps == 1
        assert scheduler.statistics().refused_batches == 0


async def test_an_outcome_that_comes_when_the_task_has_ended_expands_nothing(world: World) -> None:
    async with world.leading() as scheduler:
        run = await world.create(MAPPED)
        first = await launched(world, ("a", -1))
        async with world.db.api.transaction() as conn:
            state = TaskInstanceState.SKIPPED
            await task_instances.mark_instances(conn, run, [("m", -1)], state, now=utc_now(), because="by hand")
        await world.inbox.put(RunChanged(run))
        await world.end(first["a", -1], return_value="[1, 2]")
        assert await states(world, run, "m") == {-1: "skipped"}
        assert scheduler.statistics().quarantined_runs == 0


async def test_a_cleared_source_that_returns_less_takes_instances_away(world: World) -> None:
    async with world.leading():
        run = await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value="[1, 2, 3]")
        for try_id in (await launched(world, *(("m", index) for index in range(3)))).values():
            await world.end(try_id)
        await world.end((await launched(world, ("z", -1)))["z", -1])
        async with world.db.api.transaction() as conn:
            keys = [("a", -1), *(("m", index) for index in range(3)), ("z", -1)]
            await task_instances.clear_instances(
                conn, run, keys, now=utc_now(), because="ann cleared it", reset_dag_run=True
            )
        await world.inbox.put(RunChanged(run))
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value="[1]")
        await launched(world, ("m", 0))
        assert await states(world, run, "m") == {0: "queued", 1: "removed", 2: "removed"}


# --- what a try is told of what it maps over -----------------------------------------------------------------------


async def specs_of(world: World, count: int) -> dict[Instance, TrySpec]:
    sent, refused = await world.dispatched(count)
    assert refused == []
    return {(one.spec.task_id, one.spec.map_index): one.spec for one in sent}


async def test_each_try_gets_its_item_and_not_the_list(world: World) -> None:
    over = MappedSpec(inputs=(MapInput(name="x", task_id="a"), MapInput(name="y", length=2)), needs=("a",))
    async with world.leading():
        await world.create(dag("d", task("a"), task("m", "a", mapped=over)))
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value='["p", {"q": 1}]')
        specs = await specs_of(world, 4)
        assert {key: [(x.value, x.length) for x in spec.xcoms] for key, spec in specs.items()} == {
            ("m", 0): [('{"0":"p"}', 2)],
            ("m", 1): [('{"0":"p"}', 2)],
            ("m", 2): [('{"1":{"q": 1}}', 2)],
            ("m", 3): [('{"1":{"q": 1}}', 2)],
        }


async def test_a_dict_comes_along_as_its_pair(world: World) -> None:
    async with world.leading():
        await world.create(MAPPED)
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value='{"k": [1], "l": 2}')
        specs = await specs_of(world, 2)
        assert [(x.value, x.is_dict) for x in specs["m", 1].xcoms] == [('{"1":["l",2]}', True)]


async def test_the_real_packages_get_the_whole_list(world: World) -> None:
    """They resolve what a task is mapped over themselves."""
    environment = EnvironmentSpec(connectors=("http",))
    async with world.leading():
        await world.create(msgspec.structs.replace(MAPPED, environment=environment))
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value="[1, 2]")
        specs = await specs_of(world, 2)
        assert [(x.value, x.length) for x in specs["m", 1].xcoms] == [("[1, 2]", msgspec.UNSET)]


async def test_a_try_inside_of_a_group_gets_what_has_its_map_index(world: World) -> None:
    group = TaskGroupSpec(
        group_id="g", label="g", mapped=MappedSpec(inputs=(MapInput(name="x", task_id="a"),), needs=("a",))
    )
    spec = dag(
        "d",
        task("a"),
        task("g.one", "a", group_id="g"),
        task("g.two", "g.one", group_id="g", xcom_refs=(XComRef(task_id="g.one"),)),
        groups=(group,),
    )
    async with world.leading():
        await world.create(spec)
        await world.end((await launched(world, ("a", -1)))["a", -1], return_value='["p", "q"]')
        ids = await launched(world, ("g.one", 0), ("g.one", 1))
        for index in (1, 0):
            await world.end(ids["g.one", index], return_value=str(index))
        specs = await specs_of(world, 2)
        for index in (0, 1):
            along = [(x.task_id, x.map_index, x.value) for x in specs["g.two", index].xcoms]
            assert along == [("g.one", index, str(index)), ("a", -1, f'{{"{index}":"{"pq"[index]}"}}')]
