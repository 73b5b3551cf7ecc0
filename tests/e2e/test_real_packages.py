"""Operators of real providers in Lite: their packages in the DAG's own environment, their waits in the pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtests.lite_process import Api, Lite, temporary_folder, wait_until
from loadtests.waits import target_server

DAG = """\
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, BaseOperator, task
from counting import Countdown


class Launch(BaseOperator):
    def __init__(self, *, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def execute(self, context):
        self.defer(trigger=Countdown(count=self.count), method_name="landed", kwargs={"name": "Rosetta"})

    def landed(self, context, name, event=None):
        return f"{name} {event['left']}"


def is_there(response):
    return "there" in response.text


with DAG("real_packages", schedule=None):
    ask = HttpOperator(
        task_id="ask",
        http_conn_id="target",
        endpoint="/key/ask",
        method="GET",
        deferrable=True,
        response_check=is_there,
    )
    wait = HttpSensor(task_id="wait", http_conn_id="target", endpoint="/key/wait", poke_interval=1)
    launch = Launch(task_id="launch", count=3)

    @task
    def hook():
        return HttpHook(method="GET", http_conn_id="target").run("/key/hook").text

    wait >> [ask, hook()]
"""
TRIGGER = """\
import asyncio

from airflow.triggers.base import BaseTrigger, TriggerEvent


class Countdown(BaseTrigger):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def serialize(self):
        return "counting.Countdown", {"count": self.count}

    async def run(self):
        for left in range(self.count, -1, -1):
            self.log.info("%s to go", left)
            await asyncio.sleep(0.2)
        yield TriggerEvent({"left": left})
"""


@pytest.fixture(scope="module")
def target() -> Iterator[httpx.Client]:
    with target_server() as client:
        yield client


@pytest.fixture(scope="module")
def api(lite_environment: dict[str, str], target: httpx.Client, artifacts: Path) -> Iterator[Api]:
    with temporary_folder("leoflow-real-e2e-") as root:
        project = root / "workspace" / "real_packages"
        project.mkdir(parents=True)
        (project / "dag.py").write_text(DAG)
        (project / "counting.py").write_text(TRIGGER)
        (project / "leoflow.yaml").write_text("connectors: [http]\n")
        address = f"127.0.0.1:{target.base_url.port}"
        env = {**lite_environment, "LEOFLOW_EGRESS_ALLOW": address}
        with Lite(workspace=root / "workspace", data_dir=root / "data", env=env) as lite:
            try:
                with lite.api() as client:
                    body = {"connection_id": "target", "conn_type": "http", "host": "127.0.0.1"}
                    client.call("POST", "/connections", json={**body, "port": target.base_url.port})
                    client.wait_for_dags("real_packages", within_s=300)
                    client.unpause("real_packages")
                    yield client
            finally:
                (artifacts / "real-packages-output.txt").write_text(lite.output())


def test_real_operators_hooks_and_triggers_run_beside_native_waits(api: Api, target: httpx.Client) -> None:
    run_id = api.trigger("real_packages")

    def waits() -> bool:
        return api.states("real_packages", run_id)["wait"] == "deferred"

    wait_until(waits, within_s=60, what="the sensor to wait")
    target.post("/release")
    state = api.wait_for_run("real_packages", run_id, within_s=120)["state"]
    assert (state, set(api.states("real_packages", run_id).values())) == ("success", {"success"})
    assert api.xcoms("real_packages", run_id) == {
        "ask": {"return_value": "there"},
        "hook": {"return_value": "there"},
        "launch": {"return_value": "Rosetta 0"},
    }
    log = api.log("real_packages", run_id, "launch")
    assert "3 to go" in log, "the trigger's lines stand in the task's log"
    assert {one["try_number"] for one in api.task_instances("real_packages", run_id).values()} == {1}
