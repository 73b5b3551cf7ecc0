"""`leoflow deploy --trigger --wait` with each builder, and the image of the daemon: real registry, API server, node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from leoflowd.cli.failures import ExitCode
from loadtests.lite_process import PASSWORD, free_port
from tests.conftest import PATIENCE_S, REPOSITORY
from tests.e2e_kube.test_real_pods import Scene, node, scene  # noqa: F401  # fixtures
from tests.integration.conftest import database  # noqa: F401  # a fixture
from tests.kube.node import Engine

DAG = """\
from airflow.sdk import DAG, task

import helper


@task
def says():
    return helper.WORD


with DAG("deployed", schedule=None):
    says()
"""
LEOFLOW = str(Path(sys.executable).parent / "leoflow")


def _project(folder: Path, word: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dag.py").write_text(DAG)
    (folder / "helper.py").write_text(f"WORD = {word!r}\n")
    return folder


def _keys(folder: Path) -> tuple[Path, str]:
    """A private key's file, and the line of its public half."""
    key = Ed25519PrivateKey.generate()
    (folder / "sign").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return folder / "sign", f"{line} ci@example.com"


@pytest.mark.parametrize(
    ("builder", "option"),
    [("buildah", "--isolation=chroot"), ("podman", "--isolation=chroot"), ("docker", "--network=host")],
)
async def test_one_command_ends_in_a_green_run(
    scene: Scene,  # noqa: F811
    engine: Engine,
    registry: str,
    base_image: str,
    tmp_path: Path,
    docker: dict[str, str],
    builder: str,
    option: str,
) -> None:
    """On a server that runs signed versions only."""
    key, signer = _keys(tmp_path)
    scene.settings.update(LEOFLOW_ADMISSION_SIGNERS=signer, LEOFLOW_ADMISSION_REQUIRE_SIGNED="true")
    environment = {
        **engine.environment,
        **docker,
        "LEOFLOW_CONFIG": str(tmp_path / "cli.yaml"),
        "LEOFLOW_REGISTRY": f"{registry}/dags",
        "LEOFLOW_BASE_IMAGE": base_image,
        "LEOFLOW_BUILDER": builder,
        "LEOFLOW_PASSWORD": PASSWORD,
    }

    async def leoflow(*arguments: str, code: int = 0) -> str:
        done = await trio.to_thread.run_sync(
            lambda: subprocess.run([LEOFLOW, *arguments], env=environment, capture_output=True, text=True, check=False)
        )
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout if code == 0 else done.stderr

    async with scene.daemon() as api:
        await leoflow("auth", "login", "--server", scene.url)
        project = _project(tmp_path / "project", "first")
        assert "Nothing was built" in await leoflow("deploy", str(project), "--yes", code=ExitCode.NOT_ALLOWED)
        environment["LEOFLOW_SIGN_KEY"] = str(key)
        for word in ("first", "second"):
            _project(project, word)
            said = await leoflow("deploy", str(project), "--yes", "--trigger", "--wait", f"--builder-option={option}")
            assert "@sha256:" in said
            assert "signed by ci@example.com" in said
            assert "success" in said
        versions = await api.get("/api/v2/dags/deployed/dagVersions")
        assert versions["total_entries"] == 2


@pytest.fixture(scope="module")
def daemon_image(engine: Engine, registry: str, debian: str) -> str:
    command = [sys.executable, str(REPOSITORY / "helm" / "image" / "build.py"), "--tag", f"{registry}/leoflowd:1"]
    command += ["--python", "3.11", "--base", debian, "--builder", "buildah"]
    return engine.call(*command, "--builder-option=--isolation=chroot", "--push")


@pytest.fixture
def container(engine: Engine, daemon_image: str) -> Iterator[list[str]]:
    """A podman command for it, with a read-only root as in the chart; as root, who may use the socket of Postgres."""
    name = f"leoflowd-{os.getpid()}"
    command = ["podman", "run", "-d", "--name", name, "--network=host", "--read-only", "--user=0:0"]
    yield [*command, "--volume=/tmp:/tmp", "--tmpfs=/var/log/leoflow"]
    subprocess.run(["podman", "rm", "-f", "-t", "0", name], env=engine.environment, capture_output=True, check=False)


async def test_the_image_of_the_daemon_migrates_serves_and_has_the_ui(
    scene: Scene,  # noqa: F811
    engine: Engine,
    daemon_image: str,
    container: list[str],
) -> None:
    port = free_port()
    settings = {**scene.settings, "LEOFLOW_API_PORT": str(port)}
    variables = [f"--env={name}={value}" for name, value in settings.items()]
    engine.call("podman", "pull", "-q", daemon_image)
    [found] = json.loads(engine.call("podman", "image", "inspect", daemon_image))
    assert found["Config"]["User"] == "50000:50000"
    running = engine.call(*container, *variables, daemon_image)
    with trio.fail_after(PATIENCE_S):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            while not await _is_ready(client):
                state = await engine.podman("inspect", "--format", "{{.State.Running}}", running)
                assert state == "true", engine.call("sh", "-c", f"podman logs {running} 2>&1")
                await trio.sleep(0.1)
            page = await client.get("/")
            assert page.status_code == 200
            assert "<!doctype html>" in page.text.lower()


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
