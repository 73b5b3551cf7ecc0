"""What people see of a wait, and what they may do with it; and what trigger hosts report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import trio
import trio.testing

from leoflow_sensors.kinds import ProbeThrottled, TargetDown
from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.wait_spec import Resume
from leoflowd.contract.waits import NewWait, WaitAction
from tests.fakes.pool_world import START, PoolWorld

Clock = trio.testing.MockClock


def trigger(w: PoolWorld, **terms: Any) -> NewWait:
    call: dict[str, Any] = dict.fromkeys(("bundle_digest", "dag_id", "run_id", "task_id", "try_id"), "")
    call |= {"classpath": "a.B", "kwargs": {}, "environment": {}, "source_path": "dag.py"}
    call |= {"map_index": -1, "try_number": 1}
    return w.wait(kind="trigger", spec=call, **{"resume": Resume(next_method="go_on"), **terms})


async def test_a_wait_explains_itself(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=30, timeout_s=300)
        w.register(pool, wait, w.wait(), w.wait())
        await trio.sleep(31)
        seen = pool.explain(str(wait.id))
        assert seen is not None
        assert (seen.kind, seen.waits_for, seen.shared_with) == ("probe", "probe x", 2)
        assert seen.why_still == "the last probe saw: saw False"
        assert (seen.last_observation, seen.poke_interval_s) == ("saw False", 30)
        assert [probe.at - START for probe in seen.probes] == [timedelta(seconds=0.05), timedelta(seconds=30.05)]
        assert seen.next_probe_at == START + timedelta(seconds=60.05)
        assert seen.deadline_at == START + timedelta(seconds=300)
        assert seen.blocked_by is None


async def test_the_last_twenty_probes_are_remembered(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=1, silent_fail=True)
        w.register(pool, wait)
        w.world.answers["x"] = TargetDown("refused")
        await trio.sleep(15)
        w.world.answers["x"] = False
        await trio.sleep(15)
        seen = pool.explain(str(wait.id))
        assert seen is not None
        assert [probe.is_error for probe in seen.probes] == [True] * 5 + [False] * 15


async def test_a_probe_that_runs_is_said_to_run(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait()
        w.register(pool, wait)
        w.world.hold = trio.Event()
        await trio.sleep(1)
        seen = pool.explain(str(wait.id))
        assert seen is not None
        assert seen.is_probing
        assert seen.next_probe_at is None


async def test_a_timer_says_until_when(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(60)
        w.register(pool, wait)
        seen = pool.explain(str(wait.id))
        assert seen is not None
        assert (seen.due_at, seen.probes) == (START + timedelta(seconds=60), ())


async def test_a_trigger_says_what_its_host_says(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = trigger(w)
        w.register(pool, wait)
        seen = pool.explain(str(wait.id))
        assert seen is not None
        assert seen.why_still == "a.B runs"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (KeyError("bug"), "quarantined"),
        (TargetDown("refused"), "did not answer"),
        (ProbeThrottled("HTTP 429", 1000), "asked for patience until 2026-11-21 03:16:40 UTC"),
    ],
)
async def test_what_blocks_a_wait_is_a_sentence(autojump_clock: Clock, answer: Exception, said: str) -> None:
    w = PoolWorld(breaker_after=3, breaker_first_s=300)
    async with w.pool() as pool:
        wait = w.wait(kind="targeted", poke_interval_s=1, silent_fail=True)
        w.register(pool, wait)
        w.world.answers["x"] = answer
        await trio.sleep(5)
        seen = pool.explain(str(wait.id))
        assert seen is not None
        assert seen.blocked_by is not None
        assert said in seen.blocked_by


async def test_a_used_up_budget_is_said(autojump_clock: Clock) -> None:
    w = PoolWorld(target_concurrency=1)
    async with w.pool() as pool:
        w.world.hold = trio.Event()
        w.register(pool, w.wait("first", "targeted"))
        await trio.sleep(1)
        wait = w.wait("second", "targeted")
        w.register(pool, wait)
        await trio.sleep(1)
        seen = pool.explain(str(wait.id))
        assert seen is not None
        assert seen.blocked_by is not None
        assert "the budget of somewhere is used up" in seen.blocked_by


async def test_an_unknown_wait_is_not_explained(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        assert pool.explain(str(w.wait().id)) is None
        assert pool.explain("no id at all") is None


async def test_probe_now(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=600)
        w.register(pool, wait)
        await trio.sleep(10)
        w.world.answers["x"] = True
        assert pool.act(str(wait.id), WaitAction.PROBE)
        await trio.testing.wait_all_tasks_blocked()
        assert w.ends.ids() == {str(wait.id)}


async def test_probe_now_frees_a_quarantined_group(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=10)
        w.register(pool, wait)
        w.world.answers["x"] = KeyError("bug")
        await trio.sleep(30)
        assert pool.statistics().quarantined_count == 1
        w.world.answers["x"] = True
        pool.act(str(wait.id), WaitAction.PROBE)
        await trio.sleep(1)
        assert w.ends.ids() == {str(wait.id)}


async def test_a_timer_cannot_be_probed(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(60)
        w.register(pool, wait)
        assert not pool.act(str(wait.id), WaitAction.PROBE)


async def test_fire_succeeds_as_if_the_condition_were_met(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait()
        w.register(pool, wait)
        assert pool.act(str(wait.id), WaitAction.FIRE)
        await trio.sleep(1)
        assert not pool.act(str(wait.id), WaitAction.FIRE)
    (end,) = w.ends.ended
    assert end.outcome is not None
    assert (end.outcome.kind, end.because) == (OutcomeKind.SUCCESS, "a person fired this wait")


async def test_fail_fails_for_good(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(60)
        w.register(pool, wait)
        assert pool.act(str(wait.id), WaitAction.FAIL)
        await trio.sleep(100)
    (end,) = w.ends.ended
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.FAILED_FOR_GOOD


async def test_a_new_poke_interval_is_stored_and_counts_for_this_wait_only(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait, other = w.wait(poke_interval_s=600), w.wait(poke_interval_s=600)
        w.register(pool, wait, other)
        await trio.sleep(10)
        assert await pool.set_poke_interval(str(wait.id), 5)
        assert f"interval {wait.id} 5" in w.table.reads
        mine, others = pool.explain(str(wait.id)), pool.explain(str(other.id))
        assert mine is not None
        assert others is not None
        assert (mine.poke_interval_s, others.poke_interval_s) == (5, 600)
        w.world.probes.clear()
        await trio.sleep(16)
        assert w.world.times("x") == pytest.approx([15, 20, 25])


async def test_a_poke_interval_that_cannot_be_stored_is_not_applied(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(poke_interval_s=600)
        w.register(pool, wait)
        w.table.is_away = True
        with pytest.raises(StoreUnavailable):
            await pool.set_poke_interval(str(wait.id), 5)
        seen = pool.explain(str(wait.id))
        assert seen is not None
        assert seen.poke_interval_s == 600


async def test_the_event_of_a_trigger_resumes_its_task(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = trigger(w)
        w.register(pool, wait)
        pool.trigger_fired(str(wait.id), {"status": "done"})
        await trio.sleep(1)
    (end,) = w.ends.ended
    assert end.resume is not None
    assert end.resume.event == {"status": "done"}


async def test_a_trigger_may_end_its_task_with_xcoms(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = trigger(w)
        w.register(pool, wait)
        pool.trigger_fired(str(wait.id), {"return_value": 5}, "success")
        await trio.sleep(1)
    (end,) = w.ends.ended
    assert end.outcome is not None
    assert [(item.key, item.value) for item in end.outcome.xcoms] == [("return_value", "5")]


async def test_a_failed_trigger_is_told_with_its_traceback(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = trigger(w)
        w.register(pool, wait)
        pool.trigger_failed(str(wait.id), "ValueError: no", ("line 1", "line 2"))
        await trio.sleep(1)
    (end,) = w.ends.ended
    assert end.resume is not None
    assert (end.resume.error, end.resume.traceback) == ("Trigger failure", ("line 1", "line 2"))


async def test_a_withdrawn_trigger_is_cancelled_and_its_event_comes_too_late(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = trigger(w)
        w.register(pool, wait)
        w.withdraw(pool, wait)
        assert w.hosts.running == {}
        pool.trigger_fired(str(wait.id), None)
        await trio.sleep(1)
    assert w.ends.ended == []


async def test_firing_a_trigger_by_hand_stops_it(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = trigger(w)
        w.register(pool, wait)
        pool.act(str(wait.id), WaitAction.FIRE)
        assert w.hosts.running == {}


async def test_triggers_start_again_after_a_restart(autojump_clock: Clock) -> None:
    w = PoolWorld()
    wait = trigger(w)
    w.table.add(wait)
    async with w.pool():
        assert w.hosts.running[str(wait.id)].classpath == "a.B"


async def test_statistics_tell_how_late_timers_were(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.timer(5))
        assert pool.statistics().lateness_p50_s is None
        await trio.sleep(10)
        assert pool.statistics().lateness_max_s == pytest.approx(0, abs=0.001)
