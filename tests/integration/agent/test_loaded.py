"""Tries that are forked from a process which has loaded their file: nobody could tell, except by the clock (ADR 31)."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from functools import partial
from pathlib import Path

import pytest

from leoflowd.contract.agent_messages import OutcomeKind
from tests.fakes.fake_control_plane import FakeControlPlane, TryFacts
from tests.integration.agent.harness import HEADER, World, agent_and_plane, in_world, run_tries, until

TELLS = """
@task
def run():
    import random, secrets, threading
    main = sys.modules["dag"]
    return {
        "loaded_by": main.LOADED_BY, "pid": os.getpid(), "parent": os.getppid(), "random": random.random(),
        "secret": secrets.token_hex(8), "cwd": os.getcwd(), "argv": sys.argv, "umask": os.umask(0o22),
        "stdin": os.readlink("/proc/self/fd/0"), "descriptors": sorted(os.listdir("/proc/self/fd"))[:4],
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGCHLD)],
        "is_leader": os.getsid(0) == os.getpid(), "threads": threading.active_count(),
        "handlers": [type(handler).__name__ for handler in logging.getLogger().handlers],
        "level": logging.getLogger().level, "env": os.environ.get("MINE"),
        "imported": sorted(name for name in sys.modules.keys() - main.KNOWN if name.startswith("airflow")),
    }
run()
"""
TRACE = "LOADED_BY = json.loads(pathlib.Path('/proc/self/stat').read_text().split()[0])\nKNOWN = set(sys.modules)\n"
"""The process that loaded the file, found out without asking for it; and the modules that were there then."""
HEAD = HEADER.replace("\nwith DAG", f"\n{TRACE}\nwith DAG")


def value_of(facts: TryFacts) -> dict[str, object]:
    assert facts.outcome is not None
    assert facts.outcome.kind is OutcomeKind.SUCCESS, facts.outcome.because
    found: dict[str, object] = json.loads(facts.outcome.xcoms[-1].value)
    return found


async def run_one(world: World, plane: FakeControlPlane, **changes: object) -> dict[str, object]:
    [facts] = await run_tries(world, plane, world.spec(**changes))
    return value_of(facts)


async def loaded(world: World) -> None:
    await until(lambda: "version_loaded" in world.agent_log)


async def refused(world: World) -> None:
    await until(lambda: "version_not_loaded" in world.agent_log)


def test_a_version_in_demand_is_loaded_once_and_its_tries_are_as_without() -> None:
    async def test(world: World) -> None:
        world.project(TELLS, header=HEAD)
        async with agent_and_plane(world) as plane:
            plain = [await run_one(world, plane, env={"MINE": "x"}) for _ in range(2)]
            await loaded(world)
            forked = [await run_one(world, plane, env={"MINE": "x"}) for _ in range(3)]
        assert all(each["loaded_by"] == each["pid"] for each in plain)
        [server] = {each["loaded_by"] for each in forked}
        assert {each["parent"] for each in forked} == {server}
        assert len({each["random"] for each in forked}) == len({each["secret"] for each in forked}) == 3
        for name in (
            "argv",
            "umask",
            "stdin",
            "descriptors",
            "signals",
            "is_leader",
            "threads",
            "handlers",
            "level",
            "env",
        ):
            assert forked[0][name] == plain[0][name], name
        assert all(Path(str(each["cwd"])).parent == Path(str(plain[0]["cwd"])).parent for each in forked)
        assert len({each["cwd"] for each in forked}) == 3
        assert forked[0]["imported"] == [], "each try imports this for itself"

    in_world(test)


@pytest.mark.parametrize(
    ("at_load", "why"),
    [
        ("import threading; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()", "starts a thread"),
        ("CHILD = subprocess.Popen(['sleep', '9'])", "starts a process"),
        ("import socket; S = socket.socket()", "opens a file or socket"),
        ("F = open('/etc/hostname')", "opens a file or socket"),
        ("import random; R = random.random()", "draws random numbers"),
        ("import random; R = random.Random()", "draws random numbers"),
        ("import uuid; U = uuid.uuid4()", "draws random numbers"),
        ("import secrets; S = secrets.token_hex()", "draws random numbers"),
        ("P = os.getpid()", "asks for its process id"),
        ("W = os.getcwd()", "asks for its working directory"),
        ("os.chdir('/tmp')", "changes the working directory"),
        ("signal.signal(signal.SIGUSR1, signal.SIG_IGN)", "handles signals"),
        ("logging.getLogger().setLevel(logging.DEBUG)", "sets up logging"),
        ("logging.getLogger('mine').warning('hm')", "logs"),
        ("print('hello')", "prints"),
        ("import warnings; warnings.warn('old')", "prints"),
        ("sys.stdout = sys.stderr", "replaces sys.stdout or sys.stderr"),
        ("if not os.environ.get('IN_TRY'): raise KeyError('IN_TRY')", "KeyError"),
        ("if not os.environ.get('IN_TRY'): sys.exit(3)", "SystemExit"),
    ],
)
def test_a_file_whose_loading_leaves_traces_is_loaded_in_every_try(at_load: str, why: str) -> None:
    async def test(world: World) -> None:
        world.project(TELLS, header=HEAD.replace("\nwith DAG", f"\n{at_load}\nwith DAG"))
        in_try = "KeyError" in why or "SystemExit" in why
        async with agent_and_plane(world) as plane:
            for _ in range(2):
                [facts] = await run_tries(world, plane, world.spec())
            await refused(world)
            [facts] = await run_tries(world, plane, world.spec())
            if in_try:  # it fails as it always did
                assert facts.outcome is not None
                assert facts.outcome.kind is OutcomeKind.FAILED
            else:
                told = value_of(facts)
                assert told["loaded_by"] == told["pid"]
        assert why in world.agent_log
        assert world.agent_log.count("version_not_loaded") == 1

    in_world(test)


def test_the_death_of_a_loaded_server_costs_its_tries_and_no_other() -> None:
    waits = """
    @task
    def run():
        out = pathlib.Path(os.environ["OUT"])
        (out / f"runs-{os.getpid()}").touch()
        while not (out / "go").exists():
            time.sleep(0.01)
    run()
    """

    async def test(world: World) -> None:
        world.project(
            TELLS + textwrap.dedent(waits).replace("def run", "def wait").replace("\nrun()", "\nwait()"), header=HEAD
        )
        async with agent_and_plane(world) as plane:
            env = {"OUT": str(world.folder)}
            for _ in range(2):
                await run_one(world, plane, env=env)
            await loaded(world)
            server = (await run_one(world, plane, env=env))["loaded_by"]
            waiting = world.spec("wait", env=env)
            await plane.launch(waiting)
            await until(lambda: any(world.folder.glob("runs-*")))
            os.kill(int(str(server)), signal.SIGKILL)
            await plane.finished(waiting.try_id)
            outcome = world.facts.of(waiting.try_id).outcome
            assert outcome is not None
            assert outcome.kind is OutcomeKind.LOST
            after = await run_one(world, plane, env=env)
            assert after["loaded_by"] == after["pid"]

    in_world(test)


def _has_loaded(world: World, count: int) -> bool:
    return world.agent_log.count("version_loaded") == count


def test_other_environments_and_versions_have_servers_of_their_own_and_none_outlives_the_agent() -> None:
    async def test(world: World) -> None:
        world.project(TELLS, header=HEAD)
        async with agent_and_plane(world) as plane:
            servers = set()
            for count, mine in enumerate(("a", "b"), start=1):
                for _ in range(2):
                    await run_one(world, plane, env={"MINE": mine})
                await until(partial(_has_loaded, world, count))
                told = await run_one(world, plane, env={"MINE": mine})
                assert told["env"] == mine
                servers.add(told["loaded_by"])
            assert len(servers) == 2
            world.agents[-1].kill()
            await until(lambda: not any(Path(f"/proc/{server}").exists() for server in servers))

    in_world(test)
