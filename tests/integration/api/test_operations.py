"""Operations of Airflow's API that are about the daemon and its files, and those over many things at once."""

from __future__ import annotations

import base64
import dataclasses
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.api.public.settings import shown_settings
from leoflowd.config import SECTIONS, ApiConfig, RedisConfig, SecretsConfig, XComsConfig
from leoflowd.store.replicas import beat
from tests.integration.api.api_client import START, Client
from tests.integration.api.api_seed import BROKEN, DAG, DONE, OPEN

RUNS = f"/api/v2/dags/{DAG}/dagRuns"
DONE_INSTANCES = f"{RUNS}/{DONE}/taskInstances"


def token_of(dag_id: str) -> str:
    return base64.urlsafe_b64encode(dag_id.encode()).decode().rstrip("=")


async def test_settings_are_shown_without_their_secrets(seeded: Client) -> None:
    found = await seeded.get("/api/v2/config/section/redis/option/url")
    assert found == {"sections": [{"name": "redis", "options": [{"key": "url", "value": "redis://***@cache:6379/0"}]}]}
    answer = await seeded.call("GET", "/api/v2/config", headers={"Accept": "text/plain"})
    text = await answer.get_data(as_text=True)
    assert text.startswith("[redis]\n")
    assert "url = redis://***@cache:6379/0\n" in text
    assert "canary" not in text


def test_no_secret_of_any_section_is_shown() -> None:
    secrets = {
        "secrets": SecretsConfig(keys="k:canary"),
        "redis": RedisConfig(url="redis://:canary@h/0"),
        "xcoms": XComsConfig(large_url="s3://id:canary@bucket/x"),
    }
    tokens = {
        name: msgspec.structs.replace(secrets.get(name, section()), **dict.fromkeys(fields, "canary"))
        for name, section in SECTIONS.items()
        if (fields := [field for field in section.__struct_fields__ if "token" in field and not field.endswith("_s")])
        or name in secrets
    }
    assert {"api", "secrets", "redis", "xcoms"} <= tokens.keys()
    assert "canary" not in str(shown_settings(tokens))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://leo:can/ary@h/db", "postgresql://***@h/db"),
        (
            "postgresql://h/db?user=leo&password=canary&sslmode=require",
            "postgresql://h/db?user=leo&password=***&sslmode=require",
        ),
        ("host=h password='can ary' dbname=db", "host=h password=*** dbname=db"),
        ("s3://a:canary@one, s3://b:canary@two", "s3://***@one, s3://***@two"),
    ],
)
def test_a_secret_within_an_address_is_not_shown(given: str, shown: str) -> None:
    assert shown_settings({"redis": RedisConfig(url=given)})["redis"]["url"] == shown


def test_how_long_a_token_lives_is_no_secret() -> None:
    assert shown_settings({"api": ApiConfig(token_ttl_s=60)})["api"]["token_ttl_s"] == "60"


async def test_a_setting_that_does_not_exist_is_not_found(seeded: Client) -> None:
    await seeded.send("GET", "/api/v2/config?section=core", status=404)
    await seeded.send("GET", "/api/v2/config/section/redis/option/none", status=404)


async def test_only_an_admin_sees_settings(clients: dict[str, Client]) -> None:
    for role, client in clients.items():
        answer = await client.call("GET", "/api/v2/config")
        assert answer.status_code == (200 if role == "Admin" else 403), role


async def test_each_daemon_is_a_job_that_fails_when_it_falls_silent(seeded: Client, api_context: ApiContext) -> None:
    async with api_context.db.api.transaction() as conn:
        await beat(conn, replica="a", name="one:1", tries=(), agents=0, now=START)
        for age in (timedelta(hours=1), timedelta(minutes=5)):
            await beat(conn, replica="b", name="two:2", tries=(), agents=0, now=START - age)
    jobs = (await seeded.get("/api/v2/jobs?order_by=hostname"))["jobs"]
    assert [(job["hostname"], job["state"], job["start_date"], job["end_date"]) for job in jobs] == [
        ("one:1", "running", "2026-11-21T03:00:00Z", None),
        ("two:2", "failed", "2026-11-21T02:00:00Z", "2026-11-21T02:55:00Z"),
    ]
    for query, names in (
        ("is_alive=true", ["one:1"]),
        ("job_state=failed", ["two:2"]),
        ("hostname=one:1", ["one:1"]),
        ("job_type=TriggererJob", []),
        ("start_date_gte=2026-11-21T03:00:00Z", ["one:1"]),
        ("start_date_lt=2026-11-21T03:00:00Z", ["two:2"]),
        ("end_date_lt=2026-11-21T03:00:00Z", ["two:2"]),
    ):
        assert [job["hostname"] for job in (await seeded.get(f"/api/v2/jobs?{query}"))["jobs"]] == names, query


async def test_many_pools_are_made_changed_and_deleted_at_once(seeded: Client) -> None:
    actions: list[dict[str, Any]] = [
        {"action": "create", "entities": [{"name": "a", "slots": 1}, {"name": "b", "slots": 2}]},
        {"action": "update", "entities": [{"name": "a", "slots": 9, "description": "x"}], "update_mask": ["slots"]},
        {"action": "delete", "entities": ["b", "default_pool"]},
    ]
    answer = await seeded.send("PATCH", "/api/v2/pools", {"actions": actions})
    assert answer["create"] == {"success": ["a", "b"], "errors": []}
    assert answer["update"] == {"success": ["a"], "errors": []}
    assert answer["delete"] == {
        "success": [],
        "errors": [{"error": "Default Pool can't be deleted", "status_code": 400}],
    }
    pool = await seeded.get("/api/v2/pools/a")
    assert (pool["slots"], pool["description"]) == (9, None)
    assert (await seeded.get("/api/v2/pools/b"))["slots"] == 2, "an action happens whole or not at all"


async def test_the_default_pool_may_be_sent_back_as_it_is_shown(seeded: Client) -> None:
    pool = await seeded.get("/api/v2/pools/default_pool")
    entity = {"name": "default_pool", "slots": 5, "description": pool["description"]}
    answer = await seeded.send("PATCH", "/api/v2/pools", {"actions": [{"action": "update", "entities": [entity]}]})
    assert answer["update"] == {"success": ["default_pool"], "errors": []}


async def test_many_task_instances_are_changed_each_by_itself(seeded: Client) -> None:
    entities = [
        {"task_id": "extract", "new_state": "failed"},
        {"task_id": "nope", "new_state": "failed"},
        {"task_id": "load", "dag_run_id": BROKEN, "note": "seen"},
    ]
    answer = await seeded.send("PATCH", DONE_INSTANCES, {"actions": [{"action": "update", "entities": entities}]})
    assert answer["update"]["success"] == [f"{DAG}.{DONE}.extract[-1]", f"{DAG}.{BROKEN}.load[-1]"]
    (error,) = answer["update"]["errors"]
    assert (error["status_code"], "`nope`" in error["error"]) == (404, True)
    assert (await seeded.get(f"{DONE_INSTANCES}/extract"))["state"] == "failed"
    assert (await seeded.get(f"{RUNS}/{BROKEN}/taskInstances/load"))["note"] == "seen"


async def test_what_is_not_there_may_be_skipped_and_a_mask_leaves_the_rest(seeded: Client) -> None:
    entities = [{"task_id": "nope", "note": "x"}, {"task_id": "extract", "note": "x", "new_state": "failed"}]
    action = {"action": "update", "entities": entities, "update_mask": ["note"], "action_on_non_existence": "skip"}
    answer = await seeded.send("PATCH", DONE_INSTANCES, {"actions": [action]})
    assert answer["update"] == {"success": [f"{DAG}.{DONE}.extract[-1]"], "errors": []}
    instance = await seeded.get(f"{DONE_INSTANCES}/extract")
    assert (instance["state"], instance["note"]) == ("success", "x")


async def test_task_instances_are_deleted_and_never_created_in_bulk(seeded: Client) -> None:
    actions = [
        {"action": "delete", "entities": ["extract", {"task_id": "load", "map_index": 3}]},
        {"action": "create", "entities": [{"task_id": "new"}]},
    ]
    answer = await seeded.send("PATCH", DONE_INSTANCES, {"actions": actions})
    assert answer["delete"]["success"] == [f"{DAG}.{DONE}.extract[-1]"]
    assert [error["status_code"] for error in answer["delete"]["errors"]] == [404]
    assert [error["status_code"] for error in answer["create"]["errors"]] == [405]
    await seeded.send("GET", f"{DONE_INSTANCES}/extract", status=404)


async def test_a_path_of_all_dags_wants_entities_that_say_which(seeded: Client) -> None:
    entities = ["extract", {"task_id": "extract", "dag_id": DAG, "dag_run_id": OPEN}]
    path = "/api/v2/dags/~/dagRuns/~/taskInstances"
    answer = await seeded.send("PATCH", path, {"actions": [{"action": "delete", "entities": entities}]})
    assert answer["delete"]["success"] == [f"{DAG}.{OPEN}.extract[-1]"]
    assert [error["status_code"] for error in answer["delete"]["errors"]] == [400]


@pytest.mark.parametrize(("has_file", "status"), [(True, 201), (False, 404)])
async def test_a_file_is_parsed_again_when_somebody_asks(
    api_context: ApiContext, admin: Client, has_file: bool, status: int
) -> None:
    asked: list[str] = []

    def reparse(dag_id: str) -> bool:
        asked.append(dag_id)
        return has_file

    lite = Client(create_app(_with(api_context, reparse=reparse)), token=admin.token)
    await lite.send("PUT", f"/api/v2/parseDagFile/{token_of('etl ü')}", status=status)
    assert asked == ["etl ü"]


async def test_a_cluster_has_no_files_to_parse_and_says_what_to_do(seeded: Client, api_context: ApiContext) -> None:
    cluster = Client(create_app(_with(api_context, reparse=None)), token=seeded.token)
    answer = await cluster.send("PUT", f"/api/v2/parseDagFile/{token_of(DAG)}", status=404)
    assert "leoflow deploy" in answer["detail"]
    await seeded.send("PUT", "/api/v2/parseDagFile/%21%21", status=404)


async def test_the_token_of_a_dag_is_the_one_that_the_route_reads(seeded: Client) -> None:
    assert (await seeded.get(f"/api/v2/dags/{DAG}"))["file_token"] == token_of(DAG)


def _with(context: ApiContext, **changes: Any) -> ApiContext:
    return dataclasses.replace(context, **changes)
