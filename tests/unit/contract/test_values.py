"""The one rule for values from outside: what it refuses, in which words, and what it makes of texts that are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from leoflowd.contract import values
from leoflowd.contract.errors import Invalid


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\0b", r"a\x00b"),
        ("\ud800", r"\ud800"),
        ("x" * 3000, "x" * 1999 + "…"),
    ],
)
def test_a_shown_text_can_be_stored(text: str, expected: str) -> None:
    assert values.shown(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the key is empty"),
        ("k" * 600, "the key has 600 characters; at most 512 are possible"),
        ("a\0b", r"the key holds \x00 at character 1, which cannot be stored"),
        ("\udfff", r"the key holds \udfff at character 0, which cannot be stored"),
    ],
)
def test_a_checked_text_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        values.checked_text(text, "the key", max_length=512)
    assert str(refused.value) == why


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": [float("nan")]}, "conf['a'][0] is nan, which JSON does not have"),
        ({"a": "\ud800"}, r"conf['a'] holds the lone surrogate \ud800"),
        ({"\ud800": 1}, r"a key of conf holds the lone surrogate \ud800"),
        ({1: 1}, "conf has the key 1; JSON has only text as keys"),
        ({"a": 10**4000}, "conf['a'] is an integer of more than 4000 digits"),
        (nested(257), "is nested more than 256 levels deep"),
        ({"a": object()}, "conf['a'] is a object, which JSON does not have"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_its_place(value: Any, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        values.json_text(value, "conf", max_bytes=10**6)
    assert why in str(refused.value)


@pytest.mark.parametrize("value", ["a\0b", 2**70, -(2**70), 10**4000 - 1, 1e20, -0.0, nested(256), {"": 1}, "\u202e"])
def test_what_json_carries_comes_back_exactly(value: Any) -> None:
    found = values.parsed_json(values.json_text(value, "it", max_bytes=10**6), "it")
    assert (found, type(found), str(found)) == (value, type(value), str(value))


@pytest.mark.parametrize("text", ["", "{", '"\\ud800"', "1e400", "1" * 4301, "[" * 300 + "]" * 300, "[" * 9999])
def test_a_text_that_is_no_such_json_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"^it"):
        values.checked_json_text(text, "it", max_bytes=10**6)


@pytest.mark.parametrize("text", ['"' + "x" * 100 + '"', '"' + "é" * 49 + '"'])
def test_a_size_is_counted_in_bytes(text: str) -> None:
    size = values.byte_size(text)
    assert values.checked_json_text(text, "it", max_bytes=size) == text
    with pytest.raises(Invalid, match=f"larger than {size - 1} bytes"):
        values.checked_json_text(text, "it", max_bytes=size - 1)


def test_a_conf_is_spaced_as_people_search_for_it_and_has_a_limit() -> None:
    assert values.conf_text({"a": [1, 1e20, "\0"]}) == '{"a": [1, 1e20, "\\u0000"]}'
    with pytest.raises(Invalid, match="conf is larger than 262144 bytes of JSON"):
        values.conf_text({"a": "x" * values.CONF_MAX_BYTES})


@pytest.mark.parametrize(
    ("value", "place"),
    [({"tasks": [{"doc": "a\0"}]}, "dag 'd'['tasks'][0]['doc']"), ({"tags": {"a\0": 1}}, "a key of dag 'd'['tags']")],
)
def test_an_artifact_has_no_nul(value: Any, place: str) -> None:
    with pytest.raises(Invalid) as refused:
        values.artifact_text(value, "dag 'd'")
    assert str(refused.value).startswith(rf"{place} holds the character \x00")


@pytest.mark.parametrize("value", [{"a": r"\u0000"}, {"a": 2**70}])
def test_an_artifact_may_hold_the_rest(value: Any) -> None:
    assert values.parsed_json(values.artifact_text(value, "it"), "it") == value


def test_what_is_only_shown_is_never_refused() -> None:
    shown = {"a\0": ["\ud800", float("inf"), {"b": "c\0"}]}
    assert values.shown_json(shown) == r'{"a\\x00":["\\ud800","inf",{"b":"c\\x00"}]}'


@pytest.mark.parametrize(
    "moment",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.min.replace(tzinfo=UTC),
    ],
)
def test_moments_at_the_ends_of_time_are_refused(moment: datetime) -> None:
    with pytest.raises(Invalid, match="it is not between 0001-01-02 and 9999-12-30"):
        values.checked_moment(moment, "it")


def test_a_deadline_that_no_calendar_has_is_the_last_day_of_all() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert values.later(now, 60) == now + timedelta(minutes=1)
    assert values.later(now, timedelta.max.total_seconds()) == values.LATEST
    assert values.later(now, -1e300) == values.EARLIEST


@pytest.mark.parametrize("number", [-2, 2**31])
def test_an_integer_beyond_its_column_is_refused(number: int) -> None:
    with pytest.raises(Invalid, match=f"a map index is {number}; it must be between -1 and 2147483647"):
        values.checked_integer(number, "a map index", least=-1)
