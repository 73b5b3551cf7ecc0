"""A secret that a file reads while it is loaded, in a real Lite: used by processes and waits, and shown by nobody."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loadtests.lite_process import PASSWORD, Api, Lite, temporary_folder

CANARY = "c4nary-In-The-Mine"
IN_BASE64 = base64.b64encode(f"u:{CANARY}".encode()).decode()
DAG = """\
import base64
import time
from pathlib import Path

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, BaseOperator, Connection, Variable, task

TOKEN = Variable.get("api_token")
KEY = Variable.get("service_secret", deserialize_json=True)["inner"]["key"]
BASIC = "Basic " + base64.b64encode(f"u:{Connection.get('target').password}".encode()).decode()


class Keeps(BaseOperator):
    def __init__(self, token, **kwargs):
        super().__init__(**kwargs)
        self.token = token

    def execute(self, context):
        print("keeps", self.token)
        return len(self.token)


with DAG("with_secrets", schedule=None, default_args={"env": {"TOKEN": TOKEN}}):
    BashOperator(task_id="bash", bash_command="echo $TOKEN; echo $TOKEN | wc -m", env={"TOKEN": TOKEN}, append_env=True)
    Keeps(task_id="keeps", token=KEY)
    HttpSensor(task_id="waits", http_conn_id="target", endpoint="/waits", headers={"Authorization": f"Bearer {TOKEN}"})
    HttpOperator(
        task_id="calls", http_conn_id="target", endpoint="/calls", method="GET", headers={"Authorization": BASIC}
    )

    @task
    def function(token):
        print("has", token)
        return len(token)

    @task
    def commands():
        seen = set()
        for _ in range(20):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(file.read_bytes().replace(b"\\0", b" ").decode(errors="replace"))
                except OSError:
                    pass  # it has just ended
            time.sleep(0.05)
        return sorted(seen)

    function(TOKEN)
    commands()
"""


class Heard(ThreadingHTTPServer):
    """What came with `Authorization`, by path."""

    def __init__(self) -> None:
        self.authorizations: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _Answers)


class _Answers(BaseHTTPRequestHandler):
    server: Heard

    def do_GET(self) -> None:
        self.server.authorizations[self.path] = self.headers.get("Authorization", "")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    with Heard() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def ended(lite_environment: dict[str, str], heard: Heard) -> Iterator[tuple[Api, str, Path]]:
    """A run of the DAG above that has ended, and the folder where Lite keeps everything."""
    with temporary_folder("leoflow-secrets-e2e-") as root:
        (root / "workspace" / "project").mkdir(parents=True)
        address = f"127.0.0.1:{heard.server_port}"
        env = {**lite_environment, "LEOFLOW_EGRESS_ALLOW": address}
        with Lite(workspace=root / "workspace", data_dir=root / "data", env=env) as lite, lite.api() as api:
            api.call("POST", "/variables", json={"key": "api_token", "value": CANARY})
            api.call(
                "POST", "/variables", json={"key": "service_secret", "value": f'{{"inner": {{"key": "{CANARY}"}}}}'}
            )
            target = {"connection_id": "target", "conn_type": "http", "host": f"http://{address}", "password": CANARY}
            api.call("POST", "/connections", json=target)
            (root / "workspace" / "project" / "dag.py").write_text(DAG)
            api.wait_for_dags("with_secrets")
            api.unpause("with_secrets")
            run_id = api.trigger("with_secrets")
            state = api.wait_for_run("with_secrets", run_id)["state"]
            assert state == "success", api.states("with_secrets", run_id)
            yield api, run_id, root / "data"


def test_every_task_has_the_value(ended: tuple[Api, str, Path], heard: Heard) -> None:
    api, run_id, _ = ended
    assert heard.authorizations == {"/waits": f"Bearer {CANARY}", "/calls": f"Basic {IN_BASE64}"}
    given = {task_id: found["return_value"] for task_id, found in api.xcoms("with_secrets", run_id).items()}
    length = len(CANARY)
    assert (given["bash"], given["keeps"], given["function"]) == (str(length + 1), length, length)


def test_no_answer_of_the_api_shows_it(ended: tuple[Api, str, Path]) -> None:
    api, run_id, _ = ended
    run = f"/api/v2/dags/with_secrets/dagRuns/{run_id}"
    tasks = ("bash", "keeps", "waits", "calls", "function")
    pages = [
        *("/api/v2/dags/with_secrets/details", "/api/v2/dags/with_secrets/tasks", "/api/v2/dagSources/with_secrets"),
        *(run, f"{run}/taskInstances", "/api/v2/variables", "/api/v2/connections", "/api/v2/eventLogs"),
        *("/leoflow/api/waits", "/leoflow/api/pool", "/api/v2/dags/with_secrets/dagVersions"),
        *(f"{run}/taskInstances/{task}/{what}" for task in tasks for what in ("logs/1", "tries", "xcomEntries")),
        *(f"/api/v2/leoflow/explain/with_secrets/{run_id}/{task}" for task in tasks),
    ]
    for page in pages:
        answer = api.http.get(page)
        assert answer.status_code == 200, f"{page}: {answer.text}"
        assert not [one for one in (CANARY, IN_BASE64) if one in answer.text], page
    assert "keeps ***" in api.log("with_secrets", run_id, "keeps")
    fields = api.task_instances("with_secrets", run_id)["bash"]["rendered_fields"]
    assert fields["env"] == {"TOKEN": "***"}


def test_no_file_outside_of_the_database_holds_it(ended: tuple[Api, str, Path]) -> None:
    _, _, data = ended
    files = [file for file in data.rglob("*") if file.is_file() and "postgres" not in file.relative_to(data).parts[0]]
    assert [file.name for file in files if file.name == "dag.py"], "the bundle is among them"
    assert not [str(file) for file in files if CANARY.encode() in file.read_bytes()]


def test_no_command_line_shows_a_secret(ended: tuple[Api, str, Path]) -> None:
    """As `ps` shows them to every user of the machine, while the tasks of this run were at work."""
    api, run_id, data = ended
    commands = api.xcoms("with_secrets", run_id)["commands"]["return_value"]
    assert any(str(data) in command for command in commands)
    secrets = [CANARY, IN_BASE64, PASSWORD, *(data / "secret_key").read_text().split(":")[1:]]
    secrets.append((data / "agent" / "host_token").read_text().strip())
    for command in commands:
        assert not any(secret.strip() in command for secret in secrets), command
