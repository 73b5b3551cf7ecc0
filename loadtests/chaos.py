"""Kill processes at random while tasks run: `python -m loadtests.chaos --rounds 10 --seed 1 --json`.

Each round triggers a run of 150 tasks and meanwhile sends SIGKILL three times: to the daemon (which is started again),
the agent, a fork server, the postmaster or a Postgres backend. Every task appends its try to a file. At the end every
run must have succeeded, no try may stand in the file twice, and Ctrl-C must leave nothing behind; else the exit code
is 1. Bounded in count and time; ends only processes of its own Lite.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

from loadtests.lite_process import Lite, temporary_folder

KINDS = ("daemon", "agent", "fork server", "postmaster", "backend")
KILLS_PER_ROUND = 3
RUN_WITHIN_S = 120.0
DAG = """\
import random
import time

from airflow.sdk import dag, task


@dag(schedule=None, max_active_tasks=0)
def chaos():
    @task
    def work(number, ti=None, dag_run=None):
        with open(dag_run.conf["file"], "a") as file:
            file.write(f"{ti.run_id} {ti.task_id} {ti.try_number}\\n")
        time.sleep(random.uniform(0.02, 0.4))
        return number

    @task
    def total(numbers):
        return sum(numbers)

    total([work(number) for number in range(150)])


chaos()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="the same seed kills the same kinds at the same moments")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    with temporary_folder("leoflow-chaos-") as root:
        result = _measure(root, arguments.rounds, random.Random(arguments.seed))  # noqa: S311 - repeatable, not secret
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))  # noqa: T201 - this is the output
    is_good = result["states"] == {"success": arguments.rounds} and not result["doubled"] and not result["left"]
    return 0 if is_good else 1


def _measure(root: Path, rounds: int, dice: random.Random) -> dict[str, object]:
    project = root / "workspace" / "chaos"
    project.mkdir(parents=True)
    (project / "dag.py").write_text(DAG)
    marks = root / "marks"
    marks.touch()
    kills: Counter[str] = Counter()
    states: Counter[str] = Counter()
    with Lite(workspace=root / "workspace", data_dir=root / "data") as lite:
        with lite.api() as api:
            api.wait_for_dags("chaos")
        for number in range(rounds):
            state = _round(lite, str(marks), dice, kills)
            states[state] += 1
            print(f"chaos: round {number + 1} of {rounds}: {state}", file=sys.stderr)  # noqa: T201 - progress
        exit_code = lite.interrupt()
        left = lite.leftovers()
    tries = Counter(marks.read_text().splitlines())
    return {
        "states": dict(states),
        "kills": dict(kills),
        "tries": len(tries),
        "doubled": sorted(line for line, count in tries.items() if count > 1),
        "left": left,
        "exit_code": exit_code,
    }


def _round(lite: Lite, marks: str, dice: random.Random, kills: Counter[str]) -> str:
    with lite.api() as api:
        run_id = api.trigger("chaos", conf={"file": marks})
    for _ in range(KILLS_PER_ROUND):
        time.sleep(dice.uniform(0.1, 1.2))
        kind = dice.choice(KINDS)
        kills[kind] += _kill(lite, kind)
    lite.ensure_running()
    with lite.api() as api:
        return str(api.wait_for_run("chaos", run_id, within_s=RUN_WITHIN_S)["state"])


def _kill(lite: Lite, kind: str) -> int:
    """How many were killed: none when there is none of the kind at the moment."""
    if kind == "daemon":
        lite.kill_daemon()
        lite.start()
        return 1
    for process in lite.processes():
        try:
            if _kind_of(process) == kind:
                process.kill()
                return 1
        except psutil.NoSuchProcess:
            continue
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
