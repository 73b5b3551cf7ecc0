"""Executors under which the test itself is whoever runs the tries; every test of this folder runs with each of them."""

from __future__ import annotations

import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TextIO

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.config import ProcessConfig
from leoflowd.contract.agent_messages import OutcomeKind, TrySpec
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch, Placement
from leoflowd.contract.executors import Executor
from leoflowd.executors.launches import Launches
from leoflowd.executors.pod_launcher import PodLauncher
from leoflowd.executors.process import ProcessExecutor
from tests.fakes.fake_executor import FakeExecutor
from tests.fakes.kube.one_pod import OnePodAtATime
from tests.kube.tries import IMAGE, POLICY

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
            staging=folder / "staging",
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


class HostOfPods:
    """A cluster in memory with room for one pod that nobody runs yet; who runs it asks for its try, as agents do."""

    def __init__(self) -> None:
        self.refused: Refused = []
        self._specs: dict[str, TrySpec] = {}
        self._cluster = OnePodAtATime()
        _, dispatches = trio.open_memory_channel[Dispatch](0)
        self._launcher = PodLauncher(
            api=self._cluster,
            policy=POLICY,
            dispatches=dispatches,
            refuse=lambda *refused: self.refused.append(refused),
            has_begun=self._has_begun,
            now=lambda: datetime.now(UTC),
            at_once=1,
        )
        self.executor: Executor = self._launcher
        self.run = self._launcher.run
        launch = self._launcher.launch

        def remembering(dispatch: Dispatch) -> None:
            self._specs[dispatch.spec.try_id] = dispatch.spec
            launch(msgspec.structs.replace(dispatch, placement=_IMAGES[dispatch.environment == BROKEN]))

        self._launcher.launch = remembering  # type: ignore[method-assign]

    async def _has_begun(self, _try_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    async def take(self) -> TrySpec:
        await wait_all_tasks_blocked()
        try_id = self._cluster.begin()
        await wait_all_tasks_blocked()
        return self._specs[try_id]

    def leave(self) -> None:
        pass


_IMAGES = (Placement(image=IMAGE), Placement())


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


@pytest.fixture(params=["process", "pods", "fake"])
async def host(request: pytest.FixtureRequest, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Host]:
    with (tmp_path / "lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host: Host
        match request.param:
            case "process":
                host = HostOfProcesses(tmp_path, lock)
            case "pods":
                host = HostOfPods()
            case _:
                host = HostOfNothing()
        await nursery.start(host.run)
        yield host
        nursery.cancel_scope.cancel()
