"""A backfill of 1,000 runs beside live runs: how long live tasks wait with and without it, and what a kill -9 leaves.

Run as `python -m loadtests.backfill`. Starts its own `leoflow lite` on an empty data folder and talks to it through the
public API; what it claims about runs it reads in that Lite's Postgres. Prints one JSON object; progress goes to stderr.

* `live_alone_ms`, `live_beside_ms`: of live runs that are triggered one after the other, from the run's `run_after` to
  the `start_date` of its one task, alone before and after; `ratio` is that of their medians;
* `made_per_s`: runs of the backfill that were made per second; `most_running`: the most that were seen running at once;
* after a pause (nothing new runs), the resumption, a kill -9 of the daemon in the middle and a second start: every
  moment has one run, none has two, and the backfill ends by itself. A second one, of the same moments, meets
  a kill -9 while its runs are made, and is cancelled in the middle.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from loadtests.lite_process import Api, Lite, temporary_folder, wait_until

RESULTS = Path(__file__).parent / "results"
AT_ONCE = 16
OVER_WITHIN_S = 1800.0

HISTORY_DAG = """\
import time
from datetime import datetime

from airflow.sdk import DAG, task


@task
def work():
    time.sleep(1)


with DAG("history", schedule="@hourly", start_date=datetime(2020, 1, 1), catchup=False, max_active_runs=1):
    work()
"""
LIVE_DAG = """\
from airflow.sdk import DAG, task


@task
def work():
    return 1


with DAG("live", schedule=None):
    work()
"""


def main() -> int:
    """Measure, print, and answer with the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.backfill", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="moments of the backfill (default 1000)")
    parser.add_argument("--live", type=int, default=40, help="live runs of each measurement (default 40)")
    parser.add_argument("--save", action="store_true", help="also write loadtests/results/<date>-backfill.json")
    options = parser.parse_args()
    with temporary_folder("leoflow-backfill-") as root:
        for name, source in (("history", HISTORY_DAG), ("live", LIVE_DAG)):
            folder = root / "workspace" / name
            folder.mkdir(parents=True)
            (folder / "dag.py").write_text(source)
        lite = Lite(workspace=root / "workspace", data_dir=root / "data")
        with lite:
            result = measure(lite, options.runs, options.live)
            code = lite.interrupt()
            left = lite.leftovers()
    result |= {"lite_exit_code": code, "processes_left": len(left)}
    text = json.dumps(result, indent=1) + "\n"
    if options.save:
        (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-backfill.json").write_text(text)
    sys.stdout.write(text)
    return 0 if result["doubled"] == result["missing"] == 0 and not left else 1


def tell(line: str) -> None:
    sys.stderr.write(f"backfill: {line}\n")
    sys.stderr.flush()


def measure(lite: Lite, runs: int, live: int) -> dict[str, Any]:
    load = os.getloadavg()
    with lite.api() as api:
        api.wait_for_dags("history", "live")
        for dag_id in ("history", "live"):
            api.unpause(dag_id)
        api.wait_for_run("live", api.trigger("live"))  # the interpreter is warm from here on
        alone = live_waits_ms(api, live)
        tell(f"alone: {spread(alone)}")
        began = time.monotonic()
        backfill_id = ask(api, runs)
        wait_until(lambda: progress(api, backfill_id)["to_be_made"] == 0, within_s=300, what="all runs to be made")
        made_s = time.monotonic() - began
        most = Most(api, backfill_id)
        beside = live_waits_ms(api, live, most.look)
        tell(f"beside {runs} runs at {AT_ONCE} in flight: {spread(beside)}")
        act(api, backfill_id, "pause")
        wait_until(lambda: progress(api, backfill_id)["running"] == 0, within_s=120, what="running runs to end")
        paused = progress(api, backfill_id)
        act(api, backfill_id, "unpause")
        wait_until(lambda: progress(api, backfill_id)["running"] == AT_ONCE, within_s=60, what="it to go on")
    lite.kill_daemon()
    lite.start()
    with lite.api() as api:
        before, most.api = progress(api, backfill_id), api
        tell(f"killed and started again: {before}")
        wait_until(lambda: is_over(api, backfill_id, most), within_s=OVER_WITHIN_S, what="the backfill to end")
        ended = progress(api, backfill_id)
        after = live_waits_ms(api, live)
        tell(f"alone again: {spread(after)}")
        second = ask(api, runs, reprocess="completed")
        wait_until(lambda: progress(api, second)["to_be_made"] < runs, within_s=60, what="some runs to be made")
    lite.kill_daemon()
    lite.start()
    with lite.api() as api:
        while_made = progress(api, second)
        tell(f"killed while runs were made, and started again: {while_made}")
        wait_until(lambda: progress(api, second)["to_be_made"] == 0, within_s=600, what="all runs to be made")
        wait_until(lambda: progress(api, second)["running"] > 0, within_s=300, what="the second one to run")
        act(api, second, "cancel")
        cancelled = progress(api, second)
    return {
        "runs": runs,
        "in_flight": AT_ONCE,
        "load_before": [round(value, 1) for value in load],
        "load_after": [round(value, 1) for value in os.getloadavg()],
        "live_alone_ms": spread(alone + after),
        "live_beside_ms": spread(beside),
        "ratio": round(median_ms(beside) / median_ms(alone + after), 2),
        "made_per_s": round(runs / made_s, 1),
        "most_running": most.found,
        "paused": paused,
        "after_kill": before,
        "ended": ended,
        "after_kill_while_made": while_made,
        **checked(lite, backfill_id, second),
        "cancelled": cancelled,
    }


Waited = tuple[float, float]


class Most:
    """The most runs of a backfill that were seen running."""

    def __init__(self, api: Api, backfill_id: int) -> None:
        self.api = api
        self.found = 0
        self._backfill_id = backfill_id

    def look(self) -> None:
        self.found = max(self.found, progress(self.api, self._backfill_id)["running"])


def ask(api: Api, runs: int, reprocess: str = "none") -> int:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    body = {
        "dag_id": "history",
        "from_date": first.isoformat(),
        "to_date": (first + timedelta(hours=runs - 1)).isoformat(),
        "max_active_runs": AT_ONCE,
        "reprocess_behavior": reprocess,
    }
    found: int = api.call("POST", "/backfills", json=body)["id"]
    return found


def act(api: Api, backfill_id: int, action: str) -> None:
    api.call("PUT", f"/backfills/{backfill_id}/{action}")


def progress(api: Api, backfill_id: int) -> dict[str, int]:
    found: dict[str, int] = api.call("GET", f"/backfills/{backfill_id}")["progress"]
    return found


def is_over(api: Api, backfill_id: int, most: Most) -> bool:
    most.look()
    return api.call("GET", f"/backfills/{backfill_id}")["completed_at"] is not None


def live_waits_ms(api: Api, count: int, look: Callable[[], None] = lambda: None) -> list[Waited]:
    """Of live runs one after the other: from asked for to the decision to launch, from there to the task's start."""
    found = []
    for _ in range(count):
        run = api.wait_for_run("live", api.trigger("live"))
        (task,) = api.task_instances("live", run["dag_run_id"]).values()
        texts = (run["run_after"], task["queued_when"], task["start_date"])
        asked, queued, began = map(datetime.fromisoformat, texts)
        found.append(((queued - asked).total_seconds() * 1000, (began - queued).total_seconds() * 1000))
        look()
    return found


def median_ms(waits: list[Waited]) -> float:
    return statistics.median(map(sum, waits))


def spread(waits: list[Waited]) -> dict[str, float]:
    ordered = sorted(map(sum, waits))
    at = {"p50": 0.5, "p90": 0.9, "max": 1.0}
    found = {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 1) for name, part in at.items()}
    decided, launched = (round(statistics.median(part), 1) for part in zip(*waits, strict=True))
    return {**found, "decided_p50": decided, "launched_p50": launched}


def checked(lite: Lite, *backfills: int) -> dict[str, int]:
    """What Postgres has: moments without a run, and moments or tries that there are twice."""
    conninfo = (lite.data_dir / "postgres.conninfo").read_text().strip()
    with psycopg.connect(conninfo) as connection:
        missing = connection.execute(
            "SELECT count(*) FROM backfill_dag_run s LEFT JOIN dag_run r ON r.id = s.dag_run_id"
            " WHERE s.backfill_id = ANY (%s) AND r.id IS NULL AND s.exception_reason IS NULL",
            (list(backfills),),
        ).fetchone()
        doubled = connection.execute(
            "SELECT count(*) - count(DISTINCT (backfill_id, dag_run_id)) FROM backfill_dag_run"
            " WHERE backfill_id = ANY (%s) AND dag_run_id IS NOT NULL",
            (list(backfills),),
        ).fetchone()
    assert missing is not None
    assert doubled is not None
    return {"missing": missing[0], "doubled": doubled[0]}


if __name__ == "__main__":
    sys.exit(main())
