"""What every `Executor` promises to the scheduler's outbox."""

from __future__ import annotations

import msgspec
import trio
from trio.testing import wait_all_tasks_blocked

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.dispatch import Dispatch
from tests.conftest import PATIENCE_S
from tests.unit.executors.builders import try_spec

from .conftest import BROKEN, GOOD, Host


async def launch(host: Host, *try_ids: str) -> None:
    for try_id in try_ids:
        host.executor.launch(Dispatch(try_spec(try_id), GOOD))
    await wait_all_tasks_blocked()


async def test_a_launched_try_begins_once_with_its_own_facts(host: Host) -> None:
    spec = msgspec.structs.replace(try_spec("one"), task_id="load", try_number=3, env={"A": "1"})
    host.executor.launch(Dispatch(spec, GOOD))
    assert host.executor.known_tries() == {"one"}
    taken = await host.take()
    assert (taken.try_id, taken.task_id, taken.try_number, taken.env) == ("one", "load", 3, {"A": "1"})
    assert taken.dag_run == spec.dag_run
    assert host.executor.known_tries() == frozenset()


async def test_tries_begin_in_the_order_in_which_they_were_launched(host: Host) -> None:
    await launch(host, "a", "b", "c")
    assert host.executor.known_tries() == {"a", "b", "c"}
    assert [(await host.take()).try_id for _ in range(3)] == ["a", "b", "c"]


async def test_a_try_that_is_launched_again_keeps_its_place_and_begins_once(host: Host) -> None:
    """The sweep launches what is still queued."""
    await launch(host, "a", "b")
    host.executor.launch(Dispatch(msgspec.structs.replace(try_spec("a"), env={"NEWER": "1"}), GOOD))
    await wait_all_tasks_blocked()
    taken = [await host.take() for _ in range(2)]
    assert [(spec.try_id, spec.env) for spec in taken] == [("a", {"NEWER": "1"}), ("b", {})]
    assert host.executor.known_tries() == frozenset()


async def test_a_try_that_cannot_be_started_is_refused_and_holds_up_no_other(host: Host) -> None:
    host.executor.launch(Dispatch(try_spec("bad"), BROKEN))
    await launch(host, "good")
    [(try_id, kind, because)] = host.refused
    assert (try_id, kind) == ("bad", OutcomeKind.FAILED)
    assert because.startswith("its environment cannot be built: ")
    assert host.executor.known_tries() == {"good"}
    assert (await host.take()).try_id == "good"


async def test_launching_never_waits_and_what_finds_no_room_may_come_again(host: Host) -> None:
    numbers = [str(number) for number in range(5000)]
    await launch(host, numbers[0])
    await launch(host, *numbers[1:])
    known = host.executor.known_tries()
    assert 0 < len(known) < 5000
    dropped = next(number for number in numbers if number not in known)
    first = (await host.take()).try_id
    assert first == "0"
    await launch(host, dropped)
    assert dropped in host.executor.known_tries()


async def test_stopping_ends_when_nobody_runs_tries_and_twice_is_once(host: Host) -> None:
    await launch(host, "a")
    host.leave()
    with trio.fail_after(PATIENCE_S):
        await host.executor.stop()
        await host.executor.stop()
