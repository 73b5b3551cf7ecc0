"""Clusters for tests, fake and real: an API for the daemon under its Role, and whoever else acts in a cluster."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
import yaml

from leoflowd.config import KubernetesConfig
from leoflowd.kube.api import KubeApi, open_api
from leoflowd.kube.credentials import Credentials, load_credentials
from loadtests.lite_process import PATIENCE
from tests.conftest import REPOSITORY, missing
from tests.fakes.kube.server import FakeApiServer, serve_kube

NAMESPACE = "leoflow"
SCRIPT = REPOSITORY / "tests" / "kube" / "real.sh"
PORTS = range(21500, 21600, 3)
"""An API server, and two for its etcd."""
BUILT = ("kube-apiserver", "etcd")
LIFE_S = 1800
START_WITHIN_S = 120 * PATIENCE
BUILD_WITHIN_S = 1200
Json = dict[str, Any]


class Admin:
    """Everybody but the daemon: scheduler, kubelet, other controllers, people. Raises `httpx.HTTPStatusError`."""

    def __init__(self, client: httpx.AsyncClient, credentials: Credentials) -> None:
        self._client = client
        self._credentials = credentials

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {**await self._credentials.headers(), "Content-Type": kind}
        answer = await self._client.request(method, self._credentials.host + path, json=body, headers=headers)
        answer.raise_for_status()
        return dict(answer.json())

    def _pod(self, name: str) -> str:
        return f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"

    async def fetch(self, name: str) -> Json:
        return await self.call("GET", self._pod(name))

    async def names(self) -> list[str]:
        found = await self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")
        return [one["metadata"]["name"] for one in found["items"]]

    async def bind(self, name: str, node: str = "node-1") -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self.call("POST", self._pod(name) + "/binding", body)

    async def patch(self, name: str, patch: Json) -> None:
        await self.call("PATCH", self._pod(name), patch)

    async def patch_status(self, name: str, **status: Any) -> None:
        await self.call("PATCH", self._pod(name) + "/status", {"status": status})

    async def wait(self, name: str, reason: str, message: str = "") -> None:
        """Its container waits."""
        await self._container(name, {"waiting": {"reason": reason, "message": message}}, phase="Pending")

    async def begin(self, name: str) -> None:
        await self._container(name, {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, phase="Running")

    async def end(self, name: str, exit_code: int, *, reason: str = "", message: str = "") -> None:
        """As a kubelet does: the container first, the phase in an event of its own, unless the pod is gone by then."""
        terminated = {
            "exitCode": exit_code,
            "reason": reason or ("Error" if exit_code else "Completed"),
            "message": message,
        }
        await self._container(name, {"terminated": terminated}, phase="Running")
        try:
            await self.patch_status(name, phase="Failed" if exit_code else "Succeeded")
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise

    async def remove(self, name: str) -> None:
        """At once, as its kubelet does when it is done, or a person who forces it."""
        await self.call("DELETE", self._pod(name), {"gracePeriodSeconds": 0})

    async def _container(self, name: str, state: Json, *, phase: str) -> None:
        status = {"name": "base", "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": ""}
        await self.patch_status(name, phase=phase, containerStatuses=[status])


class Cluster:
    def __init__(self, api: KubeApi, admin: Admin, server: FakeApiServer | None, folder: Path) -> None:
        self.api = api
        self.admin = admin
        self.server = server
        """None: it is a real one."""
        self._folder = folder

    async def restart(self) -> None:
        """The API server: watches break, and what happened before cannot be watched."""
        if self.server is not None:
            self.server.restart()
        else:
            await trio.to_thread.run_sync(_script, "restart-api", str(self._folder))


@asynccontextmanager
async def fake_cluster(folder: Path) -> AsyncIterator[Cluster]:
    async with serve_kube(folder) as server:
        config = KubernetesConfig(kubeconfig=server.kubeconfig(folder / "config", token="t"), namespace=NAMESPACE)
        async with _open(config, config, server, folder) as cluster:
            yield cluster


@asynccontextmanager
async def real_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """`folder` is what `real_server` gave."""
    admin = KubernetesConfig(kubeconfig=folder / "admin.kubeconfig", namespace=NAMESPACE)
    daemon = KubernetesConfig(kubeconfig=folder / "daemon.kubeconfig", namespace=NAMESPACE)
    async with _open(daemon, admin, None, folder) as cluster:
        await _set_up(cluster.admin)
        try:
            yield cluster
        finally:
            with trio.move_on_after(10, shield=True):
                await _sweep(cluster.admin)


@asynccontextmanager
async def _open(
    daemon: KubernetesConfig, admin: KubernetesConfig, server: FakeApiServer | None, folder: Path
) -> AsyncIterator[Cluster]:
    credentials, ours = await load_credentials(daemon), await load_credentials(admin)
    assert ours.tls is not None
    async with (
        open_api(credentials, namespace=NAMESPACE, request_s=10.0 * PATIENCE) as api,
        httpx.AsyncClient(verify=ours.tls, timeout=30, trust_env=False) as client,
    ):
        yield Cluster(api, Admin(client, ours), server, folder)


async def _set_up(admin: Admin) -> None:
    """The namespace and the Role that the daemon runs under."""
    await create(admin, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for one in yaml.safe_load_all((REPOSITORY / "helm" / "rbac.yaml").read_text()):
        group = "/api/v1" if one["apiVersion"] == "v1" else f"/apis/{one['apiVersion']}"
        await create(admin, f"{group}/namespaces/{NAMESPACE}/{one['kind'].lower()}s", one)


async def create(admin: Admin, path: str, body: Json) -> None:
    """If it is not there yet."""
    try:
        await admin.call("POST", path, body)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 409:
            raise


async def _sweep(admin: Admin) -> None:
    for name in await admin.names():
        try:
            await admin.patch(name, {"metadata": {"finalizers": None}})
            await admin.remove(name)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise


def is_built() -> bool:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leoflow" / "kube-1.20.2-2"
    return all((cache / name).exists() for name in BUILT)


def begin_build(told: Path) -> None:
    """Beside the tests, which wait for it where they need it: it takes some minutes, once."""
    told.parent.mkdir(parents=True, exist_ok=True)
    with told.open("wb") as output:
        subprocess.Popen(
            ["nice", "-n", "5", str(SCRIPT), "build"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@contextmanager
def real_server(folder: Path) -> Iterator[Path]:
    """A real API server until the block ends. CI builds one if there is none; elsewhere that is up to the developer."""
    if not is_built() and os.environ.get("CI") != "true":
        missing("a real API server; `tests/kube/real.sh build` makes one in some minutes")
    if not is_built():
        _script("build", within_s=BUILD_WITHIN_S)
    try:
        _script("start", str(folder), str(_free_port()), str(LIFE_S))
        yield folder
    finally:
        _script("stop", str(folder))


def _script(*arguments: str, within_s: float = START_WITHIN_S) -> None:
    subprocess.run([str(SCRIPT), *arguments], check=True, timeout=within_s)


def _free_port() -> int:
    """The first of three free ones in a row."""
    begin = os.getpid() % len(PORTS)
    for port in (*PORTS[begin:], *PORTS[:begin]):
        if all(_is_free(port + more) for more in range(3)):
            return port
    raise RuntimeError(f"no three free ports from {PORTS.start} to {PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
