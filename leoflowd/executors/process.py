"""Lite's executor: one agent process for this host, which outlives the daemon, and launches sent to it.

The daemon starts the agent when none holds the lock, hands it every dispatched try, and stops it when Lite ends on
purpose. After a kill -9 of the daemon the next one finds the agent running and its tries with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import ProcessConfig
from leoflowd.contract.agent_messages import Launch, TrySpec
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.errors import LeoflowError
from leoflowd.core.try_tokens import try_token

log = telemetry.get_logger(__name__)

CHECK_S = 0.5
ENVIRONMENTS_AT_ONCE = 2


class ProcessStatistics(msgspec.Struct, frozen=True):
    agent_pid: int
    agent_starts: int
    launched: int


def make_host_token(file: Path) -> str:
    """The secret that proves the agent is ours; kept in the data folder, readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as fresh:
            fresh.write(secrets.token_hex(32))
    return file.read_text().strip()


class ProcessExecutor:
    """`python_for` gives the interpreter of an environment, building it first if need be; `refuse` reports a try that
    cannot be launched at all; `stop_agent` tells the agent to shut down."""

    def __init__(
        self,
        *,
        config: ProcessConfig,
        socket: Path,
        shim: Path,
        dispatches: trio.MemoryReceiveChannel[Dispatch],
        launches: trio.MemorySendChannel[Launch],
        try_secret: bytes,
        python_for: Callable[[EnvironmentSpec], Awaitable[str]],
        refuse: Callable[[TrySpec, str], Awaitable[None]],
        stop_agent: Callable[[], Awaitable[None]],
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
        self._agent: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._launched = 0
        self._building: set[str] = set()
        self._stopping = False

    def statistics(self) -> ProcessStatistics:
        return ProcessStatistics(
            agent_pid=_lock_holder(self._config.lock) or 0, agent_starts=self._starts, launched=self._launched
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._config.spool.mkdir(parents=True, exist_ok=True)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._keep_agent)
            nursery.start_soon(self._launch_all, nursery)
            task_status.started()

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
                os.kill(holder, 9)
        if self._agent is not None:
            with trio.move_on_after(2):
                await trio.to_thread.run_sync(self._agent.wait, abandon_on_cancel=True)

    async def _keep_agent(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Start the agent whenever nobody holds its lock."""
        await self._ensure_agent()
        task_status.started()
        while True:
            await trio.sleep(CHECK_S)
            if self._agent is not None and self._agent.poll() not in (None, 0):
                log.warning("agent_ended", exit_code=self._agent.returncode, log=str(self._config.agent_log))
                self._agent = None
            await self._ensure_agent()

    async def _ensure_agent(self) -> None:
        if not self._stopping and not self._agent_is_ours() and _lock_holder(self._config.lock) is None:
            await trio.to_thread.run_sync(self._start_agent)

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

    async def _launch_all(self, nursery: trio.Nursery) -> None:
        limit = trio.CapacityLimiter(ENVIRONMENTS_AT_ONCE)
        ready: dict[EnvironmentKey, str] = {}
        async for dispatch in self._dispatches:
            key = environment_key(dispatch.environment)
            if key in ready:
                await self._launch(dispatch, ready[key])
            elif dispatch.spec.try_id not in self._building:
                self._building.add(dispatch.spec.try_id)
                nursery.start_soon(self._launch_when_built, dispatch, ready, limit)

    async def _launch_when_built(
        self, dispatch: Dispatch, ready: dict[EnvironmentKey, str], limit: trio.CapacityLimiter
    ) -> None:
        """Building an environment takes seconds; other environments' tries do not wait for it."""
        try:
            async with limit:
                python = await self._python_for(dispatch.environment)
        except LeoflowError as error:
            await self._refuse(dispatch.spec, f"its environment cannot be built: {error}")
            return
        finally:
            self._building.discard(dispatch.spec.try_id)
        ready[environment_key(dispatch.environment)] = python
        await self._launch(dispatch, python)

    async def _launch(self, dispatch: Dispatch, python: str) -> None:
        spec = msgspec.structs.replace(
            dispatch.spec,
            python=python,
            bundle_path=str(self._config.bundles / dispatch.spec.bundle_digest),
            warm=dispatch.environment.warm,
            preload=dispatch.environment.preload,
        )
        self._launched += 1
        await self._launches.send(Launch(spec=spec, token=try_token(self._try_secret, spec.try_id)))


EnvironmentKey = tuple[str | None, tuple[str, ...], tuple[str, ...]]


def environment_key(environment: EnvironmentSpec) -> EnvironmentKey:
    return environment.python_version, environment.dependencies, environment.connectors


def _agent_environment() -> dict[str, str]:
    """What the agent may know. Connections and variables of the user pass; our own settings and secrets do not."""
    keep = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR")
    passed = {name: os.environ[name] for name in keep if name in os.environ}
    passed |= {k: v for k, v in os.environ.items() if k.startswith(("AIRFLOW_VAR_", "AIRFLOW_CONN_"))}
    return {**passed, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


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
