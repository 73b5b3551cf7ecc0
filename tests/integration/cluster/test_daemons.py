"""Whole daemons of a cluster by role, on a real Postgres and the API server in memory; the test is their kubelet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from leoflowd import daemon
from leoflowd.config import (
    AdmissionConfig,
    AgentsConfig,
    ApiConfig,
    Config,
    ConfigRefused,
    KubernetesConfig,
    Role,
    SchedulerConfig,
)
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.termination import Termination, termination_text
from leoflowd.core.pool_shards import SHARDS
from leoflowd.store.dags import register_dag
from leoflowd.store.database import Database
from loadtests.lite_process import PASSWORD, free_port
from tests.conftest import PATIENCE_S
from tests.kube.clusters import NAMESPACE, Admin, Cluster, fake_cluster
from tests.kube.tries import IMAGE

DAG_ID = "in_pods"
DAG = DagSpec(
    dag_id=DAG_ID,
    image=IMAGE,
    tasks=(
        TaskSpec(task_id="first", operator="PythonOperator"),
        TaskSpec(task_id="second", operator="PythonOperator", upstream_task_ids=("first",)),
    ),
)


class World:
    def __init__(self, database: Database, cluster: Cluster, folder: Path) -> None:
        self.db = database
        self.kubelet: Admin = cluster.admin
        self.changes: dict[str, Any] = {}
        """Of every daemon's settings."""
        self.ports: list[int] = []
        """Where agents come in, daemon by daemon."""
        self.service = ""
        """The one address of all daemons, if there is one."""
        self._folder = folder
        self._begun: set[str] = set()

    def config(self, role: Role, *, certificate: Path | None = None, **changes: Any) -> Config:
        port = free_port()
        self.ports.append(port)
        built = Config(
            database=self.db.conninfo,
            role=role,
            admin_password=PASSWORD,
            api=ApiConfig(port=free_port()),
            agents=AgentsConfig(
                listen=f"127.0.0.1:{port}",
                log_dir=self._folder / "logs",
                tls_cert=certificate,
                tls_key=certificate,
            ),
            scheduler=SchedulerConfig(sweep_interval_s=0.5),
            kubernetes=KubernetesConfig(
                kubeconfig=self._folder / "config",
                namespace=NAMESPACE,
                agent_address=self.service or f"127.0.0.1:{port}",
                host_address="" if self.service or certificate is None else f"localhost:{port}",
                agent_ca_config_map="" if certificate is None else "ca",
            ),
        )
        return msgspec.structs.replace(built, **{**self.changes, **changes})

    @asynccontextmanager
    async def daemon(self, role: Role, *, certificate: Path | None = None, **changes: Any) -> AsyncIterator[Api]:
        """Until the block ends, as by SIGKILL: nothing is drained. `certificate`: and key, of the door for agents."""
        ready, said = trio.Event(), []

        def hear(text: str) -> None:
            said.append(text)
            if text.startswith("ready: "):
                ready.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run, self.config(role, certificate=certificate, **changes), hear)
            with trio.fail_after(PATIENCE_S):
                await ready.wait()
            async with httpx.AsyncClient(base_url=said[-1].removeprefix("ready: "), timeout=PATIENCE_S) as http:
                yield await Api.login(http)
            nursery.cancel_scope.cancel()

    async def register(self, spec: DagSpec = DAG) -> None:
        async with self.db.api.transaction() as conn:
            await register_dag(
                conn, spec, now=datetime.now(UTC), fileloc="", relative_fileloc="dag.py", bundle_name="pushed"
            )
            await conn.execute(b"UPDATE dag SET is_paused = false")

    async def next_pod(self, task_id: str) -> str:
        """A new one for this task; it begins."""
        with trio.fail_after(PATIENCE_S):
            while True:
                for name in await self.kubelet.names():
                    if name.startswith(f"{task_id}-") and name not in self._begun:
                        self._begun.add(name)
                        await self.kubelet.bind(name)
                        await self.kubelet.begin(name)
                        return name
                await trio.sleep(0.02)

    async def succeed(self, name: str) -> None:
        """As its agent's last words say, which no daemon heard."""
        now = datetime.now(UTC)
        outcome = Outcome(kind=OutcomeKind.SUCCESS, because="The task returned.", start_date=now, end_date=now)
        said = Termination(try_id=name[-36:], outcome=outcome)
        await self.kubelet.end(name, 0, message=termination_text(said).decode())


class Api:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self._http.base_url.host}:{self._http.base_url.port}"

    @classmethod
    async def login(cls, http: httpx.AsyncClient) -> Api:
        answer = await http.post("/auth/token", json={"username": "admin", "password": PASSWORD})
        http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return cls(http)

    async def get(self, path: str, *, status: int = 200) -> Any:
        answer = await self._http.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def patch(self, path: str, body: dict[str, Any]) -> None:
        answer = await self._http.patch(path, json=body)
        assert answer.status_code == 200, answer.text

    async def post(self, path: str, body: dict[str, Any]) -> None:
        answer = await self._http.post(path, json=body)
        assert answer.status_code in (200, 201), answer.text

    async def trigger(self) -> str:
        answer = await self._http.post(f"/api/v2/dags/{DAG_ID}/dagRuns", json={"logical_date": None})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["dag_run_id"])

    async def wait_for_run(self, run_id: str, *, dag_id: str = DAG_ID) -> str:
        with trio.fail_after(PATIENCE_S):
            while True:
                state = (await self.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"))["state"]
                if state in ("success", "failed"):
                    return str(state)
                await trio.sleep(0.05)

    async def components(self) -> dict[str, list[str]]:
        tree = await self.get("/api/v2/leoflow/tree")
        return {node["name"]: [child["name"] for child in node.get("children") or ()] for node in tree["children"]}


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    async with fake_cluster(tmp_path) as cluster:
        world = World(database, cluster, tmp_path)
        await world.register()
        yield world


async def test_a_run_of_pods_goes_on_under_the_next_daemon_and_ends_by_what_its_pods_say(world: World) -> None:
    async with world.daemon(Role.ALL) as api:
        run_id = await api.trigger()
        first = await world.next_pod("first")
    await world.succeed(first)  # while nobody is there
    async with world.daemon(Role.ALL) as api:
        second = await world.next_pod("second")
        await world.succeed(second)
        assert await api.wait_for_run(run_id) == "success"
        instances = await api.get(f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances")
        assert [one["try_number"] for one in instances["task_instances"]] == [1, 1]
        with trio.fail_after(PATIENCE_S):
            while await world.kubelet.names():  # noqa: ASYNC110  # in the cluster
                await trio.sleep(0.05)


async def test_pods_of_a_run_share_a_staging_volume_whoever_leads(world: World) -> None:
    await world.register(msgspec.structs.replace(DAG, staging={"enabled": True, "size": "2Gi"}))
    async with world.daemon(Role.ALL) as api:
        run_id = await api.trigger()
        pods = [await world.next_pod("first")]
    await world.succeed(pods[0])
    async with world.daemon(Role.ALL) as api:
        pods.append(await world.next_pod("second"))
        [claim] = (await world.kubelet.call("GET", f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"))["items"]
        volumes = (await world.kubelet.fetch(pods[1]))["spec"]["volumes"]
        assert [one["persistentVolumeClaim"]["claimName"] for one in volumes if one["name"] == "staging"] == [
            claim["metadata"]["name"]
        ]
        await world.succeed(pods[1])
        assert await api.wait_for_run(run_id) == "success"


async def test_each_role_does_its_part_and_together_they_are_a_whole(world: World) -> None:
    async with world.daemon(Role.API) as api:
        run_id = await api.trigger()
        components = await api.components()
        assert components["leadership"] == []
        assert "cheap-task pool" not in components
        assert await world.kubelet.names() == []
        await api.get("/leoflow/api/pool", status=409)
        async with world.daemon(Role.POOL) as pool, world.daemon(Role.SCHEDULER) as scheduler:
            assert (await pool.components())["leadership"] == []
            assert (await pool.get("/leoflow/api/pool"))["shards"] == SHARDS
            assert "cheap-task pool" not in await scheduler.components()
            for task_id in ("first", "second"):
                await world.succeed(await world.next_pod(task_id))
            assert await api.wait_for_run(run_id) == "success"
            assert "pods" in (await scheduler.components())["leadership"]


# --- what is refused at the start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agents", "named"),
    [
        (AgentsConfig(), "LEOFLOW_AGENTS_LISTEN"),
        (AgentsConfig(listen="0.0.0.0"), "LEOFLOW_AGENTS_LISTEN"),
        (AgentsConfig(listen="0.0.0.0:9090"), "LEOFLOW_AGENTS_TLS_CERT"),
        (AgentsConfig(listen="0.0.0.0:9090", tls_cert=Path("no"), tls_key=Path("no")), "LEOFLOW_AGENTS_TLS_"),
    ],
)
async def test_a_door_that_would_tell_tokens_to_everybody_is_refused(
    world: World, agents: AgentsConfig, named: str
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigRefused, match=named), flatten_subgroups=True):
        await daemon.run(world.config(Role.ALL, agents=agents), lambda _: None)


@pytest.mark.parametrize(
    ("admission", "named"),
    [
        (AdmissionConfig(require_signed=True), "LEOFLOW_ADMISSION_SIGNERS names no key"),
        (AdmissionConfig(signers=("ssh-rsa AAAA ci",)), "LEOFLOW_ADMISSION_SIGNERS: 'ssh-rsa AAAA ci'"),
    ],
)
async def test_keys_that_nobody_could_sign_with_are_refused(
    world: World, admission: AdmissionConfig, named: str
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigRefused, match=named), flatten_subgroups=True):
        await daemon.run(world.config(Role.ALL, admission=admission), lambda _: None)


async def test_the_first_start_needs_a_password(world: World) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigRefused, match="LEOFLOW_ADMIN_PASSWORD"), flatten_subgroups=True):
        await daemon.run(world.config(Role.ALL, admin_password=None), lambda _: None)
