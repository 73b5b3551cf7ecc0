"""How long an event of an asset keeps the DAG waiting that it starts: a chain of DAGs, each started by the one before.

Run as `python -m loadtests.assets --json`. Starts its own `leoflow lite` on an empty data folder, measures through the
public API, stops it with SIGINT and fails if a process is left.

* `event_to_launched_ms`: `timestamp` of an event to `queued_when` of the first task of the DAG that it starts;
* `event_to_started_ms`: the same to its `start_date`, when the process of the try exists;
* `chain_s`: from the request that starts the first DAG to the end of the last task.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtests.latency import RESULTS, bare_commits_ms, machine_facts, percentiles, seconds
from loadtests.lite_process import Api, Lite, temporary_folder, wait_until

PROJECT = """\
from airflow.sdk import DAG, Asset, task

for number in range({count}):
    schedule = None if number == 0 else [Asset(f"link_{{number - 1:02d}}")]
    with DAG(f"link_{{number:02d}}", schedule=schedule):

        @task(outlets=[Asset(f"link_{{number:02d}}")])
        def make():
            return 1

        make()
"""
WITHIN_S = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.assets", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--save", action="store_true", help="also write loadtests/results/<date>-assets.json")
    parser.add_argument("--length", type=int, default=50, help="DAGs in the chain (default 50)")
    parser.add_argument("--chains", type=int, default=5, help="runs of the chain (default 5)")
    options = parser.parse_args()
    with temporary_folder("leoflow-assets-") as root:
        _write_project(root / "workspace", options.length)
        lite = Lite(workspace=root / "workspace", data_dir=root / "data")
        with lite:
            result = _measure(lite, options.length, options.chains)
            code, left = lite.interrupt(), lite.leftovers()
    result["lite_exit_code"], result["processes_left"] = code, len(left)
    if options.save:
        path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-assets.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
    lines = [json.dumps(result)] if options.json else [f"{key:24} {json.dumps(value)}" for key, value in result.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if left or code != 0 else 0


def _write_project(workspace: Path, length: int) -> None:
    folder = workspace / "chain"
    folder.mkdir(parents=True)
    (folder / "dag.py").write_text(PROJECT.format(count=length))


def _measure(lite: Lite, length: int, chains: int) -> dict[str, Any]:
    conninfo = (lite.data_dir / "postgres.conninfo").read_text().strip()
    machine = machine_facts(conninfo)
    dag_ids = [f"link_{number:02d}" for number in range(length)]
    with lite.api() as api:
        api.wait_for_dags(*dag_ids)
        api.unpause(*dag_ids)
        commits = bare_commits_ms(conninfo)
        _chain(api, dag_ids, 1)  # loads the file in a warm interpreter
        runs = [_chain(api, dag_ids, number + 2) for number in range(chains)]
        commits += bare_commits_ms(conninfo)
    gaps = [gap for run in runs for gap in run["gaps"]]
    return {
        "event_to_launched_ms": percentiles([gap["launched"] for gap in gaps]),
        "event_to_started_ms": percentiles([gap["started"] for gap in gaps]),
        "chain_s": round(statistics.median(run["makespan_s"] for run in runs), 3),
        "length": length,
        "every_chain_s": [round(run["makespan_s"], 3) for run in runs],
        "bare_commit_ms": round(statistics.median(commits), 3),
        "machine": machine | {"load_after": os.getloadavg()[0]},
    }


def _chain(api: Api, dag_ids: list[str], number: int) -> dict[str, Any]:
    """The `number`th run of the chain to its end, and the gaps between its DAGs in milliseconds."""
    sent_at = time.time()
    api.trigger(dag_ids[0])

    def ended() -> bool:
        runs = api.call("GET", f"/dags/{dag_ids[-1]}/dagRuns", params={"state": "success"})
        return bool(runs["total_entries"] == number)

    wait_until(ended, within_s=WITHIN_S, what=f"the end of the chain, run {number}")
    ends = [_last_task(api, dag_id) for dag_id in dag_ids]
    events = [_last_event(api, dag_id) for dag_id in dag_ids]
    return {
        "makespan_s": seconds(ends[-1]["end_date"]) - sent_at,
        "gaps": [
            {
                "launched": (seconds(after["queued_when"]) - at) * 1000,
                "started": (seconds(after["start_date"]) - at) * 1000,
            }
            for at, after in zip(events, ends[1:], strict=False)
        ],
    }


def _last_task(api: Api, dag_id: str) -> dict[str, Any]:
    found = api.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "-id", "limit": 1})
    [instance] = api.task_instances(dag_id, found["dag_runs"][0]["dag_run_id"]).values()
    return instance


def _last_event(api: Api, name: str) -> float:
    parameters = {"source_dag_id": name, "order_by": "-timestamp", "limit": 1}
    return seconds(api.call("GET", "/assets/events", params=parameters)["asset_events"][0]["timestamp"])


if __name__ == "__main__":
    sys.exit(main())
