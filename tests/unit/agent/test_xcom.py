"""Values of tasks as JSON text and back."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from zoneinfo import ZoneInfo

import pendulum
import pytest

from leoflow_agent.runner import limits, xcom
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES


def _round_trip(value):
    return xcom.decode(json.loads(xcom.encode(value, key="return_value")))


def test_the_limit_is_the_contracts():
    assert limits.XCOM_MAX_BYTES == XCOM_MAX_BYTES


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
        b"\x00\xff",
        pendulum.datetime(2026, 3, 1, tz="Europe/Zurich"),
        pendulum.datetime(2026, 3, 1, tz=pendulum.FixedTimezone(7200)),
        pendulum.naive(2026, 3, 1),
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

    class Shape(str, Enum):  # noqa: UP042  `str()` of these is not their value, unlike a StrEnum
        ROUND = "round"

    assert _round_trip([Colour.RED, Shape.ROUND, OrderedDict(a=1)]) == [1, "round", {"a": 1}]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (datetime(2026, 3, 1, tzinfo=UTC), ["UTC", "pendulum.tz.timezone.FixedTimezone", 1, True]),
        (datetime(2026, 3, 1, tzinfo=ZoneInfo("Asia/Tokyo")), ["Asia/Tokyo", "zoneinfo.ZoneInfo", 1, True]),
        (
            datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=-3))),
            [-10800, "pendulum.tz.timezone.FixedTimezone", 1, True],
        ),
    ],
)
def test_a_moment_has_the_form_that_airflow_reads(value, data):
    written = json.loads(xcom.encode(value, key="k"))
    zone = {"__classname__": "builtins.tuple", "__version__": 1, "__data__": data}
    assert written == {
        "__classname__": "datetime.datetime",
        "__version__": 2,
        "__data__": {"timestamp": value.timestamp(), "tz": zone},
    }


@pytest.mark.parametrize("zone", ["UTC", "+0000", "Europe/London"])
def test_the_form_of_our_first_releases_is_still_read(zone):
    written = {"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 0.0, "tz": zone}}
    assert xcom.decode(written) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "return_value is of type builtins.object"),
        ({"a": [slice(1)]}, r"return_value\['a'\]\[0\] is of type builtins.slice"),
        (Enum("Size", "LARGE").LARGE, "Size, which cannot be stored.*`.value`"),
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
    assert len(xcom.encode("x" * (limits.XCOM_MAX_BYTES - 2), key="k")) == limits.XCOM_MAX_BYTES
    with pytest.raises(xcom.TooLarge, match="262145 bytes"):
        xcom.encode("x" * (limits.XCOM_MAX_BYTES - 1), key="k")


@pytest.mark.parametrize("key", [0, 1.5, None, True, ("a", 1)])
def test_keys_that_are_no_text_become_text_as_in_airflow(key):
    assert _round_trip({"rows": {key: "a"}}) == {"rows": {str(key): "a"}}
