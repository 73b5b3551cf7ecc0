"""The foreign triggers of `leoflow test`: the daemon's own trigger hosts, in a thread of this process.

They run in real time: nobody can let the time of a trigger's own code leap. What they say ends the wait of their task
by the daemon's rules (`local_waits`). Other dag runs they cannot ask about: there are none.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from leoflowd import supervision
from leoflowd.cheap_tasks import endings
from leoflowd.cheap_tasks.records import WaitRecord
from leoflowd.cheap_tasks.trigger_host_process import ProcessHosts
from leoflowd.cheap_tasks.trigger_hosts import TriggerHosts
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.waits import TriggerCall, WaitEnd

ENDED_WITHIN_S = 10.0
"""The hosts' processes are killed; what takes longer is left to the kernel, which ends them with this process."""

End = Callable[[WaitRecord, datetime], WaitEnd]
"""What a trigger said, to be told to the wait that it is for."""


class LocalTriggers:
    """`spoke()` is called in another thread whenever one of them has said something; `log(call, line)` likewise."""

    def __init__(
        self,
        *,
        folder: Path,
        python: Path,
        shim: Path,
        variables: Mapping[str, str],
        log: Callable[[TriggerCall, dict[str, Any]], None],
        spoke: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._python = python
        self._shim = shim
        self._variables = variables
        self._log = log
        self._spoke = spoke
        self._said: dict[str, End] = {}
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        self._broken: Exception | None = None

    def start(self, wait_id: str, call: TriggerCall) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=trio.run, args=[self._run], name="trigger hosts", daemon=True)
            self._thread.start()
            self._begun.wait()
        if self._broken is None:
            self._token.run_sync_soon(self._hosts.start, wait_id, call)

    def has_spoken(self, wait_id: str) -> bool:
        return wait_id in self._said or self._broken is not None

    def said(self, wait_id: str) -> End | None:
        """Once; the same try may wait for another trigger, under the same id."""
        if self._broken is None:
            return self._said.pop(wait_id, None)
        because = f"trigger hosts cannot run here: {type(self._broken).__name__}: {self._broken}"
        return lambda record, now: endings.trigger_failed(record, because, (because,), now)

    def close(self) -> None:
        """Ends whatever still waits."""
        if self._thread is not None and self._broken is None:
            self._token.run_sync_soon(self._scope.cancel)
            self._thread.join(ENDED_WITHIN_S)

    async def _run(self) -> None:
        async with supervision.contain(self._break):  # the run must not wait for ever for a thread that is gone
            with tempfile.TemporaryDirectory(prefix="leoflow-triggers-") as logs:
                await self._host(Path(logs))

    async def _break(self, error: Exception) -> None:
        await trio.lowlevel.checkpoint()
        self._broken = error
        self._begun.set()
        self._spoke()

    async def _host(self, logs: Path) -> None:
        config = TriggerHostsConfig()
        places = ProcessHosts(
            python_for=self._python_for,
            bundle_path=lambda _digest: self._folder,
            shim=self._shim,
            logs=logs,
            config=config,
        )
        self._hosts = TriggerHosts(
            places=places,
            on_event=lambda wait_id, event, end: self._say(
                wait_id, lambda record, now: endings.trigger_fired(record, event, end, now)
            ),
            on_failure=lambda wait_id, error, traceback: self._say(
                wait_id, lambda record, now: endings.trigger_failed(record, error, traceback, now)
            ),
            on_log=lambda _wait_id, call, line: self._log(call, line),
            ask=self._answer,
            now=lambda: datetime.now(UTC),
            config=config,
        )
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            self._begun.set()
            await self._hosts.run()

    def _say(self, wait_id: str, end: End) -> None:
        self._said[wait_id] = end
        self._spoke()

    async def _python_for(self, _environment: EnvironmentSpec) -> str:
        await trio.lowlevel.checkpoint()
        return str(self._python)

    async def _answer(self, _call: TriggerCall, about: str, question: dict[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        match about:
            case "connection":  # those of the environment were looked at before
                return {"connection": None}
            case "variable":
                return {"value": self._variables.get(question["key"])}
            case _:
                return {"refused": "`leoflow test` runs one DAG only; run both in `leoflow lite`"}
