"""The three failure policies, on Trio's virtual clock."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from leoflowd.contract.errors import StoreUnavailable
from leoflowd.supervision import BACKOFF_MAX_S, RESTARTS_MAX, Node, Pulses, backoff_s, contain, start, start_restarting


async def test_crash_passes_the_failure_on(autojump_clock: MockClock) -> None:
    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(1)
        raise ValueError("broken")

    node = Node("x")
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="broken")):
        async with trio.open_nursery() as nursery:
            await start(nursery, node, run)
            assert node.state == "running"
    assert (node.state, node.last_error) == ("failed", "broken")


async def test_named_errors_restart_the_component_and_nothing_else(autojump_clock: MockClock) -> None:
    starts = 0

    async def run(*, task_status: trio.TaskStatus[int]) -> None:
        nonlocal starts
        starts += 1
        task_status.started(starts)
        if starts < 4:
            raise StoreUnavailable("gone")
        await trio.sleep_forever()

    node = Node("x")
    async with trio.open_nursery() as nursery:
        assert await start_restarting(nursery, node, run, StoreUnavailable) == 1
        await trio.sleep(60)
        assert (starts, node.restarts, node.state) == (4, 3, "running")
        nursery.cancel_scope.cancel()
    assert node.state == "stopped"


async def test_a_failure_before_the_first_start_keeps_the_starter_waiting(autojump_clock: MockClock) -> None:
    attempts = 0

    async def run(*, task_status: trio.TaskStatus[str]) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise StoreUnavailable("not yet")
        task_status.started("address")
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        assert await start_restarting(nursery, Node("x"), run, StoreUnavailable) == "address"
        nursery.cancel_scope.cancel()


async def test_a_named_error_inside_a_group_restarts_too(autojump_clock: MockClock) -> None:
    starts = 0

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal starts
        starts += 1
        task_status.started()
        if starts == 1:
            raise ExceptionGroup("from a nursery", [StoreUnavailable("gone")])
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        await start_restarting(nursery, Node("x"), run, StoreUnavailable)
        await trio.sleep(10)
        assert starts == 2
        nursery.cancel_scope.cancel()


async def test_another_error_is_a_crash(autojump_clock: MockClock) -> None:
    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with trio.open_nursery() as nursery:
            await start_restarting(nursery, Node("x"), run, StoreUnavailable)


async def test_restarting_that_does_not_help_is_a_crash(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leoflowd.supervision.BACKOFF_MAX_S", 0.1)
    starts = 0

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal starts
        starts += 1
        task_status.started()
        raise StoreUnavailable("gone for good")

    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="gone for good")):
        async with trio.open_nursery() as nursery:
            await start_restarting(nursery, Node("x"), run, StoreUnavailable)
            await trio.sleep(600)
    assert starts == RESTARTS_MAX + 1


async def test_contain_records_one_failure_and_goes_on() -> None:
    seen: list[Exception] = []

    async def record(failure: Exception) -> None:
        seen.append(failure)

    async with contain(record), trio.open_nursery() as nursery:
        nursery.start_soon(_fail)
    assert [str(failure) for failure in seen] == ["unit of work"]


async def test_contain_lets_cancellation_through() -> None:
    async def record(failure: Exception) -> None:
        raise AssertionError(failure)

    with trio.CancelScope() as scope:
        scope.cancel()
        async with contain(record):
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def _fail() -> None:
    raise ValueError("unit of work")


@pytest.mark.parametrize("attempt", range(1, 12))
def test_backoff_stays_between_its_bounds(attempt: int) -> None:
    assert 0.05 <= backoff_s(attempt) <= 5.0


def test_the_tree_shows_state_restarts_and_statistics() -> None:
    root = Node("root")
    child: Any = root.child("child", "restart", lambda: {"n": 1})
    child.enter("running")
    assert root.child("child", "restart", lambda: {"n": 2}) is child
    view = root.view()
    assert [(c.name, c.state, c.statistics) for c in view.children] == [("child", "running", {"n": 2})]


# --- health ------------------------------------------------------------------------------------------------------


def test_what_is_of_no_use_is_named_with_its_path() -> None:
    root = Node("root")
    leading = root.child("leadership")
    leading.enter("running")
    for name, state in (("scheduler", "failed"), ("clock", "running"), ("sweeps", "waiting")):
        leading.child(name).enter(state)
    assert [(fault.component, fault.because) for fault in root.faults()] == [
        ("leadership/scheduler", "it failed"),
        ("leadership/sweeps", "it waits to be started again after an error (0 restarts)"),
    ]


def test_what_runs_may_complain() -> None:
    root = Node("root")
    said: list[str] = []
    node = root.child("agents", complaint=lambda: said[-1] if said else None)
    node.enter("running")
    assert root.faults() == ()
    said.append("no agent is attached")
    assert root.view().children[0].fault == "no agent is attached"
    node.enter("stopped")
    assert root.faults() == ()


def test_a_start_that_never_ends_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leoflowd.supervision.START_WITHIN_S", 0.0)
    root = Node("root")
    root.child("workspace").enter("starting")
    assert [fault.component for fault in root.faults()] == ["workspace"]


async def test_what_should_move_and_stands_still_turns_health_red(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root, steps = Node("root"), [0]
    pulses = Pulses(root)
    root.child("scheduler", complaint=pulses.watch("scheduler", lambda: steps[0], 15)).enter("running")
    async with trio.open_nursery() as nursery:
        await nursery.start(pulses.run)
        await trio.sleep(14.5)
        assert root.faults() == ()
        await trio.sleep(1)
        assert [fault.because for fault in root.faults()] == [
            "it has done nothing for 15 s; it should every 15 s at least"
        ]
        steps[0] += 1
        await trio.sleep(1)
        assert root.faults() == ()
        nursery.cancel_scope.cancel()
    told = [(record.message, record.fields["component"]) for record in caplog.records]  # type: ignore[attr-defined]
    assert told == [("component_unhealthy", "scheduler"), ("component_healthy_again", "scheduler")]


async def test_an_event_loop_that_stood_still_says_so_for_a_while(mock_clock: MockClock) -> None:
    pulses = Pulses(Node("root"))
    async with trio.open_nursery() as nursery:
        await nursery.start(pulses.run)
        await wait_all_tasks_blocked()
        assert pulses.complaint() is None
        mock_clock.jump(8.0)  # seven seconds later than it wanted to wake
        await wait_all_tasks_blocked()
        assert pulses.complaint() == "the event loop stood still for 7.0 s, 0 s ago"
        for _ in range(61):
            mock_clock.jump(1.0)
            await wait_all_tasks_blocked()
        assert pulses.complaint() is None
        nursery.cancel_scope.cancel()


def test_a_backoff_after_hours_of_attempts_is_the_longest() -> None:
    """2 ** 1100 is no float: whoever asked crashed."""
    assert BACKOFF_MAX_S / 2 <= backoff_s(1_101) <= BACKOFF_MAX_S
