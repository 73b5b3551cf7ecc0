"""The host's own loop: takes commands, starts and cancels triggers, and says each second that it is alive."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import contextvars
import os
import socket
from typing import Any

from ..runner import linux
from .channel import Channel
from .classes import TriggerClasses
from .logs import LogFile, TriggerLog
from .marking import Marker, current_wait
from .running import CLEANUP_S, Call, RunningTrigger
from .runtimes import AirflowRuntime, Runtime, ShimRuntime
from .shared_streams import SharedStreams
from .watchdog import Watchdog

BEAT_S = 1.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def run(arguments: argparse.Namespace) -> None:
    linux.die_with_parent(arguments.parent)
    channel = Channel(socket.socket(fileno=arguments.channel))
    os.set_inheritable(arguments.channel, False)
    os.set_inheritable(arguments.marker, False)
    log = TriggerLog(channel)
    runtime: Runtime = ShimRuntime(arguments.shim) if arguments.runtime == "shim" else AirflowRuntime(arguments.shim)
    runtime.prepare(channel, log)
    classes = TriggerClasses(runtime, arguments.bundle)
    host = TriggerHost(channel, runtime, classes, log, LogFile(arguments.log, arguments.log_bytes))
    asyncio.run(host.run(Marker(arguments.marker)))


class TriggerHost:
    def __init__(
        self, channel: Channel, runtime: Runtime, classes: TriggerClasses, log: TriggerLog, file: LogFile
    ) -> None:
        self._channel = channel
        self._runtime = runtime
        self._classes = classes
        self._log = log
        self._file = file
        self._triggers: dict[str, RunningTrigger] = {}
        self._tasks: dict[asyncio.Task[None], RunningTrigger] = {}

    async def run(self, marker: Marker) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(marker.task_factory)
        self._streams = SharedStreams()
        self._stop = asyncio.Event()
        Watchdog(loop, self._channel, marker).start()
        self._channel.listen(lambda command: loop.call_soon_threadsafe(self._obey, command))
        self._channel.send("hello", pid=os.getpid())
        while not self._stop.is_set():
            self._channel.send("beat", rss_bytes=rss_bytes(), triggers=len(self._triggers))
            self._file.turn_over()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop.wait(), BEAT_S)
        await self._finish_clean_ups()
        # Triggers that still wait are wanted, and start again elsewhere: their `cleanup` would be a lie.
        os._exit(0)

    def _obey(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "start":
            contextvars.copy_context().run(self._start, Call(message["wait_id"], message["call"]))
        elif kind == "cancel":
            trigger = self._triggers.get(message["wait_id"])
            if trigger is not None:
                trigger.cancel()
        elif kind == "go_on":
            trigger = self._triggers.get(message["wait_id"])
            if trigger is not None:
                trigger.go_on()
        elif kind == "stop":
            self._stop.set()
        else:
            raise AssertionError(f"unknown command of the daemon: {message!r}")

    def _start(self, call: Call) -> None:
        """In a context of its own: tasks made from here on belong to this wait."""
        current_wait.set(call.wait_id)
        trigger = self._triggers[call.wait_id] = RunningTrigger(
            call, channel=self._channel, runtime=self._runtime, classes=self._classes, streams=self._streams
        )
        task = trigger.start()
        self._tasks[task] = trigger
        task.add_done_callback(lambda ended: self._done(call.wait_id, ended))

    def _done(self, wait_id: str, task: asyncio.Task[None]) -> None:
        if self._triggers.get(wait_id) is self._tasks.pop(task):
            del self._triggers[wait_id]
            self._log.forget(wait_id)

    async def _finish_clean_ups(self) -> None:
        """Triggers that fired, failed or were cancelled may still be in their `cleanup`."""
        ending = [task for task, trigger in self._tasks.items() if trigger.is_decided]
        if ending:
            await asyncio.wait(ending, timeout=CLEANUP_S)


def rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as sizes:
        return int(sizes.read().split()[1]) * _PAGE_BYTES
