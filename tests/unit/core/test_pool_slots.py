"""Who gets the free slots."""

from __future__ import annotations

import pytest

from leoflowd.core.pool_slots import UNLIMITED, SlotLedger, SlotRequest
from tests.unit.core.core_builders import NOW, seconds


def wants(run: int, instance: int, **fields: object) -> SlotRequest:
    given: dict[str, object] = {"pool": "p", "since": NOW, "dag_id": "d", "task_id": f"t{instance}", **fields}
    return SlotRequest(key=(run, instance), **given)  # type: ignore[arg-type]


def granted(ledger: SlotLedger) -> list[tuple[int, int]]:
    return [request.key for request in ledger.grant()]


def test_a_pool_gives_no_more_than_it_has_and_gives_again_what_comes_back() -> None:
    ledger = SlotLedger({"p": 2})
    for instance in range(3):
        ledger.request(wants(1, instance))
    assert granted(ledger) == [(1, 0), (1, 1)]
    assert granted(ledger) == []
    ledger.release((1, 0))
    assert granted(ledger) == [(1, 2)]


def test_the_highest_priority_comes_first_and_the_oldest_among_equals() -> None:
    ledger = SlotLedger({"p": 8})
    ledger.request(wants(1, 0, priority=1))
    ledger.request(wants(1, 1, priority=5, since=NOW + seconds(9)))
    ledger.request(wants(1, 2, priority=5))
    ledger.request(wants(1, 3, priority=5))
    assert granted(ledger) == [(1, 2), (1, 3), (1, 1), (1, 0)]


def test_priority_counts_across_pools_where_a_limit_is_shared() -> None:
    ledger = SlotLedger({"p": 8, "q": 8})
    ledger.request(wants(1, 0, pool="p", priority=1, run_limit=1))
    ledger.request(wants(1, 1, pool="q", priority=2, run_limit=1))
    assert granted(ledger) == [(1, 1)]


def test_minus_one_is_no_limit() -> None:
    ledger = SlotLedger({"p": UNLIMITED})
    for instance in range(500):
        ledger.request(wants(1, instance, slots=7))
    assert len(granted(ledger)) == 500


def test_an_unknown_pool_gives_nothing_until_it_exists() -> None:
    ledger = SlotLedger({})
    ledger.request(wants(1, 0))
    assert granted(ledger) == []
    ledger.set_pools({"p": 1})
    assert granted(ledger) == [(1, 0)]


def test_a_request_too_wide_for_now_does_not_hold_up_narrow_ones() -> None:
    ledger = SlotLedger({"p": 3})
    ledger.occupy(wants(9, 9))
    ledger.request(wants(1, 0, slots=3, priority=9))
    ledger.request(wants(1, 1))
    assert granted(ledger) == [(1, 1)]


def test_a_request_wider_than_the_pool_is_never_granted() -> None:
    ledger = SlotLedger({"p": 3})
    ledger.request(wants(1, 0, slots=4))
    assert granted(ledger) == []


def test_the_limit_of_a_run_holds_back_that_run_alone() -> None:
    ledger = SlotLedger({"p": 9})
    for run in (1, 2):
        for instance in range(3):
            ledger.request(wants(run, instance, run_limit=2))
    assert granted(ledger) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    ledger.release((2, 1))
    assert granted(ledger) == [(2, 2)]


def test_the_limits_of_a_task_count_over_runs_and_within_one() -> None:
    ledger = SlotLedger({"p": 9})
    for run in (1, 2):
        ledger.request(wants(run, 0, task_id="a", per_dag_limit=1))
    ledger.request(wants(1, 1, task_id="b", per_run_task_limit=1))
    ledger.request(wants(1, 2, task_id="b", per_run_task_limit=1))
    ledger.request(wants(2, 1, task_id="b", per_run_task_limit=1))
    assert granted(ledger) == [(1, 0), (1, 1), (2, 1)]


@pytest.mark.parametrize("limit", [None, 0])
def test_none_and_zero_are_no_limit(limit: int | None) -> None:
    ledger = SlotLedger({"p": 9})
    for instance in range(5):
        ledger.request(wants(1, instance, run_limit=limit))
    assert len(granted(ledger)) == 5


def test_one_who_was_parked_for_one_limit_and_meets_another_lets_the_next_one_pass() -> None:
    ledger = SlotLedger({"p": 9})
    ledger.occupy(wants(1, 9, task_id="busy", run_limit=1))
    ledger.occupy(wants(2, 9, task_id="a"))
    ledger.request(wants(1, 0, task_id="a", priority=5, run_limit=1, per_dag_limit=1))
    ledger.request(wants(1, 1, task_id="b", run_limit=1))
    assert granted(ledger) == []
    ledger.release((1, 9))
    # The first of the run is still held back by its task's limit; the free place goes to the second.
    ledger.occupy(wants(3, 0, task_id="a", per_dag_limit=1))
    assert granted(ledger) == [(1, 1)]


def test_withdrawing_and_asking_again_changes_the_priority() -> None:
    ledger = SlotLedger({"p": 1})
    ledger.request(wants(1, 0, priority=1))
    ledger.request(wants(1, 1, priority=2))
    ledger.request(wants(1, 0, priority=3))
    ledger.withdraw((1, 1))
    assert granted(ledger) == [(1, 0)]
    assert ledger.waiting_count == 0


def test_who_holds_slots_need_not_ask() -> None:
    ledger = SlotLedger({"p": 2})
    ledger.occupy(wants(1, 0))
    ledger.request(wants(1, 0))
    assert granted(ledger) == []
    assert ledger.used_slots("p") == 1


def test_a_forgotten_run_neither_waits_nor_holds() -> None:
    ledger = SlotLedger({"p": 1})
    ledger.occupy(wants(1, 0, run_limit=1))
    ledger.request(wants(1, 1, run_limit=1))
    ledger.request(wants(2, 0))
    ledger.forget_run(1)
    assert granted(ledger) == [(2, 0)]
    assert (ledger.occupied_count, ledger.waiting_count) == (1, 0)


def test_occupying_ignores_limits_and_a_shrunk_pool_takes_nothing_away() -> None:
    ledger = SlotLedger({"p": 1})
    ledger.occupy(wants(1, 0, run_limit=1))
    ledger.occupy(wants(1, 1, run_limit=1))
    ledger.set_pools({"p": 0})
    assert ledger.used_slots("p") == 2


def test_a_backfill_gets_what_nobody_else_asked_for() -> None:
    """Whatever its priority, and although it asked first."""
    ledger = SlotLedger({"p": 2})
    ledger.request(wants(1, 0, priority=100, is_backfill=True))
    ledger.request(wants(2, 0, since=NOW + seconds(9)))
    ledger.request(wants(3, 0, since=NOW + seconds(9)))
    assert granted(ledger) == [(2, 0), (3, 0)]
    ledger.release((2, 0))
    assert granted(ledger) == [(1, 0)]
