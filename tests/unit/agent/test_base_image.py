"""What the base image of task pods is made of: enough for the agent to run, and nothing of the daemon."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from leoflowd.authoring import image
from leoflowd.kube.policy import PodPolicy
from tests.conftest import REPOSITORY

RECIPE = REPOSITORY / "agent" / "image"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the builder gets it, but for the wheels."""
    folder = tmp_path_factory.mktemp("context")
    code = "import build, pathlib, sys; build.write_context(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(RECIPE)!r}); {code}", str(folder)]
    subprocess.run(command, check=True)
    return folder


def packages_of(lock: Path, folder: Path) -> Path:
    """A folder with what this lock names and no other package of this environment."""
    folder.mkdir()
    for name in re.findall(r"^([a-z0-9-]+)==", lock.read_text(), flags=re.MULTILINE):
        found = distribution(name)
        for top in {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}:
            (folder / top).symlink_to(str(found.locate_file(top)))
    return folder


def test_the_agent_runs_from_what_the_image_has(context: Path, tmp_path: Path) -> None:
    packages = packages_of(context / "agent.txt", tmp_path / "packages")
    start = (
        f"import sys; sys.path += {[str(context / 'code'), str(packages)]}\n"
        "from leoflow_agent.__main__ import main\n"
        "try: main(['pod'])\n"
        "finally: print(*(name for name in sys.modules if name.startswith('leoflowd.')))"
    )
    said = tmp_path / "termination"
    environment = {
        "LEOFLOW_TRY_TOKEN": "t",
        "LEOFLOW_AGENT_ADDRESS": "leoflowd:9",
        "LEOFLOW_TERMINATION_LOG": str(said),
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", start], env=environment, capture_output=True, text=True, check=False
    )
    assert "LEOFLOW_AGENT_CA_FILE is not set" in done.stderr, done.stderr
    assert "LEOFLOW_AGENT_CA_FILE is not set" in said.read_text()
    assert {name.split(".")[1] for name in done.stdout.split()} == {"contract"}


def test_the_user_of_pods_can_read_it_whatever_the_umask_was(context: Path) -> None:
    closed = [path for path in context.rglob("*") if path.stat().st_mode & 0o044 != 0o044]
    assert closed == []
    assert os.access(context / "bytecode.sh", os.X_OK)


def test_recipe_and_dag_images_and_pods_mean_the_same_places() -> None:
    recipe, install = ((RECIPE / name).read_text() for name in ("Dockerfile", "install.sh"))
    assert f"WORKDIR {image.HOME}/dags\n" in recipe
    assert f"LEOFLOW_PYTHON={image.HOME}/env/bin/python" in recipe
    assert f"USER {image.USER}:{image.USER}\n" in recipe
    assert f":{image.USER}:{image.USER}:" in install
    assert PodPolicy(namespace="n", installation="i", agent_address="a:1").run_as_user == image.USER
