"""The image of a DAG: our base, what its environment asks for, its code where pods look for it (ADR 64).

`write_image` makes a folder that docker, podman and buildah build as it is; the caller puts the code into its `code/`
(`bundle.copy_bundle`) and pins what it pushed by digest. Pure text: nothing here calls a builder or a registry.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from leoflowd.authoring.errors import EnvironmentFailed

HOME = "/opt/leoflow"
"""As in `agent/image/`, whose Dockerfile and install.sh say what lies there."""
USER = 50000
CODE = "code"
"""In the folder of the image: what becomes the working directory of its pods."""
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]*(:[a-z0-9]+)?(=[A-Za-z0-9.+:~-]+)?")
_REFERENCE = re.compile(r"[A-Za-z0-9][\w./:@-]*")


class DagImage(msgspec.Struct, frozen=True, kw_only=True):
    base: str
    """Our base image, best by digest; `base_image` of leoflow.yaml must have been made from one."""
    requirements: tuple[str, ...] = ()
    """On top of the default packages, as `lite.environments.requirements_of` has them."""
    constraints: str = ""
    """Content of the file that goes with them: `lite.environments.airflow_constraints`."""
    system_packages: tuple[str, ...] = ()
    """Of the base's Debian."""
    python_version: str | None = None
    """That of the base, `3.12`; a base with another one fails the build. None: whatever it has."""


def write_image(folder: Path, image: DagImage) -> None:
    """Dockerfile, and the files of the packages. Raises `EnvironmentFailed` for names that are none."""
    text = dockerfile(image)
    for requirement in image.requirements:
        if requirement.lstrip().startswith("-") or len(requirement.splitlines()) != 1:
            raise EnvironmentFailed(f"{requirement!r} is no requirement; write one for each line of `dependencies`")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(text)
    if image.requirements:
        # A file, since a shell would take `pandas>=2` for a redirection.
        (folder / "requirements.txt").write_text("".join(f"{one}\n" for one in image.requirements))
        (folder / "constraints.txt").write_text(image.constraints)


def dockerfile(image: DagImage) -> str:
    """For builders without BuildKit too. Raises `EnvironmentFailed`."""
    if not _REFERENCE.fullmatch(image.base):
        raise EnvironmentFailed(f"base image {image.base!r} is no name of an image; write repository@sha256:...")
    lines = [f"FROM {image.base}", "USER 0:0"]
    if image.python_version is not None:
        lines.append(_python_check(image.python_version))
    if image.system_packages:
        lines.append(_system_packages(image.system_packages))
    if image.requirements:
        lines += [
            f"COPY requirements.txt constraints.txt {HOME}/",
            f"RUN {HOME}/env/bin/python -m pip install --no-cache-dir --no-compile -r {HOME}/requirements.txt"
            f" -c {HOME}/constraints.txt && {HOME}/bytecode.sh {HOME}/env/bin/python {HOME}/env/lib",
        ]
    lines += [
        f"COPY {CODE}/ {HOME}/dags/",
        # A file for another version of Python is the author's business.
        f"RUN {HOME}/bytecode.sh {HOME}/env/bin/python {HOME}/dags || true",
        f"USER {USER}:{USER}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _python_check(version: str) -> str:
    major, _, minor = version.partition(".")
    said = f"python_version is {version}, and this base has another one; name a base with it"
    check = f"import sys; sys.exit('{said}' if sys.version_info[:2] != ({int(major)}, {int(minor)}) else 0)"
    return f'RUN ["{HOME}/env/bin/python", "-c", "{check}"]'


def _system_packages(names: tuple[str, ...]) -> str:
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise EnvironmentFailed(f"{name!r} in `system_packages` is no name of a Debian package; correct it")
    install = f"apt-get install -y -q --no-install-recommends {' '.join(names)}"
    return f"RUN apt-get update -q && {install} && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*"
