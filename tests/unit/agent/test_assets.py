"""Events of assets as a task on the shim sees and makes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from leoflow_agent.runner import airflow_assets, assets, context
from leoflow_agent.runner.limits import NotSerializable, TooLarge
from leoflowd.authoring.compiler import SHIM
from leoflowd.contract.asset_spec import AssetEventFacts, AssetFacts, AssetRecord

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SHIM))
    import airflow.sdk.definitions.asset

    return airflow.sdk.definitions.asset


class Daemon:
    """Has events, and notes what it was asked."""

    def __init__(self, *events: AssetEventFacts, asset: AssetFacts | None = None) -> None:
        self.events = events
        self.asset = asset
        self.asked: list[dict[str, Any]] = []

    def __call__(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        assert kind == "asset_events"
        self.asked.append(dict(question))
        return {"events": msgspec.to_builtins(self.events), "asset": msgspec.to_builtins(self.asset)}


def fact(number: int, name: str = "a", **more: Any) -> AssetEventFacts:
    return AssetEventFacts(**{"id": number, "timestamp": AT, "name": name, "uri": f"s3://b/{name}", **more})


Build = Callable[..., dict[str, Any]]


@pytest.fixture
def build(sdk: Any) -> Build:
    def build(
        daemon: Daemon, *, inlets: Any = (), outlets: Any = (), run_type: str = "manual", known: Any = ()
    ) -> dict[str, Any]:
        task = SimpleNamespace(inlets=list(inlets), outlets=list(outlets))
        others = SimpleNamespace(inlets=list(known), outlets=[])
        events = assets.Events(daemon, context.moment, run_type)

        def pull(*ids: Any, **named: Any) -> Any:
            return [*ids, named]

        return events.context(task, pull, [SimpleNamespace(tasks=[task, others])])

    return build


def test_the_events_of_an_inlet_are_asked_for_when_they_are_looked_at(sdk: Any, build: Build) -> None:
    daemon = Daemon(fact(1, extra='{"n": 1}', asset_extra='{"of": "it"}', aliases=("x",)), fact(2))
    a = sdk.Asset("a", "s3://b/a")
    events = build(daemon, inlets=[a])["inlet_events"][a]
    assert daemon.asked == []
    assert [event.id for event in events] == [1, 2]
    assert [event.id for event in events[-1:]] == [2]
    assert daemon.asked == [{"name": "a", "uri": "s3://b/a", "ascending": True}]
    first = events[0]
    assert (first.extra, first.timestamp, first.uri) == ({"n": 1}, AT, "s3://b/a")
    assert first.asset == sdk.Asset("a", "s3://b/a", extra={"of": "it"})
    assert first.source_aliases == [sdk.AssetAlias("x")]
    assert first.source_task_instance is None


def test_events_may_be_narrowed(sdk: Any, build: Build) -> None:
    daemon = Daemon()
    events = build(daemon, inlets=[sdk.Asset("a")])["inlet_events"][0]
    assert len(events) == 0
    assert list(events.after("2026-01-01T00:00:00Z").before(AT).ascending(False).limit(3)) == []
    assert daemon.asked[1] == {
        "name": "a",
        "uri": "a",
        "after": datetime(2026, 1, 1, tzinfo=UTC),
        "before": AT,
        "ascending": False,
        "limit": 3,
    }


@pytest.mark.parametrize(
    ("inlet", "key", "question"),
    [
        ("Asset('a', 's3://b/a')", "Asset.ref(name='a')", {"name": "a"}),
        ("Asset('a', 's3://b/a')", "Asset.ref(uri='s3://b/a')", {"uri": "s3://b/a"}),
        ("Asset.ref(name='a')", "Asset('a', 's3://b/a')", {"name": "a", "uri": "s3://b/a"}),
        ("Asset.ref(name='a')", "Asset.ref(name='a')", {"name": "a"}),
        ("Asset.ref(uri='u')", "Asset.ref(uri='u')", {"uri": "u"}),
        ("AssetAlias('a')", "AssetAlias('a', group='g')", {"alias": "a"}),
    ],
)
def test_an_inlet_is_found_by_what_names_it(
    sdk: Any, build: Build, inlet: str, key: str, question: dict[str, Any]
) -> None:
    daemon = Daemon()
    found = build(daemon, inlets=[eval(inlet, vars(sdk))])["inlet_events"]
    assert list(found[eval(key, vars(sdk))]) == []
    assert daemon.asked == [{**question, "ascending": True}]


@pytest.mark.parametrize("key", ["Asset('a', 'other')", "Asset('b')", "Asset.ref(name='b')", "AssetAlias('a')"])
def test_what_is_no_inlet_has_no_events(sdk: Any, build: Build, key: str) -> None:
    found = build(Daemon(), inlets=[sdk.Asset("a")])["inlet_events"]
    with pytest.raises(KeyError):
        found[eval(key, vars(sdk))]
    assert [*found, len(found)] == [sdk.Asset("a"), 1]


def test_inlets_are_named_in_templates(sdk: Any, build: Build) -> None:
    daemon = Daemon(fact(1))
    found = build(daemon, inlets=[sdk.Asset("a", "s3://b/a"), sdk.AssetAlias("x")])["inlet_events"]
    assert found.for_asset(uri="s3://b/a")[-1].id == 1
    assert found.for_asset(name="a", uri="s3://b/a")[0].id == 1
    assert found.for_asset_alias(name="x")[0].id == 1
    assert [question.get("alias") for question in daemon.asked] == [None, None, "x"]


def test_the_task_of_an_event_gives_its_xcoms(sdk: Any, build: Build) -> None:
    source = {"source_dag_id": "d", "source_run_id": "r", "source_task_id": "t", "source_map_index": 2}
    daemon = Daemon(fact(1, **source), fact(2, **{**source, "source_map_index": -1}))
    mapped, plain = build(daemon, inlets=[sdk.Asset("a")])["inlet_events"][0]
    asked = {"dag_id": "d", "run_id": "r", "key": "k", "map_indexes": 2, "default": 5}
    assert mapped.source_task_instance.xcom_pull(key="k", default=5) == ["t", asked]
    assert plain.source_task_instance.xcom_pull() == [
        "t",
        {**asked, "key": "return_value", "map_indexes": None, "default": None},
    ]


def test_the_events_that_started_the_run_are_known_by_asset_and_alias(sdk: Any, build: Build) -> None:
    daemon = Daemon(fact(1), fact(2, "b", aliases=("x",)), fact(3))
    found = build(daemon, run_type="asset_triggered")["triggering_asset_events"]
    a, b, x = sdk.Asset("a", "s3://b/a"), sdk.Asset("b", "s3://b/b"), sdk.AssetAlias("x")
    assert {key: [event.id for event in events] for key, events in found.items()} == {a: [1, 3], b: [2], x: [2]}
    assert [event.id for event in found[sdk.Asset.ref(name="a")]] == [1, 3]
    assert [event.id for event in found.for_asset(uri="s3://b/b")] == [2]
    with pytest.raises(KeyError):
        found[sdk.Asset.ref(name="c")]
    assert daemon.asked == [{"triggering": True}], "once, however often they are looked at"


def test_a_run_that_no_event_started_asks_for_none(sdk: Any, build: Build) -> None:
    daemon = Daemon(fact(1))
    assert dict(build(daemon, run_type="scheduled")["triggering_asset_events"]) == {}
    assert daemon.asked == []


def test_what_is_said_of_outlets_goes_with_the_outcome(sdk: Any, build: Build) -> None:
    a, alias = sdk.Asset("a", "s3://b/a"), sdk.AssetAlias("x")
    said = build(Daemon(), outlets=[a, alias], known=[a])["outlet_events"]
    said[a].extra = {"n": 1}
    said[sdk.Asset.ref(name="a")].extra["m"] = 2
    said[alias].add(sdk.Asset("new", "s3://b/new", group="g", extra={"of": "it"}), extra={"k": [1]})
    said[alias].add(sdk.Asset.ref(uri="s3://b/a"))
    said[a].add(sdk.Asset("not an alias"))
    assert [*said] == [a, alias]
    assert msgspec.convert(said.records(), list[AssetRecord]) == [
        AssetRecord(name="a", uri="s3://b/a", extra='{"n": 1, "m": 2}'),
        AssetRecord(name="new", uri="s3://b/new", group="g", asset_extra='{"of": "it"}', alias="x", extra='{"k": [1]}'),
        AssetRecord(name="a", uri="s3://b/a", alias="x"),
    ]


@pytest.mark.parametrize(
    ("extra", "error", "words"),
    [
        ([1], TypeError, "must be a dict"),
        ({"f": len}, NotSerializable, "extra of asset 'a'"),
        ({"x": "y" * 70_000}, TooLarge, "extra of asset 'a'"),
    ],
)
def test_an_extra_is_json_of_a_bounded_size(
    sdk: Any, build: Build, extra: Any, error: type[Exception], words: str
) -> None:
    said = build(Daemon())["outlet_events"]
    said[sdk.Asset("a")].extra = extra
    with pytest.raises(error, match=re.escape(words)):
        said.records()


def test_all_of_it_together_is_bounded(sdk: Any, build: Build) -> None:
    said = build(Daemon())["outlet_events"]
    for number in range(200):
        said[sdk.Asset(f"a{number}")].extra = {"x": "y" * 60_000}
    with pytest.raises(TooLarge, match="what it says of assets"):
        said.records()


def test_a_name_stands_for_an_asset_of_the_file_or_of_another(sdk: Any, build: Build) -> None:
    daemon = Daemon(asset=AssetFacts(name="far", uri="s3://b/far", group="g", extra='{"n": 1}'))
    said = build(daemon, known=[sdk.AssetAlias("far"), sdk.Asset("near", "s3://b/near")])["outlet_events"]
    assert said.asset_named("near").uri == "s3://b/near"
    assert daemon.asked == []
    assert said.asset_named("far") == sdk.Asset("far", "s3://b/far", group="g", extra={"n": 1})
    assert daemon.asked == [{"name": "far", "limit": 1}]
    daemon.asset = AssetFacts(name="bare", uri="bare")
    assert said.asset_named("bare") == sdk.Asset("bare")
    daemon.asset = None
    with pytest.raises(LookupError, match="there is no active asset 'gone'"):
        said.asset_named("gone")


def test_only_assets_and_aliases_have_events(sdk: Any, build: Build) -> None:
    found = build(Daemon(), run_type="asset_triggered")
    for name in ("outlet_events", "triggering_asset_events"):
        with pytest.raises(TypeError, match="either an asset or an asset alias"):
            found[name]["a"]
        with pytest.raises(ValueError, match="cannot both be None"):
            found[name].for_asset()


def test_a_returned_asset_that_is_no_outlet_is_told_of(sdk: Any, caplog: pytest.LogCaptureFixture) -> None:
    a, b = sdk.Asset("a"), sdk.Asset("b")
    assets.tell_of_returned([a, 1], [sdk.AssetAlias("b"), a])
    assert caplog.text == ""
    assets.tell_of_returned(b, [sdk.AssetAlias("b"), a])
    assert "asset 'b', which is none of its outlets" in caplog.text


def test_what_the_sdk_says_of_outlets_has_the_same_form(sdk: Any) -> None:
    key = {"name": "a", "uri": "s3://b/a"}
    said = [
        {"dest_asset_key": key, "extra": {"n": 1}},
        {"source_alias_name": "x", "dest_asset_key": key, "dest_asset_extra": {"of": "it"}, "extra": {}},
    ]
    assert msgspec.convert(airflow_assets.records(said), list[AssetRecord]) == [
        AssetRecord(**key, extra='{"n": 1}'),
        AssetRecord(**key, alias="x", asset_extra='{"of": "it"}'),
    ]


def test_events_have_the_fields_of_the_sdk() -> None:
    one = msgspec.to_builtins(fact(1, extra='{"n": 1}', asset_extra='{"m": 2}', aliases=("x",), source_task_id="t"))
    event, triggering = airflow_assets.event(one), airflow_assets.triggering(one)
    assert event["asset"] == {"name": "a", "uri": "s3://b/a", "group": "asset", "extra": {"m": 2}}
    assert (event["id"], event["extra"], event["source_task_id"]) == (1, {"n": 1}, "t")
    assert triggering["asset"] == {"name": "a", "uri": "s3://b/a", "extra": {"m": 2}}
    assert (triggering["source_aliases"], json.dumps(triggering["extra"])) == ([{"name": "x"}], '{"n": 1}')
