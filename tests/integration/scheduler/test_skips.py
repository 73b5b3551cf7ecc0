"""Branches in a real scheduler: what a try skips is committed with its success, and outlives a clear and a restart."""

from __future__ import annotations

from typing import Any

import trio

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, XComItem
from leoflowd.contract.states import TriggerRule
from leoflowd.core.choices import CHOICE_KEY
from leoflowd.scheduler.inbox import RunChanged
from leoflowd.store import task_instances
from leoflowd.store.database import execute
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, dag, task, utc_now

BRANCHED = dag(
    "d",
    task("b", decides=True, retries=1, retry_delay_s=0),
    task("a", "b"),
    task("z", "b"),
    task("join", "a", "z", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS),
)


async def choose(world: World, try_id: str, *followed: str) -> None:
    """The try of `b` ends, having followed these."""
    row = await world.row(try_id)
    listed = ", ".join(f'"{task_id}"' for task_id in followed)
    outcome = Outcome(
        kind=OutcomeKind.SUCCESS,
        because="it chose",
        start_date=utc_now(),
        end_date=utc_now(),
        xcoms=(XComItem(key=CHOICE_KEY, value=f'{{"followed": [{listed}]}}'),),
        skips=tuple({"a", "z"} - set(followed)),
    )
    with trio.fail_after(PATIENCE_S):
        await world.inbox.try_ended(row, outcome, None)


async def clear(world: World, run: int, *task_ids: str) -> None:
    async with world.db.api.transaction() as conn:
        keys = [(task_id, -1) for task_id in task_ids]
        await task_instances.clear_instances(
            conn, run, keys, now=utc_now(), because="ann cleared it", reset_dag_run=True
        )
    await world.inbox.put(RunChanged(run))


async def branched(world: World) -> int:
    """A finished run that followed `a`."""
    run = await world.create(BRANCHED)
    await choose(world, (await world.launched_ids(1))["b"], "a")
    for task_id in ("a", "join"):
        await world.end((await world.launched_ids(1))[task_id])
    assert await world.run_state(run) == "success"
    return run


def ended(**states: str) -> dict[str, Any]:
    return {"b": "success", "a": "success", "z": "skipped", "join": "success", **states}


async def test_what_a_branch_leaves_out_is_skipped_with_its_success(world: World) -> None:
    async with world.leading():
        run = await branched(world)
        assert await world.states(run) == ended()


async def test_a_cleared_task_stays_left_out(world: World) -> None:
    async with world.leading():
        run = await branched(world)
        await clear(world, run, "z")
        await world.until(lambda: is_over(world, run))
        assert await world.states(run) == ended()
        assert world.none_launched()


async def test_also_after_a_restart_of_the_daemon(world: World) -> None:
    async with world.leading():
        run = await branched(world)
    await clear(world, run, "z", "join")
    async with world.leading(holder="next"):
        await world.end((await world.launched_ids(1))["join"])
        assert await world.states(run) == ended()


async def test_when_the_branch_runs_again_its_new_choice_counts(world: World) -> None:
    async with world.leading():
        run = await branched(world)
        await clear(world, run, "b", "a", "z", "join")
        again = (await world.launched_ids(1))["b"]
        assert await world.states(run) == {"b": "queued", "a": None, "z": None, "join": None}
        await choose(world, again, "z")
        for task_id in ("z", "join"):
            await world.end((await world.launched_ids(1))[task_id])
        assert await world.states(run) == ended(a="skipped", z="success")
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT value::text FROM xcom WHERE key = 'skipmixin_key'")
            assert await cursor.fetchall() == [('{"followed": ["z"]}',)]


async def test_only_a_decider_that_succeeded_has_chosen(world: World) -> None:
    async with world.leading():
        run = await branched(world)
        async with world.db.api.transaction() as conn:
            await execute(conn, b"UPDATE task_instance SET state = 'failed' WHERE task_id = 'b'")
        await clear(world, run, "z")
        await world.until(lambda: is_over(world, run))
        assert (await world.states(run))["z"] == "upstream_failed"


async def test_a_task_that_competes_for_slots_is_skipped_too(world: World) -> None:
    async with world.db.api.connection() as conn:
        await execute(conn, b"UPDATE pool SET slots = 1")
    async with world.leading():
        run = await world.create(
            dag("d", task("b", decides=True), task("z", "b", trigger_rule=TriggerRule.ALWAYS, priority_weight=-5))
        )
        first = await world.launched_ids(1)
        assert (await world.states(run))["z"] == "scheduled"
        await choose(world, first["b"], "a")
        assert await world.states(run) == {"b": "success", "z": "skipped"}
        assert world.none_launched()


async def is_over(world: World, run: int) -> bool:
    return await world.run_state(run) in ("success", "failed")


async def test_a_limit_per_task_holds_over_all_runs_of_a_dag(world: World) -> None:
    async with world.leading():
        spec = dag("d", task("t", max_active_tis_per_dag=1), task("u"))
        first = await world.create(spec, run_id="r1", is_announced=False)
        second = await world.create(spec, run_id="r2", is_announced=False)
        await world.inbox.put(RunChanged(first))
        tries = await world.launched_ids(2)
        await world.inbox.put(RunChanged(second))
        assert set(await world.launched_ids(1)) == {"u"}
        await world.settled()
        assert await world.states(second) == {"t": "scheduled", "u": "queued"}
        await world.end(tries["t"])
        assert set(await world.launched_ids(1)) == {"t"}


async def test_a_limit_per_task_and_run_leaves_other_runs_alone(world: World) -> None:
    async with world.leading():
        spec = dag("d", task("t", max_active_tis_per_dagrun=1))
        for run_id in ("r1", "r2"):
            await world.create(spec, run_id=run_id)
            assert set(await world.launched_ids(1)) == {"t"}
