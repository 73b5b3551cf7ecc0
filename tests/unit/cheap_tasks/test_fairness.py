"""Owners take turns."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.cheap_tasks.fairness import FairQueue


def queue(*items: tuple[str, int]) -> FairQueue[tuple[str, int]]:
    made: FairQueue[tuple[str, int]] = FairQueue()
    for item in items:
        made.add(item[0], item)
    return made


def drain(q: FairQueue[tuple[str, int]]) -> list[tuple[str, int]]:
    return [q.pop() for _ in range(len(q))]


def test_a_long_line_does_not_hold_up_a_short_one() -> None:
    assert drain(queue(("a", 1), ("a", 2), ("a", 3), ("b", 4))) == [("a", 1), ("b", 4), ("a", 2), ("a", 3)]


def test_whoever_leaves_is_not_served() -> None:
    q = queue(("a", 1), ("a", 2), ("b", 3))
    assert q.discard("a", ("a", 1))
    assert not q.discard("a", ("a", 1))
    assert drain(q) == [("a", 2), ("b", 3)]


def test_nobody_in_line_is_an_error() -> None:
    with pytest.raises(IndexError):
        queue().pop()


@given(st.lists(st.sampled_from("abcd"), max_size=60))
def test_everybody_is_served_once_and_nobody_twice_before_others_who_wait(owners: list[str]) -> None:
    served = drain(queue(*((owner, place) for place, owner in enumerate(owners))))
    assert Counter(served) == Counter((owner, place) for place, owner in enumerate(owners))
    left = Counter(owners)
    last: dict[str, int] = {}
    for turn, (owner, _) in enumerate(served):
        waiting = [other for other in left if left[other] and other != owner]
        assert all(last.get(other, -1) >= last.get(owner, -1) for other in waiting if owner in last)
        last[owner] = turn
        left[owner] -= 1


@given(st.lists(st.sampled_from("abcd"), max_size=60))
def test_inside_a_line_first_come_first_served(owners: list[str]) -> None:
    served = drain(queue(*((owner, place) for place, owner in enumerate(owners))))
    for owner in set(owners):
        places = [place for who, place in served if who == owner]
        assert places == sorted(places)
