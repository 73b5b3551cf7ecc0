"""The agent of a host (Lite): many tries, one daemon, either of which may come and go.

Holds a lock, so that there is one agent per data directory. Outlives the daemon as long as tries run; without both it
ends by itself. A new agent finds the spool of its predecessor, with outcomes that are not stored yet, and reports it.
Whatever goes wrong with one try (no room, no descriptors, an unreadable spec) is that try's fault: it is refused, or
fails with the reason.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
import signal
import socket
import uuid
from collections import OrderedDict
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from grpclib.client import Stream

from leoflow_agent.connection import DISCONNECTED, Address, Connections, Unreadable, check_protocol, pauses
from leoflow_agent.fork_servers import CannotStart, Interpreters, Warmth
from leoflow_agent.outcomes import Exit, decide_outcome
from leoflow_agent.processes import Children, boot_id, kill_leftovers
from leoflow_agent.reports import fields
from leoflow_agent.running_try import FROZEN_AFTER_S, LOG_CAP_BYTES, UNCARRIED, RunningTry
from leoflow_agent.spool import AlreadyStarted, Spool, TryFolder
from leoflow_agent.try_stream import ANSWER_WITHIN_S, EndedTry, Reported, TryStream
from leoflow_agent.turns import Run, Turns
from leoflow_agent.users import User
from leoflowd.contract.agent_messages import (
    PROTOCOL,
    FromHost,
    HostBeat,
    HostHello,
    HostWelcome,
    Launch,
    LaunchRefused,
    OutcomeKind,
    ShutDown,
    ToHost,
    TrySpec,
)
from leoflowd.contract.agent_wire import Unknown

log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_LOCKED = 75
"""Another agent holds the lock (EX_TEMPFAIL): the caller may use that one."""
STORE_WITHIN_S = 5.0
"""How long a stopped agent waits for `OutcomeStored`; what is missing then is reported by the next agent."""
_OF_PREDECESSORS = ("", "")
"""Whose outcomes an earlier agent left take turns as one run."""
_REMEMBERED = 10_000
"""Ended tries whose late second `Launch` is still recognised after their folder is gone."""


class HostConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All knobs of `leoflow_agent host`."""

    socket: Path
    spool: Path
    work: Path
    """Where the scratch folders of the tries are made."""
    shim: Path
    host_token: str
    default_python: str
    lock: Path | None = None
    log_cap_bytes: int = LOG_CAP_BYTES
    idle_exit_s: float = 120.0
    """Without running tries and without a daemon for this long, the agent ends."""
    fork_server_idle_s: float = 60.0
    frozen_after_s: float = FROZEN_AFTER_S
    """A task whose processes are stopped (SIGSTOP) for this long fails."""
    run_as: User | None = None
    """The user that tasks run as; None = the agent's own."""


async def run_host(config: HostConfig) -> int:
    """Returns the exit code of the process."""
    lock = _take_lock(config.lock)
    if lock is None:
        log.error("another_agent_runs", extra=fields(lock=str(config.lock)))
        return EXIT_LOCKED
    _raise_descriptor_limit()
    return await HostAgent(config).run()


def _take_lock(path: Path | None) -> int | None:
    """A descriptor that holds the lock until the process ends; tries do not inherit it."""
    if path is None:
        return -1
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _raise_descriptor_limit() -> None:
    """A try needs six descriptors here; the usual soft limit of 1024 would end at 150 tries."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class HostAgent:
    """The state of one agent process."""

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        owner = None if config.run_as is None else (config.run_as.uid, config.run_as.gid)
        self._spool = Spool(config.spool, config.work, owner=owner)
        self._connections = Connections(Address(path=str(config.socket)))
        self._interpreters = Interpreters(
            Children(), shim=config.shim, idle_s=config.fork_server_idle_s, run_as=config.run_as
        )
        self._turns = Turns()
        self._tries: dict[str, Reported] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._work: set[asyncio.Task[None]] = set()
        self._shutting_down: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._is_attached = False
        self._sending = asyncio.Lock()
        """Beats and refusals share a stream: one message at a time."""

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._shut_down, 5.0, f"The agent got {signal.Signals(number).name}.")
        self._report_predecessors()
        attaching = asyncio.create_task(self._stay_attached())
        tending = asyncio.create_task(self._tend())
        try:
            await self._over.wait()
        finally:
            for task in (attaching, tending, *self._work):
                task.cancel()
            await asyncio.gather(attaching, tending, *self._work, return_exceptions=True)
            self._interpreters.close()
            self._connections.close()
        return EXIT_OK

    # --- the daemon ----------------------------------------------------------------------------------------------

    async def _stay_attached(self) -> None:
        waits, fault = pauses(), ""
        while True:
            broken = ""
            try:
                await self._attach()
            except* DISCONNECTED as gone:
                broken = repr(gone.exceptions)
                if self._is_attached or broken != fault:  # said once, not at every attempt
                    log.info("detached" if self._is_attached else "not_attached", extra=fields(error=broken))
            except* Exception as bug:
                broken = repr(bug.exceptions)
                if broken != fault:
                    log.exception("attach_broke")
            fault = broken
            if self._is_attached:
                self._is_attached, waits = False, pauses()
            await asyncio.sleep(next(waits))

    async def _attach(self) -> None:
        async with self._connections.open_attach() as stream:
            await stream.send_message(
                HostHello(
                    host_token=self._config.host_token,
                    boot_id=_AGENT_ID,
                    hostname=socket.gethostname(),
                    pid=os.getpid(),
                    known_try_ids=tuple(self._tries),
                    protocol=PROTOCOL,
                )
            )
            async with asyncio.timeout(ANSWER_WITHIN_S):
                welcome = await stream.recv_message()
            if not isinstance(welcome, HostWelcome):
                raise ConnectionError(f"expected HostWelcome, got {welcome!r}")
            check_protocol(welcome.protocol)
            self._is_attached = True
            log.info("attached")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat(stream, welcome.heartbeat_s))
                group.create_task(self._warm_up())
                await self._obey(stream)

    async def _obey(self, stream: Stream[FromHost, ToHost]) -> None:
        while True:
            match await stream.recv_message():
                case Launch(spec=spec, token=token):
                    await self._refuse(stream, spec.try_id, self._launch(spec, token))
                case Unreadable(content={"spec": {"try_id": str(try_id)}}, because=because):
                    await self._refuse(stream, try_id, because)
                case Unreadable(because=because):
                    log.error("unreadable_message", extra=fields(because=because))
                case ShutDown(grace_s=grace_s, reason=reason):
                    self._shut_down(grace_s, reason)
                case HostWelcome() | Unknown():
                    continue
                case None:
                    raise ConnectionError("the daemon ended the stream")

    async def _beat(self, stream: Stream[FromHost, ToHost], every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            async with self._sending:
                await stream.send_message(HostBeat(running=self._running_count()))

    async def _refuse(self, stream: Stream[FromHost, ToHost], try_id: str, because: str) -> None:
        if because:
            log.error("launch_refused", extra=fields(try_id=try_id, because=because))
            async with self._sending:
                await stream.send_message(LaunchRefused(try_id=try_id, because=because))

    def _running_count(self) -> int:
        return sum(known.outcome is None for known in self._tries.values())

    async def _warm_up(self) -> None:
        """The first try should not wait for the imports of its interpreter."""
        try:
            await self._interpreters.warm_up(Warmth(self._config.default_python))
        except (CannotStart, OSError) as error:
            log.error("default_interpreter_missing", extra=fields(error=str(error)))  # noqa: TRY400  expected, no trace

    # --- tries ---------------------------------------------------------------------------------------------------

    def _launch(self, spec: TrySpec, token: str) -> str:
        """Why the try cannot run here, or nothing. Once its folder stands it ends with an outcome, whatever happens."""
        if spec.try_id in self._tries or spec.try_id in self._ended or self._shutting_down is not None:
            return ""  # the name of the effect is the try: it was started, once
        try:
            folder = self._spool.create(spec.try_id, token)
        except AlreadyStarted:
            return ""
        except OSError as error:
            return f"the agent cannot make the folder of this try: {error.strerror or error}; make room on its disk"
        except UNCARRIED as error:
            return f"the agent cannot take this try: {error}"
        try:
            running = RunningTry(
                folder,
                spec,
                interpreters=self._interpreters,
                python=spec.python or self._config.default_python,
                log_cap_bytes=self._config.log_cap_bytes,
                frozen_after_s=self._config.frozen_after_s,
            )
        except UNCARRIED as error:
            folder.remove()
            folder.remove_work()
            return f"the agent cannot take this try: {error}"
        self._tries[spec.try_id] = running
        self._spawn(self._begin(running, token))
        return ""

    async def _begin(self, running: RunningTry, token: str) -> None:
        """When it is the turn of its dag run."""
        run = (running.spec.dag_run.dag_id, running.spec.dag_run.run_id)
        turn = await self._turns.take(run)
        try:
            self._spawn(self._run(running))
            self._spawn(self._report(running, token, run))
            await running.has_spoken.wait()
        finally:
            turn.end()

    async def _run(self, running: RunningTry) -> None:
        """A bug that one try meets must not end the others; `RunningTry.run` has written an outcome then."""
        try:
            await running.run()
        except Exception:
            log.exception("try_broke", extra=fields(try_id=running.spec.try_id))

    async def _report(self, reported: Reported, token: str, run: Run) -> None:
        try_id = reported.folder.try_id
        await TryStream(reported, lambda: token, self._connections, self._turns, run).run()
        if isinstance(reported, RunningTry):
            await reported.is_over.wait()  # a stale try is killed first: its folder is in use until then
        try:
            reported.folder.remove()
        except OSError as error:  # the next agent reports it once more, and is told that it is stored
            log.error("folder_stays", extra=fields(try_id=try_id, error=repr(error)))  # noqa: TRY400
        del self._tries[try_id]
        self._ended[try_id] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def _report_predecessors(self) -> None:
        """What an earlier agent left: finished and unacknowledged, or killed together with it."""
        for folder in self._spool.scan():
            try:
                ended, token = _end_of_predecessor(folder), folder.read_token()
            except (OSError, ValueError) as error:
                log.error("broken_try_folder", extra=fields(try_id=folder.try_id, error=repr(error)))  # noqa: TRY400
                continue
            self._tries[folder.try_id] = ended
            self._spawn(self._report(ended, token, _OF_PREDECESSORS))
        self._spool.clear_work()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # --- the end -------------------------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Ends warm interpreters that nobody uses, and the agent itself when nobody needs it."""
        loop = asyncio.get_running_loop()
        needed_at = loop.time()
        step_s = min(1.0, self._config.idle_exit_s / 4)
        while not self._over.is_set():
            await asyncio.sleep(step_s)
            default = Warmth(self._config.default_python)
            self._interpreters.end_frozen(self._config.frozen_after_s)
            self._interpreters.end_idle(keep=default if self._is_attached else None)
            self._keep_outcomes()
            if self._is_attached or self._running_count():
                needed_at = loop.time()
            elif loop.time() - needed_at >= self._config.idle_exit_s:
                log.info("nobody_needs_me", extra=fields(not_stored=tuple(self._tries)))
                self._over.set()

    def _keep_outcomes(self) -> None:
        """Those that the disk did not take may fit by now."""
        for known in self._tries.values():
            if isinstance(known, RunningTry) and known.outcome is not None and not known.is_kept:
                known.keep(known.outcome)

    def _shut_down(self, grace_s: float, reason: str) -> None:
        if self._shutting_down is None:
            log.info("shutting_down", extra=fields(reason=reason, tries=len(self._tries)))
            self._shutting_down = asyncio.create_task(self._end_tries(grace_s, reason))

    async def _end_tries(self, grace_s: float, reason: str) -> None:
        running = [known for known in self._tries.values() if isinstance(known, RunningTry)]
        for known in running:
            known.stop(OutcomeKind.LOST, reason, grace_s=grace_s)
        for known in running:
            await known.is_over.wait()
        try:
            async with asyncio.timeout(STORE_WITHIN_S):
                while self._work:
                    await asyncio.wait(self._work)
        except TimeoutError:
            log.warning("outcomes_not_stored", extra=fields(try_ids=tuple(self._tries)))
        self._over.set()


_AGENT_ID = uuid.uuid4().hex


def _end_of_predecessor(folder: TryFolder) -> EndedTry:
    process = folder.read_process()
    if process is not None and process.boot_id == boot_id():
        kill_leftovers(process.pid, process.started_ticks)
    now = datetime.now(UTC)
    outcome = decide_outcome(
        runner=folder.read_outcome(),
        stop=folder.read_stop(),
        exit_=Exit(lost="Lost: the agent was killed while this try ran."),
        started_at=process.started_at if process is not None else now,
        now=now,
    )
    try:
        folder.write_outcome(outcome)
    except OSError as error:  # a third agent would come to the same end
        log.warning("outcome_not_on_disk", extra=fields(try_id=folder.try_id, error=repr(error)))
    return EndedTry(folder, outcome)
