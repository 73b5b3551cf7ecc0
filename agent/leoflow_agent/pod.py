"""The agent of a task pod: PID 1, exactly one try, which its environment names. It ends when the outcome is stored."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from leoflow_agent.connection import DISCONNECTED, Address, Connections, check_protocol, parse_address, pauses
from leoflow_agent.fork_servers import Interpreters
from leoflow_agent.processes import Children
from leoflow_agent.reports import fields
from leoflow_agent.running_try import LOG_CAP_BYTES, RunningTry
from leoflow_agent.spool import Spool
from leoflow_agent.try_stream import TryStream
from leoflow_agent.turns import Turns
from leoflowd.contract.agent_messages import PROTOCOL, OutcomeKind, Terminate, TryHello, TrySpec, Welcome

log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_STALE = 3
"""The daemon has no use for this try; nothing was run."""
EXIT_BAD_ENVIRONMENT = 78
STOP_GRACE_S = 20.0
"""On SIGTERM of the pod: shorter than Kubernetes' terminationGracePeriodSeconds of 30."""


class PodConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The pod's environment, see `read_environment`."""

    address: Address
    try_id: str
    token: str
    shim: Path
    spool: Path
    python: str
    log_cap_bytes: int = LOG_CAP_BYTES


class BadEnvironment(Exception):
    """A variable is missing or wrong; the message names it."""


def read_environment(env: Mapping[str, str]) -> PodConfig:
    token = env.get("LEOFLOW_TRY_TOKEN", "")
    if token_file := env.get("LEOFLOW_TRY_TOKEN_FILE"):
        token = Path(token_file).read_text().strip()
    if not token:
        raise BadEnvironment("LEOFLOW_TRY_TOKEN or LEOFLOW_TRY_TOKEN_FILE must carry the token of this try")
    try:
        address = parse_address(_need(env, "LEOFLOW_AGENT_ADDRESS"), ca_file=env.get("LEOFLOW_AGENT_CA_FILE"))
    except ValueError as error:
        raise BadEnvironment(f"LEOFLOW_AGENT_ADDRESS: {error}") from error
    return PodConfig(
        address=address,
        try_id=_need(env, "LEOFLOW_TRY_ID"),
        token=token,
        shim=Path(_need(env, "LEOFLOW_SHIM")),
        spool=Path(env.get("LEOFLOW_SPOOL") or tempfile.mkdtemp(prefix="leoflow-")),
        python=env.get("LEOFLOW_PYTHON") or shutil.which("python3") or "python3",
        log_cap_bytes=int(env.get("LEOFLOW_LOG_CAP_BYTES", LOG_CAP_BYTES)),
    )


def _need(env: Mapping[str, str], name: str) -> str:
    if not env.get(name):
        raise BadEnvironment(f"{name} is not set; the pod launcher sets it")
    return env[name]


async def run_pod(config: PodConfig) -> int:
    """Returns the exit code of the pod: 0 once the outcome is stored, whatever it is."""
    connections = Connections(config.address)
    try:
        spec = await _fetch_spec(config, connections)
        if spec is None:
            return EXIT_STALE
        await _run_try(config, spec, connections)
        return EXIT_OK
    finally:
        connections.close()


async def _fetch_spec(config: PodConfig, connections: Connections) -> TrySpec | None:
    """Asks until the daemon answers; None when the try is not wanted any more."""
    for pause in pauses():
        try:
            async with connections.open_try() as stream:
                await stream.send_message(
                    TryHello(
                        try_id=config.try_id,
                        token=config.token,
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


async def _run_try(config: PodConfig, spec: TrySpec, connections: Connections) -> None:
    interpreters = Interpreters(Children(), shim=config.shim)
    folder = Spool(config.spool / "tries", config.spool / "work").create(spec.try_id, config.token)
    # One try: a warm interpreter would only be one process more. The code is in the image's work folder.
    spec = msgspec.structs.replace(spec, warm=False, bundle_path=spec.bundle_path or str(Path.cwd()))
    running = RunningTry(
        folder, spec, interpreters=interpreters, python=spec.python or config.python, log_cap_bytes=config.log_cap_bytes
    )
    loop = asyncio.get_running_loop()

    def stop(name: str) -> None:
        because = f"The pod was told to stop ({name}); the node may be draining."
        running.stop(OutcomeKind.LOST, because, grace_s=STOP_GRACE_S)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    async with asyncio.TaskGroup() as group:
        group.create_task(running.run())
        run = (spec.dag_run.dag_id, spec.dag_run.run_id)
        group.create_task(TryStream(running, config.token, connections, Turns(), run).run())
    folder.remove()
