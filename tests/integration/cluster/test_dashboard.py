"""What dashboard and alerts of the chart ask for is there and moves: a daemon with work and faults, a Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import trio
from typing_extensions import override

from leoflowd.config import EgressConfig, KubernetesConfig, PoolConfig, Role
from leoflowd.contract.dag_spec import DagSpec, DeltaTimetable, TaskSpec
from leoflowd.contract.dispatch import Placement
from leoflowd.contract.wait_spec import ProbeSpec, WaitSpec, WaitTerms
from leoflowd.kube.pod_spec import build_pod
from leoflowd.store import dags
from leoflowd.store.database import Database
from loadtests.lite_process import free_port
from tests.conftest import PATIENCE_S, REPOSITORY
from tests.fakes.certificates import self_signed
from tests.fakes.kube.server import Fault
from tests.integration.cluster.test_agents import CODE, DAG
from tests.integration.cluster.test_daemons import DAG_ID, Api, World
from tests.kube.clusters import fake_cluster
from tests.kube.kubelet import Kubelet
from tests.kube.tries import IMAGE, POLICY, new_try
from tests.prometheus_server import Prometheus, scraping

RULES = REPOSITORY / "helm" / "leoflow" / "rules"
ASKING = 12
"""Callers of the API at once: more than it has connections to Postgres."""


OFTEN = DagSpec(
    dag_id="often",
    tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),),
    timetable=DeltaTimetable(seconds=1.0),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=False,
)
NEVER = "never"
"""The task whose pod stays pending."""
REFUSED_S = 20
"""How long the API server has creating wait: several scrapes, on a slow machine too."""


def expressions() -> Iterator[str]:
    """Every query of the dashboard, and the metrics of the alerts, for the namespace `leoflow`."""
    dashboard = json.loads((RULES / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"].replace("$namespace", "leoflow") for target in panel["targets"])
    named = set(re.findall(r"leoflow_\w+", "".join(re.findall(r"expr: (.*)", (RULES / "alerts.yaml").read_text()))))
    assert named
    yield from sorted(named)


def wait(task_id: str, kind: str, **arguments: Any) -> TaskSpec:
    probe = ProbeSpec(kind=kind, arguments=arguments)
    spec = WaitSpec(probe=probe, terms=WaitTerms(poke_interval_s=0.2, silent_fail=True))
    return TaskSpec(task_id=task_id, operator="Sensor", kind="wait", wait=spec)


def busy_dag(folder: Path) -> DagSpec:
    nobody = f"http://127.0.0.1:{free_port()}/"
    waits = (
        wait("file", "file", path=str(folder / "never")),
        wait("the_same_file", "file", path=str(folder / "never")),
        wait("nobody", "http", endpoint=nobody),
    )
    never = msgspec.structs.replace(DAG.tasks[0], task_id=NEVER)
    return msgspec.structs.replace(DAG, tasks=(*DAG.tasks, never, *waits), max_active_runs=1)


class Node(Kubelet):
    """Which one pod does not fit on."""

    @override
    async def _run_pod(self, name: str, uid: str) -> None:
        if not name.startswith(f"{NEVER}-"):
            await super()._run_pod(name, uid)


async def set_one_aside(world: World) -> None:
    """A run whose artifact cannot be read."""
    await world.register(DagSpec(dag_id="broken", tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),)))
    async with world.db.api.transaction() as conn:
        await conn.execute(b"UPDATE dag_version SET spec = '{}' WHERE dag_id = 'broken'")
        await conn.execute(
            b"INSERT INTO dag_run (dag_id, run_id, dag_version_id, run_type, state, run_after, updated_at)"
            b" SELECT 'broken', 'r', id, 'manual', 'queued', now(), now() FROM dag_version WHERE dag_id = 'broken'"
        )
    dags._versions.clear()


async def keep_asking(api: Api, until: Callable[[], bool]) -> None:
    while not until():
        await api.get("/api/v2/dags")


async def test_every_query_of_dashboard_and_alerts_has_an_answer_that_is_not_zero(
    database: Database, tmp_path: Path
) -> None:
    project = tmp_path / "image"
    project.mkdir()
    (project / "dag.py").write_text(CODE)
    (tmp_path / "daemon").mkdir()
    _, ca = self_signed(tmp_path / "daemon")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / DAG_ID).touch()  # where its logs would be a folder
    left = set(expressions())
    async with fake_cluster(tmp_path) as cluster:
        world = World(database, cluster, tmp_path)
        world.changes = {
            "pool": PoolConfig(breaker_after=2, stall_after_s=0.02),
            "egress": EgressConfig(allow="127.0.0.1"),
        }
        await world.register(busy_dag(tmp_path))
        await world.register(OFTEN)
        await set_one_aside(world)
        assert cluster.server is not None
        policy = msgspec.structs.replace(POLICY, installation=KubernetesConfig().installation)
        await cluster.api.create_pod(build_pod(new_try(), Placement(image=IMAGE), policy))  # there before the daemon
        kubelet = Node(cluster, tmp_path / "pods", project=project, ca=ca)
        certificate = tmp_path / "daemon" / "server.pem"
        async with world.daemon(Role.ALL, certificate=certificate) as api, trio.open_nursery() as nursery:
            nursery.start_soon(kubelet.run)
            with scraping(api.address, {"namespace": "leoflow"}, tmp_path / "prometheus") as prometheus:
                await trio.to_thread.run_sync(prometheus.wait_for, "leoflow_leadership_leading")  # rates begin there
                with trio.fail_after(PATIENCE_S):
                    while not kubelet.processes:  # noqa: ASYNC110  # it has nothing more to ask the API server for
                        await trio.sleep(0.05)
                cluster.server.faults.append(Fault(429, reason="TooManyRequests", retry_after_s=REFUSED_S))
                for _ in range(2):
                    await api.trigger()
                for _ in range(ASKING):
                    nursery.start_soon(keep_asking, api, lambda: not any("leoflow_store_" in one for one in left))
                with trio.move_on_after(PATIENCE_S):
                    while left:
                        left -= await trio.to_thread.run_sync(moved, prometheus, frozenset(left))
                        await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
    assert left == set()


def moved(prometheus: Prometheus, asked: frozenset[str]) -> set[str]:
    """Those of them that have something to show; NaN is nothing."""
    return {one for one in asked if any(float(sample["value"][1]) > 0 for sample in prometheus.query(one))}
