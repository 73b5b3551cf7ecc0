"""Runs of pods: a real API server, an image that was built, pushed and pinned here, the daemon under its Role.

Agents are PID 1 and come in over TLS, proving their pod by a token that the API server has signed; results are in
Valkey, logs on an S3 server.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
import trio

from leoflowd.contract.dag_spec import DagSpec, TaskSpec, XComRef
from leoflowd.contract.termination import read_termination
from leoflowd.store.dags import register_dag
from leoflowd.store.database import Database
from loadtests.kube_admin import NAMESPACE, create
from loadtests.lite_process import PASSWORD, free_port
from tests.conftest import PATIENCE_S
from tests.e2e_kube.conftest import build_dag_image
from tests.fakes.certificates import self_signed
from tests.fakes.s3_server import S3Server
from tests.fakes.valkey import Valkey
from tests.integration.cluster.test_daemons import DAG_ID, Api
from tests.kube.clusters import Cluster
from tests.kube.node import Engine, Node
from tests.kube.real_node import RealNode

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


class Scene:
    """Daemons as processes of their own, configured as `docs/kubernetes.md` has it."""

    def __init__(self, database: Database, cluster: Cluster, folder: Path, settings: dict[str, str]) -> None:
        self.db = database
        self.kubelet = cluster.admin
        self._folder = folder
        self.settings = settings
        self.url = ""
        """Of the last daemon."""

    async def register(self, image: str, tasks: tuple[TaskSpec, ...]) -> None:
        spec = DagSpec(dag_id=DAG_ID, image=image, tasks=tasks)
        places = {"fileloc": "", "relative_fileloc": "dag.py", "bundle_name": "pushed"}
        async with self.db.api.transaction() as conn:
            await register_dag(conn, spec, now=datetime.now(UTC), **places)
            await conn.execute(b"UPDATE dag SET is_paused = false")

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Api]:
        """Until the block ends, by SIGKILL."""
        with self._process() as address:
            self.url = await address()
            async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S) as http:
                yield await Api.login(http)

    @contextmanager
    def _process(self) -> Iterator[Callable[[], Awaitable[str]]]:
        output = self._folder / f"daemon-{len(list(self._folder.glob('daemon-*')))}"
        environment = {**os.environ, **self.settings, "LEOFLOW_API_PORT": str(free_port())}
        command = [sys.executable, "-m", "leoflowd", "run"]
        with output.open("wb") as told:
            process = subprocess.Popen(command, env=environment, stdout=told, stderr=told, stdin=subprocess.DEVNULL)

        async def address() -> str:
            return await until(lambda: told_address(process, output))

        try:
            yield address
        finally:
            process.kill()
            process.wait()


def told_address(process: subprocess.Popen[bytes], output: Path) -> str | None:
    found = re.search(r"^ready: (\S+)$", output.read_text(), flags=re.MULTILINE)
    assert process.poll() is None, output.read_text()[-3000:]
    return None if found is None else found[1]


T = TypeVar("T")


async def until(look: Callable[[], T]) -> T:
    """What it gives as soon as that is something."""
    with trio.fail_after(PATIENCE_S):
        while not (found := look()):  # noqa: ASYNC110  # another process does it
            await trio.sleep(0.05)
    return found


@pytest.fixture
async def scene(
    database: Database,
    cluster: Cluster,
    real_folder: Path,
    tmp_path: Path,
    redis: Valkey,
    bucket: str,
    node: Node | RealNode,
) -> Scene:
    _, ca = self_signed(tmp_path, node.host)
    at = f"/api/v1/namespaces/{NAMESPACE}"
    await create(cluster.admin, f"{at}/serviceaccounts", {"metadata": {"name": "default"}})
    await create(cluster.admin, f"{at}/configmaps", {"metadata": {"name": CA}})
    await cluster.admin.call("PATCH", f"{at}/configmaps/{CA}", {"data": {"ca.crt": ca}})
    agents = f"{node.host}:{free_port()}"
    settings = {
        "DATABASE": database.conninfo,
        "ADMIN_PASSWORD": PASSWORD,
        "AGENTS_LISTEN": agents,
        "AGENTS_TLS_CERT": str(tmp_path / "server.pem"),
        "AGENTS_TLS_KEY": str(tmp_path / "server.pem"),
        "AGENTS_LOG_DIR": str(tmp_path / "logs"),
        "KUBERNETES_KUBECONFIG": str(real_folder / "daemon.kubeconfig"),  # under the Role of helm/rbac.yaml
        "KUBERNETES_NAMESPACE": NAMESPACE,
        "KUBERNETES_AGENT_ADDRESS": agents,
        "KUBERNETES_AGENT_CA_CONFIG_MAP": CA,
        "REDIS_URL": redis.url,
        "REDIS_XCOM_MIN_BYTES": "1000",
        "LOGS_URL": f"s3://{bucket}/logs",
    }
    return Scene(database, cluster, tmp_path, {f"LEOFLOW_{name}": value for name, value in settings.items()})


@pytest.fixture(params=["podman", "kubelet"])
async def node(
    request: pytest.FixtureRequest, cluster: Cluster, engine: Engine, tmp_path: Path
) -> AsyncIterator[Node | RealNode]:
    """A script with podman, which reads pods as this project understands them; and what clusters have."""
    if request.param == "podman":
        node: Node | RealNode = Node(cluster.admin, engine, tmp_path / "pods")
    else:
        node = RealNode(cluster.admin, request.getfixturevalue("kubelet"))
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
    node: Node | RealNode,
    engine: Engine,
    registry: str,
    base_image: str,
    tmp_path: Path,
    redis: Valkey,
    artifacts: Path,
    s3: S3Server,
    bucket: str,
) -> None:
    image = image_of(WHOLE_RUN, engine, registry, base_image, tmp_path)
    await scene.register(image, TASKS[WHOLE_RUN])
    async with scene.daemon() as api:
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
    assert len(redis.keys("leoflow:xcom:")) == 1, "the large one of the two results"
    assert any("first" in key for key in s3.keys(bucket))
    tell_times(node, began, artifacts)


def tell_times(node: Node | RealNode, began: dict[str, float], artifacts: Path) -> None:
    """The first pod pulls the image, the second finds it."""
    lines = []
    for name, seen in node.seen_at.items():
        task_id = name.partition("-")[0]
        container_s, code_s = node.started_at[name] - seen, began[task_id] - seen
        lines.append(f"{task_id}: {container_s:.2f} s from pod create to container, {code_s:.2f} s to user code\n")
    (artifacts / f"e2e-kube-times-{type(node).__name__}.txt").write_text("".join(lines))
    print("", *lines)


async def test_an_end_that_no_daemon_heard_is_in_the_pod(
    scene: Scene, node: Node | RealNode, engine: Engine, registry: str, base_image: str, tmp_path: Path
) -> None:
    image = image_of(WAITING, engine, registry, base_image, tmp_path)
    await scene.register(image, TASKS[WAITING])
    async with scene.daemon() as api:
        run_id = await api.trigger()
        at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
        with trio.fail_after(PATIENCE_S):
            while (await api.get(f"{at}/waits"))["state"] != "running":  # noqa: ASYNC110  # in the cluster
                await trio.sleep(0.05)
    [name] = node.seen_at
    await until(lambda: name in node.started_at)  # the word of a kubelet comes later than that of its agent
    (node.scratch(name) / "go").touch()
    said = read_termination(await until(lambda: node.said(name)))
    assert said is not None
    assert said.outcome is not None
    assert said.is_stored is False
    await node.kill(name)
    await until(lambda: name in node.ended)
    async with scene.daemon() as api:
        assert await api.wait_for_run(run_id) == "success"
        [instance] = (await api.get(at))["task_instances"]
        assert instance["try_number"] == 1
        assert (await api.get(f"{at}/waits/xcomEntries/return_value"))["value"] == "it went"
    assert len(node.started_at) == 1


async def test_a_task_that_takes_more_than_its_memory_fails_and_says_so(
    scene: Scene, node: Node | RealNode, engine: Engine, registry: str, base_image: str, tmp_path: Path
) -> None:
    image = image_of(HUNGRY, engine, registry, base_image, tmp_path)
    await scene.register(image, TASKS[HUNGRY])
    async with scene.daemon() as api:
        run_id = await api.trigger()
        assert await api.wait_for_run(run_id) == "failed"
        at = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
        [instance] = (await api.get(at))["task_instances"]
        assert instance["try_number"] == 1
        log = msgspec.json.encode(await api.get(f"{at}/eats/logs/1")).decode()
        assert "the kernel does that when memory runs out" in log
