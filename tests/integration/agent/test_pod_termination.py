"""What a pod leaves behind for whoever finds it ended, and the way to its daemon: encrypted, and to nobody else."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.termination import Termination, read_termination
from tests.fakes.fake_control_plane import serve
from tests.integration.agent.harness import World, appears, in_world
from tests.integration.agent.test_pod import SIMPLE, start_pod


def left(world: World) -> Termination:
    found = read_termination(world.path("termination").read_text())
    assert found is not None
    return found


async def begin(world: World, code: str, **environment: str) -> tuple[str, asyncio.subprocess.Process]:
    world.project(code)
    spec = world.spec(env={"OUT": str(world.folder)})
    world.facts.specs[spec.try_id] = spec
    pod = await start_pod(world, spec.try_id, LEOFLOW_TERMINATION_LOG=str(world.path("termination")), **environment)
    return spec.try_id, pod


def test_a_stored_outcome_is_said_to_be_stored():
    async def test(world: World) -> None:
        async with serve(world.socket, world.facts):
            try_id, pod = await begin(world, SIMPLE)
            assert await pod.wait() == 0
        assert left(world) == Termination(try_id=try_id, is_stored=True)

    in_world(test)


WAITS = (
    "@task\ndef run():\n    (pathlib.Path(os.environ['OUT']) / 'begun').write_text('x')\n"
    "    while not (pathlib.Path(os.environ['OUT']) / 'go').exists():\n        time.sleep(0.02)\n    return 41\nrun()"
)


async def ends_alone(world: World, code: str) -> tuple[str, Termination]:
    """The daemon goes away while the task runs; what the pod has left by the time it is killed."""
    async with serve(world.socket, world.facts):
        try_id, pod = await begin(world, code)
        await appears(world.path("begun"))
    world.path("go").touch()
    await appears(world.path("termination"))
    pod.kill()
    await pod.wait()
    return try_id, left(world)


def test_an_outcome_that_nobody_heard_is_left_whole():
    async def test(world: World) -> None:
        try_id, found = await ends_alone(world, WAITS)
        assert (found.try_id, found.is_stored) == (try_id, False)
        assert found.outcome is not None
        assert found.outcome.kind is OutcomeKind.SUCCESS
        assert [(item.key, item.value) for item in found.outcome.xcoms] == [("return_value", "41")]

    in_world(test)


def test_a_success_whose_result_is_too_large_is_not_left_as_one():
    async def test(world: World) -> None:
        _, found = await ends_alone(world, WAITS.replace("return 41", "return 'x' * 5000"))
        assert found.outcome is None
        assert "too large" in found.because

    in_world(test)


def test_a_pod_that_is_told_to_stop_before_its_try_began_ends_at_once():
    async def test(world: World) -> None:
        _, pod = await begin(world, SIMPLE)  # no daemon
        while "daemon_not_reached" not in world.agent_log:  # noqa: ASYNC110  # its log is a file
            await asyncio.sleep(0.02)
        pod.send_signal(signal.SIGTERM)
        assert await pod.wait() == 143
        assert "SIGTERM" in left(world).because

    in_world(test)


def test_a_pod_that_cannot_begin_says_why():
    async def test(world: World) -> None:
        _, pod = await begin(world, SIMPLE, LEOFLOW_SHIM="")
        assert await pod.wait() == 78
        assert "LEOFLOW_SHIM is not set" in left(world).because

    in_world(test)


def test_a_pod_sends_nothing_in_the_clear_to_another_machine():
    async def test(world: World) -> None:
        _, pod = await begin(world, SIMPLE, LEOFLOW_AGENT_ADDRESS="leoflowd.example:9000")
        assert await pod.wait() == 78
        assert "LEOFLOW_AGENT_CA_FILE is not set" in left(world).because

    in_world(test)


def test_the_token_is_read_anew_for_each_stream(tmp_path: Path):
    async def test(world: World) -> None:
        token = tmp_path / "token"
        token.write_text("first\n")
        try_id, pod = await begin(world, WAITS, LEOFLOW_TRY_TOKEN="", LEOFLOW_TRY_TOKEN_FILE=str(token))
        async with serve(world.socket, world.facts):
            await appears(world.path("begun"))
        token.write_text("second\n")
        world.path("go").touch()
        async with serve(world.socket, world.facts):
            assert await pod.wait() == 0
        tokens = [hello.token for hello in world.facts.of(try_id).hellos]
        assert (tokens[0], tokens[-1]) == ("first", "second")

    in_world(test)
