"""The small path language of predicates."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflow_sensors.json_path import LENGTH_MAX, find, is_met, parse

DOCUMENT: dict[str, Any] = {
    "state": "done",
    "job": {"items": [{"id": 1}, {"id": 2}], "app.kubernetes.io/name": "x", "a b": {"c": None}},
    "on": True,
    "zero": 0,
    "": "nameless",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DOCUMENT),
        ("state", "done"),
        ("$.state", "done"),
        ("job.items[0].id", 1),
        ("job.items[-1].id", 2),
        ('job["app.kubernetes.io/name"]', "x"),
        ("$['job']['a b'].c", None),
        ('[""]', "nameless"),
    ],
)
def test_a_path_leads_to_its_place(path: str, value: Any) -> None:
    assert find(DOCUMENT, path) == value


@pytest.mark.parametrize("path", ["nope", "state.more", "job.items[2]", "job.items[-3]", "job[0]", "job.items.id"])
def test_a_path_to_nowhere_finds_nothing(path: str) -> None:
    assert find(DOCUMENT, path) is msgspec.UNSET


@pytest.mark.parametrize(
    "path", ["", ".a", "a.", "a..b", "$a", "a[", "a[b]", "a[*]", "$..a", "a b", "a[1:2]", '["a]', "ab$"]
)
def test_a_path_that_is_none_says_where_it_stops_making_sense(path: str) -> None:
    with pytest.raises(ValueError, match="JSON path"):
        parse(path)


def test_a_path_of_any_length_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than"):
        parse("a" * (LENGTH_MAX + 1))


def test_without_a_value_to_equal_the_place_must_be_true() -> None:
    assert [is_met(DOCUMENT, path) for path in ("state", "on", "zero", "nope")] == [True, True, False, False]


def test_equality_is_that_of_json() -> None:
    assert is_met(DOCUMENT, "zero", 0)
    assert not is_met(DOCUMENT, "zero", False)
    assert not is_met(DOCUMENT, "on", 1)
    assert is_met({"a": 1}, "a", 1.0)


def test_null_equals_null_but_not_a_missing_place() -> None:
    assert is_met(DOCUMENT, '["job"]["a b"].c', None)
    assert not is_met(DOCUMENT, "nope", None)


@given(st.lists(st.one_of(st.integers(-3, 3), st.text(alphabet="abc .[]/$'", max_size=5)), min_size=1, max_size=6))
def test_what_is_quoted_is_read_back(steps: list[str | int]) -> None:
    path = "".join(f'["{step}"]' if isinstance(step, str) else f"[{step}]" for step in steps)
    assert parse(path) == tuple(steps)


@given(st.text(max_size=30))
def test_any_text_is_a_path_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        find(DOCUMENT, text)
