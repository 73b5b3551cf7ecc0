"""A daemon of a newer release, as the agent meets it: what it says beyond what we know costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leoflowd.contract.agent_messages import PROTOCOL, OutcomeKind, Refused
from tests.fakes.fake_control_plane import Facts, serve
from tests.integration.agent.harness import World, agent_and_plane, appears, in_world, run_one, until

WAITS = """
@task
def run():
    open(os.environ["OUT"] + "/begun", "w").write("yes")
    while not os.path.exists(os.environ["OUT"] + "/go"):
        time.sleep(0.01)
    return 1
run()
"""
PULLS = """
@task
def run(ti=None):
    return ti.xcom_pull(task_ids="other")
run()
"""


def test_what_a_newer_daemon_says_besides_is_passed_over():
    async def test(world: World) -> None:
        world.facts = Facts(newer={"mood": "good", "protocol": PROTOCOL})
        world.project(WAITS)
        async with agent_and_plane(world) as plane:
            spec = world.spec(env={"OUT": str(world.folder)})
            for _ in range(3):
                await plane.say_to_host({"type": "Pause", "until": 5})
            await plane.launch(spec)
            await appears(world.path("begun"))
            for _ in range(3):
                await plane.say_to_try(spec.try_id, {"type": "Nudge"})
            world.path("go").touch()
            await plane.finished(spec.try_id)
        facts = world.facts.of(spec.try_id)
        assert facts.outcome.kind is OutcomeKind.SUCCESS
        assert (len(facts.hellos), len(world.facts.hosts)) == (1, 1), "no stream was broken for it"
        assert [world.agent_log.count(f'"kind":"{kind}"') for kind in ("Pause", "Nudge")] == [1, 1]

    in_world(test)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda number: {"type": "XComStream", "request_id": number}, "does not know the daemon's answer XComStream"),
        (lambda number: Refused(request_id=number, refused="the daemon is of an older release"), "of an older release"),
    ],
    ids=["unknown", "refused"],
)
def test_a_question_whose_answer_is_unknown_or_refused_fails_with_a_sentence(answer: Callable[[int], Any], words: str):
    ended = run_one(PULLS, facts=Facts(answer_with=answer), within_s=60)
    assert ended.outcome.kind is OutcomeKind.FAILED
    assert words in ended.log.decode() + ended.outcome.because


def test_a_daemon_that_is_too_far_away_is_named_and_gets_nothing():
    async def test(world: World) -> None:
        world.facts = Facts(newer={"protocol": PROTOCOL + 2})
        async with serve(world.socket, world.facts):
            await world.start_agent()
            said = await until(lambda: "only neighbouring releases" in world.agent_log and world.agent_log)
        assert f"the agent speaks protocol {PROTOCOL} and the daemon protocol {PROTOCOL + 2}" in said
        assert '"attached"' not in said

    in_world(test)
