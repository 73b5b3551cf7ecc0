"""Lines of the grid are packed one by one, kept while their run is as it was, and sent as one gzip stream."""

from __future__ import annotations

import gzip
import uuid

import trio
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.api.compression import THREAD_BYTES
from leoflowd.api.ui.summary_lines import GzipOfLines, LineKey, SummaryMemory, pack

VERSION = uuid.UUID(int=1)


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_lines_that_were_packed_apart_are_one_gzip_stream(lines: list[bytes]) -> None:
    """`gzip.decompress` compares length and CRC-32 of the whole."""
    stream = GzipOfLines()

    async def sent() -> bytes:
        parts = [stream.head(), *[stream.add(await pack(line)) for line in lines], stream.end()]
        return b"".join(parts)

    assert gzip.decompress(trio.run(sent)) == b"".join(lines)


async def test_a_long_line_is_packed_too_and_unpacks_to_itself() -> None:
    line = b"0123456789" * THREAD_BYTES
    packed = await pack(line)
    assert packed.unpacked() == line
    assert len(packed.blocks) < len(line) / 10


async def test_a_line_is_kept_for_one_revision_and_version_of_its_run() -> None:
    memory, line = SummaryMemory(), await pack(b"squares")
    memory.put(LineKey(7, 3, VERSION), line)
    assert memory.get(LineKey(7, 3, VERSION)) is line
    assert memory.get(LineKey(7, 4, VERSION)) is None
    assert memory.get(LineKey(7, 3, uuid.UUID(int=2))) is None
    assert memory.get(LineKey(8, 3, VERSION)) is None


async def test_a_newer_line_of_a_run_takes_the_place_of_the_older() -> None:
    memory, line = SummaryMemory(), await pack(b"squares")
    memory.put(LineKey(7, 3, VERSION), line)
    once = memory.bytes
    memory.put(LineKey(7, 4, VERSION), line)
    assert memory.get(LineKey(7, 3, VERSION)) is None
    assert memory.bytes == once


async def test_memory_forgets_what_nobody_asked_for_longest() -> None:
    line = await pack(b"squares")
    memory = SummaryMemory()
    memory.put(LineKey(1, 0, VERSION), line)
    memory = SummaryMemory(limit_bytes=2 * memory.bytes)
    for run in (1, 2):
        memory.put(LineKey(run, 0, VERSION), line)
    assert memory.get(LineKey(1, 0, VERSION)) is not None
    memory.put(LineKey(3, 0, VERSION), line)
    assert [run for run in (1, 2, 3) if memory.get(LineKey(run, 0, VERSION))] == [1, 3]
