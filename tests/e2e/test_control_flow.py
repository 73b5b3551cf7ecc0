"""Branches, scopes and started runs in a real Lite: what people see, and what a clear does to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loadtests.lite_process import Api, Lite, wait_until

DAG = """\
from datetime import datetime, timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, TaskGroup, TriggerRule, task

with DAG("flow_branch", schedule=None, params={{"way": "left"}}):
    @task.branch
    def choose(params):
        return params["way"]

    with TaskGroup("group") as group:
        EmptyOperator(task_id="first") >> EmptyOperator(task_id="second")
    left = EmptyOperator(task_id="left")
    join = EmptyOperator(task_id="join", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    choose() >> [left, group] >> join

with DAG("flow_scope", schedule=None):
    @task
    def work(name):
        return name

    up, down = work.override(task_id="up")("up"), work.override(task_id="down")("down")
    with down.as_teardown(setups=up):
        work("work") >> work.override(task_id="more")("more")

with DAG("flow_latest", schedule="@daily", start_date=datetime({start}), catchup=True):
    LatestOnlyOperator(task_id="latest") >> EmptyOperator(task_id="after")

with DAG("flow_starts", schedule=None):
    TriggerDagRunOperator(task_id="later", trigger_dag_id="flow_scope", trigger_run_id="later",
                          run_after="2100-01-01T00:00:00+00:00")
    TriggerDagRunOperator(task_id="paused", trigger_dag_id="flow_paused", fail_when_dag_is_paused=True)

with DAG("flow_paused", schedule=None, is_paused_upon_creation=True):
    EmptyOperator(task_id="never")

with DAG("flow_elsewhere", schedule=None):
    @task.virtualenv(system_site_packages=False)
    def elsewhere(name, ds=None):
        import sys
        return [name, ds, sys.prefix != sys.base_prefix]

    elsewhere("{{{{ run_id }}}}")
"""
RUNNING = ("flow_branch", "flow_scope", "flow_latest", "flow_starts", "flow_elsewhere")


@pytest.fixture(scope="module")
def flow(lite: Lite, api: Api) -> Api:
    """The shared Lite with the DAGs above. The oldest run of `flow_latest` is of the day before yesterday."""
    start = datetime.now(UTC) - timedelta(days=2)
    folder = lite.workspace / "flow"
    folder.mkdir()
    (folder / "dag.py").write_text(DAG.format(start=f"{start.year}, {start.month}, {start.day}"))
    api.wait_for_dags(*RUNNING, "flow_paused")
    api.unpause(*RUNNING)
    return api


def ended(api: Api, dag_id: str, run_id: str) -> tuple[str, dict[str, str | None]]:
    return api.wait_for_run(dag_id, run_id)["state"], api.states(dag_id, run_id)


def clear(api: Api, dag_id: str, run_id: str, *task_ids: str) -> set[str]:
    body = {"dag_run_id": run_id, "task_ids": list(task_ids), "only_failed": False, "dry_run": False}
    answer = api.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)
    return {one["task_id"] for one in answer["task_instances"]}


def why(api: Api, dag_id: str, run_id: str, task_id: str) -> str:
    """Why it is in its state, as the UI tells it."""
    return str(api.call("GET", f"/leoflow/explain/{dag_id}/{run_id}/{task_id}"))


LEFT = {"choose": "success", "left": "success", "group.first": "skipped", "group.second": "skipped", "join": "success"}
GROUP = {"choose": "success", "left": "skipped", "group.first": "success", "group.second": "success", "join": "success"}


@pytest.mark.parametrize(("way", "states"), [("left", LEFT), ("group", GROUP)])
def test_a_branch_goes_the_way_of_the_run(flow: Api, way: str, states: dict[str, str]) -> None:
    run_id = flow.trigger("flow_branch", conf={"way": way})
    assert ended(flow, "flow_branch", run_id) == ("success", states)


def test_a_clear_of_what_was_left_out_changes_nothing(flow: Api) -> None:
    run_id = flow.trigger("flow_branch")
    assert ended(flow, "flow_branch", run_id) == ("success", LEFT)
    assert clear(flow, "flow_branch", run_id, "group.first", "join") == {"group.first", "join"}
    assert ended(flow, "flow_branch", run_id) == ("success", LEFT)
    instances = flow.task_instances("flow_branch", run_id)
    assert instances["join"]["try_number"] == 2
    assert instances["group.first"]["try_number"] == 0


def test_an_answer_that_is_no_task_fails_with_those_that_are(flow: Api) -> None:
    run_id = flow.trigger("flow_branch", conf={"way": "right"})
    assert ended(flow, "flow_branch", run_id)[0] == "failed"
    assert "'right', which is no task downstream of it; it can answer group.first, left" in why(
        flow, "flow_branch", run_id, "choose"
    )


def test_a_clear_brings_setup_and_teardown(flow: Api) -> None:
    run_id = flow.trigger("flow_scope")
    assert ended(flow, "flow_scope", run_id) == ("success", dict.fromkeys(("up", "work", "more", "down"), "success"))
    assert clear(flow, "flow_scope", run_id, "more") == {"up", "more", "down"}
    flow.wait_for_run("flow_scope", run_id)
    tries = {task_id: one["try_number"] for task_id, one in flow.task_instances("flow_scope", run_id).items()}
    assert tries == {"up": 2, "work": 1, "more": 2, "down": 2}


def test_latest_only_runs_what_follows_in_the_newest_run(flow: Api) -> None:
    def after() -> list[str | None] | None:
        """States of `after`, oldest run first, when the three runs are over."""
        runs = flow.call("GET", "/dags/flow_latest/dagRuns", params={"order_by": "run_after"})["dag_runs"]
        if len(runs) < 3 or any(run["state"] != "success" for run in runs):
            return None
        return [flow.states("flow_latest", run["dag_run_id"])["after"] for run in runs]

    states = wait_until(after, within_s=120, what="the runs of flow_latest")
    assert states[0] == "skipped"
    assert states[-1] == "success" or len(states) > 3


def test_a_run_is_asked_for_later_and_not_of_a_paused_dag(flow: Api) -> None:
    run_id = flow.trigger("flow_starts")
    assert ended(flow, "flow_starts", run_id) == ("failed", {"later": "success", "paused": "failed"})
    later = flow.run("flow_scope", "later")
    assert (later["state"], later["run_after"], later["logical_date"]) == ("queued", "2100-01-01T00:00:00Z", None)
    assert "Dag flow_paused is paused" in why(flow, "flow_starts", run_id, "paused")
    assert flow.call("GET", "/dags/flow_paused/dagRuns")["total_entries"] == 0


def test_a_function_runs_in_an_environment_of_its_own(flow: Api) -> None:
    run_id = flow.trigger("flow_elsewhere", logical_date="2026-01-05T00:00:00Z")
    assert ended(flow, "flow_elsewhere", run_id) == ("success", {"elsewhere": "success"})
    assert flow.xcoms("flow_elsewhere", run_id) == {"elsewhere": {"return_value": [run_id, "2026-01-05", True]}}
