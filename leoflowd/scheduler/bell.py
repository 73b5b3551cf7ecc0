"""The hint of a component that looks at rows: rung when some came, and answered every so often by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class Bell:
    """Whoever rings while `look` runs is heard: it looks once more. What `look` returns is when it is due by itself."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def answer(self, look: Callable[[], Awaitable[float | None]], *, every_s: float) -> None:
        """Looks at once, and again at each ring, after as many seconds as it said or `every_s`; for ever."""
        while True:
            self._rung = trio.Event()
            due_in_s = await look()
            with trio.move_on_after(every_s if due_in_s is None else min(every_s, due_in_s)):
                await self._rung.wait()
