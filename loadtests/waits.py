"""What waits cost, and what becomes of them when the daemon dies: `python -m loadtests.waits --live 100000 --json`.

Starts its own `leoflow lite` and, in another process, the server that the sensors look at (`target_server`). Every wait
comes into being as a user's does: dag runs of 500 sensors each, triggered through the API. Modes:

* `--live N --cadence S --distinct K --minutes M`: N HTTP sensors over K addresses, measured for M minutes;
* `--parked N`: N date-time sensors whose moment is far away;
* `--timers N`: N date-time sensors that are all due at one moment;
* `--kill N`: N live HTTP sensors; `kill -9` of the daemon while all wait, and again while they fire.

Each prints waits, RSS bytes per wait, CPU share of one core (daemon, and PostgreSQL beside it), lateness p50/p99 in
seconds, probes made and saved, lost, doubled, and seconds until armed; null where a mode does not measure it. `lost`
and `doubled` are counted in the database: a wait ends as exactly one try of its task. The target server counts probes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from loadtests.lite_process import Lite, temporary_folder, wait_until

RESULTS = Path(__file__).parent / "results"
PER_RUN = 500
"""Sensors in one dag run."""
SETTLE_S = 5.0
BEGIN_WITHIN_S = 1800.0
END_WITHIN_S = 900.0
SECOND_KILL_AT = 0.3
"""Share of the waits that have ended when `--kill` strikes again."""

DAG = """\
from datetime import timedelta

from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.sdk import DAG

with DAG("live", schedule=None, max_active_runs=0, max_active_tasks=0):
    for number in range({per_run}):
        HttpSensor(
            task_id=f"wait_{{number:03}}",
            http_conn_id="target",
            endpoint="/key/{{{{ dag_run.conf['group'] }}}}/" + str(number % {keys_per_run}),
            poke_interval={cadence},
            timeout=timedelta(days=1),
            deferrable=True,
        )

with DAG("timed", schedule=None, max_active_runs=0, max_active_tasks=0):
    for number in range({per_run}):
        DateTimeSensor(
            task_id=f"wait_{{number:03}}",
            target_time="{{{{ dag_run.conf['moment'] }}}}",
            timeout=timedelta(days=30),
        )
"""


def main() -> int:
    arguments = _parser().parse_args()
    with temporary_folder("leoflow-waits-") as root, target_server() as target:
        test = _Test(root, target, arguments)
        with test.lite:
            result = test.run()
            left = [] if test.lite.interrupt() == 0 else ["exit code"]
            result["processes_left"] = [*left, *test.lite.leftovers()]
    text = json.dumps(result)
    if arguments.save:
        name = f"{datetime.now(UTC):%Y-%m-%d}-waits-{result['mode']}-{result['waits']}.json"
        (RESULTS / name).write_text(json.dumps(result, indent=1) + "\n")
    print(text if arguments.json else json.dumps(result, indent=1))  # noqa: T201 - this is the output
    return 0 if not result["lost"] and not result["doubled"] and not result["processes_left"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    mode = parser.add_mutually_exclusive_group(required=True)
    for name in ("live", "parked", "timers", "kill"):
        mode.add_argument(f"--{name}", type=int, metavar="N")
    parser.add_argument("--cadence", type=float, default=60.0, help="poke_interval of the HTTP sensors, seconds")
    parser.add_argument("--distinct", type=int, default=5000, help="addresses that the HTTP sensors look at")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long --live measures")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", action="store_true", help="keep the result in loadtests/results")
    return parser


@contextmanager
def target_server() -> Iterator[httpx.Client]:
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.target_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{int(process.stdout.readline())}", trust_env=False) as client:
            yield client
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


class _Test:
    """One Lite, its target, and what is counted."""

    def __init__(self, root: Path, target: httpx.Client, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.target = target
        self.mode = next(name for name in ("live", "parked", "timers", "kill") if getattr(arguments, name))
        self.asked: int = getattr(arguments, self.mode)
        self.runs = max(1, -(-self.asked // PER_RUN))
        self.count = self.runs * min(PER_RUN, self.asked)
        project = root / "workspace" / "waits"
        project.mkdir(parents=True)
        per_run = min(PER_RUN, self.asked)
        self.keys_per_run = max(1, min(per_run, arguments.distinct))
        self.groups = max(1, arguments.distinct // self.keys_per_run)
        (project / "dag.py").write_text(
            DAG.format(per_run=per_run, cadence=arguments.cadence, keys_per_run=self.keys_per_run)
        )
        self.lite = Lite(
            workspace=root / "workspace",
            data_dir=root / "data",
            env={
                "AIRFLOW_CONN_TARGET": f"http://127.0.0.1:{target.base_url.port}",
                "LEOFLOW_EGRESS_ALLOW": f"127.0.0.1:{target.base_url.port}",
            },
        )

    def run(self) -> dict[str, Any]:
        with self.lite.api() as api:
            api.wait_for_dags("live", "timed")
            api.unpause("live", "timed")
        before = self._rss()
        measured: dict[str, Any] = getattr(self, f"_{self.mode}")(before)
        return {
            "mode": self.mode,
            "waits": self.count,
            "rss_bytes_per_wait": None,
            "rss_mb": None,
            "cpu_share_of_a_core": None,
            "postgres_cpu_share": None,
            "lateness_p50_s": None,
            "lateness_p99_s": None,
            "lateness_max_s": None,
            "probes_made": None,
            "probes_saved": None,
            "seconds_until_armed": None,
            **measured,
            "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    # --- modes -----------------------------------------------------------------------------------------------------

    def _live(self, rss_before: int) -> dict[str, Any]:
        began_s = self._begin("live")
        time.sleep(SETTLE_S)
        grown = self._rss() - rss_before
        self.target.post("/forget")
        at_start = self._pool()
        used = _Used(self.lite)
        time.sleep(self.arguments.minutes * 60)
        shares = used.shares()
        now = self._pool()
        seen = self.target.get("/counts", params={"cadence": self.arguments.cadence}).json()
        ended = self._release()
        return {
            "begun_in_s": began_s,
            "rss_bytes_per_wait": grown // self.count,
            "rss_mb": self._rss() // 2**20,
            **shares,
            **_lateness(now),
            "probes_made": now["probes_made"] - at_start["probes_made"],
            "probes_saved": now["probes_saved"] - at_start["probes_saved"],
            "target_server": seen,
            **ended,
        }

    def _parked(self, rss_before: int) -> dict[str, Any]:
        began_s = self._begin("timed", moment=datetime.now(UTC) + timedelta(days=20))
        time.sleep(SETTLE_S)
        used = _Used(self.lite)
        time.sleep(30)
        shares = used.shares()
        grown = self._rss() - rss_before
        self.lite.kill_daemon()
        armed_s, pool = self._start_again()
        return {
            "begun_in_s": began_s,
            "rss_bytes_per_wait": grown // self.count,
            "rss_mb": (rss_before + grown) // 2**20,
            "rss_mb_after_restart": self._rss() // 2**20,
            **shares,
            "seconds_until_armed": armed_s,
            "armed": pool["armed"],
            "armed_in_s": pool["armed_in_s"],
            "lost": self.count - self._states().get("deferred", 0),
            "doubled": self._doubled(),
        }

    def _timers(self, rss_before: int) -> dict[str, Any]:
        moment = datetime.now(UTC) + timedelta(seconds=20 + self.count / 500)
        began_s = self._begin("timed", moment=moment)
        if datetime.now(UTC) >= moment:
            raise SystemExit("the waits did not begin before their moment; nothing was measured")
        used = _Used(self.lite)
        ended = self._ended(within_s=(moment - datetime.now(UTC)).total_seconds() + END_WITHIN_S)
        late = self._sql(
            "SELECT percentile_disc(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (ORDER BY extract(epoch FROM end_date - %s))"
            " FROM task_instance WHERE state = 'success'",
            moment,
        )[0][0]
        last = self._sql("SELECT extract(epoch FROM max(updated_at) - %s) FROM task_instance", moment)[0][0]
        return {
            "begun_in_s": began_s,
            "rss_bytes_per_wait": (self._rss() - rss_before) // self.count,
            **used.shares(),
            "lateness_p50_s": round(float(late[0]), 3),
            "lateness_p99_s": round(float(late[1]), 3),
            "lateness_max_s": round(float(late[2]), 3),
            "last_task_moved_s": round(float(last), 3),
            **ended,
        }

    def _kill(self, rss_before: int) -> dict[str, Any]:
        began_s = self._begin("live")
        grown = self._rss() - rss_before
        self.lite.kill_daemon()
        armed_s, pool = self._start_again()
        self.target.post("/release")
        wait_until(
            lambda: self._states().get("success", 0) >= self.count * SECOND_KILL_AT,
            within_s=END_WITHIN_S,
            what="the first waits to fire",
        )
        self.lite.kill_daemon()
        second_s, _ = self._start_again()
        return {
            "begun_in_s": began_s,
            "rss_bytes_per_wait": grown // self.count,
            "seconds_until_armed": armed_s,
            "armed": pool["armed"],
            "armed_in_s": pool["armed_in_s"],
            "seconds_until_armed_while_firing": second_s,
            **self._release(),
        }

    # --- steps -----------------------------------------------------------------------------------------------------

    def _begin(self, dag_id: str, moment: datetime | None = None) -> float:
        """Trigger the runs and wait until every sensor waits; how long that took."""
        began = time.monotonic()
        with self.lite.api() as api:
            for number in range(self.runs):
                conf = {"group": number % self.groups, "moment": moment.isoformat() if moment else None}
                api.trigger(dag_id, conf=conf)
                if number % 100 == 99:
                    self._say(f"{number + 1} of {self.runs} runs are triggered")
        wait_until(
            lambda: self._states().get("deferred", 0) >= self.count,
            within_s=BEGIN_WITHIN_S,
            what=f"{self.count} task instances to wait",
        )
        took = round(time.monotonic() - began, 1)
        self._say(f"{self.count} waits began in {took} s")
        return took

    def _release(self) -> dict[str, Any]:
        self.target.post("/release")
        return self._ended(within_s=self.arguments.cadence + END_WITHIN_S)

    def _ended(self, *, within_s: float) -> dict[str, Any]:
        began = time.monotonic()
        wait_until(lambda: self._states().get("deferred", 0) == 0, within_s=within_s, what="every wait to end")
        return {
            "ended_in_s": round(time.monotonic() - began, 1),
            "lost": self.count - self._states().get("success", 0),
            "doubled": self._doubled(),
        }

    def _start_again(self) -> tuple[float, dict[str, Any]]:
        """From the start of the process to all current waits armed."""
        began = time.monotonic()
        self.lite.start()
        pool = wait_until(self._armed_pool, within_s=END_WITHIN_S, what="all waits to be armed")
        return round(time.monotonic() - began, 2), pool

    def _armed_pool(self) -> dict[str, Any] | None:
        """None while this daemon does not lead yet, or still reads the waits."""
        with self.lite.api() as api:
            answer = api.http.get("/leoflow/api/pool")
        found: dict[str, Any] = answer.json() if answer.is_success else {}
        return found if found.get("armed_in_s") else None

    # --- looking ---------------------------------------------------------------------------------------------------

    def _pool(self) -> dict[str, Any]:
        with self.lite.api() as api:
            answer = api.http.get("/leoflow/api/pool")
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
            return found

    def _rss(self) -> int:
        return int(psutil.Process(self.lite.pid).memory_info().rss)

    def _states(self) -> dict[str, int]:
        return dict(self._sql("SELECT state, count(*) FROM task_instance WHERE state IS NOT NULL GROUP BY state"))

    def _doubled(self) -> int:
        """Task instances that needed, or had, more than their one try."""
        return int(
            self._sql(
                "SELECT (SELECT count(*) FROM task_instance_history)"
                " + (SELECT count(*) FROM task_instance WHERE try_number > 1)"
            )[0][0]
        )

    def _sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        conninfo = (self.lite.data_dir / "postgres.conninfo").read_text().strip()
        with psycopg.connect(conninfo, autocommit=True) as connection:
            return connection.execute(statement.encode(), values or None).fetchall()

    def _say(self, text: str) -> None:
        print(f"waits: {text}", file=sys.stderr, flush=True)  # noqa: T201 - progress


class _Used:
    """CPU of the daemon and of its PostgreSQL since this was made."""

    def __init__(self, lite: Lite) -> None:
        self._lite = lite
        self._since = time.monotonic()
        self._daemon = _cpu_s([psutil.Process(lite.pid)])
        self._postgres = _cpu_s(_postgres(lite))

    def shares(self) -> dict[str, float]:
        wall = time.monotonic() - self._since
        return {
            "cpu_share_of_a_core": round((_cpu_s([psutil.Process(self._lite.pid)]) - self._daemon) / wall, 4),
            "postgres_cpu_share": round((_cpu_s(_postgres(self._lite)) - self._postgres) / wall, 4),
        }


def _postgres(lite: Lite) -> list[psutil.Process]:
    return [process for process in lite.processes() if process.name() == "postgres"]


def _cpu_s(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _lateness(pool: dict[str, Any]) -> dict[str, Any]:
    return {name: pool[name] for name in ("lateness_p50_s", "lateness_p99_s", "lateness_max_s")}


if __name__ == "__main__":
    sys.exit(main())
