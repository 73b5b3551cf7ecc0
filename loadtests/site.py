"""What the API of a large site's daemon answers, and how fast: `python -m loadtests.site --folder F --save`.

A daemon of the role `api` (nobody schedules) on the database of `loadtests.seed`, which is made in the folder when
there is none. Each read that the unmodified UI, our pages and Airflow's client make: first alone, one after the other;
then `--rate` of them a second, drawn from the mix, for `--seconds`. A request's time runs from the moment at which it
was due until its answer is read to the end; who comes late because others were slow is late.

`bare_select_ms` is one `SELECT 1` over the same socket in the same minutes: absolutes differ from machine to machine,
the ratio to it travels. Exit code 1 when an answer was no 200.
"""

# ruff: noqa: E501 - the table of reads has a line for each

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import msgspec
import psutil
import psycopg
import trio

from loadtests.lite_process import PASSWORD, PATIENCE, READY_LINE, USERNAME, free_port, temporary_folder
from loadtests.postgres_process import PostgresServer
from loadtests.seed import add_sizes, seed, size_of

RESULTS = Path(__file__).parent / "results"
REPOSITORY = Path(__file__).parent.parent
START_WITHIN_S = 60.0 * PATIENCE
ANSWER_WITHIN_S = 30.0
WORKERS = 64
SQUARES = 25
KUBECONFIG = """\
{"clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "none", "user": {"token": "t"}}],
 "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}], "current-context": "none"}
"""
"""The role `api` asks no Kubernetes anything, and has to be told one."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What of the site the reads ask for."""

    dags: list[str]
    runs: list[tuple[str, str]]
    """(DAG, run id) of recent ones."""
    waiting: list[tuple[str, str, str]]
    """(DAG, run id, task id)."""
    squares: dict[str, list[str]]
    """Of some DAGs the newest run ids."""
    wide: str
    busy: str
    """The DAG with the most runs."""


class Read(msgspec.Struct, frozen=True):
    name: str
    weight: int
    """In the mix."""
    path: Callable[[Place, random.Random], str]
    is_large: bool = False
    """Of what is no everyday answer: alone only, a few times."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the Postgres; without it, one that goes afterwards")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second of the mix")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the mix; 0: none")
    parser.add_argument("--alone", type=int, default=20, help="times that each read is made by itself")
    parser.add_argument("--only", help="reads whose name has this in it")
    parser.add_argument("--save", nargs="?", const="site", help="result in loadtests/results/, under this name")
    add_sizes(parser)
    given = parser.parse_args()
    with temporary_folder("leoflow-site-") as scratch:
        result = measure(given.folder or scratch / "postgres", scratch, given)
    text = json.dumps(result, indent=1) + "\n"
    sys.stdout.write(text)
    if given.save:
        (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{given.save}.json").write_text(text)
    return 1 if result["failures"] else 0


def measure(folder: Path, scratch: Path, given: argparse.Namespace) -> dict[str, Any]:
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    server = PostgresServer(folder)
    server.start()
    try:
        seeded = seed(server.paths.conninfo, size_of(given)) if is_new else None
        load_before = os.getloadavg()[0]
        place, rows = look_around(server.paths.conninfo)
        bare = [bare_select(server.paths.conninfo)]
        with api_daemon(server.paths.conninfo, scratch) as (url, pid):
            load = Load(url, place, given, cpu=lambda: (cpu_s(pid), server.cpu_s()))
            trio.run(load.run)
            bare.append(bare_select(server.paths.conninfo))
    finally:
        server.stop()
    bare_ms = min(one["p50"] for one in bare)
    return {
        "what": "site",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"cpus": os.cpu_count(), "load_before": load_before, "python": platform.python_version()},
        "seeded": seeded,
        "rows": rows,
        "bare_select_ms": bare,
        "alone_ms": {name: figures(times, bare_ms) | load.cpu_ms[name] for name, times in load.alone.items()},
        "mean_cpu_ms_of_the_mix": load.mean_cpu_ms(),
        "mix": {"rate": given.rate, "seconds": given.seconds, "all_ms": figures(load.everything, bare_ms)},
        "mix_ms": {name: figures(times, bare_ms) for name, times in sorted(load.mixed.items())},
        "failures": load.failures[:20],
    }


def figures(times_s: list[float], bare_ms: float) -> dict[str, float]:
    if not times_s:
        return {}
    ordered = sorted(1000 * one for one in times_s)
    p50, p99 = statistics.median(ordered), ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return {"n": len(ordered), "p50": round(p50, 1), "p99": round(p99, 1), "p50_in_selects": round(p50 / bare_ms)}


def cpu_s(pid: int) -> float:
    """Of a process, so far; the system counts in hundredths of a second."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def bare_select(conninfo: str) -> dict[str, float]:
    times = []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for _ in range(500):
            began = time.perf_counter()
            connection.execute("SELECT 1").fetchall()
            times.append(1000 * (time.perf_counter() - began))
    ordered = sorted(times)
    return {"p50": round(statistics.median(ordered), 3), "p99": round(ordered[494], 3)}


@contextmanager
def api_daemon(conninfo: str, scratch: Path) -> Iterator[tuple[str, int]]:
    """Its URL and process id."""
    kubeconfig, output = scratch / "kubeconfig", scratch / "daemon.log"
    kubeconfig.write_text(KUBECONFIG)
    agents = f"127.0.0.1:{free_port()}"
    env = {
        **os.environ,
        "LEOFLOW_DATABASE": conninfo,
        "LEOFLOW_ADMIN_PASSWORD": PASSWORD,
        "LEOFLOW_API_PORT": str(free_port()),
        "LEOFLOW_AGENTS_LISTEN": agents,
        "LEOFLOW_AGENTS_LOG_DIR": str(scratch / "logs"),
        "LEOFLOW_KUBERNETES_KUBECONFIG": str(kubeconfig),
        "LEOFLOW_KUBERNETES_AGENT_ADDRESS": agents,
    }
    command = [sys.executable, "-m", "leoflowd", "run", "--role", "api"]
    with output.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env, cwd=REPOSITORY
        )
    try:
        deadline = time.monotonic() + START_WITHIN_S
        while not (found := READY_LINE.search(output.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon did not become ready:\n{output.read_text()[-3000:]}")
            time.sleep(0.1)
        yield found.group(1), process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def look_around(conninfo: str) -> tuple[Place, dict[str, int]]:
    with psycopg.connect(conninfo) as connection:

        def rows(statement: Any) -> list[Any]:
            return connection.execute(statement).fetchall()

        busy = rows("SELECT dag_id FROM dag_run GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")[0][0]
        wide = rows("SELECT dag_id FROM dag WHERE tags @> '{wide}'")[0][0]
        dags = [row[0] for row in rows("SELECT dag_id FROM dag WHERE NOT is_stale ORDER BY md5(dag_id) LIMIT 200")]
        squares = {
            dag_id: [row[0] for row in connection.execute(
                "SELECT run_id FROM dag_run WHERE dag_id = %s ORDER BY run_after DESC LIMIT %s", (dag_id, SQUARES)
            )] for dag_id in (*dags, busy, wide)
        }  # fmt: skip
        place = Place(
            dags=dags,
            runs=rows(
                "SELECT dag_id, run_id FROM dag_run WHERE dag_id <> 'wide_00000' ORDER BY run_after DESC LIMIT 200"
            ),
            waiting=rows(
                "SELECT w.dag_id, r.run_id, w.task_id FROM wait w JOIN dag_run r ON r.id = w.dag_run_id ORDER BY w.id LIMIT 50"
            ),
            squares={dag_id: found for dag_id, found in squares.items() if found},
            wide=wide,
            busy=busy,
        )
        tables = ("dag", "dag_run", "task_instance", "wait", "event_log")
        counts = {name: int(rows(f"SELECT count(*) FROM {name}")[0][0]) for name in tables}  # noqa: S608 - our names
    return place, counts


class Load:
    """Times in seconds by the name of the read."""

    def __init__(
        self, url: str, place: Place, given: argparse.Namespace, cpu: Callable[[], tuple[float, float]]
    ) -> None:
        self._url = url
        self._cpu = cpu
        self._place = place
        self._given = given
        self._dice = random.Random(given.seed)  # noqa: S311 - repeatable, not secret
        self._reads = [read for read in READS if not given.only or given.only in read.name]
        self.alone: dict[str, list[float]] = {}
        self.mixed: dict[str, list[float]] = defaultdict(list)
        self.failures: list[str] = []
        self.cpu_ms: dict[str, dict[str, float]] = {}

    @property
    def everything(self) -> list[float]:
        return [one for times in self.mixed.values() for one in times]

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=WORKERS, max_keepalive_connections=WORKERS)
        async with httpx.AsyncClient(
            base_url=self._url, timeout=ANSWER_WITHIN_S, trust_env=False, limits=limits
        ) as client:
            answer = await client.post("/auth/token", json={"username": USERNAME, "password": PASSWORD})
            client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            client.headers["Accept-Encoding"] = "gzip"
            for read in self._reads:
                await self._ask(client, read, time.perf_counter())  # the first one of a kind compiles and caches
                before, count = self._cpu(), min(4, self._given.alone) if read.is_large else self._given.alone
                self.alone[read.name] = [await self._ask(client, read, time.perf_counter()) for _ in range(count)]
                used_s = [after - began for after, began in zip(self._cpu(), before, strict=True)]
                self.cpu_ms[read.name] = {
                    f"cpu_of_{who}": round(1000 * one / count, 1)
                    for who, one in zip(("daemon", "postgres"), used_s, strict=True)
                }
            if self._given.seconds:
                await self._mix(client)

    def mean_cpu_ms(self) -> dict[str, float]:
        """Of one request of the mix, by the weights: what load others put on the machine hardly changes."""
        reads = [read for read in self._reads if not read.is_large]
        weight = sum(read.weight for read in reads) or 1
        return {
            who: round(sum(read.weight * self.cpu_ms[read.name][f"cpu_of_{who}"] for read in reads) / weight, 1)
            for who in ("daemon", "postgres")
        }

    async def _mix(self, client: httpx.AsyncClient) -> None:
        reads = [read for read in self._reads if not read.is_large]
        began, count = time.perf_counter() + 0.1, int(self._given.rate * self._given.seconds)
        async with trio.open_nursery() as nursery:
            for number in range(count):
                due = began + number / self._given.rate
                await trio.sleep(max(0.0, due - time.perf_counter()))
                (read,) = self._dice.choices(reads, [one.weight for one in reads])
                nursery.start_soon(self._ask_in_mix, client, read, due)

    async def _ask_in_mix(self, client: httpx.AsyncClient, read: Read, due: float) -> None:
        self.mixed[read.name].append(await self._ask(client, read, due))

    async def _ask(self, client: httpx.AsyncClient, read: Read, due: float) -> float:
        path = read.path(self._place, self._dice)
        try:
            async with client.stream("GET", path, headers={"Accept": "application/json"}) as answer:
                async for _ in answer.aiter_raw():  # what unpacks it is the client's own time
                    pass
        except httpx.HTTPError as error:
            self.failures.append(f"{read.name}: {path}: {error!r}")
        else:
            if answer.status_code != httpx.codes.OK:
                self.failures.append(f"{read.name}: {path}: {answer.status_code}")
        return time.perf_counter() - due


# --- what is read -------------------------------------------------------------------------------------------------


def _path(path: str, **query: Any) -> str:
    return f"{path}?{urlencode(query, doseq=True)}" if query else path


def _dag_list(**query: Any) -> Callable[[Place, random.Random], str]:
    usual = {"dag_runs_limit": 14, "limit": 50, "offset": 0, "order_by": "dag_display_name", "exclude_stale": "true"}
    return lambda place, dice: _path("/ui/dags", **(usual | query))


def _list(path: str, **query: Any) -> Callable[[Place, random.Random], str]:
    """`{dag}` a DAG, `{busy}` the one with the most runs, `{run}` a run with its DAG."""

    def made(place: Place, dice: random.Random) -> str:
        dag_id, run_id = dice.choice(place.runs)
        waiting_dag, waiting_run, waiting_task = dice.choice(place.waiting or [("none", "none", "none")])
        filled = path.format(
            dag=dice.choice(list(place.squares)[:-2]),
            busy=place.busy,
            wide=place.wide,
            run=f"{dag_id}/dagRuns/{quote(run_id, safe='')}",
            run_only=f"{dag_id}/{quote(run_id, safe='')}",
            waiting=f"{waiting_dag}/{quote(waiting_run, safe='')}/{waiting_task}",
            waiting_run=f"{waiting_dag}/{quote(waiting_run, safe='')}",
            waiting_dag=waiting_dag,
        )
        since = {name: value() if callable(value) else value for name, value in query.items()}
        return _path(filled, **since)

    return made


def _squares(dag_of: Callable[[Place, random.Random], str]) -> Callable[[Place, random.Random], str]:
    def made(place: Place, dice: random.Random) -> str:
        dag_id = dag_of(place, dice)
        return _path(f"/ui/grid/ti_summaries/{dag_id}", run_ids=place.squares[dag_id])

    return made


def _ago(**span: float) -> Callable[[], str]:
    return lambda: (datetime.now(UTC) - timedelta(**span)).isoformat()


READS = (
    Read("dag list", 6, _dag_list()),
    Read("dag list, searched", 2, _dag_list(dag_display_name_pattern="_0042")),
    Read("dag list, prefix", 1, _dag_list(dag_display_name_prefix_pattern="site_004")),
    Read("dag list, tag", 2, _dag_list(tags="tag_3")),
    Read("dag list, failed", 2, _dag_list(last_dag_run_state="failed")),
    Read("dag list, newest run first", 2, _dag_list(order_by="-last_run_start_date")),
    Read("dag list, page 150", 1, _dag_list(offset=7450)),
    Read("api dags", 2, _list("/api/v2/dags", limit=50)),
    Read("api dag", 1, _list("/api/v2/dags/{dag}/details")),
    Read("dag tags", 1, _list("/api/v2/dagTags", limit=50, order_by="name")),
    Read("runs of a dag", 4, _list("/api/v2/dags/{dag}/dagRuns", limit=50, order_by="-run_after", cursor="")),
    Read("runs of the busiest dag, counted", 2, _list("/api/v2/dags/{busy}/dagRuns", limit=50, order_by="-run_after")),
    Read("runs of ~", 3, _list("/api/v2/dags/~/dagRuns", limit=50, order_by="-run_after", cursor="")),
    Read("runs of ~, counted", 2, _list("/api/v2/dags/~/dagRuns", limit=50, order_by="-run_after")),
    Read("runs of ~, failed, counted", 2, _list("/api/v2/dags/~/dagRuns", limit=50, state="failed", order_by="-run_after")),
    Read("runs of ~, by start", 1, _list("/api/v2/dags/~/dagRuns", limit=50, order_by="-start_date", cursor="")),
    Read("runs of ~, by id", 1, _list("/api/v2/dags/~/dagRuns", limit=50)),
    Read("runs of ~, running (poll)", 6, _list("/api/v2/dags/{busy}/dagRuns", limit=1, state=["running", "queued"])),
    Read("runs of ~, since yesterday, counted", 2, _list("/api/v2/dags/~/dagRuns", limit=1, start_date_gte=_ago(days=1), state="failed")),
    Read("tasks of a run", 4, _list("/api/v2/dags/{run}/taskInstances", limit=50, order_by="-id", cursor="")),
    Read("tasks of a run, counted", 3, _list("/api/v2/dags/{run}/taskInstances", limit=100)),
    Read("tasks of ~", 3, _list("/api/v2/dags/~/dagRuns/~/taskInstances", limit=50, order_by="-id", cursor="")),
    Read("tasks of ~, counted", 1, _list("/api/v2/dags/~/dagRuns/~/taskInstances", limit=50)),
    Read("tasks of ~, failed, counted", 2, _list("/api/v2/dags/~/dagRuns/~/taskInstances", limit=50, state="failed", order_by="-run_after")),
    Read("tasks of ~, running, counted", 1, _list("/api/v2/dags/~/dagRuns/~/taskInstances", limit=50, state="running")),
    Read("tasks of ~, by start", 1, _list("/api/v2/dags/~/dagRuns/~/taskInstances", limit=50, order_by="-start_date", cursor="")),
    Read("tasks of ~, failed, by start", 1, _list("/api/v2/dags/~/dagRuns/~/taskInstances", limit=50, state="failed", order_by="-start_date", cursor="")),
    Read("tasks of a dag, failed, counted", 2, _list("/api/v2/dags/{busy}/dagRuns/~/taskInstances", limit=5, state="failed", order_by="-run_after", start_date_gte=_ago(days=7))),
    Read("one task of a dag", 2, _list("/api/v2/dags/{busy}/dagRuns/~/taskInstances", limit=50, task_id="t000_begin", order_by="-id", cursor="")),
    Read("one task of a dag, counted", 1, _list("/api/v2/dags/{busy}/dagRuns/~/taskInstances", limit=14, task_id="t000_begin", order_by="-run_after")),
    Read("results of ~", 1, _list("/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries", limit=50)),
    Read("grid structure", 4, _list("/ui/grid/structure/{dag}", limit=25, order_by="-run_after")),
    Read("grid runs", 5, _list("/ui/grid/runs/{busy}", limit=25, order_by="-run_after")),
    Read("grid squares", 5, _squares(lambda place, dice: dice.choice(list(place.squares)[:-1]))),
    Read("latest run", 2, _list("/ui/dags/{dag}/latest_run")),
    Read("gantt", 1, _list("/ui/gantt/{run_only}")),
    Read("home: dag stats", 3, _list("/ui/dashboard/dag_stats")),
    Read("home: history of a day", 3, _list("/ui/dashboard/historical_metrics_data", start_date=_ago(days=1))),
    Read("home: history of a week", 1, _list("/ui/dashboard/historical_metrics_data", start_date=_ago(days=7))),
    Read("calendar", 1, _list("/ui/calendar/{busy}", granularity="daily")),
    Read("audit log", 2, _list("/api/v2/eventLogs", limit=50, order_by="-when")),
    Read("audit log of a dag", 1, _list("/api/v2/eventLogs", limit=50, order_by="-when", dag_id="site_00007")),
    Read("audit log, prefix", 1, _list("/api/v2/eventLogs", limit=50, order_by="-when", event_prefix_pattern="trigger")),
    Read("our audit log", 1, _list("/leoflow/api/audit", limit=50)),
    Read("explain a task", 2, _list("/api/v2/leoflow/explain/{waiting}")),
    Read("explain a run", 1, _list("/api/v2/leoflow/explain/{waiting_run}")),
    Read("explain a dag", 1, _list("/api/v2/leoflow/explain/{waiting_dag}")),
    Read("waits", 2, _list("/leoflow/api/waits", limit=50)),
    Read("required actions", 2, _list("/api/v2/dags/~/dagRuns/~/hitlDetails", limit=50, response_received="false")),
    Read("pools", 3, _list("/api/v2/pools", limit=50)),
    Read("import errors", 2, _list("/api/v2/importErrors", limit=1)),
    Read("health", 2, _list("/api/v2/monitor/health")),
    Read("dag stats of all", 1, _list("/api/v2/dagStats"), is_large=True),
    Read("wide: structure", 1, _list("/ui/grid/structure/{wide}", limit=25, order_by="-run_after"), is_large=True),
    Read("wide: squares of 25 runs", 1, _squares(lambda place, dice: place.wide), is_large=True),
    Read("history of a year", 1, _list("/ui/dashboard/historical_metrics_data", start_date=_ago(days=365)), is_large=True),
    Read("metrics", 1, _list("/metrics"), is_large=True),
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
