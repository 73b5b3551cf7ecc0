"""Executors under which the test itself is whoever runs the tries; every test of this folder runs with each of them."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol, TextIO

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.config import ProcessConfig
from leoflowd.contract.agent_messages import OutcomeKind, TrySpec
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.executors import Executor
from leoflowd.executors.launches import Launches
from leoflowd.executors.process import ProcessExecutor
from tests.fakes.fake_executor import FakeExecutor

GOOD = EnvironmentSpec()
BROKEN = EnvironmentSpec(dependencies=("no-such-package",))
Refused = list[tuple[str, OutcomeKind, str]]


class Host(Protocol):
    executor: Executor
    run: Callable[..., Awaitable[None]]
    refused: Refused

    async def take(self) -> TrySpec:
        """The next try begins to run."""

    def leave(self) -> None:
        """Whoever runs tries goes away, as it does when it is told to stop."""


class HostOfProcesses:
    """The real one; its agent is this test, which holds the agent's lock."""

    def __init__(self, folder: Path, lock: TextIO) -> None:
        self.refused: Refused = []
        self._lock = lock
        self._launches = Launches()
        _, dispatches = trio.open_memory_channel[Dispatch](0)
        config = ProcessConfig(
            spool=folder / "spool",
            lock=folder / "lock",
            host_token_file=folder / "token",
            bundles=folder / "bundles",
            venvs=folder / "venvs",
            work=folder / "work",
            agent_log=folder / "agent.log",
        )
        executor = ProcessExecutor(
            config=config,
            socket=folder / "socket",
            shim=folder / "shim",
            dispatches=dispatches,
            launches=self._launches,
            try_secret=b"s",
            python_for=_python_for,
            refuse=lambda *refused: self.refused.append(refused),
            stop_agent=trio.lowlevel.checkpoint,
            silent_s=lambda: 0.0,
            silence_max_s=60.0,
        )
        self.executor: Executor = executor
        self.run = executor.run

    async def take(self) -> TrySpec:
        await wait_all_tasks_blocked()
        return (await self._launches.take()).spec

    def leave(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)


async def _python_for(environment: EnvironmentSpec) -> str:
    await trio.lowlevel.checkpoint()
    if environment == BROKEN:
        raise EnvironmentFailed("no such package")
    return "python"


class HostOfNothing:
    def __init__(self) -> None:
        self._fake = FakeExecutor(broken=(BROKEN,))
        self.executor: Executor = self._fake
        self.refused: Refused = self._fake.refused
        self.run = self._fake.run

    async def take(self) -> TrySpec:
        await trio.lowlevel.checkpoint()
        return self._fake.take().spec

    def leave(self) -> None:
        pass


@pytest.fixture(params=["process", "fake"])
async def host(request: pytest.FixtureRequest, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Host]:
    with (tmp_path / "lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host: Host = HostOfProcesses(tmp_path, lock) if request.param == "process" else HostOfNothing()
        await nursery.start(host.run)
        yield host
        nursery.cancel_scope.cancel()
