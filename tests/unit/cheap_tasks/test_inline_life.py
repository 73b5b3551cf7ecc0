"""Inline calls end with their tries, told or not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from leoflowd.cheap_tasks import inline_life
from leoflowd.cheap_tasks.inline_life import SWEEP_S, InlineLife
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.store.hints import Hint


class Calls:
    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def calls(self) -> tuple[str, ...]:
        return ("a",)

    def cancel(self, try_id: str) -> None:
        self.cancelled.append(try_id)


class Lane:
    @asynccontextmanager
    async def connection(self) -> Any:
        await trio.lowlevel.checkpoint()
        yield None


@pytest.mark.parametrize("failures", [[], [StoreUnavailable("away")], [ValueError("a row that cannot be read")]])
async def test_a_call_is_ended_although_nobody_sent_a_hint(
    failures: list[Exception], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: object) -> list[Any]:
        return []

    async def gone(*_: object) -> list[Any]:
        if failures:
            raise failures.pop()
        return []

    monkeypatch.setattr(inline_life.tries, "list_running_calls", none)
    monkeypatch.setattr(inline_life.tries, "list_tries", gone)
    calls: Any = Calls()
    lane: Any = Lane()
    reports: Any = None
    _send, hints = trio.open_memory_channel[Hint](1)
    attempts = len(failures) + 1
    life = InlineLife(lane=lane, inline=calls, reports=reports, hints=hints, now=lambda: datetime.now(UTC))
    async with trio.open_nursery() as nursery:
        await nursery.start(life.run)
        await trio.sleep(SWEEP_S * attempts + 1)
        assert calls.cancelled == ["a"]
        nursery.cancel_scope.cancel()
