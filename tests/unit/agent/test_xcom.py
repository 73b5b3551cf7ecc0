"""Values of tasks as JSON text and back."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import ModuleType
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
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
        pendulum.date(2026, 3, 1),
        UUID(int=7),
        ZoneInfo("Europe/Zurich"),
        pendulum.timezone("Europe/Zurich"),
        pendulum.FixedTimezone(7200),
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


def test_a_named_tuple_becomes_a_tuple_as_in_airflow():
    assert _round_trip(namedtuple("Pair", "a b")(1, 2)) == (1, 2)  # noqa: PYI024


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


def test_the_limit_is_what_the_daemon_takes_and_names_the_setting():
    text = "x" * limits.XCOM_MAX_BYTES
    with pytest.raises(xcom.TooLarge, match=r"have the operator raise the limit .LEOFLOW_XCOMS_LARGE_URL."):
        xcom.encode(text, key="k")
    limits.take_xcoms_of(300_000)
    try:
        assert len(xcom.encode(text, key="k")) == len(text) + 2
        with pytest.raises(xcom.TooLarge, match=r"limit of 300000 bytes.*LEOFLOW_XCOMS_LARGE_MAX_BYTES"):
            xcom.encode("x" * 300_000, key="k")
    finally:
        limits.take_xcoms_of(None)


@pytest.mark.parametrize("key", [0, 1.5, None, True, ("a", 1)])
def test_keys_that_are_no_text_become_text_as_in_airflow(key):
    assert _round_trip({"rows": {key: "a"}}) == {"rows": {str(key): "a"}}


# --- objects -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: int
    when: date


@attrs.define
class Pair:
    a: object
    _hidden: int = attrs.field(default=3, init=False)


class Own:
    __version__ = 2

    def __init__(self, value):
        self.value = value

    def serialize(self):
        return {"value": self.value}

    @staticmethod
    def deserialize(data, version):
        return Own([data["value"], version])


class Model:
    """As pydantic marks its models."""

    __pydantic_fields__ = {}
    __pydantic_validator__ = None

    def __init__(self, value):
        self.value = value

    def model_dump(self, mode):
        return {"mode": mode, "value": self.value}

    @classmethod
    def model_validate(cls, data):
        return cls(data["value"])


@pytest.fixture
def _allowed(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES", f"airflow.* {__name__}.P* {__name__}.Model")
    monkeypatch.setenv("AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES_REGEXP", rf"{__name__}\.O..")


@pytest.mark.usefixtures("_allowed")
def test_an_object_comes_back_by_its_own_class():
    assert _round_trip(Point(1, date(2026, 1, 1))) == Point(1, date(2026, 1, 1))
    assert _round_trip([Pair(Point(1, date(2026, 1, 1)))]) == [Pair(Point(1, date(2026, 1, 1)))]
    assert _round_trip(Own((1, 2))).value == [(1, 2), 2]
    assert _round_trip(Model(5)).value == 5


def test_objects_have_the_form_of_airflow():
    def form(value):
        written = xcom.plain(value, "k")
        return written["__classname__"].rpartition(".")[2], written["__version__"], written["__data__"]

    day = {"__classname__": "datetime.date", "__version__": 2, "__data__": "2026-01-01"}
    assert form(Point(1, date(2026, 1, 1))) == ("Point", 0, {"x": 1, "when": day})
    assert form(Pair(1)) == ("Pair", 0, {"a": 1})
    assert form(Own(1)) == ("Own", 2, {"value": 1})
    assert form(Model(5)) == ("Model", 1, {"mode": "json", "value": 5})


@pytest.mark.usefixtures("_allowed")
@pytest.mark.parametrize(
    ("name", "version", "data", "message"),
    [
        ("os.system", 1, "true", "allowed_deserialization_classes does not name"),
        (f"{__name__}.Owner", 1, {}, "allowed_deserialization_classes does not name"),
        (f"{__name__}.Pointless", 0, {}, "cannot import.*`dependencies`"),
        (f"{__name__}.Point", 1, {}, "version 1 .* newer"),
        (f"{__name__}.Point", 0, [], "no fields"),
        ("airflow.sdk.Variable", 1, {}, "cannot import|no deserialize"),
    ],
)
def test_a_class_that_may_not_or_cannot_be_loaded_is_an_error_that_says_so(name, version, data, message):
    with pytest.raises((ImportError, TypeError), match=message):
        xcom.decode({"__classname__": name, "__version__": version, "__data__": data})


def test_an_envelope_cannot_be_made_by_hand():
    with pytest.raises(xcom.NotSerializable, match=r"k\['a'\] has the key __classname__"):
        xcom.encode({"a": {"__classname__": "os.system", "__version__": 1}}, key="k")


@pytest.fixture
def numpy(monkeypatch):
    """A stand-in: the suite does without numpy."""
    module = ModuleType("numpy")
    for name, base in (("int64", object), ("float64", float), ("bool_", object), ("ndarray", object)):
        members = {"__module__": "numpy", "__init__": lambda self, value: setattr(self, "value", value)}
        if base is object:
            members["__int__"] = members["__bool__"] = lambda self: self.value
        setattr(module, name, type(name, (base,), members))
    module.ndarray.tolist = None
    module.bool_.__name__ = module.bool_.__qualname__ = "bool"  # as numpy 2 names it
    monkeypatch.setitem(sys.modules, "numpy", module)
    return module


def test_numbers_of_numpy_come_back_as_they_were(numpy):
    for value in (numpy.int64(3), numpy.float64(0.5), numpy.bool_(True)):
        assert type(_round_trip(value)) is type(value)
        assert _round_trip(value).value == value.value
    assert xcom.plain(numpy.bool_(True), "k") == {
        "__classname__": "numpy.bool",
        "__version__": 1,
        "__data__": True,
    }


def test_what_airflow_cannot_carry_names_what_to_return_instead(numpy):
    with pytest.raises(xcom.NotSerializable, match=r"numpy.ndarray.*for instance its `.tolist\(\)`"):
        xcom.encode(numpy.ndarray(1), key="k")
    with pytest.raises(xcom.NotSerializable, match=r"generator.*`list\(\)`"):
        xcom.encode((one for one in ()), key="k")


def test_a_frame_without_pyarrow_says_what_to_add(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    frame = type("DataFrame", (), {"__module__": "pandas.core.frame"})
    with pytest.raises(xcom.NotSerializable, match=r"add pyarrow to `dependencies`.*to_dict"):
        xcom.encode(frame(), key="k")
