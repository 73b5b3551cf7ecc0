"""The question and its answer: one line for each reason why a task or a run does not go on, or ended as it did."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.states import DagRunState
from leoflowd.core.decisions import Queue, Schedule
from leoflowd.core.explain import KnownWait, LauncherFacts, SlotHolder, SlotUse, explain_instance, explain_try
from leoflowd.core.explain_run import RunLimit, explain_run, to_tell_of
from leoflowd.core.run_view import SET_ASIDE, RunView
from tests.unit.core.core_builders import NOW, S, at, begin_try, carry_out, end_try, seconds, task, view_of
from tests.unit.core.test_explain_waits import FACTS, SEEN

LATER = NOW + seconds(19_500)
FAILED = {"state": S.FAILED, "try_number": 3, "because": "exit code 1"}
CHAIN = (task("a"), task("b", "a"), task("c", "b"), task("z", "c"))
HELD = SlotUse(pool_slots=4, holders=(SlotHolder("etl", 3), SlotHolder(None, 1)), in_run=0, of_task=0, of_task_in_run=0)
NO_POOL = SlotUse(pool_slots=None, holders=(), in_run=0, of_task=0, of_task_in_run=0)
FULL = RunLimit(max_active_runs=2, running=("r1", "r2"))


def chain(**facts: dict[str, Any]) -> RunView:
    return view_of(*CHAIN, facts=facts)


def one(state: S, **changes: Any) -> RunView:
    run = {name: changes.pop(name) for name in ("because", "state_of_run") if name in changes}
    fields = {"state": run["state_of_run"]} if "state_of_run" in run else {}
    fields |= {"because": run["because"]} if "because" in run else {}
    spec = {name: changes.pop(name) for name in ("depends_on_past", "retries", "pool") if name in changes}
    return view_of(task("z", **spec), facts={"z": {"state": state, "try_number": 1, **changes}}, **fields)


TABLE: tuple[tuple[str, RunView, dict[str, Any], str], ...] = (
    ("paused", one(S.NONE), {"is_paused": True}, "dag 'd' is paused: nothing of it is started until it is unpaused"),
    (
        "set aside",
        one(S.NONE, because=f"{SET_ASIDE}: DataError: no"),
        {},
        f"the dag run itself is {SET_ASIDE}: DataError: no",
    ),
    (
        "run_after",
        one(S.NONE, state_of_run=DagRunState.QUEUED),
        {"run_after": LATER},
        "the dag run itself is queued: it may begin in 5 h 25 min, 17:25 UTC (its run_after)",
    ),
    (
        "max_active_runs",
        one(S.NONE, state_of_run=DagRunState.QUEUED),
        {"limit": FULL},
        "the dag run itself is queued: 2 runs of dag 'd' are running ('r1', 'r2'), and max_active_runs is 2: "
        "one has to end first",
    ),
    (
        "max_active_runs of a backfill",
        one(S.NONE, state_of_run=DagRunState.QUEUED),
        {"limit": RunLimit(max_active_runs=1, running=("r1",), is_backfill=True)},
        "the dag run itself is queued: 1 runs of its backfill are running ('r1'), and max_active_runs is 1: "
        "one has to end first",
    ),
    (
        "room for the run",
        one(S.NONE, state_of_run=DagRunState.QUEUED),
        {"limit": RunLimit(max_active_runs=3, running=("r1", "r2"))},
        "the dag run itself is queued: it begins at the next decision",
    ),
    (
        "upstream runs",
        chain(c={"state": S.RUNNING, "start_date": NOW - seconds(90)}),
        {},
        "not done yet: task 'c' (running, begun 1 min 30 s ago)",
    ),
    (
        "upstream failed, told to the root",
        chain(a=FAILED, b={"state": S.UPSTREAM_FAILED}, c={"state": S.UPSTREAM_FAILED}, z={"state": S.UPSTREAM_FAILED}),
        {},
        "it began with task 'a', which is failed after 3 tries: exit code 1 (by way of task 'b', task 'c')",
    ),
    (
        "skipped, told to the root",
        chain(
            b={"state": S.SKIPPED, "because": "not today"},
            a={"state": S.SUCCESS},
            c={"state": S.SKIPPED},
            z={"state": S.SKIPPED},
        ),
        {},
        "it began with task 'b', which is skipped: not today (by way of task 'c')",
    ),
    (
        "one of several upstream failed already",
        view_of(task("a"), task("b"), task("z", "a", "b", trigger_rule="all_done"), facts={"a": FAILED}),
        {},
        "upstream, task 'a' is failed after 3 tries: exit code 1",
    ),
    (
        "depends_on_past",
        one(S.NONE, depends_on_past=True),
        {},
        "depends_on_past: its instance in the previous dag run (or what follows it there) has not succeeded",
    ),
    ("waits for its retry", one(S.UP_FOR_RETRY, due_at=LATER), {}, "it may go on in 5 h 25 min, 17:25 UTC"),
    (
        "pool full",
        one(S.SCHEDULED, pool="p"),
        {"slots": HELD},
        "it waits for a slot: pool 'p' is full: 4 of 4 slots are taken (3 by dag 'etl', 1 by DAGs that you may not "
        "see), and it needs 1",
    ),
    (
        "pool that does not exist",
        one(S.SCHEDULED, pool="p"),
        {"slots": NO_POOL},
        "it waits for a slot: pool 'p' does not exist: create it (`leoflow pools set`), or name another pool in the "
        "task",
    ),
    (
        "agent gone",
        one(S.QUEUED),
        {"launcher": LauncherFacts("host/7", 0, NOW)},
        "no agent is attached to the daemon host/7 that was given it: it begins when one is",
    ),
    (
        "daemon silent",
        one(S.QUEUED),
        {"launcher": LauncherFacts("host/7", 1, NOW - seconds(90))},
        "the daemon host/7 that was given it was last heard 1 min 30 s ago: the try runs again if it stays silent",
    ),
    (
        "environment being built",
        one(S.QUEUED),
        {"is_building": True, "launcher": LauncherFacts("host/7", 0, NOW)},
        "its environment is being built (packages are installed): it begins when that is there",
    ),
    (
        "waits for what",
        one(S.DEFERRED),
        {"wait": KnownWait(FACTS, SEEN)},
        "it waits for file /in.csv; it began 0 s ago",
    ),
    ("runs", one(S.RUNNING, start_date=NOW - seconds(5)), {}, "try 1 is running, begun 5 s ago"),
    (
        "the run is over",
        one(S.SUCCESS, state_of_run=DagRunState.SUCCESS),
        {},
        "the dag run is over (success); clear the task to run it again",
    ),
)


@pytest.mark.parametrize(("view", "facts", "answer"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_answer_names_the_reason(view: RunView, facts: dict[str, Any], answer: str) -> None:
    assert answer in explain_instance(view, at(view, "z"), NOW, **facts)


def test_more_roots_than_people_read_are_counted() -> None:
    names = "abcde"
    tasks = (*(task(name) for name in names), task("z", *names))
    facts = {name: {**FAILED, "try_number": 1} for name in names} | {"z": {"state": S.UPSTREAM_FAILED}}
    view = view_of(*tasks, facts=facts)
    told = explain_instance(view, at(view, "z"), NOW)
    assert [one for one in told if one.startswith("it began with")] == [
        f"it began with task '{name}', which is failed: exit code 1" for name in "abc"
    ]
    assert "and with 2 more tasks upstream" in told


def test_a_try_that_was_tried_again_keeps_its_reason_while_it_waits_for_a_slot() -> None:
    view = view_of(task("a", retries=1))
    begin_try(view, 0)
    end_try(view, "a", OutcomeKind.FAILED)
    ended = view.facts[0].because
    assert "it said failed" in ended
    carry_out(view, [Schedule(instance=0, because="all_success: all 1 upstream succeeded")])
    assert view.facts[0].because == ended, "the archive takes it from here when the next try begins"
    carry_out(view, [Queue(instance=0, try_id="second", because="a slot is free")])
    assert view.facts[0].because == "a slot is free"


@pytest.mark.parametrize("state", [S.SCHEDULED, S.UP_FOR_RETRY, None])
def test_an_earlier_try_is_told_by_how_it_ended_and_not_by_what_it_waited_for(state: S | None) -> None:
    assert explain_try(1, state, "exit code 1") == "try 1 ended in state failed: exit code 1"


def test_other_ends_of_tries_keep_their_state() -> None:
    assert explain_try(2, S.SUCCESS, "The task returned.") == "try 2 ended in state success: The task returned."


def whole(view: RunView, **facts: Any) -> tuple[str, ...]:
    told = {i: explain_instance(view, i, NOW) for i in to_tell_of(view)}
    return explain_run(view, NOW, instances=told, **facts)


def test_a_running_run_tells_of_what_is_nearest_to_running() -> None:
    view = chain(a={"state": S.SUCCESS}, b={"state": S.SCHEDULED, "because": "all_success"})
    view.run = type(view.run)(state=DagRunState.RUNNING, start_date=NOW - seconds(60))
    assert whole(view) == (
        "dag run 'r' is running, begun 1 min ago",
        "its task instances: 2 none, 1 scheduled, 1 success",
        "task 'b' is in state scheduled: all_success; it waits for a slot",
        "2 more are not done; `leoflow explain DAG_ID RUN_ID TASK_ID` tells of each",
    )


def test_a_failed_run_tells_of_what_failed_and_not_of_what_followed() -> None:
    view = view_of(
        task("a"),
        task("b", "a"),
        facts={"a": FAILED, "b": {"state": S.UPSTREAM_FAILED}},
        state=DagRunState.FAILED,
        because="task 'a' failed",
    )
    told = whole(view)
    assert told[0].endswith("is failed: task 'a' failed") or ": task 'a' failed" in told[0]
    assert [one for one in told if one.startswith("task 'a' is in state failed: exit code 1")]
    assert not [one for one in told if one.startswith("task 'b'")]


def test_a_queued_run_names_its_limit_and_no_task() -> None:
    told = whole(view_of(task("a"), state=DagRunState.QUEUED), limit=FULL, is_paused=True)
    assert told[1].startswith("dag 'd' is paused")
    assert told[2].startswith("the dag run itself is queued: 2 runs of dag 'd' are running")
    assert told[3:] == ("its task instances: 1 none",)
