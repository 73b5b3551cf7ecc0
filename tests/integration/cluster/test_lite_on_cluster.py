"""Lite on a cluster: a file that is saved becomes a DAG, whose tasks run in pods that come back to this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import trio

from leoflowd import daemon
from leoflowd.assembly import lite, lite_cluster
from leoflowd.config import ConfigRefused, LiteClusterConfig, LiteConfig
from leoflowd.store.database import Database
from loadtests.lite_process import PASSWORD, free_port
from tests.conftest import PATIENCE_S
from tests.integration.cluster.test_daemons import DAG_ID, Api
from tests.integration.lite.test_workspace import OwnInterpreter
from tests.kube.clusters import NAMESPACE, Cluster, fake_cluster
from tests.kube.kubelet import Kubelet

CODE = """\
from airflow.sdk import DAG, task


@task
def first():
    print("the first of us runs in a pod")
    return 7


with DAG("in_pods", schedule=None):
    first()
"""


class Laptop:
    def __init__(self, database: Database, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.port = free_port()
        self.said: list[str] = []
        self.project = folder / "workspace" / "etl"
        self.project.mkdir(parents=True)
        (self.project / "dag.py").write_text(CODE)
        self.config = LiteConfig(
            workspace=folder / "workspace",
            data_dir=folder / "data",
            port=free_port(),
            postgres=database.conninfo,
            admin_password=PASSWORD,
            cluster=LiteClusterConfig(
                kubeconfig=folder / "config", namespace=NAMESPACE, agent_host="127.0.0.1", agent_port=self.port
            ),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Api]:
        ready = trio.Event()

        def hear(text: str) -> None:
            self.said.append(text)
            if text.startswith("ready: "):
                ready.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run, self.config, hear)
            with trio.fail_after(PATIENCE_S):
                await ready.wait()
            url = self.said[-1].removeprefix("ready: ")
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as http:
                yield await Api.login(http)
            nursery.cancel_scope.cancel()

    async def wait_for(self, api: Api, path: str, found: str) -> None:
        with trio.fail_after(PATIENCE_S):
            while found not in msgspec.json.encode(await api.get(path)).decode():  # noqa: ASYNC110
                await trio.sleep(0.05)


@pytest.fixture
async def laptop(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Laptop]:
    """Without an environment that would have to be built, and without the UI's files."""
    monkeypatch.setattr(lite_cluster, "Environments", OwnInterpreter)
    monkeypatch.setattr(lite, "prepare_ui", lambda folder, progress, version: None)
    async with fake_cluster(tmp_path) as cluster:
        yield Laptop(database, cluster, tmp_path)


async def test_a_saved_file_runs_in_pods_that_trust_this_machine(laptop: Laptop, tmp_path: Path) -> None:
    (laptop.project / "leoflow.yaml").write_text("image: etl:dev\n")
    kubelet = Kubelet(laptop.cluster, tmp_path / "pods", project=laptop.project, ca="")
    async with laptop.running() as api, trio.open_nursery() as nursery:
        nursery.start_soon(kubelet.run)
        await laptop.wait_for(api, "/api/v2/dags", DAG_ID)
        await api.patch(f"/api/v2/dags/{DAG_ID}", {"is_paused": False})
        run_id = await api.trigger()
        assert await api.wait_for_run(run_id) == "success"
        at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/first"
        assert (await api.get(f"{at}/xcomEntries/return_value"))["value"] == 7
        log = msgspec.json.encode(await api.get(f"{at}/logs/1")).decode()
        assert "the first of us runs in a pod" in log
        [pod] = kubelet.pods.values()
        with trio.fail_after(PATIENCE_S):
            while await laptop.cluster.admin.names():  # noqa: ASYNC110  # in the cluster
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    [container] = pod["spec"]["containers"]
    assert container["image"] == "etl:dev"
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given["LEOFLOW_AGENT_ADDRESS"] == f"127.0.0.1:{laptop.port}"
    assert "BEGIN CERTIFICATE" in given["LEOFLOW_AGENT_CA"]
    assert "LEOFLOW_AGENT_PLAIN_TEXT" not in given
    assert pod["metadata"]["labels"]["leoflow.io/installation"].startswith("lite-")


async def test_a_project_without_an_image_says_what_to_do(laptop: Laptop) -> None:
    async with laptop.running() as api:
        await laptop.wait_for(api, "/api/v2/importErrors", "start Lite with --image")
        assert (await api.get("/api/v2/dags"))["dags"] == []


async def test_a_cluster_that_is_away_is_said_at_the_start(laptop: Laptop) -> None:
    assert laptop.cluster.server is not None
    laptop.cluster.server.is_away = True
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigRefused, match="is it started"), flatten_subgroups=True):
        await daemon.run(laptop.config, laptop.said.append)


async def test_a_cluster_on_this_machine_needs_to_be_told_the_way_back(laptop: Laptop) -> None:
    assert laptop.config.cluster is not None
    cluster = msgspec.structs.replace(laptop.config.cluster, agent_host="")
    config = msgspec.structs.replace(laptop.config, cluster=cluster)
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigRefused, match="--agent-address"), flatten_subgroups=True):
        await daemon.run(config, laptop.said.append)
