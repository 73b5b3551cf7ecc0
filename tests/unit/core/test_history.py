"""The checker finds each broken promise, and none where all were kept."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.core.history import (
    Change,
    DagLimit,
    History,
    InstanceChange,
    InstanceRow,
    PoolLimit,
    Rule,
    RunChange,
    RunRow,
    Started,
    XComWritten,
    check_history,
    check_view,
)
from leoflowd.core.run_view import InstanceFacts

S, R = TaskInstanceState, DagRunState


def moves(*steps: tuple[TaskInstanceState, str], task_id: str = "t", first: int = 1, run: int = 1) -> list[Change]:
    """An instance that comes into being as `none` of try `x`, then takes these steps, a transaction each."""
    number, rows = 0, [InstanceRow(dag_run_id=run, task_id=task_id, id="x")]
    for state, try_id in steps:
        number += state is S.QUEUED
        rows.append(InstanceRow(dag_run_id=run, task_id=task_id, id=try_id, state=state, try_number=number))
    begun: list[Change] = [InstanceChange(transaction=first, after=rows[0])]
    return begun + [
        InstanceChange(transaction=first + n, before=before, after=after)
        for n, (before, after) in enumerate(pairwise(rows), 1)
    ]


def run_moves(*states: DagRunState, run: int = 1, first: int = 1001) -> list[Change]:
    rows = [RunRow(id=run, dag_id="d", state=state) for state in (R.QUEUED, *states)]
    begun: list[Change] = [RunChange(transaction=first, after=rows[0])]
    return begun + [
        RunChange(transaction=first + n, before=before, after=after)
        for n, (before, after) in enumerate(pairwise(rows), 1)
    ]


WELL = [
    *run_moves(R.RUNNING, R.SUCCESS),
    *moves((S.SCHEDULED, "x"), (S.QUEUED, "a"), (S.RUNNING, "a"), (S.SUCCESS, "a")),
]
STARTED = [Started("a", "host")]


def rules(changes: list[Change], **more: object) -> set[Rule]:
    return {found.rule for found in check_history(History(changes=changes, **{"started": STARTED, **more}))}


def test_a_run_that_went_well_breaks_nothing() -> None:
    written = XComWritten(transaction=5, key=(1, "t", -1), name="return_value")
    limits = {"pools": {"default_pool": PoolLimit(1)}, "dags": {"d": DagLimit(1, 1)}}
    assert check_history(History(changes=[*WELL, written], started=STARTED, **limits)) == ()


def test_a_retry_breaks_nothing() -> None:
    retried = moves(
        (S.QUEUED, "a"), (S.RUNNING, "a"), (S.UP_FOR_RETRY, "a"), (S.SCHEDULED, "a"), (S.QUEUED, "b"), (S.SUCCESS, "b")
    )
    started = [*STARTED, Started("b", "host")]
    assert rules([*run_moves(R.RUNNING, R.SUCCESS), *retried], started=started) == set()


@pytest.mark.parametrize(
    ("rule", "changes", "more"),
    [
        (Rule.TWICE, WELL, {"started": [*STARTED, *STARTED]}),
        (Rule.ONE_OWNER, WELL, {"started": [*STARTED, Started("a", "another host")]}),
        (Rule.ONE_OWNER, WELL, {"started": [*STARTED, Started("never queued", "host")]}),
        (Rule.ONE_OWNER, [*WELL, *moves((S.QUEUED, "a"), (S.SUCCESS, "a"), task_id="other", first=50)], {}),
        (Rule.LOST, run_moves(R.RUNNING), {"started": ()}),
        (Rule.LOST, moves((S.QUEUED, "a")), {"started": ()}),
        (Rule.LOST, [*run_moves(R.RUNNING, R.SUCCESS), *moves((S.QUEUED, "a"), (S.RUNNING, "a"))], {}),
        (Rule.MOVE, moves((S.RUNNING, "x")), {"started": ()}),
        (Rule.MOVE, moves((S.QUEUED, "a"), (S.RUNNING, "a"), (S.NONE, "a")), {}),
        (Rule.MOVE, moves((S.QUEUED, "a"), (S.SUCCESS, "a"), (S.QUEUED, "b"), (S.SUCCESS, "b")), {}),
        (Rule.MOVE, moves((S.QUEUED, "a"), (S.FAILED, "a"), (S.SUCCESS, "a")), {}),
        (Rule.MOVE, run_moves(R.RUNNING, R.SUCCESS, R.RUNNING), {"started": (), "unfinished": {1}}),
        (Rule.XCOM, [*WELL, XComWritten(transaction=99, key=(1, "t", -1), name="late")], {}),
        (Rule.XCOM, [XComWritten(transaction=1, key=(1, "nobody", -1), name="k")], {"started": ()}),
    ],
)
def test_each_broken_promise_is_found(rule: Rule, changes: list[Change], more: dict[str, object]) -> None:
    assert rule in rules(changes, **more)


def test_an_outcome_that_is_committed_twice_is_found() -> None:
    """As if the compare-and-set had let the same report through again, after a move back."""
    twice = moves((S.QUEUED, "a"), (S.RUNNING, "a"), (S.UP_FOR_RETRY, "a"), (S.RUNNING, "a"), (S.SUCCESS, "a"))
    assert Rule.TWICE in rules(twice)


def test_a_try_that_comes_back_is_found() -> None:
    back = moves((S.QUEUED, "a"), (S.UP_FOR_RETRY, "a"), (S.QUEUED, "b"), (S.UP_FOR_RETRY, "b"), (S.QUEUED, "a"))
    assert Rule.TWICE in rules(back)


def two_live(slots: int = 1) -> list[Change]:
    one, two = moves((S.QUEUED, "a")), moves((S.QUEUED, "b"), task_id="u", first=10)
    wide = [
        msgspec.structs.replace(change, after=msgspec.structs.replace(change.after, pool_slots=slots))
        for change in (*one, *two)
        if isinstance(change, InstanceChange) and change.after is not None
    ]
    return [*run_moves(R.RUNNING), *wide]


@pytest.mark.parametrize(
    ("changes", "limits", "is_broken"),
    [
        (two_live(), {"pools": {"default_pool": PoolLimit(1)}}, True),
        (two_live(), {"pools": {"default_pool": PoolLimit(2)}}, False),
        (two_live(slots=2), {"pools": {"default_pool": PoolLimit(3)}}, True),
        (two_live(), {"pools": {"default_pool": PoolLimit(-1)}}, False),
        (two_live(), {"dags": {"d": DagLimit(max_active_tasks=1)}}, True),
        (two_live(), {"dags": {"d": DagLimit(max_active_tasks=2)}}, False),
        (two_live(), {"dags": {"d": DagLimit()}}, False),
        ([*run_moves(R.RUNNING), *run_moves(R.RUNNING, run=2, first=50)], {"dags": {"d": DagLimit(1)}}, True),
        ([*run_moves(R.RUNNING), *run_moves(R.RUNNING, run=2, first=50)], {"dags": {"d": DagLimit(2)}}, False),
    ],
)
def test_limits(changes: list[Change], limits: dict[str, object], is_broken: bool) -> None:
    assert (Rule.LIMIT in rules(changes, **limits)) is is_broken


def test_a_pool_that_counts_deferred_tasks_counts_them() -> None:
    waiting = moves((S.QUEUED, "a"), (S.DEFERRED, "a"))
    other = moves((S.QUEUED, "b"), task_id="u", first=10)
    for include_deferred in (True, False):
        found = rules([*waiting, *other], pools={"default_pool": PoolLimit(1, include_deferred)})
        assert (Rule.LIMIT in found) is include_deferred


def test_a_slot_that_is_given_back_in_the_same_transaction_is_free() -> None:
    first = moves((S.QUEUED, "a"), (S.SUCCESS, "a"))
    second = moves((S.QUEUED, "b"), task_id="u", first=2)
    swapped = [msgspec.structs.replace(second[-1], transaction=first[-1].transaction)]
    assert Rule.LIMIT not in rules([*first, second[0], *swapped], pools={"default_pool": PoolLimit(1)})


def test_what_a_person_may_do_needs_a_new_revision() -> None:
    cleared = moves((S.QUEUED, "a"), (S.SUCCESS, "a"), (S.NONE, "y"))
    before = RunRow(id=1, dag_id="d", state=R.SUCCESS, revision=1)
    after = RunRow(id=1, dag_id="d", state=R.QUEUED, revision=2)
    by_hand = RunChange(transaction=cleared[-1].transaction, before=before, after=after)
    assert Rule.MOVE in rules([*WELL[:3], *cleared])
    assert Rule.MOVE not in rules([*WELL[:3], *cleared, by_hand])


def test_a_try_that_was_marked_writes_no_more() -> None:
    marked = moves((S.QUEUED, "a"), (S.RUNNING, "a"), (S.SUCCESS, "a"))
    written = XComWritten(transaction=99, key=(1, "t", -1), name="pushed")
    rows = [RunRow(id=1, dag_id="d", state=R.RUNNING, revision=revision) for revision in (0, 1)]
    by_hand = RunChange(transaction=marked[-1].transaction, before=rows[0], after=rows[1])
    assert Rule.XCOM in rules([*run_moves(R.RUNNING), *marked, written])
    assert Rule.XCOM in rules([*run_moves(R.RUNNING), *marked, by_hand, written])


def test_transactions_that_interleave_are_taken_apart() -> None:
    """The log has their lines side by side; whoever wrote a row last committed after whom it overwrote."""
    one, two = moves((S.QUEUED, "a"), (S.SUCCESS, "a")), moves((S.QUEUED, "b"), task_id="u", first=20)
    mixed = [one[0], two[0], one[1], two[1], one[2]]
    assert Rule.MOVE not in rules(mixed)


def test_an_instance_that_is_deleted_is_not_lost() -> None:
    changes = moves((S.QUEUED, "a"))
    assert isinstance(changes[-1], InstanceChange)
    gone = InstanceChange(transaction=9, before=changes[-1].after)
    assert rules([*changes, gone], started=()) == set()


def test_a_run_that_nobody_expects_to_end_is_not_lost() -> None:
    assert rules(run_moves(R.RUNNING), started=(), unfinished={1}) == set()


def test_views_are_compared_place_by_place() -> None:
    row = InstanceFacts(id="a", node=0, state=S.RUNNING)
    assert list(check_view(1, [row], [row])) == []
    for remembered in ([], [msgspec.structs.replace(row, state=S.QUEUED)], [msgspec.structs.replace(row, map_index=1)]):
        assert {found.rule for found in check_view(1, remembered, [row])} == {Rule.VIEW}
