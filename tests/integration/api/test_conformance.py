"""Every answer fits Airflow's own OpenAPI document, required keys and all. It comes from the pinned wheel."""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from leoflowd.api.context import ApiContext
from leoflowd.contract.ui_builds import BUILDS
from tests.conftest import unpacked_ui
from tests.integration.api.api_client import Client
from tests.integration.api.api_seed import BROKEN, DAG, DONE, OPEN
from tests.integration.api.wait_seed import put_question, put_wait

REPOSITORY = Path(__file__).parents[3]
DOCUMENT = "v2-rest-api-generated.yaml"
ORDERS = re.compile("Supported attributes: `([^`]*)`")
REFUSED_ORDERS = {("/ui/dags/{dag_id}/dagRuns/{dag_run_id}/deadlines", "last_updated_at")}
"""Not recorded here, and its filters are refused too; no page sorts by it."""

D = f"/api/v2/dags/{DAG}"
R = f"{D}/dagRuns/{DONE}"
T = f"{R}/taskInstances/extract"

READS: tuple[tuple[str, str], ...] = (
    ("/api/v2/version", "/api/v2/version"),
    ("/api/v2/monitor/health", "/api/v2/monitor/health"),
    ("/api/v2/dags", "/api/v2/dags"),
    ("/api/v2/dags/{dag_id}", D),
    ("/api/v2/dags/{dag_id}/details", f"{D}/details"),
    ("/api/v2/dagTags", "/api/v2/dagTags"),
    ("/api/v2/dagStats", "/api/v2/dagStats"),
    ("/api/v2/dagWarnings", "/api/v2/dagWarnings"),
    ("/api/v2/dagSources/{dag_id}", f"/api/v2/dagSources/{DAG}"),
    ("/api/v2/dags/{dag_id}/dagVersions", f"{D}/dagVersions?order_by=-version_number"),
    ("/api/v2/dags/{dag_id}/dagVersions/{version_number}", f"{D}/dagVersions/1"),
    ("/api/v2/dags/{dag_id}/tasks", f"{D}/tasks"),
    ("/api/v2/dags/{dag_id}/tasks/{task_id}", f"{D}/tasks/load"),
    ("/api/v2/dags/{dag_id}/dagRuns", f"{D}/dagRuns"),
    ("/api/v2/dags/{dag_id}/dagRuns", "/api/v2/dags/~/dagRuns?cursor=&limit=1&order_by=-run_after"),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", R),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", f"{D}/dagRuns/{OPEN}"),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents", f"{R}/upstreamAssetEvents"),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", f"{R}/taskInstances"),
    (
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances",
        "/api/v2/dags/~/dagRuns/~/taskInstances?cursor=&order_by=-id&limit=2",
    ),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", T),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}", f"{T}/-1"),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped", f"{T}/listMapped"),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries", f"{T}/tries"),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries", f"{T}/-1/tries"),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries/{task_try_number}", f"{T}/tries/1"),
    (
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dependencies",
        f"{D}/dagRuns/{OPEN}/taskInstances/load/dependencies",
    ),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/links", f"{T}/links"),
    (
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}",
        f"{D}/dagRuns/{OPEN}/taskInstances/extract/logs/1",
    ),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", f"{T}/xcomEntries"),
    (
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
        f"{T}/xcomEntries/return_value",
    ),
    (
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
        f"{T}/xcomEntries/return_value?stringify=true",
    ),
    ("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", "/api/v2/dags/~/dagRuns/~/hitlDetails"),
    ("/api/v2/eventLogs", "/api/v2/eventLogs?order_by=-when"),
    ("/api/v2/eventLogs/{event_log_id}", "/api/v2/eventLogs/1"),
    ("/api/v2/importErrors", "/api/v2/importErrors"),
    ("/api/v2/importErrors/{import_error_id}", "/api/v2/importErrors/1"),
    ("/api/v2/pools", "/api/v2/pools"),
    ("/api/v2/pools/{pool_name}", "/api/v2/pools/default_pool"),
    ("/api/v2/plugins", "/api/v2/plugins"),
    ("/api/v2/plugins/importErrors", "/api/v2/plugins/importErrors"),
    ("/api/v2/providers", "/api/v2/providers"),
    ("/api/v2/jobs", "/api/v2/jobs?is_alive=true&order_by=-latest_heartbeat"),
    ("/api/v2/config", "/api/v2/config"),
    ("/api/v2/config", "/api/v2/config?section=redis"),
    ("/api/v2/config/section/{section}/option/{option}", "/api/v2/config/section/redis/option/url"),
    ("/api/v2/backfills", f"/api/v2/backfills?dag_id={DAG}"),
)

MANY = {"dag_runs": [{"dag_run_id": DONE}, {"dag_run_id": BROKEN}], "dry_run": False}
SINCE_3_3: tuple[tuple[str, str, str, Any, int], ...] = (
    ("post", "/api/v2/dags/{dag_id}/clearDagRuns", f"{D}/clearDagRuns", MANY, 200),
    ("post", "/api/v2/dags/{dag_id}/clearDagRuns", f"{D}/clearDagRuns", MANY | {"dry_run": True}, 200),
    (
        "patch",
        "/api/v2/dags/{dag_id}/dagRuns",
        f"{D}/dagRuns",
        {"actions": [{"action": "update", "entities": [{"dag_run_id": DONE, "note": "x"}]}]},
        200,
    ),
)
"""Operations that only the newer document has."""
BACKFILL = {"dag_id": DAG, "from_date": "2026-11-01T00:00:00Z", "to_date": "2026-11-03T00:00:00Z"}

WRITES: tuple[tuple[str, str, str, Any, int], ...] = (
    ("patch", "/api/v2/dags/{dag_id}", D, {"is_paused": True}, 200),
    ("patch", "/api/v2/dags", "/api/v2/dags?dag_id_pattern=etl", {"is_paused": True}, 200),
    ("post", "/api/v2/dags/{dag_id}/dagRuns", f"{D}/dagRuns", {"logical_date": None, "conf": {"n": 2}}, 200),
    ("patch", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", R, {"state": "failed", "note": "x"}, 200),
    ("post", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear", f"{R}/clear", {"dry_run": False}, 200),
    ("post", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear", f"{R}/clear", {}, 200),
    ("post", "/api/v2/dags/{dag_id}/dagRuns/list", "/api/v2/dags/~/dagRuns/list", {"states": ["success"]}, 200),
    (
        "post",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list",
        "/api/v2/dags/~/dagRuns/~/taskInstances/list",
        {"state": ["failed", None]},
        200,
    ),
    (
        "post",
        "/api/v2/dags/{dag_id}/clearTaskInstances",
        f"{D}/clearTaskInstances",
        {"dag_run_id": BROKEN, "dry_run": False},
        200,
    ),
    (
        "patch",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}",
        f"{T}?map_index=-1",
        {"new_state": "failed"},
        200,
    ),
    (
        "patch",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dry_run",
        f"{T}/dry_run",
        {"new_state": "failed", "include_downstream": True},
        200,
    ),
    (
        "post",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries",
        f"{T}/xcomEntries",
        {"key": "new", "value": [1]},
        201,
    ),
    (
        "patch",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
        f"{T}/xcomEntries/text",
        {"value": {"a": None}},
        200,
    ),
    (
        "patch",
        "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances",
        f"{R}/taskInstances",
        {
            "actions": [
                {"action": "update", "entities": [{"task_id": "extract", "new_state": "failed"}, {"task_id": "nope"}]},
                {"action": "delete", "entities": ["load"]},
            ]
        },
        200,
    ),
    (
        "patch",
        "/api/v2/pools",
        "/api/v2/pools",
        {"actions": [{"action": "create", "entities": [{"name": "new", "slots": 1}]}]},
        200,
    ),
    ("post", "/api/v2/backfills/dry_run", "/api/v2/backfills/dry_run", BACKFILL, 200),
    ("post", "/api/v2/backfills", "/api/v2/backfills", BACKFILL, 200),
    ("post", "/api/v2/pools", "/api/v2/pools", {"name": "p", "slots": 3}, 201),
    ("patch", "/api/v2/pools/{pool_name}", "/api/v2/pools/default_pool", {"slots": 7, "pool": None}, 200),
)


@cache
def _document(version: str) -> dict[str, Any]:
    folder = unpacked_ui(version)
    document: dict[str, Any] = yaml.load((folder / "openapi" / DOCUMENT).read_text(), Loader=yaml.CSafeLoader)
    # a full task instance also fits the short form, so that Airflow's own `oneOf` refuses Airflow's own answer
    items = document["components"]["schemas"]["ClearTaskInstanceCollectionResponse"]["properties"]["task_instances"]
    items["items"]["anyOf"] = items["items"].pop("oneOf")
    return document


def _check(method: str, path: str, status: int, body: Any) -> None:
    """With the document of each build of the UI that can be served."""
    known = [document for document in map(_document, BUILDS) if method in document["paths"].get(path, ())]
    assert known, f"no build has {method} {path}"
    for document in known:
        answers = document["paths"][path][method]["responses"]
        schema = answers[str(status)]["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator(
            {**schema, "components": document["components"]},
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
        validator.validate(body)


async def test_every_read_fits_the_document(seeded: Client) -> None:
    for path, url in READS:
        _check("get", path, 200, await seeded.get(url))


@pytest.mark.parametrize("case", WRITES + SINCE_3_3, ids=lambda case: f"{case[0]} {case[2]}")
async def test_a_write_fits_the_document(seeded: Client, case: tuple[str, str, str, Any, int]) -> None:
    method, path, url, body, status = case
    _check(method, path, status, await seeded.send(method.upper(), url, body, status=status))


async def test_questions_fit_the_document(seeded: Client, api_context: ApiContext) -> None:
    await put_wait(api_context.db, kind="human", arguments={"subject": "Go?", "options": ["Yes"]})
    await put_question(api_context.db, run_id=OPEN, task_id="load", subject="Go?")
    run, url = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", f"{D}/dagRuns/{OPEN}"
    one = f"{run}/taskInstances/{{task_id}}/{{map_index}}/hitlDetails"
    at = f"{url}/taskInstances/load/-1/hitlDetails"
    for _ in range(2):  # asked, then answered
        _check("get", f"{run}/hitlDetails", 200, await seeded.get(f"{url}/hitlDetails?state=deferred"))
        _check("get", one, 200, await seeded.get(at))
        _check("get", f"{one}/tries/{{try_number}}", 200, await seeded.get(f"{at}/tries/1"))
        body = {"chosen_options": ["Yes"], "params_input": {"age": 4}}
        answer = await seeded.call("PATCH", at, json=body)
        if answer.status_code == 200:
            _check("patch", one, 200, msgspec.json.decode(await answer.get_data(as_text=False)))
    assert answer.status_code == 409


async def test_all_problems_are_json_without_charset(seeded: Client, anonymous: Client) -> None:
    for client, url, status in (
        (anonymous, D, 401),
        (seeded, "/api/v2/dags/nope", 404),
        (seeded, "/api/v2/nope", 404),
        (seeded, "/api/v2/dags?limit=x", 422),
    ):
        answer = await client.call("GET", url)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/json"
        body = msgspec.json.decode(await answer.get_data(as_text=False))
        assert "detail" in body or "error" in body


async def test_datetimes_are_utc_with_z(seeded: Client) -> None:
    run = await seeded.get(R)
    assert run["run_after"] == "2026-11-19T03:00:00Z"
    assert run["dag_versions"][0]["created_at"].endswith("Z")


def _page() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(REPOSITORY / "docs" / "api_compatibility.py")))


def test_the_page_of_what_is_there_is_current() -> None:
    page = _page()
    documents = unpacked_ui() / "openapi"
    assert page.FILE.read_text() == page.page(documents), "run `make docs`"


def test_every_operation_answers_or_says_why_not_and_nothing_else_is_told() -> None:
    page = _page()
    documented = {one for name in page.DOCUMENTS for one in page.operations(unpacked_ui() / "openapi" / name)}
    served = set(page.served())
    missing = {one for one in documented if not page.is_served(one, served)}
    assert missing == set(page.NOT_THERE)
    assert set(page.NOTES) <= documented


async def test_a_list_takes_every_order_that_its_documents_name(seeded: Client) -> None:
    """The UI asks for the column whose head is clicked, and shows what it is refused as an error."""
    named = set()
    for version in BUILDS:
        for file in ("_private_ui.yaml", DOCUMENT):
            paths = yaml.load((unpacked_ui(version) / "openapi" / file).read_text(), Loader=yaml.CSafeLoader)["paths"]
            for path, operations in paths.items():
                for parameter in operations.get("get", {}).get("parameters", ()):
                    if parameter["name"] == "order_by" and (found := ORDERS.search(parameter.get("description", ""))):
                        named |= {(path, order) for order in found[1].split(", ")}
    assert len({path for path, _ in named}) > 20
    refused = []
    for path, order in sorted(named - REFUSED_ORDERS):
        url = path.format(dag_id=DAG, dag_run_id=DONE, task_id="extract", asset_id=1)
        answer = await seeded.call("GET", f"{url}?order_by={order}&dag_id={DAG}")
        if answer.status_code != 200 and not path.endswith("listMapped"):  # 404: no task here is mapped
            refused.append((path, order, await answer.get_data(as_text=True)))
    assert not refused, "\n".join(map(str, refused))


async def test_state_stores_are_empty_and_cannot_be_filled(seeded: Client) -> None:
    """The UI of Airflow 3.3 looks into them whenever it shows a task instance."""
    found = await seeded.get(f"{T}/state-store?map_index=-1&limit=50")
    assert found == {"task_state_store": [], "total_entries": 0}
    for path in (f"{D}/dagRuns/none/taskInstances/extract/state-store", "/api/v2/assets/1/state-store"):
        assert (await seeded.call("GET", path)).status_code == 404


async def test_an_operation_that_is_not_there_says_so_in_a_detail(seeded: Client) -> None:
    answer = await seeded.call("PUT", f"{T}/state-store/key")
    assert answer.status_code == 404
    assert "is not there" in msgspec.json.decode(await answer.get_data(as_text=False))["detail"]
