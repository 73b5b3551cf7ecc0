"""What every `XComStore` promises to agents, dispatcher, scheduler and API."""

from __future__ import annotations

import uuid

import pytest

from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, XComPull
from leoflowd.contract.xcoms import Asker, Instance, XCom

from .conftest import NOW, World

KEY = "return_value"


def xcom(run: int, task_id: str, value: str, *, map_index: int = -1, key: str = KEY) -> XCom:
    return XCom(dag_run_id=run, task_id=task_id, map_index=map_index, key=key, value=value)


async def put(world: World, *xcoms: XCom) -> None:
    async with world.transaction() as store:
        await store.put_all(xcoms, NOW)


async def outputs(world: World, run: int, *task_ids: str) -> list[tuple[str, int, str, str]]:
    async with world.transaction() as store:
        found = await store.outputs([(run, task_id) for task_id in task_ids or "abc"])
    return sorted((x.task_id, x.map_index, x.key, x.value) for x in found)


async def pulled(world: World, run: int, **ask: object) -> list[tuple[str, int, str]]:
    async with world.transaction() as store:
        found = await store.pull(Asker(run, "d", "1"), XComPull(request_id=1, **ask))  # type: ignore[arg-type]
    assert {x.key for x in found} <= {ask.get("key", KEY)}
    return [(x.task_id, x.map_index, x.value) for x in found]


# --- what a running try pushes -----------------------------------------------------------------------------------


VALUES = [
    "null",
    '"text"',
    '{"b":  1.50, "a": [1,2 ], "a": 3}',
    r'"half \ud800 and \u0000"',
    '"' + "x" * (XCOM_MAX_BYTES - 2) + '"',
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
async def test_a_value_comes_back_exactly_as_it_was_given(world: World, value: str) -> None:
    run = await world.create("d", "1")
    try_id = await world.begin((run, "a", -1))
    async with world.transaction() as store:
        assert await store.put(try_id, KEY, value, NOW)
        await store.put_all([xcom(run, "b", value)], NOW)
        assert await store.insert(xcom(run, "c", value), NOW)
    assert await pulled(world, run) == [("a", -1, value), ("b", -1, value), ("c", -1, value)]
    async with world.transaction() as store:
        assert await store.fetch("d", "1", "a", -1, KEY) == value


async def test_the_last_push_wins(world: World) -> None:
    run = await world.create("d", "r")
    try_id = await world.begin((run, "a", -1))
    async with world.transaction() as store:
        assert await store.put(try_id, KEY, "1", NOW)
        assert await store.put(try_id, KEY, "2", NOW)
        assert await store.put(try_id, "other", "3", NOW)
    assert await outputs(world, run) == [("a", -1, "other", "3"), ("a", -1, KEY, "2")]


@pytest.mark.parametrize("state", ["success", "restarting"])
async def test_a_try_that_is_not_running_pushes_nothing(world: World, state: str) -> None:
    run = await world.create("d", "r")
    try_id = await world.begin((run, "a", -1), state)
    async with world.transaction() as store:
        assert not await store.put(try_id, KEY, "1", NOW)
    assert await outputs(world, run) == []


async def test_a_try_that_was_replaced_pushes_nothing(world: World) -> None:
    run = await world.create("d", "r")
    old = await world.begin((run, "a", -1))
    new = await world.begin((run, "a", -1))
    async with world.transaction() as store:
        assert await store.put(new, KEY, "1", NOW)
        assert not await store.put(old, KEY, "2", NOW)
        assert not await store.put(str(uuid.uuid4()), KEY, "3", NOW)
    assert await outputs(world, run) == [("a", -1, KEY, "1")]


# --- with the outcome --------------------------------------------------------------------------------------------


class Refused(Exception):
    """As a compare-and-set that matches no row."""


async def test_what_an_outcome_pushed_is_there_with_its_transaction_or_not_at_all(world: World) -> None:
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", "1"))
    with pytest.raises(Refused):
        async with world.transaction() as store:
            await store.put_all([xcom(run, "a", "2"), xcom(run, "b", "2")], NOW)
            await store.delete([(run, "a", -1)], key="other")
            raise Refused
    assert await outputs(world, run) == [("a", -1, KEY, "1")]


async def test_a_batch_of_outcomes_keeps_runs_tasks_instances_and_keys_apart(world: World) -> None:
    first, second = await world.create("d", "1", day=1), await world.create("d", "2", day=2)
    everything = [
        xcom(run, task_id, f'"{run} {task_id} {map_index} {key}"', map_index=map_index, key=key)
        for run in (first, second)
        for task_id in ("a", "b")
        for map_index in (-1, 0, 1)
        for key in (KEY, "k")
    ]
    await put(world, *everything)
    for run in (first, second):
        assert await outputs(world, run) == sorted(
            (x.task_id, x.map_index, x.key, x.value) for x in everything if x.dag_run_id == run
        )


async def test_of_a_run_that_was_deleted_meanwhile_nothing_is_kept(world: World) -> None:
    gone, stays = await world.create("d", "1", day=1), await world.create("d", "2", day=2)
    await put(world, xcom(gone, "a", "0"))
    await world.delete_run(gone)
    assert await outputs(world, gone) == []
    await put(world, xcom(gone, "a", "1"), xcom(stays, "a", "2"))
    assert await outputs(world, gone) == []
    assert await outputs(world, stays) == [("a", -1, KEY, "2")]


async def test_a_new_try_starts_with_none_and_takes_none_from_others(world: World) -> None:
    run = await world.create("d", "r")
    mapped: list[Instance] = [(run, "a", -1), (run, "a", 0), (run, "a", 1)]
    tries = [await world.begin(instance) for instance in mapped]
    await put(world, *(xcom(run, "a", "1", map_index=i) for _, _, i in mapped), xcom(run, "b", "2"))
    async with world.transaction() as store:
        await store.delete_of_tries([tries[0], tries[2], str(uuid.uuid4())])
    assert await outputs(world, run) == [("a", 0, KEY, "1"), ("b", -1, KEY, "2")]


async def test_the_values_of_a_try_that_was_replaced_are_not_its_own_any_more(world: World) -> None:
    run = await world.create("d", "r")
    old = await world.begin((run, "a", -1))
    await world.begin((run, "a", -1))
    await put(world, xcom(run, "a", "1"))
    async with world.transaction() as store:
        await store.delete_of_tries([old])
    assert await outputs(world, run) == [("a", -1, KEY, "1")]


# --- what tasks are given ----------------------------------------------------------------------------------------


async def test_outputs_are_those_of_the_pairs_asked_for(world: World) -> None:
    first, second = await world.create("d", "1", day=1), await world.create("d", "2", day=2)
    await put(world, *(xcom(run, task_id, f"{run}") for run in (first, second) for task_id in "ab"))
    async with world.transaction() as store:
        found = await store.outputs([(first, "a"), (second, "b")])
        assert await store.outputs([]) == ()
    assert [(x.dag_run_id, x.task_id) for x in found] == [(first, "a"), (second, "b")]


async def test_outputs_of_a_mapped_task_come_in_the_order_of_its_instances(world: World) -> None:
    run = await world.create("d", "r")
    await put(world, *(xcom(run, "a", str(i), map_index=i) for i in (10, 2, 0, 1)))
    async with world.transaction() as store:
        assert [x.value for x in await store.outputs([(run, "a")])] == ["0", "1", "2", "10"]


async def test_outputs_of_single_instances(world: World) -> None:
    run = await world.create("d", "r")
    await put(world, *(xcom(run, task_id, f'"{task_id}{i}"', map_index=i) for task_id in "ab" for i in (2, 0, 1)))
    async with world.transaction() as store:
        found = await store.outputs_of([(run, "b", 1), (run, "a", 2), (run, "a", 0), (run, "c", 0)])
        assert [x.value for x in found] == ['"a0"', '"a2"', '"b1"']
        assert await store.outputs_of([]) == ()


async def test_which_instances_returned_something(world: World) -> None:
    run, other = await world.create("d", "1", day=1), await world.create("d", "2", day=2)
    await put(world, xcom(run, "a", "1", map_index=0), xcom(run, "a", "2", map_index=3), xcom(other, "a", "3"))
    await put(world, xcom(run, "a", "4", map_index=5, key="k"), xcom(run, "b", "5"))
    async with world.transaction() as store:
        assert await store.returned([(run, "a")]) == {(run, "a", 0), (run, "a", 3)}
        assert await store.returned([(run, "b"), (other, "a")]) == {(run, "b", -1), (other, "a", -1)}
        assert await store.returned([]) == set()


async def test_outputs_under_one_key(world: World) -> None:
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", "1"), xcom(run, "a", "2", key="k"), xcom(run, "b", "3"))
    async with world.transaction() as store:
        assert [x.value for x in await store.outputs([(run, "a"), (run, "b")], key=KEY)] == ["1", "3"]


async def test_how_many_items_outputs_have(world: World) -> None:
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", "[1, [2, 3]]"), xcom(run, "b", '{"x": 1}'), xcom(run, "c", '"text"'))
    await put(world, xcom(run, "a", "[1, 2, 3]", key="k"))
    async with world.transaction() as store:
        assert await store.lengths([(run, name) for name in "abc"]) == {(run, "a", -1): 2, (run, "b", -1): 1}
        assert await store.lengths([]) == {}


async def test_a_task_pulls_page_by_page(world: World) -> None:
    run = await world.create("d", "1", day=1)
    await put(world, *(xcom(run, "a", str(i), map_index=i) for i in range(5)))
    asker = Asker(run, "d", "1")
    async with world.transaction() as store:

        async def page(offset: int, limit: int) -> list[str]:
            ask = XComPull(request_id=1, task_ids=("a",), offset=offset, limit=limit)
            assert await store.count(asker, ask) == 5
            return [x.value for x in await store.pull(asker, ask)]

        assert await page(0, 2) == ["0", "1"]
        assert await page(4, 2) == ["4"]
        assert await page(5, 2) == []
        assert await page(0, 0) == []


async def test_a_task_pulls_from_its_own_run_by_key_task_and_map_index(world: World) -> None:
    run, other = await world.create("d", "1", day=1), await world.create("d", "2", day=2)
    await put(world, *(xcom(run, "b", str(i), map_index=i) for i in (2, 10, 0)), xcom(run, "a", '"a"'))
    await put(world, xcom(run, "a", '"k"', key="k"), xcom(other, "a", '"other"'))
    assert await pulled(world, run) == [("a", -1, '"a"'), ("b", 0, "0"), ("b", 2, "2"), ("b", 10, "10")]
    assert await pulled(world, run, key="k") == [("a", -1, '"k"')]
    assert await pulled(world, run, task_ids=("b", "c"), map_indexes=(0, 10)) == [("b", 0, "0"), ("b", 10, "10")]
    assert await pulled(world, run, map_indexes=(-1,)) == [("a", -1, '"a"')]
    assert await pulled(world, run, task_ids=()) == []


async def test_a_task_pulls_from_the_run_of_another_dag_with_the_name_of_its_own(world: World) -> None:
    """Once it found nothing, whatever there was."""
    own, same, later = [
        await world.create(dag_id, run_id, day=day)
        for dag_id, run_id, day in (("d", "1", 2), ("e", "1", 3), ("e", "2", 2))
    ]
    await put(world, xcom(own, "a", "0"), xcom(same, "a", "1"), xcom(later, "a", "2"))
    assert await pulled(world, own, dag_id="e") == [("a", -1, "1")]


async def test_a_task_pulls_from_a_run_that_it_names(world: World) -> None:
    own, named = await world.create("d", "1", day=1), await world.create("d", "2", day=2)
    other = await world.create("e", "2", day=2)
    await put(world, xcom(own, "a", "0"), xcom(named, "a", "1"), xcom(other, "a", "2"))
    assert await pulled(world, own, run_id="2") == [("a", -1, "1")]
    assert await pulled(world, own, run_id="nowhere") == []


async def test_with_prior_dates_earlier_runs_follow_the_one_that_is_meant(world: World) -> None:
    """The runner of real Airflow names the run always, its own one too."""
    days = {"1": 3, "2": 1, "3": 2, "4": 4}
    runs = {run_id: await world.create("d", run_id, day=day) for run_id, day in days.items()}
    await put(world, *(xcom(run, task_id, run_id) for run_id, run in runs.items() for task_id in "ab"))
    own = runs["1"]
    prior = {"include_prior_dates": True}
    by_run_then_task = [(task_id, -1, run_id) for run_id in ("1", "3", "2") for task_id in "ab"]
    assert await pulled(world, own, **prior) == by_run_then_task
    assert await pulled(world, own, run_id="1", **prior) == by_run_then_task
    assert await pulled(world, own, run_id="3", **prior) == by_run_then_task[2:]


async def test_with_prior_dates_a_dag_without_a_run_of_that_name_is_asked_for_what_was_before(world: World) -> None:
    own = await world.create("d", "1", day=2)
    for run_id, day in (("x", 1), ("y", 3)):
        await put(world, xcom(await world.create("e", run_id, day=day), "a", str(day)))
    assert await pulled(world, own, dag_id="e", include_prior_dates=True) == [("a", -1, "1")]


# --- by hand -----------------------------------------------------------------------------------------------------


async def test_a_person_adds_changes_and_deletes_one_value(world: World) -> None:
    run = await world.create("d", "r")
    async with world.transaction() as store:
        assert not await store.replace(xcom(run, "a", "1"), NOW)
        assert await store.fetch("d", "r", "a", -1, KEY) is None
        assert await store.insert(xcom(run, "a", "1"), NOW)
        assert not await store.insert(xcom(run, "a", "2"), NOW)
        assert await store.fetch("d", "r", "a", -1, KEY) == "1"
        assert await store.replace(xcom(run, "a", "3"), NOW)
        assert await store.fetch("d", "r", "a", -1, KEY) == "3"
        assert await store.insert(xcom(run, "a", "4", key="k"), NOW)
        assert await store.delete([(run, "a", -1)], key=KEY) == 1
        assert await store.delete([(run, "a", -1)], key=KEY) == 0
    assert await outputs(world, run) == [("a", -1, "k", "4")]


async def test_one_value_is_found_by_all_of_its_name(world: World) -> None:
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", "1", map_index=3))
    async with world.transaction() as store:
        assert await store.fetch("d", "r", "a", 3, KEY) == "1"
        for name in [("e", "r", "a", 3, KEY), ("d", "q", "a", 3, KEY), ("d", "r", "b", 3, KEY)]:
            assert await store.fetch(*name) is None
        assert await store.fetch("d", "r", "a", -1, KEY) is None
        assert await store.fetch("d", "r", "a", 3, "k") is None


async def test_clearing_deletes_all_values_of_the_instances(world: World) -> None:
    run, other = await world.create("d", "1", day=1), await world.create("d", "2", day=2)
    await put(world, *(xcom(r, t, "1", key=k) for r in (run, other) for t in "abc" for k in ("x", "y")))
    async with world.transaction() as store:
        assert await store.delete([(run, "a", -1), (run, "b", -1), (run, "c", 0)]) == 4
        assert await store.delete([]) == 0
    assert {task_id for task_id, *_ in await outputs(world, run)} == {"c"}
    assert len(await outputs(world, other)) == 6
