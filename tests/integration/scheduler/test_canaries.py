"""A canary beside a real scheduler: its runs fail, the leader goes, the next one rolls it back. ADR 81."""

from __future__ import annotations

import msgspec
import trio

from leoflowd.config import SchedulerConfig
from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.core.canary import CanaryTerms, gets_canary
from leoflowd.core.silence import Signs
from leoflowd.scheduler.replicas import Others
from leoflowd.scheduler.sweeps import Sweeper
from leoflowd.store import canaries
from leoflowd.store.canary_versions import register_canary
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, dag, task, utc_now

FIRST = dag("d", task("a"), max_active_runs=0)
SECOND = msgspec.structs.replace(FIRST, tags=("two",))


async def run_to_the_end(world: World, run_ids: list[str]) -> None:
    """The new version fails, the old one does not."""
    async with world.leading():
        for run_id in run_ids:
            await world.create(FIRST, run_id)
        open_runs = set(run_ids)
        with trio.fail_after(PATIENCE_S):
            while open_runs:
                for one in await world.launches.receive():
                    is_new = gets_canary("d", one.run.run_id, 50)
                    await world.end(one.try_id, OutcomeKind.FAILED if is_new else OutcomeKind.SUCCESS)
                    open_runs.discard(one.run.run_id)
        await world.settled()


async def outcome(world: World) -> str | None:
    async with world.db.api.connection() as conn:
        newest, _ = await canaries.list_versions(conn, "d")
    return str(newest["canary"]["outcome"]) if newest["canary"]["ended_at"] else None


async def test_a_canary_that_fails_is_rolled_back_whoever_leads(world: World) -> None:
    await world.register(FIRST)
    async with world.db.api.transaction() as conn:
        terms = CanaryTerms(share=50, rollback_above=20, after=8)
        assert await register_canary(conn, SECOND, terms, by="ana", now=utc_now()) is not None
    ids = [f"run_{n}" for n in range(20)]
    of_canary = [run_id for run_id in ids if gets_canary("d", run_id, 50)]
    assert 8 <= len(of_canary) < 16, "so that the first term's are too few to judge by"
    await run_to_the_end(world, ids[:10])
    await run_to_the_end(world, ids[10:])
    async with trio.open_nursery() as nursery:
        sweeper = Sweeper(
            db=world.db,
            inbox=world.inbox,
            config=SchedulerConfig(sweep_interval_s=0.01),
            now=utc_now,
            signs=lambda _try_id: Signs(silent_s=0.0, launched_s=1.0, launches=1, listening_s=1e6),
            others=Others(world.db, "me"),
        )
        await nursery.start(sweeper.run)

        async def is_over() -> bool:
            return await outcome(world) is not None

        await world.until(is_over)
        nursery.cancel_scope.cancel()
    assert await outcome(world) == "rolled_back"
    await run_to_the_end(world, ["afterwards_1", "afterwards_2", "afterwards_3"])
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(
            b"SELECT r.run_id, v.version_number FROM dag_run r JOIN dag_version v ON v.id = r.dag_version_id"
        )
        found = dict(await cursor.fetchall())
    assert found == {run_id: 2 if run_id in of_canary else 1 for run_id in found}
