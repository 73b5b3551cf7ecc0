"""Waits through the API: the list, one wait explained, what a person may do with it, logs and Airflow's own shapes."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import timedelta
from typing import Any

import jsonschema
import msgspec
import pytest
import trio
import yaml
from quart_trio import QuartTrio

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.contract.wait_spec import Resume
from leoflowd.contract.waits import ResumeWith, WaitAction
from leoflowd.store.hints import Hint, HintListener
from leoflowd.store.waits import FiredWait, fire_waits
from tests.conftest import unpacked_ui
from tests.fakes.fake_pool import FakePool
from tests.integration.api.api_client import START, Client, Clock
from tests.integration.api.api_seed import DAG, OPEN, seed
from tests.integration.api.people import logged_in, put_user
from tests.integration.api.test_conformance import DOCUMENT
from tests.integration.api.wait_seed import end_wait, put_wait

WAITS = "/leoflow/api/waits"
INSTANCE = f"/api/v2/dags/{DAG}/dagRuns/{OPEN}/taskInstances/load"
EXPLAIN = f"/api/v2/leoflow/explain/{DAG}/{OPEN}/load"


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def api_context(api_context: ApiContext, pool: FakePool) -> ApiContext:
    return dataclasses.replace(api_context, pool=pool)


@pytest.fixture
async def app(api_context: ApiContext) -> QuartTrio:
    await seed(api_context)
    return create_app(api_context)


async def as_role(app: QuartTrio, api_context: ApiContext, role: str) -> Client:
    name = f"a {role}"
    async with api_context.db.api.transaction() as conn:
        await put_user(conn, name, [role])
    return await logged_in(app, name)


async def detail(client: Client, method: str, path: str, status: int, json: Any = None) -> Any:
    return (await client.send(method, path, json, status=status))["detail"]


async def fire(api_context: ApiContext, wait_id: str) -> None:
    async with api_context.db.api.transaction() as conn:
        await fire_waits(conn, [FiredWait(wait_id, ResumeWith(event=1))], START)
        await conn.execute(b"UPDATE task_instance SET state = 'scheduled' WHERE id = %(id)s", {"id": wait_id})


# --- the list ----------------------------------------------------------------------------------------------------


async def test_the_list_says_what_is_awaited_and_what_the_pool_sees(
    admin: Client, api_context: ApiContext, pool: FakePool
) -> None:
    wait_id = await put_wait(api_context.db)
    pool.watch(wait_id, poke_interval_s=120.0)
    page = await admin.get(WAITS)
    (wait,) = page["waits"]
    assert page["total_entries"] == 1
    assert (wait["id"], wait["dag_id"], wait["dag_run_id"], wait["task_id"]) == (wait_id, DAG, OPEN, "load")
    assert (wait["state"], wait["status"], wait["kind"], wait["is_watched"]) == ("deferred", "waiting", "http", True)
    assert wait["waits_for"] == "GET https://api.example/ready"
    assert wait["poke_interval_s"] == 120.0
    assert {"probe", "terms"}.isdisjoint(wait)


async def test_a_wait_that_the_pool_does_not_watch_is_told_by_its_arguments(
    admin: Client, api_context: ApiContext
) -> None:
    await put_wait(api_context.db, arguments={"endpoint": "/x", "headers": {"Authorization": "Basic abc"}})
    (wait,) = (await admin.get(WAITS))["waits"]
    assert wait["waits_for"] == 'http {"endpoint":"/x","headers":{"Authorization":"***"}}'
    assert wait["is_watched"] is False


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"load", "g.transform"}),
        ("kind=file", {"g.transform"}),
        ("kind=file&kind=http", {"load", "g.transform"}),
        ("state=deferred", {"load"}),
        ("task_id=load", {"load"}),
        (f"dag_id={DAG}", {"load", "g.transform"}),
        ("dag_id=other", set()),
        (f"run_id={OPEN}", {"load", "g.transform"}),
        ("run_id=none", set()),
        ("dag_id_pattern=ET", {"load", "g.transform"}),
        ("task_id_prefix_pattern=g.", {"g.transform"}),
    ],
)
async def test_the_list_is_filtered(admin: Client, api_context: ApiContext, query: str, expected: set[str]) -> None:
    await put_wait(api_context.db)
    await put_wait(api_context.db, "g.transform", kind="file", state="up_for_reschedule")
    assert {wait["task_id"] for wait in (await admin.get(f"{WAITS}?{query}"))["waits"]} == expected


async def test_the_newest_wait_comes_first_and_the_order_can_be_changed(admin: Client, api_context: ApiContext) -> None:
    await put_wait(api_context.db)
    await put_wait(api_context.db, "g.transform", registered_at=START + timedelta(seconds=1))
    for query, first in (("", "g.transform"), ("order_by=registered_at", "load"), ("order_by=-task_id", "load")):
        assert (await admin.get(f"{WAITS}?{query}"))["waits"][0]["task_id"] == first


async def test_the_list_is_paged_by_offset_and_by_cursor(admin: Client, api_context: ApiContext) -> None:
    await put_wait(api_context.db)
    await put_wait(api_context.db, "g.transform")
    page = await admin.get(f"{WAITS}?limit=1&offset=1")
    assert (len(page["waits"]), page["total_entries"]) == (1, 2)
    first = await admin.get(f"{WAITS}?limit=1&cursor=")
    second = await admin.get(f"{WAITS}?limit=1&cursor={first['next_cursor']}")
    assert {first["waits"][0]["task_id"], second["waits"][0]["task_id"]} == {"load", "g.transform"}
    assert (first["total_entries"], second["next_cursor"]) == (None, None)


@pytest.mark.parametrize(("query", "status"), [("state=running", 422), ("order_by=probe", 422), ("limit=x", 422)])
async def test_a_wrong_parameter_is_refused(admin: Client, query: str, status: int) -> None:
    await admin.send("GET", f"{WAITS}?{query}", status=status)


async def test_a_row_of_an_older_try_is_not_in_the_list(admin: Client, api_context: ApiContext) -> None:
    wait_id = await put_wait(api_context.db)
    async with api_context.db.api.transaction() as conn:
        await conn.execute(b"UPDATE task_instance SET id = gen_random_uuid() WHERE id = %(id)s", {"id": wait_id})
    assert (await admin.get(WAITS))["waits"] == []
    assert (await admin.get(f"{WAITS}/{wait_id}"))["status"] == "over"


# --- one wait ----------------------------------------------------------------------------------------------------


async def test_one_wait_is_explained(admin: Client, api_context: ApiContext, pool: FakePool, clock: Clock) -> None:
    wait_id = await put_wait(api_context.db)
    pool.watch(wait_id, next_probe_at=START + timedelta(seconds=40), blocked_by="the breaker of api.example is open")
    clock.advance(30)
    wait = await admin.get(f"{WAITS}/{wait_id}")
    assert wait["because"] == [
        "it waits for GET https://api.example/ready; it began 30 s ago",
        "the last probe saw HTTP 404 Not Found",
        "the breaker of api.example is open",
        "the next probe is in 10 s, 03:00:40 UTC",
        "one probe serves it and 2 other waits",
        "it times out in 9 min 30 s, 03:10:00 UTC",
    ]
    assert wait["explanation"]["probes"][0]["summary"] == "HTTP 404 Not Found"
    assert wait["probe"] == {"kind": "http", "arguments": {"endpoint": "/ready"}}


async def test_secrets_in_arguments_are_masked(admin: Client, api_context: ApiContext) -> None:
    wait_id = await put_wait(api_context.db, arguments={"data": {"api-key": "k", "page": 1}})
    wait = await admin.get(f"{WAITS}/{wait_id}")
    assert wait["probe"]["arguments"] == {"data": {"api-key": "***", "page": 1}}


@pytest.mark.parametrize("wait_id", [str(uuid.UUID(int=7)), "none"])
async def test_a_wait_that_is_not_there_is_not_found(admin: Client, wait_id: str) -> None:
    assert wait_id in await detail(admin, "GET", f"{WAITS}/{wait_id}", 404)
    await admin.send("POST", f"{WAITS}/{wait_id}/fire", status=404)


async def test_a_fired_deferral_says_so_and_takes_no_action(
    admin: Client, api_context: ApiContext, pool: FakePool
) -> None:
    wait_id = await put_wait(api_context.db, resume=Resume(next_method="execute_complete"))
    await fire(api_context, wait_id)
    wait = await admin.get(f"{WAITS}/{wait_id}")
    assert (wait["status"], wait["is_deferral"], wait["explanation"]) == ("fired", True, None)
    assert "it fired at 2026-11-21 03:00:00+00:00" in await detail(admin, "POST", f"{WAITS}/{wait_id}/fire", 409)
    assert pool.acts == []


# --- actions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", list(WaitAction))
async def test_an_action_reaches_the_pool_and_the_audit_log(
    admin: Client, api_context: ApiContext, pool: FakePool, action: WaitAction
) -> None:
    wait_id = await put_wait(api_context.db)
    pool.watch(wait_id)
    answer = await admin.send("POST", f"{WAITS}/{wait_id}/{action}", status=202)
    assert answer == {"id": wait_id, "action": action}
    assert pool.acts == [(wait_id, action)]
    (event,) = (await admin.get(f"/api/v2/eventLogs?event={action}_wait"))["event_logs"]
    assert (event["dag_id"], event["run_id"], event["task_id"], event["owner"]) == (DAG, OPEN, "load", "admin")
    assert wait_id in event["extra"]


async def test_a_new_poke_interval_reaches_the_pool(admin: Client, api_context: ApiContext, pool: FakePool) -> None:
    wait_id = await put_wait(api_context.db)
    pool.watch(wait_id)
    await admin.send("PATCH", f"{WAITS}/{wait_id}", {"poke_interval_s": 5})
    assert pool.intervals == [(wait_id, 5.0)]


@pytest.mark.parametrize("body", [{"poke_interval_s": 0}, {"poke_interval_s": 1e9}, {"poke": 1}, {}])
async def test_a_poke_interval_that_cannot_be_meant_is_refused(
    admin: Client, api_context: ApiContext, pool: FakePool, body: dict[str, Any]
) -> None:
    wait_id = await put_wait(api_context.db)
    pool.watch(wait_id)
    await admin.send("PATCH", f"{WAITS}/{wait_id}", body, status=422)
    assert pool.intervals == []


async def test_what_waits_for_a_moment_is_not_probed(admin: Client, api_context: ApiContext, pool: FakePool) -> None:
    wait_id = await put_wait(api_context.db, kind="time")
    pool.watch(wait_id, due_at=START)
    assert "not probed" in await detail(admin, "POST", f"{WAITS}/{wait_id}/probe", 409)
    assert "not probed" in await detail(admin, "PATCH", f"{WAITS}/{wait_id}", 409, {"poke_interval_s": 5})
    await admin.send("POST", f"{WAITS}/{wait_id}/fire", status=202)


async def test_a_trigger_is_fired_or_failed_but_not_probed(
    admin: Client, api_context: ApiContext, pool: FakePool
) -> None:
    wait_id = await put_wait(api_context.db, kind="trigger", arguments={"classpath": "x.Y", "kwargs": {}})
    pool.watch(wait_id)
    assert "trigger host" in await detail(admin, "POST", f"{WAITS}/{wait_id}/probe", 409)
    await admin.send("POST", f"{WAITS}/{wait_id}/fail", status=202)


async def test_a_question_is_answered_and_neither_fired_nor_probed(
    admin: Client, api_context: ApiContext, pool: FakePool
) -> None:
    wait_id = await put_wait(api_context.db, kind="human", arguments={"subject": "Go?", "options": ["Yes"]})
    pool.watch(wait_id)
    assert "Required Actions" in await detail(admin, "POST", f"{WAITS}/{wait_id}/fire", 409)
    assert "nothing to probe" in await detail(admin, "POST", f"{WAITS}/{wait_id}/probe", 409)
    await admin.send("POST", f"{WAITS}/{wait_id}/fail", status=202)
    assert [action for _, action in pool.acts] == [WaitAction.FAIL]


async def test_a_wait_of_a_paused_dag_takes_no_action(admin: Client, api_context: ApiContext) -> None:
    wait_id = await put_wait(api_context.db)
    await admin.send("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": True})
    assert "paused" in await detail(admin, "POST", f"{WAITS}/{wait_id}/fire", 409)
    assert "its DAG is paused" in (await admin.get(f"{WAITS}/{wait_id}"))["because"][1]


async def test_a_wait_that_the_pool_has_not_seen_yet_takes_no_action(admin: Client, api_context: ApiContext) -> None:
    wait_id = await put_wait(api_context.db)
    assert "try again in a moment" in await detail(admin, "POST", f"{WAITS}/{wait_id}/fire", 409)


async def test_a_wait_that_ends_under_the_hand_is_a_conflict(
    admin: Client, api_context: ApiContext, pool: FakePool
) -> None:
    wait_id = await put_wait(api_context.db)
    pool.watch(wait_id)
    pool.is_deaf = True
    assert "this very moment" in await detail(admin, "POST", f"{WAITS}/{wait_id}/fire", 409)
    assert "this very moment" in await detail(admin, "PATCH", f"{WAITS}/{wait_id}", 409, {"poke_interval_s": 5})


async def test_an_unknown_action_is_no_route(admin: Client, api_context: ApiContext) -> None:
    await admin.send("POST", f"{WAITS}/{await put_wait(api_context.db)}/forget", status=404)


@pytest.mark.parametrize(("role", "status"), [("Viewer", 403), ("User", 403), ("Op", 202), ("Admin", 202)])
async def test_everybody_reads_and_operators_act(
    app: QuartTrio, api_context: ApiContext, pool: FakePool, role: str, status: int
) -> None:
    client = await as_role(app, api_context, role)
    wait_id = await put_wait(api_context.db)
    pool.watch(wait_id)
    await client.get(f"{WAITS}/{wait_id}")
    await client.send("POST", f"{WAITS}/{wait_id}/fire", status=status)
    await client.send("PATCH", f"{WAITS}/{wait_id}", {"poke_interval_s": 5}, status=200 if status == 202 else 403)


async def test_without_a_login_nothing_is_told(anonymous: Client) -> None:
    for path in (WAITS, f"{WAITS}/{uuid.uuid4()}", "/leoflow/api/pool"):
        await anonymous.send("GET", path, status=401)


# --- the pool ----------------------------------------------------------------------------------------------------


async def test_the_pool_tells_its_numbers(admin: Client) -> None:
    pool = await admin.get("/leoflow/api/pool")
    assert (pool["at"], pool["waits"]) == ("2026-11-21T03:00:00Z", {"http": 3, "file": 1})
    assert pool["targets"][0]["breaker"] == "open"
    assert pool["quarantined"][0]["reason"] == "cut off after 30 s"


async def test_a_daemon_without_a_share_says_so(app: QuartTrio, admin: Client, api_context: ApiContext) -> None:
    app.config["LEOFLOW_CONTEXT"] = dataclasses.replace(api_context, pool=None)
    wait_id = await put_wait(api_context.db)
    assert "no share of the cheap-task pool" in await detail(admin, "GET", "/leoflow/api/pool", 409)
    assert (await admin.get(f"{WAITS}/{wait_id}"))["is_elsewhere"] is True
    health = await admin.get("/api/v2/monitor/health")
    assert health["triggerer"] == {"status": None, "latest_triggerer_heartbeat": None}


async def test_what_is_asked_of_a_wait_of_another_daemon_goes_there_as_a_hint(
    admin: Client, api_context: ApiContext, pool: FakePool
) -> None:
    wait_id = await put_wait(api_context.db)
    pool.elsewhere.add(wait_id)
    listener = HintListener(api_context.db.conninfo)
    heard = listener.subscribe()
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        for action in WaitAction:
            answer = await admin.send("POST", f"{WAITS}/{wait_id}/{action}", status=202)
            assert answer == {"id": wait_id, "action": action}
        await admin.send("PATCH", f"{WAITS}/{wait_id}", {"poke_interval_s": 5})
        asked = [await heard.receive() for _ in range(5)]
        nursery.cancel_scope.cancel()
    assert asked[1:] == [*(Hint(str(action), wait_id) for action in WaitAction), Hint("terms", f"{wait_id} 5.0")]
    wait = await admin.get(f"{WAITS}/{wait_id}")
    assert (wait["terms"]["poke_interval_s"], wait["is_watched"], wait["is_elsewhere"]) == (5, True, True)
    assert "another daemon watches it" in wait["because"][1]
    assert (pool.acts, pool.intervals) == ([], [])


async def test_the_pool_is_the_triggerer_of_the_health_page(admin: Client) -> None:
    triggerer = (await admin.get("/api/v2/monitor/health"))["triggerer"]
    assert triggerer == {"status": "healthy", "latest_triggerer_heartbeat": "2026-11-21T03:00:00+00:00"}


# --- explain, logs, Airflow's shapes -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["deferred", "up_for_reschedule"])
async def test_explain_tells_what_a_task_waits_for(
    admin: Client, api_context: ApiContext, pool: FakePool, state: str
) -> None:
    wait_id = await put_wait(api_context.db, state=state)
    pool.watch(wait_id)
    explained = await admin.get(EXPLAIN)
    assert explained["wait_id"] == wait_id
    assert explained["because"][1] == "it waits for GET https://api.example/ready; it began 0 s ago"


async def test_the_blocked_by_panel_tells_it_too(admin: Client, api_context: ApiContext) -> None:
    await put_wait(api_context.db)
    blocked = await admin.get(f"{INSTANCE}/dependencies")
    assert blocked["dependencies"][0]["reason"].startswith("it waits for http")


async def test_explain_of_a_task_that_does_not_wait_names_no_wait(admin: Client) -> None:
    assert (await admin.get(EXPLAIN))["wait_id"] is None


async def log_of(client: Client, task_id: str = "load") -> list[dict[str, Any]]:
    """The log without the folded group that says where it comes from."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{OPEN}/taskInstances/{task_id}/logs/1"
    content: list[dict[str, Any]] = (await client.get(path))["content"]
    return content[2:]


async def test_the_log_of_a_wait_is_made_from_facts(admin: Client, api_context: ApiContext, pool: FakePool) -> None:
    pool.watch(await put_wait(api_context.db))
    lines = await log_of(admin)
    assert lines[0] == {
        "timestamp": "2026-11-21T03:00:00Z",
        "event": "it waits for GET https://api.example/ready; it began 0 s ago",
        "level": "info",
    }
    assert lines[1]["event"] == "probe: HTTP 404 Not Found (0.050 s)"
    assert lines[2]["event"] == "the last probe saw HTTP 404 Not Found"


async def test_a_deferred_tasks_log_goes_on_behind_what_its_process_wrote(
    admin: Client, api_context: ApiContext, pool: FakePool
) -> None:
    pool.watch(await put_wait(api_context.db, "extract", resume=Resume(next_method="execute_complete")))
    events = [line["event"] for line in await log_of(admin, "extract")]
    assert events[0] == "hello"
    assert events[1].startswith("it waits for")
    assert events[-1] == "then the task goes on in a process of its own, in execute_complete"


async def test_the_log_of_an_ended_wait_says_how_it_ended(admin: Client, api_context: ApiContext) -> None:
    await put_wait(api_context.db)
    await end_wait(api_context.db, "load", "failed", "Sensor has timed out", START + timedelta(seconds=90))
    assert await log_of(admin) == [
        {
            "timestamp": "2026-11-21T03:00:00Z",
            "event": "The try began; no process of it wrote anything.",
            "level": "info",
        },
        {"timestamp": "2026-11-21T03:01:30Z", "event": "state failed: Sensor has timed out", "level": "error"},
    ]


@pytest.mark.parametrize(
    ("state", "because", "level"),
    [
        ("failed", "Sensor has timed out: waited 60 s of a timeout of 60 s", "error"),
        ("skipped", "HTTP 500; soft_fail makes that a skip", "info"),
        ("success", "a person fired this wait", "info"),
        ("failed", "The task ran and waited longer than its execution_timeout of 4 s.", "error"),
    ],
)
async def test_the_log_of_a_try_ends_with_how_it_ended_also_when_its_process_could_not_say_so(
    admin: Client, api_context: ApiContext, state: str, because: str, level: str
) -> None:
    await put_wait(api_context.db, "extract")
    await end_wait(api_context.db, "extract", state, because, START + timedelta(seconds=90))
    first, *_, last = await log_of(admin, "extract")
    assert first["event"] == "hello"
    assert last == {"timestamp": "2026-11-21T03:01:30Z", "event": f"state {state}: {because}", "level": level}


async def test_the_log_of_an_ended_wait_says_what_it_waited_for_and_no_secret(
    admin: Client, api_context: ApiContext
) -> None:
    await put_wait(api_context.db)
    await end_wait(api_context.db, "load", "success", "HTTP 200 OK", START + timedelta(seconds=90))
    fields = b'{"endpoint": "/ready", "data": null, "headers": {"Authorization": "Bearer abc", "X-Run": "7"}}'
    async with api_context.db.api.transaction() as conn:
        await conn.execute(
            b"UPDATE task_instance SET rendered_fields = %(fields)s::text::jsonb WHERE task_id = 'load'",
            {"fields": fields.decode()},
        )
    told = {line["event"] for line in (await log_of(admin))[1:-1]}
    assert told == {"endpoint: /ready", 'headers: {"X-Run":"7","Authorization":"***"}'}


async def test_the_log_of_a_try_that_goes_on_says_no_end(admin: Client, api_context: ApiContext) -> None:
    async with api_context.db.api.transaction() as conn:
        await conn.execute(b"UPDATE task_instance SET state = 'running', end_date = NULL WHERE task_id = 'extract'")
    assert [line["event"] for line in await log_of(admin, "extract")][-1] == "hello"


async def test_a_deferred_instance_has_airflows_trigger(
    admin: Client, api_context: ApiContext, schemas: dict[str, Any]
) -> None:
    await put_wait(api_context.db, kind="trigger", arguments={"classpath": "x.Y", "kwargs": {"token": "t", "n": 1}})
    async with api_context.db.api.transaction() as conn:
        await conn.execute(b"UPDATE leadership SET holder = 'here/1', term = 4, heartbeat_at = %(now)s", {"now": START})
    instance = await admin.get(INSTANCE)
    assert (instance["trigger"]["classpath"], instance["trigger"]["triggerer_id"]) == ("x.Y", 4)
    assert msgspec.json.decode(instance["trigger"]["kwargs"]) == {"token": "***", "n": 1}
    assert (instance["triggerer_job"]["hostname"], instance["triggerer_job"]["job_type"]) == ("here", "TriggererJob")
    fits(instance, "TaskInstanceResponse", schemas)


async def test_a_native_wait_shows_its_kind_as_the_trigger(
    admin: Client, api_context: ApiContext, schemas: dict[str, Any]
) -> None:
    await put_wait(api_context.db)
    rows = (await admin.get(f"/api/v2/dags/{DAG}/dagRuns/{OPEN}/taskInstances?task_id=load"))["task_instances"]
    assert rows[0]["trigger"]["classpath"] == "leoflow_sensors.http"
    assert msgspec.json.decode(rows[0]["trigger"]["kwargs"]) == {"endpoint": "/ready"}
    fits(rows[0], "TaskInstanceResponse", schemas)


async def test_what_is_rescheduled_has_no_trigger(admin: Client, api_context: ApiContext) -> None:
    await put_wait(api_context.db, state="up_for_reschedule")
    instance = await admin.get(INSTANCE)
    assert (instance["trigger"], instance["triggerer_job"]) == (None, None)


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    folder = unpacked_ui()
    document = yaml.load((folder / "openapi" / DOCUMENT).read_text(), Loader=yaml.CSafeLoader)
    components: dict[str, Any] = document["components"]
    return components


def fits(answer: Any, name: str, components: dict[str, Any]) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    jsonschema.Draft202012Validator(schema).validate(answer)
