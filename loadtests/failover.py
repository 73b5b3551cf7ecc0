"""Two daemons on one Postgres, and what happens to them under load: `python -m loadtests.failover --what kill`.

Two Lites share one Postgres, which belongs to neither, and one workspace. Runs of tasks and sensors follow each other,
and each round does one thing to them:

* kill: the daemon that leads gets SIGKILL, and is started again;
* rolling: each daemon in turn gets SIGTERM, and is started again when it has ended;
* pause: the daemon that leads is frozen until the other one leads, and goes on a moment later;
* postgres: Postgres is stopped, or killed with all its processes, every 5 to 40 seconds, and started again.

`--valkey`: results go to a real Valkey, which belongs to neither, and each task checks the one that it takes.

`--neighbour PATH`: the second daemon is that checkout's, of another release. It starts first, so that its schema is
there before ours. When it is told to start on a schema that it refuses, the round upgrades it.

At the end every run must have succeeded, no try may have started twice, none but the leader of the moment may have
moved anything, and the history that Postgres wrote must break no promise; else the exit code is 1. Ends only processes
of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg

from leoflowd.core.history import Started, check_history
from loadtests.history_log import install, read_history, strangers
from loadtests.lite_process import Api, Lite, LiteError, temporary_folder, wait_until
from loadtests.postgres_process import PostgresServer
from tests.fakes.valkey import running as running_valkey

BETWEEN_S = {"kill": (1.0, 4.0), "rolling": (1.0, 4.0), "pause": (1.0, 4.0), "postgres": (5.0, 40.0)}
"""From a settled pair to the next round."""
AWAY_S = (0.2, 4.0)
"""How long Postgres is."""
FROZEN_MORE_S = (0.2, 2.0)
"""After another one leads."""
EVERY_S = 0.4
"""A run."""
OPEN_MAX = 60
"""Runs of the short kind at a time."""
FINISH_WITHIN_S = 120.0
DAG_IDS = {"long": "failover", "short": "failover_short"}
DAG = f"""\
import time

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG, task


def result_of(run_id, number):
    return f"{{run_id}} {{number}} " * 100


@task
def step(number, before=None, ti=None, dag_run=None):
    with open(dag_run.conf["file"], "a") as file:
        file.write(f"{{ti.run_id}} {{ti.task_id}} {{ti.try_number}}\\n")
    assert before is None or before == result_of(ti.run_id, number - 1), before
    time.sleep(0.05)
    return result_of(ti.run_id, number)


with DAG("{DAG_IDS["long"]}", schedule=None, max_active_tasks=0, max_active_runs=0):
    first = step.override(task_id="first")(0)
    waits = [
        FileSensor(task_id=f"see_{{number}}", filepath="{{{{ dag_run.conf['file'] }}}}", poke_interval=1)
        for number in range(4)
    ]
    middle = step.override(task_id="middle")(1, first)
    first >> waits >> middle
    step.override(task_id="last")(2, middle)

with DAG("{DAG_IDS["short"]}", schedule=None, max_active_tasks=0, max_active_runs=0):
    step.override(task_id="only")(0)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--what", choices=list(BETWEEN_S), default="kill")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=0, help="short runs, as fast as they end; rounds go on until then")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no more of them are asked for")
    parser.add_argument("--valkey", action="store_true", help="results go there instead of to Postgres")
    parser.add_argument("--neighbour", type=Path, help="a checkout of another release, for the second daemon")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    with ExitStack() as stack:
        root = stack.enter_context(temporary_folder("leoflow-failover-"))
        valkey = stack.enter_context(running_valkey(root)) if given.valkey else None
        dice = random.Random(given.seed)  # noqa: S311 - repeatable, not secret
        pair = Pair(root, dice, given.neighbour, None if valkey is None else valkey.url)
        try:
            result = {
                "what": given.what,
                "seed": given.seed,
                **pair.run(given.what, given.rounds, given.runs, given.minutes * 60),
            }
        except LiteError:
            pair.tell()
            raise
        finally:
            pair.end()
    text = json.dumps(result, indent=1)
    print(text)  # noqa: T201 - this is the output
    if given.save is not None:
        given.save.write_text(text + "\n")
    return 0 if not (result["lost"] or result["doubled"] or result["violations"] or result["strangers"]) else 1


class Pair:
    def __init__(self, root: Path, dice: random.Random, neighbour: Path | None, redis: str | None = None) -> None:
        """`redis`: URL of where all results go."""
        project = root / "workspace" / "failover"
        project.mkdir(parents=True)
        (project / "dag.py").write_text(DAG)
        self._marks = root / "marks"
        self._marks.touch()
        self._dice = dice
        self._postgres = PostgresServer(root / "shared")
        (root / "shared").mkdir()
        self._database = self._postgres.paths.admin_conninfo("leoflow")
        places = {} if redis is None else {"LEOFLOW_REDIS_URL": redis, "LEOFLOW_REDIS_XCOM_MIN_BYTES": "0"}
        self._lites = [
            Lite(
                workspace=root / "workspace",
                data_dir=root / name,
                env={"LEOFLOW_POSTGRES": f"{self._postgres.paths.conninfo} application_name={name}", **places},
                code=code,
            )
            for name, code in (("first", None), ("second", neighbour))
        ]
        self._load = Load(self._lites, self._marks)
        self._done: Counter[str] = Counter()
        self._times: dict[str, list[float]] = {}
        self._neighbour = neighbour

    def end(self) -> None:
        self._load.stop()
        for lite in reversed(self._lites):
            lite.end()
        self._postgres.stop()

    def tell(self) -> None:
        """What the daemons said last."""
        for lite in self._lites:
            _say(f"--- {lite.data_dir.name}, up: {lite.is_up}\n{lite.output()[-8000:]}")

    def run(self, what: str, rounds: int, runs: int, most_s: float) -> dict[str, Any]:
        self._postgres.start()
        first, second = self._lites
        for lite in (second, first) if self._neighbour is not None else (first, second):
            lite.start()
        with first.api() as api:
            api.wait_for_dags(*DAG_IDS.values())
            api.unpause(*DAG_IDS.values())
        install(self._database)
        self._load.start(short_runs=runs, most_s=most_s)
        a_round: Callable[[], None] = {
            "kill": self._kill, "rolling": self._roll, "pause": self._pause, "postgres": self._lose_postgres
        }[what]  # fmt: skip
        began, number = time.monotonic(), 0
        while number < rounds or (runs and not self._load.is_done):
            if self._load.sleep(self._dice.uniform(*BETWEEN_S[what])) and number >= rounds:
                break
            number += 1
            self._round(what, number, a_round)
        self._load.stop()
        lost = self._lost()
        return {"rounds": number, "seconds": round(time.monotonic() - began, 1), **self._verdict(lost)}

    def _verdict(self, lost: list[str]) -> dict[str, Any]:
        lines = Counter(self._marks.read_text().splitlines())
        history = read_history(self._database, started=self._started())
        with psycopg.connect(self._database) as connection:
            terms = _leader(connection)[0]
            places = connection.execute("SELECT coalesce(split_part(place, ':', 1), 'postgres') FROM xcom").fetchall()
        return {
            "neighbour": self._neighbour is not None and _commit(self._neighbour),
            "done": dict(self._done),
            "terms": terms,
            "runs": len(self._load.runs),
            "tries": len(lines),
            "results": dict(Counter(str(place) for (place,) in places)),
            "changes": len(history.changes),
            "lost": lost,
            "doubled": sorted(line for line, count in lines.items() if count > 1),
            "strangers": strangers(self._database),
            "violations": [f"{found.rule}: {found.what}" for found in check_history(history)],
            **{name: {"p50": statistics.median(values), "max": max(values)} for name, values in self._times.items()},
        }

    # --- rounds ---------------------------------------------------------------------------------------------------

    def _round(self, what: str, number: int, a_round: Callable[[], None]) -> None:
        before = {name: len(values) for name, values in self._times.items()}
        a_round()
        self._done[what] += 1
        told = {name: values[-1] for name, values in self._times.items() if len(values) > before.get(name, 0)}
        _say(f"{what} {number}: {told}, {len(self._load.runs)} runs")

    def _kill(self) -> None:
        with psycopg.connect(self._database, autocommit=True) as connection:
            term, leader = self._leading(connection)
            since = datetime.now(UTC)
            leader.kill_daemon()
            self._note_takeover(connection, term, since)
            [other] = [lite for lite in self._lites if lite is not leader]
            with other.api() as api:
                watches = wait_until(
                    lambda: datetime.now(UTC) if api.http.get("/leoflow/api/pool").json()["shards"] == 64 else None,
                    within_s=30,
                    what="all waits to be watched",
                )
            self._note("watches_all_after_s", since, watches)
        self._start(leader)

    def _roll(self) -> None:
        for lite in self._lites:
            with psycopg.connect(self._database, autocommit=True) as connection:
                term, leader = self._leading(connection)
                since = datetime.now(UTC)
                lite.terminate()
                self._note("ends_after_s", since, datetime.now(UTC))
                if lite is leader:
                    self._note_takeover(connection, term, since)
            self._start(lite)

    def _pause(self) -> None:
        with psycopg.connect(self._database, autocommit=True) as connection:
            term, leader = self._leading(connection)
            since = datetime.now(UTC)
            leader.send(signal.SIGSTOP)
            try:
                self._note_takeover(connection, term, since)
                time.sleep(self._dice.uniform(*FROZEN_MORE_S))
            finally:
                leader.send(signal.SIGCONT)
        leader.ensure_running()

    def _lose_postgres(self) -> None:
        since = datetime.now(UTC)
        if self._dice.random() < 0.5:
            self._postgres.kill()
            self._done["killed"] += 1
        else:
            self._postgres.stop()
            self._done["stopped"] += 1
        time.sleep(self._dice.uniform(*AWAY_S))
        self._postgres.start()
        back = datetime.now(UTC)
        self._note("postgres_away_s", since, back)
        for lite in self._lites:
            if not lite.is_up:
                self._done["daemons that ended"] += 1
                lite.start()
        with psycopg.connect(self._database, autocommit=True) as connection:
            queued = wait_until(lambda: _first_queued(connection, back), within_s=60, what="a task to be queued")
        self._note("queues_after_postgres_s", back, queued)

    def _start(self, lite: Lite) -> None:
        """A neighbour that the schema has outgrown is upgraded."""
        try:
            lite.start()
        except LiteError as error:
            if lite.code is None or "run the newer release" not in str(error):
                raise
            self._done["upgraded"] += 1
            lite.code = None
            lite.start()

    # --- looking --------------------------------------------------------------------------------------------------

    def _leading(self, connection: psycopg.Connection[Any]) -> tuple[int, Lite]:
        def found() -> tuple[int, Lite] | None:
            term, holder = _leader(connection)
            return next(((term, lite) for lite in self._lites if holder.endswith(f"/{lite.pid}")), None)

        return wait_until(found, within_s=30, what="one of the two to lead")

    def _note_takeover(self, connection: psycopg.Connection[Any], term: int, since: datetime) -> None:
        leads = wait_until(
            lambda: datetime.now(UTC) if _leader(connection)[0] > term else None, within_s=60, what="another leader"
        )
        self._note("leads_after_s", since, leads)
        queued = wait_until(lambda: _first_queued(connection, leads), within_s=30, what="a task to be queued")
        self._note("queues_after_s", since, queued)

    def _note(self, name: str, since: datetime, at: datetime) -> None:
        self._times.setdefault(name, []).append(round((at - since).total_seconds(), 3))

    def _lost(self) -> list[str]:
        def open_runs() -> list[str]:
            with psycopg.connect(self._database) as connection:
                rows = connection.execute("SELECT run_id, state FROM dag_run").fetchall()
            states = {str(run_id): str(state) for run_id, state in rows}
            return [f"{run}: {states.get(run)}" for run in self._load.runs if states.get(run) != "success"]

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


class Load:
    """Somebody who starts runs, in a thread of its own: steadily, or as many as end for the short ones. Asks whichever
    daemon answers; for a run whose answer was lost it asks again, by its id."""

    def __init__(self, lites: list[Lite], marks: Path) -> None:
        self._lites = lites
        self._marks = marks
        self._is_over = threading.Event()
        self._has_enough = threading.Event()
        self._thread: threading.Thread | None = None
        self.runs: list[str] = []

    @property
    def is_done(self) -> bool:
        return self._has_enough.is_set()

    def start(self, *, short_runs: int, most_s: float) -> None:
        until = time.monotonic() + most_s
        work = (lambda: self._fast(short_runs, until)) if short_runs else self._steadily
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def sleep(self, for_s: float) -> bool:
        """True: all short runs have been asked for."""
        return self._has_enough.wait(for_s)

    def stop(self) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _steadily(self) -> None:
        with People(self._lites) as people:
            while not self._is_over.wait(EVERY_S):
                self._ask(people, DAG_IDS["long"], f"run_{len(self.runs)}")

    def _fast(self, count: int, until: float) -> None:
        with People(self._lites) as people:
            while len(self.runs) < count and time.monotonic() < until and not self._is_over.is_set():
                self._ask(people, DAG_IDS["short"], f"run_{len(self.runs)}")
                while len(self.runs) % 10 == 0 and people.open_runs() > OPEN_MAX and not self._is_over.wait(0.1):
                    pass
        self._has_enough.set()

    def _ask(self, people: People, dag_id: str, run_id: str) -> None:
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {"file": str(self._marks)}}
        answer = people.ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)
        if answer is not None and answer.status_code in (200, 409):
            self.runs.append(run_id)


class People:
    """A client of whichever daemon answers."""

    def __init__(self, lites: list[Lite]) -> None:
        self._lites = lites
        self._api: Api | None = None
        self._turn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response | None:
        """None: it is not known what came of it."""
        try:
            if self._api is None:
                self._turn += 1
                self._api = self._lites[self._turn % len(self._lites)].api()
            answer = self._api.http.request(method, path, **arguments)
        except (httpx.HTTPError, LiteError):
            answer = None
        if answer is None or answer.is_server_error:
            self._leave()
            time.sleep(0.05)
        return answer

    def open_runs(self) -> int:
        """Of the short kind; many, when nobody says."""
        path = f"/api/v2/dags/{DAG_IDS['short']}/dagRuns?state=running&state=queued&limit=1"
        answer = self.ask("GET", path)
        return int(answer.json()["total_entries"]) if answer is not None and answer.is_success else OPEN_MAX + 1

    def _leave(self) -> None:
        if self._api is not None:
            self._api.http.close()
            self._api = None


def _leader(connection: psycopg.Connection[Any]) -> tuple[int, str]:
    row = connection.execute("SELECT term, holder FROM leadership").fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


def _first_queued(connection: psycopg.Connection[Any], since: datetime) -> datetime | None:
    row = connection.execute("SELECT min(queued_at) FROM task_instance WHERE queued_at >= %s", [since]).fetchone()
    return None if row is None else row[0]


def _commit(checkout: Path) -> str:
    asked = ["git", "-C", str(checkout), "log", "-1", "--format=%h %cs %s"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - ours


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


if __name__ == "__main__":
    sys.exit(main())
