"""Tasks as another user than the agent: what a task can still reach, and what not. Needs root."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import leoflow_agent.runner
from leoflowd.contract.agent_messages import OutcomeKind
from tests.integration.agent.harness import HEADER, World, agent_and_plane, appears, in_world, run_tries, until

USER = "nobody"
RUNNER = Path(leoflow_agent.runner.__file__)


@pytest.fixture(scope="module")
def python() -> str:
    """An interpreter that this user may start."""
    if os.geteuid() != 0:
        pytest.skip("only root may run tasks as another user")
    user = pwd.getpwnam(USER)
    closed = next((folder for folder in RUNNER.parents if not folder.stat().st_mode & stat.S_IXOTH), None)
    if closed is not None:
        pytest.skip(f"{closed} is closed to other users, so {USER} cannot read the runner in it")
    for candidate in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run([candidate, "-c", ""], user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=True)
        except OSError:
            continue
        return candidate
    pytest.skip(f"user {USER} can start no interpreter here")


LOOK = """
@task
def run(ti=None):
    out = pathlib.Path(os.environ["OUT"])
    def tried(what):
        try:
            return repr(what())
        except OSError as error:
            return type(error).__name__
    child = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    pathlib.Path("mine").write_text("data")
    print("printed")
    ti.xcom_push("pushed", 1)
    return {
        "ids": [os.getuid(), os.getgid(), os.getgroups(), os.geteuid()],
        "child": child,
        "home": os.environ["HOME"],
        "mine": os.listdir("."),
        "spool": tried(lambda: os.listdir(out / "spool")),
        "token": tried(lambda: (out / "spool" / ti.id / "token").read_text()),
        "host token": tried(lambda: (out / "host-token").read_text()),
        "socket": tried(lambda: __import__("socket").socket(1).connect(str(out / "agent.sock"))),
        "others": tried(lambda: os.listdir(out / "work")),
        "bundle": tried(lambda: pathlib.Path(__file__).write_text("changed")),
        "agent memory": tried(lambda: open(f"/proc/{os.environ['AGENT']}/mem", "rb")),
        "agent environment": tried(lambda: open(f"/proc/{os.environ['AGENT']}/environ", "rb").read()),
        "root again": tried(lambda: os.setuid(0)),
    }
run()

@task
def slow():
    (pathlib.Path("/proc/self/cwd") / "pids").write_text("x")
    def stop(*_): ...
    try:
        time.sleep(1000)
    except AirflowTaskTerminated as error:
        print("told:", error)
        raise
slow()
"""


def _open_to_tasks(world: World) -> None:
    world.folder.chmod(0o711)
    world.project(LOOK, header=HEADER)
    (world.folder / "host-token").write_text("host-token\n")
    (world.folder / "host-token").chmod(0o600)


def test_a_task_is_another_user_and_reaches_nothing_of_the_agent(python):
    async def test(world: World) -> None:
        _open_to_tasks(world)
        async with agent_and_plane(world, "--run-as", USER, "--default-python", python) as plane:
            world.socket.chmod(0o600)
            env = {"OUT": str(world.folder), "AGENT": str(world.agents[0].pid)}
            warm, cold = await run_tries(world, plane, world.spec(env=env), world.spec(env=env, warm=False))
            await until(lambda: not list((world.folder / "work").iterdir()))
        user = pwd.getpwnam(USER)

        for facts in (warm, cold):
            assert facts.outcome.because == "The task returned."
            assert facts.xcoms["return_value"] == {
                "ids": [user.pw_uid, user.pw_gid, [], user.pw_uid],
                "child": USER,
                "home": user.pw_dir,
                "mine": ["mine"],
                **dict.fromkeys(
                    (
                        *("spool", "token", "host token", "socket", "others", "bundle"),
                        *("agent memory", "agent environment", "root again"),
                    ),
                    "PermissionError",
                ),
            }
            assert facts.xcoms["pushed"] == 1
            assert "printed" in facts.events

    in_world(test)


def test_a_task_of_another_user_is_ended_and_told_why(python):
    async def test(world: World) -> None:
        _open_to_tasks(world)
        spec = world.spec("slow", execution_timeout_s=2.0)
        async with agent_and_plane(world, "--run-as", USER, "--default-python", python) as plane:
            await plane.launch(spec)
            await appears(world.folder / "work" / spec.try_id / "pids")
            await plane.terminate(spec.try_id, reason="someone cleared it")
            await plane.finished(spec.try_id)
        facts = world.facts.of(spec.try_id)
        assert facts.outcome.kind is OutcomeKind.TERMINATED
        assert "told: someone cleared it" in facts.events

    in_world(test)


def test_an_agent_that_cannot_become_this_user_says_so(python):
    async def test(world: World) -> None:
        agent = await world.start_agent("--run-as", "no-such-user")
        assert await agent.wait() == 78
        assert "there is no user 'no-such-user' on this host" in world.agent_log

    in_world(test)
