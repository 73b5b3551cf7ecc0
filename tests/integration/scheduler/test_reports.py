"""Two daemons on one database: what one is told, the other decides. The follower's inbox is drained into rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest
import trio
import trio.testing

from leoflowd.assembly.foundation import tell_end
from leoflowd.contract.agent_messages import Outcome, OutcomeKind, XComItem
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.waits import WaitEnd
from leoflowd.core.silence import Signs
from leoflowd.scheduler.inbox import Inbox, RunChanged, Sweep
from leoflowd.scheduler.replicas import Heart, Others
from leoflowd.scheduler.reports import KeptReports, OthersReports, follow
from leoflowd.store import replicas, reports
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, attached, dag, task, utc_now

QUIET = Signs(silent_s=None, launched_s=None, listening_s=1e6)


def outcome(kind: OutcomeKind = OutcomeKind.SUCCESS, **xcoms: str) -> Outcome:
    items = tuple(XComItem(key=key, value=value) for key, value in xcoms.items())
    return Outcome(kind=kind, because="said elsewhere", start_date=utc_now(), end_date=utc_now(), xcoms=items)


@asynccontextmanager
async def following(db: Database) -> AsyncIterator[Inbox]:
    """A daemon that does not lead."""
    inbox = Inbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(KeptReports(db=db, inbox=inbox, now=utc_now).run)
        yield inbox
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def reading(world: World) -> AsyncIterator[OthersReports]:
    """What the leader does beside its scheduler; it looks only when it is told."""
    reader = OthersReports(db=world.db, inbox=world.inbox, sweep_interval_s=3600)
    async with trio.open_nursery() as nursery:
        await nursery.start(reader.run)
        yield reader
        nursery.cancel_scope.cancel()


async def rows(db: Database) -> int:
    async with db.api.connection() as conn:
        return len(await reports.list_reports(conn, after=0))


async def none_left(world: World) -> bool:
    return await rows(world.db) == 0


async def test_a_try_whose_end_another_daemon_heard_is_not_taken_for_lost(world: World) -> None:
    """Its pod may be gone by the time that the leader reads what its agent said."""
    async with world.leading(), following(world.db) as follower:
        run = await world.create(dag("d", task("a")))
        ids = await world.launched_ids(1)
        row = await world.row(ids["a"])
        with trio.fail_after(PATIENCE_S):
            await follower.try_ended(row, outcome(), None)
            with pytest.raises(StoreUnavailable, match="is not decided yet"):
                await tell_end(world.db, world.inbox, ids["a"], outcome(OutcomeKind.LOST))
            async with reading(world):
                await world.until(lambda: none_left(world))
            await tell_end(world.db, world.inbox, ids["a"], outcome(OutcomeKind.LOST))
        assert await world.states(run) == {"a": "success"}


async def test_what_a_follower_was_told_is_decided_by_the_leader(world: World) -> None:
    async with world.leading(), following(world.db) as follower:
        run = await world.create(dag("d", task("a"), task("b", "a")))
        ids = await world.launched_ids(1)
        row = await world.row(ids["a"])
        await follower.try_started(row, at=utc_now(), hostname="there", pid=7)
        with trio.fail_after(PATIENCE_S):
            await follower.try_ended(row, outcome(return_value='"a\\u0000b"'), {"op_args": ["x"]})
        assert await rows(world.db) == 2  # acknowledged as rows: nobody reads them yet
        assert await world.states(run) == {"a": "queued", "b": None}
        async with reading(world):
            assert (await world.launched_ids(1)).keys() == {"b"}
            await world.until(lambda: none_left(world))
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT hostname, rendered_fields FROM task_instance WHERE task_id = 'a'")
            assert await cursor.fetchall() == [("there", {"op_args": ["x"]})]
            cursor = await conn.execute(b"SELECT value::text FROM xcom")
            assert await cursor.fetchall() == [('"a\\u0000b"',)]


async def test_a_row_that_its_leader_could_not_delete_is_decided_once(world: World) -> None:
    async with world.leading(), following(world.db) as follower:
        await world.create(dag("d", task("a", retries=5)))
        ids = await world.launched_ids(1)
        row = await world.row(ids["a"])
        with trio.fail_after(PATIENCE_S):
            await follower.try_ended(row, outcome(OutcomeKind.LOST), None)
            await world.inbox.try_ended(row, outcome(OutcomeKind.LOST), None)  # the commit whose deletion was lost
        assert (await world.launched_ids(1)).keys() == {"a"}
        async with reading(world):
            await world.until(lambda: none_left(world))
        await world.settled()
        assert world.none_launched()


async def test_ends_of_waits_and_hints_of_a_follower(world: World) -> None:
    async with following(world.db) as follower:
        follower.hint(RunChanged(1))
        await follower.put(Sweep())
        with trio.fail_after(PATIENCE_S):
            assert await follower.waits_ended([WaitEnd(id="gone", dag_run_id=1, outcome=outcome())]) == frozenset()
        assert await rows(world.db) == 1  # a new leader reads everything: hints are not kept
    async with world.leading(), reading(world):
        await world.until(lambda: none_left(world))


async def test_what_a_set_aside_run_was_told_stays_until_it_is_taken_up(world: World) -> None:
    async with world.leading() as scheduler, following(world.db) as follower, reading(world) as reader:
        run = await world.create(dag("d", task("a"), task("b", "a")))
        ids = await world.launched_ids(1)
        row = await world.row(ids["a"])
        scheduler._aside._revisions[run] = None
        scheduler._views.forget(run)
        await follower.try_ended(row, outcome(), None)
        reader.came()
        await world.until(lambda: _waiting(reader))
        assert await rows(world.db) == 1
        await world.inbox.put(RunChanged(run))
        await world.settled()
        reader.came()
        assert (await world.launched_ids(1)).keys() == {"b"}


async def _waiting(reader: OthersReports) -> bool:
    return reader.statistics()["waiting"] == 1


async def test_a_row_that_nobody_understands_stops_no_other(world: World) -> None:
    async with world.leading(), following(world.db) as follower:
        await world.create(dag("d", task("a")))
        ids = await world.launched_ids(1)
        async with world.db.api.transaction() as conn:
            await reports.insert_reports(conn, ['{"type": "OfALaterRelease"}', '{"type": "TryEnded"}'], utc_now())
        await follower.try_ended(await world.row(ids["a"]), outcome(), None)
        async with reading(world):
            await world.until(lambda: _left(world, 2))


async def _left(world: World, count: int) -> bool:
    return await rows(world.db) == count


async def test_without_postgres_a_follower_acknowledges_nothing(database: Database) -> None:
    inbox = Inbox()
    broken = Database("host=/nowhere user=nobody")
    kept = KeptReports(db=broken, inbox=inbox, now=utc_now)
    failures: list[StoreUnavailable] = []

    async def tell() -> None:
        try:
            await inbox.waits_ended([WaitEnd(id="w", dag_run_id=1, outcome=outcome())])
        except StoreUnavailable as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StoreUnavailable):
            await kept.run()
    assert failures


# --- whose try it is ---------------------------------------------------------------------------------------------


async def test_an_agent_is_asked_only_for_the_tries_of_its_own_daemon(world: World) -> None:
    async with world.leading(launcher="one"):
        run = await world.create(dag("d", task("a"), task("b")))
        ids = await world.launched_ids(2)
        await world.start(ids["a"])
        await world.inbox.put(attached(launcher="two"))
        await world.settled()
        assert await world.states(run) == {"a": "running", "b": "queued"}
        assert world.none_launched()
        await world.inbox.put(attached(launcher="one"))
        assert (await world.launched_ids(2)).keys() == {"a", "b"}  # b once more, a as a new try


async def test_a_launch_that_never_arrived_elsewhere_is_made_here(world: World) -> None:
    async with world.leading(launcher="one"):
        await world.create(dag("d", task("a")))
        first = await world.launched_ids(1)
    async with world.leading(launcher="two"):
        await world.inbox.put(Sweep())
        await world.settled()
        assert world.none_launched()  # the other daemon may have started it
        await world.inbox.put(attached(launcher="one"))
        again = await world.launched_ids(1)
        assert again.keys() == {"a"}
        assert again["a"] != first["a"]


async def test_a_launch_that_its_leader_did_not_hand_over_is_made_here_when_that_one_follows(world: World) -> None:
    """It lost its session between commit and hand-over, and its agent stayed (ADR 53)."""
    async with world.leading(launcher="one"):
        run = await world.create(dag("d", task("lost"), task("given"), task("runs")))
        first = await world.launched_ids(3)
        await world.start(first["runs"])
        await world.settled()
    asked: list[datetime] = []

    async def tell_held(at: datetime) -> None:
        asked.append(at)
        await follower.term_ended(hostname="there", known_try_ids=frozenset({first["given"]}), launcher="one", at=at)

    follower = Inbox()
    kept = KeptReports(db=world.db, inbox=follower, now=utc_now)
    async with world.leading(launcher="two"), trio.open_nursery() as nursery:
        nursery.start_soon(follow, kept, tell_held, utc_now)
        await world.until(lambda: _left(world, 1))
        async with reading(world):
            again = await world.launched_ids(1)
            await world.until(lambda: none_left(world))
        await world.settled()
        assert again.keys() == {"lost"}
        assert again["lost"] != first["lost"]
        assert await world.states(run) == {"lost": "queued", "given": "queued", "runs": "running"}
        assert world.none_launched()
        assert len(asked) == 1
        nursery.cancel_scope.cancel()


async def test_what_was_queued_after_the_agent_came_is_none_of_its_business(world: World) -> None:
    early = attached(launcher="one")
    async with world.leading(launcher="one"):
        run = await world.create(dag("d", task("a")))
        ids = await world.launched_ids(1)
        await world.start(ids["a"])
        await world.inbox.put(early)
        await world.settled()
        assert await world.states(run) == {"a": "running"}
        assert world.none_launched()


async def test_a_try_that_another_daemon_hears_is_not_silent(
    database: Database, mock_clock: trio.testing.MockClock
) -> None:
    others = Others(database, "me")
    heart = Heart(db=database, replica="other", name="host/1", heard=lambda: [TRY], agents=lambda: 1, now=utc_now)
    mock_clock.jump(1000)
    await heart._beat()
    await others.look()
    assert others.signs(TRY, QUIET, launcher="other").silent_s == 0
    mock_clock.jump(30)
    await others.look()  # it did not beat again
    assert others.signs(TRY, QUIET, launcher="other").silent_s == 30
    assert others.signs(TRY, QUIET, launcher="other").listening_s == 1030  # since the term began
    assert others.signs(UNHEARD, QUIET, launcher="other").silent_s is None
    assert others.signs(UNHEARD, QUIET, launcher="me") == QUIET
    await heart._beat()
    await others.look()
    assert others.signs(TRY, QUIET, launcher="other").silent_s == 0


async def test_a_daemon_that_left_is_forgotten(database: Database) -> None:
    async with database.api.transaction() as conn:
        await replicas.beat(conn, replica="old", name="h/1", tries=[], agents=1, now=utc_now())
        await replicas.beat(conn, replica="me", name="h/2", tries=[], agents=1, now=utc_now())
        assert [row.id for row in await replicas.list_others(conn, "me")] == ["old"]
        assert await replicas.delete_gone(conn, utc_now()) == 2


TRY = "11111111-1111-4111-8111-111111111111"
UNHEARD = "22222222-2222-4222-8222-222222222222"


async def test_a_report_that_cannot_be_written_stops_no_other(database: Database) -> None:
    bad, good = (WaitEnd(id=one, dag_run_id=1, outcome=outcome(), because=one) for one in ("\ud800", "fine"))
    told: dict[str, bool] = {}
    inbox = Inbox()

    async def tell(end: WaitEnd) -> None:
        try:
            await inbox.waits_ended([end])
            told[end.because] = True
        except StoreUnavailable:
            told[end.because] = False

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as kept, trio.open_nursery() as nursery:
            nursery.start_soon(tell, bad)
            nursery.start_soon(tell, good)
            await trio.testing.wait_all_tasks_blocked()
            kept.start_soon(KeptReports(db=database, inbox=inbox, now=utc_now).run)
            while len(told) < 2:  # noqa: ASYNC110  # both answers, in whatever order
                await trio.sleep(0.01)
            kept.cancel_scope.cancel()
    assert told == {"\ud800": False, "fine": True}
    assert await rows(database) == 1
