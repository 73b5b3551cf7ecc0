"""Kill and freeze processes at random while a mixed load runs: `python -m loadtests.chaos --minutes 10 --seed 1`.

Runs of a DAG with chains, a fan-out, sensors, a deferral, an inline HTTP call and a retry follow each other; a person
clears tasks and pauses the DAG. Meanwhile daemon, agent, fork servers, the postmaster or a Postgres backend get
SIGKILL, or SIGSTOP for a few seconds.

At the end every run must have succeeded, no try may have started twice (each appends a line to a file), the history
that Postgres wrote must break no promise (`core.history`), and Ctrl-C must leave nothing behind; else the exit code is
1. Ends only processes of its own Lite.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg

from leoflowd.core.history import Started, check_history
from leoflowd.lite.postgres import paths_for
from loadtests.history_log import install, read_history
from loadtests.lite_process import Api, Lite, LiteError, temporary_folder, wait_until
from loadtests.waits import target_server

T = TypeVar("T")
KINDS = ("daemon", "agent", "fork server", "postmaster", "backend")
ACTIVE_RUNS_MAX = 5
BETWEEN_S = (0.2, 2.5)
"""Between two things that happen."""
FROZEN_S = (0.5, 4.0)
FINISH_WITHIN_S = 180.0
FAN = 40
DAG_ID = "chaos"
CLEARED = ("work_1", "step_3", "flaky", "call")
DAG = f"""\
import random
import time
from datetime import timedelta

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, task


def mark(dag_run, ti):
    with open(dag_run.conf["file"], "a") as file:
        file.write(f"{{ti.run_id}} {{ti.task_id}} {{ti.try_number}}\\n")


class Later(BaseOperator):
    def execute(self, context):
        mark(context["dag_run"], context["ti"])
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="go_on")

    def go_on(self, context, event=None):
        return 1


@task
def work(number, ti=None, dag_run=None):
    mark(dag_run, ti)
    time.sleep(random.uniform(0.02, 0.4))
    return number


@task
def total(numbers, ti=None, dag_run=None):
    mark(dag_run, ti)
    return sum(numbers)


@task(retries=3, retry_delay=timedelta(seconds=1))
def flaky(ti=None, dag_run=None):
    mark(dag_run, ti)
    if ti.try_number == 1:
        raise RuntimeError("the first try fails")


with DAG("{DAG_ID}", schedule=None, max_active_tasks=0, max_active_runs={ACTIVE_RUNS_MAX}):
    summed = total([work.override(task_id=f"work_{{number}}")(number) for number in range({FAN})])
    last = None
    for number in range(8):
        step = work.override(task_id=f"step_{{number}}")(number)
        if last is not None:
            last >> step
        last = step
    flaky() >> Later(task_id="later") >> work.override(task_id="after_later")(0)
    for mode in ("poke", "reschedule"):
        HttpSensor(
            task_id=f"wait_{{mode}}", http_conn_id="target", mode=mode, poke_interval=1, endpoint="/key/x"
        )
    HttpOperator(task_id="call", http_conn_id="target", endpoint="/key/call", method="GET", retries=3)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, help="the same seed draws the same things in the same order")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10_000) if arguments.seed is None else arguments.seed
    _say(f"chaos: {arguments.minutes:g} minutes, --seed {seed}")
    with temporary_folder("leoflow-chaos-") as root, target_server() as target:
        target.post("/release")
        chaos = Chaos(root, target, random.Random(seed))  # noqa: S311 - repeatable, not secret
        result = {"seed": seed, **chaos.run(arguments.minutes * 60)}
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))  # noqa: T201 - this is the output
    is_good = not (result["lost"] or result["doubled"] or result["violations"] or result["left"])
    return 0 if is_good else 1


class Chaos:
    def __init__(self, root: Path, target: httpx.Client, dice: random.Random) -> None:
        project = root / "workspace" / DAG_ID
        project.mkdir(parents=True)
        (project / "dag.py").write_text(DAG)
        self._marks = root / "marks"
        self._marks.touch()
        self._dice = dice
        self._runs: list[str] = []
        self._done: Counter[str] = Counter()
        at = f"127.0.0.1:{target.base_url.port}"
        env = {
            "AIRFLOW_CONN_TARGET": f"http://{at}",
            "LEOFLOW_EGRESS_ALLOW": at,
            "LEOFLOW_SCHEDULER_AGENT_SILENCE_S": "15",
        }
        self._lite = Lite(workspace=root / "workspace", data_dir=root / "data", env=env)
        self._data_dir = root / "data"

    def run(self, for_s: float) -> dict[str, Any]:
        with self._lite as lite:
            with lite.api() as api:
                api.wait_for_dags(DAG_ID)
            database = paths_for(self._data_dir).admin_conninfo("leoflow")
            install(database)
            until = time.monotonic() + for_s
            while time.monotonic() < until:
                self._something()
                time.sleep(self._dice.uniform(*BETWEEN_S))
            self._patiently(lambda api: api.unpause(DAG_ID))
            lost = self._wait_for_runs()
            started = self._started(database)
            history = read_history(database, started=started)
            exit_code = lite.interrupt()
            left = lite.leftovers()
        lines = Counter(self._marks.read_text().splitlines())
        return {
            "runs": len(self._runs),
            "lost": lost,
            "tries": len(lines),
            "doubled": sorted(line for line, count in lines.items() if count > 1),
            "violations": [f"{found.rule}: {found.what}" for found in check_history(history)],
            "changes": len(history.changes),
            "done": dict(self._done),
            "left": left,
            "exit_code": exit_code,
        }

    def _something(self) -> None:
        drawn = self._dice.random()
        if drawn < 0.3 or not self._runs:
            self._trigger()
        elif drawn < 0.4:
            self._clear()
        elif drawn < 0.45:
            self._pause()
        elif drawn < 0.8:
            self._kill(self._dice.choice(KINDS))
        else:
            self._freeze(self._dice.choice(KINDS))

    # --- what people do ---------------------------------------------------------------------------------------

    def _trigger(self) -> None:
        run_id = f"run_{len(self._runs)}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {"file": str(self._marks)}}

        def ask(api: Api) -> None:
            try:
                api.call("POST", f"/dags/{DAG_ID}/dagRuns", json=body)
            except LiteError as error:
                if "answered 409" not in str(error):  # it was made, and the answer was lost
                    raise

        self._patiently(ask)
        self._runs.append(run_id)
        self._done["triggered"] += 1

    def _clear(self) -> None:
        task_ids = self._dice.sample(CLEARED, 2)
        body = {
            "dry_run": False,
            "only_failed": False,
            "task_ids": task_ids,
            "dag_run_id": self._dice.choice(self._runs),
            "include_downstream": True,
        }
        self._patiently(lambda api: api.call("POST", f"/dags/{DAG_ID}/clearTaskInstances", json=body))
        self._done["cleared"] += 1

    def _pause(self) -> None:
        self._patiently(lambda api: api.call("PATCH", f"/dags/{DAG_ID}", json={"is_paused": True}))
        time.sleep(self._dice.uniform(*FROZEN_S))
        self._patiently(lambda api: api.unpause(DAG_ID))
        self._done["paused"] += 1

    def _patiently(self, ask: Callable[[Api], T]) -> T:
        """Somebody who comes again until the daemon answers."""

        def asked() -> tuple[T] | None:
            try:
                self._lite.ensure_running()
                with self._lite.api() as api:
                    return (ask(api),)
            except (LiteError, httpx.HTTPError):
                return None

        return wait_until(asked, within_s=FINISH_WITHIN_S, what="an answer of the daemon")[0]

    # --- what machines do -------------------------------------------------------------------------------------

    def _kill(self, kind: str) -> None:
        if kind == "daemon":
            self._lite.kill_daemon()
            self._lite.start()
            self._done["killed daemon"] += 1
        elif (process := self._find(kind)) is not None:
            process.kill()
            self._done[f"killed {kind}"] += 1

    def _freeze(self, kind: str) -> None:
        process = psutil.Process(self._lite.pid) if kind == "daemon" else self._find(kind)
        if process is None:
            return
        try:
            process.suspend()
            time.sleep(self._dice.uniform(*FROZEN_S))
            process.resume()
        except psutil.NoSuchProcess:
            return
        self._done[f"froze {kind}"] += 1

    def _find(self, kind: str) -> psutil.Process | None:
        for process in self._lite.processes():
            try:
                if _kind_of(process) == kind:
                    return process
            except psutil.NoSuchProcess:
                continue
        return None

    # --- looking ----------------------------------------------------------------------------------------------

    def _wait_for_runs(self) -> list[str]:
        """Runs that did not come to their good end, with their states."""

        def ended() -> dict[str, str] | None:
            states = self._patiently(lambda api: {run: str(api.run(DAG_ID, run)["state"]) for run in self._runs})
            return states if set(states.values()) <= {"success", "failed"} else None

        try:
            states = wait_until(ended, within_s=FINISH_WITHIN_S, what="all runs to end")
        except LiteError:
            states = self._patiently(lambda api: {run: str(api.run(DAG_ID, run)["state"]) for run in self._runs})
        return [f"{run}: {state}" for run, state in states.items() if state != "success"]

    def _started(self, database: str) -> list[Started]:
        """What the tasks wrote down, as tries. A try that Postgres does not know is one all the same."""
        with psycopg.connect(database) as connection:
            rows = connection.execute(
                "SELECT r.run_id || ' ' || t.task_id || ' ' || t.try_number, t.id::text FROM dag_run r JOIN"
                " (SELECT dag_run_id, task_id, try_number, id FROM task_instance_history UNION ALL"
                "  SELECT dag_run_id, task_id, try_number, id FROM task_instance) t ON t.dag_run_id = r.id"
            ).fetchall()
        ids = {str(line): str(try_id) for line, try_id in rows}
        return [Started(ids.get(line, line), "agent") for line in self._marks.read_text().splitlines()]


def _kind_of(process: psutil.Process) -> str | None:
    command = " ".join(process.cmdline())
    if "leoflow_agent host" in command:
        return "agent"
    if "runner/start.py serve" in command:
        # A try is a fork of the server and has its command line; only the server hangs under the agent.
        parent = process.parent()
        return "fork server" if parent is not None and "leoflow_agent host" in " ".join(parent.cmdline()) else None
    if command.startswith("postgres: leoflow"):
        return "backend"
    return "postmaster" if process.name() == "postgres" and not command.startswith("postgres:") else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


if __name__ == "__main__":
    sys.exit(main())
