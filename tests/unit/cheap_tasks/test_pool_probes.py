"""Probed waits: one probe for all who ask the same, at its cadence, judged by each one's own terms."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
import trio
import trio.testing

from leoflow_sensors.kinds import ProbeFailed, ProbeThrottled, TargetDown
from leoflowd.contract.agent_messages import OutcomeKind
from tests.fakes.pool_world import PoolWorld

Clock = trio.testing.MockClock


async def test_a_new_wait_is_probed_at_once(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait())
        await trio.sleep(0.2)
    assert w.world.times("x") == [pytest.approx(0.05)]


async def test_ten_thousand_waits_for_one_thing_are_one_probe_per_interval(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, *(w.wait(poke_interval_s=60) for _ in range(10_000)))
        await trio.sleep(179)
        assert len(w.world.probes) == 3
        statistics = pool.statistics()
        assert (statistics.groups, statistics.probes_made, statistics.probes_saved) == (1, 3, 3 * 9_999)


async def test_all_waits_of_a_met_probe_end(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, *(w.wait() for _ in range(1200)))
        w.world.answers["x"] = True
        await trio.sleep(1)
        assert len(w.ends.ids()) == 1200
        assert pool.statistics().groups == 0


async def test_each_wait_is_judged_by_its_own_predicate(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wants_a, wants_b = w.wait(predicate={"equals": "a"}), w.wait(predicate={"equals": "b"})
        w.register(pool, wants_a, wants_b)
        w.world.answers["x"] = "b"
        await trio.sleep(1)
        assert w.ends.ids() == {str(wants_b.id)}


async def test_the_smallest_interval_of_a_group_counts(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=60), w.wait(poke_interval_s=10))
        await trio.sleep(31)
    assert w.world.times("x") == pytest.approx([0.05, 10.05, 20.05, 30.05])


async def test_the_cadence_slows_down_when_the_impatient_one_leaves(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        patient, impatient = w.wait(poke_interval_s=60), w.wait(poke_interval_s=10)
        w.register(pool, patient, impatient)
        await trio.sleep(1)
        w.withdraw(pool, impatient)
        await trio.sleep(68)
    assert w.world.times("x") == pytest.approx([0.05, 10.05])


async def test_a_newcomer_waits_for_the_next_probe_and_that_comes_within_its_interval(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=60))
        await trio.sleep(10)
        w.register(pool, w.wait(poke_interval_s=5))
        await trio.sleep(6)
    assert w.world.times("x") == pytest.approx([0.05, 15.0])


async def test_an_answer_does_not_count_for_whoever_came_after_the_probe_began(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        first = w.wait(poke_interval_s=30)
        w.register(pool, first)
        w.world.answers["x"] = True
        w.world.hold = trio.Event()
        await trio.sleep(1)
        late = w.wait(poke_interval_s=30)
        w.register(pool, late)
        w.world.hold.set()
        await trio.sleep(1)
        assert w.ends.ids() == {str(first.id)}
        await trio.sleep(30)
        assert w.ends.ids() == {str(first.id), str(late.id)}


async def test_a_wait_withdrawn_during_its_probe_has_no_end(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait()
        w.register(pool, wait)
        w.world.answers["x"] = True
        w.world.hold = trio.Event()
        await trio.sleep(1)
        w.withdraw(pool, wait)
        w.world.hold.set()
        await trio.sleep(1)
        assert w.ends.ended == []
        assert pool.statistics().groups == 0


async def test_whoever_joins_a_group_that_everybody_left_during_its_probe_is_probed_right_after(
    autojump_clock: Clock,
) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        gone, wait = w.wait(), w.wait()
        w.register(pool, gone)
        w.world.hold = trio.Event()
        await trio.sleep(1)
        w.withdraw(pool, gone)
        w.register(pool, wait)
        w.world.answers["x"] = True
        w.world.hold.set()
        await trio.sleep(1)
        assert w.ends.ids() == {str(wait.id)}


async def test_a_group_ends_with_its_last_wait(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        waits = [w.wait() for _ in range(100)]
        w.register(pool, *waits)
        await trio.sleep(1)
        w.withdraw(pool, *waits)
        await trio.sleep(600)
        assert len(w.world.probes) == 1
        assert pool.statistics().groups == 0


async def test_kinds_that_must_not_share_do_not(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(kind="private"), w.wait(kind="private"))
        await trio.sleep(1)
    assert len(w.world.probes) == 2


async def test_waits_with_different_connections_never_share_a_probe(autojump_clock: Clock) -> None:
    w = PoolWorld()
    w.connections.known = {}
    async with w.pool() as pool:
        w.register(pool, w.wait(), w.wait(connection_id="other", silent_fail=True))
        await trio.sleep(1)
        assert pool.statistics().groups == 2


async def test_equal_shapes_go_in_one_trip(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        waits = [w.wait(f"key {i}", "batched", spec={"shape": "bucket"}, poke_interval_s=30) for i in range(40)]
        w.register(pool, *waits)
        await trio.sleep(1)
        w.world.probes.clear()
        w.world.answers.update({f"key {i}": True for i in range(40)})
        await trio.sleep(31)
    assert [len(names) for _, names in w.world.probes] == [40]
    assert len(w.ends.ids()) == 40


async def test_a_trip_has_its_limit(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, *(w.wait(f"{i}", "batched", spec={"shape": "s"}, poke_interval_s=30) for i in range(1100)))
        await trio.sleep(2)
        w.world.probes.clear()
        await trio.sleep(30)
    assert sorted(len(names) for _, names in w.world.probes) == [100, 500, 500]


async def test_a_failed_probe_fails_its_waits_unless_they_say_otherwise(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        plain, silent, never = w.wait(), w.wait(silent_fail=True), w.wait(never_fail=True)
        w.register(pool, plain, silent, never)
        w.world.answers["x"] = ProbeFailed("HTTP 500")
        await trio.sleep(1)
        kinds = {end.id: end.outcome.kind for end in w.ends.ended if end.outcome is not None}
        assert kinds == {str(plain.id): OutcomeKind.FAILED, str(never.id): OutcomeKind.SKIPPED}
        w.world.answers["x"] = True
        await trio.sleep(60)
        assert str(silent.id) in w.ends.ids()


async def test_a_target_that_is_down_fails_its_waits(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait()
        w.register(pool, wait)
        w.world.answers["x"] = TargetDown("connection refused")
        await trio.sleep(1)
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert (end.outcome.kind, end.because) == (OutcomeKind.FAILED, "connection refused")


async def test_throttling_fails_nobody_and_postpones_the_group(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=5))
        w.world.answers["x"] = ProbeThrottled("HTTP 429", retry_after_s=100)
        await trio.sleep(1)
        w.world.answers["x"] = True
        await trio.sleep(98)
        assert len(w.world.probes) == 1
        await trio.sleep(2)
        assert len(w.ends.ids()) == 1


async def test_three_broken_probes_quarantine_the_group_and_fail_nobody(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=10))
        w.world.answers["x"] = KeyError("a bug of the kind")
        await trio.sleep(300)
        assert w.world.times("x") == pytest.approx([0.05, 10.05, 20.05])
        quarantined = pool.statistics().quarantined
        assert [(one.kind, one.waits) for one in quarantined] == [("probe", 1)]
        assert "KeyError" in quarantined[0].reason
        await trio.sleep(21)
        assert len(w.world.probes) == 4
        assert w.ends.ended == []


async def test_an_answer_ends_the_quarantine(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=10))
        w.world.answers["x"] = KeyError("a bug of the kind")
        await trio.sleep(300)
        w.world.answers["x"] = False
        await trio.sleep(21)
        assert pool.statistics().quarantined == ()
        w.world.probes.clear()
        await trio.sleep(30)
        assert len(w.world.probes) == 3


async def test_a_probe_that_does_not_end_is_cut_off_and_is_a_strike(autojump_clock: Clock) -> None:
    w = PoolWorld(probe_timeout_s=5)
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=10))
        w.world.hold = trio.Event()
        await trio.sleep(26)
        assert w.world.at_once == 0
        assert "cut off after 5 s" in pool.statistics().quarantined[0].reason
        assert w.ends.ended == []


async def test_a_judge_that_breaks_is_a_strike_too(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=10))
        w.world.answers["x"] = "break the judge"
        await trio.sleep(30)
        assert "KeyError" in pool.statistics().quarantined[0].reason
        assert w.ends.ended == []


async def test_exponential_backoff_slows_a_group_down(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=10, exponential_backoff=True))
        await trio.sleep(3000)
    times = w.world.times("x")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[-1] > 100
    assert gaps[0] < 30


async def test_max_wait_bounds_the_backoff(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(poke_interval_s=10, exponential_backoff=True, max_wait_s=25))
        await trio.sleep(3000)
    times = w.world.times("x")
    assert times[-1] - times[-2] == pytest.approx(25, abs=0.01)


async def test_a_step_of_the_wall_clock_is_no_storm_of_probes(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, *(w.wait(f"{i}", poke_interval_s=60) for i in range(50)))
        await trio.sleep(10)
        w.world.probes.clear()
        w.clock_offset += timedelta(hours=5)
        await trio.sleep(40)
        assert w.world.probes == []
        w.clock_offset -= timedelta(hours=10)
        await trio.sleep(20)
        assert len(w.world.probes) == 50


async def test_after_a_restart_a_cohort_spreads_over_its_interval(autojump_clock: Clock) -> None:
    w = PoolWorld()
    w.table.add(*(w.wait(f"{i}", poke_interval_s=60) for i in range(600)))
    async with w.pool():
        await trio.sleep(60)
    seconds = [int(at // 10) for at, _ in w.world.probes]
    assert len(seconds) == 600
    assert all(50 < seconds.count(tenth) < 150 for tenth in range(6))


async def test_the_phase_of_a_key_is_the_same_after_every_restart(autojump_clock: Clock) -> None:
    w = PoolWorld()
    w.table.add(w.wait(poke_interval_s=60))
    phases = []
    for _ in range(3):
        w.world.probes.clear()
        async with w.pool():
            await trio.sleep(61)
        phases.append(w.world.times("x")[0] % 60)
        await trio.sleep(17)
    assert phases == pytest.approx([phases[0]] * 3)


async def test_a_finished_dag_wakes_who_waits_for_it(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        mine = w.wait("mine", "watched", spec={"dag": "upstream"})
        w.register(pool, mine, w.wait("other", "watched", spec={"dag": "elsewhere"}))
        await trio.sleep(1)
        w.world.probes.clear()
        w.world.answers["mine"] = True
        pool.dag_finished({"upstream", "nobody waits for this"})
        await trio.testing.wait_all_tasks_blocked()
        assert w.world.probes == [(1.0, ("mine",))]
        assert w.ends.ids() == {str(mine.id)}


async def test_a_burst_of_events_is_one_probe_now_and_one_after_it(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait("x", "watched", spec={"dag": "upstream"}))
        await trio.sleep(1)
        w.world.probes.clear()
        for _ in range(100):
            pool.dag_finished({"upstream"})
            await trio.sleep(0.0001)
        await trio.sleep(5)
    assert w.world.times("x") == pytest.approx([1.0, 1.05])


async def test_what_happens_during_a_probe_is_looked_at_after_it(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait("x", "watched", spec={"dag": "upstream"}))
        w.world.hold = trio.Event()
        await trio.sleep(1)
        pool.dag_finished({"upstream"})
        w.world.hold.set()
        await trio.sleep(1)
    assert len(w.world.probes) == 2


async def test_a_webhook_wakes_who_waits_for_it(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait("x", "watched", spec={"hook": "deploys"}))
        await trio.sleep(1)
        w.world.answers["x"] = True
        pool.hook_arrived("deploys")
        await trio.testing.wait_all_tasks_blocked()
        assert len(w.ends.ids()) == 1


async def test_a_group_that_ended_is_woken_no_more(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait("x", "watched", spec={"dag": "upstream"})
        w.register(pool, wait)
        await trio.sleep(1)
        w.withdraw(pool, wait)
        pool.dag_finished({"upstream"})
        await trio.sleep(1)
    assert len(w.world.probes) == 1


async def test_a_kind_that_is_not_installed_fails_its_waits_and_says_so(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(kind="ftp")
        w.register(pool, wait)
        await trio.sleep(1)
    end = w.ends.of(wait)
    assert end is not None
    assert end.outcome is not None
    assert end.outcome.kind is OutcomeKind.FAILED_FOR_GOOD
    assert "'ftp'" in end.because


async def test_arguments_that_the_kind_does_not_understand_fail_the_wait(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(spec={"colour": "red"})
        w.register(pool, wait, w.wait("fine"))
        await trio.sleep(1)
        assert w.ends.ids() == {str(wait.id)}
        assert "colour" in w.ends.ended[0].because


async def test_the_probe_gets_the_connection_it_names(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.wait(connection_id="gone")
        w.register(pool, wait)
        await trio.sleep(1)
    end = w.ends.of(wait)
    assert end is not None
    assert "there is no connection 'gone'" in end.because


async def test_a_connection_that_cannot_be_opened_fails_the_wait_with_its_reason(autojump_clock: Clock) -> None:
    w = PoolWorld()
    w.connections.known["locked"] = ValueError("the key is gone")
    async with w.pool() as pool:
        wait = w.wait(connection_id="locked")
        w.register(pool, wait)
        await trio.sleep(1)
    end = w.ends.of(wait)
    assert end is not None
    assert end.because == "the key is gone"
