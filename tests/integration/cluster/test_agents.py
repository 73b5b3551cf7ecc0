"""A run from the API to the pod's process and back: a daemon behind TLS, real agents that prove whose pods they are."""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from leoflowd.config import Role
from leoflowd.contract.dag_spec import DagSpec, TaskSpec, XComRef
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.fakes.certificates import self_signed
from tests.integration.cluster.test_daemons import DAG_ID, World
from tests.kube.clusters import fake_cluster
from tests.kube.kubelet import Kubelet
from tests.kube.tries import IMAGE

CODE = """\
from airflow.sdk import DAG, task


@task
def first():
    print("the first of us runs in a pod")
    return {"numbers": [1, 2, 3]}


@task
def second(told):
    return sum(told["numbers"])


with DAG("in_pods", schedule=None):
    second(first())
"""
DAG = DagSpec(
    dag_id=DAG_ID,
    image=IMAGE,
    tasks=(
        TaskSpec(task_id="first", operator="_PythonDecoratedOperator"),
        TaskSpec(
            task_id="second",
            operator="_PythonDecoratedOperator",
            upstream_task_ids=("first",),
            xcom_refs=(XComRef(task_id="first"),),
        ),
    ),
)


async def test_a_run_of_real_agents_behind_tls_with_its_results_and_its_logs(
    database: Database, tmp_path: Path
) -> None:
    project = tmp_path / "image"
    project.mkdir()
    (project / "dag.py").write_text(CODE)
    (tmp_path / "daemon").mkdir()
    _, ca = self_signed(tmp_path / "daemon")
    async with fake_cluster(tmp_path) as cluster:
        world = World(database, cluster, tmp_path)
        await world.register(DAG)
        kubelet = Kubelet(cluster, tmp_path / "pods", project=project, ca=ca)
        certificate = tmp_path / "daemon" / "server.pem"
        async with world.daemon(Role.ALL, certificate=certificate) as api, trio.open_nursery() as nursery:
            nursery.start_soon(kubelet.run)
            run_id = await api.trigger()
            assert await api.wait_for_run(run_id) == "success"
            at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
            instances = await api.get(at)
            assert [one["try_number"] for one in instances["task_instances"]] == [1, 1]
            assert (await api.get(f"{at}/second/xcomEntries/return_value"))["value"] == 6
            log = msgspec.json.encode(await api.get(f"{at}/first/logs/1")).decode()
            assert "the first of us runs in a pod" in log
            with trio.fail_after(PATIENCE_S):
                while await world.kubelet.names():  # noqa: ASYNC110  # in the cluster
                    await trio.sleep(0.05)
            assert kubelet.started == 2
            nursery.cancel_scope.cancel()
