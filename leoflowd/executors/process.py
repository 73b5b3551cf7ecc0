"""Lite's executor: one agent process for this host, which outlives the daemon, and launches sent to it.

The daemon starts the agent when none holds the lock, hands it every dispatched try, and stops it when Lite ends on
purpose. After a kill -9 of the daemon the next one finds the agent running and its tries with it. An agent that holds
the lock and says nothing is frozen: it is killed, its tries with it (parent-death signal); the next one reports them.

Takes every dispatch at once and waits for nothing that a worker does (ADR 20).
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio
from typing_extensions import override

from leoflowd import telemetry
from leoflowd.config import ProcessConfig
from leoflowd.contract.agent_messages import Launch, OutcomeKind
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.executors import Executor
from leoflowd.contract.staging import VARIABLE, Staging
from leoflowd.contract.variable import OF_PEOPLE
from leoflowd.core.try_tokens import try_token
from leoflowd.executors.launches import Launches
from leoflowd.supervision import backoff_s, contain

log = telemetry.get_logger(__name__)

CHECK_S = 0.5
ENVIRONMENTS_AT_ONCE = 2
STEADY_S = 10.0
"""An agent that lived so long did not fail to live; others are started again ever later."""
LAUNCH_WITHIN_S = 20.0
"""A launch that waits longer for an agent is worth a complaint: starting one takes a second."""


class ProcessStatistics(msgspec.Struct, frozen=True):
    agent_pid: int
    agent_starts: int
    agents_killed: int
    """Frozen ones."""
    launched: int
    building: int
    """Environments."""
    launches_waiting: int
    """That no agent took yet."""
    launches_dropped: int
    """For lack of room; their tries are launched again."""
    tries_known: int
    """Whose environment is built, or that no agent took yet."""


def make_host_token(file: Path) -> str:
    """The secret that proves the agent is ours; kept in the data folder, readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as fresh:
            fresh.write(secrets.token_hex(32))
    return file.read_text().strip()


class ProcessExecutor(Executor):
    """`python_for` gives the interpreter of an environment, building it first if need be; `refuse` reports a try that
    cannot be launched, and never waits; `stop_agent` tells the agent to shut down; `silent_s` is how long no message of
    any agent has come."""

    def __init__(
        self,
        *,
        config: ProcessConfig,
        socket: Path,
        shim: Path,
        dispatches: trio.MemoryReceiveChannel[Dispatch],
        launches: Launches,
        try_secret: bytes,
        python_for: Callable[[EnvironmentSpec], Awaitable[str]],
        refuse: Callable[[str, OutcomeKind, str], None],
        stop_agent: Callable[[], Awaitable[None]],
        silent_s: Callable[[], float],
        silence_max_s: float,
    ) -> None:
        self._config = config
        self._socket = socket
        self._shim = shim
        self._dispatches = dispatches
        self._launches = launches
        self._try_secret = try_secret
        self._python_for = python_for
        self._refuse = refuse
        self._stop_agent = stop_agent
        self._silent_s = silent_s
        self._silence_max_s = silence_max_s
        self._agent: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._killed = 0
        self._launched = 0
        self._ready: dict[EnvironmentKey, str] = {}
        """The interpreters of environments that are built."""
        self._building: dict[EnvironmentKey, dict[str, Dispatch]] = {}
        """What is to be launched when an environment is ready, by try id: a waiting try is launched again and again."""
        self._to_build, self._builds = trio.open_memory_channel[EnvironmentSpec](math.inf)
        """Without a bound: each environment stands here once, while it is in `_building`."""
        self._holder: tuple[int, float] = (0, 0.0)
        """Process id of the agent that holds the lock, and since when we see it."""
        self._started_at = self._start_again_at = 0.0
        self._quick_ends = 0
        self._cannot_start = ""
        self._stopping = False

    def statistics(self) -> ProcessStatistics:
        launches = self._launches.statistics()
        return ProcessStatistics(
            agent_pid=self._holder[0],
            agent_starts=self._starts,
            agents_killed=self._killed,
            launched=self._launched,
            building=len(self._building),
            launches_waiting=launches.waiting,
            launches_dropped=launches.dropped,
            tries_known=len(self.known_tries()),
        )

    def complaint(self) -> str | None:
        """What keeps tries from being launched."""
        waiting = self._launches.statistics()
        if self._cannot_start:
            return f"the agent cannot be started: {self._cannot_start}"
        if waiting.waiting_s >= LAUNCH_WITHIN_S:
            return f"no agent has taken {waiting.waiting} launch(es), the oldest for {waiting.waiting_s:.0f} s"
        return None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._config.spool.mkdir(parents=True, exist_ok=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._keep_agent)
            nursery.start_soon(self._launch_all)
            nursery.start_soon(self._build_all, nursery)
            task_status.started()

    @override
    async def stop(self) -> None:
        """Lite ends on purpose: nothing of it may stay behind."""
        self._stopping = True
        with trio.move_on_after(self._config.stop_grace_s + 5):
            while _lock_holder(self._config.lock) is not None:
                await self._stop_agent()
                with trio.move_on_after(1.0):
                    while _lock_holder(self._config.lock) is not None:  # noqa: ASYNC110  # another process's lock
                        await trio.sleep(0.02)
        holder = _lock_holder(self._config.lock)
        if holder:
            log.warning("agent_killed", pid=holder, reason="it did not stop in time")
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)
        if self._agent is not None:
            with trio.move_on_after(2):
                await trio.to_thread.run_sync(self._agent.wait, abandon_on_cancel=True)

    async def _keep_agent(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Start the agent whenever nobody holds its lock."""
        await self._ensure_agent()
        task_status.started()
        while True:
            await trio.sleep(CHECK_S)
            self._notice_end()
            self._end_frozen()
            await self._ensure_agent()

    def _notice_end(self) -> None:
        if self._agent is None or self._agent.poll() in (None, 0):
            return
        log.warning("agent_ended", exit_code=self._agent.returncode, log=str(self._config.agent_log))
        self._agent = None
        lived_s = trio.current_time() - self._started_at
        self._quick_ends = self._quick_ends + 1 if lived_s < STEADY_S else 0
        self._start_again_at = trio.current_time() + (backoff_s(self._quick_ends) if self._quick_ends else 0.0)

    async def _ensure_agent(self) -> None:
        """A full disk or process table is the outside world: said once, and tried again."""
        if self._stopping or self._agent_is_ours() or trio.current_time() < self._start_again_at:
            return
        try:
            if _lock_holder(self._config.lock) is None:
                self._started_at = trio.current_time()
                await trio.to_thread.run_sync(self._start_agent)
            self._cannot_start = ""
        except OSError as error:
            if not self._cannot_start:
                log.error("agent_not_started", error=str(error))  # noqa: TRY400  # the outside world, no trace
            self._cannot_start = error.strerror or type(error).__name__

    def _end_frozen(self) -> None:
        """Its sockets stay open and the kernel holds its lock: nobody else would ever notice."""
        pid, since = self._holder
        holder = self._agent.pid if self._agent is not None and self._agent_is_ours() else _holder_of(self._config.lock)
        if holder != pid:
            self._holder = (holder, trio.current_time())
            return
        silent_s = min(self._silent_s(), trio.current_time() - since)
        if pid == 0 or self._stopping or silent_s < self._silence_max_s:
            return
        log.error("agent_killed", pid=pid, reason=f"it holds its lock but has said nothing for {silent_s:.0f} s")
        self._killed += 1
        self._holder = (0, trio.current_time())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _agent_is_ours(self) -> bool:
        """Our own child lives; asking for its lock could take it away from under it while it starts."""
        return self._agent is not None and self._agent.poll() is None

    def _start_agent(self) -> None:
        self._starts += 1
        command = [
            sys.executable, "-m", "leoflow_agent", "host", "--socket", str(self._socket), "--spool",
            str(self._config.spool), "--shim", str(self._shim), "--host-token-file", str(self._config.host_token_file),
            "--default-python", sys.executable, "--lock", str(self._config.lock), "--work", str(self._config.work),
            *(("--run-as", self._config.run_as) if self._config.run_as else ()),
        ]  # fmt: skip
        with self._config.agent_log.open("ab") as output:
            self._agent = subprocess.Popen(  # noqa: S603  # our own module
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=_agent_environment(),
            )

    def is_building_for(self, try_id: str) -> bool:
        """Does this try wait for its environment?"""
        return any(try_id in waiting for waiting in self._building.values())

    @override
    def launch(self, dispatch: Dispatch) -> None:
        key = environment_key(dispatch.environment)
        if key in self._ready:
            self._hand_over(dispatch, self._ready[key])
        elif key in self._building:
            self._building[key][dispatch.spec.try_id] = dispatch
        else:
            self._building[key] = {dispatch.spec.try_id: dispatch}
            self._to_build.send_nowait(dispatch.environment)

    @override
    def known_tries(self) -> frozenset[str]:
        return self._launches.tries().union(*self._building.values())

    async def _launch_all(self) -> None:
        async for dispatch in self._dispatches:
            self.launch(dispatch)

    async def _build_all(self, nursery: trio.Nursery) -> None:
        limit = trio.CapacityLimiter(ENVIRONMENTS_AT_ONCE)
        async for environment in self._builds:
            nursery.start_soon(self._build, environment, limit)

    async def _build(self, environment: EnvironmentSpec, limit: trio.CapacityLimiter) -> None:
        """Takes minutes for a new environment; only its own tries wait for it. Whatever fails, fails them alone."""
        key = environment_key(environment)
        broken = ""

        async def record(failure: Exception) -> None:
            nonlocal broken
            broken = str(failure) or type(failure).__name__
            if not isinstance(failure, LeoflowError):
                log.error("environment_broke", exc_info=failure)
            await trio.lowlevel.checkpoint()

        async with contain(record), limit:
            self._ready[key] = await self._python_for(environment)
        for try_id, dispatch in self._building.pop(key).items():
            if broken:
                self._refuse(try_id, OutcomeKind.FAILED, f"its environment cannot be built: {broken}")
            else:
                self._hand_over(dispatch, self._ready[key])

    def _hand_over(self, dispatch: Dispatch, python: str) -> None:
        try:
            folder = self._staging_folder(dispatch.placement.staging)
        except OSError as error:
            because = f"the staging folder of its run cannot be made: {error.filename}: {error.strerror}"
            self._refuse(dispatch.spec.try_id, OutcomeKind.FAILED, because)
            return
        env = dispatch.spec.env
        spec = msgspec.structs.replace(
            dispatch.spec,
            env=env if folder is None else {**env, VARIABLE: str(folder)},
            python=python,
            bundle_path=str(self._config.bundles / dispatch.spec.bundle_digest),
            warm=dispatch.environment.warm,
            preload=dispatch.environment.preload,
        )
        if self._launches.put(Launch(spec=spec, token=try_token(self._try_secret, spec.try_id))):
            self._launched += 1

    def _staging_folder(self, staging: Staging | None) -> Path | None:
        """Of all tasks of the run, and kept for those that are cleared; `lite.workspace` removes it. Raises OSError."""
        if staging is None:
            return None
        folder = self._config.staging / staging.name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700 if self._config.run_as is None else 0o777)  # who passes the folder above is decided there
        return folder


EnvironmentKey = tuple[str | None, tuple[str, ...], tuple[str, ...]]


def environment_key(environment: EnvironmentSpec) -> EnvironmentKey:
    return environment.python_version, environment.dependencies, environment.connectors


def _agent_environment() -> dict[str, str]:
    """What the agent may know. Connections and variables of the user pass; our own settings and secrets do not."""
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR")
    passed = {name: os.environ[name] for name in keep if name in os.environ}
    passed |= {k: v for k, v in os.environ.items() if k.startswith(OF_PEOPLE)}
    return {**passed, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _holder_of(lock: Path) -> int:
    """Process id of the agent that holds the lock; 0 if that cannot be said now."""
    try:
        return _lock_holder(lock) or 0
    except OSError:
        return 0


def _lock_holder(lock: Path) -> int | None:
    """Process id of the agent that holds the lock, 0 if it is held but unnamed, None if it is free."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read().strip()
            return int(text) if text.isdigit() else 0
        return None
