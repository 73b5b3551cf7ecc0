"""Assets over the public API and the UI's: Airflow's shapes, errors and rights, and what a person's event starts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from leoflowd.api.context import ApiContext
from leoflowd.contract.asset_spec import (
    AliasSpec,
    AllOf,
    AnyOf,
    AssetCondition,
    AssetNamed,
    AssetRecord,
    AssetSpec,
    WatcherSpec,
)
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.partition_spec import AssetPartitions
from leoflowd.core.asset_events import NewEvent, events_of
from leoflowd.scheduler.asset_runs import start_asset_run, start_asset_runs
from leoflowd.store import asset_events, asset_watchers, dags
from leoflowd.store.asset_events import AssetEventWrite
from tests.integration.api.api_client import START, Client, Clock
from tests.integration.api.test_conformance import _check
from tests.integration.scheduler.conftest import dag, task
from tests.integration.ui_documents import fits_the_ui

A = AssetSpec(name="a", uri="s3://bucket/a", group="raw", extra={"team": "data", "api_token": "hunter2"})
B = AssetSpec(name="b", uri="s3://bucket/b")
ALIAS = AliasSpec(name="daily")
API = "/api/v2/assets"
PRODUCER = dag("producer", task("make", outlets=(A, ALIAS)), task("read", "make", inlets=(A,)))
CONSUMER = dag("consumer", task("use"), asset_condition=AllOf(of=(A, B)))


async def register(api_context: ApiContext, *specs: DagSpec) -> None:
    async with api_context.db.api.transaction() as conn:
        for spec in specs:
            await dags.register_dag(conn, spec, now=START, fileloc="x", relative_fileloc="x")


async def run_of(api_context: ApiContext, dag_id: str, now: Any) -> bool:
    """What the clock does when it looks at this DAG."""
    async with api_context.db.scheduler.transaction() as conn:
        return await start_asset_run(conn, await dags.fetch_version(conn, dag_id), now)


@pytest.fixture
async def assets(api_context: ApiContext, admin: Client) -> Client:
    await register(api_context, PRODUCER, CONSUMER)
    return admin


async def ids(client: Client) -> dict[str, int]:
    return {row["name"]: row["id"] for row in (await client.get(API))["assets"]}


async def test_an_asset_is_shown_with_who_makes_reads_and_waits_for_it(assets: Client) -> None:
    answer = await assets.get(f"{API}?order_by=-name&name_prefix_pattern=")
    _check("get", API, 200, answer)
    b, a = answer["assets"]
    assert (a["name"], a["uri"], a["group"], a["extra"]) == (
        "a",
        "s3://bucket/a",
        "raw",
        {"team": "data", "api_token": "***"},
    )
    assert [use["dag_id"] for use in a["scheduled_dags"]] == ["consumer"]
    assert [(use["dag_id"], use["task_id"]) for use in a["producing_tasks"]] == [("producer", "make")]
    assert [(use["dag_id"], use["task_id"]) for use in a["consuming_tasks"]] == [("producer", "read")]
    assert b["last_asset_event"] == {"id": None, "timestamp": None}
    one = await assets.get(f"{API}/{a['id']}")
    _check("get", f"{API}/{{asset_id}}", 200, one)
    assert one == a
    assert (await assets.call("GET", f"{API}/999")).status_code == 404


async def test_what_is_watched_is_shown_with_the_asset_and_how_it_goes(api_context: ApiContext, admin: Client) -> None:
    watcher = WatcherSpec(name="inbox", trigger="x.FileDeleteTrigger", arguments={"filepath": "/tmp/f"})
    watched = AssetSpec(name="w", uri="w", watchers=(watcher,))
    await register(api_context, dag("c", task("t"), asset_condition=watched), dag("d", task("t", inlets=(watched,))))
    answer = await admin.get(API)
    _check("get", API, 200, answer)
    [shown] = answer["assets"][0]["watchers"]
    assert (shown["name"], datetime.fromisoformat(shown["created_date"])) == ("inbox", START)
    async with api_context.db.api.transaction() as conn:
        key, retry_at = asset_watchers.trigger_key(watcher), START + timedelta(seconds=4)
        await asset_watchers.mark_failed(conn, key, failures=2, error="no queue", retry_at=retry_at)
    rows = (await admin.get("/leoflow/api/watchers"))["watchers"]
    assert [(row["dag_id"], row["asset_name"], row["name"], row["trigger"]) for row in rows] == [
        ("c", "w", "inbox", "x.FileDeleteTrigger"),
        ("d", "w", "inbox", "x.FileDeleteTrigger"),
    ]
    assert {row["because"] for row in rows} == {
        "its trigger failed 2 times in a row and is started again in 4 s; last: no queue"
    }
    assert shown["trigger_id"] == min(row["id"] for row in rows)
    explained = (await admin.get("/api/v2/leoflow/explain/c"))["because"]
    assert explained[:2] == ["it is scheduled on 1 asset or aliases of them", "asset 'w': no event since the last run"]
    assert [one.partition(": its trigger failed 2 times")[0] for one in explained[2:]] == [
        "watcher 'inbox' of asset 'w'",
        "watcher 'inbox' of asset 'w'",
    ]
    await admin.send("POST", "/api/v2/assets/events", {"asset_id": answer["assets"][0]["id"]})
    assert "an event came at" in (await admin.get("/api/v2/leoflow/explain/c"))["because"][1]
    assert (await admin.call("GET", "/api/v2/leoflow/explain/nope")).status_code == 404


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name_pattern=A", ["a"]),
        ("uri_prefix_pattern=s3://bucket/b", ["b"]),
        ("dag_ids=producer", ["a"]),
        ("dag_ids=nobody", []),
        ("only_active=false", ["a", "b"]),
        ("limit=1&offset=1", ["b"]),
    ],
)
async def test_assets_are_filtered(assets: Client, query: str, names: list[str]) -> None:
    assert [row["name"] for row in (await assets.get(f"{API}?{query}"))["assets"]] == names


async def test_an_asset_that_nobody_names_is_listed_only_on_demand(assets: Client, api_context: ApiContext) -> None:
    await register(api_context, dag("consumer", task("use"), asset_condition=A))
    assert await ids(assets) == {"a": 1}
    every = await assets.get(f"{API}?only_active=false")
    assert [row["name"] for row in every["assets"]] == ["a", "b"]


async def test_aliases_are_listed(assets: Client) -> None:
    answer = await assets.get(f"{API}/aliases?name_pattern=dai")
    _check("get", f"{API}/aliases", 200, answer)
    [alias] = answer["asset_aliases"]
    assert alias == {"id": alias["id"], "name": "daily", "group": "asset"}
    assert await assets.get(f"{API}/aliases/{alias['id']}") == alias
    assert (await assets.call("GET", f"{API}/aliases/999")).status_code == 404


async def test_events_of_people_wait_and_start_a_run(assets: Client, api_context: ApiContext, clock: Clock) -> None:
    known = await ids(assets)
    made = await assets.send("POST", f"{API}/events", {"asset_id": known["a"], "extra": {"rows": 1}})
    _check("post", f"{API}/events", 200, made)
    assert (made["extra"], made["source_dag_id"]) == ({"rows": 1, "from_rest_api": True}, None)
    queued = await assets.get("/api/v2/dags/consumer/assets/queuedEvents")
    _check("get", "/api/v2/dags/{dag_id}/assets/queuedEvents", 200, queued)
    assert [(row["dag_id"], row["asset_id"]) for row in queued["queued_events"]] == [("consumer", known["a"])]
    one = await assets.get(f"/api/v2/dags/consumer/assets/{known['a']}/queuedEvents")
    assert one == queued["queued_events"][0]
    waiting = await assets.get("/ui/next_run_assets/consumer")
    assert [(row["name"], row["lastUpdate"] is not None) for row in waiting["events"]] == [("a", True), ("b", False)]
    fits_the_ui("NextRunAssetsResponse", waiting)
    assert [(row["last_update"], row["received_count"]) for row in waiting["events"]] == [
        (waiting["events"][0]["lastUpdate"], 1),
        (None, 0),
    ]
    assert not await run_of(api_context, "consumer", clock())

    clock.advance(1)
    await assets.send("POST", f"{API}/events", {"asset_id": known["b"]})
    assert await run_of(api_context, "consumer", clock())
    [run] = (await assets.get("/api/v2/dags/consumer/dagRuns?consuming_asset_pattern=bucket/a"))["dag_runs"]
    assert (run["run_type"], run["triggered_by"], run["logical_date"]) == ("asset_triggered", "asset", None)
    assert (await assets.get("/api/v2/dags/consumer/dagRuns?consuming_asset_pattern=none"))["dag_runs"] == []
    upstream = await assets.get(f"/api/v2/dags/consumer/dagRuns/{run['dag_run_id']}/upstreamAssetEvents")
    assert [event["name"] for event in upstream["asset_events"]] == ["a", "b"]
    events = await assets.get(f"{API}/events?order_by=-timestamp&asset_id={known['a']}")
    [reference] = events["asset_events"][0]["created_dagruns"]
    assert (reference["dag_id"], reference["run_id"]) == ("consumer", run["dag_run_id"])
    said = {event["name"]: event["created_dagruns"][0]["triggering"] for event in upstream["asset_events"]}
    assert said == {"a": False, "b": True}, "the last event of a run is the one that started it"
    assert (await assets.get("/api/v2/dags/consumer/assets/queuedEvents"))["queued_events"] == []


async def test_queued_events_are_deleted(assets: Client, api_context: ApiContext, clock: Clock) -> None:
    known = await ids(assets)
    for path in (
        f"/api/v2/dags/consumer/assets/{known['a']}/queuedEvents",
        "/api/v2/dags/consumer/assets/queuedEvents",
        f"{API}/{known['a']}/queuedEvents",
    ):
        await assets.send("POST", f"{API}/events", {"asset_id": known["a"]})
        assert (await assets.call("DELETE", f"{path}?before=2020-01-01T00:00:00Z")).status_code == 404
        await assets.send("DELETE", path, status=204)
        assert (await assets.call("DELETE", path)).status_code == 404
        assert (await assets.get(f"{API}/{known['a']}/queuedEvents"))["total_entries"] == 0
    await assets.send("POST", f"{API}/events", {"asset_id": known["b"]})
    assert not await run_of(api_context, "consumer", clock())


async def test_materializing_is_a_run_of_the_one_dag_that_makes_it(assets: Client, api_context: ApiContext) -> None:
    known = await ids(assets)
    run = await assets.send("POST", f"{API}/{known['a']}/materialize")
    assert (run["dag_id"], run["run_type"]) == ("producer", "asset_materialization")
    assert run["dag_run_id"].startswith("asset_materialization__")
    noted = await assets.send("POST", f"{API}/{known['a']}/materialize", {"note": "again", "partition_key": "eu"})
    assert (noted["note"], noted["partition_key"]) == ("again", "eu")
    [found] = (await assets.get("/api/v2/dags/producer/dagRuns?partition_key_pattern=e"))["dag_runs"]
    assert found["dag_run_id"] == noted["dag_run_id"]
    assert (await assets.call("POST", f"{API}/{known['b']}/materialize")).status_code == 404
    await register(api_context, dag("second", task("make", outlets=(A,))))
    assert (await assets.call("POST", f"{API}/{known['a']}/materialize")).status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        {"asset_id": 1, "extra": []},
        {"asset_id": "x"},
        {"extra": {}},
        {"asset_id": 1, "more": 1},
        {"asset_id": 1, "partition_key": "k" * 251},
    ],
)
async def test_an_odd_event_is_refused(assets: Client, body: dict[str, Any]) -> None:
    assert (await assets.call("POST", f"{API}/events", json=body)).status_code == 422
    assert (await assets.get(f"{API}/events"))["total_entries"] == 0


async def test_an_event_of_an_unknown_asset_is_404(assets: Client) -> None:
    await assets.send("POST", f"{API}/events", {"asset_id": 999}, status=404)


async def test_reading_takes_a_viewer_and_writing_an_operator(assets: Client, clients: dict[str, Client]) -> None:
    known = await ids(assets)
    assert await ids(clients["Viewer"]) == known
    for role in ("Viewer", "User"):
        await clients[role].send("POST", f"{API}/events", {"asset_id": known["a"]}, status=403)
        await clients[role].send("POST", f"{API}/{known['a']}/materialize", status=403)
        await clients[role].send("DELETE", f"{API}/{known['a']}/queuedEvents", status=403)
    await clients["Op"].send("POST", f"{API}/events", {"asset_id": known["a"]})


async def test_a_dag_shows_what_it_waits_for(assets: Client) -> None:
    known = await ids(assets)
    expression = {
        "all": [
            {"asset": {"id": known["a"], "name": "a", "uri": "s3://bucket/a", "group": "raw"}},
            {"asset": {"id": known["b"], "name": "b", "uri": "s3://bucket/b", "group": "asset"}},
        ]
    }
    details = await assets.get("/api/v2/dags/consumer/details")
    assert (details["asset_expression"], details["timetable_description"]) == (expression, "Triggered by assets")
    listed = await assets.get("/ui/dags?has_asset_schedule=true")
    assert [(row["dag_id"], row["asset_expression"]) for row in listed["dags"]] == [("consumer", expression)]
    for path in ("/ui/dags?asset_dependency=bucket/a", "/api/v2/dags?asset_dependency=b&has_asset_schedule=true"):
        assert [row["dag_id"] for row in (await assets.get(path))["dags"]] == ["consumer"]
    assert [row["dag_id"] for row in (await assets.get("/api/v2/dags?has_asset_schedule=false"))["dags"]] == [
        "producer"
    ]


async def test_runs_of_partitions_are_shown_while_they_wait_and_afterwards(
    api_context: ApiContext, admin: Client
) -> None:
    waiting = dag(
        "parts",
        task("t"),
        asset_condition=AllOf(of=(A, B)),
        partitions=AssetPartitions(),
        timetable_summary="Partitioned Asset",
    )
    await register(api_context, PRODUCER, waiting)
    async with api_context.db.api.transaction() as conn:
        for asset, key in ((A, "eu/1"), (A, "us"), (B, "us")):
            event = NewEvent(name=asset.name, uri=asset.uri, partition_key=key)
            await asset_events.insert_events(conn, [AssetEventWrite(event=event)], START)
    async with api_context.db.scheduler.transaction() as conn:
        assert await start_asset_runs(conn, await dags.fetch_version(conn, "parts"), START, at_most=9) == 1
    known = await ids(admin)
    listed = await admin.get("/ui/partitioned_dag_runs?dag_id=parts")
    assert (listed["total"], listed["asset_expressions"]) == (2, None)
    assert [
        (row["partition_key"], row["state"], row["total_received"], row["total_required"])
        for row in listed["partitioned_dag_runs"]
    ] == [("us", "queued", 2, 2), ("eu/1", "pending", 1, 2)]
    made, pending = listed["partitioned_dag_runs"]
    assert pending["created_dag_run_id"] is None
    assert made["created_dag_run_id"].startswith("asset_triggered__")
    every = await admin.get("/ui/partitioned_dag_runs?has_created_dag_run_id=false")
    assert [row["partition_key"] for row in every["partitioned_dag_runs"]] == ["eu/1"]
    assert every["asset_expressions"]["parts"]["all"][0]["asset"]["id"] == known["a"]
    detail = await admin.get("/ui/pending_partitioned_dag_run/parts/eu%2F1")
    assert (detail["total_received"], detail["total_required"]) == (1, 2)
    assert [(one["asset_name"], one["received"]) for one in detail["assets"]] == [("b", False), ("a", True)]
    assert [(one["received_keys"], one["required_keys"]) for one in detail["assets"]] == [
        ([], ["eu/1"]),
        (["eu/1"], ["eu/1"]),
    ]
    assert await admin.get("/ui/pending_partitioned_dag_run/parts?partition_key=eu%2F1") == detail
    assert (await admin.call("GET", "/ui/pending_partitioned_dag_run/parts")).status_code == 422
    for path, expected in (("pending_partitioned_dag_run/parts/us", 404), ("partitioned_dag_runs?dag_id=none", 404)):
        assert (await admin.call("GET", f"/ui/{path}")).status_code == expected
    shown = await admin.get("/ui/next_run_assets/parts")
    assert shown["pending_partition_count"] == 1
    assert [(one["name"], one["lastUpdate"] is not None) for one in shown["events"]] == [("a", True), ("b", False)]
    assert (await admin.get("/api/v2/dags/parts"))["timetable_partitioned"] is True
    assert "pending_partition_count" not in await admin.get("/ui/next_run_assets/producer")
    for kind, answer in (("Collection", listed), ("Collection", every), ("Detail", detail)):
        fits_the_ui(f"PartitionedDagRun{kind}Response", answer)


async def test_graphs_connect_dags_and_tasks_by_assets(assets: Client, api_context: ApiContext) -> None:
    known = await ids(assets)
    async with api_context.db.api.transaction() as conn:
        said = AssetRecord(name="dynamic", uri="u", alias="daily")
        writes = [AssetEventWrite(event=event) for event in events_of((ALIAS,), [said])]
        await asset_events.insert_events(conn, writes, START)
    a = f"asset:{known['a']}"
    graph = await assets.get("/ui/dependencies")
    edges = {(edge["source_id"], edge["target_id"]) for edge in graph["edges"]}
    [dynamic] = [node["id"] for node in graph["nodes"] if node["label"] == "dynamic"]
    assert edges == {
        ("dag:producer", a),
        (a, "dag:consumer"),
        (f"asset:{known['b']}", "dag:consumer"),
        ("dag:producer", "asset-alias:daily"),
        ("asset-alias:daily", dynamic),
    }
    data = await assets.get(f"/ui/dependencies?node_id={a}&dependency_type=data")
    make, read = "task:producer__SEPARATOR__make", "task:producer__SEPARATOR__read"
    assert {(e["source_id"], e["target_id"]) for e in data["edges"]} == {(make, a), (a, read)}
    assert {node["label"] for node in data["nodes"]} == {"a", "producer.make", "producer.read"}
    assert (await assets.call("GET", "/ui/dependencies?node_id=asset:999")).status_code == 404
    assert (await assets.call("GET", "/ui/dependencies?dependency_type=data&node_id=dag:x")).status_code == 400


@pytest.mark.parametrize(
    ("condition", "nodes", "edges"),
    [
        (A, {"1": "asset"}, {("1", "use")}),
        (
            AllOf(of=(A, AnyOf(of=(ALIAS, AssetNamed(name="n"))))),
            {
                "and-gate-0": "asset-condition",
                "1": "asset",
                "or-gate-1": "asset-condition",
                "daily": "asset-alias",
                "n": "asset-name-ref",
            },
            {
                ("and-gate-0", "use"),
                ("1", "and-gate-0"),
                ("or-gate-1", "and-gate-0"),
                ("daily", "or-gate-1"),
                ("n", "or-gate-1"),
            },
        ),
    ],
)
async def test_the_graph_of_a_dag_has_what_starts_it_and_what_it_makes(
    admin: Client,
    api_context: ApiContext,
    condition: AssetCondition,
    nodes: dict[str, str],
    edges: set[tuple[str, str]],
) -> None:
    await register(api_context, dag("d", task("use", outlets=(B,)), asset_condition=condition))
    known = await ids(admin)
    plain = await admin.get("/ui/structure/structure_data?dag_id=d")
    assert [node["id"] for node in plain["nodes"]] == ["use"]
    graph = await admin.get("/ui/structure/structure_data?dag_id=d&external_dependencies=true")
    found = {node["id"].replace(str(known["a"]), "1"): node["type"] for node in graph["nodes"]}
    b = f"asset:{known['b']}"
    assert found == {"use": "task", **nodes, b: "asset"}
    drawn = {(e["source_id"].replace(str(known["a"]), "1"), e["target_id"]) for e in graph["edges"]}
    assert drawn == {*edges, ("use", b)}
