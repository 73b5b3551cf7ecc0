"""The published Python client and `airflowctl`, as they are, against a real Lite: each call ends as it should.

`client_calls.py` and `airflowctl_calls.py` have the calls; each client has an environment of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.lite_process import PASSWORD, USERNAME, Api, Lite, wait_until
from tests.conftest import missing, one_at_a_time

ROOT = Path(__file__).parents[2]
PYTHON_CLIENT = "apache-airflow-client==3.2.2"
AIRFLOWCTL = "apache-airflow-ctl==0.1.5"
"""Made for a newer API than 3.2.2; older releases lack half of these commands."""
HERE = Path(__file__).parent
WITHIN_S = 600
DAG_ID = "for_clients"
WAITING = "waits_for_clients"
DAG = """
from datetime import datetime

from airflow.sdk import DAG, Asset, AssetAlias, task

kept, other = Asset("of-airflowctl"), Asset("other-of-airflowctl")

with DAG("for_clients", schedule="@daily", start_date=datetime(2025, 12, 1), tags=["c", "of-airflowctl"]):

    @task(outlets=[kept, AssetAlias("alias-of-airflowctl")])
    def hello():
        return {"a": 1}

    @task
    def after(x):
        print(x)

    after(hello())

with DAG("waits_for_clients", schedule=(kept & other), start_date=datetime(2025, 12, 1)):

    @task
    def wait():
        pass

    wait()
"""
ITS_OWN = {
    **dict.fromkeys(
        ("assets delete-queued-event", "assets delete-dag-queued-events", "assets delete-queued-events"),
        ("is not there", "asks for a path that no release of the API has"),
    ),
    **dict.fromkeys(
        ("backfill pause", "backfill unpause", "backfill cancel"),
        ("Method Not Allowed", "sends POST where the API has PUT"),
    ),
    "backfill create-dry-run": ("Field required", "takes the answer of a dry run for a backfill"),
    "dags get-stats": ("exit code 0", "splits the id of the DAG into its letters"),
    "dags get-tags": ("To tabulate non-dictionary data", "cannot print a list of strings"),
    "assets materialize": ("no attribute 'output'", "has the answer and no format to print it in"),
    "connections test": ("no attribute 'output'", "has the answer and no format to print it in"),
    "connections create-defaults": (
        "'NoneType' object has no attribute 'values'",
        "cannot print an answer without content",
    ),
}
"""Commands of airflowctl that fail by a defect of it, against Airflow too: what is then printed, and why."""


def python_of(requirement: str) -> Path:
    """The interpreter of an environment that has the client and nothing of ours."""
    environment = ROOT / ".cache" / requirement
    python = environment / "bin" / "python"
    with one_at_a_time(environment):
        if not (environment / "complete").exists():
            uv = Path(sys.executable).with_name("uv")
            for command in (
                ["venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
                ["pip", "install", "--quiet", "--python", str(python), requirement],
            ):
                done = subprocess.run(
                    [str(uv), *command], capture_output=True, text=True, timeout=WITHIN_S, check=False
                )
                if done.returncode != 0:
                    missing(f"{requirement}; uv says: {done.stderr[-500:]}")
            (environment / "complete").touch()
    return python


def told_by(command: list[object], **environment: str) -> Any:
    """What a client's script says."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def served(lite: Lite, api: Api) -> Lite:
    folder = lite.workspace / DAG_ID
    folder.mkdir()
    (folder / "dag.py").write_text(DAG)
    api.wait_for_dags(DAG_ID, WAITING)
    api.unpause(DAG_ID, WAITING)
    return lite


def test_the_python_client_reads_and_writes_everything(served: Lite, api: Api) -> None:
    token = api.http.post("/auth/token", json={"username": USERNAME, "password": PASSWORD}).json()["access_token"]
    assert told_by([python_of(PYTHON_CLIENT), HERE / "client_calls.py", served.url, token, DAG_ID]) == {}


KEYS = {"connections": "connection_id", "variables": "key", "pools": "name"}


@pytest.fixture
def own_settings(api: Api) -> Iterator[None]:
    """The Lite has many tests: what is made here is nothing that another one finds."""

    def paths() -> set[str]:
        return {
            f"/{kind}/{one[key]}"
            for kind, key in KEYS.items()
            for one in api.call("GET", f"/{kind}", params={"limit": 100})[kind]
        }

    before = paths()
    yield
    for path in paths() - before:
        api.call("DELETE", path)


@pytest.fixture
def broken(served: Lite, api: Api) -> Iterator[int]:
    """The id of an import error, which is gone again before another test looks."""
    folder = served.workspace / "broken_for_airflowctl"
    folder.mkdir()
    (folder / "dag.py").write_text("import no_such_module\n")

    def errors() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api.call("GET", "/importErrors")["import_errors"]
        return found

    yield int(wait_until(errors, within_s=60, what="the import error")[0]["import_error_id"])
    shutil.rmtree(folder)
    wait_until(lambda: not errors(), within_s=60, what="no import error")


@pytest.mark.usefixtures("own_settings")
def test_airflowctl_does_everything_that_it_can(served: Lite, api: Api, broken: int, tmp_path: Path) -> None:
    """All of its commands; those that fail by a defect of its own fail in just that way."""
    run_id = api.trigger(DAG_ID)
    api.wait_for_run(DAG_ID, run_id)
    (asset,) = api.call("GET", "/assets", params={"dag_ids": DAG_ID})["assets"]
    (alias,) = api.call("GET", "/assets/aliases", params={"name_pattern": "alias-of-airflowctl"})["asset_aliases"]
    names = {
        "dag_id": DAG_ID,
        "run_id": run_id,
        "task_id": "hello",
        "waiting": WAITING,
        "asset_id": asset["id"],
        "alias_id": alias["id"],
        "import_error_id": broken,
    }
    script = HERE / "airflowctl_calls.py"
    command = [python_of(AIRFLOWCTL), script, served.url, USERNAME, PASSWORD, json.dumps(names)]
    told = told_by(command, AIRFLOW_HOME=str(tmp_path), AIRFLOW_CLI_API_RETRIES="1", COLUMNS="1000")
    assert told["missing"] == []
    faults = told["faults"]
    assert {name: fault for name, fault in faults.items() if name not in ITS_OWN or ITS_OWN[name][0] not in fault} == {}
    assert faults.keys() == ITS_OWN.keys()
