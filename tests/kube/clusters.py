"""Clusters for tests, fake and real: an API for the daemon under its Role, and whoever else acts in a cluster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx
import trio

from leoflowd.config import KubernetesConfig
from leoflowd.kube.api import KubeApi, open_api
from leoflowd.kube.credentials import load_credentials
from loadtests.kube_admin import NAMESPACE, Admin, set_up
from loadtests.lite_process import PATIENCE
from tests.conftest import REPOSITORY, missing
from tests.fakes.kube.server import FakeApiServer, serve_kube

SCRIPT = REPOSITORY / "tests" / "kube" / "real.sh"
PORTS = range(21500, 21600, 3)
"""An API server, and two for its etcd."""
BUILT = ("kube-apiserver", "etcd")
LIFE_S = 1800
START_WITHIN_S = 120 * PATIENCE
BUILD_WITHIN_S = 1200


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
        await set_up(cluster.admin, (REPOSITORY / "helm" / "rbac.yaml").read_text())
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


async def _sweep(admin: Admin) -> None:
    for name in await admin.names():
        try:
            await admin.patch(name, {"metadata": {"finalizers": None}})
            await admin.remove(name)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 404:
                raise


def build_folder() -> Path:
    return Path(subprocess.run([str(SCRIPT), "where"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def is_built() -> bool:
    return all((build_folder() / name).exists() for name in BUILT)


def begin_build(told: Path) -> subprocess.Popen[bytes]:
    """Beside the tests, which wait for it where they need it: it takes some minutes, once. For `end_build`."""
    told.parent.mkdir(parents=True, exist_ok=True)
    with told.open("wb") as output:
        return subprocess.Popen(
            ["nice", "-n", "5", str(SCRIPT), "build"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end_build(build: subprocess.Popen[bytes]) -> None:
    """What no test waited for is not finished for nobody."""
    if not is_built():
        with suppress(ProcessLookupError):
            os.killpg(build.pid, signal.SIGTERM)
    build.wait()


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
