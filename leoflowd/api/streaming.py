"""Answers that go out line by line while something happens. Not for what is complete already: see `answers`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self

from quart import Response, copy_current_request_context


class LineStream:
    """An async iterator over `next_line(first)` until it returns None; ends when the client leaves.

    A class, because async generators leave their clean-up to the garbage collector.
    """

    def __init__(self, next_line: Callable[[bool], Awaitable[bytes | None]]) -> None:
        self._next_line: Callable[[bool], Awaitable[bytes | None]] = copy_current_request_context(next_line)
        self._first = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        line = await self._next_line(self._first)
        self._first = False
        if line is None:
            raise StopAsyncIteration
        return line

    def answer(self) -> Response:
        answer = Response(self)
        answer.timeout = None  # also tells `app` not to shield or compress it
        del answer.headers["Content-Type"]
        return answer
