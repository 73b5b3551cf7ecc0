"""Required actions in a real Lite and the unmodified UI: a form that is filled in, an approval, a mapped question.

The tests of this module are one visit: they share a run and a tab, top to bottom.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from loadtests.lite_process import USERNAME, Api, Lite, wait_until
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, log_in, visit

DAG_ID = "e2e_actions"
DAG = """\
from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import (
    ApprovalOperator, HITLBranchOperator, HITLEntryOperator, HITLOperator,
)
from airflow.sdk import DAG, Param, task


@task
def told(answer):
    return answer["params_input"]


with DAG("e2e_actions", schedule=None, params={"zone": Param("eu", type="string"), "age": Param(3, type="integer")}):
    form = HITLEntryOperator(
        task_id="form", subject="How many for {{ params.zone }}?", body="Count **them**.",
        params={"many": Param(3, type="integer", title="How many"), "also": Param("", type=["null", "string"])},
    )
    told(form.output)
    go = ApprovalOperator(task_id="go", subject="Go on?")
    go >> EmptyOperator(task_id="gone")
    late = HITLOperator(
        task_id="late", subject="Quick!", options=["a", "b"], defaults="b", response_timeout=timedelta(seconds=2)
    )
    turn = HITLBranchOperator(task_id="turn", subject="Where?", options=["left", "right"])
    turn >> [EmptyOperator(task_id="left"), EmptyOperator(task_id="right")]
    HITLOperator.partial(task_id="each", options=["yes", "no"]).expand(subject=["first?", "second?"])
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
    wait_until(lambda: len(asked(api)) == 5, within_s=60, what="the questions of five tasks")
    return run_id


def asked(api: Api) -> dict[tuple[str, int], dict[str, Any]]:
    """What is asked now, but for what a deadline will answer."""
    path = f"/dags/{DAG_ID}/dagRuns/~/hitlDetails"
    page = api.call("GET", path, params={"response_received": "false", "state": "deferred"})
    found = {(one["task_instance"]["task_id"], one["task_instance"]["map_index"]): one for one in page["hitl_details"]}
    return {key: one for key, one in found.items() if key[0] != "late"}


def instance(api: Api, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}"
    found: dict[str, Any] = api.call("GET", path)
    return found


def ends(api: Api, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
    wait_until(
        lambda: instance(api, run_id, task_id, map_index)["state"] == state,
        within_s=60,
        what=f"{task_id}[{map_index}] to be {state}",
    )


def returned(api: Api, run_id: str, task_id: str, map_index: int = -1) -> Any:
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
    return api.call("GET", path, params={"map_index": map_index, "stringify": "false"})["value"]


def test_what_nobody_answers_in_time_takes_its_default(api: Api, run_id: str) -> None:
    ends(api, run_id, "late", "success")
    assert returned(api, run_id, "late")["chosen_options"] == ["b"]
    assert returned(api, run_id, "late")["responded_by_user"] is None


def test_a_question_is_rendered_and_keeps_the_order_of_its_params(api: Api, run_id: str) -> None:
    form = asked(api)["form", -1]
    assert form["subject"] == "How many for eu?"
    assert list(form["params"]) == ["many", "also"]


def test_the_dag_keeps_the_order_of_its_params(api: Api, run_id: str) -> None:
    assert list(api.call("GET", f"/dags/{DAG_ID}/details")["params"]) == ["zone", "age"]


def test_a_user_logs_in(page: Page, complaints: Complaints) -> None:
    log_in(page, complaints)


def test_the_home_page_and_the_list_say_that_something_is_asked(page: Page, run_id: str, artifacts: Path) -> None:
    page.goto("/")
    expect(page.get_by_text(re.compile("Required Action", re.IGNORECASE)).first).to_be_visible(timeout=SEEN_MS)
    page.screenshot(path=artifacts / "actions-1-home.png")
    visit(page, "/required_actions")
    expect(page.get_by_text("How many for eu?").first).to_be_visible(timeout=SEEN_MS)
    expect(page.get_by_text("second?").first).to_be_visible(timeout=SEEN_MS)
    page.screenshot(path=artifacts / "actions-2-list.png")


def test_a_form_is_filled_in_and_the_task_goes_on(page: Page, api: Api, run_id: str, artifacts: Path) -> None:
    page.get_by_role("link", name="How many for eu?").click()
    page.wait_for_url(re.compile(r"/tasks/form/required_actions"))
    field = page.locator("[name=element_many]")
    expect(field).to_be_visible(timeout=SEEN_MS)
    field.fill("42")
    page.screenshot(path=artifacts / "actions-3-form.png")
    page.get_by_test_id("hitl-option-OK").click()
    ends(api, run_id, "told", "success")
    assert returned(api, run_id, "told") == {"many": 42, "also": ""}
    answer = returned(api, run_id, "form")
    assert answer["chosen_options"] == ["OK"]
    assert answer["responded_by_user"] == {"id": USERNAME, "name": USERNAME}


def test_a_rejection_skips(page: Page, api: Api, run_id: str, artifacts: Path) -> None:
    visit(page, f"/dags/{DAG_ID}/runs/{run_id}/tasks/go/required_actions")
    page.get_by_test_id("hitl-option-Reject").click()
    ends(api, run_id, "gone", "skipped")
    assert instance(api, run_id, "go")["state"] == "success"
    page.screenshot(path=artifacts / "actions-4-rejected.png")


def test_each_instance_of_a_mapped_task_is_answered_by_itself(page: Page, api: Api, run_id: str) -> None:
    visit(page, f"/dags/{DAG_ID}/runs/{run_id}/tasks/each/mapped/1/required_actions")
    expect(page.get_by_text("second?").first).to_be_visible(timeout=SEEN_MS)
    page.get_by_test_id("hitl-option-no").click()
    ends(api, run_id, "each", "success", 1)
    assert returned(api, run_id, "each", 1)["chosen_options"] == ["no"]
    assert instance(api, run_id, "each", 0)["state"] == "deferred"


def test_the_trigger_form_has_typed_fields_in_the_files_order(
    page: Page, api: Api, run_id: str, artifacts: Path
) -> None:
    page.goto(f"/dags/{DAG_ID}")
    page.get_by_test_id("trigger-dag-button").click()
    fields = page.locator("[name^=element_]")
    expect(fields.first).to_be_visible(timeout=SEEN_MS)
    assert [field.get_attribute("name") for field in fields.all()] == ["element_zone", "element_age"]
    page.locator("[name=element_age]").fill("7")
    page.screenshot(path=artifacts / "actions-5-trigger.png")
    page.get_by_test_id("trigger-dag-submit").click()
    wait_until(lambda: len(confs(api)) == 2, within_s=60, what="a second run")
    assert {"zone": "eu", "age": 7} in confs(api)


def confs(api: Api) -> list[Any]:
    return [run["conf"] for run in api.call("GET", f"/dags/{DAG_ID}/dagRuns")["dag_runs"]]


def test_the_rest_is_answered_and_the_run_ends(api: Api, run_id: str) -> None:
    base = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
    api.call("PATCH", f"{base}/each/0/hitlDetails", json={"chosen_options": ["yes"]})
    api.call("PATCH", f"{base}/turn/-1/hitlDetails", json={"chosen_options": ["right"]})
    assert api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    assert [instance(api, run_id, one)["state"] for one in ("left", "right")] == ["skipped", "success"]
    assert run_id not in {one["task_instance"]["dag_run_id"] for one in asked(api).values()}
