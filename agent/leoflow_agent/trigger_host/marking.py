"""Whose code runs now: known inside the process, and still known to the daemon after the process died.

Before each step of a trigger's coroutine (and of every task that it made) its wait id is written into a few bytes of
shared memory, and erased afterwards. When the host stalls, is killed, or ends in the middle of a step, the bytes name
the culprit; when it was killed between two steps they are empty, and nobody is to blame.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import asyncio
import contextvars
import mmap
from collections.abc import Callable, Coroutine, Generator
from typing import Any

SIZE = 64
"""Bytes of the marker: a wait id (36 characters), filled up with zeros."""
current_wait: contextvars.ContextVar[str] = contextvars.ContextVar("current_wait", default="")
"""Id of the wait whose trigger's code is running; inherited by its tasks and by `asyncio.to_thread`."""


class Marker:
    def __init__(self, descriptor: int) -> None:
        self._bytes = mmap.mmap(descriptor, SIZE)
        self.running = ""

    def task_factory(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """For `loop.set_task_factory`: a trigger's tasks leave their mark, our own do not."""
        wait_id = current_wait.get()
        return asyncio.Task(_Marked(self, wait_id, coroutine) if wait_id else coroutine, loop=loop, **kwargs)

    def enter(self, wait_id: str) -> None:
        self.running = wait_id
        self._bytes[:SIZE] = wait_id.encode().ljust(SIZE, b"\0")

    def leave(self) -> None:
        self.running = ""
        self._bytes[:SIZE] = bytes(SIZE)


class _Marked(Coroutine[Any, Any, Any]):
    """A coroutine with a mark around each of its steps."""

    def __init__(self, marker: Marker, wait_id: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._marker = marker
        self._wait_id = wait_id
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._coroutine.throw, *error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        """`cr_frame` and friends, which libraries look at."""
        return getattr(self._coroutine, name)

    def _step(self, step: Callable[..., Any], *arguments: Any) -> Any:
        self._marker.enter(self._wait_id)
        try:
            result = step(*arguments)
        except (SystemExit, KeyboardInterrupt):
            raise  # asyncio ends the process for it: the mark stays
        except BaseException:
            self._marker.leave()
            raise
        self._marker.leave()
        return result
