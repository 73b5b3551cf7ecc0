"""The published Python client, as it is, against a real Lite: each call of `client_calls.py` ends as it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.lite_process import PASSWORD, USERNAME, Api, Lite
from tests.conftest import missing, one_at_a_time

ROOT = Path(__file__).parents[2]
REQUIREMENT = "apache-airflow-client==3.2.2"
ENVIRONMENT = ROOT / ".cache" / REQUIREMENT
CALLS = Path(__file__).with_name("client_calls.py")
WITHIN_S = 600
DAG_ID = "for_clients"
DAG = """
from datetime import datetime

from airflow.sdk import DAG, task

with DAG("for_clients", schedule="@daily", start_date=datetime(2025, 12, 1), catchup=False, tags=["c"]):

    @task
    def hello():
        return {"a": 1}

    @task
    def after(x):
        print(x)

    after(hello())
"""


@pytest.fixture(scope="session")
def programs() -> Path:
    """Of an environment that has the client and nothing of ours."""
    with one_at_a_time(ENVIRONMENT):
        if not (ENVIRONMENT / "complete").exists():
            uv = Path(sys.executable).with_name("uv")
            for command in (
                ["venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)],
                ["pip", "install", "--quiet", "--python", str(ENVIRONMENT / "bin" / "python"), REQUIREMENT],
            ):
                done = subprocess.run(
                    [str(uv), *command], capture_output=True, text=True, timeout=WITHIN_S, check=False
                )
                if done.returncode != 0:
                    missing(f"{REQUIREMENT}; uv says: {done.stderr[-500:]}")
            (ENVIRONMENT / "complete").touch()
    return ENVIRONMENT / "bin"


@pytest.fixture(scope="module")
def served(lite: Lite, api: Api) -> Lite:
    folder = lite.workspace / DAG_ID
    folder.mkdir()
    (folder / "dag.py").write_text(DAG)
    api.wait_for_dags(DAG_ID)
    api.unpause(DAG_ID)
    return lite


def test_the_python_client_reads_and_writes_everything(served: Lite, api: Api, programs: Path) -> None:
    token = api.http.post("/auth/token", json={"username": USERNAME, "password": PASSWORD}).json()["access_token"]
    command = [str(programs / "python"), str(CALLS), served.url, token, DAG_ID]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {}
