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
    environment = {
        **engine.environment,
        **docker,
        "LEOFLOW_CONFIG": str(tmp_path / "cli.yaml"),
        "LEOFLOW_REGISTRY": f"{registry}/dags",
        "LEOFLOW_BASE_IMAGE": base_image,
        "LEOFLOW_BUILDER": builder,
        "LEOFLOW_PASSWORD": PASSWORD,
    }

    async def leoflow(*arguments: str) -> str:
        done = await trio.to_thread.run_sync(
            lambda: subprocess.run([LEOFLOW, *arguments], env=environment, capture_output=True, text=True, check=False)
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    async with scene.daemon() as api:
        await leoflow("auth", "login", "--server", scene.url)
        for word in ("first", "second"):
            project = _project(tmp_path / "project", word)
            said = await leoflow("deploy", str(project), "--yes", "--trigger", "--wait", f"--builder-option={option}")
            assert "@sha256:" in said
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
