"""Memory and table in step: restarts, hints, sweeps."""

from __future__ import annotations

import msgspec
import trio
import trio.testing

from leoflowd.contract.waits import NewWait
from leoflowd.store.hints import Hint
from tests.fakes.pool_world import PoolWorld

Clock = trio.testing.MockClock


async def test_after_a_restart_every_wait_of_the_table_is_watched_before_the_pool_reports_ready(
    autojump_clock: Clock,
) -> None:
    w = PoolWorld()
    w.table.add(*(w.wait() for _ in range(30)), *(w.timer(60) for _ in range(20)))
    async with w.pool() as pool:
        statistics = pool.statistics()
        assert (statistics.armed, statistics.waits) == (50, {"probe": 30, "time": 20})


async def test_arming_reads_page_by_page(autojump_clock: Clock) -> None:
    w = PoolWorld()
    w.table.add(*(w.timer(600) for _ in range(20_001)))
    async with w.pool() as pool:
        assert pool.statistics().armed == 20_001
        assert w.table.reads == ["page"] * 3


async def test_arming_waits_for_a_postgres_that_is_away(autojump_clock: Clock) -> None:
    w = PoolWorld()
    w.table.add(w.timer(1))
    w.table.is_away = True
    pool = w.make_pool()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nursery.start, pool.run)
        await trio.sleep(20)
        w.table.is_away = False
        await trio.sleep(20)
        assert pool.statistics().armed == 1
        nursery.cancel_scope.cancel()


async def test_waits_of_paused_dags_are_not_armed(autojump_clock: Clock) -> None:
    w = PoolWorld()
    w.table.add(w.timer(60))
    w.table.paused.add("d")
    async with w.pool() as pool:
        assert pool.statistics().armed == 0


async def test_a_hint_about_a_run_drops_its_waits_that_are_over(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        cleared, other = w.wait(run=7), w.wait(run=7)
        w.register(pool, cleared, other)
        await trio.sleep(1)
        del w.table.rows[cleared.id]
        w.hint.send_nowait(Hint("run", "7"))
        await trio.sleep(1)
        assert pool.explain(str(cleared.id)) is None
        assert pool.explain(str(other.id)) is not None


async def test_a_hint_about_a_run_without_waits_reads_nothing(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(run=7))
        w.table.reads.clear()
        w.hint.send_nowait(Hint("run", "8"))
        await trio.sleep(1)
        assert w.table.reads == []


async def test_many_hints_are_one_look(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait(run=7))
        w.table.reads.clear()
        for _ in range(50):
            w.hint.send_nowait(Hint("run", "7"))
        await trio.sleep(1)
        assert w.table.reads == ["1 ids"]


async def test_pausing_a_dag_withdraws_its_waits_and_unpausing_brings_them_back(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait, other = w.timer(60), w.timer(60, dag_id="other")
        w.register(pool, wait, other)
        w.table.paused.add("d")
        w.hint.send_nowait(Hint("dag", "d"))
        await trio.sleep(1)
        assert pool.statistics().waits == {"time": 1}
        await trio.sleep(100)
        assert w.ends.ids() == {str(other.id)}
        w.table.paused.clear()
        w.hint.send_nowait(Hint("dag", "d"))
        await trio.sleep(1)
        assert w.ends.ids() == {str(wait.id), str(other.id)}


async def test_a_sweep_finds_what_nobody_told(autojump_clock: Clock) -> None:
    w = PoolWorld(sweep_interval_s=30)
    async with w.pool() as pool:
        known, gone, unknown = w.timer(600), w.timer(600), w.timer(600)
        w.register(pool, known, gone)
        del w.table.rows[gone.id]
        w.table.add(unknown)
        await trio.sleep(35)
        watched = {str(wait.id) for wait in (known, gone, unknown) if pool.explain(str(wait.id)) is not None}
        assert watched == {str(known.id), str(unknown.id)}


async def test_after_a_reconnection_the_sweep_comes_at_once(autojump_clock: Clock) -> None:
    w = PoolWorld(sweep_interval_s=3600)
    async with w.pool() as pool:
        unknown = w.timer(600)
        w.table.add(unknown)
        w.hint.send_nowait(Hint("all", ""))
        await trio.sleep(1)
        assert pool.explain(str(unknown.id)) is not None


async def test_a_sweep_reads_ids_and_no_rows_when_nothing_is_missing(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, *(w.timer(600) for _ in range(100)))
        w.table.reads.clear()
        await trio.sleep(35)
        assert w.table.reads == ["page"]


async def test_a_wait_that_is_registered_while_a_sweep_reads_is_kept(autojump_clock: Clock) -> None:
    w = PoolWorld(sweep_interval_s=30)
    async with w.pool() as pool:
        new = w.timer(600)
        w.table.during = lambda: w.register(pool, new)
        await trio.sleep(35)
        assert pool.explain(str(new.id)) is not None


async def test_a_wait_that_ends_while_a_sweep_reads_is_not_armed_again(autojump_clock: Clock) -> None:
    w = PoolWorld(sweep_interval_s=30)
    async with w.pool() as pool:
        wait = w.timer(600)
        w.register(pool, wait)
        w.table.during = lambda: pool.withdraw([str(wait.id)])
        await trio.sleep(35)
        assert w.table.reads[-1] == "page"
        assert pool.explain(str(wait.id)) is None


async def test_a_wait_that_is_registered_while_its_dag_is_looked_at_is_kept(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        old, new = w.timer(600), w.timer(600)
        w.register(pool, old)
        w.table.during = lambda: w.register(pool, new)
        w.hint.send_nowait(Hint("dag", "d"))
        await trio.sleep(1)
        assert pool.explain(str(new.id)) is not None


async def test_an_end_that_waits_for_its_commit_is_not_armed_again(autojump_clock: Clock) -> None:
    w = PoolWorld(sweep_interval_s=10)
    async with w.pool() as pool:
        w.ends.is_away = True
        w.register(pool, w.timer(1))
        await trio.sleep(100)
        assert pool.statistics().ended_fired == 1


async def test_a_row_that_is_known_already_changes_nothing(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait: NewWait = w.wait(poke_interval_s=60)
        w.register(pool, wait)
        await trio.sleep(1)
        w.register(pool, wait)
        await trio.sleep(10)
        assert pool.statistics().waits == {"probe": 1}
        assert len(w.world.probes) == 1


async def test_a_webhook_is_passed_on_at_once(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        w.register(pool, w.wait("x", "watched", spec={"hook": "deploys"}))
        await trio.sleep(1)
        w.world.answers["x"] = True
        w.hint.send_nowait(Hint("hook", "deploys"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(w.ends.ids()) == 1


async def test_a_wait_that_ends_while_its_dag_is_looked_at_is_not_armed_again(autojump_clock: Clock) -> None:
    w = PoolWorld()
    async with w.pool() as pool:
        wait = w.timer(600)
        w.register(pool, wait)
        w.table.during = lambda: pool.withdraw([str(wait.id)])
        w.hint.send_nowait(Hint("dag", "d"))
        await trio.sleep(1)
        assert w.table.reads[-1] == "dag d"
        assert pool.explain(str(wait.id)) is None


async def test_a_row_that_nobody_can_read_is_refused_and_the_others_are_armed(autojump_clock: Clock) -> None:
    """Neither probe nor terms: the refusal itself once failed over the terms, and ended the pool at every start."""
    w = PoolWorld()
    poison, good = w.wait(), w.timer(600)
    w.table.add(poison, good)
    w.table.rows[poison.id] = msgspec.structs.replace(w.table.rows[poison.id], probe="{", terms='{"timeout_s": "x"}')
    async with w.pool() as pool:
        await trio.sleep(1)
        assert pool.statistics().waits == {"time": 1}
    [end] = w.ends.ended
    assert end.id == str(poison.id)
    assert "cannot be understood" in end.because
