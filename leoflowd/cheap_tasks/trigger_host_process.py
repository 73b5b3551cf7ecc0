"""Trigger hosts as processes of this machine: started, looked after, and in whose code they were when they died.

The process is the program `agent/leoflow_agent/trigger_host/start.py` in the author's interpreter (ADR 16): JSON lines
over a socket pair, and a few bytes of shared memory, the marker, that name the wait whose code is running. The kernel
ends it with the daemon.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec
import trio
from typing_extensions import override

from leoflowd.cheap_tasks.trigger_host_line import Answer, EndKind, Heard, HostEnd, HostKey, HostLine, HostPlaces
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.import_paths import package_of
from leoflowd.contract.variable import OF_PEOPLE
from leoflowd.contract.waits import TriggerCall

MARKER_BYTES = 64
"""`leoflow_agent.trigger_host.marking.SIZE`; a unit test compares them."""
EXIT_S = 1.0
"""Between the end of the channel and the end of the process."""
REAP_S = 5.0
"""The kernel takes longer only for a process that is stuck in a device."""
MOST_LOGS = 40
"""Log files of hosts that are kept; hosts for single waits come and go."""
LOG_TAIL_BYTES = 2000
KEPT_VARIABLES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    )
)
"""Nothing of ours leaks into code of authors; what theirs reads variables and connections from passes."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """Which program to start."""

    python: str
    runtime: str
    """`shim` or `airflow`."""
    shim: Path
    bundle: Path | None
    log: Path


class ProcessHosts(HostPlaces):
    """`python_for` gives the interpreter of an environment, building it first if need be (raises LeoflowError);
    `bundle_path` the folder of a version's code."""

    def __init__(
        self,
        *,
        python_for: Callable[[EnvironmentSpec], Awaitable[str]],
        bundle_path: Callable[[str], Path],
        shim: Path,
        logs: Path,
        config: TriggerHostsConfig,
    ) -> None:
        self._python_for = python_for
        self._bundle_path = bundle_path
        self._shim = shim
        self._logs = logs
        self._config = config

    @override
    async def prepare(self, call: TriggerCall, environment: EnvironmentSpec) -> str:
        return await self._python_for(environment)

    @override
    def bundle_of(self, call: TriggerCall) -> str:
        digest = call.bundle_digest
        return digest if digest and comes_from_bundle(call, self._bundle_path(digest)) else ""

    @override
    def make(self, key: HostKey, heard: Heard, answer: Answer) -> HostLine:
        launch = Launch(
            python=key.python,
            runtime=key.runtime,
            shim=self._shim,
            bundle=self._bundle_path(key.bundle) if key.bundle else None,
            log=self._logs / f"{key.name}.log",
        )
        prune_logs(self._logs, keep=launch.log)
        return HostProcess(launch, config=self._config, heard=heard, answer=answer)

    @override
    async def run(self) -> None:
        """Nothing: the kernel ends them with the daemon."""
        await trio.lowlevel.checkpoint()


class HostProcess(HostLine):
    """`heard` gets every message but questions, in order; `answer` is asked those."""

    def __init__(self, launch: Launch, *, config: TriggerHostsConfig, heard: Heard, answer: Answer) -> None:
        super().__init__(config=config, start_within_s=config.start_within_s, heard=heard, answer=answer)
        self._launch = launch
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @override
    def where(self) -> str:
        return f"with process id {self.pid}"

    @override
    def log_tail(self) -> str:
        path = self._launch.log
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        except OSError as error:
            return f"its log {path} cannot be read: {error.strerror}"

    @override
    async def run(self) -> HostEnd:
        ours, theirs = socket.socketpair()
        marker = os.memfd_create("leoflow-marker")
        try:
            os.ftruncate(marker, MARKER_BYTES)
            try:
                self._process = self._start(theirs.fileno(), marker)
            except OSError as error:
                ours.close()
                return HostEnd(kind=EndKind.NOT_STARTED, culprit="", because=f"{self._launch.python}: {error.strerror}")
            finally:
                theirs.close()
            self.pid = self._process.pid
            async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
                await self._serve(stream)
            return self._end(self._process.returncode, _marked(os.pread(marker, MARKER_BYTES, 0)))
        finally:
            os.close(marker)

    def _start(self, channel: int, marker: int) -> subprocess.Popen[bytes]:
        """On this very thread: the parent-death signal comes when the *thread* that started a process ends."""
        launch = self._launch
        command = [
            *(launch.python, "-I", "-B", str(host_program()), "--runtime", launch.runtime),
            *("--parent", str(os.getpid()), "--channel", str(channel), "--marker", str(marker)),
            *("--shim", str(launch.shim), "--bundle", str(launch.bundle or "")),
            *("--log", str(launch.log), "--log-bytes", str(self._config.log_max_bytes)),
        ]
        launch.log.parent.mkdir(parents=True, exist_ok=True)
        with launch.log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603  # our own program in the author's interpreter
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=launch.bundle or launch.log.parent,
                env=host_environment(launch.python),
                pass_fds=(channel, marker),
                start_new_session=True,
            )

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            await self._converse(stream)
            with trio.move_on_after(EXIT_S):  # how it ends by itself says more than our kill
                await self._exit()
        finally:
            self._kill()
            with trio.move_on_after(REAP_S, shield=True):
                await self._exit()
            assert self._process is not None
            self._process.poll()

    @override
    def _kill(self) -> None:
        """The whole group: a trigger may have started programs. Its leader is not reaped yet: the number is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _exit(self) -> None:
        descriptor = os.pidfd_open(self.pid)
        try:
            await trio.lowlevel.wait_readable(descriptor)
        finally:
            os.close(descriptor)

    def _end(self, code: int | None, culprit: str) -> HostEnd:
        if self._verdict is not None:
            kind, because = self._verdict
        else:
            kind = EndKind.CRASHED if self._ready.is_set() else EndKind.NOT_STARTED
            because = f"it ended with exit code {code}" if code is None or code >= 0 else f"signal {-code} ended it"
        return HostEnd(kind=kind, culprit=culprit, because=because)


def _marked(content: bytes) -> str:
    """The wait that the marker names; whatever else an author's code wrote there names nobody."""
    named = content.rstrip(b"\0")
    return named.decode() if named.isascii() and b"\0" not in named else ""


def host_program() -> Path:
    """The host's entry file; found, not imported: it belongs into the author's interpreter."""
    spec = find_spec("leoflow_agent")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            "the package leoflow_agent is not installed; install leoflow with its extra `lite` or `agent`"
        )
    return Path(spec.submodule_search_locations[0]) / "trigger_host" / "start.py"


def host_environment(python: str, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What code of authors may know; as `leoflow_agent.environment.clean_environment` for tasks."""
    passed = (*OF_PEOPLE, "LC_")
    kept = {name: value for name, value in source.items() if name in KEPT_VARIABLES or name.startswith(passed)}
    kept["PATH"] = f"{Path(python).parent}:{kept.get('PATH', '/usr/bin:/bin')}"
    return kept


def comes_from_bundle(call: TriggerCall, bundle: Path) -> bool:
    """Is the class defined in the project? Told by file names: nothing is imported here."""
    module = call.classpath.rpartition(".")[0]
    top = module.partition(".")[0]
    if top == "airflow":
        return False
    # A DAG file has the name of its file, or the one that our loader or Airflow's gave it instead.
    stem = Path(call.source_path).stem
    if module == stem or re.fullmatch(rf"(leoflow_dag|unusual_prefix_[0-9a-f]+)_{re.escape(stem)}", module):
        return True
    folders = [bundle / path for path in call.import_paths or (".",)]
    return top in map(package_of, call.import_paths) or any(
        (folder / f"{top}.py").is_file() or (folder / top).is_dir() for folder in folders
    )


def prune_logs(folder: Path, *, keep: Path) -> None:
    """The newest files stay. Another host may delete the same ones; one that cannot be deleted does no harm."""
    with contextlib.suppress(OSError):
        found = sorted((path for path in folder.glob("*.log*") if path != keep), key=lambda path: -path.stat().st_mtime)
        for path in found[MOST_LOGS - 1 :]:
            path.unlink(missing_ok=True)
