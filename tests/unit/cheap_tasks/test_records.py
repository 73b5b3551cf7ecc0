"""Records are small, and their indexes forget."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import pytest

from leoflow_sensors.time import KINDS
from leoflowd.cheap_tasks.groups import ProbeHistory
from leoflowd.cheap_tasks.records import ClockSource, Parked, RunIndex, TermsTable, WaitRecord, WaitState
from leoflowd.contract.pool_view import PROBES_SHOWN
from leoflowd.contract.wait_spec import WaitTerms

TIME = KINDS[0]
BYTES_PER_WAIT = 330
"""With its entries in all indexes; the dictionary's share depends on where between two doublings one looks."""


def record(number: int, *, run: int = 1, wake_at: float = 5.0, terms: TermsTable | None = None) -> WaitRecord:
    return WaitRecord(
        wake_at=wake_at,
        number=number,
        run=run,
        dag="".join(["d"]),
        source=ClockSource("time"),
        terms=(terms or TermsTable()).of(TIME, "{}"),
        registered_at=float(number),
        deadline_at=float(number) + 1e9,
    )


def test_a_parked_wait_costs_three_hundred_bytes() -> None:
    source, terms = ClockSource("time"), TermsTable().of(TIME, "{}")
    parked, count = Parked(), 50_000
    tracemalloc.start()
    try:
        for number in range(count):
            parked.add(
                WaitRecord(
                    wake_at=1e9 + number,
                    number=(number << 90) + 7,
                    run=10**6 + number // 100,
                    dag="a_dag",
                    source=source,
                    terms=terms,
                    registered_at=1e9 + number / 3,
                    deadline_at=2e9 + number,
                )
            )
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / count < BYTES_PER_WAIT


def test_a_record_is_no_dictionary_and_the_garbage_collector_does_not_look_at_it() -> None:
    one = record(1)
    assert not hasattr(one, "__dict__")
    assert not gc.is_tracked(one)
    assert sys.getsizeof(one) <= 104


def test_equal_terms_are_one_object_whoever_brings_them() -> None:
    table = TermsTable()
    text = '{"poke_interval_s":5.0}'
    assert table.of(TIME, text) is table.of(TIME, text)
    assert table.of(TIME, text).wait == WaitTerms(poke_interval_s=5)


def test_terms_that_nobody_has_are_forgotten() -> None:
    table = TermsTable()
    table.of(TIME, "{}")
    assert len(table._known) == 0


@pytest.mark.parametrize("count", [1, 2, 100])
def test_a_run_is_known_for_as_long_as_one_of_its_waits_lives(count: int) -> None:
    index = RunIndex()
    records = [record(number, run=7) for number in range(count)]
    for one in records:
        index.add(one)
    assert index.of(7) == tuple(records)
    for left, one in enumerate(records, start=1):
        assert 7 in index
        one.state = WaitState.GONE
        index.note_dead(one)
        assert len(index.of(7)) == count - left
    assert 7 not in index


def test_what_has_left_is_in_no_index() -> None:
    parked = Parked()
    one, other = record(1), record(2)
    parked.add(one)
    parked.add(other)
    parked.unpark(one, WaitState.GONE, popped=False)
    assert (list(parked.records), dict(parked.by_kind), dict(parked.by_dag)) == ([2], {"time": 1}, {"d": 1})
    assert parked.pop_due(10.0, 5) == [other]


def test_a_wait_whose_end_is_not_committed_is_known_but_not_found() -> None:
    parked = Parked()
    one = record(1)
    parked.add(one)
    parked.unpark(one, WaitState.ENDING, popped=False)
    assert parked.find(one.wait_id) is None
    assert 1 in parked.records
    parked.forget(one)
    assert 1 not in parked.records


def test_forgetting_an_old_wait_leaves_the_one_that_replaced_it() -> None:
    parked = Parked()
    old, new = record(1), record(1)
    parked.add(old)
    parked.unpark(old, WaitState.ENDING, popped=False)
    parked.forget(old)
    parked.add(new)
    parked.forget(old)
    assert parked.find(new.wait_id) is new


def test_a_history_keeps_the_last_probes_and_equal_texts_once() -> None:
    history = ProbeHistory()
    for number in range(PROBES_SHOWN + 5):
        history.add(float(number), 0.5, "".join(["no", " file"]), is_error=number == 10)
    records = history.records()
    assert len(records) == PROBES_SHOWN
    assert [record.at.timestamp() for record in records if record.is_error] == [10.0]
    assert len({id(record.summary) for record in records}) == 1
    assert history.last_seen() == "no file"


def test_a_history_tells_what_was_seen_last_and_what_is_wrong_since() -> None:
    history = ProbeHistory()
    assert history.told() == ()
    history.add(1.0, 0.5, "HTTP 404", is_error=False)
    assert history.told() == ("last seen: HTTP 404",)
    history.add(2.0, 0.5, "refused", is_error=True)
    assert history.told() == ("last seen: HTTP 404", "the last probe failed: refused")
    history.add(3.0, 0.5, "HTTP 404", is_error=False)
    assert history.told() == ("last seen: HTTP 404",)
