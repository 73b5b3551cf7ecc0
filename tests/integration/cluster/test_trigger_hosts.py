"""A deferred task whose trigger nobody here knows: a pod of its image runs it, and another one when that dies."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from leoflowd.config import Role, TriggerHostsConfig
from leoflowd.contract.asset_spec import AssetSpec, WatcherSpec
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.fakes.certificates import self_signed
from tests.integration.cluster.test_daemons import DAG_ID, Api, World
from tests.kube.clusters import Cluster, fake_cluster
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


class Office:
    """A world whose DAG waits for a door."""

    def __init__(self, database: Database, cluster: Cluster, folder: Path) -> None:
        self.world = World(database, cluster, folder)
        self.world.changes = {"triggers": TriggerHostsConfig(idle_s=0.1)}
        project, self.door = folder / "image", folder / "door"
        for made in (project, self.door, folder / "daemon"):
            made.mkdir()
        (project / "dag.py").write_text(CODE.replace("FOLDER", repr(str(self.door))))
        _, ca = self_signed(folder / "daemon")
        self.certificate = folder / "daemon" / "server.pem"
        self.kubelet = Kubelet(cluster, folder / "pods", project=project, ca=ca)

    @property
    def hosts(self) -> list[str]:
        """Pods, in order."""
        return [name for name in self.kubelet.processes if name.startswith("trigger-host-")]

    async def wait_for_waiting(self, count: int) -> None:
        """So often has the trigger begun to wait."""
        with trio.fail_after(PATIENCE_S):
            while len(list(self.door.glob("waits-*"))) < count:  # noqa: ASYNC110  # in other processes
                await trio.sleep(0.05)

    async def open_and_end(self, api: Api, run_id: str) -> None:
        (self.door / "open").touch()
        assert await api.wait_for_run(run_id) == "success"
        at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
        instances = await api.get(at)
        assert [one["try_number"] for one in instances["task_instances"]] == [1]
        assert (await api.get(f"{at}/wait/xcomEntries/return_value"))["value"] == "it is open"
        with trio.fail_after(PATIENCE_S):
            while await self.world.kubelet.names():  # noqa: ASYNC110  # in the cluster
                await trio.sleep(0.05)


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    async with fake_cluster(tmp_path) as cluster:
        made = Office(database, cluster, tmp_path)
        await made.world.register(DAG)
        yield made


async def test_a_foreign_trigger_waits_in_a_pod_and_goes_on_in_another_one(office: Office) -> None:
    """Killed with its agent, told to stop as by the deletion of its pod, and found under another name than that of the
    daemon's certificate."""
    async with office.world.daemon(Role.ALL, certificate=office.certificate) as api, trio.open_nursery() as nursery:
        nursery.start_soon(office.kubelet.run)
        run_id = await api.trigger()
        await office.wait_for_waiting(1)
        office.kubelet.processes[office.hosts[-1]].kill()
        await office.wait_for_waiting(2)
        office.kubelet.processes[office.hosts[-1]].terminate()
        await office.wait_for_waiting(3)
        await office.open_and_end(api, run_id)
        assert len(office.hosts) == 3
        nursery.cancel_scope.cancel()


async def test_a_host_finds_its_daemon_behind_the_address_of_several(office: Office) -> None:
    world = office.world
    async with trio.open_nursery() as nursery:
        service = Service(world)
        world.service = await nursery.start(service.run)
        async with (
            world.daemon(Role.API, certificate=office.certificate),
            world.daemon(Role.ALL, certificate=office.certificate) as api,
        ):
            nursery.start_soon(office.kubelet.run)
            run_id = await api.trigger()
            await office.wait_for_waiting(1)
            await office.open_and_end(api, run_id)
            assert len(office.hosts) == 1
            assert service.connections > 1
            nursery.cancel_scope.cancel()


async def test_a_leader_that_watches_no_waits_has_hosts_for_the_watchers_of_assets(office: Office) -> None:
    watcher = WatcherSpec(name="door", trigger="dag.Opened", arguments={"folder": str(office.door)})
    asset = AssetSpec(name="door", uri="door", watchers=(watcher,))
    begin = TaskSpec(task_id="begin", operator="EmptyOperator", kind="empty")
    await office.world.register(DagSpec(dag_id=DAG_ID, image=IMAGE, tasks=(begin,), asset_condition=asset))
    async with (
        office.world.daemon(Role.SCHEDULER, certificate=office.certificate) as api,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(office.kubelet.run)
        await office.wait_for_waiting(1)
        assert (await api.get(f"/api/v2/dags/{DAG_ID}/dagRuns"))["dag_runs"] == []
        (office.door / "open").touch()
        with trio.fail_after(PATIENCE_S):
            while not (found := (await api.get(f"/api/v2/dags/{DAG_ID}/dagRuns"))["dag_runs"]):  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert found[0]["run_type"] == "asset_triggered"
        nursery.cancel_scope.cancel()


class Service:
    """Gives the daemons in turn to whoever connects."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.connections = 0

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(f"127.0.0.1:{listener.socket.getsockname()[1]}")
        await trio.serve_listeners(self._carry, [listener])

    async def _carry(self, client: trio.SocketStream) -> None:
        port = self._world.ports[self.connections % len(self._world.ports)]
        self.connections += 1
        async with await trio.open_tcp_stream("127.0.0.1", port) as server, trio.open_nursery() as nursery:

            async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    async for piece in source:
                        await target.send_all(piece)
                nursery.cancel_scope.cancel()

            nursery.start_soon(copy, client, server)
            nursery.start_soon(copy, server, client)
