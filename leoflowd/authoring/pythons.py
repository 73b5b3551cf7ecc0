"""Which Python a project is for, where its leoflow.yaml does not say: what its folder says, and what reads its files.

The interpreter that Leoflow runs on wherever that will do; else another one of this machine, as Lite, `validate` and
`leoflow test` take it. In images the base decides. ADR 111.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.module_facts import facts_of, stamp_of
from leoflowd.authoring.project import PYTHON_VERSIONS, Project
from leoflowd.authoring.pyproject import MAX_BYTES, PYPROJECT, python_range
from leoflowd.authoring.reading import read_file
from leoflowd.authoring.requirements import places_of

VERSION_FILE = ".python-version"
DOCKERFILE = "Dockerfile"
FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*\S*?(?:\bpython:|-python)(\d+\.\d+)", re.MULTILINE | re.IGNORECASE)
"""`python:3.12-slim`, `apache/airflow:3.1.5-python3.12`."""
VERSION = re.compile(r"^\s*(\d+\.\d+)(?:\.\d+)?\s*$", re.MULTILINE)
"""The first line that names one, and no environment of somebody's."""
NEWEST_PATCH = 40
ANSWER_S = 30
LOOK_AGAIN_S = 60
"""A Python that was installed meanwhile is found after so long."""
READS = "import ast, sys\nwith open(sys.argv[1], 'rb') as file: ast.parse(file.read())"

Here = Callable[[str], Path | None]
"""The interpreter of a version, `3.12`, of this machine."""


class Said(msgspec.Struct, frozen=True):
    """`wanted` as Poetry writes ranges, which are Python's own and more: `>=3.12,<3.13`, `^3.12`."""

    wanted: str
    place: str

    def takes(self, version: str) -> bool:
        """Some patch of `3.12`."""
        from poetry.core.constraints.version import Version, parse_constraint

        constraint = parse_constraint(self.wanted)
        return any(constraint.allows(Version.parse(f"{version}.{patch}")) for patch in range(NEWEST_PATCH))


class Choice(msgspec.Struct, frozen=True):
    version: str | None
    """None: that of Leoflow, or of leoflow.yaml."""
    folder_note: str = ""
    note: str = ""

    @property
    def is_said(self) -> bool:
        """By the folder: its files can be read by others."""
        return self.version is not None and not self.note


def own_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def choose_python(project: Project, files: Iterable[str], here: Here) -> Choice:
    """`files`: what loading the project runs, relative to its folder."""
    own, folder = own_version(), project.folder
    said = said_in(project)
    fitting = [one for one in by_nearness(own) if said is None or said.takes(one)]
    if said is not None and own not in fitting:
        found = next((one for one in fitting if here(one)), None)
        return Choice(found, folder_note=_of_said(said, fitting, found))
    unread = [file for file in sorted(files) if facts_of(folder / file).unread_line]
    if not unread:
        return Choice(None)
    for version in fitting:
        python = here(version) if _minor(version) > _minor(own) else None
        if python and all(_reads(python, folder / file, stamp_of(folder / file)) for file in unread):
            first = f"{unread[0]}:{facts_of(folder / unread[0]).unread_line}"
            return Choice(version, note=f"Python {version}, since {own} cannot read {first}")
    return Choice(None)


def said_in(project: Project) -> Said | None:
    """By the nearest of the folders whose requirements count."""
    places = places_of(project.folder, project.base, in_tree=project.in_tree)
    return next((said for place in places for said in _said_beside(place, project.folder)), None)


def by_nearness(own: str) -> list[str]:
    """Every version that there is for projects: this one, newer ones, older ones."""
    known = sorted(PYTHON_VERSIONS, key=_minor)
    newer = [one for one in known if _minor(one) > _minor(own)]
    older = [one for one in reversed(known) if _minor(one) < _minor(own)]
    return [own, *newer, *older]


def find_python(version: str, uv: Path | None) -> Path | None:
    """Of this machine; nothing is downloaded."""
    if version == own_version():
        return Path(sys.executable)
    return _found(version, uv, int(time.monotonic() // LOOK_AGAIN_S))


def find_uv() -> Path | None:
    """Beside our own interpreter (the locked one), else on PATH."""
    beside = Path(sys.executable).parent / "uv"
    on_path = shutil.which("uv")
    return beside if beside.exists() else Path(on_path) if on_path else None


@lru_cache(maxsize=16)
def _found(version: str, uv: Path | None, _minute: int) -> Path | None:
    questions: list[tuple[str, ...]] = [(f"python{version}", "-c", "import sys; print(sys.executable)")]
    if uv:
        questions.insert(0, (str(uv), "python", "find", "--no-python-downloads", "--no-project", version))
    of_pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser() / "versions"
    questions += [(str(one), *questions[-1][1:]) for one in sorted(of_pyenv.glob(f"{version}.*/bin/python{version}"))]
    for question in questions:
        # A shim of pyenv is on PATH for versions that it was not told to run: only an answer counts.
        if answer := _answer(question):
            return Path(answer)
    return None


@lru_cache(maxsize=1024)
def _reads(python: Path, file: Path, _stamp: tuple[int, int] | None) -> bool:
    return _answer((str(python), "-I", "-S", "-c", READS, str(file))) is not None


def _answer(question: Sequence[str]) -> str | None:
    """What a short command prints; None when it is not there, fails or hangs."""
    try:
        done = subprocess.run(question, capture_output=True, text=True, check=True, timeout=ANSWER_S)  # noqa: S603  # fixed words
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _of_said(said: Said, fitting: Sequence[str], found: str | None) -> str:
    asks = f"{said.place} asks for Python {said.wanted.removeprefix('==').removesuffix('.*')}"
    if found:
        return f"Python {found}, since {asks}"
    if not fitting:
        return f"{asks}, for which there is no Airflow 3.2: {own_version()} is taken"
    return f"{asks}, which is not on this machine (`uv python install {fitting[0]}` does it): {own_version()} is taken"


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _said_beside(place: Path, folder: Path) -> Iterator[Said]:
    """What somebody runs it by comes before the range that it may be run by."""
    if found := VERSION.search(_text(place / VERSION_FILE)):
        yield Said(f"=={found[1]}.*", os.path.relpath(place / VERSION_FILE, folder))
    if stages := [*FROM.finditer(_text(place / DOCKERFILE))]:
        yield Said(f"=={stages[-1][1]}.*", os.path.relpath(place / DOCKERFILE, folder))
    if (wanted := python_range(place)) and _is_range(wanted):
        yield Said(wanted, os.path.relpath(place / PYPROJECT, folder))


def _is_range(text: str) -> bool:
    from poetry.core.constraints.version import parse_constraint

    try:
        parse_constraint(text)
    except ValueError:
        return False
    return True


def _text(file: Path) -> str:
    """Nothing where it cannot be read."""
    try:
        return read_file(file, file.name, MAX_BYTES).decode("utf-8-sig", "replace")
    except DagCompileError:
        return ""
