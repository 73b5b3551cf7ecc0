"""What becomes of tries that nobody speaks of, and of those that no agent could take."""

from __future__ import annotations

from leoflowd.config import SchedulerConfig
from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.core.silence import Signs
from leoflowd.scheduler.inbox import RunChanged
from leoflowd.scheduler.replicas import Others
from leoflowd.scheduler.sweeps import Sweeper
from tests.integration.scheduler.conftest import World, dag, task, utc_now

ALIVE = Signs(silent_s=0.0, launched_s=1.0, launches=1, listening_s=1e6)
NEVER_LAUNCHED = Signs(silent_s=None, launched_s=None, listening_s=1e6)
NEVER_HEARD = Signs(silent_s=None, launched_s=500.0, launches=1, listening_s=1e6)
FROZEN = Signs(silent_s=500.0, launched_s=600.0, launches=1, listening_s=1e6)


async def reason(world: World) -> str:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT because FROM task_instance_history")
        rows = await cursor.fetchall()
    [(because,)] = rows
    return str(because)


async def sweep(world: World, signs: dict[str, Signs]) -> None:
    """Once, and to its end: what it found is in the inbox."""
    config = SchedulerConfig()
    sweeper = Sweeper(
        db=world.db,
        inbox=world.inbox,
        config=config,
        now=utc_now,
        signs=lambda t: signs.get(t, ALIVE),
        others=Others(world.db, "me"),
    )
    for lost in await sweeper._silent_tries():
        await world.inbox.put(lost)


async def test_a_queued_try_that_never_said_hello_runs_again(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a"), task("b")))
        ids = await world.launched_ids(2)
        await sweep(world, {ids["a"]: NEVER_HEARD, ids["b"]: NEVER_LAUNCHED})
        found = await world.launched_ids(1)
        assert found.keys() == {"a"}
        assert found["a"] != ids["a"]
    assert "never said hello" in await reason(world)


async def test_a_running_try_of_a_frozen_agent_runs_again(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a"), task("b")))
        ids = await world.launched_ids(2)
        for try_id in ids.values():
            await world.start(try_id)
        await sweep(world, {ids["a"]: FROZEN})
        found = await world.launched_ids(1)
        assert found.keys() == {"a"}
        assert found["a"] != ids["a"]
    assert "has been silent about it for 500 s" in await reason(world)


async def test_a_try_that_found_no_room_twice_waits_and_then_runs_without_using_a_retry(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a", retries=0)))
        for _ in range(2):
            await world.end((await world.launched_ids(1))["a"], OutcomeKind.LOST)
        assert await world.states(run) == {"a": "up_for_retry"}
        async with world.db.api.connection() as conn:
            await conn.execute(b"UPDATE task_instance SET due_at = now()")
            await conn.execute(b"UPDATE dag_run SET revision = revision + 1")
        await world.inbox.put(RunChanged(run))
        await world.end((await world.launched_ids(1))["a"])
        assert await world.states(run) == {"a": "success"}
