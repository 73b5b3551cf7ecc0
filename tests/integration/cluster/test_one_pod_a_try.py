"""A pod whose creation was not answered, and that came and went unseen: its try does not run in a second one."""

from __future__ import annotations

from pathlib import Path

import trio
import yaml

from leoflowd.config import Role
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.fakes.certificates import self_signed
from tests.fakes.mute_proxy import MuteProxy
from tests.integration.cluster.test_daemons import DAG_ID, World
from tests.kube.clusters import Cluster
from tests.kube.kubelet import Kubelet
from tests.kube.tries import IMAGE

CODE = """\
import pathlib, time, uuid
from airflow.sdk import DAG, get_current_context, task

FOLDER = pathlib.Path(FOLDER_OF_TEST)


@task
def work():
    context = get_current_context()
    (FOLDER / f"{context['run_id']}+{context['ti'].try_number}+{uuid.uuid4()}").touch()
    while not (FOLDER / "go").exists():
        time.sleep(0.02)


with DAG("in_pods", schedule=None):
    work()
"""
DAG = DagSpec(dag_id=DAG_ID, image=IMAGE, tasks=(TaskSpec(task_id="work", operator="_PythonDecoratedOperator"),))


def begun(folder: Path, run_id: str) -> list[int]:
    """Try numbers, one for each time that the task's own code began."""
    return sorted(int(file.name.split("+")[-2]) for file in folder.iterdir() if file.name.startswith(f"{run_id}+"))


async def on_a_node(kubelet: Kubelet, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await kubelet.run()


async def test_a_pod_that_came_and_went_unseen_is_its_trys_only_one(
    database: Database, tmp_path: Path, either_cluster: tuple[Cluster, Path]
) -> None:
    cluster, kubeconfig = either_cluster
    folder, project = tmp_path / "begun", tmp_path / "image"
    for made in (folder, project, tmp_path / "daemon"):
        made.mkdir()
    (project / "dag.py").write_text(CODE.replace("FOLDER_OF_TEST", repr(str(folder))))
    _, ca = self_signed(tmp_path / "daemon")
    given = yaml.safe_load(kubeconfig.read_text())
    at = given["clusters"][0]["cluster"]
    proxy = MuteProxy(int(at["server"].rpartition(":")[2]))
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        at["server"] = f"https://127.0.0.1:{proxy.port}"
        (tmp_path / "config").write_text(yaml.safe_dump(given))
        world = World(database, cluster, tmp_path)
        await world.register(DAG)
        kubelet = Kubelet(cluster, tmp_path / "pods", project=project, ca=ca)
        certificate = tmp_path / "daemon" / "server.pem"
        async with world.daemon(Role.ALL, certificate=certificate) as api:
            node = await nursery.start(on_a_node, kubelet)
            (folder / "go").touch()
            assert await api.wait_for_run(await api.trigger()) == "success"
            with trio.fail_after(PATIENCE_S):
                while await cluster.admin.names():  # noqa: ASYNC110  # in the cluster
                    await trio.sleep(0.01)
            (folder / "go").unlink()
            proxy.mute()  # the request to create it goes over a connection that is there
            run_id = await api.trigger()
            with trio.fail_after(PATIENCE_S):
                while begun(folder, run_id) != [1]:  # noqa: ASYNC110  # in another process
                    await trio.sleep(0.01)
            [name] = await cluster.admin.names()
            await cluster.admin.remove(name)
            node.cancel()  # and with it the pod's processes
            await cluster.restart()  # no watch tells of that pod any more
            (folder / "go").touch()
            nursery.start_soon(kubelet.run)
            proxy.speak_again()
            assert await api.wait_for_run(run_id) == "success"
            path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/work/tries"
            tries = (await api.get(path))["task_instances"]
        nursery.cancel_scope.cancel()
    assert begun(folder, run_id) == [1, 2]
    assert [one["try_number"] for one in tries] == [1, 2]
    assert tries[0]["state"] == "failed"
