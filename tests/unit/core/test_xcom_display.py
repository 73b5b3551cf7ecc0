"""Envelopes of XCom values become readable; everything else stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.core.xcom_display import readable


def envelope(name: str, data: Any, version: int = 1) -> dict[str, Any]:
    return {"__classname__": name, "__version__": version, "__data__": data}


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (None, None),
        ([1, {"a": "b"}], [1, {"a": "b"}]),
        (envelope("builtins.tuple", [1, envelope("builtins.set", [2])]), [1, [2]]),
        (envelope("datetime.date", "2026-01-02"), "2026-01-02"),
        (envelope("decimal.Decimal", "1.10"), "1.10"),
        (envelope("datetime.timedelta", 90061), "1 day, 1:01:01"),
        (envelope("datetime.datetime", {"timestamp": 0.5, "tz": "UTC"}, 2), "1970-01-01T00:00:00.500000Z"),
        (envelope("my.Thing", {"x": 1}, 3), "my.Thing@version=3({'x': 1})"),
        (envelope("datetime.datetime", "broken"), "datetime.datetime@version=1(broken)"),
        ({"__classname__": "only a key"}, {"__classname__": "only a key"}),
        ({"deep": [envelope("decimal.Decimal", "2")]}, {"deep": ["2"]}),
    ],
)
def test_readable(stored: Any, shown: Any) -> None:
    assert readable(stored) == shown
