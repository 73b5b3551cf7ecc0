"""The agent of a trigger host's pod: starts the host's process, and carries what it says to the daemon that wants it.

Exactly one process and one stream: when either is over, so is the pod, and the daemon starts another one (ADR 65).
Nothing that host and daemon say to each other is understood here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from leoflow_agent.connection import DISCONNECTED, Address, Connections, check_protocol, pauses
from leoflow_agent.environment import clean_environment
from leoflow_agent.pod import EXIT_OK, EXIT_STALE, EXIT_STOPPED, address_of, need, python_of, spool_of, token_of
from leoflow_agent.processes import signal_group
from leoflow_agent.reports import fields
from leoflow_agent.trigger_host.marking import SIZE
from leoflowd.contract.agent_messages import (
    PROTOCOL,
    TriggerHostExit,
    TriggerHostHello,
    TriggerHostInput,
    TriggerHostOutput,
    TriggerHostWelcome,
)

log = logging.getLogger(__name__)

HOST_ID = "LEOFLOW_TRIGGER_HOST_ID"
PROGRAM = Path(__file__).parent / "trigger_host" / "start.py"
SEEK_S = 120.0
"""For the daemon that wants this host: behind one name there may be several. Nobody wants it after that."""
EXIT_LOST = 4
"""The daemon ended the stream, or died: the host ended with it."""
PIECE_BYTES = 64 * 1024
EXIT_S = 1.0
"""Between the end of what it says and the end of the process."""
LOG_TAIL_BYTES = 2000


class TriggerPodConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The pod's environment."""

    address: Address
    host_id: str
    token: Callable[[], str]
    runtime: str
    shim: Path
    python: str
    log: Path
    log_max_bytes: int


def read_environment(env: Mapping[str, str]) -> TriggerPodConfig:
    """Raises `pod.BadEnvironment`."""
    return TriggerPodConfig(
        address=address_of(env),
        host_id=need(env, HOST_ID),
        token=token_of(env),
        runtime=need(env, "LEOFLOW_TRIGGER_HOST_RUNTIME"),
        shim=Path(need(env, "LEOFLOW_SHIM")),
        python=python_of(env),
        log=spool_of(env) / "trigger-host.log",
        log_max_bytes=int(need(env, "LEOFLOW_TRIGGER_HOST_LOG_BYTES")),
    )


async def run_trigger_pod(config: TriggerPodConfig) -> int:
    """The exit code of the pod."""
    work = asyncio.ensure_future(_seek(config))
    for number in (signal.SIGTERM, signal.SIGINT):  # the kernel keeps those from PID 1 that it does not handle
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    await asyncio.wait((work,))
    return EXIT_STOPPED if work.cancelled() else work.result()


async def _seek(config: TriggerPodConfig) -> int:
    """Each attempt on a connection of its own, which may lead to another daemon."""
    until = asyncio.get_running_loop().time() + SEEK_S
    code: int | None = None
    for pause in pauses():
        connections = Connections(config.address)
        try:
            async with connections.open_trigger_host() as stream:
                hello = TriggerHostHello(
                    host_id=config.host_id, token=config.token(), hostname=socket.gethostname(), protocol=PROTOCOL
                )
                await stream.send_message(hello)
                match await stream.recv_message():
                    case TriggerHostWelcome(protocol=protocol):
                        check_protocol(protocol)
                        code = EXIT_LOST
                        code = await _run_host(config, stream)
                    case other:
                        log.error("no_welcome", extra=fields(answer=repr(other)))
        except DISCONNECTED as error:
            log.info("daemon_not_reached", extra=fields(error=repr(error)))
        finally:
            connections.close()
        if code is not None:
            return code
        if asyncio.get_running_loop().time() >= until:
            return EXIT_STALE
        await asyncio.sleep(pause)
    raise AssertionError("pauses() never ends")


async def _run_host(config: TriggerPodConfig, stream: Any) -> int:
    ours, theirs = socket.socketpair()
    marker = os.memfd_create("leoflow-marker")
    try:
        os.ftruncate(marker, SIZE)
        try:
            process = await _start(config, theirs.fileno(), marker)
        finally:
            theirs.close()
        try:
            await _carry(ours, stream)
            code = await _exit_of(process)
        finally:
            signal_group(process.pid, signal.SIGKILL)  # a trigger may have started programs
        await _say_how(config, stream, code, os.pread(marker, SIZE, 0))
        return EXIT_OK
    finally:
        os.close(marker)


async def _start(config: TriggerPodConfig, channel: int, marker: int) -> asyncio.subprocess.Process:
    """The kernel ends it with us. The code is in the image's work folder."""
    config.log.parent.mkdir(parents=True, exist_ok=True)
    with config.log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(config.python, "-I", "-B", str(PROGRAM), "--runtime", config.runtime),
            *("--parent", str(os.getpid()), "--channel", str(channel), "--marker", str(marker)),
            *("--shim", str(config.shim), "--bundle", str(Path.cwd())),
            *("--log", str(config.log), "--log-bytes", str(config.log_max_bytes)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=clean_environment(config.python),
            pass_fds=(channel, marker),
            start_new_session=True,
        )


async def _carry(ours: socket.socket, stream: Any) -> None:
    """Until the process says no more, or the daemon is gone."""
    reader, writer = await asyncio.open_connection(sock=ours)
    carrying = (asyncio.ensure_future(_carry_up(reader, stream)), asyncio.ensure_future(_carry_down(stream, writer)))
    try:
        done, _ = await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        for one in carrying:
            one.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        writer.close()


async def _carry_up(reader: asyncio.StreamReader, stream: Any) -> None:
    while piece := await reader.read(PIECE_BYTES):
        await stream.send_message(TriggerHostOutput(content=piece))


async def _carry_down(stream: Any, writer: asyncio.StreamWriter) -> None:
    while (message := await stream.recv_message()) is not None:
        if isinstance(message, TriggerHostInput):
            writer.write(message.content)
            await writer.drain()
    raise ConnectionError("the daemon has ended the stream")


async def _exit_of(process: asyncio.subprocess.Process) -> int:
    """As it ends by itself, or by our kill."""
    try:
        return await asyncio.wait_for(process.wait(), EXIT_S)
    except TimeoutError:
        signal_group(process.pid, signal.SIGKILL)
        return await process.wait()


async def _say_how(config: TriggerPodConfig, stream: Any, code: int, marked: bytes) -> None:
    named = marked.rstrip(b"\0")
    tail = config.log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
    if code:
        log.warning("trigger_host_ended", extra=fields(exit_code=code, output=tail))
    culprit = named.decode() if named.isascii() and b"\0" not in named else ""
    await stream.send_message(TriggerHostExit(exit_code=code, culprit=culprit, log_tail=tail))
