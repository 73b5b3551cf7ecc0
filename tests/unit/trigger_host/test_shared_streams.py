"""One poll loop for many triggers: begun by the first reader, ended with the last, never silently lossy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from leoflow_agent.trigger_host.shared_streams import BACKLOG, SharedStreams, TooSlow


class Source:
    """A trigger class whose stream yields `kwargs["items"]` and then waits for ever."""

    opened = 0
    closed = 0

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        cls.opened += 1
        try:
            for item in kwargs["items"]:
                yield item
            await asyncio.Event().wait()
        finally:
            cls.closed += 1


@pytest.fixture(autouse=True)
def _counted_from_zero() -> None:
    Source.opened = Source.closed = 0


async def first(stream: AsyncIterator[Any], count: int) -> list[Any]:
    found = []
    async for item in stream:
        found.append(item)
        if len(found) == count:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    return found


def test_each_reader_sees_every_item() -> None:
    async def main() -> list[list[int]]:
        streams = SharedStreams()
        readers = [first(streams.subscribe("k", Source, {"items": range(5)}), 5) for _ in range(3)]
        return await asyncio.gather(*readers)

    assert asyncio.run(main()) == [[0, 1, 2, 3, 4]] * 3
    assert Source.opened == 1


def test_the_poll_loop_ends_with_its_last_reader() -> None:
    async def main() -> int:
        streams = SharedStreams()
        await asyncio.gather(*(first(streams.subscribe("k", Source, {"items": [1]}), 1) for _ in range(2)))
        await asyncio.sleep(0)
        return Source.closed

    assert asyncio.run(main()) == 1


def test_a_reader_that_comes_after_the_last_one_left_opens_it_again() -> None:
    async def main() -> None:
        streams = SharedStreams()
        for _ in range(2):
            await first(streams.subscribe("k", Source, {"items": [1]}), 1)

    asyncio.run(main())
    assert Source.opened == 2


def test_other_keys_have_other_poll_loops() -> None:
    async def main() -> None:
        streams = SharedStreams()
        await asyncio.gather(*(first(streams.subscribe(key, Source, {"items": [1]}), 1) for key in "ab"))

    asyncio.run(main())
    assert Source.opened == 2


def test_a_reader_that_falls_behind_fails_instead_of_missing_items() -> None:
    async def main() -> None:
        async for _ in SharedStreams().subscribe("k", Source, {"items": range(BACKLOG + 1)}):
            pass

    with pytest.raises(TooSlow, match=f"{BACKLOG} items behind"):
        asyncio.run(main())


def test_a_stream_that_ends_ends_its_readers() -> None:
    class Short:
        @classmethod
        async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[int]:
            yield 1

    async def main() -> list[int]:
        return [item async for item in SharedStreams().subscribe("k", Short, {})]

    assert asyncio.run(main()) == [1]
