"""One poll loop for many triggers: Airflow 3.3's shared streams.

Triggers with equal `shared_stream_key()` share one `open_shared_stream(kwargs)`; each reads a copy of what it yields
through `filter_shared_stream`. Classes that lack these methods are run by their `run`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from typing import Any

BACKLOG = 256
"""Items that a trigger may be behind the poll loop. Items are not dropped silently: a slower trigger fails."""


class TooSlow(RuntimeError):
    """A trigger does not read what its shared stream yields."""


class SharedStreams:
    """All poll loops of this host, by key."""

    def __init__(self) -> None:
        self._streams: dict[Hashable, _Stream] = {}

    async def subscribe(self, key: Hashable, trigger_class: Any, kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """What the poll loop yields from now on; its error, if it fails, for everybody who reads it."""
        stream = self._streams.get(key)
        if stream is None or stream.is_over:
            stream = self._streams[key] = _Stream(trigger_class.open_shared_stream(kwargs))
        reader = stream.join()
        try:
            async for item in reader:
                yield item
        finally:
            stream.leave(reader)
            if stream.is_over and self._streams.get(key) is stream:
                del self._streams[key]


class _Stream:
    """One poll loop; it ends with its last reader."""

    def __init__(self, source: AsyncIterator[Any]) -> None:
        self._source = source
        self._readers: set[_Reader] = set()
        self._poll = asyncio.get_running_loop().create_task(self._broadcast())

    @property
    def is_over(self) -> bool:
        return self._poll.done() or not self._readers

    def join(self) -> _Reader:
        reader = _Reader()
        self._readers.add(reader)
        return reader

    def leave(self, reader: _Reader) -> None:
        self._readers.discard(reader)
        if not self._readers:
            self._poll.cancel()

    async def _broadcast(self) -> None:
        end: BaseException = StopAsyncIteration()
        try:
            async for item in self._source:
                for reader in self._readers:
                    reader.offer(item)
        except Exception as error:  # noqa: BLE001  user code; whoever reads raises it again
            end = error
        finally:
            for reader in self._readers:
                reader.end(end)


class _Reader:
    """One trigger's copy."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._end: BaseException | None = None
        self._ready = asyncio.Event()

    def offer(self, item: Any) -> None:
        if len(self._items) < BACKLOG:
            self._items.append(item)
            self._ready.set()
        else:
            self.end(
                TooSlow(f"it is {BACKLOG} items behind its shared stream; let it read faster than the stream polls")
            )

    def end(self, error: BaseException) -> None:
        self._end = self._end or error
        self._ready.set()

    def __aiter__(self) -> _Reader:
        return self

    async def __anext__(self) -> Any:
        while not self._items:
            if self._end is not None:
                raise self._end
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()
