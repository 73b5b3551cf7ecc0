"""Callbacks in a real Lite: what people see of them, in the log of the try, in lists, and once more."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.lite_process import Api, Lite, wait_until
from tests.conftest import PATIENCE_S

DAG = """\
from airflow.sdk import BaseHook, DAG, Variable, task

def ask(context): print("it is at", BaseHook.get_connection("calls_back").host, Variable.get("calls_back"))
def tell(context): print("told of", context["ti"].task_id, context.get("reason"), repr(context.get("exception")))
def break_(context): raise ValueError("the callback's own")

with DAG("calls_back", schedule=None, on_failure_callback=tell):
    @task(on_failure_callback=[break_, tell])
    def fails(): raise ValueError("the task's own")
    @task(on_success_callback=[tell, ask])
    def works(): return 1
    fails(), works()
"""
CALLBACKS = "/leoflow/api/callbacks"


@pytest.fixture(scope="module")
def run_id(lite: Lite, api: Api) -> str:
    """A run that has failed and called back."""
    stored = {"connection_id": "calls_back", "conn_type": "http", "host": "stored.example"}
    api.call("POST", "/connections", json=stored)
    api.call("POST", "/variables", json={"key": "calls_back", "value": "as a variable"})
    folder = lite.workspace / "calls_back"
    folder.mkdir()
    (folder / "dag.py").write_text(DAG)
    api.wait_for_dags("calls_back")
    api.unpause("calls_back")
    run_id = api.trigger("calls_back")
    assert api.wait_for_run("calls_back", run_id)["state"] == "failed"
    wait_until_over(api)
    return run_id


def ask(api: Api, method: str, path: str = "") -> Any:
    return api.http.request(method, CALLBACKS + path)


def callbacks(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(api, "GET", "?dag_id=calls_back&order_by=id").json()["callbacks"]
    return found


def wait_until_over(api: Api) -> None:
    wait_until(
        lambda: len(callbacks(api)) == 3 and all(one["ended_at"] for one in callbacks(api)),
        within_s=PATIENCE_S,
        what="three callbacks that have ended",
    )


def one_of(api: Api, task_id: str, *, of_dag: bool = False) -> dict[str, Any]:
    (found,) = [one for one in callbacks(api) if one["task_id"] == task_id and one["of_dag"] is of_dag]
    return found


def test_each_end_has_called_once_and_no_state_was_changed(api: Api, run_id: str) -> None:
    assert api.states("calls_back", run_id) == {"fails": "failed", "works": "success"}
    assert [
        one_of(api, *key, of_dag=of_dag)["state"] for key, of_dag in ((("fails",), False), (("works",), False))
    ] == [
        "failed",
        "success",
    ]
    assert one_of(api, "fails", of_dag=True)["state"] == "success"
    assert {one["starts"] for one in callbacks(api)} == {1}


def test_what_it_wrote_stands_behind_the_log_of_the_try(api: Api, run_id: str) -> None:
    log = api.log("calls_back", run_id, "fails").splitlines()
    group = log.index("::group::Callback of task 'fails' (failure)")
    assert "Task failed with exception" in log[:group]
    told = log.index('told of fails None ValueError("the task\'s own")')
    assert group < told
    assert "on_failure_callback break_ failed" in log[group:]


def test_it_reads_what_the_server_stores(api: Api, run_id: str) -> None:
    assert "it is at stored.example as a variable" in api.log("calls_back", run_id, "works")
    assert one_of(api, "works")["state"] == "success"


def test_a_dag_runs_callback_has_a_log_of_its_own(api: Api, run_id: str) -> None:
    row = one_of(api, "fails", of_dag=True)
    assert "told of fails task_failure None" in ask(api, "GET", f"/{row['id']}/log").text


def test_a_failed_callback_is_told_where_people_look(api: Api, run_id: str) -> None:
    explained = api.call("GET", f"/leoflow/explain/calls_back/{run_id}/fails")["because"]
    because = "its callback for failure failed: on_failure_callback break_: ValueError: the callback's own"
    assert because in explained
    events = api.call("GET", "/eventLogs", params={"dag_id": "calls_back", "event": "callback failed"})["event_logs"]
    assert [event["task_id"] for event in events] == ["fails"]


def test_one_can_be_run_once_more(api: Api, run_id: str) -> None:
    row = one_of(api, "works")
    assert ask(api, "POST", f"/{row['id']}/retry").status_code == 202
    wait_until_over(api)
    assert one_of(api, "works")["starts"] == 2
    assert api.log("calls_back", run_id, "works").count("told of works") == 2
    assert api.states("calls_back", run_id)["works"] == "success"


def test_one_that_is_not_there_is_not_found(api: Api) -> None:
    assert ask(api, "GET", "/999999999").status_code == 404
    assert ask(api, "POST", "/999999999/retry").status_code == 404
