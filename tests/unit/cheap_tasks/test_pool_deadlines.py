"""Timeouts are kept to the second, and a probe that is due gets its chance first."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.wait_spec import Resume
from tests.fakes.pool_world import PoolWorld

Clock = trio.testing.MockClock


async def test_a_timeout_does_not_wait_for_the_next_probe(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=600, timeout_s=100)
        w.register(pool, wait)
        await trio.sleep(200)
    assert w.ends.at[str(wait.id)] == pytest.approx(100, abs=0.1)
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.FAILED_FOR_GOOD
    assert "timed out" in end.because
    assert "saw False" in end.because


async def test_a_probe_on_its_way_may_still_save_the_wait(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=99.9, timeout_s=100)
        w.register(pool, wait)
        await trio.sleep(1)
        w.world.hold = trio.Event()
        w.world.answers["x"] = True
        await trio.sleep(105)
        assert w.ends.ended == []
        w.world.hold.set()
        await trio.sleep(1)
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.SUCCESS


async def test_a_probe_on_its_way_that_sees_nothing_ends_the_wait(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=99.9, timeout_s=100)
        w.register(pool, wait)
        await trio.sleep(1)
        w.world.hold = trio.Event()
        await trio.sleep(105)
        w.world.hold.set()
        await trio.sleep(1)
    end = w.ends.of(wait)
    assert end is not None
    assert "timed out" in end.because


async def test_a_probe_that_hangs_saves_nobody(autojump_clock: Clock) -> None:
    w = PoolWorld(probe_timeout_s=30)
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=99.9, timeout_s=100)
        w.register(pool, wait)
        await trio.sleep(1)
        w.world.hold = trio.Event()
        await trio.sleep(200)
    assert w.ends.at[str(wait.id)] == pytest.approx(130, abs=1.5)


async def test_a_wait_whose_probe_gets_no_worker_does_not_wait_for_ever(autojump_clock: Clock) -> None:
    w = PoolWorld(workers=1, probe_timeout_s=30)
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=99, timeout_s=100)
        w.register(pool, wait)
        await trio.sleep(1)
        w.world.hold = trio.Event()
        w.register(pool, *(w.wait(f"hangs {i}") for i in range(20)))
        await trio.sleep(200)
    assert w.world.times("x") == pytest.approx([0.05])
    assert w.ends.at[str(wait.id)] == pytest.approx(131, abs=0.1)


async def test_a_wait_that_was_never_probed_is_probed_once_before_it_times_out(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=600))
        await trio.sleep(10)
        wait = w.wait(poke_interval_s=600, timeout_s=5)
        w.register(pool, wait)
        w.world.answers["x"] = True
        await trio.sleep(10)
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.SUCCESS


async def test_a_deadline_that_passed_during_a_downtime_gets_one_probe(autojump_clock: Clock) -> None:
    w = PoolWorld()
    came, missing = w.wait("came", timeout_s=60), w.wait("missing", timeout_s=60)
    w.table.add(came, missing)
    w.world.answers["came"] = True
    await trio.sleep(3600)
    async with w.pool():
        await trio.sleep(1)
    kinds = {end.id: end.outcome.kind for end in w.ends.ended if end.outcome is not None}
    assert kinds == {str(came.id): OutcomeKind.SUCCESS, str(missing.id): OutcomeKind.FAILED_FOR_GOOD}


async def test_soft_fail_makes_a_timeout_a_skip_and_never_fail_does_not(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        soft, never = w.wait(soft_fail=True, timeout_s=5), w.wait(never_fail=True, timeout_s=5)
        w.register(pool, soft, never)
        await trio.sleep(10)
    kinds = {end.id: end.outcome.kind for end in w.ends.ended if end.outcome is not None}
    assert kinds == {str(soft.id): OutcomeKind.SKIPPED, str(never.id): OutcomeKind.FAILED_FOR_GOOD}


async def test_a_deferral_is_told_of_its_timeout_in_the_words_of_airflow(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(timeout_s=5, resume=Resume(next_method="go_on"))
        w.register(pool, wait)
        await trio.sleep(10)
    end = w.ends.of(wait)
    assert end is not None
    assert end.resume is not None
    assert end.resume.error == "Trigger timeout"


async def test_a_quarantined_wait_fails_at_its_deadline(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=10, timeout_s=100)
        w.register(pool, wait)
        w.world.answers["x"] = KeyError("a bug")
        await trio.sleep(200)
    assert w.ends.at[str(wait.id)] == pytest.approx(100, abs=0.1)


async def test_never_means_never(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=600, timeout_s=None))
        await trio.sleep(7200)
        assert w.ends.ended == []


async def test_a_trigger_is_cancelled_at_its_deadline(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        call = {
            "classpath": "a.B",
            "kwargs": {},
            "environment": {},
            "bundle_digest": "",
            "source_path": "dag.py",
            "dag_id": "d",
            "run_id": "r",
            "task_id": "t",
            "map_index": -1,
            "try_number": 1,
            "try_id": "i",
        }
        wait = w.wait(kind="trigger", spec=call, timeout_s=5, resume=Resume(next_method="go_on"))
        w.register(pool, wait)
        assert set(w.hosts.running) == {str(wait.id)}
        await trio.sleep(10)
    assert w.hosts.running == {}
    end = w.ends.of(wait)
    assert end is not None
    assert end.resume is not None
    assert end.resume.error == "Trigger timeout"
