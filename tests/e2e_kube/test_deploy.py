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
from leoflowd.core.canary import gets_canary
from loadtests.lite_process import PASSWORD, free_port
from tests.conftest import PATIENCE_S, REPOSITORY
from tests.e2e_kube.test_real_pods import Scene, node, scene  # noqa: F401  # fixtures
from tests.integration.cluster.test_daemons import Api
from tests.integration.conftest import database  # noqa: F401  # a fixture
from tests.kube.node import Engine

ISOLATION = "--builder-option=--isolation=chroot"
DAG = """\
from airflow.sdk import DAG, task

import helper


@task
def says():
    return helper.WORD


with DAG("DAG_ID", schedule=None):
    says()
"""
LEOFLOW = str(Path(sys.executable).parent / "leoflow")


def _project(folder: Path, word: str, *, dag_id: str = "deployed") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dag.py").write_text(DAG.replace("DAG_ID", dag_id))
    (folder / "helper.py").write_text(f"WORD = {word!r}\n")
    return folder


def _keys(folder: Path) -> tuple[Path, str]:
    """A private key's file, and the line of its public half."""
    key = Ed25519PrivateKey.generate()
    (folder / "sign").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return folder / "sign", f"{line} ci@example.com"


class Terminal:
    """Somebody's shell: `leoflow` with a login, a registry and a builder of theirs."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    async def leoflow(self, *arguments: str, code: int = 0) -> str:
        """What it said; on stderr, where it is expected to fail."""
        done = await trio.to_thread.run_sync(
            lambda: subprocess.run(
                [LEOFLOW, *arguments], env=self.environment, capture_output=True, text=True, check=False
            )
        )
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout if code == 0 else done.stderr


@pytest.fixture
def terminal(engine: Engine, registry: str, base_image: str, tmp_path: Path) -> Terminal:
    return Terminal(
        {
            **engine.environment,
            "LEOFLOW_CONFIG": str(tmp_path / "cli.yaml"),
            "LEOFLOW_REGISTRY": f"{registry}/dags",
            "LEOFLOW_BASE_IMAGE": base_image,
            "LEOFLOW_BUILDER": "buildah",
            "LEOFLOW_PASSWORD": PASSWORD,
        }
    )


@pytest.mark.parametrize(
    ("builder", "option"),
    [("buildah", ISOLATION), ("podman", ISOLATION), ("docker", "--builder-option=--network=host")],
)
async def test_one_command_ends_in_a_green_run(
    scene: Scene,  # noqa: F811
    terminal: Terminal,
    tmp_path: Path,
    docker: dict[str, str],
    builder: str,
    option: str,
) -> None:
    """On a server that runs signed versions only."""
    key, signer = _keys(tmp_path)
    scene.settings.update(LEOFLOW_ADMISSION_SIGNERS=signer, LEOFLOW_ADMISSION_REQUIRE_SIGNED="true")
    terminal.environment.update(docker, LEOFLOW_BUILDER=builder)
    async with scene.daemon() as api:
        await terminal.leoflow("auth", "login", "--server", scene.url)
        project = _project(tmp_path / "project", "first")
        refused = await terminal.leoflow("deploy", str(project), "--yes", code=ExitCode.NOT_ALLOWED)
        assert "Nothing was built" in refused
        terminal.environment["LEOFLOW_SIGN_KEY"] = str(key)
        for word in ("first", "second"):
            _project(project, word)
            said = await terminal.leoflow("deploy", str(project), "--yes", "--trigger", "--wait", option)
            assert "@sha256:" in said
            assert "signed by ci@example.com" in said
            assert "success" in said
        versions = await api.get("/api/v2/dags/deployed/dagVersions")
        assert versions["total_entries"] == 2


async def test_of_a_folder_of_projects_one_that_is_broken_stops_no_other(
    scene: Scene,  # noqa: F811
    engine: Engine,
    registry: str,
    terminal: Terminal,
    tmp_path: Path,
) -> None:
    """And whoever moves the tag of what was deployed changes no run of it."""
    folder = tmp_path / "projects"
    folder.mkdir()
    for name in ("east", "west"):
        _project(folder / name, name, dag_id=name)
    _project(folder / "north", "north", dag_id="north")
    (folder / "north" / "dag.py").write_text("from airflow.sdk import DAG\n\nwith DAG('north'\n")
    command = ["deploy", str(folder), "--all", "--yes", "--trigger", "--wait", ISOLATION]
    async with scene.daemon() as api:
        await terminal.leoflow("auth", "login", "--server", scene.url)
        said = await terminal.leoflow(*command, code=ExitCode.INVALID)
        assert "north" in said
        assert "dag.py:3" in said
        for name in ("east", "west"):
            (run,) = (await api.get(f"/api/v2/dags/{name}/dagRuns"))["dag_runs"]
            assert run["state"] == "success"
        assert {dag["dag_id"] for dag in (await api.get("/api/v2/dags"))["dags"]} == {"east", "west"}
        tag = _tag_of(registry, "east")
        engine.call("buildah", "tag", f"{registry}/leoflow-base:py3.11", tag)
        engine.call("buildah", "push", tag)
        await _trigger(api, ["moved"], dag_id="east")
        assert await _result(api, "moved", dag_id="east") == "east"


def _tag_of(registry: str, name: str) -> str:
    """The only one of this DAG."""
    with httpx.Client(base_url=f"http://{registry}/v2", timeout=PATIENCE_S) as client:
        (repository,) = [one for one in client.get("/_catalog").json()["repositories"] if one.endswith(f"/{name}")]
        (tag,) = client.get(f"/{repository}/tags/list").json()["tags"]
    return f"{registry}/{repository}:{tag}"


async def test_half_of_twenty_runs_are_a_canarys_and_one_that_fails_is_rolled_back(
    scene: Scene,  # noqa: F811
    terminal: Terminal,
    tmp_path: Path,
) -> None:
    project = tmp_path / "project"
    canary = ["deploy", str(project), "--yes", ISOLATION, "--canary", "50%", "--after", "4"]
    async with scene.daemon() as api:
        await terminal.leoflow("auth", "login", "--server", scene.url)
        await terminal.leoflow("deploy", str(_project(project, "first")), "--yes", ISOLATION)
        _project(project, "second")
        await terminal.leoflow(*canary)
        run_ids = await _trigger(api, [f"good_{n}" for n in range(20)])
        expected = {run_id: "second" if gets_canary("deployed", run_id, 50) else "first" for run_id in run_ids}
        assert {run_id: await _result(api, run_id) for run_id in run_ids} == expected
        assert 5 <= list(expected.values()).count("second") <= 15
        await terminal.leoflow("promote", "deployed", "--yes")

        (project / "helper.py").write_text("")
        await terminal.leoflow(*canary)
        run_ids = await _trigger(api, [f"bad_{n}" for n in range(20)])
        states = {run_id: await api.wait_for_run(run_id, dag_id="deployed") for run_id in run_ids}
        assert list(states.values()).count("failed") >= 4
        versions = json.loads(await terminal.leoflow("versions", "deployed", "-o", "json"))["versions"]
        (bad,) = [row for row in versions if row["version_number"] == 3]
        assert bad["canary"]["outcome"] == "rolled_back"
        (run_id,) = await _trigger(
            api, [next(f"later_{n}" for n in range(99) if gets_canary("deployed", f"later_{n}", 50))]
        )
        assert await _result(api, run_id) == "second"


async def _trigger(api: Api, run_ids: list[str], *, dag_id: str = "deployed") -> list[str]:
    for run_id in run_ids:
        await api.post(f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "dag_run_id": run_id})
    return run_ids


async def _result(api: Api, run_id: str, *, dag_id: str = "deployed") -> str:
    assert await api.wait_for_run(run_id, dag_id=dag_id) == "success"
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/says/xcomEntries/return_value"
    return str((await api.get(path))["value"])


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
