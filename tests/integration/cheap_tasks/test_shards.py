"""Shares of the waits on a real lock table: who comes, who goes, who is cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from leoflowd.cheap_tasks import shards as component
from leoflowd.cheap_tasks.shards import Shards
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.core.pool_shards import ALL_SHARDS
from leoflowd.store.database import Database
from leoflowd.supervision import Node, start_restarting
from tests.conftest import PATIENCE_S


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "LOOK_S", 0.02)
    monkeypatch.setattr(component, "SETTLE_S", 0.5)


class Share:
    """Remembers what it is to watch, and what was armed of it."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.armed: set[int] = set()
        self.slow: trio.Event | None = None

    def take(self, shards: frozenset[int]) -> None:
        assert not shards & self.held
        self.held |= shards

    async def arm(self, shards: frozenset[int]) -> None:
        if self.slow is not None:
            await self.slow.wait()
        self.armed |= shards & self.held

    async def give_up(self, shards: frozenset[int]) -> None:
        assert shards <= self.held
        await trio.lowlevel.checkpoint()
        self.held -= shards
        self.armed -= shards


class Member:
    def __init__(self, db: Database) -> None:
        self.share = Share()
        self.shards = Shards(conninfo=db.conninfo, share=self.share)
        self.node = Node("shards")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await start_restarting(nursery, self.node, self.shards.run, StoreUnavailable)
            yield
            nursery.cancel_scope.cancel()


async def until_shared_out(*members: Member) -> None:
    """Every shard is watched, by one of them, and each has some."""
    with trio.fail_after(PATIENCE_S):
        while not (  # noqa: ASYNC110  # the locks are in Postgres
            sorted(shard for member in members for shard in member.share.armed) == sorted(ALL_SHARDS)
            and all(member.share.armed for member in members)
            and all(member.shards.statistics().daemons == len(members) for member in members)
        ):
            await trio.sleep(0.01)


async def test_one_alone_watches_everything_before_it_reports_ready(database: Database) -> None:
    one = Member(database)
    async with one.running():
        assert one.share.armed == ALL_SHARDS
        assert one.shards.is_alone


async def test_who_comes_gets_a_share_and_who_goes_leaves_it_to_the_others(database: Database) -> None:
    one, two, three = Member(database), Member(database), Member(database)
    async with one.running():
        async with two.running():
            await until_shared_out(one, two)
            assert not one.shards.is_alone
            async with three.running():
                await until_shared_out(one, two, three)
            await until_shared_out(one, two)
        await until_shared_out(one)
        assert one.shards.is_alone


async def test_who_is_cut_off_goes_on_watching_and_comes_back_for_its_own(database: Database) -> None:
    one, two = Member(database), Member(database)
    async with one.running(), two.running():
        await until_shared_out(one, two)
        async with database.api.connection() as conn:
            await conn.execute(
                b"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                b" AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        with trio.fail_after(PATIENCE_S):
            while not (one.node.restarts and two.node.restarts):
                assert one.share.held | two.share.held == ALL_SHARDS
                await trio.sleep(0.01)
        await until_shared_out(one, two)


async def test_looks_go_on_while_a_share_is_armed(database: Database) -> None:
    """A million waits take longer to read than the server keeps a session that says nothing."""
    one, two = Member(database), Member(database)
    async with one.running(), trio.open_nursery() as nursery:
        two.share.slow = trio.Event()
        nursery.start_soon(start_restarting, nursery, two.node, two.shards.run, StoreUnavailable)
        with trio.fail_after(PATIENCE_S):
            while one.share.held | two.share.held != ALL_SHARDS or not two.share.held:  # noqa: ASYNC110
                await trio.sleep(0.01)
        third = Member(database)
        async with third.running():
            with trio.fail_after(PATIENCE_S):
                while two.shards.statistics().daemons != 3:  # noqa: ASYNC110
                    await trio.sleep(0.01)
        assert not two.share.armed
        two.share.slow.set()
        await until_shared_out(one, two)
        nursery.cancel_scope.cancel()
