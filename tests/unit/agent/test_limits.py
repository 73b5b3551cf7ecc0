"""The runner knows the standard library only, so it has the daemon's rule once more: both say the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from leoflow_agent.runner import deferral, limits, xcom
from leoflowd.contract import agent_messages, values
from leoflowd.contract.errors import Invalid


@pytest.mark.parametrize(
    "name", ["DEPTH_MAX", "DIGITS_MAX", "KEY_MAX", "SHOWN_MAX", "CONF_MAX_BYTES", "EARLIEST", "LATEST"]
)
def test_the_figures_are_the_contracts(name: str) -> None:
    assert getattr(limits, name) == getattr(values, name)


def test_the_limit_of_an_xcom_is_the_contracts() -> None:
    assert limits.XCOM_MAX_BYTES == agent_messages.XCOM_MAX_BYTES


@pytest.mark.parametrize("text", ["", "k" * 512, "k" * 513, "a\0b", "\ud800", "ok", "\u202e"])
def test_a_key_is_judged_alike(text: str) -> None:
    assert _is_refused(lambda: limits.checked_key(text)) == _is_refused(
        lambda: values.checked_text(text, "it", max_length=values.KEY_MAX)
    )


@pytest.mark.parametrize("text", ["plain", "a\0b", "\ud800\udc00", "x" * 5000, "\udcff"])
def test_a_text_is_shown_alike(text: str) -> None:
    assert limits.shown(text) == values.shown(text)


@pytest.mark.parametrize("levels", [256, 257])
def test_nesting_is_counted_alike(levels: int) -> None:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    refused = levels > limits.DEPTH_MAX
    assert _is_refused(lambda: limits.check(value, "it")) is refused
    assert _is_refused(lambda: values.checked_json(value, "it")) is refused


def _is_refused(check: Any) -> bool:
    try:
        check()
    except (Invalid, TypeError, ValueError):
        return True
    return False


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "XCom k is nan, which JSON cannot carry"),
        ({"a": ["\ud800"]}, r"XCom k['a'][0] holds the lone surrogate \ud800"),
        (10**4000, "XCom k is an integer of more than 4000 digits"),
        (timedelta.max, "XCom k is datetime.timedelta(days=999999999"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=14))), "so near to the ends of time"),
        (datetime.min.replace(tzinfo=UTC), "so near to the ends of time"),
    ],
)
def test_the_author_is_told_what_and_where(value: Any, words: str) -> None:
    with pytest.raises(limits.NotSerializable) as refused:
        xcom.encode(value, key="k")
    assert words in str(refused.value)


def test_a_timeout_that_is_no_number_of_seconds_is_refused() -> None:
    what = deferral.of_trigger("a.B", {}, next_method="go_on", next_kwargs={}, timeout=float("inf"))
    with pytest.raises(limits.NotSerializable, match="is inf, which JSON cannot carry"):
        deferral.text(what)


def test_what_is_shown_of_a_field_is_never_refused() -> None:
    value: Any = [10**5000, float("-inf"), {"a\0": "\ud800"}]
    assert limits.shown_value(value) == ["an integer of more than 4000 digits", "-inf", {r"a\x00": r"\ud800"}]
    endless: list[Any] = []
    endless.append(endless)
    limits.check(limits.shown_value(endless), "it")
