"""What pods of a real image need: an API server, a registry, a node, images built here. `make e2e-kube` sets it up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from leoflowd.authoring.bundle import copy_bundle
from leoflowd.authoring.image import CODE, DagImage, write_image
from tests.conftest import PATIENCE_S, REPOSITORY
from tests.fakes import s3_server, valkey
from tests.integration.conftest import database, postgres_conninfo  # noqa: F401  # fixtures
from tests.kube.clusters import Cluster, real_cluster, real_server
from tests.kube.node import Engine
from tests.kube.real_node import running_node

# Long, as root, with packages of the system: only when asked for.
collect_ignore_glob = [] if os.environ.get("LEOFLOW_E2E_KUBE") else ["test_*.py"]

BASE = os.environ.get("LEOFLOW_E2E_KUBE_BASE", "")
"""A tar of a root with Python 3.11; tests/e2e_kube/prepare.sh makes one of Debian's packages."""


@pytest.fixture(scope="session")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with real_server(tmp_path_factory.mktemp("kube")) as folder:
        yield folder


@pytest.fixture
async def cluster(real_folder: Path) -> AsyncIterator[Cluster]:
    async with real_cluster(real_folder) as real:
        yield real


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a real one."""
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@contextmanager
def running_registry(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "settings.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen(
            ["docker-registry", "serve", folder / "settings.yml"],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    try:
        transport = httpx.HTTPTransport(retries=20)  # refused until it listens
        with httpx.Client(transport=transport, timeout=PATIENCE_S) as client:
            client.get(f"http://{address}/v2/").raise_for_status()
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("engine"), registry=registry)
    try:
        yield engine
    finally:
        engine.remove_all()


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables of a Docker of our own, beside one that may run here. Builds use the host's net: it has no bridge."""
    folder = tmp_path_factory.mktemp("docker")
    where = {"DOCKER_HOST": f"unix://{folder}/socket"}
    command = ["dockerd", "--data-root", folder / "data", "--exec-root", folder / "run", "--pidfile", folder / "pid"]
    command += ["-H", where["DOCKER_HOST"], "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
    with (folder / "output").open("wb") as output:
        daemon = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE_S
        while subprocess.run(
            ["docker", "info"], env={**os.environ, **where}, capture_output=True, check=False
        ).returncode:
            assert daemon.poll() is None, (folder / "output").read_text()[-4000:]
            assert time.monotonic() < until, "Docker does not answer"
            time.sleep(0.1)
        yield where
    finally:
        daemon.terminate()
        daemon.wait()
        subprocess.run(["umount", "-l", folder / "run" / "netns" / "default"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def debian(engine: Engine) -> str:
    """The base of our base, since no registry with `python:3.x-slim` is there."""
    engine.call("buildah", "bud", "--isolation=chroot", "-t", "localhost/debian-python:3.11", str(Path(BASE).parent))
    return "localhost/debian-python:3.11"


@pytest.fixture(scope="session")
def base_image(engine: Engine, registry: str, debian: str) -> str:
    """Our base image, by the digest that the registry knows."""
    return build_base(engine, f"{registry}/leoflow-base:py3.11", debian)


@pytest.fixture(scope="session")
def kubelet(
    tmp_path_factory: pytest.TempPathFactory, real_folder: Path, engine: Engine, registry: str, debian: str
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("pause")
    (folder / "Dockerfile").write_text(f'FROM {debian}\nENTRYPOINT ["sleep", "infinity"]\n')
    engine.call("buildah", "bud", "--isolation=chroot", "-t", f"{registry}/pause:1", str(folder))
    engine.call("buildah", "push", f"{registry}/pause:1")
    with running_node(tmp_path_factory.mktemp("node"), api=real_folder, pause=f"{registry}/pause:1") as node:
        yield node


def build_base(engine: Engine, tag: str, base: str, *, cached: bool = True) -> str:
    command = [sys.executable, str(REPOSITORY / "agent" / "image" / "build.py"), "--tag", tag, "--python", "3.11"]
    command += ["--base", base, "--builder", "buildah", "--builder-option=--isolation=chroot", "--push"]
    return engine.call(*command, *([] if cached else ["--builder-option=--no-cache"]))


def build_dag_image(engine: Engine, tag: str, base: str, project: Path, folder: Path) -> str:
    """As `leoflow deploy` will: the code of a project on our base, pushed, pinned."""
    write_image(folder, DagImage(base=base))
    copy_bundle(project, folder / CODE)
    engine.call("buildah", "bud", "--isolation=chroot", "--timestamp", "0", "-t", tag, str(folder))
    engine.call("buildah", "push", "--digestfile", str(folder / "digest"), tag)
    return f"{tag.rpartition(':')[0]}@{(folder / 'digest').read_text()}"


@pytest.fixture(scope="session")
def s3() -> Iterator[s3_server.S3Server]:
    with s3_server.running() as server:
        yield server


@pytest.fixture
def bucket(s3: s3_server.S3Server) -> str:
    return s3.new_bucket()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[valkey.Valkey]:
    folder = tmp_path / "valkey"
    folder.mkdir()
    with valkey.running(folder) as server:
        yield server


def pytest_configure() -> None:
    missing = [name for name in ("podman", "buildah", "runc", "docker-registry") if shutil.which(name) is None]
    if os.environ.get("LEOFLOW_E2E_KUBE") and (missing or os.geteuid() != 0 or not BASE):
        raise pytest.UsageError(f"run these as root with `make e2e-kube`; missing: {', '.join(missing) or 'the base'}")
