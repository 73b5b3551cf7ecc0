"""The executor of one host: it waits for no worker, fails tries one by one, and ends an agent that is frozen."""

from __future__ import annotations

import fcntl
import math
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.config import ProcessConfig
from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch, Placement
from leoflowd.contract.staging import Staging
from leoflowd.executors import process
from leoflowd.executors.launches import Launches
from leoflowd.executors.process import ProcessExecutor
from tests.conftest import PATIENCE_S
from tests.unit.executors.builders import try_spec

NO_SPACE = OSError(28, "No space left on device")


class Setting:
    """An executor whose agent is whoever holds the lock."""

    silent_s = 0.0

    def __init__(self, folder: Path, silence_max_s: float = 60.0) -> None:
        self.config = ProcessConfig(
            spool=folder / "spool",
            lock=folder / "lock",
            host_token_file=folder / "token",
            bundles=folder / "bundles",
            venvs=folder / "venvs",
            work=folder / "work",
            staging=folder / "staging",
            agent_log=folder / "agent.log",
        )
        self.launches = Launches()
        self.refused: list[tuple[str, OutcomeKind, str]] = []
        self._silence_max_s = silence_max_s
        self._dispatch, self._dispatches = trio.open_memory_channel[Dispatch](0)

    @asynccontextmanager
    async def running(
        self, python_for: Callable[[EnvironmentSpec], Awaitable[str]] | None = None
    ) -> AsyncIterator[ProcessExecutor]:
        async def at_once(environment: EnvironmentSpec) -> str:
            return "python"

        async def nothing() -> None:
            pass

        executor = ProcessExecutor(
            config=self.config,
            socket=Path("socket"),
            shim=Path("shim"),
            dispatches=self._dispatches,
            launches=self.launches,
            try_secret=b"s",
            python_for=python_for or at_once,
            refuse=lambda try_id, kind, because: self.refused.append((try_id, kind, because)),
            stop_agent=nothing,
            silent_s=lambda: self.silent_s,
            silence_max_s=self._silence_max_s,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(executor.run)
            yield executor
            nursery.cancel_scope.cancel()

    async def dispatch(self, try_id: str, **environment: Any) -> None:
        with trio.fail_after(5):
            await self._dispatch.send(Dispatch(try_spec(try_id), EnvironmentSpec(**environment)))

    async def launched(self) -> list[str]:
        await wait_all_tasks_blocked()
        count = self.launches.statistics().waiting
        return [(await self.launches.take()).spec.try_id for _ in range(count)]


def mode_of(path: str) -> int:
    return Path(path).stat().st_mode & 0o777


@contextmanager
def held(lock: Path, pid: str) -> Iterator[None]:
    lock.write_text(pid)
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    """Its agent is this very process, under a number that is none."""
    with held(tmp_path / "lock", ""):
        yield Setting(tmp_path)


async def test_dispatches_are_taken_although_no_agent_takes_a_launch(setting: Setting) -> None:
    """A thousand launches once filled the channel, and inline HTTP tasks starved behind them."""
    async with setting.running():
        for number in range(1100):
            await setting.dispatch(str(number))
        assert setting.launches.statistics().waiting == 1024


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (EnvironmentFailed("no such package"), "no such package"),
        (NO_SPACE, "No space left on device"),
        (subprocess.SubprocessError("uv"), "uv"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "'utf-8' codec"),
        (ExceptionGroup("several", [NO_SPACE]), "No space left on device"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_environment_that_cannot_be_built_fails_its_tries_with_the_reason(
    setting: Setting, failure: Exception, told: str
) -> None:
    async def broken(environment: EnvironmentSpec) -> str:
        if environment.dependencies:
            raise failure
        return "python"

    async with setting.running(broken):
        await setting.dispatch("bad", dependencies=("x",))
        await wait_all_tasks_blocked()
        await setting.dispatch("good")
        assert await setting.launched() == ["good"]
    [(try_id, kind, because)] = setting.refused
    assert (try_id, kind) == ("bad", OutcomeKind.FAILED)
    assert because.startswith("its environment cannot be built: ")
    assert told in because


async def test_tries_of_a_run_share_its_staging_folder(setting: Setting) -> None:
    staging = Staging(dag_run_id=7, dag_id="d", run_id="r")
    async with setting.running() as executor:
        for try_id, wanted in (("a", staging), ("b", staging), ("c", None)):
            executor.launch(Dispatch(try_spec(try_id), EnvironmentSpec(), placement=Placement(staging=wanted)))
        await wait_all_tasks_blocked()
        launches = [await setting.launches.take() for _ in range(3)]
    folders = [launch.spec.env.get("LEOFLOW_STAGING_DIR") for launch in launches]
    assert folders == [str(setting.config.staging / staging.name)] * 2 + [None]
    assert mode_of(folders[0] or "") == 0o700


async def test_a_staging_folder_that_cannot_be_made_fails_its_try(setting: Setting) -> None:
    setting.config.staging.write_text("in the way")
    staging = Staging(dag_run_id=7, dag_id="d", run_id="r")
    async with setting.running() as executor:
        executor.launch(Dispatch(try_spec("a"), EnvironmentSpec(), placement=Placement(staging=staging)))
        await wait_all_tasks_blocked()
    [(try_id, kind, because)] = setting.refused
    assert (try_id, kind) == ("a", OutcomeKind.FAILED)
    assert "staging folder" in because


async def test_tries_of_one_slow_environment_do_not_hold_up_another(setting: Setting) -> None:
    """Each of them once took one of the two places for builders."""
    may_end = trio.Event()

    async def python_for(environment: EnvironmentSpec) -> str:
        if environment.dependencies:
            await may_end.wait()
        return "python"

    async with setting.running(python_for):
        for try_id in ("slow 1", "slow 2", "slow 3", "slow 1"):
            await setting.dispatch(try_id, dependencies=("x",))
        await setting.dispatch("fast")
        assert await setting.launched() == ["fast"]
        may_end.set()
        assert await setting.launched() == ["slow 1", "slow 2", "slow 3"]


@pytest.fixture
def agent() -> Iterator[subprocess.Popen[bytes]]:
    """Some process that may be ended."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]) as started:
        yield started
        started.kill()


async def test_an_agent_that_holds_its_lock_and_says_nothing_is_ended(
    tmp_path: Path, agent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "CHECK_S", 0.01)
    agent.send_signal(signal.SIGSTOP)
    setting = Setting(tmp_path, silence_max_s=0.05)
    setting.silent_s = math.inf
    with held(tmp_path / "lock", str(agent.pid)):
        async with setting.running() as executor:
            with trio.fail_after(PATIENCE_S):
                assert await trio.to_thread.run_sync(agent.wait) == -signal.SIGKILL
    assert executor.statistics().agents_killed == 1


async def test_an_agent_that_speaks_is_let_alone(
    tmp_path: Path, agent: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, looks = trio.Event(), 0

    def silent_s() -> float:
        nonlocal looks
        looks += 1
        if looks == 10:
            looked.set()
        return 0.0

    monkeypatch.setattr(process, "CHECK_S", 0.01)
    setting = Setting(tmp_path, silence_max_s=0.05)
    monkeypatch.setattr(Setting, "silent_s", property(lambda _: silent_s()))
    with held(tmp_path / "lock", str(agent.pid)):
        async with setting.running():
            with trio.fail_after(PATIENCE_S):
                await looked.wait()
    assert agent.poll() is None


async def test_an_agent_that_cannot_be_started_is_a_complaint_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise NO_SPACE

    monkeypatch.setattr(process.subprocess, "Popen", full)
    setting = Setting(tmp_path)
    async with setting.running() as executor:
        assert executor.complaint() == "the agent cannot be started: No space left on device"
