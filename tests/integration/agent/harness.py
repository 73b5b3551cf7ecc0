"""A real agent process with real fork servers and small DAG projects, against the fake control plane."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import textwrap
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from leoflowd.contract.agent_messages import DagRunFacts, TrySpec
from tests.conftest import PATIENCE_S
from tests.fakes.fake_control_plane import Facts, FakeControlPlane, TryFacts, serve

REPOSITORY = Path(__file__).parents[3]
SHIM = REPOSITORY / "leoflowd" / "authoring" / "airflow_shim"
WITHIN_S = PATIENCE_S
_T = TypeVar("_T")
LOGICAL_DATE = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

HEADER = """
import json, logging, os, pathlib, signal, subprocess, sys, time
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, task, get_current_context
from airflow.exceptions import *
from airflow.providers.standard.operators.bash import BashOperator

with DAG("d", params={"p": 1}) as dag:
"""

KEEPS_A_SECRET = """
        class Keeps(BaseOperator):
            template_fields = ("header",)

            def __init__(self, token, header, **kwargs):
                super().__init__(**kwargs)
                self.token, self.header = token, header

            def execute(self, context):
                print("with", self.token, self.header)
                return [self.token[::-1], self.header]

        Keeps(task_id="run", token=TOKEN, header=f"Bearer {TOKEN}")
        """
"""What the file reads as TOKEN, in a field that is a template, and in one that is none."""


@dataclass
class World:
    """One test's folder, facts and processes."""

    folder: Path
    facts: Facts = field(default_factory=Facts)
    agents: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.folder / "agent.sock"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def project(self, tasks: str, *, header: str = HEADER) -> Path:
        """A project whose DAG `d` has these `@task` functions; each that is called `run` is instantiated."""
        project = self.folder / "project"
        project.mkdir(exist_ok=True)
        (project / "dag.py").write_text(header + textwrap.indent(textwrap.dedent(tasks), "    "))
        return project

    def spec(self, task_id: str = "run", **changes: Any) -> TrySpec:
        run: dict[str, Any] = {
            "dag_id": "d",
            "run_id": "manual__1",
            "run_type": "manual",
            "run_after": LOGICAL_DATE,
            "logical_date": LOGICAL_DATE,
            "data_interval_start": LOGICAL_DATE,
            "data_interval_end": LOGICAL_DATE,
            **changes.pop("dag_run", {}),
        }
        fields = {
            "try_id": str(uuid.uuid4()),
            "dag_run": DagRunFacts(**run),
            "task_id": task_id,
            "try_number": 1,
            "max_tries": 0,
            "kind": "python",
            "operator": "_PythonDecoratedOperator",
            "bundle_digest": "0" * 64,
            "bundle_path": str(self.folder / "project"),
            **changes,
        }
        return TrySpec(**fields)

    async def start_agent(self, *arguments: str) -> asyncio.subprocess.Process:
        token = self.path("host-token")
        _write(token, "host-token\n")
        log = (self.folder / "agent.log").open("ab")
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "leoflow_agent", "host"),
            *("--socket", str(self.socket), "--spool", str(self.spool), "--shim", str(SHIM)),
            *("--host-token-file", str(token), "--default-python", sys.executable),
            *("--lock", str(self.folder / "lock"), *arguments),
            stderr=log,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'agent'}", "LEOFLOW_SECRET": "leak"},
            start_new_session=True,
        )
        log.close()
        self.agents.append(agent)
        return agent

    @property
    def agent_log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def path(self, name: str) -> Path:
        """A file through which a task tells the test something; tasks see the folder as `OUT`."""
        return self.folder / name


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def in_world(test: Callable[[World], Awaitable[None]], *, within_s: float = WITHIN_S) -> None:
    """Run an async test in a new world, with a deadline, and leave no process behind."""
    with tempfile.TemporaryDirectory(prefix="leoflow-agent-") as folder:
        world = World(Path(folder))

        async def bounded() -> None:
            try:
                async with asyncio.timeout(within_s):
                    await test(world)
            finally:
                for agent in world.agents:
                    if agent.returncode is None:
                        agent.kill()
                        await agent.wait()

        try:
            asyncio.run(bounded())
        except BaseException as error:
            error.add_note((world.folder / "agent.log").read_text() if (world.folder / "agent.log").exists() else "")
            raise


async def run_tries(world: World, plane: FakeControlPlane, *specs: TrySpec) -> list[TryFacts]:
    facts = [await plane.launch(spec) for spec in specs]
    await plane.finished(*(spec.try_id for spec in specs))
    return facts


def run_one(
    tasks: str,
    *,
    agent: tuple[str, ...] = (),
    facts: Facts | None = None,
    header: str = HEADER,
    within_s: float = WITHIN_S,
    **spec: Any,
) -> TryFacts:
    """One try of the task `run` of this DAG, from launch to stored outcome."""
    result: list[TryFacts] = []

    async def body(world: World) -> None:
        if facts is not None:
            world.facts = facts
        world.project(tasks, header=header)
        async with serve(world.socket, world.facts) as plane:
            await world.start_agent(*agent)
            result.extend(await run_tries(world, plane, world.spec(**{"env": {"OUT": str(world.folder)}, **spec})))

    in_world(body, within_s=within_s)
    return result[0]


async def appears(path: Path) -> str:
    """Wait for a file that a task writes in one go; there is no event for that across processes."""
    return await until(lambda: path.read_text() if path.exists() else "")


async def vanishes(path: Path) -> None:
    await until(lambda: not path.exists())


async def gone(pid: int) -> None:
    """Wait until no process has this number, or only a zombie that init has not yet collected."""
    await until(lambda: _state(pid) in ("", "Z"))


def _state(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[0]


async def until(look: Callable[[], _T]) -> _T:
    while not (seen := look()):  # noqa: ASYNC110  what is looked at belongs to other processes
        await asyncio.sleep(0.01)
    return seen


@asynccontextmanager
async def agent_and_plane(world: World, *arguments: str) -> AsyncIterator[FakeControlPlane]:
    async with serve(world.socket, world.facts) as plane:
        await world.start_agent(*arguments)
        await plane.attached()
        yield plane


def fork_server_pid(agent_pid: int) -> int:
    children = Path(f"/proc/{agent_pid}/task/{agent_pid}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
