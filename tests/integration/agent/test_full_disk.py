"""A disk that is full, at every point where the agent writes: the try concerned says so, everyone else goes on."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from leoflowd.contract.agent_messages import OutcomeKind
from tests.fakes.fake_control_plane import TryFacts
from tests.integration.agent.harness import World, agent_and_plane, appears, in_world, until, vanishes

GOOD = "@task\ndef run():\n    return 1\nrun()"
NO_ROOM = "No space left on device"


@contextlib.contextmanager
def _small_disk(at: Path, size: str) -> Iterator[None]:
    at.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", at], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def _fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


def _records(world: World, event: str) -> list[dict]:
    return [each for each in map(json.loads, world.agent_log.splitlines()) if each["event"] == event]


def test_a_try_that_cannot_be_spooled_is_refused_at_once_and_runs_when_there_is_room():
    async def test(world: World) -> None:
        world.project(GOOD)
        spec = world.spec()
        with _small_disk(world.spool, "1m"):
            async with agent_and_plane(world) as plane:
                ballast = _fill(world.spool)
                await plane.launch(spec)
                await plane.wait_for(lambda: plane.facts.refusals)
                assert list(world.spool.iterdir()) == [ballast]
                ballast.unlink()
                await plane.launch(spec)
                await plane.finished(spec.try_id)
        (refusal,) = plane.facts.refusals
        assert refusal.try_id == spec.try_id
        assert NO_ROOM in refusal.because
        assert world.facts.of(spec.try_id).outcome.kind is OutcomeKind.SUCCESS

    in_world(test)


def test_the_task_that_fills_the_disk_fails_with_that_sentence_and_its_log_says_so_once():
    async def test(world: World) -> None:
        world.project(
            """
            @task
            def run():
                for number in range(100_000):
                    print(number, "x" * 100)
            run()
            @task
            def good(n):
                return n
            good(1)
            """
        )
        spec, good = world.spec(), world.spec("good")
        with _small_disk(world.spool, "1m"):
            async with agent_and_plane(world) as plane:
                await plane.launch(spec)
                await plane.finished(spec.try_id)
                await vanishes(world.spool / spec.try_id)  # until then there is no room, and the next one is refused
                await plane.launch(good)
                await plane.finished(good.try_id)
        facts = world.facts.of(spec.try_id)
        assert facts.outcome.kind is OutcomeKind.FAILED
        assert "it did not take the log of this try" in facts.outcome.because
        assert NO_ROOM in facts.outcome.because
        assert [line["event"] for line in facts.lines if line["logger"] == "leoflow.agent"] == [
            f"The log of this try ends here: the disk did not take more ({NO_ROOM})."
        ]
        assert facts.gaps == facts.overlaps == 0
        assert world.facts.of(good.try_id).outcome.kind is OutcomeKind.SUCCESS
        assert "Traceback" not in world.agent_log
        assert len(_records(world, "outcome_not_on_disk")) <= 1

    in_world(test)


async def _run_on_a_full_disk(world: World, last: str) -> TryFacts:
    """A try whose disk fills up while it runs, and that does `last` then."""
    world.project(
        f"""
        @task
        def run(ti=None):
            out = pathlib.Path(os.environ["OUT"])
            print("the log has a block, and room in it")
            (out / "running").write_text("yes")
            while not (out / "go").exists():
                time.sleep(0.01)
            {last}
        run()
        """
    )
    spec = world.spec(env={"OUT": str(world.folder)})
    with _small_disk(world.spool, "1m"):
        async with agent_and_plane(world) as plane:
            await plane.launch(spec)
            await appears(world.path("running"))
            await until(lambda: (world.spool / spec.try_id / "log.ndjson").stat().st_size)
            _fill(world.spool)
            world.path("go").touch()
            await plane.finished(spec.try_id)
    return world.facts.of(spec.try_id)


def test_a_result_that_the_disk_does_not_take_is_reported_from_memory():
    async def test(world: World) -> None:
        facts = await _run_on_a_full_disk(world, 'return "kept"')
        assert facts.outcome.kind is OutcomeKind.SUCCESS
        assert facts.xcoms == {"return_value": "kept"}
        assert len(_records(world, "outcome_not_on_disk")) == 1

    in_world(test)


def test_an_xcom_that_the_disk_does_not_take_is_an_error_in_the_task():
    async def test(world: World) -> None:
        facts = await _run_on_a_full_disk(world, 'ti.xcom_push("large", "x" * 5000)')
        assert facts.outcome.kind is OutcomeKind.FAILED
        assert f"the agent cannot write to its spool ({NO_ROOM})" in facts.outcome.because

    in_world(test)


@pytest.mark.parametrize("name", ["outcome.json", "stop.json"])
def test_a_file_of_the_spool_that_cannot_be_written_is_its_own_tries_matter(name):
    """A folder in its place refuses even root; the agent and the next try go on."""

    async def test(world: World) -> None:
        world.project(
            """
            @task
            def run():
                spool = pathlib.Path(os.environ["OUT"]) / "spool" / os.environ["TRY"]
                (spool / os.environ["IN_THE_WAY"]).mkdir(exist_ok=True)
                (spool / os.environ["IN_THE_WAY"] / "file").touch()
                if os.environ["IN_THE_WAY"] == "stop.json":
                    (spool.parent.parent / "ready").write_text("yes")
                    time.sleep(1000)
                return 1
            run()
            """
        )
        spec = world.spec(try_id="t1", env={"OUT": str(world.folder), "TRY": "t1", "IN_THE_WAY": name})
        async with agent_and_plane(world) as plane:
            facts = await plane.launch(spec)
            if name == "stop.json":
                await appears(world.path("ready"))
                await plane.terminate("t1", reason="someone said so")
            await plane.finished("t1")
            await plane.launch(
                after := world.spec(try_id="t2", env={**spec.env, "TRY": "t2", "IN_THE_WAY": "harmless"})
            )
            await plane.finished(after.try_id)
        expected = OutcomeKind.TERMINATED if name == "stop.json" else OutcomeKind.SUCCESS
        assert facts.outcome.kind is expected
        assert world.facts.of("t2").outcome.kind is OutcomeKind.SUCCESS

    in_world(test)


def test_where_no_descriptor_is_left_that_try_is_lost_and_the_next_one_runs():
    async def test(world: World) -> None:
        world.project(GOOD)
        async with agent_and_plane(world) as plane:
            agent = world.agents[0]
            await plane.launch(first := world.spec())
            await plane.finished(first.try_id)
            for _ in range(10):  # what the one before it held may be given back only now
                before = _limit_descriptors(agent.pid, _used_descriptors(agent.pid) + 2)
                await plane.launch(second := world.spec())
                await plane.wait_for(lambda: _ended(world, second.try_id))  # waited for here
                _limit_descriptors(agent.pid, before)
                if world.facts.of(second.try_id).outcome.kind is OutcomeKind.LOST:
                    break
            await plane.launch(third := world.spec())
            await plane.finished(third.try_id)
        outcome = world.facts.of(second.try_id).outcome
        assert outcome.kind is OutcomeKind.LOST
        assert "Too many open files" in outcome.because
        assert world.facts.of(third.try_id).outcome.kind is OutcomeKind.SUCCESS
        assert agent.returncode is None

    in_world(test)


def _ended(world: World, try_id: str) -> bool:
    return bool(world.facts.of(try_id).outcomes)


def _used_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _limit_descriptors(pid: int, soft: int) -> int:
    old, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    return old
