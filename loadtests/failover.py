"""Kill the daemon that leads, again and again, under load: `python -m loadtests.failover --kills 20 --seed 1`.

Two Lites share one Postgres and one workspace. Runs of tasks and sensors follow each other; each round the leader gets
SIGKILL, and is started again. Counted is when the other one leads, when it has queued its first task, and when it
watches all waits. At the end every run must have succeeded, no try may have started twice, and the history that
Postgres wrote must break no promise; else the exit code is 1. Ends only processes of its own Lites.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg

from leoflowd.core.history import Started, check_history
from leoflowd.lite.postgres import paths_for
from loadtests.history_log import install, read_history
from loadtests.lite_process import Lite, LiteError, temporary_folder, wait_until

DAG_ID = "failover"
BETWEEN_S = (1.0, 4.0)
"""From a settled pair to the next kill."""
EVERY_S = 0.4
"""A run."""
FINISH_WITHIN_S = 120.0
DAG = f"""\
import time

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, task


@task
def step(number, ti=None, dag_run=None):
    with open(dag_run.conf["file"], "a") as file:
        file.write(f"{{ti.run_id}} {{ti.task_id}} {{ti.try_number}}\\n")
    time.sleep(0.05)
    return number


with DAG("{DAG_ID}", schedule=None, max_active_tasks=0, max_active_runs=0):
    first = step.override(task_id="first")(0)
    waits = [
        FileSensor(task_id=f"see_{{number}}", filepath="{{{{ dag_run.conf['file'] }}}}", poke_interval=1)
        for number in range(4)
    ]
    first >> waits >> step.override(task_id="middle")(1) >> step.override(task_id="last")(2)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with temporary_folder("leoflow-failover-") as root:
        pair = Pair(root, random.Random(arguments.seed))  # noqa: S311 - repeatable, not secret
        try:
            result = {"seed": arguments.seed, **pair.run(arguments.kills)}
        finally:
            pair.end()
    print(json.dumps(result, indent=1))  # noqa: T201 - this is the output
    return 0 if not (result["lost"] or result["doubled"] or result["violations"]) else 1


class Pair:
    def __init__(self, root: Path, dice: random.Random) -> None:
        project = root / "workspace" / DAG_ID
        project.mkdir(parents=True)
        (project / "dag.py").write_text(DAG)
        self._marks = root / "marks"
        self._marks.touch()
        self._dice = dice
        self._lites = [Lite(workspace=root / "workspace", data_dir=root / name) for name in ("first", "second")]
        self._runs: list[str] = []
        self._is_over = threading.Event()
        self._up = [True, True]

    def end(self) -> None:
        self._is_over.set()
        for lite in reversed(self._lites):
            lite.end()

    def run(self, kills: int) -> dict[str, Any]:
        first, second = self._lites
        first.start()
        with first.api() as api:
            api.wait_for_dags(DAG_ID)
            api.unpause(DAG_ID)
        self._database = paths_for(first.data_dir).admin_conninfo("leoflow")
        install(self._database)
        second.start(LEOFLOW_POSTGRES=(first.data_dir / "postgres.conninfo").read_text().strip())
        load = threading.Thread(target=self._load, daemon=True)
        load.start()
        rounds = [self._round(number) for number in range(kills)]
        self._is_over.set()
        load.join()
        lost = self._lost()
        lines = Counter(self._marks.read_text().splitlines())
        history = read_history(self._database, started=self._started())
        return {
            "kills": kills,
            "runs": len(self._runs),
            "tries": len(lines),
            "lost": lost,
            "doubled": sorted(line for line, count in lines.items() if count > 1),
            "violations": [f"{found.rule}: {found.what}" for found in check_history(history)],
            **{
                name: {"p50": statistics.median(values), "max": max(values)}
                for name in ("leads_after_s", "queues_after_s", "watches_all_after_s")
                if (values := [one[name] for one in rounds])
            },
        }

    def _round(self, number: int) -> dict[str, float]:
        time.sleep(self._dice.uniform(*BETWEEN_S))
        with psycopg.connect(self._database, autocommit=True) as connection:
            term, holder = _leader(connection)
            dead = next(i for i, lite in enumerate(self._lites) if holder.endswith(f"/{lite.pid}"))
            self._up[dead] = False
            killed_at = datetime.now(UTC)
            self._lites[dead].kill_daemon()
            leads = wait_until(
                lambda: datetime.now(UTC) if _leader(connection)[0] > term else None, within_s=30, what="another leader"
            )
            queues = wait_until(lambda: _first_queued(connection, leads), within_s=30, what="a task to be queued")
            with self._lites[1 - dead].api() as api:
                watches = wait_until(
                    lambda: datetime.now(UTC) if api.http.get("/leoflow/api/pool").json()["shards"] == 64 else None,
                    within_s=30,
                    what="all waits to be watched",
                )
        env = {} if dead == 0 else {"LEOFLOW_POSTGRES": self._conninfo()}
        self._lites[dead].start(**env)
        self._up[dead] = True
        found = {
            name: round((at - killed_at).total_seconds(), 3)
            for name, at in (("leads_after_s", leads), ("queues_after_s", queues), ("watches_all_after_s", watches))
        }
        _say(f"kill {number + 1}: {found}")
        return found

    def _conninfo(self) -> str:
        return (self._lites[0].data_dir / "postgres.conninfo").read_text().strip()

    def _load(self) -> None:
        """Each run is asked of a daemon that is up; one whose answer was lost is asked for again by its id."""
        while not self._is_over.wait(EVERY_S):
            run_id = f"run_{len(self._runs)}"
            body = {"dag_run_id": run_id, "logical_date": None, "conf": {"file": str(self._marks)}}
            lite = self._lites[0] if self._up[0] else self._lites[1]
            try:
                with lite.api() as api:
                    api.call("POST", f"/dags/{DAG_ID}/dagRuns", json=body)
            except httpx.HTTPError:
                continue
            except LiteError as error:
                if "answered 409" not in str(error):
                    continue
            self._runs.append(run_id)

    def _lost(self) -> list[str]:
        def open_runs() -> list[str]:
            with psycopg.connect(self._database) as connection:
                rows = connection.execute("SELECT run_id, state FROM dag_run WHERE dag_id = %s", [DAG_ID]).fetchall()
            states = {str(run_id): str(state) for run_id, state in rows}
            return [f"{run}: {states.get(run)}" for run in self._runs if states.get(run) != "success"]

        with suppress(LiteError):
            wait_until(lambda: not open_runs(), within_s=FINISH_WITHIN_S, what="all runs to end")
        return open_runs()

    def _started(self) -> list[Started]:
        with psycopg.connect(self._database) as connection:
            rows = connection.execute(
                "SELECT r.run_id || ' ' || t.task_id || ' ' || t.try_number, t.id::text FROM dag_run r JOIN"
                " (SELECT dag_run_id, task_id, try_number, id FROM task_instance_history UNION ALL"
                "  SELECT dag_run_id, task_id, try_number, id FROM task_instance) t ON t.dag_run_id = r.id"
            ).fetchall()
        ids = {str(line): str(try_id) for line, try_id in rows}
        return [Started(ids.get(line, line), "agent") for line in self._marks.read_text().splitlines()]


def _leader(connection: psycopg.Connection[Any]) -> tuple[int, str]:
    row = connection.execute("SELECT term, holder FROM leadership").fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


def _first_queued(connection: psycopg.Connection[Any], since: datetime) -> datetime | None:
    row = connection.execute("SELECT min(queued_at) FROM task_instance WHERE queued_at >= %s", [since]).fetchone()
    return None if row is None else row[0]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


if __name__ == "__main__":
    sys.exit(main())
