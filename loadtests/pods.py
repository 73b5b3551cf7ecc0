"""A thousand pods on a real API server: `python -m loadtests.pods --seed 1 --width 1000`.

Three daemons by role (two that stand for leader, one for people) on one Postgres, under the Role of helm/rbac.yaml; a
kubelet that follows a script (`loadtests.script_kubelet`: its pods are no processes, they end by their termination
messages). Three dag runs:

* steady: chains of pods, about `--rate` a second, and nothing goes wrong: from the end of a pod to asking for the next;
* burst: 1 -> width -> 1, and nothing goes wrong: pods created a second;
* storm: the same while pods die, are evicted, deleted, drained, get no image, fail by themselves; the API server is
  restarted (410) and takes two changes at a time for a while (429); the leader is killed.

Everything is drawn from the seed. Exit code 1 when a task ended otherwise than its pods did, a try began twice, a retry
of the author's was spent on the cluster, a pod is left, or the history that Postgres wrote breaks a promise. The API
server comes from tests/kube/real.sh, which builds it once. Ends only processes of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import psycopg
import trio

from leoflowd.config import KubernetesConfig
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.core.history import check_history
from leoflowd.kube.api import open_api
from leoflowd.kube.credentials import load_credentials
from leoflowd.kube.pod_spec import selector
from leoflowd.lite import postgres
from leoflowd.store.database import Database
from loadtests.history_log import install, read_history
from loadtests.kube_admin import NAMESPACE, Admin, set_up
from loadtests.lite_process import PASSWORD, PATIENCE, READY_LINE, Api, free_port, temporary_folder
from loadtests.noting_daemon import NOTES
from loadtests.script_kubelet import INFRASTRUCTURE, OWN, Fate, Hearing, Lived, ScriptKubelet, Story, story_of

REPOSITORY = Path(__file__).parent.parent
SCRIPT = REPOSITORY / "tests" / "kube" / "real.sh"
ROLES = REPOSITORY / "helm" / "rbac.yaml"
IMAGE = "registry.example/dag@sha256:" + "0" * 64
FATES = {
    Fate.WELL: 62.0, Fate.SLOW_PULL: 8.0, Fate.KILLED: 6.0, Fate.EVICTED: 5.0, Fate.DELETED: 5.0, Fate.DRAINED: 4.0,
    Fate.NO_IMAGE: 3.0, Fate.FAILED: 4.0, Fate.TOO_LARGE: 3.0,
}  # fmt: skip
STORM_LASTS_S = (0.5, 8.0)
CALM_LASTS_S = 1.0
PULL_WITHIN_S = 8
FAULTS = ("kill of the leader", "restart of the API server", "429")
BETWEEN_S = (2.0, 8.0)
"""From one fault of the API server or of a daemon to the next."""
CROWDED = "--feature-gates=APIPriorityAndFairness=false --max-mutating-requests-inflight=2"
"""Of the API server: more changes than two at once are answered with 429. `system:masters` are let through."""
CROWDED_S = 6.0
START_WITHIN_S = 120.0 * PATIENCE
RUN_WITHIN_S = 900.0 * PATIENCE
GONE_WITHIN_S = 60.0 * PATIENCE
WANTED_P99_MS = 50.0
Json = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=int, default=1000, help="pods between the first and the last")
    parser.add_argument("--rate", type=int, default=50, help="pods a second of the steady run")
    parser.add_argument("--steady", type=int, default=20, help="length of its chains; 0 = no steady run")
    parser.add_argument("--faults", type=int, default=8, help="faults of API server and daemons during the storm")
    parser.add_argument("--only", choices=FAULTS, help="these faults alone")
    parser.add_argument("--no-burst", action="store_true")
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    with temporary_folder("leoflow-pods-") as folder:
        result = trio.run(_run, folder, given)
    text = json.dumps(result, indent=1)
    print(text)  # noqa: T201 - this is the output
    if given.save is not None:
        given.save.write_text(text + "\n")
    return 0 if result["is_good"] else 1


async def _run(folder: Path, given: argparse.Namespace) -> Json:
    postgres.SETTINGS["max_connections"] = "120"
    async with trio.open_nursery() as nursery:
        server = postgres.EmbeddedPostgres(folder)
        conninfo = await nursery.start(server.run)
        async with _api_server(folder / "kube") as kube, _daemons(folder, conninfo) as daemons:
            admin_conninfo = server.paths.admin_conninfo("leoflow")
            install(admin_conninfo)
            load = Load(given, kube, daemons, admin_conninfo, folder)
            result = await load.run()
        nursery.cancel_scope.cancel()
    return result


# --- the parts ----------------------------------------------------------------------------------------------------


class ApiServer:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def script(self, *arguments: str, flags: str = "") -> None:
        env = {**os.environ, "KUBE_API_FLAGS": flags}
        await trio.run_process([str(SCRIPT), *arguments], env=env, stdin=subprocess.DEVNULL)

    async def restart(self, flags: str = "") -> None:
        await self.script("restart-api", str(self._folder), flags=flags)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[tuple[Admin, Any]]:
        config = KubernetesConfig(kubeconfig=self._folder / "admin.kubeconfig", namespace=NAMESPACE)
        credentials = await load_credentials(config)
        assert credentials.tls is not None
        async with (
            httpx.AsyncClient(verify=credentials.tls, timeout=30, trust_env=False) as client,
            open_api(credentials, namespace=NAMESPACE, request_s=30) as api,
        ):
            yield Admin(client, credentials), api


@asynccontextmanager
async def _api_server(folder: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer(folder)
    try:
        await server.script("start", str(folder), str(free_port()), "3600")  # and etcd on the next two
        async with server.admin() as (admin, _):
            await set_up(admin, ROLES.read_text())
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await server.script("stop", str(folder))


class Daemon:
    def __init__(self, folder: Path, role: str, name: str, conninfo: str) -> None:
        self.role = role
        self.url = ""
        self._output = folder / f"{name}.log"
        self._port, self._agents = free_port(), free_port()
        self._env = {
            **os.environ,
            NOTES: str(folder / "notes"),
            "LEOFLOW_DATABASE": conninfo,
            "LEOFLOW_ADMIN_PASSWORD": PASSWORD,
            "LEOFLOW_API_PORT": str(self._port),
            "LEOFLOW_AGENTS_LISTEN": f"127.0.0.1:{self._agents}",
            "LEOFLOW_AGENTS_LOG_DIR": str(folder / "logs"),
            "LEOFLOW_KUBERNETES_KUBECONFIG": str(folder / "kube" / "daemon.kubeconfig"),
            "LEOFLOW_KUBERNETES_NAMESPACE": NAMESPACE,
            "LEOFLOW_KUBERNETES_AGENT_ADDRESS": f"127.0.0.1:{self._agents}",
            "LEOFLOW_KUBERNETES_PULL_WITHIN_S": str(PULL_WITHIN_S),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        command = [sys.executable, "-m", "loadtests.noting_daemon", "run", "--role", self.role]
        begin = self._output.stat().st_size if self._output.exists() else 0
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own command; it outlives this call
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._env, cwd=REPOSITORY
            )
        with trio.fail_after(START_WITHIN_S):
            while not (found := READY_LINE.search(self._output.read_bytes()[begin:].decode(errors="replace"))):
                if self._process.poll() is not None:
                    raise RuntimeError(f"a daemon ended before it was ready:\n{self._output.read_text()[-3000:]}")
                await trio.sleep(0.05)
        self.url = found.group(1)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait(60)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(60)


@asynccontextmanager
async def _daemons(folder: Path, conninfo: str) -> AsyncIterator[list[Daemon]]:
    roles = ("api", "scheduler", "scheduler")
    daemons = [Daemon(folder, role, f"{role}-{number}", conninfo) for number, role in enumerate(roles)]
    try:
        for daemon in daemons:
            await daemon.start()
        yield daemons
    finally:
        for daemon in daemons:
            daemon.end()


# --- the runs -----------------------------------------------------------------------------------------------------


class Load:
    def __init__(
        self, given: argparse.Namespace, kube: ApiServer, daemons: Sequence[Daemon], conninfo: str, folder: Path
    ) -> None:
        self._given = given
        self._kube = kube
        self._api_daemon, *self._schedulers = daemons
        self._conninfo = conninfo
        self._notes = folder / "notes"
        self._db = Database(conninfo)
        self._dice = random.Random(given.seed)  # noqa: S311 - repeatable, not secret
        self._done: Counter[str] = Counter()

    async def run(self) -> Json:
        given, result = self._given, {"seed": self._given.seed, "cores": os.cpu_count()}
        async with self._kube.admin() as (admin, api), trio.open_nursery() as nursery:
            stormy = story_of(given.seed, fates=FATES, lasts_s=STORM_LASTS_S)
            hearing = Hearing(self._db)
            nursery.start_soon(hearing.run)
            kubelet = ScriptKubelet(
                admin=admin,
                api=api,
                selector=selector("leoflow"),
                hello=hearing.hello,
                story=lambda task_id, nth: _story(stormy, task_id, nth),
            )
            await nursery.start(kubelet.run)
            await trio.to_thread.run_sync(self._set_up_people)
            if given.steady:
                before_s = self._cpu_s()
                await self._finish(_chains(given.rate, given.steady))
                result["steady"] = self._steady(kubelet.lived, self._cpu_s() - before_s)
            if not given.no_burst:
                began = time.time()
                await self._finish(_fan("burst", given.width))
                result["burst"] = {"width": given.width, "seconds": round(time.time() - began, 1), **self._creates("b")}
            began = time.time()
            async with trio.open_nursery() as trouble:
                trouble.start_soon(self._trouble)
                await self._finish(_fan("storm", given.width))
                trouble.cancel_scope.cancel()
            result["storm"] = {"width": given.width, "seconds": round(time.time() - began, 1), "done": dict(self._done)}
            await self._kube.restart()  # whatever it was when the run ended
            left = await _pods_left(admin)
            nursery.cancel_scope.cancel()
        return result | await trio.to_thread.run_sync(self._judge, kubelet, left)

    def _set_up_people(self) -> None:
        with self._people() as api:
            api.call("PATCH", "/pools/default_pool", json={"slots": -1, "include_deferred": False})

    def _people(self) -> Api:
        return Api(self._api_daemon.url)

    async def _finish(self, spec: DagSpec) -> None:
        """Push the DAG, start a run of it, and wait for its end."""

        def begin() -> None:
            with self._people() as api:
                answer = api.http.post("/api/v2/leoflow/dags", content=msgspec.json.encode(spec))
                answer.raise_for_status()
                api.unpause(spec.dag_id)
                api.trigger(spec.dag_id)

        await trio.to_thread.run_sync(begin)
        _say(f"{spec.dag_id}: {len(spec.tasks)} tasks")
        with trio.fail_after(RUN_WITHIN_S):
            while await trio.to_thread.run_sync(self._is_open, spec.dag_id):  # noqa: ASYNC110 - in Postgres
                await trio.sleep(0.5)

    def _is_open(self, dag_id: str) -> bool:
        with psycopg.connect(self._conninfo) as connection:
            query = "SELECT count(*) FROM dag_run WHERE dag_id = %s AND state NOT IN ('success', 'failed')"
            return connection.execute(query, [dag_id]).fetchone() != (0,)

    # --- what goes wrong ------------------------------------------------------------------------------------------

    async def _trouble(self) -> None:
        """As many faults as were asked for, each kind as often; each leaves everybody running."""
        kinds = (self._given.only,) if self._given.only else FAULTS
        deck = [kinds[number % len(kinds)] for number in range(self._given.faults)]
        self._dice.shuffle(deck)
        for what in deck:
            await trio.sleep(self._dice.uniform(*BETWEEN_S))
            _say(what)
            with trio.CancelScope(shield=True):  # half a restart would leave the cluster without an API server
                match what:
                    case "kill of the leader":
                        await self._kill_leader()
                    case "restart of the API server":
                        await self._kube.restart()
                    case "429":
                        await self._kube.restart(CROWDED)
                        await trio.sleep(CROWDED_S)
                        await self._kube.restart()
                    case _:
                        raise AssertionError(what)
            self._done[what] += 1

    async def _kill_leader(self) -> None:
        def holder() -> str:
            with psycopg.connect(self._conninfo) as connection:
                row = connection.execute("SELECT holder FROM leadership").fetchone()
                return "" if row is None else str(row[0])

        leader = await trio.to_thread.run_sync(holder)
        for one in self._schedulers:
            if leader.endswith(f"/{one.pid}"):
                one.send(signal.SIGKILL)
                await trio.to_thread.run_sync(one.wait)
                await one.start()

    # --- what came of it ------------------------------------------------------------------------------------------

    def _noted(self) -> dict[str, dict[str, float]]:
        """When each was first heard, and first asked for, by try."""
        found: dict[str, dict[str, float]] = {"heard": {}, "asked": {}}
        for line in self._notes.read_text().splitlines():
            at, what, try_id = line.split()
            found[what].setdefault(try_id, float(at))
        return found

    def _tries(self) -> dict[str, str]:
        """Try -> task of all DAGs."""
        with psycopg.connect(self._conninfo) as connection:
            rows = connection.execute(
                "SELECT id::text, task_id FROM task_instance"
                " UNION ALL SELECT id::text, task_id FROM task_instance_history"
            ).fetchall()
        return {str(try_id): str(task_id) for try_id, task_id in rows}

    def _cpu_s(self) -> float:
        """Of the daemons that stand for leader."""
        return sum(sum(psutil.Process(one.pid).cpu_times()[:2]) for one in self._schedulers)

    def _steady(self, lived: Sequence[Lived], cpu_s: float) -> Json:
        tasks, noted = self._tries(), self._noted()
        asked = {tasks[try_id]: at for try_id, at in noted["asked"].items() if try_id in tasks}
        heard = {tasks[try_id]: at for try_id, at in noted["heard"].items() if try_id in tasks}
        ended = {one.task_id: one.ended_at for one in lived}
        pairs = [(_before(task), task) for task in asked if _before(task) in ended]
        times = sorted(asked[task] for _, task in pairs)
        return {
            "pods": len(pairs),
            "asked_a_second": round(len(times) / (times[-1] - times[0]), 1),
            "heard_to_asked_ms": _spread([asked[task] - heard[before] for before, task in pairs if before in heard]),
            "ended_to_asked_ms": _spread([asked[task] - ended[before] for before, task in pairs]),
            "wanted_p99_ms": WANTED_P99_MS,
            "daemon_cpu_ms_a_pod": round(1000 * cpu_s / len(lived), 1),
            "load_average": os.getloadavg()[0],
        }

    def _creates(self, prefix: str) -> Json:
        tasks, asked = self._tries(), self._noted()["asked"]
        times = sorted(at for try_id, at in asked.items() if re.fullmatch(rf"{prefix}\d+", tasks.get(try_id, "")))
        return {"creates_a_second": round((len(times) - 1) / (times[-1] - times[0]), 1)}

    def _judge(self, kubelet: ScriptKubelet, left: Sequence[str]) -> Json:
        wrong, spent, causeless = self._compare(kubelet.lived)
        history = read_history(self._conninfo, started=kubelet.started)
        begun = Counter(one.try_id for one in kubelet.started)
        doubled = sorted(try_id for try_id, count in begun.items() if count > 1)
        violations = [f"{found.rule}: {found.what}" for found in check_history(history)]
        return {
            "pods": len({*begun, *(one.try_id for one in kubelet.lived)}),
            "fates": dict(Counter(one.fate.value for one in kubelet.lived)),
            "wrong": wrong,
            "doubled": doubled,
            "user_retries_spent_on_infrastructure": spent,
            "infrastructure_faults_without_a_cause": causeless,
            "pods_of_tries_that_were_over": kubelet.stale,
            "pods_left": list(left),
            "changes": len(history.changes),
            "violations": violations,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "is_good": not (wrong or doubled or spent or left or violations),
        }

    def _compare(self, lived: Sequence[Lived]) -> tuple[list[str], int, int]:
        """What the rows say of each task, against what its pods did: tasks that ended otherwise, retries of their
        authors that the cluster cost, faults that no pod had."""
        fates: defaultdict[str, list[Fate]] = defaultdict(list)
        for one in {one.try_id: one for one in lived}.values():
            fates[one.task_id].append(one.fate)
        with psycopg.connect(self._conninfo) as connection:
            rows = connection.execute(
                "SELECT task_id, state, try_number, infra_faults FROM task_instance ORDER BY task_id"
            ).fetchall()
        wrong, spent, causeless = [], 0, 0
        for task_id, state, try_number, infra_faults in rows:
            own = sum(fate in OWN for fate in fates[task_id])
            outside = sum(fate in INFRASTRUCTURE for fate in fates[task_id])
            if state != "success" or infra_faults < outside:
                wrong.append(f"{task_id}: {state}, try {try_number}, {infra_faults} faults, pods: {fates[task_id]}")
            spent += max(0, try_number - 1 - infra_faults - own)
            causeless += max(0, infra_faults - outside)
        return wrong, spent, causeless


async def _pods_left(admin: Admin) -> list[str]:
    """Names, when they have had their time to go."""
    with trio.move_on_after(GONE_WITHIN_S):
        while await admin.names():  # noqa: ASYNC110 - in the cluster
            await trio.sleep(0.5)
    return await admin.names()


def _story(stormy: Any, task_id: str, nth: int) -> Story:
    return stormy(task_id, nth) if task_id.startswith("w") else Story(Fate.WELL, CALM_LASTS_S)


def _task(task_id: str, *upstream: str) -> TaskSpec:
    return TaskSpec(
        task_id=task_id, operator="PythonOperator", upstream_task_ids=upstream, retries=1, retry_delay_s=0.0
    )


def _fan(dag_id: str, width: int) -> DagSpec:
    letter = "b" if dag_id == "burst" else "w"
    middle = [f"{letter}{number}" for number in range(width)]
    tasks = [
        _task(f"{dag_id}-first"),
        *(_task(one, f"{dag_id}-first") for one in middle),
        _task(f"{dag_id}-last", *middle),
    ]
    return DagSpec(dag_id=dag_id, image=IMAGE, max_active_tasks=0, tasks=tuple(tasks))


def _chains(rate: int, length: int) -> DagSpec:
    """A link takes about the life of its pod and a little."""
    width = round(rate * (CALM_LASTS_S + 0.1))
    tasks = [
        _task(f"c{chain}-{link}", *([f"c{chain}-{link - 1}"] if link else []))
        for link in range(length)
        for chain in range(width)
    ]
    return DagSpec(dag_id="steady", image=IMAGE, max_active_tasks=0, tasks=tuple(tasks))


def _before(task_id: str) -> str:
    chain, _, link = task_id.partition("-")
    return f"{chain}-{int(link) - 1}" if link.isdecimal() else ""


def _spread(seconds: Sequence[float]) -> Json:
    """Milliseconds."""
    quantiles = statistics.quantiles([one * 1000 for one in seconds], n=100)
    return {"p50": round(quantiles[49], 1), "p90": round(quantiles[89], 1), "p99": round(quantiles[98], 1)}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


if __name__ == "__main__":
    sys.exit(main())
