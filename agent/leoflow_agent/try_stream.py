"""Reports one try to the daemon over its `Try` stream, as often as the connection breaks, until the outcome is stored.

Everything that it sends is in the try's folder, so that it can begin again after a restart of the daemon (from the log
offset that the daemon names) and of the agent. Order on the stream: events and log before whatever depends on them, so
all of the log and all XCom pushes come before the outcome.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
from grpclib.client import Stream

from leoflow_agent.connection import DISCONNECTED, Connections, Unreadable, check_protocol, pauses
from leoflow_agent.outcomes import as_message
from leoflow_agent.reports import fields
from leoflow_agent.running_try import UNCARRIED, Ask
from leoflow_agent.spool import StoredOutcome, TryFolder
from leoflow_agent.turns import Run, Turns
from leoflowd.contract.agent_messages import (
    LOG_CHUNK_BYTES,
    PROTOCOL,
    AssetEventsAnswer,
    Beat,
    ConnectionAnswer,
    CountsAnswer,
    DagAnswer,
    DagRunAnswer,
    FromTry,
    LogChunk,
    OutcomeKind,
    OutcomeStored,
    PreviousInstance,
    PreviousRun,
    Refused,
    RenderedFields,
    StatesAnswer,
    Terminate,
    ToTry,
    TryHello,
    VariableAnswer,
    Welcome,
    XComPush,
    XComValues,
    is_known_to,
)
from leoflowd.contract.agent_wire import Unknown

log = logging.getLogger(__name__)

BEAT_S = 10.0
ANSWER_WITHIN_S = 30.0
"""A daemon that takes longer for its first word is asked again, on a new stream."""
GATHER_S = 0.03
"""While the task runs, output is gathered this long, so that a chatty task does not send a message per line."""


class Reported(Protocol):
    """What a `TryStream` reports: a `RunningTry`, or an `EndedTry` that an earlier agent left."""

    folder: TryFolder
    pid: int | None
    started_at: datetime
    outcome: StoredOutcome | None
    changed: asyncio.Event
    urgent: asyncio.Event
    asks: dict[int, Ask]

    def stop(self, kind: OutcomeKind, because: str, *, grace_s: float = ...) -> None: ...
    def kill(self) -> None: ...
    def answer(self, request_id: int, answer: dict[str, Any]) -> None: ...


class EndedTry:
    """A try of an earlier agent: only its outcome is left to report."""

    def __init__(self, folder: TryFolder, outcome: StoredOutcome) -> None:
        self.folder = folder
        self.pid: int | None = None
        self.started_at = outcome.start_date
        self.outcome: StoredOutcome | None = outcome
        self.changed = asyncio.Event()
        self.urgent = asyncio.Event()
        self.asks: dict[int, Ask] = {}

    def stop(self, kind: OutcomeKind, because: str, *, grace_s: float = 0.0) -> None:
        """Nothing runs."""

    def kill(self) -> None:
        """Nothing runs."""

    def answer(self, request_id: int, answer: dict[str, Any]) -> None:
        """Nothing asks."""


class _Finished(Exception):
    """The daemon needs nothing more of this try."""


class TryStream:
    """Reports one try; `run` returns when the daemon has stored the outcome or disowned the try."""

    def __init__(
        self, reported: Reported, token: Callable[[], str], connections: Connections, turns: Turns, run: Run
    ) -> None:
        """`token` is asked for each stream: a pod's is written anew while it runs."""
        self._try = reported
        self._token = token
        self._connections = connections
        self._turns = turns
        self._run = run
        self._protocol = PROTOCOL
        """What both speak, once the daemon has said it."""
        self._is_connected = False
        self._unsent = ""
        """Why something that the task pushed could not be sent."""

    async def run(self) -> None:
        waits, fault = pauses(), ""
        while True:
            is_finished, broken = False, ""
            try:
                await self._report_once()
            except* _Finished:
                is_finished = True
            except* DISCONNECTED as gone:
                broken = repr(gone.exceptions)
            except* Exception as bug:
                broken = repr(bug.exceptions)
                if broken != fault:
                    log.exception("try_broke_its_report", extra=fields(try_id=self._try.folder.try_id))
            if is_finished:
                return
            if self._is_connected:  # this time the daemon was there: start with short pauses again
                self._is_connected, waits, fault = False, pauses(), ""
            if broken != fault:  # said once, not at every attempt
                log.info("try_stream_broken", extra=fields(try_id=self._try.folder.try_id, error=broken))
                fault = broken
            await asyncio.sleep(next(waits))

    async def _report_once(self) -> None:
        async with self._connections.open_try() as stream:
            await stream.send_message(
                TryHello(
                    try_id=self._try.folder.try_id,
                    token=self._token(),
                    hostname=socket.gethostname(),
                    pid=self._try.pid,
                    started_at=self._try.started_at,
                    protocol=PROTOCOL,
                )
            )
            async with asyncio.timeout(ANSWER_WITHIN_S):
                first = await stream.recv_message()
            self._is_connected = True
            log_offset = self._handle(first)
            async with asyncio.TaskGroup() as group:
                receiving = group.create_task(self._receive(stream))
                await self._send(stream, log_offset)
                turn = await self._turns.take(self._run)
                try:
                    await self._send_outcome(stream)
                    await receiving
                finally:
                    turn.end()

    # --- what the daemon says ------------------------------------------------------------------------------------

    async def _receive(self, stream: Stream[FromTry, ToTry]) -> None:
        while True:
            self._handle(await stream.recv_message())

    def _handle(self, message: ToTry | Unknown | Unreadable | None) -> int:
        """Returns the log offset to go on from."""
        match message:
            case Welcome(log_offset=offset, protocol=protocol):
                check_protocol(protocol)
                self._protocol = protocol
                return offset
            case Terminate(stale=True):
                self._try.kill()
                raise _Finished
            case Terminate(reason=reason, grace_s=grace_s):
                self._try.stop(OutcomeKind.TERMINATED, reason, grace_s=grace_s)
            case (
                XComValues()
                | PreviousRun()
                | ConnectionAnswer()
                | VariableAnswer()
                | DagRunAnswer()
                | CountsAnswer()
                | DagAnswer()
                | AssetEventsAnswer()
                | StatesAnswer()
                | PreviousInstance()
                | Refused()
            ):
                self._try.answer(message.request_id, msgspec.to_builtins(message))
            case Unknown(kind=kind, request_id=int(request_id)):
                self._try.answer(request_id, {"error": f"the agent does not know the daemon's answer {kind[:100]}"})
            case Unknown():
                pass
            case Unreadable(content={"request_id": int(request_id)}, because=because):
                self._try.answer(request_id, {"error": because})
            case Unreadable(because=because):
                raise ConnectionError(because)
            case OutcomeStored():
                raise _Finished
            case None:
                raise ConnectionError("the daemon ended the stream")
        return 0

    # --- what we say ---------------------------------------------------------------------------------------------

    async def _send(self, stream: Stream[FromTry, ToTry], log_offset: int) -> None:
        """All that comes before the outcome; ends when that is there."""
        with (
            _Reader(self._try.folder.events_path, 0) as events,
            _Reader(self._try.folder.log_path, log_offset) as lines,
        ):
            asked: set[int] = set()
            while True:
                self._try.changed.clear()
                self._try.urgent.clear()
                outcome = self._try.outcome  # read first: what is in the files now was written before it
                await self._send_files(stream, events, lines)
                if outcome is not None:
                    return
                for request_id, ask in list(self._try.asks.items()):
                    if request_id not in asked:
                        asked.add(request_id)
                        await self._send_ask(stream, ask)
                if not await self._wait_for_change():
                    await stream.send_message(Beat())

    async def _send_outcome(self, stream: Stream[FromTry, ToTry]) -> None:
        outcome = self._try.outcome
        assert outcome is not None, "an outcome stays"
        try:
            await stream.send_message(as_message(self._lost_event(outcome)))
        except UNCARRIED as error:
            await stream.send_message(as_message(_failed(outcome, f"The task's result cannot be sent: {error}.")))

    async def _send_ask(self, stream: Stream[FromTry, ToTry], ask: Ask) -> None:
        if not is_known_to(ask, self._protocol):
            because = f"the daemon is of an older release, which does not know {type(ask).__name__}; update it"
            self._try.answer(ask.request_id, {"error": because})
            return
        try:
            await stream.send_message(ask)
        except UNCARRIED as error:
            self._try.answer(ask.request_id, {"error": f"this question cannot be sent: {error}"})

    def _lost_event(self, outcome: StoredOutcome) -> StoredOutcome:
        """A success whose XCom could not be sent is none."""
        return outcome if not self._unsent else _failed(outcome, self._unsent)

    async def _send_files(self, stream: Stream[FromTry, ToTry], events: _Reader, lines: _Reader) -> None:
        for piece in events.pieces():
            for event in piece.splitlines():
                message = _event_message(event)
                if message is not None:
                    try:
                        await stream.send_message(message)
                    except UNCARRIED as error:
                        self._unsent = f"What the task pushed cannot be sent: {error}."
        for offset, piece in lines.located_pieces():
            await stream.send_message(LogChunk(offset=offset, content=piece))

    async def _wait_for_change(self) -> bool:
        """False when nothing happened for so long that a sign of life is due."""
        try:
            async with asyncio.timeout(BEAT_S):
                await self._try.changed.wait()
        except TimeoutError:
            return False
        try:
            async with asyncio.timeout(GATHER_S):
                await self._try.urgent.wait()
        except TimeoutError:
            pass
        return True


def _failed(outcome: StoredOutcome, because: str) -> StoredOutcome:
    return msgspec.structs.replace(
        outcome, kind=OutcomeKind.FAILED, because=because, xcoms=(), assets=(), reschedule_at=None, deferral=None
    )


class _Reader:
    """Whole lines of a growing file, at most `LOG_CHUNK_BYTES` at a time, except for one longer line."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def pieces(self) -> Iterator[bytes]:
        for _, piece in self.located_pieces():
            yield piece

    def located_pieces(self) -> Iterator[tuple[int, bytes]]:
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
        size = LOG_CHUNK_BYTES
        while piece := os.pread(self._file, size, self._offset):
            end = piece.rfind(b"\n") + 1
            if end == 0:
                if len(piece) < size:
                    return  # a line that is still being written
                size *= 4  # an event may be as long as the largest XCom
                continue
            yield self._offset, piece[:end]
            self._offset += end
            size = LOG_CHUNK_BYTES


def events_of(folder: TryFolder) -> Iterator[RenderedFields | XComPush]:
    """What the try said of itself so far, beside its outcome."""
    if folder.events_path.exists():
        yield from filter(None, map(_event_message, folder.events_path.read_bytes().splitlines()))


def _event_message(line: bytes) -> RenderedFields | XComPush | None:
    try:
        match msgspec.json.decode(line):
            case {"push": {"key": str(key), "value": str(value)}}:
                return XComPush(key=key, value=value)
            case {"map_index": str(name)}:
                return RenderedFields(rendered_map_index=name)
            case {"rendered": str(rendered)}:
                return RenderedFields(fields=rendered)
            case _:
                pass
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    log.warning("unreadable_event", extra=fields(line=line[:200].decode(errors="replace")))
    return None
