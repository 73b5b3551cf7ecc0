"""A DAG that somebody may not see: nothing of it comes out of any route, no write reaches it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from quart_trio import QuartTrio

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.api.rights import NEEDS, SAFE_METHODS, Object
from leoflowd.contract.asset_spec import AliasSpec, AssetSpec, WatcherSpec
from leoflowd.contract.callback_spec import CallbackCall, NewCallback
from leoflowd.core.asset_events import NewEvent
from leoflowd.core.backfills import Asked
from leoflowd.core.canary import CanaryTerms
from leoflowd.core.rights import Right
from leoflowd.store import asset_events, assets, canaries, roles
from leoflowd.store.backfills import NewBackfill, insert_backfill
from leoflowd.store.callbacks import insert_callbacks, list_open, mark_ended
from leoflowd.store.dags import fetch_version, put_import_error
from leoflowd.store.database import Connection
from leoflowd.store.event_log import insert_event
from leoflowd.store.partition_runs import Received, receive_events
from tests.fakes.fake_pool import STATISTICS, FakePool
from tests.integration.api.addresses import NOWHERE, addresses
from tests.integration.api.api_client import START, Client
from tests.integration.api.api_seed import DAG, DONE, OPEN, SPEC, seed
from tests.integration.api.people import logged_in, put_role, put_user, somebody_with
from tests.integration.api.test_operations import token_of
from tests.integration.api.wait_seed import put_question, put_wait

SHOWN = "other"
WORDS = (b"etl", b"extract", b"transform", b"manual__", b"Loads", b"daily", b"betrayed")
"""What gives the hidden DAG away."""
TASK = f"/api/v2/dags/{DAG}/dagRuns/{DONE}/taskInstances/extract"
QUERIES = {
    "own_log_search.search_logs": "?text=state",
    "ui_structure.structure_data": f"?dag_id={DAG}",
    "public_backfills.list_backfills": f"?dag_id={DAG}",
    "public_dag_runs.wait_dag_run": "?interval=1",
    "own_versions.diff": "?from=1&to=1",
    "own_run_diff.diff": f"?other={OPEN}",
    "ui_assets.pending_partition": "?partition_key=betrayed",
    "ui_dags.historical_metrics_data": "?start_date=2026-11-01T00:00:00Z",
    "public_dags.list_dags": "?exclude_stale=false",
}
"""What a GET needs besides its path."""
WATCHER = WatcherSpec(name="betrayed", trigger="x.Y")
ASSET, ALIAS = AssetSpec(name="betrayed", uri="s3://betrayed", watchers=(WATCHER,)), AliasSpec(name="betrayed")
WITH_ASSETS = msgspec.structs.replace(
    SPEC,
    tasks=(msgspec.structs.replace(SPEC.tasks[0], outlets=(ASSET, ALIAS)), *SPEC.tasks[1:]),
    asset_condition=ASSET,
)
ASKED = {"dag_id": DAG, "from_date": "2026-11-01T00:00:00Z", "to_date": "2026-11-03T00:00:00Z"}
BACKFILL = NewBackfill(
    dag_id=DAG,
    asked=Asked(from_date=START - timedelta(days=9), to_date=START - timedelta(days=8)),
    max_active_runs=1,
    run_on_latest_version=True,
    user="admin",
)
SILENT = frozenset(
    {
        # nothing in the seed that they could tell: no mapped instance; empty until the feature exists; numbers only
        "public_task_instances.get_mapped_task_instance",
        "public_task_instances.list_mapped_tries",
        "public_task_instances.get_mapped_try",
        "public_task_instances.list_mapped_dependencies",
        "public_logs.get_external_log_url",
        "ui_dags.dag_stats",
        "ui_dags.dag_run_stats",
        "ui_deadlines.list_deadline_alerts",
        "public_state_stores.list_task_state_store",
        "public_state_stores.list_asset_state_store",
        "ui_dags.historical_metrics_data",
        "own_waits.get_pool",
        "own_callbacks.get_callback_log",
    }
)


class World(msgspec.Struct, frozen=True):
    """One database, asked by somebody who sees everything and by somebody from whom `DAG` is hidden."""

    app: QuartTrio
    everything: Client
    restricted: Client
    ids: dict[str, str]
    pool: FakePool


WAYS = ("dag:other", "dag:oth*", "tag:shown", "team:sales", "my-teams")
"""In which a role can be about `SHOWN` and not about `DAG`."""


async def _put_ana(conn: Connection, dags: str) -> None:
    """Everything a role of one's own can give, on `SHOWN` alone."""
    await conn.execute(b"UPDATE dag SET tags = '{shown}' WHERE dag_id = 'other'")
    await roles.insert_team(conn, "sales", START)
    await roles.insert_team(conn, "others", START)
    await roles.add_to_team(conn, "others", usernames=["admin"], patterns=["*"])
    await put_role(conn, "on some", {"operate": dags})
    await put_role(conn, "clerk", {"settings": "all"})
    await put_user(conn, "ana", ["on some", "clerk"])
    await roles.add_to_team(conn, "sales", usernames=["ana"], patterns=["other", "nothing_*"])


@pytest.fixture
async def world(api_context: ApiContext, admin: Client, request: pytest.FixtureRequest) -> World:
    await seed(api_context)
    db, pool = api_context.db, FakePool()
    pool.shown = msgspec.structs.replace(
        STATISTICS, quarantined=(msgspec.structs.replace(STATISTICS.quarantined[0], reason="betrayed"),)
    )
    wait_id = await put_wait(db)
    pool.watch(wait_id)
    for run_id, task_id in ((DONE, "extract"), (OPEN, "load")):
        await put_question(db, run_id=run_id, task_id=task_id, subject="betrayed")
    async with db.api.transaction() as conn:
        await _put_ana(conn, getattr(request, "param", "my-teams"))
        callback_id = await _put_callback(conn)
        await conn.execute(
            b"INSERT INTO deadline (dag_run_id, position, deadline_time, created_at)"
            b" SELECT id, 0, %(now)s, %(now)s FROM dag_run WHERE run_id = %(run)s",
            {"now": START, "run": DONE},
        )
        await put_import_error(
            conn, filename=f"{DAG}/dag.py", bundle_name="workspace", stack_trace="betrayed", now=START
        )
        extra = {"asked_by": {"dag_id": DAG, "run_id": DONE, "task_id": "extract"}}
        await insert_event(conn, now=START, event="trigger_dag_run", owner=None, dag_id=SHOWN, extra=extra)
        events = await _column(conn, b"SELECT id FROM event_log WHERE event = 'seeded'")
        backfill_id = await insert_backfill(conn, BACKFILL, START)
        first = await fetch_version(conn, DAG, 1)
        await canaries.start(conn, DAG, first.id, CanaryTerms(share=1), by="betrayed", now=START)
        late = {"at": START - timedelta(minutes=1), "dag_id": DAG}
        await conn.execute(b"UPDATE dag SET next_run_after = %(at)s WHERE dag_id = %(dag_id)s", late)
        errors = await _column(conn, b"SELECT id FROM import_error WHERE stack_trace = 'betrayed'")
    asset_id, alias_id = await _hide_an_asset(api_context)
    context = dataclasses.replace(api_context, pool=pool)
    app = create_app(context)
    restricted = await logged_in(app, "ana")
    ids = {
        "dag_id": DAG,
        "run_id": DONE,
        "task_id": "extract",
        "map_index": "-1",
        "group_id": "g",
        "xcom_key": "text",
        "partition_key": "betrayed",
        "wait_id": wait_id,
        "callback_id": str(callback_id),
        "backfill_id": str(backfill_id),
        "event_log_id": str(events[0]),
        "import_error_id": str(errors[0]),
        "asset_id": asset_id,
        "asset_alias_id": alias_id,
    }
    return World(app, Client(app, token=admin.token), restricted, ids, pool)


async def _hide_an_asset(api_context: ApiContext) -> tuple[str, str]:
    """Ids of an asset and an alias that the hidden DAG makes and waits for, with an event that waits for it."""
    async with api_context.db.api.transaction() as conn:
        await assets.write_uses(conn, WITH_ASSETS, START)
        event = NewEvent(name=ASSET.name, uri=ASSET.uri, extra='{"by": "betrayed"}')
        await asset_events.insert_events(conn, [asset_events.AssetEventWrite(event=event)], START)
        received = [Received(event_id, "betrayed") for event_id in await _column(conn, b"SELECT id FROM asset_event")]
        await receive_events(conn, DAG, received, event_ids=[], now=START)
        [asset_id] = await _column(conn, b"SELECT id FROM asset")
        [alias_id] = await _column(conn, b"SELECT id FROM asset_alias")
    return str(asset_id), str(alias_id)


async def _put_callback(conn: Connection) -> int:
    """One that has ended; its number has to be one that is no part of other addresses."""
    (dag_run_id,) = await _column(conn, f"SELECT id FROM dag_run WHERE run_id = '{DONE}'".encode())
    call = CallbackCall(event="failure", state="failed", calls_functions=True)
    await conn.execute(b"ALTER TABLE callback ALTER COLUMN id RESTART WITH 7531")
    await insert_callbacks(
        conn, [NewCallback(dag_run_id=dag_run_id, task_id="extract", try_number=1, call=call)], START
    )
    (row,) = await list_open(conn, at_most=1)
    await mark_ended(conn, str(row.try_id), is_success=False, because="betrayed", started_at=START, now=START)
    return row.id


async def _column(conn: Connection, statement: bytes) -> list[Any]:
    cursor = await conn.execute(statement)
    return [row[0] for row in await cursor.fetchall()]


def _reads(world: World, **values: str) -> list[tuple[str, str]]:
    """(endpoint, address) of every GET that somebody must be logged in for."""
    return [
        (endpoint, path + QUERIES.get(endpoint, ""))
        for endpoint, method, path in addresses(world.app, world.ids | values)
        if method == "GET" and NEEDS[endpoint].right is not Right.NONE
    ]


async def _ask(client: Client, path: str) -> tuple[int, bytes]:
    answer = await client.call("GET", path)
    return answer.status_code, await answer.get_data(as_text=False)


def _betrayal(body: bytes) -> list[bytes]:
    return [word for word in WORDS if word in body]


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WAYS, indirect=True)
async def test_no_read_knows_a_hidden_dag(world: World) -> None:
    """The answer is that for a DAG that does not exist, to the byte."""
    named = dict(_reads(world, dag_id="nowhere"))
    for endpoint, path in _reads(world):
        place = NEEDS[endpoint].object
        if place not in (Object.PATH, Object.PATH_OR_ALL, Object.QUERY):
            continue
        status, body = await _ask(world.restricted, path)
        absent = await _ask(world.restricted, named[endpoint].replace(f"dag_id={DAG}", "dag_id=nowhere"))
        assert (status, body.replace(DAG.encode(), b"nowhere")) == (404, absent[1]), endpoint
        assert absent[0] == 404
        if endpoint not in SILENT:
            status, body = await _ask(world.everything, path)
            assert status == 200, (endpoint, body)


@pytest.mark.parametrize("world", WAYS, indirect=True)
async def test_no_list_shows_anything_of_a_hidden_dag(world: World) -> None:
    for endpoint, path in _reads(world, dag_id="~", run_id="~", task_id="~"):
        if NEEDS[endpoint].object not in (Object.FILTERED, Object.PATH_OR_ALL):
            continue
        ones = (world.ids["wait_id"], world.ids["callback_id"], "/eventLogs/", "/importErrors/", "/v2/backfills/")
        is_one = any(name in path for name in ones)
        asset = f"/assets/{world.ids['asset_id']}"
        is_one |= path.endswith((asset, f"{asset}/state-store", f"/aliases/{world.ids['asset_alias_id']}"))
        status, body = await _ask(world.restricted, path)
        assert status == (404 if is_one else 200), (endpoint, body)
        assert not _betrayal(body.replace(world.ids["wait_id"].encode(), b"")), (endpoint, body)
        status, body = await _ask(world.everything, path)
        assert status == 200, (endpoint, body)
        assert endpoint in SILENT or _betrayal(body), f"{endpoint} tells nothing: the test would not notice"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/dags/~/dagRuns?cursor=",
        "/api/v2/dags/~/dagRuns/~/taskInstances?cursor=",
        "/leoflow/api/waits?cursor=",
    ],
)
async def test_no_page_by_cursor_shows_it_either(world: World, path: str) -> None:
    assert not _betrayal((await _ask(world.restricted, path))[1])
    assert _betrayal((await _ask(world.everything, path))[1])


@pytest.mark.parametrize("kind", ["dagRuns", "dagRuns/~/taskInstances"])
async def test_no_batch_shows_it_even_when_it_is_named(world: World, kind: str) -> None:
    for client, is_there in ((world.restricted, False), (world.everything, True)):
        found = await client.send("POST", f"/api/v2/dags/~/{kind}/list", {"dag_ids": [DAG]})
        assert (found["total_entries"] > 0) == is_there


async def test_numbers_count_what_is_shown(world: World) -> None:
    stats = "/ui/dashboard/dag_stats"
    assert (await world.everything.get(stats))["active_dag_count"] == 2
    assert (await world.restricted.get(stats))["active_dag_count"] == 1
    history = "/ui/dashboard/historical_metrics_data?start_date=2026-11-01T00:00:00Z"
    assert (await world.everything.get(history))["dag_run_states"]["failed"] == 1
    assert not any((await world.restricted.get(history))["dag_run_states"].values())
    assert (await world.everything.get("/leoflow/api/pool"))["quarantined"]
    assert not (await world.restricted.get("/leoflow/api/pool"))["quarantined"]


async def test_a_file_that_never_gave_a_dag_is_for_those_who_see_everything(world: World) -> None:
    def names(found: Any) -> set[str]:
        return {row["filename"] for row in found["import_errors"]}

    assert "bad/dag.py" in names(await world.everything.get("/api/v2/importErrors"))
    assert names(await world.restricted.get("/api/v2/importErrors")) == set()


@pytest.mark.parametrize("world", WAYS, indirect=True)
async def test_what_may_be_seen_is_there(world: World) -> None:
    """The wall lets through what it should."""
    assert [dag["dag_id"] for dag in (await world.restricted.get("/api/v2/dags"))["dags"]] == [SHOWN]
    assert [dag["dag_id"] for dag in (await world.restricted.get("/ui/dags"))["dags"]] == [SHOWN]
    assert (await world.restricted.get(f"/api/v2/dags/{SHOWN}/details"))["dag_id"] == SHOWN
    run = await world.restricted.send("POST", f"/api/v2/dags/{SHOWN}/dagRuns", {"logical_date": None})
    runs = (await world.restricted.get("/api/v2/dags/~/dagRuns"))["dag_runs"]
    assert [found["dag_run_id"] for found in runs] == [run["dag_run_id"]]


# --- writing -----------------------------------------------------------------------------------------------------


def _writes(ids: dict[str, str]) -> list[tuple[str, str, str, Any]]:
    """(endpoint, method, address, body) of every write to a DAG, in an order in which all of them work."""
    dag, run = f"/api/v2/dags/{DAG}", f"/api/v2/dags/{DAG}/dagRuns/{DONE}"
    mark, wait = {"new_state": "failed"}, f"/leoflow/api/waits/{ids['wait_id']}"
    clear = {"dry_run": False, "dag_run_id": DONE}
    backfill = f"/api/v2/backfills/{ids['backfill_id']}"
    changes, own = "public_task_instance_changes", "own_waits"
    asset, waiting = f"/api/v2/assets/{ids['asset_id']}", f"{dag}/assets/{ids['asset_id']}/queuedEvents"
    event = ("public_assets.create_asset_event", "POST", "/api/v2/assets/events", {"asset_id": int(ids["asset_id"])})
    return [
        ("own_versions.promote_canary", "POST", f"/api/v2/leoflow/dags/{DAG}/promote", None),
        event,
        ("public_assets.delete_asset_queued_events", "DELETE", f"{asset}/queuedEvents", None),
        event,
        ("public_assets.delete_dag_queued_event", "DELETE", waiting, None),
        event,
        ("public_assets.delete_dag_queued_events", "DELETE", f"{dag}/assets/queuedEvents", None),
        ("public_dags.patch_dag", "PATCH", dag, {"is_paused": True}),
        ("public_dags.patch_dags", "PATCH", "/api/v2/dags?dag_id_pattern=%25", {"is_paused": False}),
        ("public_dags.favorite_dag", "POST", f"{dag}/favorite", None),
        ("public_dags.unfavorite_dag", "POST", f"{dag}/unfavorite", None),
        ("public_dags.reparse_dag_file", "PUT", f"/api/v2/parseDagFile/{token_of(DAG)}", None),
        (
            "public_task_instances_bulk.bulk_task_instances",
            "PATCH",
            f"{run}/taskInstances",
            {"actions": [{"action": "update", "entities": [{"task_id": "extract", "note": "bulk"}]}]},
        ),
        (
            "public_dag_runs_bulk.bulk_dag_runs",
            "PATCH",
            f"{dag}/dagRuns",
            {"actions": [{"action": "update", "entities": [{"dag_run_id": DONE, "note": "bulk"}]}]},
        ),
        (
            "public_dag_runs_bulk.clear_dag_runs",
            "POST",
            f"{dag}/clearDagRuns",
            {"dag_runs": [{"dag_run_id": DONE}], "dry_run": False},
        ),
        ("public_leoflow.check", "POST", "/api/v2/leoflow/dags/check", WITH_ASSETS),
        ("public_leoflow.register", "POST", "/api/v2/leoflow/dags", msgspec.structs.replace(WITH_ASSETS, doc_md="new")),
        (
            "public_hitl_details.update_hitl_detail",
            "PATCH",
            f"{dag}/dagRuns/{OPEN}/taskInstances/load/-1/hitlDetails",
            {"chosen_options": ["Yes"]},
        ),
        (f"{own}.patch_wait", "PATCH", wait, {"poke_interval_s": 5.0}),
        (f"{own}.act_on_wait", "POST", f"{wait}/fail", None),
        ("own_callbacks.retry_callback", "POST", f"/leoflow/api/callbacks/{ids['callback_id']}/retry", None),
        (f"{changes}.dry_run_patch", "PATCH", f"{TASK}/dry_run", mark),
        (f"{changes}.dry_run_patch_mapped", "PATCH", f"{TASK}/-1/dry_run", mark),
        (f"{changes}.dry_run_patch_group", "PATCH", f"{dag}/dagRuns/{DONE}/taskGroupInstances/g/dry_run", mark),
        (f"{changes}.patch_task_group", "PATCH", f"{dag}/dagRuns/{DONE}/taskGroupInstances/g", mark),
        (f"{changes}.patch_task_instance", "PATCH", TASK, mark),
        (f"{changes}.patch_mapped_task_instance", "PATCH", f"{TASK}/-1", {"note": "mine"}),
        (
            f"{changes}.clear_task_instances",
            "POST",
            f"{dag}/clearTaskInstances",
            clear,
        ),
        ("public_xcoms.create_xcom_entry", "POST", f"{TASK}/xcomEntries", {"key": "k", "value": 1}),
        ("public_xcoms.update_xcom_entry", "PATCH", f"{TASK}/xcomEntries/k", {"value": 2}),
        ("public_xcoms.delete_xcom_entry", "DELETE", f"{TASK}/xcomEntries/k", None),
        (f"{changes}.delete_task_instance", "DELETE", TASK, None),
        ("public_assets.materialize_asset", "POST", f"{asset}/materialize", None),
        ("public_dag_runs.trigger_dag_run", "POST", f"{dag}/dagRuns", {"logical_date": None}),
        ("public_dag_runs.patch_dag_run", "PATCH", run, {"note": "mine"}),
        ("public_dag_runs.clear_dag_run", "POST", f"{run}/clear", {"dry_run": False}),
        ("public_dag_runs.delete_dag_run", "DELETE", run, None),
        ("public_backfills.create_backfill_dry_run", "POST", "/api/v2/backfills/dry_run", ASKED),
        ("public_backfills.pause_backfill", "PUT", f"{backfill}/pause", None),
        ("public_backfills.unpause_backfill", "PUT", f"{backfill}/unpause", None),
        ("public_backfills.cancel_backfill", "PUT", f"{backfill}/cancel", None),
        ("public_backfills.create_backfill", "POST", "/api/v2/backfills", ASKED),
        ("own_versions.rollback", "POST", f"/api/v2/leoflow/dags/{DAG}/rollback", {"version_number": 1}),
        ("public_dags.delete_dag", "DELETE", dag, None),
    ]


async def _rows(world: World, context: ApiContext) -> list[Any]:
    """Everything that is stored of the hidden DAG."""
    async with context.db.api.connection() as conn:
        return [
            await _column(conn, statement)
            for statement in (
                b"SELECT c::text FROM canary c",
                b"SELECT d::text FROM dag d WHERE dag_id = 'etl'",
                b"SELECT v.id FROM dag_version v WHERE dag_id = 'etl' ORDER BY v.id",
                b"SELECT r::text FROM dag_run r WHERE dag_id = 'etl' ORDER BY r.id",
                b"SELECT t::text FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id WHERE r.dag_id = 'etl'"
                b" ORDER BY t.dag_run_id, t.task_id",
                b"SELECT x::text FROM xcom x ORDER BY x.key",
                b"SELECT w::text FROM wait w",
                b"SELECT q::text FROM asset_queue q",
                b"SELECT e::text FROM asset_event e",
                b"SELECT c::text FROM callback c",
                b"SELECT h::text FROM hitl_detail h ORDER BY h.wait_id",
                b"SELECT f::text FROM dag_favorite f",
                b"SELECT b::text FROM backfill b",
                b"SELECT e.id FROM event_log e WHERE dag_id = 'etl' ORDER BY e.id",
            )
        ]


async def test_the_list_of_writes_is_whole(app: QuartTrio) -> None:
    is_a_read = {"public_dag_runs.list_dag_runs_batch", "public_task_instances.list_task_instances_batch"}
    writes = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if (rule.methods or set()) - SAFE_METHODS and NEEDS[rule.endpoint].object is not Object.NONE
    }
    assert {endpoint for endpoint, *_ in _writes(dict(NOWHERE))} == writes - is_a_read


@pytest.mark.parametrize("world", WAYS, indirect=True)
async def test_no_write_reaches_a_hidden_dag(world: World, api_context: ApiContext) -> None:
    before = await _rows(world, api_context)
    for endpoint, method, path, body in _writes(world.ids):
        answer = await world.restricted.call(method, path, json=body)
        said = await answer.get_data(as_text=False)
        if endpoint == "public_dags.patch_dags":
            assert [dag["dag_id"] for dag in msgspec.json.decode(said)["dags"]] == [SHOWN]
        else:
            assert answer.status_code == 404, (endpoint, said)
    assert await _rows(world, api_context) == before
    assert not world.pool.acts
    assert not world.pool.intervals


NOT_AUDITED = frozenset(
    {
        "public_dags.favorite_dag",
        "public_dags.unfavorite_dag",
        "public_backfills.create_backfill_dry_run",
        "public_leoflow.check",
        "public_task_instance_changes.dry_run_patch",
        "public_task_instance_changes.dry_run_patch_mapped",
        "public_task_instance_changes.dry_run_patch_group",
    }
)
"""Changes nothing, or nothing that others see."""


async def test_whoever_sees_it_does_all_of_these_writes(world: World, api_context: ApiContext) -> None:
    """So that the test above refuses what would else have worked. And each is in the audit log, with its sender."""
    audited = b"SELECT count(*) FROM audit_seal JOIN event_log ON id = event_id WHERE client <> '' AND owner = 'admin'"
    for endpoint, method, path, body in _writes(world.ids):
        async with api_context.db.api.connection() as conn:
            (before,) = await _column(conn, audited)
            answer = await world.everything.call(method, path, json=body)
            assert answer.status_code < 300, (endpoint, await answer.get_data(as_text=False))
            (after,) = await _column(conn, audited)
        assert (after > before) == (endpoint not in NOT_AUDITED), endpoint


async def test_who_may_see_a_dag_but_not_touch_it_is_told_so(world: World, api_context: ApiContext) -> None:
    client = await somebody_with(world.app, api_context.db, {"read": "all", "operate": f"dag:{SHOWN}"}, "bob")
    await client.get(f"/api/v2/dags/{DAG}")
    assert (await client.call("DELETE", f"/api/v2/dags/{DAG}")).status_code == 403
    assert (await client.call("DELETE", f"/api/v2/dags/{SHOWN}")).status_code == 200
