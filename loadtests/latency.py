"""How long one finished task keeps the next one waiting, and how many tasks a second Lite runs: `make bench`.

Run as `python -m loadtests.latency --json`. Starts its own `leoflow lite` on an empty data folder, measures through the
public API only, stops it with SIGINT and fails if a process is left. Prints one JSON object; progress goes to stderr.

What the figures mean, all on one host and therefore on one clock:

* `finished_to_launched_ms`: `end_date` of a task to `queued_when` of the next one in a chain;
* `finished_to_started_ms`: the same to its `start_date`, which the agent sets when the try's process exists;
* `finished_to_user_code_ms`: last statement of a task function to first statement of the next one;
* `chain20_s`, `fanout500_s`: POST sent to the run's `end_date`; `tasks_per_s`: 500 divided by the time from the end of
  the first task to the end of the last of the 500;
* `cpu_per_try_ms`: CPU time of the 502 tries of a fan-out by who used it, steadier than time on a busy machine; `tries`
  are their own processes with the servers that fork them, `daemon` also answers this test, which asks every 50 ms;
* `bare_commit_ms`: one-row UPDATE with its own durable commit on the same Postgres, before and after the load: what a
  decision costs at the very least.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg

from loadtests.lite_process import Api, Lite, temporary_folder

RESULTS = Path(__file__).parent / "results"
FAN_OUT = 500
RUN_WITHIN_S = 300.0
BARE_COMMITS = 300

CHAIN_DAG = """\
import time

from airflow.sdk import DAG, task


@task
def step(previous):
    first = time.time()
    return {{"first": first, "last": time.time()}}


with DAG("{dag_id}", schedule=None):
    value = 0
    for number in range({length}):
        value = step.override(task_id=f"step_{{number:02d}}")(value)
"""

FAN_OUT_DAG = f"""\
from airflow.sdk import DAG, task


@task
def start():
    return 1


@task
def work(one):
    return one


@task
def total(ones):
    assert sum(ones) == {FAN_OUT}
    return sum(ones)


with DAG("latency_fan_out", schedule=None, max_active_tasks=0):
    one = start()
    total([work.override(task_id=f"work_{{number:03d}}")(one) for number in range({FAN_OUT})])
"""

PROJECTS = {
    "latency_chain": CHAIN_DAG.format(dag_id="latency_chain", length=20),
    "latency_short": CHAIN_DAG.format(dag_id="latency_short", length=3),
    "latency_fan_out": FAN_OUT_DAG,
}


def main() -> int:
    """Measure, print, and answer with the exit code."""
    options = read_options()
    with temporary_folder("leoflow-latency-") as root:
        write_projects(root / "workspace")
        lite = Lite(workspace=root / "workspace", data_dir=root / "data")
        with lite:
            tell(f"Lite answers at {lite.url}")
            result = measure(lite, options)
            code = lite.interrupt()
            left = lite.leftovers()
    result["lite_exit_code"], result["processes_left"] = code, len(left)
    if options.save:
        path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-latency.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        tell(f"saved to {path}")
    show(result, as_json=options.json)
    if left:
        tell("Lite left processes behind:\n" + "\n".join(left))
    return 1 if left or code != 0 else 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.latency", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--save", action="store_true", help="also write loadtests/results/<date>-latency.json")
    parser.add_argument("--chains", type=int, default=10, help="runs of the 20-task chain (default 10)")
    parser.add_argument(
        "--shorts", type=int, default=20, help="runs of the 3-task chain, each on an idle Lite (default 20)"
    )
    parser.add_argument("--fan-outs", type=int, default=3, help="runs of 1 -> 500 -> 1 (default 3)")
    return parser.parse_args()


def tell(line: str) -> None:
    sys.stderr.write(f"latency: {line}\n")
    sys.stderr.flush()


def show(result: dict[str, Any], *, as_json: bool) -> None:
    lines = [json.dumps(result)] if as_json else [f"{name:26} {json.dumps(value)}" for name, value in result.items()]
    sys.stdout.write("\n".join(lines) + "\n")


def write_projects(workspace: Path) -> None:
    for name, source in PROJECTS.items():
        folder = workspace / name
        folder.mkdir(parents=True)
        (folder / "dag.py").write_text(source)


def measure(lite: Lite, options: argparse.Namespace) -> dict[str, Any]:
    """All cases, one after another; nothing else runs in this Lite."""
    conninfo = (lite.data_dir / "postgres.conninfo").read_text().strip()
    machine = machine_facts(conninfo)
    with lite.api() as api:
        api.wait_for_dags(*PROJECTS)
        api.unpause(*PROJECTS)
        commits = bare_commits_ms(conninfo)
        tell("warming up")
        run_once(api, "latency_chain")
        cpu_before, wall_before = busy_cpu_s(), time.monotonic()
        shorts = [run_once(api, "latency_short") for _ in progress(options.shorts, "chain of 3")]
        chains = [run_once(api, "latency_chain") for _ in progress(options.chains, "chain of 20")]
        run_once(api, "latency_fan_out")
        used_before = cpu_by_role_s(lite)
        fan_outs = [run_once(api, "latency_fan_out") for _ in progress(options.fan_outs, f"1 -> {FAN_OUT} -> 1")]
        used_after = cpu_by_role_s(lite)
        cpu_share = (busy_cpu_s() - cpu_before) / (time.monotonic() - wall_before)
        commits += bare_commits_ms(conninfo)
    gaps = [gap for run in (*shorts, *chains) for gap in chain_gaps(run)]
    rates = [fan_out_rate(run) for run in fan_outs]
    return {
        "finished_to_launched_ms": percentiles([gap["launched"] for gap in gaps]),
        "finished_to_user_code_ms": percentiles([gap["user_code"] for gap in gaps]),
        "chain20_s": round(statistics.median(run["makespan_s"] for run in chains), 3),
        "fanout500_s": round(statistics.median(run["makespan_s"] for run in fan_outs), 3),
        "tasks_per_s": round(statistics.median(rates), 1),
        "cpu_per_try_ms": {
            role: round((used_s - used_before[role]) * 1000 / (options.fan_outs * (FAN_OUT + 2)), 2)
            for role, used_s in sorted(used_after.items())
        },
        "bare_commit_ms": round(statistics.median(commits), 3),
        "finished_to_started_ms": percentiles([gap["started"] for gap in gaps]),
        "every_chain20_s": [round(run["makespan_s"], 3) for run in chains],
        "every_fanout500_s": [round(run["makespan_s"], 3) for run in fan_outs],
        "every_tasks_per_s": [round(rate, 1) for rate in rates],
        "bare_commit_p99_ms": percentiles(commits)["p99"],
        "cores_busy_meanwhile": round(cpu_share, 2),
        "machine": machine | {"load_after": os.getloadavg()[0]},
    }


def progress(count: int, what: str) -> range:
    tell(f"{count} x {what}")
    return range(count)


def run_once(api: Api, dag_id: str) -> dict[str, Any]:
    """One run to its end: the run, its task instances in the order of their ids, and the values they returned."""
    sent_at = time.time()
    run_id = api.trigger(dag_id)
    run = api.wait_for_run(dag_id, run_id, within_s=RUN_WITHIN_S)
    instances = api.task_instances(dag_id, run_id)
    if run["state"] != "success":
        bad = {task_id: instance["state"] for task_id, instance in instances.items() if instance["state"] != "success"}
        raise SystemExit(f"latency: run {run_id} of {dag_id} ended {run['state']}; not successful: {bad}")
    return {
        "makespan_s": seconds(run["end_date"]) - sent_at,
        "instances": [instances[task_id] for task_id in sorted(instances)],
        "values": {} if dag_id == "latency_fan_out" else api.xcoms(dag_id, run_id),
    }


def chain_gaps(run: dict[str, Any]) -> list[dict[str, float]]:
    """Milliseconds from each task of a chain to the next one."""
    gaps = []
    instances, values = run["instances"], run["values"]
    for before, after in itertools.pairwise(instances):
        ended = seconds(before["end_date"])
        last = values[before["task_id"]]["return_value"]["last"]
        first = values[after["task_id"]]["return_value"]["first"]
        gaps.append(
            {
                "launched": (seconds(after["queued_when"]) - ended) * 1000,
                "started": (seconds(after["start_date"]) - ended) * 1000,
                "user_code": (first - last) * 1000,
            }
        )
    return gaps


def fan_out_rate(run: dict[str, Any]) -> float:
    by_id = {instance["task_id"]: seconds(instance["end_date"]) for instance in run["instances"]}
    last_of_the_middle = max(ended for task_id, ended in by_id.items() if task_id.startswith("work_"))
    return FAN_OUT / (last_of_the_middle - by_id["start"])


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def percentiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3), "max": round(max(values), 3), "count": len(values)}


def bare_commits_ms(conninfo: str) -> list[float]:
    """A one-row UPDATE in its own transaction, synchronously, on a table of its own (a temporary one writes no WAL)."""
    took = []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE loadtest_bare_commit (id integer PRIMARY KEY, count integer NOT NULL)")
        try:
            connection.execute("INSERT INTO loadtest_bare_commit VALUES (1, 0)")
            for _ in range(BARE_COMMITS):
                started = time.perf_counter()
                connection.execute("UPDATE loadtest_bare_commit SET count = count + 1 WHERE id = 1")
                took.append((time.perf_counter() - started) * 1000)
        finally:
            connection.execute("DROP TABLE loadtest_bare_commit")
    return took


def busy_cpu_s() -> float:
    """CPU seconds that all processes of this machine have used since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def cpu_by_role_s(lite: Lite) -> dict[str, float]:
    """CPU seconds of Lite's processes since they started; what ended is counted at the one that waited for it."""
    used = dict.fromkeys(("agent", "daemon", "postgres", "tries"), 0.0)
    for process in lite.processes():
        role, times = role_of(process, lite), process.cpu_times()
        used[role] += times.user + times.system
        if role == "tries":
            used[role] += times.children_user + times.children_system
    return used


def role_of(process: psutil.Process, lite: Lite) -> str:
    if process.pid == lite.pid:
        return "daemon"
    if process.name() == "postgres":
        return "postgres"
    return "agent" if "host" in process.cmdline() else "tries"


def machine_facts(conninfo: str) -> dict[str, Any]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        postgres = {
            name: (connection.execute("SELECT current_setting(%s)", (name,)).fetchone() or ("",))[0]
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        }
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgres": postgres,
        "load_before": os.getloadavg()[0],
        "revision": revision(),
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def revision() -> str:
    """The commit that was measured, with a mark for local changes."""
    command = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty", "--abbrev=12"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    return answer.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
