"""Builds the base image of task pods, from the code of this checkout and hashed locks (ADR 64).

    python agent/image/build.py --tag registry.example/leoflow-base:py3.12 [--base python:3.12-slim] [--push]

Prints the image's name, after a push with the digest that the registry knows. The packages come from the index that pip
is configured for, to this machine; the build itself needs no network. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
RECIPE = ("Dockerfile", "install.sh", "bytecode.sh")
LOCKS = ("agent.txt", "task-default.txt")
CODE = {
    "agent/leoflow_agent": "code/leoflow_agent",
    "leoflowd/__init__.py": "code/leoflowd/__init__.py",
    "leoflowd/contract": "code/leoflowd/contract",
    "leoflowd/authoring/airflow_shim": "shim",
}
"""Where in the context what lies: the agent, what it shares with the daemon, and the shim. Nothing of the daemon."""
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
OF_AGENTS = ("3.11", "3.13")
"""Beside an older interpreter the agent gets the one of the base's Debian: 12, 13."""
PLATFORMS = {
    "amd64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "arm64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
}
BUILDERS = ("buildah", "podman", "docker")
ONE_TIME = ("--timestamp", "0")
"""For all files: two builds of the same content are the same image. Docker has no such option."""


def main(argv: Sequence[str] | None = None) -> None:
    arguments = options_parser().parse_args(argv)
    arguments.base = arguments.base or f"python:{arguments.python}-slim"
    builder = arguments.builder or find_builder()
    with tempfile.TemporaryDirectory(prefix="leoflow-image-") as folder:
        context = Path(folder)
        write_context(context)
        fetch_wheels(context / "wheels", python=arguments.python, architecture=arguments.arch)
        run_build(builder, context, arguments)
        name = push(builder, arguments, context / "digest") if arguments.push else arguments.tag
    sys.stdout.write(f"{name}\n")


def write_context(folder: Path) -> None:
    """All but the wheels."""
    for name in RECIPE:
        _copy(HERE / name, folder / name)
    for name in LOCKS:
        _copy(REPOSITORY / "locks" / name, folder / name)
    for source, target in CODE.items():
        _copy(REPOSITORY / source, folder / target)
    # Whatever the umask of this checkout: the user of pods reads them.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "ruff.toml", "*.md"))
    else:
        shutil.copyfile(source, target)


def fetch_wheels(folder: Path, *, python: str, architecture: str) -> None:
    """What the locks name, for the interpreters that the image may have. Raises `subprocess.CalledProcessError`."""
    of_agent = (python,) if python in PYTHONS[1:] else OF_AGENTS
    for lock, versions in (("task-default.txt", (python,)), ("agent.txt", of_agent)):
        for version in versions:
            download(folder, REPOSITORY / "locks" / lock, version, PLATFORMS[architecture])


def download(folder: Path, lock: Path, python: str, platforms: Iterable[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--python-version", python, "--dest", str(folder)]
    command += [f"--platform={platform}" for platform in platforms]
    subprocess.run([*command, "--requirement", str(lock)], check=True)  # noqa: S603  # our own words


def run_build(builder: str, context: Path, arguments: argparse.Namespace) -> None:
    command = [builder, "build", "--tag", arguments.tag, "--build-arg", f"BASE={arguments.base}"]
    command += ["--platform", f"linux/{arguments.arch}", *arguments.builder_option]
    if builder != "docker":
        command += ONE_TIME
    if subprocess.run([*command, str(context)], check=False, stdout=sys.stderr).returncode:  # noqa: S603  # what the caller asked for
        needs = " (Docker builds this with BuildKit only: its buildx)" if builder == "docker" else ""
        raise SystemExit(f"build.py: {builder} did not build the image, see above{needs}")


def push(builder: str, arguments: argparse.Namespace, digest: Path) -> str:
    """The name by which a registry gives out exactly this image."""
    if builder == "docker":
        subprocess.run([builder, "push", arguments.tag], check=True, stdout=sys.stderr)  # noqa: S603
        inspect = [builder, "image", "inspect", "--format", "{{json .RepoDigests}}", arguments.tag]
        known: list[str] = json.loads(subprocess.run(inspect, check=True, capture_output=True, text=True).stdout)  # noqa: S603
        return next(name for name in known if name.rpartition("@")[0] == _without_tag(arguments.tag))
    # Not from `inspect`: podman's own digest of the image is another one than the registry's.
    subprocess.run([builder, "push", "--digestfile", str(digest), arguments.tag], check=True, stdout=sys.stderr)  # noqa: S603
    return f"{_without_tag(arguments.tag)}@{digest.read_text().strip()}"


def _without_tag(name: str) -> str:
    head, slash, tail = name.rpartition("/")
    return f"{head}{slash}{tail.partition(':')[0]}"


def find_builder() -> str:
    for name in BUILDERS:
        if shutil.which(name):
            return name
    raise SystemExit(f"build.py: no builder of images is installed; install one of {', '.join(BUILDERS)}")


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Builds the base image of task pods.")
    parser.add_argument("--tag", required=True, help="name of the image, such as registry.example/leoflow-base:py3.12")
    parser.add_argument("--python", choices=PYTHONS, default="3.12", help="of the base; default %(default)s")
    parser.add_argument("--base", help="image with this python3 and its venv module; default python:<version>-slim")
    parser.add_argument("--arch", choices=tuple(PLATFORMS), default="amd64", help="default %(default)s")
    parser.add_argument("--builder", choices=BUILDERS, help="default: the first that is installed")
    parser.add_argument("--builder-option", action="append", default=[], help="handed to it, e.g. --isolation=chroot")
    parser.add_argument("--push", action="store_true", help="push it, and print the name with the registry's digest")
    return parser


if __name__ == "__main__":
    main()
