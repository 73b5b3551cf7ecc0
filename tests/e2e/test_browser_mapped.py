"""Mapped tasks in a real Lite: what they return, what the API and the UI say of each, and one of them run again.

The tests of this module are one visit: they share a run and a tab, top to bottom.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from loadtests.lite_process import Api, Lite, wait_until
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, log_in, visit

DAG_ID = "e2e_mapped"
DAG = """\
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, task, task_group


@task
def names():
    return ["ann", "bob", "eve"]


@task(map_index_template="{{ ti.map_index }}: {{ task.op_kwargs['name'] }}")
def greet(name):
    print(f"hello {name}")
    return f"hello {name}"


@task
def join(greetings):
    return [len(greetings), ", ".join(greetings)]


@task_group
def each(name):
    greet.override(task_id="second")(name=greet.override(task_id="first")(name=name))


with DAG("e2e_mapped", schedule=None):
    found = names()
    join(greet.expand(name=found))
    each.expand(name=found)
    FileSensor.partial(task_id="wait", poke_interval=0.2).expand(filepath=["/", "/tmp"])
    greet.override(task_id="nobody").expand(name=[])
"""
SEEN_MS = 1000 * PATIENCE_S


@pytest.fixture(scope="module")
def run_id(lite: Lite, api: Api) -> str:
    project = lite.workspace / DAG_ID
    project.mkdir()
    (project / "dag.py").write_text(DAG)
    api.wait_for_dags(DAG_ID)
    api.unpause(DAG_ID)
    run_id = api.trigger(DAG_ID)
    assert api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    return run_id


def instances(api: Api, run_id: str) -> dict[tuple[str, int], dict[str, Any]]:
    found = api.call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances", params={"limit": 100})["task_instances"]
    return {(one["task_id"], one["map_index"]): one for one in found}


def returned(api: Api, run_id: str, task_id: str, map_index: int = -1) -> Any:
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
    return api.call("GET", path, params={"map_index": map_index, "stringify": "false"})["value"]


def test_instances_and_groups_run_and_are_reduced(api: Api, run_id: str) -> None:
    states = {key: one["state"] for key, one in instances(api, run_id).items()}
    threes = {(task_id, index): "success" for task_id in ("greet", "each.first", "each.second") for index in range(3)}
    waits = {("wait", 0): "success", ("wait", 1): "success"}
    assert states == {
        ("names", -1): "success", ("join", -1): "success", ("nobody", -1): "skipped", **threes, **waits,
    }  # fmt: skip
    assert returned(api, run_id, "join") == [3, "hello ann, hello bob, hello eve"]
    assert returned(api, run_id, "each.second", 1) == "hello hello bob"


def test_instances_have_names_logs_and_a_list(api: Api, run_id: str) -> None:
    base = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
    listed = api.call("GET", f"{base}/greet/listMapped")
    assert [one["rendered_map_index"] for one in listed["task_instances"]] == ["0: ann", "1: bob", "2: eve"]
    assert api.call("GET", f"{base}/greet/2")["rendered_fields"]["op_kwargs"] == {"name": "eve"}
    log = api.call("GET", f"{base}/greet/logs/1", params={"map_index": 1}, headers={"Accept": "application/json"})
    assert "hello bob" in json.dumps(log["content"])
    assert "hello ann" not in json.dumps(log["content"])


def test_grid_and_graph_know_what_is_mapped(api: Api, run_id: str) -> None:
    rows = {row["id"]: row["is_mapped"] for row in api.http.get(f"/ui/grid/structure/{DAG_ID}").json()}
    assert (rows["greet"], rows["each"], rows["names"]) == (True, True, None)
    (line,) = api.http.get(f"/ui/grid/ti_summaries/{DAG_ID}", params={"run_ids": run_id}).text.splitlines()
    squares = {one["task_id"]: one for one in json.loads(line)["task_instances"]}
    assert squares["greet"]["child_states"] == {"success": 3}
    assert squares["each"]["child_states"] == {"success": 6}
    assert (squares["nobody"]["state"], squares["nobody"]["child_states"]) == ("skipped", {"skipped": 1})
    assert squares["names"]["child_states"] is None


def test_one_map_index_is_cleared_and_only_what_follows_it(api: Api, run_id: str) -> None:
    before = instances(api, run_id)
    body = {"dag_run_id": run_id, "task_ids": [["each.first", 1]], "include_downstream": True, "dry_run": False}
    answer = api.call("POST", f"/dags/{DAG_ID}/clearTaskInstances", json={**body, "only_failed": False})
    cleared = {(one["task_id"], one["map_index"]) for one in answer["task_instances"]}
    assert cleared == {("each.first", 1), ("each.second", 1)}
    wait_until(
        lambda: (
            instances(api, run_id)["each.second", 1]["try_number"] == 2
            and api.run(DAG_ID, run_id)["state"] == "success"
        ),
        within_s=60,
        what="the cleared instances",
    )
    after = instances(api, run_id)
    assert {key for key in after if after[key]["id"] != before[key]["id"]} == cleared
    assert after["each.first", 1]["try_number"] == 2


def test_a_user_logs_in(page: Page, complaints: Complaints) -> None:
    log_in(page, complaints)


def test_the_mapped_task_lists_its_instances_by_name(page: Page, run_id: str, artifacts: Path) -> None:
    visit(page, f"/dags/{DAG_ID}/runs/{run_id}/tasks/greet/mapped")
    for name in ("0: ann", "1: bob", "2: eve"):
        expect(page.get_by_role("row", name=re.compile(f"^{name} "))).to_be_visible(timeout=SEEN_MS)
    page.screenshot(path=artifacts / "mapped-1-list.png")


def test_one_instance_shows_its_own_log(page: Page, run_id: str, artifacts: Path) -> None:
    page.get_by_role("row", name=re.compile("^1: bob ")).get_by_role("link").first.click()
    page.wait_for_url(re.compile(r"/tasks/greet/mapped/1"))
    expect(page.get_by_text("hello bob").first).to_be_visible(timeout=SEEN_MS)
    page.screenshot(path=artifacts / "mapped-2-log.png")


def test_one_instance_is_marked(page: Page, api: Api, run_id: str) -> None:
    body = {"new_state": "failed"}
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/greet"
    api.call("PATCH", f"{path}/0", json=body)
    found = {index: one["state"] for (task_id, index), one in instances(api, run_id).items() if task_id == "greet"}
    assert found == {0: "failed", 1: "success", 2: "success"}
    page.goto(f"/dags/{DAG_ID}/runs/{run_id}/tasks/greet/mapped/0")
    expect(page.get_by_text("Failed").first).to_be_visible(timeout=SEEN_MS)
