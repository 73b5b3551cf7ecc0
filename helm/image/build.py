"""Builds the image of the daemon, from this checkout and a hashed lock, with Airflow's UI in it (ADR 64, 72).

    python helm/image/build.py --tag registry.example/leoflowd:0.1.0 [--base python:3.12-slim] [--push]

As `agent/image/build.py`, which it uses: wheels and UI come to this machine, the build itself needs no network, and the
same commit is the same image. Needs the packages of `make setup`.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from leoflowd.contract.ui_builds import BUILDS, UI_VERSION
from leoflowd.lite.npm_packages import MONACO, prepare_packages
from leoflowd.lite.ui_assets import prepare_ui

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BASE = SimpleNamespace(**runpy.run_path(str(REPOSITORY / "agent" / "image" / "build.py")))
"""The build of the base image: builders, digests, downloads by lock."""
OF_A_PATCH = re.compile(r" ; python_full_version < '3\.1[1-9]\.\d+'")
"""What early patches of a Python need: the base's may be one, and pip downloads for this machine's."""


def main() -> None:
    parser = BASE.options_parser()
    parser.add_argument("--ui-version", choices=BUILDS, default=UI_VERSION, help="build of the Airflow UI")
    arguments = parser.parse_args()
    if arguments.python == "3.10":
        raise SystemExit("build.py: the daemon needs Python 3.11 or newer")
    arguments.base = arguments.base or f"python:{arguments.python}-slim"
    builder = arguments.builder or BASE.find_builder()
    with tempfile.TemporaryDirectory(prefix="leoflow-image-") as folder:
        context = Path(folder)
        write_context(context, arguments.python, arguments.arch, arguments.ui_version)
        BASE.run_build(builder, context, arguments)
        name = BASE.push(builder, arguments, context / "digest") if arguments.push else arguments.tag
    sys.stdout.write(f"{name}\n")


def write_context(folder: Path, python: str, architecture: str, ui_version: str = UI_VERSION) -> None:
    for source in (HERE / "Dockerfile", HERE / "install.sh", REPOSITORY / "agent" / "image" / "bytecode.sh"):
        shutil.copyfile(source, folder / source.name)
    lock, wheels = folder / "daemon.txt", folder / "wheels"
    lock.write_text(OF_A_PATCH.sub("", (REPOSITORY / "locks" / "daemon.txt").read_text()))
    BASE.download(wheels, lock, python, BASE.PLATFORMS[architecture])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leoflow" / "ui"
    shutil.copytree(prepare_ui(cache, progress=tell, version=ui_version), folder / "ui")
    # the editor's are Lite's alone
    packages = prepare_packages(cache.with_name("packages"), progress=tell)
    shutil.copytree(packages, folder / "packages", ignore=shutil.ignore_patterns(MONACO.folder))
    _own_wheel(wheels)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _own_wheel(folder: Path) -> None:
    """Of the last commit, as a release has it."""
    with tempfile.TemporaryDirectory() as clone:
        subprocess.run(["git", "clone", "-q", str(REPOSITORY), clone], check=True)  # noqa: S603, S607  # ours
        (Path(clone) / ".venv").symlink_to(REPOSITORY / ".venv")
        env = {**os.environ, "PARTS": "wheel"}
        subprocess.run(["sh", "locks/release.sh"], cwd=clone, env=env, check=True, stdout=sys.stderr)  # noqa: S607
        for wheel in (Path(clone) / "dist").glob("*.whl"):
            shutil.copyfile(wheel, folder / wheel.name)


if __name__ == "__main__":
    main()
