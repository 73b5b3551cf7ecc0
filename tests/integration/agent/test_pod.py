"""The agent as the main process of a pod: one try, everything from the environment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from leoflowd.contract.agent_messages import OutcomeKind
from tests.fakes.fake_control_plane import serve
from tests.integration.agent.harness import REPOSITORY, SHIM, World, appears, gone, in_world

SIMPLE = "@task\ndef run():\n    print('in a pod', 'LEOFLOW_TRY_TOKEN' in os.environ)\n    return 1\nrun()"


async def start_pod(world: World, try_id: str, **environment: str) -> asyncio.subprocess.Process:
    log = world.path("agent.log").open("ab")
    pod = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "leoflow_agent", "pod"),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'agent'}",
            "LEOFLOW_AGENT_ADDRESS": f"unix:{world.socket}",
            "LEOFLOW_TRY_ID": try_id,
            "LEOFLOW_TRY_TOKEN": "secret",
            "LEOFLOW_SHIM": str(SHIM),
            "LEOFLOW_SPOOL": str(world.spool),
            "LEOFLOW_PYTHON": sys.executable,
            **environment,
        },
        stderr=log,
    )
    log.close()
    world.agents.append(pod)
    return pod


def test_a_pod_asks_for_its_spec_and_ends_with_zero_when_the_outcome_is_stored():
    async def test(world: World) -> None:
        world.project(SIMPLE)
        spec = world.spec()
        world.facts.specs[spec.try_id] = spec
        pod = await start_pod(world, spec.try_id)  # the daemon is not there yet
        async with serve(world.socket, world.facts):
            assert await pod.wait() == 0
        facts = world.facts.of(spec.try_id)
        assert facts.outcome.kind is OutcomeKind.SUCCESS
        assert facts.events[0] == "in a pod False"
        assert [hello.wants_spec for hello in facts.hellos] == [True, False]

    in_world(test)


def test_a_pod_whose_try_is_stale_runs_nothing():
    async def test(world: World) -> None:
        world.facts.stale.add("old")
        async with serve(world.socket, world.facts):
            pod = await start_pod(world, "old")
            assert await pod.wait() == 3

    in_world(test)


def test_a_failed_task_is_no_failed_pod():
    async def test(world: World) -> None:
        world.project("@task\ndef run():\n    raise ValueError('x')\nrun()")
        spec = world.spec()
        world.facts.specs[spec.try_id] = spec
        async with serve(world.socket, world.facts):
            pod = await start_pod(world, spec.try_id)
            assert await pod.wait() == 0
        assert world.facts.of(spec.try_id).outcome.kind is OutcomeKind.FAILED

    in_world(test)


def test_a_pod_that_is_told_to_stop_reports_its_try_as_lost():
    async def test(world: World) -> None:
        world.project(
            "@task\ndef run():\n    (pathlib.Path(os.environ['OUT']) / 'pid').write_text(str(os.getpid()))\n"
            "    time.sleep(1000)\nrun()"
        )
        spec = world.spec(env={"OUT": str(world.folder)})
        world.facts.specs[spec.try_id] = spec
        async with serve(world.socket, world.facts):
            pod = await start_pod(world, spec.try_id)
            pid = int(await appears(world.path("pid")))
            pod.send_signal(signal.SIGTERM)
            assert await pod.wait() == 0
            await gone(pid)
        outcome = world.facts.of(spec.try_id).outcome
        assert outcome.kind is OutcomeKind.LOST
        assert "SIGTERM" in outcome.because

    in_world(test)


def test_a_pod_without_its_variables_says_which_one():
    async def test(world: World) -> None:
        pod = await start_pod(world, "")
        assert await pod.wait() == 78
        assert "LEOFLOW_TRY_ID" in world.agent_log

    in_world(test)
