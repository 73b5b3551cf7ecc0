"""Run each locust scenario headless against a Lite of its own: `make load`, or `python -m loadtests.locust_headless`.

Bounded in users and time. Prints one JSON object: requests, failures and latencies by name and scenario, and what the
storm left waiting in the pool. Exit code 1 when a request failed. locust runs in a process of its own (gevent).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from loadtests.lite_process import PASSWORD, Lite, temporary_folder

SCENARIOS = ("api", "triggering", "sensors")
DAGS = """\
from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.sdk import DAG

with DAG("trigger_me", schedule=None, max_active_runs=0):
    EmptyOperator(task_id="one") >> EmptyOperator(task_id="two")

with DAG("sensors_of_load", schedule=None, max_active_runs=0):
    for number in range(300):
        DateTimeSensor(task_id=f"wait_{number:03}", target_time=datetime(2100, 1, 1, tzinfo=timezone.utc))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--locust", default="locust", help="the program; `make load` installs it")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=20, help="of each scenario")
    arguments = parser.parse_args()
    with temporary_folder("leoflow-locust-") as root:
        project = root / "workspace" / "load"
        project.mkdir(parents=True)
        (project / "dag.py").write_text(DAGS)
        with Lite(workspace=root / "workspace", data_dir=root / "data") as lite:
            with lite.api() as api:
                api.wait_for_dags("trigger_me", "sensors_of_load")
                api.unpause("trigger_me", "sensors_of_load")
            result: dict[str, Any] = {
                name: _scenario(name, root, lite.url, arguments.locust, arguments.users, arguments.seconds)
                for name in SCENARIOS
            }
            with lite.api() as api:
                result["waiting_at_the_end"] = api.http.get("/leoflow/api/pool").json()["waits"]
            lite.interrupt()
    print(json.dumps(result, indent=1))  # noqa: T201 - this is the output
    return 1 if any(line["failures"] for name in SCENARIOS for line in result[name].values()) else 0


def _scenario(name: str, root: Path, url: str, locust: str, users: int, seconds: int) -> dict[str, dict[str, float]]:
    """Request name -> figures, from locust's own CSV."""
    command = [locust, "-f", f"loadtests/locustfiles/{name}.py", "--headless"]
    command += ["-u", str(users), "-r", str(users), "-t", f"{seconds}s", "--host", url, "--csv", str(root / name)]
    repository = Path(__file__).parent.parent
    environment = {**os.environ, "LEOFLOW_PASSWORD": PASSWORD, "PYTHONPATH": str(repository)}
    subprocess.run(  # noqa: S603 - our own command
        [*command, "--only-summary", "--exit-code-on-error", "0"], cwd=repository, env=environment, check=True
    )
    with (root / f"{name}_stats.csv").open(newline="") as file:
        return {
            line["Name"]: {
                "requests": int(line["Request Count"]),
                "failures": int(line["Failure Count"]),
                "p50_ms": float(line["50%"]),
                "p99_ms": float(line["99%"]),
                "per_s": round(float(line["Requests/s"]), 1),
            }
            for line in csv.DictReader(file)
        }


if __name__ == "__main__":
    sys.exit(main())
