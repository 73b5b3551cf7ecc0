"""Envelopes of XCom values become readable; everything else stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.core.xcom_display import link_name, link_url, readable, reserved_key


def envelope(name: str, data: Any, version: int = 1) -> dict[str, Any]:
    return {"__classname__": name, "__version__": version, "__data__": data}


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (None, None),
        ([1, {"a": "b"}], [1, {"a": "b"}]),
        (envelope("builtins.tuple", [1, envelope("builtins.set", [2]), None, {"a": True}]), "(1,(2),None,{'a': True})"),
        (envelope("datetime.date", "2026-01-02"), "datetime.date@version=1(2026-01-02)"),
        (envelope("decimal.Decimal", "1.10"), "decimal.Decimal@version=1(1.10)"),
        (
            envelope("datetime.datetime", {"timestamp": 0.5, "tz": envelope("builtins.tuple", ["UTC", 1])}, 2),
            "datetime.datetime@version=2(timestamp=0.5,tz=(UTC,1))",
        ),
        (envelope("my.Thing", {"x": 1, "y": [1]}, 3), "my.Thing@version=3(x=1,y=[1])"),
        (envelope("my.Thing", [1, "a"]), "my.Thing@version=1(1,a)"),
        (envelope("builtins.tuple", "broken"), "builtins.tuple@version=1(broken)"),
        ({"__classname__": "my.Thing", "__version__": 0}, "my.Thing@version=0()"),
        ({"__classname__": "only a key"}, {"__classname__": "only a key"}),
        ({"deep": [envelope("uuid.UUID", "2")]}, {"deep": ["uuid.UUID@version=1(2)"]}),
    ],
)
def test_readable(stored: Any, shown: Any) -> None:
    assert readable(stored) == shown


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None),
        ({"a": [1, {"b": "__data__"}]}, None),
        ({"a": [1, {"__data__": None}]}, "__data__"),
        ([[{"__var": 1}]], "__var"),
    ],
)
def test_keys_of_serializers_are_found_however_deep(value: Any, found: str | None) -> None:
    assert reserved_key(value) == found


def test_a_link_is_named_after_its_class_and_leads_to_the_web_only() -> None:
    assert link_name("_link_EmrClusterLink") == "Emr Cluster Link"
    assert link_url('"https://x/y"') == "https://x/y"
    assert [link_url(text) for text in ('"javascript:alert(1)"', '""', "null", "5", None)] == [None] * 5
