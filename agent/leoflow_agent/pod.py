"""The agent of a task pod: PID 1, exactly one try, which its environment names. It ends when the outcome is stored.

What it knows of the end is also in the container's termination message (`contract.termination`): a pod that is ended
while no daemon listens has told everything all the same.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from leoflow_agent.connection import DISCONNECTED, Address, Connections, check_protocol, parse_address, pauses
from leoflow_agent.fork_servers import Interpreters
from leoflow_agent.outcomes import as_message
from leoflow_agent.processes import Children
from leoflow_agent.reports import fields
from leoflow_agent.running_try import LOG_CAP_BYTES, RunningTry
from leoflow_agent.spool import Spool, StoredOutcome, TryFolder
from leoflow_agent.try_stream import TryStream, events_of
from leoflow_agent.turns import Turns
from leoflowd.contract.agent_messages import PROTOCOL, OutcomeKind, Terminate, TryHello, TrySpec, Welcome, XComPush
from leoflowd.contract.termination import Termination, termination_text

log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_STALE = 3
"""The daemon has no use for this try; nothing was run."""
EXIT_BAD_ENVIRONMENT = 78
EXIT_STOPPED = 143
"""Told to stop before the try began."""
NEEDS_WHAT_WAS_PUSHED = (OutcomeKind.SUCCESS, OutcomeKind.SKIPPED, OutcomeKind.RESCHEDULE, OutcomeKind.DEFERRED)
STOP_GRACE_S = 20.0
"""On SIGTERM of the pod: shorter than Kubernetes' terminationGracePeriodSeconds of 30."""


class PodConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The pod's environment, see `read_environment`."""

    address: Address
    try_id: str
    token: Callable[[], str]
    """The token of the moment: the kubelet writes a new one before the old one ends."""
    shim: Path
    spool: Path
    python: str
    log_cap_bytes: int = LOG_CAP_BYTES
    termination: Path | None = None
    """Where the termination message goes; None: nobody would read it."""


class BadEnvironment(Exception):
    """A variable is missing or wrong; the message names it."""


def read_environment(env: Mapping[str, str]) -> PodConfig:
    token = token_of(env)
    return PodConfig(
        address=address_of(env),
        try_id=need(env, "LEOFLOW_TRY_ID"),
        token=token,
        shim=Path(need(env, "LEOFLOW_SHIM")),
        spool=spool_of(env),
        python=python_of(env),
        log_cap_bytes=int(env.get("LEOFLOW_LOG_CAP_BYTES", LOG_CAP_BYTES)),
        termination=_termination(env),
    )


def token_of(env: Mapping[str, str]) -> Callable[[], str]:
    """The token of the moment. Raises `BadEnvironment` when there is none now."""
    text, file = env.get("LEOFLOW_TRY_TOKEN", ""), env.get("LEOFLOW_TRY_TOKEN_FILE")

    def token() -> str:
        return Path(file).read_text().strip() if file else text

    if not token():
        raise BadEnvironment("LEOFLOW_TRY_TOKEN or LEOFLOW_TRY_TOKEN_FILE must carry the token of this try")
    return token


def address_of(env: Mapping[str, str]) -> Address:
    """Raises `BadEnvironment`."""
    try:
        address = parse_address(
            need(env, "LEOFLOW_AGENT_ADDRESS"),
            ca_file=env.get("LEOFLOW_AGENT_CA_FILE"),
            ca=env.get("LEOFLOW_AGENT_CA"),
            tls_name=env.get("LEOFLOW_AGENT_TLS_NAME"),
        )
    except ValueError as error:
        raise BadEnvironment(f"LEOFLOW_AGENT_ADDRESS: {error}") from error
    _check_encryption(address, env)
    return address


def spool_of(env: Mapping[str, str]) -> Path:
    return Path(env.get("LEOFLOW_SPOOL") or tempfile.mkdtemp(prefix="leoflow-"))


def python_of(env: Mapping[str, str]) -> str:
    return env.get("LEOFLOW_PYTHON") or shutil.which("python3") or "python3"


def _termination(env: Mapping[str, str]) -> Path | None:
    return Path(env["LEOFLOW_TERMINATION_LOG"]) if env.get("LEOFLOW_TERMINATION_LOG") else None


def _check_encryption(address: Address, env: Mapping[str, str]) -> None:
    """The token of the try, and whatever the task reads, would cross the network for all to see."""
    is_local = address.path is not None or address.host in ("127.0.0.1", "::1", "localhost")
    if is_local or address.ca_file is not None or address.ca is not None or env.get("LEOFLOW_AGENT_PLAIN_TEXT") == "1":
        return
    raise BadEnvironment(
        "LEOFLOW_AGENT_CA_FILE is not set, and the daemon is on another machine: name the CA of its certificate, or "
        "set LEOFLOW_AGENT_PLAIN_TEXT=1 where a mesh encrypts"
    )


def leave(path: Path | None, termination: Termination) -> None:
    """For whoever finds this pod ended. In place, since Kubernetes mounts the file; a failure is only logged."""
    if path is None:
        return
    try:
        path.write_bytes(termination_text(termination))
    except OSError as error:
        log.warning("no_termination_message", extra=fields(error=str(error)))


def leave_refusal(env: Mapping[str, str], because: str) -> None:
    """It could not even begin."""
    termination = Termination(
        try_id=env.get("LEOFLOW_TRY_ID", ""), because=f"its agent could not begin: {because}"[:1000]
    )
    leave(_termination(env), termination)


def need(env: Mapping[str, str], name: str) -> str:
    if not env.get(name):
        raise BadEnvironment(f"{name} is not set; the pod launcher sets it")
    return env[name]


async def run_pod(config: PodConfig) -> int:
    """Returns the exit code of the pod: 0 once the outcome is stored, whatever it is."""
    connections, signals = Connections(config.address), _Signals()
    try:
        spec = await _until_told_to_stop(_fetch_spec(config, connections), signals)
        if signals.told:
            because = f"the pod was told to stop ({signals.told}) before its try began"
            leave(config.termination, Termination(try_id=config.try_id, because=because))
            return EXIT_STOPPED
        if spec is None:
            leave(config.termination, Termination(try_id=config.try_id, is_stored=True))
            return EXIT_STALE
        await _run_try(config, spec, connections, signals)
        leave(config.termination, Termination(try_id=config.try_id, is_stored=True))
        return EXIT_OK
    finally:
        connections.close()


class _Signals:
    """SIGTERM and SIGINT, from the first moment: the kernel keeps those from PID 1 that it does not handle."""

    def __init__(self) -> None:
        self.told = ""
        self.came = asyncio.Event()
        self.on_stop: Callable[[str], None] = lambda name: None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._tell, number.name)

    def _tell(self, name: str) -> None:
        self.told = self.told or name
        self.came.set()
        self.on_stop(name)


async def _until_told_to_stop(work: Coroutine[Any, Any, TrySpec | None], signals: _Signals) -> TrySpec | None:
    fetching, stopping = asyncio.create_task(work), asyncio.create_task(signals.came.wait())
    done, _ = await asyncio.wait((fetching, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (fetching, stopping):
        task.cancel()
    await asyncio.gather(fetching, stopping, return_exceptions=True)
    return fetching.result() if fetching in done else None


async def _fetch_spec(config: PodConfig, connections: Connections) -> TrySpec | None:
    """Asks until the daemon answers; None when the try is not wanted any more."""
    for pause in pauses():
        try:
            async with connections.open_try() as stream:
                await stream.send_message(
                    TryHello(
                        try_id=config.try_id,
                        token=config.token(),
                        hostname=socket.gethostname(),
                        started_at=datetime.now(UTC),
                        wants_spec=True,
                        protocol=PROTOCOL,
                    )
                )
                match await stream.recv_message():
                    case Welcome(spec=TrySpec() as spec, protocol=protocol):
                        check_protocol(protocol)
                        return spec
                    case Terminate(reason=reason):
                        log.warning("try_not_wanted", extra=fields(reason=reason))
                        return None
                    case other:
                        log.error("no_spec", extra=fields(answer=repr(other)))
        except DISCONNECTED as error:
            log.info("daemon_not_reached", extra=fields(error=repr(error)))
        await asyncio.sleep(pause)
    raise AssertionError("pauses() never ends")


async def _run_try(config: PodConfig, spec: TrySpec, connections: Connections, signals: _Signals) -> None:
    interpreters = Interpreters(Children(), shim=config.shim)
    folder = Spool(config.spool / "tries", config.spool / "work").create(spec.try_id, config.token())
    # One try: a warm interpreter would only be one process more. The code is in the image's work folder.
    spec = msgspec.structs.replace(spec, warm=False, bundle_path=spec.bundle_path or str(Path.cwd()))
    running = RunningTry(
        folder, spec, interpreters=interpreters, python=spec.python or config.python, log_cap_bytes=config.log_cap_bytes
    )

    def stop(name: str) -> None:
        because = f"The pod was told to stop ({name}); the node may be draining."
        running.stop(OutcomeKind.LOST, because, grace_s=STOP_GRACE_S)

    async def run() -> None:
        await running.run()
        if running.outcome is not None:
            leave(config.termination, _termination_of(running.outcome, folder))

    signals.on_stop = stop
    async with asyncio.TaskGroup() as group:
        group.create_task(run())
        dag_run = (spec.dag_run.dag_id, spec.dag_run.run_id)
        group.create_task(TryStream(running, config.token, connections, Turns(), dag_run).run())
    folder.remove()


def _termination_of(outcome: StoredOutcome, folder: TryFolder) -> Termination:
    """XComs that the task pushed while it ran are no part of an outcome: with them nobody could store it from here."""
    if outcome.kind in NEEDS_WHAT_WAS_PUSHED and any(isinstance(event, XComPush) for event in events_of(folder)):
        because = f"the try ended as {outcome.kind}, and what it pushed before is not known to be stored"
        return Termination(try_id=folder.try_id, because=because)
    return Termination(try_id=folder.try_id, outcome=as_message(outcome))
