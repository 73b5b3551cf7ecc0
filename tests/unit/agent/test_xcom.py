"""Values of tasks as JSON text and back."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from zoneinfo import ZoneInfo

import pytest

from leoflow_agent.runner import xcom
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES


def _round_trip(value):
    return xcom.decode(json.loads(xcom.encode(value, key="return_value")))


def test_the_limit_is_the_contracts():
    assert xcom.MAX_BYTES == XCOM_MAX_BYTES


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [1, 2.5, "x", {"a": None}],
        (1, (2, "x")),
        {1, 2},
        frozenset({"a"}),
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        datetime(2026, 3, 1, 12, tzinfo=ZoneInfo("Europe/Zurich")),
        datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=-3))),
        datetime(2026, 3, 1, 12),  # noqa: DTZ001  authors return such values
        date(2026, 3, 1),
        timedelta(days=1, seconds=2),
        Decimal("1.10"),
        {"deep": [{"when": date(2026, 1, 1)}]},
    ],
)
def test_a_value_comes_back_as_it_was(value):
    result = _round_trip(value)
    assert result == value
    assert type(result) is type(value)


def test_subclasses_of_json_types_become_those_types():
    class Colour(IntEnum):
        RED = 1

    assert _round_trip([Colour.RED, OrderedDict(a=1)]) == [1, {"a": 1}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "return_value is of type builtins.object"),
        ({"a": [b"x"]}, r"return_value\['a'\]\[0\] is of type builtins.bytes"),
        ({1: 2}, "key 1 of type int"),
        (float("nan"), "nan"),
    ],
)
def test_what_cannot_be_stored_says_where_and_why(value, message):
    with pytest.raises(xcom.NotSerializable, match=message):
        xcom.encode(value, key="return_value")


def test_a_value_that_contains_itself_is_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(xcom.NotSerializable, match="contains itself"):
        xcom.encode(value, key="k")


def test_the_limit_counts_bytes_of_json():
    assert len(xcom.encode("x" * (xcom.MAX_BYTES - 2), key="k")) == xcom.MAX_BYTES
    with pytest.raises(xcom.TooLarge, match="262145 bytes"):
        xcom.encode("x" * (xcom.MAX_BYTES - 1), key="k")
