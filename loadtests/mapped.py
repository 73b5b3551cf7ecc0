"""One task mapped ten thousand times, 1 -> 10,000 -> 1, and what it does to others: `python -m loadtests.mapped`.

* `per_finish_ms`: from one end to the next, by tenths of the run: the last tenth must cost what the first did;
* `chain_s`: a chain of five in another DAG, alone and beside the mapped run, and `ratio` of the medians (at most 2);
* `grid_s`: the grid's squares of that run (`/ui/grid/ti_summaries`), while it runs and when it has ended (at most 1);
* `expanded_s`: from the end of the task that returned the list to the first of its instances that is queued.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from datetime import UTC, datetime
from typing import Any

from loadtests.latency import RESULTS, bare_commits_ms, machine_facts, percentiles, seconds, show
from loadtests.lite_process import Api, Lite, temporary_folder, wait_until

WITHIN_S = 3600.0
PAGE = 100
MAPPED_DAG = """\
from airflow.sdk import DAG, task


@task
def start():
    return list(range({count}))


@task
def work(one):
    return one


@task
def total(ones):
    found = sum(ones)
    assert found == sum(range({count})), found
    return found


with DAG("mapped", schedule=None, max_active_tasks={active}):
    total(work.expand(one=start()))
"""
CHAIN_DAG = """\
from airflow.sdk import DAG, task


@task
def step(previous):
    return (previous or 0) + 1


with DAG("beside", schedule=None):
    value = None
    for number in range(5):
        value = step.override(task_id=f"step_{number}")(value)
"""


def main() -> int:
    """Measure, print, and answer with the exit code."""
    options = read_options()
    with temporary_folder("leoflow-mapped-") as root:
        for name, source in (
            ("mapped", MAPPED_DAG.format(count=options.count, active=options.active)),
            ("beside", CHAIN_DAG),
        ):
            (root / "workspace" / name).mkdir(parents=True)
            (root / "workspace" / name / "dag.py").write_text(source)
        env = {"LEOFLOW_SCHEDULER_MAX_MAP_LENGTH": str(options.count)}
        lite = Lite(workspace=root / "workspace", data_dir=root / "data", env=env)
        with lite:
            result = measure(lite, options)
            code = lite.interrupt()
            left = lite.leftovers()
    result["lite_exit_code"], result["processes_left"] = code, len(left)
    if options.save:
        (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-mapped.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result, as_json=options.json)
    return 1 if left or code != 0 else 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.mapped", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--save", action="store_true", help="also write loadtests/results/<date>-mapped.json")
    parser.add_argument("--count", type=int, default=10_000, help="instances of the mapped task (default 10,000)")
    parser.add_argument(
        "--active", type=int, default=16, help="of them at once, which leaves slots to others (default 16)"
    )
    parser.add_argument("--chains", type=int, default=10, help="runs of the other DAG that are alone (default 10)")
    return parser.parse_args()


def measure(lite: Lite, options: argparse.Namespace) -> dict[str, Any]:
    conninfo = (lite.data_dir / "postgres.conninfo").read_text().strip()
    machine = machine_facts(conninfo)
    with lite.api() as api:
        api.wait_for_dags("mapped", "beside")
        api.unpause("mapped", "beside")
        chain_s(api)  # warms both up
        commits = bare_commits_ms(conninfo)
        alone = [chain_s(api) for _ in range(options.chains)]
        run_id = api.trigger("mapped")
        wait_until(lambda: is_expanded(api, run_id), within_s=WITHIN_S, what="the expansion")
        beside, grids, begun = [], [], datetime.now(UTC)
        while api.run("mapped", run_id)["state"] == "running":
            beside.append(chain_s(api))
            grids.append(grid_s(api, run_id))
        run = api.run("mapped", run_id)
        after = [grid_s(api, run_id) for _ in range(5)]
        waits = chain_waits_ms(api, begun)
        instances = list_instances(api, run_id)
    if run["state"] != "success":
        raise SystemExit(f"mapped: run {run_id} ended {run['state']}")
    work = [one for one in instances if one["task_id"] == "work"]
    assert len(work) == options.count, f"{len(work)} instances"
    (start,) = (one for one in instances if one["task_id"] == "start")
    return {
        "count": options.count,
        "makespan_s": round(seconds(run["end_date"]) - seconds(run["start_date"]), 3),
        "expanded_s": round(min(seconds(one["queued_when"]) for one in work) - seconds(start["end_date"]), 3),
        "per_finish_ms": by_tenths([seconds(one["end_date"]) for one in work]),
        "chain_alone_s": percentiles(alone),
        "chain_beside_s": percentiles(beside) if len(beside) > 1 else beside,
        "chain_waits_ms": waits,
        "ratio": round(statistics.median(beside) / statistics.median(alone), 2) if beside else None,
        "grid_meanwhile_s": max(grids, default=None),
        "grid_after_s": statistics.median(after),
        "bare_commit_ms": round(statistics.median(commits), 3),
        "machine": machine,
    }


def chain_s(api: Api) -> float:
    run_id = api.trigger("beside")
    run = api.wait_for_run("beside", run_id, within_s=WITHIN_S)
    return round(seconds(run["end_date"]) - seconds(run["start_date"]), 3)


def chain_waits_ms(api: Api, since: datetime) -> dict[str, Any]:
    """Where the steps of the chains were: on the way to their code, in it, and on the way of its end."""
    found: dict[str, list[float]] = {"queued_to_start": [], "start_to_end": [], "end_to_queued": []}
    listed = api.call("GET", "/dags/beside/dagRuns", params={"start_date_gte": since.isoformat(), "limit": PAGE})
    for run in listed["dag_runs"]:
        path = f"/dags/beside/dagRuns/{run['dag_run_id']}/taskInstances"
        steps = sorted(api.call("GET", path)["task_instances"], key=lambda one: str(one["task_id"]))
        for step in steps:
            found["queued_to_start"].append(seconds(step["start_date"]) - seconds(step["queued_when"]))
            found["start_to_end"].append(seconds(step["end_date"]) - seconds(step["start_date"]))
        for before, after in itertools.pairwise(steps):
            found["end_to_queued"].append(seconds(after["queued_when"]) - seconds(before["end_date"]))
    return {name: percentiles([1000 * one for one in some]) for name, some in found.items()}


def grid_s(api: Api, run_id: str) -> float:
    began = time.perf_counter()
    answer = api.http.get("/ui/grid/ti_summaries/mapped", params={"run_ids": run_id})
    answer.raise_for_status()
    assert answer.content.endswith(b"\n"), "one line for the run"
    return round(time.perf_counter() - began, 3)


def is_expanded(api: Api, run_id: str) -> bool:
    answer = api.call("GET", f"/dags/mapped/dagRuns/{run_id}/taskInstances/work/listMapped", params={"limit": 1})
    return bool(answer["total_entries"])


def list_instances(api: Api, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = api.call(
            "GET",
            f"/dags/mapped/dagRuns/{run_id}/taskInstances",
            params={"limit": PAGE, "offset": len(found), "order_by": "id"},
        )
        found += page["task_instances"]
        if len(page["task_instances"]) < PAGE:
            return found


def by_tenths(ends: list[float]) -> list[float]:
    """Mean distance between two ends, in each tenth of them."""
    ends = sorted(ends)
    gaps = [after - before for before, after in itertools.pairwise(ends)]
    tenth = max(1, len(gaps) // 10)
    return [round(1000 * statistics.mean(gaps[at : at + tenth]), 3) for at in range(0, len(gaps), tenth)]


if __name__ == "__main__":
    sys.exit(main())
