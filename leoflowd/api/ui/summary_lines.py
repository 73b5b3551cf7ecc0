"""Lines of the grid's squares: kept packed while their run does not change, and put together to one gzip stream.

A run that has ended, with all of its task instances, changes only through people (clear, mark, delete), who raise its
`revision`; its line is good for as long as that stays (ADR 92). Each line is packed by itself so that it may stand
anywhere in a stream: a deflate stream is a row of blocks, and these look back at nothing before them. Called by `grid`.
"""

from __future__ import annotations

import uuid
import zlib
from collections import OrderedDict

import msgspec
import trio

from leoflowd.api.compression import THREAD_BYTES

MEMORY_BYTES = 32 * 1024 * 1024
"""Of packed lines: about 300 runs of 5,000 tasks, or 40,000 of ten."""
LINE_BYTES = 200
"""What a line costs beside its own bytes."""
GZIP_HEAD = bytes((0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255))
LAST_BLOCK = bytes((3, 0))
"""An empty one, which ends the stream."""
LEVEL = 1
"""Lines are repetitive: a higher level costs more than it saves."""
_CRC_POLYNOMIAL = 0xEDB88320


class LineKey(msgspec.Struct, frozen=True):
    dag_run_id: int
    revision: int
    dag_version_id: uuid.UUID


class PackedLine(msgspec.Struct, frozen=True):
    """`blocks`: deflate. The others are of what they unpack to."""

    blocks: bytes
    length: int
    crc: int
    shift: int
    """What a CRC is multiplied by when this comes behind it."""

    def unpacked(self) -> bytes:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.blocks)


async def pack(line: bytes) -> PackedLine:
    """In a thread when it is long."""
    if len(line) < THREAD_BYTES:
        return _packed(line)
    return await trio.to_thread.run_sync(_packed, line)


def _packed(line: bytes) -> PackedLine:
    packer = zlib.compressobj(LEVEL, wbits=-zlib.MAX_WBITS)
    blocks = packer.compress(line) + packer.flush(zlib.Z_FULL_FLUSH)
    return PackedLine(blocks, len(line), zlib.crc32(line), shift_of(len(line)))


class GzipOfLines:
    """One gzip stream: `head`, then `add` of each line, then `end`; each answers the bytes to send."""

    def __init__(self) -> None:
        self._length = self._crc = 0

    def head(self) -> bytes:
        return GZIP_HEAD

    def add(self, line: PackedLine) -> bytes:
        self._crc = _times(self._crc, line.shift) ^ line.crc
        self._length += line.length
        return line.blocks

    def end(self) -> bytes:
        return LAST_BLOCK + self._crc.to_bytes(4, "little") + (self._length % 2**32).to_bytes(4, "little")


def shift_of(length: int) -> int:
    """x^(8 * length), modulo the polynomial of CRC-32: the CRC of two texts, one behind the other, is that of the first
    times this of the second's length, plus that of the second."""
    power, factor, bits = 1 << 31, 1 << 30, 8 * length  # the highest bit stands for x^0, the next for x
    while bits:
        if bits & 1:
            power = _times(power, factor)
        factor = _times(factor, factor)
        bits >>= 1
    return power


def _times(left: int, right: int) -> int:
    product = 0
    for place in range(31, -1, -1):
        if left >> place & 1:
            product ^= right
        right = right >> 1 ^ (_CRC_POLYNOMIAL if right & 1 else 0)
    return product


class SummaryMemory:
    """The lines that were asked for last, up to `MEMORY_BYTES`. Of a run there is one, that of its newest revision."""

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._lines: OrderedDict[int, tuple[LineKey, PackedLine]] = OrderedDict()
        self.bytes = 0

    def get(self, key: LineKey) -> PackedLine | None:
        kept = self._lines.get(key.dag_run_id)
        if kept is None or kept[0] != key:
            return None
        self._lines.move_to_end(key.dag_run_id)
        return kept[1]

    def put(self, key: LineKey, line: PackedLine) -> None:
        self._forget(key.dag_run_id)
        self._lines[key.dag_run_id] = (key, line)
        self.bytes += _cost(line)
        while self.bytes > self._limit_bytes:
            self._forget(next(iter(self._lines)))

    def _forget(self, dag_run_id: int) -> None:
        kept = self._lines.pop(dag_run_id, None)
        if kept is not None:
            self.bytes -= _cost(kept[1])


def _cost(line: PackedLine) -> int:
    return len(line.blocks) + LINE_BYTES
