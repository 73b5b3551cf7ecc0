"""Real trigger hosts in this interpreter, on the shim: the triggers are a project's, written into a folder."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

import leoflowd
from leoflowd.cheap_tasks.trigger_host_process import ProcessHosts
from leoflowd.cheap_tasks.trigger_hosts import TriggerHosts
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.waits import TriggerCall
from tests.conftest import PATIENCE_S
from tests.integration.airflow_environment import airflow_python

__all__ = ["airflow_python"]

SHIM = Path(leoflowd.__file__).parent / "authoring" / "airflow_shim"
WITHIN_S = PATIENCE_S
HEADER = """
import asyncio, logging, os, pathlib, signal, sys, time
from airflow.triggers.base import (
    BaseTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent,
)


class Base(BaseTrigger):
    def __init__(self, **kwargs):
        super().__init__()
        self.kwargs = kwargs

    def serialize(self):
        return f"{type(self).__module__}.{type(self).__name__}", self.kwargs
"""


@dataclass(frozen=True)
class End:
    """What one of the callbacks was told; `end` of a trigger that repeats: "ended"."""

    wait_id: str
    event: Any = None
    end: str | None = None
    error: str = ""
    traceback: tuple[str, ...] = ()


@dataclass
class World:
    """One test's project, hosts and what they reported."""

    folder: Path
    python: Path = Path(sys.executable)
    environment: EnvironmentSpec = field(default_factory=EnvironmentSpec)
    config: TriggerHostsConfig = field(default_factory=TriggerHostsConfig)
    ends: list[End] = field(default_factory=list)
    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    questions: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)
    _changed: trio.Event = field(default_factory=trio.Event)

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def write(self, source: str, name: str = "triggers.py") -> None:
        self.project.mkdir(exist_ok=True)
        (self.project / name).write_text(HEADER + textwrap.dedent(source))

    def make(self) -> TriggerHosts:
        return TriggerHosts(
            places=ProcessHosts(
                python_for=self._python_for,
                bundle_path=lambda digest: self.project,
                shim=SHIM,
                logs=self.folder / "logs",
                config=self.config,
            ),
            on_event=lambda wait_id, event, end: self._ended(End(wait_id, event=event, end=end)),
            on_failure=lambda wait_id, error, lines: self._ended(End(wait_id, error=error, traceback=lines)),
            on_log=self._logged,
            on_ended=lambda wait_id: self._ended(End(wait_id, end="ended")),
            ask=self._ask,
            now=lambda: datetime.now(UTC),
            config=self.config,
        )

    def call(self, name: str, *, module: str = "triggers", **kwargs: Any) -> TriggerCall:
        return TriggerCall(
            classpath=f"{module}.{name}",
            kwargs=kwargs,
            environment=msgspec.to_builtins(self.environment),
            bundle_digest="d1",
            source_path="dag.py",
            dag_id="d",
            run_id="r",
            task_id=f"task_of_{name}",
            map_index=-1,
            try_number=1,
            try_id="t",
        )

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Whatever is true of `condition()`; looked at again after each report, and each beat of the hosts."""
        with trio.fail_after(WITHIN_S):
            while not (found := condition()):
                with trio.move_on_after(0.05):
                    await self._changed.wait()
        return found

    async def end_of(self, wait_id: str) -> End:
        found: list[End] = await self.until(lambda: [end for end in self.ends if end.wait_id == wait_id])
        return found[0]

    def events_in_log(self, wait_id: str) -> list[str]:
        return [line["event"] for found, line in self.lines if found == wait_id]

    def host_logs(self) -> str:
        return "".join(path.read_text() for path in sorted((self.folder / "logs").glob("*.log")))

    async def _python_for(self, environment: EnvironmentSpec) -> str:
        await trio.lowlevel.checkpoint()
        return str(self.python)

    async def _ask(self, call: TriggerCall, about: str, question: dict[str, Any]) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        self.questions.append((call.task_id, about, question))
        return self.answer

    def _logged(self, wait_id: str, call: TriggerCall, line: dict[str, Any]) -> None:
        self.lines.append((wait_id, line))
        self._notify()

    def _ended(self, end: End) -> None:
        self.ends.append(end)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


Running = Callable[[], AbstractAsyncContextManager[TriggerHosts]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(folder=tmp_path)


@pytest.fixture
def running(world: World) -> Running:
    """`async with running() as hosts`: the component, cancelled at the end."""

    @asynccontextmanager
    async def run() -> AsyncIterator[TriggerHosts]:
        hosts = world.make()
        async with trio.open_nursery() as nursery:
            await nursery.start(hosts.run)
            yield hosts
            nursery.cancel_scope.cancel()

    return run
