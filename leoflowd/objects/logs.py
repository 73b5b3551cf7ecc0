"""`contract.logs.LogStore` in an object store (ADR 61). Agents append, the API reads, on any daemon.

What comes is gathered for a moment and stored as one segment; until then it lives in this daemon's memory, and in the
agent's files: `flush` is the promise that it outlives us, asked for before an outcome is taken. What cannot be stored
is forgotten here and said to whoever asks next; its agent brings it again.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import Protocol

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.logs import LogLeg, LogNotStored, TryLog
from leoflowd.objects.bucket import Bucket, BucketUnavailable
from leoflowd.objects.names import (
    Listing,
    Piece,
    Segment,
    joined_name,
    leg_name,
    log_folder,
    pieces_of,
    read_listing,
    run_folder,
    segment_name,
)

_logger = telemetry.get_logger(__name__)

SEGMENT_MAX_BYTES = 4 * 1024 * 1024
"""More than this is not gathered: whoever appends waits until it is stored."""
HELD_MAX_BYTES = 128 * 1024 * 1024
"""The same for all logs of this daemon together."""
SMALL_BYTES = 1024 * 1024
JOIN_COUNT = 32
"""So many small segments in a row become one: a log that trickles for a day stays some dozen objects."""
PUTS_AT_ONCE = 16
GETS_AT_ONCE = 8
READ_ATTEMPTS = 3
"""Segments may be joined between their listing and their reading."""
KNOWN_MAX = 10_000
"""Logs whose end is remembered, which saves a listing."""
PROBE_AGAIN_S = 10.0
LAST_S = 3.0
"""For what is still unstored when the daemon stops; agents bring the rest again."""
TELL_S = 0.3
"""How often the other daemons are told what is not stored yet."""


class Tails(Protocol):
    """What daemons have received and not yet stored, for each other. A hint: it may be lost, and never raises."""

    async def tell(self, tails: Mapping[str, tuple[int, bytes]]) -> None:
        """By log: the offset of its unstored end, and the bytes."""

    async def ask(self, name: str) -> tuple[int, bytes] | None: ...


class LogStatistics(msgspec.Struct, frozen=True):
    held_bytes: int
    """Received and not yet stored."""
    segments: int
    joined: int
    failures: int


class ObjectLogs:
    """`interval_s` lies between two segments of one log; the first one of a log, and what `flush` asks for, is stored
    at once."""

    def __init__(self, bucket: Bucket, *, interval_s: float, tails: Tails | None = None) -> None:
        self._bucket = bucket
        self._interval_s = interval_s
        self._tails = tails
        self._open: OrderedDict[TryLog, _Open] = OrderedDict()
        self._puts = trio.CapacityLimiter(PUTS_AT_ONCE)
        self._nursery: trio.Nursery | None = None
        self._held = self._segments = self._joined = self._failures = 0

    def statistics(self) -> LogStatistics:
        return LogStatistics(
            held_bytes=self._held, segments=self._segments, joined=self._joined, failures=self._failures
        )

    def complaint(self) -> str | None:
        fault = self._bucket.fault
        return (
            None if fault is None else f"the object store of the logs cannot be used: {fault}; agents keep their logs"
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stores what was gathered, until it is cancelled; then what is left, within a moment."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._probe)
            if self._tails is not None:
                nursery.start_soon(self._tell_others, self._tails)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None
                with trio.move_on_after(LAST_S, shield=True):
                    await self._store_everything()

    # --- writing ----------------------------------------------------------------------------------------------

    async def begin(self, log: TryLog, try_id: str, *, goes_on: bool) -> LogLeg:
        """One listing: another daemon may have written since we did.

        While the store cannot be used this does not raise but answers as if there were no log, and `append` refuses:
        a try whose log is late may still end.
        """
        opened = self._opened(log)
        async with opened.turn, opened.storing:
            while opened.pending:
                await self._store(opened)
            opened.failure = opened.blind = None
            try:
                listing = await self._look(opened)
                begins_at = listing.legs.get(try_id, 0)
                if goes_on and begins_at == 0 and listing.end:
                    begins_at = listing.end
                    with _told(log):
                        await self._bucket.put(leg_name(log_folder(log), try_id, begins_at), b"")
            except LogNotStored as error:
                opened.blind = error
                return LogLeg(0, 0)
        return LogLeg(begins_at, listing.end - begins_at)

    async def append(self, log: TryLog, offset: int, content: bytes) -> int:
        opened = self._opened(log)
        async with opened.turn:
            opened.raise_failure()
            if opened.stored is None:
                async with opened.storing:
                    await self._look(opened)
            if offset > opened.end:
                # Another daemon may have written since: the end that we remember is a hint.
                async with opened.storing:
                    await self._store(opened)
                    await self._look(opened)
                opened.raise_failure()
            if offset > opened.end:
                raise ValueError(f"log chunk at {offset} leaves a gap after {opened.end} in {log_folder(log)}")
            fresh = content[opened.end - offset :]
            opened.is_ours = opened.is_ours and not fresh
            self._hold(opened, fresh)
            if (
                self._nursery is None
                or opened.is_doubtful
                or len(opened.pending) >= SEGMENT_MAX_BYTES
                or self._held >= HELD_MAX_BYTES
            ):
                await self._settle(opened)
            return opened.end

    def write_line(self, log: TryLog, line: bytes) -> None:
        opened = self._opened(log)
        opened.is_ours = opened.is_ours or not opened.pending
        self._hold(opened, line)

    async def flush(self, log: TryLog) -> None:
        opened = self._open.get(log)
        if opened is not None:
            await self._settle(opened)

    def _hold(self, opened: _Open, content: bytes) -> None:
        """In memory, for a task of its own to store."""
        opened.pending += content
        self._held += len(content)
        if content and self._nursery is not None and not opened.is_kept:
            opened.is_kept = True
            self._nursery.start_soon(self._keep, opened)

    def _drop(self, opened: _Open, count: int) -> None:
        count = min(count, len(opened.pending))  # its run may have been deleted meanwhile
        del opened.pending[:count]
        self._held -= count
        opened.is_ours = opened.is_ours and bool(opened.pending)

    async def _keep(self, opened: _Open) -> None:
        """Segment after segment, for as long as something comes."""
        try:
            while opened.pending:
                async with opened.storing:
                    await self._store(opened)
                await self._join(opened)
                await trio.sleep(self._interval_s)
        finally:
            opened.is_kept = False

    async def _settle(self, opened: _Open) -> None:
        """Raises `LogNotStored`."""
        async with opened.storing:
            while opened.pending:
                await self._store(opened)
        opened.raise_failure()

    async def _store(self, opened: _Open) -> None:
        """What is pending now becomes a segment. A failure drops it and is kept for whoever asks next."""
        content = bytes(opened.pending)
        try:
            async with self._puts:
                if opened.stored is None:
                    await self._look(opened)
                assert opened.stored is not None
                name = segment_name(log_folder(opened.log), opened.stored)
                if content and not await self._bucket.create(name, content):
                    await self._give_way(opened)
                    content = b""
        except (BucketUnavailable, LogNotStored) as error:
            self._failures += 1
            opened.failure = error if isinstance(error, LogNotStored) else _not_stored(opened.log, error)
            opened.stored, opened.small, opened.is_doubtful = None, [], True
            self._drop(opened, len(opened.pending))
            return
        opened.is_doubtful = False
        if content:
            self._segments += 1
            opened.grew(Segment(name, opened.stored, opened.stored + len(content)))
            self._drop(opened, len(content))

    async def _give_way(self, opened: _Open) -> None:
        """Another daemon wrote here. What a try wrote is the same bytes at the same place, so that only what goes
        beyond is left to store; lines of our own stand behind whatever is there."""
        before = opened.stored or 0
        listing = await self._look(opened)
        if listing.end <= before:
            raise BucketUnavailable("it does not list an object that it says is there")
        if not opened.is_ours:
            self._drop(opened, listing.end - before)

    async def _look(self, opened: _Open) -> Listing:
        """The log as it is stored. Raises `LogNotStored`."""
        with _told(opened.log):
            listing = await self._listing(opened.log)
        opened.stored = listing.end
        opened.small = _small_tail(listing.segments)
        return listing

    async def _join(self, opened: _Open) -> None:
        """Many small segments become one object. What fails here fails with the next segment, and is said there."""
        parts = opened.small[:JOIN_COUNT]
        if len(parts) < JOIN_COUNT:
            return
        offset, end = parts[0].offset, parts[-1].end
        with suppress(BucketUnavailable):
            content = await self._gather(parts, offset, end - offset)
            if len(content) != end - offset:
                opened.stored, opened.small = None, []  # another daemon was faster, or the run is deleted
                return
            name = joined_name(log_folder(opened.log), offset, end)
            await self._bucket.put(name, content)
            opened.small = _small_tail((Segment(name, offset, end), *opened.small[JOIN_COUNT:]))
            self._joined += 1
            await self._bucket.delete([part.name for part in parts if part.name != name])

    async def _store_everything(self) -> None:
        async with trio.open_nursery() as nursery:
            for opened in [known for known in self._open.values() if known.pending]:
                nursery.start_soon(self._store_last, opened)

    async def _store_last(self, opened: _Open) -> None:
        async with opened.storing:
            await self._store(opened)

    def _opened(self, log: TryLog) -> _Open:
        opened = self._open.get(log)
        if opened is None:
            opened = self._open[log] = _Open(log)
            while len(self._open) > KNOWN_MAX and next(iter(self._open.values())).is_idle:
                self._open.popitem(last=False)
        self._open.move_to_end(log)
        return opened

    # --- reading ----------------------------------------------------------------------------------------------

    async def size(self, log: TryLog) -> int:
        tail = await self._tail(log)
        with _told(log):
            end = (await self._listing(log)).end
        return max(end, tail[0] + len(tail[1])) if tail is not None and tail[0] <= end else end

    async def read(self, log: TryLog, offset: int, max_bytes: int) -> bytes:
        """What is not stored yet is asked for first: what is stored meanwhile is then found in both."""
        tail = await self._tail(log)
        with _told(log):
            for _ in range(READ_ATTEMPTS):
                segments = (await self._listing(log)).segments
                content = await self._gather(segments, offset, max_bytes)
                if not pieces_of(segments, offset + len(content), max_bytes - len(content)):
                    break
        at = offset + len(content)
        end = max((segment.end for segment in segments), default=0)
        if tail is not None and tail[0] <= at and at >= end:
            content += tail[1][at - tail[0] :][: max_bytes - len(content)]
        return content

    async def _gather(self, segments: Sequence[Segment], offset: int, max_bytes: int) -> bytes:
        """Up to the first object that is not there (any more)."""
        pieces = pieces_of(segments, offset, max_bytes)
        found: list[bytes | None] = [None] * len(pieces)
        failures: list[BucketUnavailable] = []
        limit = trio.Semaphore(GETS_AT_ONCE)

        async def get(number: int, piece: Piece) -> None:
            async with limit:
                try:
                    found[number] = await self._bucket.get(piece.name, piece.start, piece.length)
                except BucketUnavailable as error:
                    failures.append(error)

        async with trio.open_nursery() as nursery:
            for number, piece in enumerate(pieces):
                nursery.start_soon(get, number, piece)
        if failures:
            raise failures[0]
        return b"".join(takewhile(lambda content: content is not None, found))  # type: ignore[arg-type]  # no None left

    async def _tail(self, log: TryLog) -> tuple[int, bytes] | None:
        """(offset, bytes) that some daemon has received and maybe not stored yet."""
        opened = self._open.get(log)
        if opened is not None and opened.pending:
            if opened.stored is None:
                with suppress(LogNotStored):
                    async with opened.storing:
                        if opened.stored is None:
                            await self._look(opened)
            return None if opened.stored is None else (opened.stored, bytes(opened.pending))
        return None if self._tails is None else await self._tails.ask(log_folder(log))

    async def _listing(self, log: TryLog) -> Listing:
        return read_listing((item.name, item.size) for item in await self._bucket.list(log_folder(log)))

    async def delete_run(self, dag_id: str, run_id: str, *, dag_run_id: int) -> bool:
        for log in [
            log for log in self._open if (log.dag_id, log.run_id, log.dag_run_id) == (dag_id, run_id, dag_run_id)
        ]:
            gone = self._open.pop(log)
            self._drop(gone, len(gone.pending))
        try:
            items = await self._bucket.list(run_folder(dag_id, run_id, dag_run_id))
            await self._bucket.delete([item.name for item in items])
        except BucketUnavailable as error:
            _logger.warning("logs_of_deleted_run_left", dag_id=dag_id, run_id=run_id, because=str(error))
            return False
        return True

    async def where(self, log: TryLog) -> str:
        await trio.lowlevel.checkpoint()
        return f"{self._bucket.url}/{log_folder(log)}"

    # --- beside -----------------------------------------------------------------------------------------------

    async def _probe(self) -> None:
        """At the start, and for as long as the store cannot be used: whether it can again."""
        is_due = True
        while True:
            if is_due:
                with suppress(BucketUnavailable):
                    await self._bucket.probe()
            await trio.sleep(PROBE_AGAIN_S)
            is_due = self._bucket.fault is not None

    async def _tell_others(self, tails: Tails) -> None:
        told: dict[TryLog, int] = {}
        while True:
            await trio.sleep(TELL_S)
            held = {
                opened.log: (opened.stored, bytes(opened.pending))
                for opened in self._open.values()
                if opened.pending and opened.stored is not None and told.get(opened.log) != opened.end
            }
            told = {log: opened.end for log, opened in self._open.items() if opened.pending}
            if held:
                await tails.tell({log_folder(log): tail for log, tail in held.items()})


class _Open:
    """A log that this daemon writes."""

    __slots__ = (
        "blind",
        "failure",
        "is_doubtful",
        "is_kept",
        "is_ours",
        "log",
        "pending",
        "small",
        "stored",
        "storing",
        "turn",
    )

    def __init__(self, log: TryLog) -> None:
        self.log = log
        self.turn = trio.Lock()
        """Of those who append."""
        self.storing = trio.Lock()
        """Of those who store: one segment at a time."""
        self.stored: int | None = None
        """Bytes in the store as far as we know; None when we have to look."""
        self.pending = bytearray()
        """What follows on them."""
        self.is_ours = False
        """Nothing but lines of our own is pending."""
        self.small: list[Segment] = []
        """Small segments at the end of the log, which may be joined."""
        self.failure: LogNotStored | None = None
        """What nobody was told yet."""
        self.blind: LogNotStored | None = None
        """Where the part of this process of the try begins could not be seen: nothing is taken until it is."""
        self.is_doubtful = False
        """The last segment was not stored: what comes next is stored before anyone is told that it was taken."""
        self.is_kept = False
        """A task stores what is pending."""

    @property
    def end(self) -> int:
        return (self.stored or 0) + len(self.pending)

    @property
    def is_idle(self) -> bool:
        return not (
            self.pending or self.is_kept or self.failure or self.blind or self.turn.locked() or self.storing.locked()
        )

    def raise_failure(self) -> None:
        """Once: whoever hears of it sends again."""
        if self.blind is not None:
            raise self.blind
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def grew(self, segment: Segment) -> None:
        self.stored = segment.end
        self.small = _small_tail((*self.small, segment))


@contextmanager
def _told(log: TryLog) -> Iterator[None]:
    """What the store refuses, as `LogNotStored`."""
    try:
        yield
    except BucketUnavailable as error:
        raise _not_stored(log, error) from error


def _not_stored(log: TryLog, error: BucketUnavailable) -> LogNotStored:
    return LogNotStored(
        errno.EIO,
        f"the log {log_folder(log)} cannot be kept in the object store: {error}; "
        "its agent keeps it, and brings it again until the store can be used",
    )


def _small_tail(segments: tuple[Segment, ...]) -> list[Segment]:
    """The last ones that are small and follow on each other."""
    tail: list[Segment] = []
    for segment in reversed(segments):
        if segment.end - segment.offset >= SMALL_BYTES or (tail and segment.end != tail[-1].offset):
            break
        tail.append(segment)
    return tail[::-1]
