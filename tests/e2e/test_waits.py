"""Waits in a real Lite: what people see, what withdraws a wait, and what a kill of the daemon does to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.lite_process import Api, Lite, temporary_folder, wait_until
from loadtests.waits import target_server

DAG = """\
from datetime import timedelta

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG

with DAG("file_wait", schedule=None):
    FileSensor(task_id="wait", filepath="{{ dag_run.conf['path'] }}", poke_interval=1) >> EmptyOperator(task_id="after")

with DAG("two_timeouts", schedule=None):
    for name, soft_fail in (("hard", False), ("soft", True)):
        FileSensor(task_id=name, filepath="/nowhere/x", timeout=1, soft_fail=soft_fail, poke_interval=0.2, retries=3)

with DAG("crowd", schedule=None, max_active_tasks=0):
    for number in range(300):
        HttpSensor(
            task_id=f"wait_{number:03}",
            http_conn_id="target",
            endpoint="/key/one",
            poke_interval=2,
            mode="reschedule" if number % 2 else "poke",
        )

with DAG("calls", schedule=None):
    HttpOperator(task_id="call", http_conn_id="target", endpoint="/key/{{ dag_run.conf['name'] }}", method="GET")

with DAG("far_away", schedule=None):
    DateTimeSensor(task_id="wait", target_time="2100-01-01T00:00:00+00:00") >> EmptyOperator(task_id="after")
"""
DAG_IDS = ("file_wait", "two_timeouts", "crowd", "calls", "far_away")


class Scene:
    """A Lite with the DAGs above, and a server for the HTTP sensors to look at."""

    def __init__(self, root: Path, lite: Lite, target: httpx.Client) -> None:
        self.root, self.lite, self.target = root, lite, target

    def path(self) -> Path:
        return self.root / "arrives"

    def waits(self, api: Api, **filters: Any) -> list[dict[str, Any]]:
        answer = api.http.get("/leoflow/api/waits", params=filters)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["waits"]
        return found

    def watched(self) -> dict[str, int]:
        """Waits in the pool's memory, by kind."""
        with self.lite.api() as api:
            found: dict[str, int] = api.http.get("/leoflow/api/pool").json()["waits"]
            return {kind: count for kind, count in found.items() if count}

    def wait_for_state(self, api: Api, dag_id: str, run_id: str, **states: str | None) -> None:
        def reached() -> bool:
            return states.items() <= api.states(dag_id, run_id).items()

        wait_until(reached, within_s=30, what=f"{states} in {dag_id}")


@pytest.fixture(scope="module")
def scene(lite_environment: dict[str, str], artifacts: Path) -> Iterator[Scene]:
    with temporary_folder("leoflow-waits-e2e-") as root, target_server() as target:
        (root / "workspace" / "waits").mkdir(parents=True)
        (root / "workspace" / "waits" / "dag.py").write_text(DAG)
        address = f"127.0.0.1:{target.base_url.port}"
        env = {**lite_environment, "AIRFLOW_CONN_TARGET": f"http://{address}", "LEOFLOW_EGRESS_ALLOW": address}
        with Lite(workspace=root / "workspace", data_dir=root / "data", env=env) as lite:
            with lite.api() as api:
                api.wait_for_dags(*DAG_IDS)
                api.unpause(*DAG_IDS)
            try:
                yield Scene(root, lite, target)
            finally:
                (artifacts / "waits-output.txt").write_text(lite.output())


@pytest.fixture
def api(scene: Scene) -> Iterator[Api]:
    with scene.lite.api() as client:
        yield client


def test_a_file_that_arrives_ends_the_wait(scene: Scene, api: Api) -> None:
    path = scene.root / "first"
    run_id = api.trigger("file_wait", conf={"path": str(path)})
    scene.wait_for_state(api, "file_wait", run_id, wait="deferred", after=None)
    (wait,) = scene.waits(api, dag_id="file_wait")
    explained = api.http.get(f"/leoflow/api/waits/{wait['id']}").json()
    assert str(path) in json.dumps(explained)
    path.touch()
    assert api.wait_for_run("file_wait", run_id)["state"] == "success"
    assert scene.waits(api, dag_id="file_wait") == []


def test_a_timeout_fails_or_skips_and_says_why(scene: Scene, api: Api) -> None:
    run_id = api.trigger("two_timeouts")
    assert api.wait_for_run("two_timeouts", run_id)["state"] == "failed"
    instances = api.task_instances("two_timeouts", run_id)
    assert {name: one["state"] for name, one in instances.items()} == {"hard": "failed", "soft": "skipped"}
    assert {one["try_number"] for one in instances.values()} == {1}, "a timeout is not retried, as in Airflow"
    assert "timed out" in api.log("two_timeouts", run_id, "hard")
    explained = api.call("GET", f"/leoflow/explain/two_timeouts/{run_id}/hard")
    assert "timed out" in json.dumps(explained)


def test_hundreds_of_sensors_on_one_address_ask_once_an_interval(scene: Scene, api: Api) -> None:
    scene.target.post("/forget")
    run_id = api.trigger("crowd")

    def all_wait() -> bool:
        states = set(api.states("crowd", run_id).values())
        return states == {"deferred", "up_for_reschedule"}

    wait_until(all_wait, within_s=60, what="300 sensors to wait")
    wait_until(lambda: scene.target.get("/counts").json()["requests"] >= 3, within_s=30, what="three requests")
    seen = scene.target.get("/counts", params={"cadence": 2}).json()
    assert seen["keys"] == 1
    assert seen["gap_minus_cadence_s"]["0.5"] > -1.0, "one request an interval, not one a sensor"
    assert seen["requests"] < 30
    scene.target.post("/release")
    assert api.wait_for_run("crowd", run_id)["state"] == "success"


def test_an_inline_call_needs_no_process_and_keeps_its_answer(scene: Scene, api: Api) -> None:
    scene.target.post("/release")
    run_id = api.trigger("calls", conf={"name": "inline"})
    assert api.wait_for_run("calls", run_id)["state"] == "success"
    assert api.xcoms("calls", run_id) == {"call": {"return_value": "there"}}
    (call,) = api.task_instances("calls", run_id).values()
    assert (call["hostname"], call["executor"], call["pid"]) == ("inline", "inline", None)
    assert "/key/inline" in api.log("calls", run_id, "call")


def test_clearing_marking_pausing_and_deleting_withdraw_the_wait(scene: Scene, api: Api) -> None:
    run_id = api.trigger("far_away")
    scene.wait_for_state(api, "far_away", run_id, wait="deferred")
    (first,) = scene.waits(api, dag_id="far_away")
    assert scene.watched() == {"time": 1}

    api.call(
        "POST",
        "/dags/far_away/clearTaskInstances",
        json={"dry_run": False, "dag_run_id": run_id, "task_ids": ["wait"], "only_failed": False},
    )

    def replaced() -> bool:
        found = scene.waits(api, dag_id="far_away")
        return len(found) == 1 and found[0]["id"] != first["id"]

    wait_until(replaced, within_s=30, what="a new wait after the clear")
    wait_until(lambda: scene.watched() == {"time": 1}, within_s=30, what="the old wait to leave the pool")

    api.call("PATCH", "/dags/far_away", json={"is_paused": True})
    wait_until(lambda: scene.watched() == {}, within_s=30, what="the paused DAG's wait to leave the pool")
    api.call("PATCH", "/dags/far_away", json={"is_paused": False})
    wait_until(lambda: scene.watched() == {"time": 1}, within_s=30, what="the wait to be armed again")

    api.call("PATCH", f"/dags/far_away/dagRuns/{run_id}/taskInstances/wait", json={"new_state": "success"})
    assert api.wait_for_run("far_away", run_id)["state"] == "success"
    wait_until(lambda: scene.watched() == {}, within_s=30, what="the marked task's wait to leave the pool")

    second = api.trigger("far_away")
    scene.wait_for_state(api, "far_away", second, wait="deferred")
    wait_until(lambda: scene.watched() == {"time": 1}, within_s=30, what="the second run's wait")
    api.call("DELETE", f"/dags/far_away/dagRuns/{second}")
    wait_until(lambda: scene.watched() == {}, within_s=30, what="the deleted run's wait to leave the pool")


def test_a_person_may_fire_or_fail_a_wait(scene: Scene, api: Api) -> None:
    for action, state in (("fire", "success"), ("fail", "failed")):
        run_id = api.trigger("far_away")
        scene.wait_for_state(api, "far_away", run_id, wait="deferred")
        (wait,) = scene.waits(api, dag_id="far_away")
        answer = api.http.post(f"/leoflow/api/waits/{wait['id']}/{action}")
        assert answer.is_success, answer.text
        assert api.wait_for_run("far_away", run_id)["state"] == state


def test_waits_survive_a_kill_of_the_daemon(scene: Scene) -> None:
    path = scene.root / "later"
    with scene.lite.api() as api:
        run_id = api.trigger("file_wait", conf={"path": str(path)})
        scene.wait_for_state(api, "file_wait", run_id, wait="deferred")
    scene.lite.kill_daemon()
    path.touch()
    scene.lite.start()
    with scene.lite.api() as api:
        assert api.wait_for_run("file_wait", run_id)["state"] == "success"
        assert api.task_instances("file_wait", run_id)["wait"]["try_number"] == 1
