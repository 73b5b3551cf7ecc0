"""The same waits in Airflow's triggerer and in Leoflow, one after the other on this machine.

`python -m loadtests.airflow_waits --airflow VENV --ns 1000 5000 --json`. `VENV` has Airflow 3.2 with the standard and
http providers, psycopg2 and asyncpg; `--install` makes it (about 300 MB). Airflow gets a database of its own on the
PostgreSQL of a Leoflow Lite that is idle meanwhile: same binaries, same fsync.

Two cases, both the best that Airflow can do:

* *timers*: N triggers for one moment, `end_from_trigger=True`, so that no worker starts at the end. Lateness is the
  task's `end_date` less that moment.
* *polls*: N `HttpSensorTrigger`s over N addresses, every 5 s, for half a minute. Lateness is the distance between two
  requests at the target less 5 s, on both sides.

Airflow runs with a raised triggerer capacity, WARNING logs and a short scheduler sleep. Its task instances are made by
its own scheduler and held in a pool without slots, then set to deferred with a trigger row each: deferring for real
costs it one worker process per wait, which would measure something else. Leoflow's begin as a user's do
(`loadtests.waits`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from loadtests.lite_process import Lite, free_port, temporary_folder, wait_until
from loadtests.waits import RESULTS, target_server

REPOSITORY = Path(__file__).parent.parent
REQUIREMENTS = ("apache-airflow==3.2.2", "apache-airflow-providers-standard", "apache-airflow-providers-http")
DRIVERS = ("psycopg2-binary", "asyncpg")
BOUNDS = REPOSITORY / "locks" / "airflow-constraints.txt"
"""Newer versions of some dependencies keep Airflow 3.2.2 from starting."""
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
PER_RUN = 500
POLL_S = 5.0
POLL_FOR_S = 30.0
HEALTHY_WITHIN_S = 180.0
POLLING_WITHIN_S = 180.0
"""How long all triggers may take to poll for the first time."""

DAG = """\
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("held", schedule=None, max_active_tasks=100000, max_active_runs=1000):
    for number in range({per_run}):
        BashOperator(task_id=f"wait_{{number:03}}", bash_command="true", pool="hold")
"""
DEFER = """\
import json, sys
from datetime import datetime
from sqlalchemy import text
from airflow.models.trigger import Trigger
from airflow.utils.session import create_session

order = json.load(sys.stdin)
with create_session() as session:
    held = "SELECT id::text FROM task_instance WHERE state = 'scheduled' ORDER BY run_id, task_id"
    ids = [row[0] for row in session.execute(text(held))]
    triggers = []
    for number, _ in enumerate(ids):
        kwargs = dict(order["kwargs"])
        if "moment" in kwargs:
            kwargs["moment"] = datetime.fromisoformat(kwargs["moment"])
        else:
            kwargs["endpoint"] = f"/key/{number}"
        triggers.append(Trigger(classpath=order["classpath"], kwargs=kwargs))
    session.add_all(triggers)
    session.flush()
    session.connection().execute(
        text(
            "UPDATE task_instance SET state = 'deferred', trigger_id = :trigger, next_method = 'execute_complete',"
            " next_kwargs = '{}'::jsonb, try_number = greatest(try_number, 1), start_date = now()"
            " WHERE id = cast(:id AS uuid)"
        ),
        [{"trigger": trigger.id, "id": id} for trigger, id in zip(triggers, ids)],
    )
    session.commit()
print(len(ids))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--airflow", type=Path, required=True, help="virtual environment with Airflow 3.2")
    parser.add_argument("--install", action="store_true", help="make that environment first")
    parser.add_argument("--ns", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", action="store_true", help="keep the result in loadtests/results")
    arguments = parser.parse_args()
    venv = arguments.airflow.absolute()
    if arguments.install:
        _install(venv)
    result: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count()}
    result["airflow"] = _airflow(venv, arguments.ns)
    result["leoflow"] = {str(n): _leoflow(n) for n in arguments.ns}
    if arguments.save:
        name = f"{datetime.now(UTC):%Y-%m-%d}-waits-beside-airflow.json"
        (RESULTS / name).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result) if arguments.json else json.dumps(result, indent=1))  # noqa: T201 - this is the output
    return 0


def _install(venv: Path) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "venv", "--quiet", str(venv)], check=True)  # noqa: S603 - our own command
    command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(venv / "bin" / "python")]
    subprocess.run([*command, *REQUIREMENTS, *DRIVERS, "-c", str(BOUNDS)], check=True)  # noqa: S603


# --- Leoflow ---------------------------------------------------------------------------------------------------------


def _leoflow(n: int) -> dict[str, Any]:
    timers = _waits("--timers", str(n))
    polls = _waits("--live", str(n), "--cadence", str(POLL_S), "--distinct", str(n), "--minutes", str(POLL_FOR_S / 60))
    return {"timers": timers, "polls": polls}


def _waits(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtests.waits", *arguments, "--json"]
    answer = subprocess.run(  # noqa: S603 - our own command
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


# --- Airflow ---------------------------------------------------------------------------------------------------------


def _airflow(venv: Path, ns: list[int]) -> dict[str, Any]:
    with temporary_folder("leoflow-beside-airflow-") as root, target_server() as target:
        (root / "workspace").mkdir()
        (root / "dags").mkdir()
        (root / "dags" / "held.py").write_text(DAG.format(per_run=PER_RUN))
        with Lite(workspace=root / "workspace", data_dir=root / "data") as lite:
            airflow = Airflow(venv, root, lite, target)
            with airflow.running():
                return {str(n): {"timers": airflow.timers(n), "polls": airflow.polls(n)} for n in ns}


class Airflow:
    """Its four components, each a process of ours, and a database of their own."""

    def __init__(self, venv: Path, root: Path, lite: Lite, target: httpx.Client) -> None:
        self.venv = venv
        self.root = root
        self.target = target
        self._lite = lite
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        facts = conninfo_to_dict((lite.data_dir / "postgres.conninfo").read_text().strip()) | {"user": "leoflow"}
        self.conninfo = {**facts, "dbname": "airflow"}
        with psycopg.connect(**facts, autocommit=True) as connection:  # type: ignore[arg-type]  # all of it is text
            connection.execute("CREATE DATABASE airflow")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        user, password = (quote_plus(str(facts.get(name, ""))) for name in ("user", "password"))
        database = f"{user}:{password}@/airflow?host={quote_plus(str(facts['host']))}"
        if facts.get("port"):
            database += f"&port={facts['port']}"
        self.environment = {
            **os.environ,
            "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
            "AIRFLOW_HOME": str(root / "home"),
            "AIRFLOW_CONN_TARGET": f"http://127.0.0.1:{target.base_url.port}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{database}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "20",
            "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "100000",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "2",
            "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-a-comparison-on-loopback-0123456789-0123456789-0123456789",
            "AIRFLOW__API__SECRET_KEY": "only-for-a-comparison-on-loopback",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "64",
            "AIRFLOW__TRIGGERER__CAPACITY": "10000",
            "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "1000",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._airflow("db", "migrate")
        self._airflow("pools", "set", "hold", "0", "tasks that never get a slot")
        try:
            for name in COMPONENTS:
                with (self.root / f"{name}.log").open("wb") as output:
                    self.parts[name] = subprocess.Popen(  # noqa: S603 - our own command
                        [str(self.venv / "bin" / "airflow"), name],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env=self.environment,
                        start_new_session=True,
                    )
            wait_until(self._healthy, within_s=HEALTHY_WITHIN_S, what="Airflow to be healthy")
            yield
        finally:
            self._end()

    def timers(self, n: int) -> dict[str, Any]:
        runs = self._hold(n)
        moment = datetime.now(UTC) + timedelta(seconds=20 + n / 100)
        kwargs = {"moment": moment.isoformat(), "end_from_trigger": True}
        self._defer("airflow.providers.standard.triggers.temporal.DateTimeTrigger", kwargs)
        time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds() - 5))
        waiting = self._memory()
        used = _Cpu(self)
        wait_until(lambda: self._count(runs, "deferred") == 0, within_s=900, what="Airflow's waits to end")
        used_s = used.seconds()
        late = self._sql(
            "SELECT percentile_disc(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (ORDER BY extract(epoch FROM end_date - %s))"
            " FROM task_instance WHERE run_id = ANY (%s) AND state = 'success'",
            moment,
            runs,
        )[0][0]
        return {
            "waits": n,
            "lateness_p50_s": round(float(late[0]), 3),
            "lateness_p99_s": round(float(late[1]), 3),
            "lateness_max_s": round(float(late[2]), 3),
            "cpu_s_while_firing": used_s,
            "memory_pss_mb": waiting,
        }

    def polls(self, n: int) -> dict[str, Any]:
        self._hold(n)
        self.target.post("/forget")
        kwargs = {"http_conn_id": "target", "method": "GET", "poke_interval": POLL_S}
        self._defer("airflow.providers.http.triggers.http.HttpSensorTrigger", kwargs)
        began = time.monotonic()
        # A triggerer that stalls is a result, not a fault of the test: `target_server.keys` says how many really poll.
        while self.target.get("/counts").json()["keys"] < n and time.monotonic() - began < POLLING_WITHIN_S:
            time.sleep(1)
        time.sleep(POLL_S)
        self.target.post("/forget")
        used = _Cpu(self)
        time.sleep(POLL_FOR_S)
        answer = {
            "waits": n,
            "cpu_share_of_a_core": {name: round(s / POLL_FOR_S, 4) for name, s in used.seconds().items()},
            "target_server": self.target.get("/counts", params={"cadence": POLL_S}).json(),
            "memory_pss_mb": self._memory(),
        }
        # Not worth waiting for: each would need a worker process to end.
        self._sql("UPDATE task_instance SET state = 'success', trigger_id = NULL WHERE state = 'deferred' RETURNING 1")
        return answer

    # --- steps -----------------------------------------------------------------------------------------------------

    def _airflow(self, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 - our own command
            [str(self.venv / "bin" / "airflow"), *arguments],
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _healthy(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", trust_env=False).json()
            with self._client() as client:
                return (
                    all(answer[part]["status"] == "healthy" for part in ("scheduler", "triggerer"))
                    and client.get("/api/v2/dags/held").is_success
                )
        except (httpx.HTTPError, KeyError, ValueError):
            return False

    def _client(self) -> httpx.Client:
        token = httpx.get(f"{self.url}/auth/token", trust_env=False).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    def _hold(self, n: int) -> list[str]:
        """Runs whose task instances the scheduler has made and cannot start."""
        runs = []
        with self._client() as client:
            for _ in range(max(1, n // PER_RUN)):
                answer = client.post("/api/v2/dags/held/dagRuns", json={"logical_date": None, "conf": {}})
                answer.raise_for_status()
                runs.append(answer.json()["dag_run_id"])
        wanted = len(runs) * PER_RUN
        wait_until(lambda: self._count(runs, "scheduled") == wanted, within_s=600, what=f"{wanted} scheduled tasks")
        return runs

    def _defer(self, classpath: str, kwargs: dict[str, Any]) -> None:
        order = json.dumps({"classpath": classpath, "kwargs": kwargs})
        subprocess.run(  # noqa: S603 - our own command
            [str(self.venv / "bin" / "python"), "-c", DEFER],
            input=order,
            text=True,
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _count(self, runs: list[str], state: str) -> int:
        return int(
            self._sql("SELECT count(*) FROM task_instance WHERE run_id = ANY (%s) AND state = %s", runs, state)[0][0]
        )

    def _sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(**self.conninfo, autocommit=True) as connection:  # type: ignore[arg-type]
            return connection.execute(statement.encode(), values).fetchall()

    def _memory(self) -> dict[str, int]:
        return {
            name: sum(int(p.memory_full_info().pss) for p in tree(part.pid)) // 2**20
            for name, part in self.parts.items()
        }

    def _end(self) -> None:
        for part in self.parts.values():
            part.terminate()
        for part in self.parts.values():
            children = tree(part.pid)
            try:
                part.wait(30)
            except subprocess.TimeoutExpired:
                part.kill()
                part.wait(10)
            for child in children:
                if child.is_running():
                    child.kill()


class _Cpu:
    """CPU seconds of each of Airflow's components, and of PostgreSQL, since this was made."""

    def __init__(self, airflow: Airflow) -> None:
        self._airflow = airflow
        self._before = self._now()

    def seconds(self) -> dict[str, float]:
        return {name: round(now - self._before[name], 2) for name, now in self._now().items()}

    def _now(self) -> dict[str, float]:
        found = {name: cpu_s(tree(part.pid)) for name, part in self._airflow.parts.items()}
        found["postgres"] = cpu_s([p for p in self._airflow._lite.processes() if p.name() == "postgres"])  # noqa: SLF001
        return found


def tree(pid: int) -> list[psutil.Process]:
    """The process and everything below it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(processes: list[psutil.Process]) -> float:
    """User and system time; of children that have ended too."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


if __name__ == "__main__":
    sys.exit(main())
