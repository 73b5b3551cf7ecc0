"""A deferred task whose trigger nobody here knows: a pod of its image runs it, and another one when that dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from leoflowd.config import Role, TriggerHostsConfig
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.fakes.certificates import self_signed
from tests.integration.cluster.test_daemons import DAG_ID, World
from tests.kube.clusters import fake_cluster
from tests.kube.kubelet import Kubelet
from tests.kube.tries import IMAGE

CODE = """\
import asyncio, os, pathlib
from airflow.sdk import DAG, BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent


class Opened(BaseTrigger):
    def __init__(self, folder):
        super().__init__()
        self.folder = pathlib.Path(folder)

    def serialize(self):
        return f"{type(self).__module__}.Opened", {"folder": str(self.folder)}

    async def run(self):
        (self.folder / f"waits-{os.getpid()}").touch()
        while not (self.folder / "open").exists():
            await asyncio.sleep(0.05)
        yield TriggerEvent("it is open")


class WaitsForDoor(BaseOperator):
    def execute(self, context):
        self.defer(trigger=Opened(FOLDER), method_name="opened")

    def opened(self, context, event):
        return event


with DAG("in_pods", schedule=None):
    WaitsForDoor(task_id="wait")
"""
DAG = DagSpec(dag_id=DAG_ID, image=IMAGE, tasks=(TaskSpec(task_id="wait", operator="WaitsForDoor"),))


async def test_a_foreign_trigger_waits_in_a_pod_and_goes_on_in_another_one(database: Database, tmp_path: Path) -> None:
    project, door = tmp_path / "image", tmp_path / "door"
    project.mkdir()
    door.mkdir()
    (project / "dag.py").write_text(CODE.replace("FOLDER", repr(str(door))))
    (tmp_path / "daemon").mkdir()
    _, ca = self_signed(tmp_path / "daemon")
    async with fake_cluster(tmp_path) as cluster:
        world = World(database, cluster, tmp_path)
        world.changes = {"triggers": TriggerHostsConfig(idle_s=0.1)}
        await world.register(DAG)
        kubelet = Kubelet(cluster, tmp_path / "pods", project=project, ca=ca)
        certificate = tmp_path / "daemon" / "server.pem"
        async with world.daemon(Role.ALL, certificate=certificate) as api, trio.open_nursery() as nursery:
            nursery.start_soon(kubelet.run)
            run_id = await api.trigger()
            await _until(lambda: len(list(door.glob("waits-*"))) == 1)
            [first] = _hosts(kubelet)
            kubelet.processes[first].kill()
            await _until(lambda: len(list(door.glob("waits-*"))) == 2)
            (door / "open").touch()
            assert await api.wait_for_run(run_id) == "success"
            at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
            instances = await api.get(at)
            assert [one["try_number"] for one in instances["task_instances"]] == [1]
            assert (await api.get(f"{at}/wait/xcomEntries/return_value"))["value"] == "it is open"
            assert len(_hosts(kubelet)) == 2
            with trio.fail_after(PATIENCE_S):
                while await world.kubelet.names():  # noqa: ASYNC110  # in the cluster
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()


def _hosts(kubelet: Kubelet) -> list[str]:
    return [name for name in kubelet.processes if name.startswith("trigger-host-")]


async def _until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # in other processes
            await trio.sleep(0.05)
