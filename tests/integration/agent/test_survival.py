"""Kills and restarts of every part, at the worst moment: nothing is lost silently, nothing runs or is told twice."""

from __future__ import annotations

import os
import signal

from leoflowd.contract.agent_messages import OutcomeKind
from tests.fakes.fake_control_plane import serve
from tests.integration.agent.harness import (
    World,
    agent_and_plane,
    appears,
    fork_server_pid,
    gone,
    in_world,
    kill,
    run_tries,
    until,
    vanishes,
)

COUNTED = """
@task
def run():
    out = pathlib.Path(os.environ["OUT"])
    with (out / "runs").open("a") as runs:
        runs.write("x")
    child = subprocess.Popen(["sleep", "1000"])
    (out / "pids").write_text(f"{os.getpid()} {child.pid}")
    print("first")
    while not (out / "go").exists():
        print("line")
        time.sleep(0.002)
    print("last")
    return "done"
run()
"""
"""Runs until the file `go` appears; each run adds an x to the file `runs`."""


def _spec(world, **changes):
    return world.spec(**{"env": {"OUT": str(world.folder)}, **changes})


def test_a_daemon_restart_in_mid_run_loses_no_line_and_doubles_none():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec = _spec(world)
        facts = world.facts.of(spec.try_id)
        async with agent_and_plane(world) as plane:
            await plane.launch(spec)
            await plane.wait_for(lambda: facts.events.count("line") > 3)
        seen = len(facts.log)
        async with serve(world.socket, world.facts) as plane:
            await plane.wait_for(lambda: len(facts.log) > seen)
            assert world.facts.hosts[-1].known_try_ids == (spec.try_id,)
        world.path("go").touch()
        async with serve(world.socket, world.facts) as plane:
            await plane.finished(spec.try_id)
            await plane.attached()
        assert facts.outcome.kind is OutcomeKind.SUCCESS
        assert (facts.gaps, facts.overlaps) == (0, 0)
        assert len(facts.hellos) == 3
        output = [line["event"] for line in facts.lines if line["logger"] == "task.stdout"]
        assert output == ["first", *["line"] * (len(output) - 2), "last"]
        assert world.path("runs").read_text() == "x"

    in_world(test)


def test_a_try_that_ends_while_the_daemon_is_away_is_reported_when_it_returns():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec = _spec(world)
        facts = world.facts.of(spec.try_id)
        async with agent_and_plane(world) as plane:
            await plane.launch(spec)
            await appears(world.path("pids"))
        world.path("go").touch()
        await appears(world.spool / spec.try_id / "outcome.json")
        async with serve(world.socket, world.facts) as plane:
            await plane.finished(spec.try_id)
        assert facts.outcome.kind is OutcomeKind.SUCCESS
        assert facts.xcoms == {"return_value": "done"}
        assert facts.messages[-1] == "Outcome"

    in_world(test)


def test_an_outcome_that_was_not_acknowledged_is_sent_again():
    async def test(world: World) -> None:
        world.project("@task\ndef run():\n    return 1\nrun()")
        spec = world.spec()
        facts = world.facts.of(spec.try_id)
        world.facts.store_outcomes = False
        async with agent_and_plane(world) as plane:
            await plane.launch(spec)
            await plane.wait_for(lambda: "Outcome" in facts.messages)
        world.facts.store_outcomes = True
        async with serve(world.socket, world.facts) as plane:
            await plane.finished(spec.try_id)
        assert facts.outcome.kind is OutcomeKind.SUCCESS

    in_world(test)


def test_a_killed_agent_takes_its_tries_along_and_the_next_one_reports_them_lost():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec, finished = _spec(world), _spec(world, task_id="short")
        world.project(COUNTED + "@task\ndef short(ti=None):\n    ti.xcom_push('k', 1)\n    return 2\nshort()\n")
        async with serve(world.socket, world.facts) as plane:
            agent = await world.start_agent()
            world.facts.store_outcomes = False
            for each in (spec, finished):
                await plane.launch(each)
            await plane.wait_for(lambda: "Outcome" in world.facts.of(finished.try_id).messages)
            pids = [int(pid) for pid in (await appears(world.path("pids"))).split()]
            await plane.wait_for(lambda: "first" in world.facts.of(spec.try_id).events)
            kill(agent.pid)
            await agent.wait()
            await gone(pids[0])
            world.facts.store_outcomes = True
            await world.start_agent()
            await plane.finished(spec.try_id, finished.try_id)
            await gone(pids[1])
        lost, done = world.facts.of(spec.try_id), world.facts.of(finished.try_id)
        assert lost.outcome.kind is OutcomeKind.LOST
        assert lost.outcome.because == "Lost: the agent was killed while this try ran."
        assert lost.events[0] == "first"
        assert done.outcome.kind is OutcomeKind.SUCCESS
        assert done.xcoms == {"k": 1, "return_value": 2}
        assert world.path("runs").read_text() == "x"

    in_world(test)


def test_a_killed_fork_server_loses_its_tries_and_the_next_try_gets_a_new_one():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec, again = _spec(world), _spec(world)
        async with serve(world.socket, world.facts) as plane:
            agent = await world.start_agent()
            facts = await plane.launch(spec)
            pids = [int(pid) for pid in (await appears(world.path("pids"))).split()]
            kill(fork_server_pid(agent.pid))
            await plane.finished(spec.try_id)
            await gone(pids[0])
            await gone(pids[1])
            world.path("go").touch()
            [second] = await run_tries(world, plane, again)
        assert facts.outcome.kind is OutcomeKind.LOST
        assert "warm interpreter" in facts.outcome.because
        assert second.outcome.kind is OutcomeKind.SUCCESS
        assert world.path("runs").read_text() == "xx"

    in_world(test)


def test_a_second_launch_of_a_try_is_ignored():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec, other = _spec(world), _spec(world)
        async with agent_and_plane(world) as plane:
            facts = await plane.launch(spec)
            await plane.launch(spec)
            await appears(world.path("pids"))
            await plane.launch(spec)
            world.path("go").touch()
            await plane.finished(spec.try_id)
            await plane.launch(spec)
            await run_tries(world, plane, other)
        assert len(facts.outcomes) == len(facts.hellos) == 1
        assert world.path("runs").read_text() == "xx"

    in_world(test)


def test_a_stale_try_is_killed_and_forgotten():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec = _spec(world)
        async with agent_and_plane(world) as plane:
            facts = await plane.launch(spec)
            pids = [int(pid) for pid in (await appears(world.path("pids"))).split()]
            await plane.terminate(spec.try_id, reason="cleared", stale=True)
            await gone(pids[0])
            await gone(pids[1])
            await vanishes(world.spool / spec.try_id)
        assert facts.outcomes == []

    in_world(test)


def test_a_try_that_became_stale_while_the_daemon_was_away_is_killed_on_return():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec = _spec(world)
        async with agent_and_plane(world) as plane:
            await plane.launch(spec)
            pid = int((await appears(world.path("pids"))).split()[0])
        world.facts.stale.add(spec.try_id)
        async with serve(world.socket, world.facts):
            await gone(pid)
        assert world.facts.of(spec.try_id).outcomes == []

    in_world(test)


STUBBORN = """
@task
def run():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    (pathlib.Path(os.environ["OUT"]) / "pids").write_text(f"{os.getpid()} {child.pid}")
    print("ignoring")
    time.sleep(1000)
run()
"""


def test_terminate_ends_even_a_task_that_ignores_sigterm():
    async def test(world: World) -> None:
        world.project(STUBBORN)
        spec = _spec(world)
        async with agent_and_plane(world) as plane:
            facts = await plane.launch(spec)
            pids = [int(pid) for pid in (await appears(world.path("pids"))).split()]
            await plane.terminate(spec.try_id, reason="marked failed by ana", grace_s=0.2)
            await plane.finished(spec.try_id)
            for pid in pids:
                await gone(pid)
        assert facts.outcome.kind is OutcomeKind.TERMINATED
        assert facts.outcome.because == "marked failed by ana"
        assert facts.outcome.signal == 9
        assert facts.events == ["ignoring", "marked failed by ana"]

    in_world(test)


def test_shut_down_reports_running_tries_as_lost_and_ends_the_agent():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec = _spec(world)
        async with serve(world.socket, world.facts) as plane:
            agent = await world.start_agent()
            facts = await plane.launch(spec)
            pids = [int(pid) for pid in (await appears(world.path("pids"))).split()]
            await plane.shut_down(grace_s=2.0, reason="the host stops")
            assert await agent.wait() == 0
            for pid in pids:
                await gone(pid)
        assert facts.outcome.kind is OutcomeKind.LOST
        assert facts.outcome.because == "the host stops"
        assert list(world.spool.iterdir()) == []

    in_world(test)


def test_a_second_agent_of_the_host_refuses_to_start():
    async def test(world: World) -> None:
        async with agent_and_plane(world):
            second = await world.start_agent()
            assert await second.wait() == 75

    in_world(test)


def test_an_agent_without_daemon_and_tries_ends_by_itself():
    async def test(world: World) -> None:
        agent = await world.start_agent("--idle-exit-s", "0.2")
        assert await agent.wait() == 0

    in_world(test)


def test_many_tries_at_once_each_report_for_themselves():
    async def test(world: World) -> None:
        world.project("@task\ndef run(ti=None):\n    print(ti.id)\n    return ti.id\nrun()")
        specs = [world.spec() for _ in range(150)]
        async with agent_and_plane(world) as plane:
            facts = await run_tries(world, plane, *specs)
        for spec, each in zip(specs, facts, strict=True):
            assert each.outcome.kind is OutcomeKind.SUCCESS
            assert each.xcoms == {"return_value": spec.try_id}
            assert each.events[0] == spec.try_id

    in_world(test)


def test_an_agent_whose_daemon_never_comes_back_ends_and_the_next_one_reports():
    async def test(world: World) -> None:
        world.project("@task\ndef run():\n    return 1\nrun()")
        spec = world.spec()
        facts = world.facts.of(spec.try_id)
        world.facts.store_outcomes = False
        async with agent_and_plane(world, "--idle-exit-s", "0.4") as plane:
            await plane.launch(spec)
            await plane.wait_for(lambda: "Outcome" in facts.messages)
        assert await world.agents[0].wait() == 0
        assert facts.outcomes == []
        world.facts.store_outcomes = True
        async with agent_and_plane(world) as plane:
            await plane.finished(spec.try_id)
        assert facts.outcome.kind is OutcomeKind.SUCCESS

    in_world(test)


def test_an_agent_stays_without_its_daemon_as_long_as_a_try_runs():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec = _spec(world)
        async with agent_and_plane(world, "--idle-exit-s", "0.2") as plane:
            await plane.launch(spec)
            await appears(world.path("pids"))
        lines = world.spool / spec.try_id / "log.ndjson"
        size = lines.stat().st_size
        await until(lambda: lines.stat().st_size > size + 100_000)  # far longer than the idle time
        assert world.agents[0].returncode is None
        world.path("go").touch()
        assert await world.agents[0].wait() == 0

    in_world(test)


def test_a_task_that_is_stopped_fails_after_a_while_with_that_sentence():
    async def test(world: World) -> None:
        world.project(
            """
            @task
            def run():
                child = subprocess.Popen(["sleep", "1000"])
                (pathlib.Path(os.environ["OUT"]) / "child").write_text(str(child.pid))
                os.killpg(0, signal.SIGSTOP)
            run()
            @task
            def again():
                return 1
            again()
            """
        )
        spec, again = _spec(world), _spec(world, task_id="again")
        async with agent_and_plane(world, "--frozen-after-s", "0.4") as plane:
            facts = await plane.launch(spec)
            await plane.finished(spec.try_id)
            await plane.launch(again)
            await plane.finished(again.try_id)
            await gone(int(world.path("child").read_text()))
        assert facts.outcome.kind is OutcomeKind.FAILED
        assert facts.outcome.because.startswith("The task's processes were stopped (SIGSTOP) for 0.4 s")
        assert facts.outcome.because in facts.events
        assert world.facts.of(again.try_id).outcome.kind is OutcomeKind.SUCCESS

    in_world(test)


def test_a_stopped_fork_server_loses_its_tries_and_the_next_try_gets_a_new_one():
    async def test(world: World) -> None:
        world.project(COUNTED)
        spec, again = _spec(world), _spec(world)
        async with agent_and_plane(world, "--frozen-after-s", "0.4") as plane:
            facts = await plane.launch(spec)
            await appears(world.path("pids"))
            os.kill(fork_server_pid(world.agents[0].pid), signal.SIGSTOP)
            await plane.finished(spec.try_id)
            world.path("go").touch()
            await plane.launch(again)
            await plane.finished(again.try_id)
        assert facts.outcome.kind is OutcomeKind.LOST
        assert "was stopped (SIGSTOP) for 0.4 s" in facts.outcome.because
        assert world.facts.of(again.try_id).outcome.kind is OutcomeKind.SUCCESS

    in_world(test)
