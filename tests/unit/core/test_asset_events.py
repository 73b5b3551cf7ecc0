"""Which events a success makes, and what is recorded for nothing."""

from __future__ import annotations

from leoflowd.contract.asset_spec import AliasSpec, AssetAt, AssetNamed, AssetRecord, AssetSpec
from leoflowd.core.asset_events import NewEvent, events_of, refused_records

A, B = AssetSpec(name="a", uri="u://a"), AssetSpec(name="b", uri="u://b")
X, Y = AliasSpec(name="x"), AliasSpec(name="y")


def said(name: str, **fields: str) -> AssetRecord:
    return AssetRecord(name=name, uri=f"u://{name}", **fields)


def test_each_outlet_gets_one_event_with_what_was_recorded_last() -> None:
    records = [said("a", extra='{"n": 1}'), said("a", extra='{"n": 2}', partition_key="p")]
    assert events_of((A, B, A), records) == (
        NewEvent(name="a", uri="u://a", extra='{"n": 2}', partition_key="p"),
        NewEvent(name="b", uri="u://b"),
    )


def test_a_reference_takes_what_was_recorded_for_its_name_or_uri() -> None:
    record = said("a", extra='{"n": 1}')
    assert events_of((AssetNamed(name="a"), AssetAt(uri="u://a"), AssetAt(uri="u://b")), [record]) == (
        NewEvent(name="a", extra='{"n": 1}'),
        NewEvent(uri="u://a", extra='{"n": 1}'),
        NewEvent(uri="u://b"),
    )


def test_an_alias_has_events_only_of_what_was_added_to_it() -> None:
    assert events_of((X, Y), []) == ()
    records = [said("a", alias="y"), said("a", alias="x"), said("b", alias="x", group="g", asset_extra='{"k": 1}')]
    assert events_of((X, Y), records) == (
        NewEvent(name="a", uri="u://a", aliases=("x", "y")),
        NewEvent(name="b", uri="u://b", aliases=("x",), group="g", asset_extra='{"k": 1}'),
    )


def test_what_is_no_outlet_is_refused() -> None:
    records = [said("a"), said("b"), said("b", alias="x"), said("b", alias="z")]
    assert refused_records((A, X), records) == (records[1], records[3])
    assert refused_records((AssetNamed(name="b"), AssetAt(uri="u://a")), records[:2]) == ()
    assert [event.name for event in events_of((A, X), records)] == ["a", "b"]
