"""Runs of pods: a real API server, an image that was built, pushed and pinned here, the daemon under its Role.

Agents are PID 1 and come in over TLS, proving their pod by a token that the API server has signed; results are in
Valkey, logs on an S3 server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from leoflowd.config import Config, LogsConfig, RedisConfig, Role
from leoflowd.contract.dag_spec import DagSpec, TaskSpec, XComRef
from leoflowd.contract.overriding import override
from leoflowd.contract.termination import read_termination
from leoflowd.store.database import Database
from tests.conftest import ARTIFACTS, PATIENCE_S
from tests.e2e_kube.conftest import build_dag_image
from tests.fakes.certificates import self_signed
from tests.fakes.s3_server import S3Server
from tests.fakes.valkey import Valkey
from tests.integration.cluster.test_daemons import DAG_ID, World
from tests.kube.clusters import NAMESPACE, Cluster, create
from tests.kube.node import Engine, Node

CA = "leoflow-ca"
CODE = """\
import os
import pathlib
import subprocess
import time

from airflow.sdk import DAG, task

import helper


@task
def first():
    began = time.time()
    print("the first of us runs in an image")
    return {"began": began, "numbers": list(range(5_000)), "pid_1": pathlib.Path("/proc/1/cmdline").read_text()}


@task
def second(told):
    def refused(path):
        try:
            pathlib.Path(path).write_text("x")
        except OSError as error:
            return error.strerror
        return "written"

    return {
        "sum": sum(told["numbers"]),
        "user": [os.getuid(), os.getgid()],
        "root": refused("/etc/hosts2"),
        "code": refused(helper.__file__),
        "tmp": refused("/tmp/mine"),
        "shell": subprocess.run(["bash", "-c", "echo $0 works"], capture_output=True, text=True).stdout,
        "home": os.path.expanduser("~"),
        "secrets": sorted(name for name in os.environ if name.startswith("LEOFLOW_")),
        "began": time.time(),
    }


@task
def waits():
    while not os.path.exists("/tmp/go"):
        time.sleep(0.05)
    return "it went"


@task
def eats():
    return len(bytearray(2**30))


with DAG("in_pods", schedule=None):
    DAG_OF_TEST
"""
WHOLE_RUN, WAITING, HUNGRY = "second(first())", "waits()", "eats()"


def task_of(task_id: str, **more: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="_PythonDecoratedOperator", **more)


TASKS = {
    WHOLE_RUN: (
        task_of("first"),
        task_of("second", upstream_task_ids=("first",), xcom_refs=(XComRef(task_id="first"),)),
    ),
    WAITING: (task_of("waits"),),
    HUNGRY: (task_of("eats"),),
}


class Scene(World):
    """A daemon of a cluster, and everything outside of it that the product knows."""

    def __init__(
        self, database: Database, cluster: Cluster, folder: Path, kubeconfig: Path, *, redis: str, bucket: str
    ) -> None:
        """`kubeconfig`: the daemon's own, under the Role of helm/rbac.yaml."""
        super().__init__(database, cluster, folder)
        self.bucket = bucket
        self._kubeconfig = kubeconfig
        self._redis = RedisConfig(url=redis, xcom_min_bytes=1_000)
        self._logs = LogsConfig(url=f"s3://{bucket}/logs")

    @override
    def config(self, role: Role, *, certificate: Path | None = None, **changes: Any) -> Config:
        built = super().config(role, certificate=certificate, redis=self._redis, logs=self._logs, **changes)
        kubernetes = msgspec.structs.replace(built.kubernetes, kubeconfig=self._kubeconfig, agent_ca_config_map=CA)
        return msgspec.structs.replace(built, kubernetes=kubernetes)


@pytest.fixture
async def scene(
    database: Database, cluster: Cluster, real_folder: Path, tmp_path: Path, redis: Valkey, s3: S3Server
) -> Scene:
    _, ca = self_signed(tmp_path)
    at = f"/api/v1/namespaces/{NAMESPACE}"
    await create(cluster.admin, f"{at}/serviceaccounts", {"metadata": {"name": "default"}})
    await create(cluster.admin, f"{at}/configmaps", {"metadata": {"name": CA}})
    await cluster.admin.call("PATCH", f"{at}/configmaps/{CA}", {"data": {"ca.crt": ca}})
    return Scene(
        database, cluster, tmp_path, real_folder / "daemon.kubeconfig", redis=redis.url, bucket=s3.new_bucket()
    )


@pytest.fixture
async def node(cluster: Cluster, engine: Engine, tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(cluster.admin, engine, tmp_path / "pods")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.run)
        yield node
        nursery.cancel_scope.cancel()


def image_of(dag: str, engine: Engine, registry: str, base_image: str, tmp_path: Path) -> str:
    """Of a project of two files."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "dag.py").write_text(CODE.replace("DAG_OF_TEST", dag))
    (project / "helper.py").write_text("")
    return build_dag_image(engine, f"{registry}/dags/in-pods:1", base_image, project, tmp_path / "image")


async def test_a_run_of_pods_of_a_pinned_image_is_green(
    scene: Scene,
    node: Node,
    engine: Engine,
    registry: str,
    base_image: str,
    tmp_path: Path,
    redis: Valkey,
    s3: S3Server,
) -> None:
    image = image_of(WHOLE_RUN, engine, registry, base_image, tmp_path)
    engine.call("podman", "pull", "-q", image)
    await scene.register(DagSpec(dag_id=DAG_ID, image=image, tasks=TASKS[WHOLE_RUN]))
    async with scene.daemon(Role.ALL, certificate=tmp_path / "server.pem") as api:
        run_id = await api.trigger()
        assert await api.wait_for_run(run_id) == "success"
        at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
        first = (await api.get(f"{at}/first/xcomEntries/return_value?deserialize=true"))["value"]
        second = (await api.get(f"{at}/second/xcomEntries/return_value?deserialize=true"))["value"]
        began = {"first": first.pop("began"), "second": second.pop("began")}
        assert "leoflow_agent" in first["pid_1"]
        assert second == {
            "sum": sum(range(5_000)),
            "user": [50000, 50000],
            "root": "Read-only file system",
            "code": "Read-only file system",
            "tmp": "written",
            "shell": "bash works\n",
            "home": "/tmp",
            "secrets": [],
        }
        log = msgspec.json.encode(await api.get(f"{at}/first/logs/1")).decode()
        assert "the first of us runs in an image" in log
        with trio.fail_after(PATIENCE_S):
            while await scene.kubelet.names():  # noqa: ASYNC110  # in the cluster
                await trio.sleep(0.05)
    assert len(redis.keys("")) == 1, "the large one of the two results"
    assert any("first" in key for key in s3.keys(scene.bucket))
    tell_times(node, began)


def tell_times(node: Node, began: dict[str, float]) -> None:
    lines = []
    for name, seen in node.seen_at.items():
        task_id = name.partition("-")[0]
        container_s, code_s = node.started_at[name] - seen, began[task_id] - seen
        lines.append(f"{task_id}: {container_s:.2f} s from pod create to container, {code_s:.2f} s to user code\n")
    (ARTIFACTS / "e2e-kube-times.txt").write_text("".join(lines))
    print("", *lines)


async def test_an_end_that_no_daemon_heard_is_in_the_pod(
    scene: Scene, node: Node, engine: Engine, registry: str, base_image: str, tmp_path: Path
) -> None:
    image = image_of(WAITING, engine, registry, base_image, tmp_path)
    await scene.register(DagSpec(dag_id=DAG_ID, image=image, tasks=TASKS[WAITING]))
    async with scene.daemon(Role.ALL, certificate=tmp_path / "server.pem") as api:
        run_id = await api.trigger()
        at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
        with trio.fail_after(PATIENCE_S):
            while (await api.get(f"{at}/waits"))["state"] != "running":  # noqa: ASYNC110  # in the cluster
                await trio.sleep(0.05)
    [name] = node.started_at
    (node.scratch(name) / "go").touch()
    with trio.fail_after(PATIENCE_S):
        while not node.said(name):  # noqa: ASYNC110  # in the container
            await trio.sleep(0.05)
        said = read_termination(node.said(name))
        assert said is not None
        assert said.outcome is not None
        assert said.is_stored is False
        await node.kill(name)
        while name not in node.ended:  # noqa: ASYNC110  # in the container
            await trio.sleep(0.05)
    async with scene.daemon(Role.ALL, certificate=tmp_path / "server.pem") as api:
        assert await api.wait_for_run(run_id) == "success"
        [instance] = (await api.get(at))["task_instances"]
        assert instance["try_number"] == 1
        assert (await api.get(f"{at}/waits/xcomEntries/return_value"))["value"] == "it went"
    assert len(node.started_at) == 1


async def test_a_task_that_takes_more_than_its_memory_fails_and_says_so(
    scene: Scene, node: Node, engine: Engine, registry: str, base_image: str, tmp_path: Path
) -> None:
    image = image_of(HUNGRY, engine, registry, base_image, tmp_path)
    await scene.register(DagSpec(dag_id=DAG_ID, image=image, tasks=TASKS[HUNGRY]))
    async with scene.daemon(Role.ALL, certificate=tmp_path / "server.pem") as api:
        run_id = await api.trigger()
        assert await api.wait_for_run(run_id) == "failed"
        at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
        [instance] = (await api.get(at))["task_instances"]
        assert instance["try_number"] == 1
        log = msgspec.json.encode(await api.get(f"{at}/eats/logs/1")).decode()
        print(log[-1500:])
