"""A dag run whose content breaks something is set aside with the reason; everyone else goes on, and nothing is lost."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, XComItem
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.core.run_view import SET_ASIDE, RunView
from leoflowd.core.transitions import IllegalMove
from leoflowd.scheduler import committing, deciding
from leoflowd.scheduler.aside import STEP_ATTEMPTS
from leoflowd.scheduler.inbox import Reply, RunChanged, Sweep, TryEnded, TryLost
from leoflowd.scheduler.loop import Scheduler
from leoflowd.store import dag_runs, task_instances
from leoflowd.store.database import Database
from leoflowd.store.transitions import Batch, StaleViews, write_batch
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, attached, dag, task, utc_now
from tests.integration.scheduler.test_waits import LOGICAL_DATE, begun, end_of, outcome, sensor


async def ended(world: World, try_id: str, value: str = "1") -> TryEnded:
    """An outcome that no border has looked at."""
    result = Outcome(
        kind=OutcomeKind.SUCCESS,
        because="done",
        start_date=utc_now(),
        end_date=utc_now(),
        xcoms=(XComItem(key="return_value", value=value),),
    )
    return TryEnded(await world.row(try_id), result, None, Reply())


async def because_of(world: World, run: int) -> str:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT because FROM dag_run WHERE id = %(id)s", {"id": run})
        row = await cursor.fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture
def breaking_outcomes(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def broken(*_: Any, **__: Any) -> Any:
        raise IllegalMove("no table allows this")

    monkeypatch.setattr(deciding, "plan_outcome", broken)
    return monkeypatch


@pytest.mark.parametrize("guilty_one", [0, 2, 4])
async def test_a_batch_that_postgres_refuses_costs_only_the_guilty_run(world: World, guilty_one: int) -> None:
    async with world.leading() as scheduler:
        runs = [await world.create(dag(f"d{n}", task("a"), task("b", "a"))) for n in range(5)]
        tries = await world.launched_of(*(f"d{n}" for n in range(5)))
        events = [await ended(world, tries[f"d{n}"], "{" if n == guilty_one else "1") for n in range(5)]
        for event in events:
            world.inbox.hint(event)  # without a pause between them: one batch
        with trio.fail_after(PATIENCE_S):
            for n, event in enumerate(events):
                if n == guilty_one:
                    with pytest.raises(StoreUnavailable, match="set aside"):
                        await event.reply.wait()
                else:
                    await event.reply.wait()
        for n, run in enumerate(runs):
            expected = "queued" if n == guilty_one else "success"
            assert (await world.states(run))["a"] == expected
        await world.settled()
        assert "invalid input syntax for type json" in await because_of(world, runs[guilty_one])
        assert scheduler.statistics().refused_batches >= 1


async def test_a_reason_with_odd_characters_reaches_people(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise IllegalMove("a\0b\ud800")

    async with world.leading():
        monkeypatch.setattr(deciding, "plan_dag_run", broken)
        run = await world.create(dag("d", task("a")))
        await world.settled()
        assert r"a\x00b\ud800" in await because_of(world, run)


async def test_outcomes_stay_with_their_agents_until_a_person_changes_the_run(
    world: World, breaking_outcomes: pytest.MonkeyPatch
) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a"), task("b", "a")))
        first = (await world.launched_ids(1))["a"]
        for _ in range(2):  # the second time nothing breaks any more: it is not taken up, nor thrown away
            with pytest.raises(StoreUnavailable):
                await world.end(first)
            breaking_outcomes.undo()
        await world.inbox.put(attached())
        await world.settled()
        assert world.none_launched()
        assert await world.states(run) == {"a": "queued", "b": None}
        await world.inbox.put(RunChanged(run))
        await world.end(first)
        assert set(await world.launched_ids(1)) == {"b"}


async def test_a_lost_try_that_breaks_its_run_sets_aside_that_run_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = deciding.plan_outcome

    def broken(view: RunView, *rest: Any, **more: Any) -> Any:
        if view.dag_id == "broken":
            raise IllegalMove("no table allows this")
        return plan(view, *rest, **more)

    monkeypatch.setattr(deciding, "plan_outcome", broken)
    async with world.leading() as scheduler:
        guilty, other = [await world.create(dag(dag_id, task("a"))) for dag_id in ("broken", "other")]
        tries = await world.launched_of("broken", "other")
        for dag_run_id, dag_id in ((guilty, "broken"), (other, "other")):
            world.inbox.hint(TryLost(dag_run_id, tries[dag_id], "its agent is gone"))
        assert set(await world.launched_ids(1)) == {"a"}  # the other's, again
        await world.settled()
        assert scheduler.statistics().quarantined_runs == 1
        assert "no table allows this" in await because_of(world, guilty)
        assert await world.states(guilty) == {"a": "queued"}


async def test_a_sweep_takes_up_a_run_that_was_cleared(world: World, breaking_outcomes: pytest.MonkeyPatch) -> None:
    async with world.leading() as scheduler:
        run = await world.create(dag("d", task("a")))
        first = (await world.launched_ids(1))["a"]
        with pytest.raises(StoreUnavailable):
            await world.end(first)
        breaking_outcomes.undo()
        await world.inbox.put(Sweep())
        await world.settled()
        assert scheduler.statistics().quarantined_runs == 1
        async with world.db.api.transaction() as conn:
            await task_instances.clear_instances(
                conn, run, [("a", -1)], now=utc_now(), because="test", reset_dag_run=False
            )
        await world.inbox.put(Sweep())
        await world.end(first)
        assert (await world.launched_ids(1))["a"] != first


async def test_a_new_leader_finds_the_run_broken_again_and_goes_on(
    world: World, database: Database, breaking_outcomes: pytest.MonkeyPatch
) -> None:
    async with world.leading():
        await world.create(dag("d", task("a")))
        first = (await world.launched_ids(1))["a"]
        with pytest.raises(StoreUnavailable):
            await world.end(first)
    successor = World(database)
    async with successor.leading("next"):
        with pytest.raises(StoreUnavailable):
            await successor.end(first)
        breaking_outcomes.undo()
        await successor.create(dag("e", task("x")))
        await successor.end((await successor.launched_ids(1))["x"])


async def test_ends_of_waits_of_such_a_run_are_kept_and_others_are_not(
    world: World, breaking_outcomes: pytest.MonkeyPatch
) -> None:
    async with world.leading():
        await world.create(dag("broken", sensor("a"), task("b")), logical_date=LOGICAL_DATE)
        with pytest.raises(StoreUnavailable):
            await world.end((await world.launched_ids(1))["b"])
        breaking_outcomes.undo()
        await world.create(dag("good", sensor("a")), logical_date=LOGICAL_DATE)
        broken, good = await begun(world, 2)
        ends = [end_of(broken, outcome=outcome()), end_of(good, outcome=outcome())]
        with trio.fail_after(PATIENCE_S):
            assert await world.inbox.waits_ended(ends) == {str(broken.id)}
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT dag_id, state FROM dag_run ORDER BY dag_id")
            assert await cursor.fetchall() == [("broken", "running"), ("good", "success")]


async def test_a_run_that_voids_every_step_is_set_aside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    voided = 0

    async def refusing(conn: Any, batch: Batch, **given: Any) -> frozenset[str]:
        nonlocal voided
        if run in {write.dag_run_id for write in batch.runs}:
            voided += 1
            raise StaleViews(frozenset({run}))
        return await write_batch(conn, batch, **given)

    async with world.leading() as scheduler:
        run = await world.create(dag("d", task("a"), is_paused_upon_creation=True))
        await world.settled()
        monkeypatch.setattr(committing, "write_batch", refusing)
        async with world.db.api.connection() as conn:
            await conn.execute(b"UPDATE dag SET is_paused = false")
        await world.inbox.put(Sweep())
        await world.create(dag("e", task("x")))
        assert set(await world.launched_ids(1)) == {"x"}
        await world.until(lambda: _is_quarantined(scheduler))
        assert voided == STEP_ATTEMPTS


async def test_a_run_that_people_change_all_the_time_holds_up_nobody_and_is_not_set_aside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = 3 * STEP_ATTEMPTS

    async def overtaken(conn: Any, batch: Batch, **given: Any) -> frozenset[str]:
        """Somebody touches the run just before each of its batches."""
        nonlocal changes
        if changes and run in {write.dag_run_id for write in batch.runs}:
            changes -= 1
            async with world.db.api.transaction() as other:
                await dag_runs.touch_dag_run(other, run, utc_now())
        return await write_batch(conn, batch, **given)

    async with world.leading() as scheduler:
        run = await world.create(dag("d", task("a")))
        first = (await world.launched_ids(1))["a"]
        monkeypatch.setattr(committing, "write_batch", overtaken)
        await world.end(first)
        assert changes == 0
        assert await world.states(run) == {"a": "success"}
        assert scheduler.statistics().quarantined_runs == 0


async def _is_quarantined(scheduler: Scheduler) -> bool:
    await trio.lowlevel.checkpoint()
    return scheduler.statistics().quarantined_runs == 1


WIDE = "".join(chr(random.Random(seed).randrange(0x20000, 0x2A6D0)) for seed in range(512))
"""512 characters: together with a task id of such ones, more bytes than an index of PostgreSQL takes."""


@pytest.mark.parametrize(
    "poison",
    [{"key": ""}, {"key": "a\0b"}, {"key": WIDE}, {"value": "no json"}, {"value": r'"\u0000'}, {"key": "\ud800"}],
    ids=["empty key", "NUL in a key", "key too wide for an index", "no JSON", "torn JSON", "lone surrogate"],
)
async def test_an_outcome_that_postgres_refuses_costs_its_run_until_it_is_cleared(
    world: World, poison: dict[str, str]
) -> None:
    async with world.leading() as scheduler:
        bad = await world.create(dag("bad", task(WIDE[:250]), task("after", WIDE[:250])))
        good = await world.create(dag("good", task("g")))
        tries = await world.launched_of("bad", "good")
        item = XComItem(**{"key": "k", "value": "1", **poison})
        result = Outcome(kind=OutcomeKind.SUCCESS, because="x", start_date=utc_now(), end_date=utc_now(), xcoms=(item,))
        events = [TryEnded(await world.row(tries["bad"]), result, None, Reply()), await ended(world, tries["good"])]
        for event in events:
            world.inbox.hint(event)
        with trio.fail_after(PATIENCE_S):
            with pytest.raises(StoreUnavailable, match="set aside"):
                await events[0].reply.wait()
            await events[1].reply.wait()
        assert await world.run_state(good) == "success"
        assert scheduler.statistics().quarantined_runs == 1
        await world.settled()
        assert (await because_of(world, bad)).startswith(SET_ASIDE)
        async with world.db.api.transaction() as conn:
            await task_instances.clear_instances(
                conn, bad, [(WIDE[:250], -1)], now=utc_now(), because="test", reset_dag_run=False
            )
        await world.inbox.put(Sweep())
        await world.end(tries["bad"])
        await world.end((await world.launched_ids(1))[WIDE[:250]])
        await world.end((await world.launched_ids(1))["after"])
        assert await world.run_state(bad) == "success"


async def test_a_started_message_that_postgres_refuses_stops_nobody(world: World) -> None:
    async with world.leading() as scheduler:
        await world.create(dag("bad", task("b")))
        row = await world.row((await world.launched_ids(1))["b"])
        await world.inbox.try_started(row, at=utc_now(), hostname="h", pid=2**40)
        await world.create(dag("good", task("g")))
        await world.end((await world.launched_ids(1))["g"])
        assert scheduler.statistics().quarantined_runs == 1


async def test_a_run_that_is_taken_up_again_is_told_to_be(world: World, breaking_outcomes: pytest.MonkeyPatch) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a")))
        first = (await world.launched_ids(1))["a"]
        with pytest.raises(StoreUnavailable):
            await world.end(first)
        await world.settled()
        assert (await because_of(world, run)).startswith(SET_ASIDE)
        breaking_outcomes.undo()
        await world.inbox.put(RunChanged(run))
        await world.settled()
        assert await because_of(world, run) == "None"


async def test_a_host_that_lost_tries_of_a_run_that_is_set_aside_meanwhile_ends_nobody(
    world: World, breaking_outcomes: pytest.MonkeyPatch
) -> None:
    async with world.leading() as scheduler:
        await world.create(dag("d", task("a"), task("b")))
        for try_id in (await world.launched_ids(2)).values():
            await world.start(try_id)
        await world.settled()
        await world.inbox.put(attached())
        await world.settled()
        assert scheduler.statistics().quarantined_runs == 1
