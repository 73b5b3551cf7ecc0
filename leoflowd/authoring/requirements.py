"""What a folder's own `requirements.txt` and `pyproject.toml` ask for, in the form in which an installer takes it.

Airflow itself is not taken from there: the environment has the one that Leoflow knows, and its providers come in
versions that fit it. What is left out, and why, is told in `notes`.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import msgspec

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.reading import read_file

REQUIREMENTS = "requirements.txt"
PYPROJECT = "pyproject.toml"
SYSTEM_PACKAGES = "packages.txt"
MAX_BYTES = 1024 * 1024
MAX_FILES = 50
"""That include each other with `-r`."""
NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?\s*(.*)", re.DOTALL)
OURS = frozenset({"apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk", "leoflow"})
PROVIDER = "apache-airflow-providers-"


class Requirement(msgspec.Struct, frozen=True):
    """One line. `name` is normalised: lower case, single dashes."""

    name: str
    text: str


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    packages: tuple[Requirement, ...] = ()
    """Third parties, in their order, each as the author wrote it."""
    providers: tuple[str, ...] = ()
    """Airflow's, as they are named after `apache-airflow-providers-`."""
    notes: tuple[str, ...] = ()


def read_requirements(folder: Path) -> Requirements:
    """Both files of the folder, if they are there; a package that both name counts as the first says. Raises
    `DagCompileError`."""
    reader = _Reader(folder)
    if os.path.lexists(folder / REQUIREMENTS):
        reader.read_file(folder / REQUIREMENTS)
    if os.path.lexists(folder / PYPROJECT):
        reader.read_pyproject(folder / PYPROJECT)
    if os.path.lexists(folder / SYSTEM_PACKAGES):
        reader.notes.append(
            f"{SYSTEM_PACKAGES}: Lite installs no system packages: install them on this machine yourself"
        )
    return Requirements(
        packages=tuple(reader.packages.values()),
        providers=tuple(sorted(reader.providers)),
        notes=tuple(dict.fromkeys(reader.notes)),
    )


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class _Reader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages: dict[str, Requirement] = {}
        self.providers: set[str] = set()
        self.notes: list[str] = []
        self._read: set[Path] = set()

    def read_file(self, file: Path) -> None:
        """A requirements file and those that it includes, each once."""
        file = Path(os.path.normpath(file))
        shown = os.path.relpath(file, self.folder)
        if file in self._read or len(self._read) >= MAX_FILES:
            return
        self._read.add(file)
        if not file.is_relative_to(self.folder):
            raise DagCompileError(shown, 1, "this file is included", "it lies outside the project", "move it inside")
        for number, line in _lines(_text(file, shown)):
            include = re.match(r"(?:-r|--requirement)[\s=]+(\S+)", line)
            if include:
                self.read_file(file.parent / include[1])
            elif line.startswith("-"):
                self.notes.append(f"{shown}:{number}: {line.split()[0]} is left out: it is an option of pip")
            else:
                self._add(line, f"{shown}:{number}")

    def read_pyproject(self, file: Path) -> None:
        try:
            content = tomllib.loads(_text(file, PYPROJECT))
        except tomllib.TOMLDecodeError as error:
            raise DagCompileError(PYPROJECT, 1, "this is not valid TOML", str(error), "correct it") from error
        project = content.get("project", {})
        named = project.get("dependencies", []) if isinstance(project, dict) else []
        for line in named if isinstance(named, list) else []:
            self._add(str(line).strip(), PYPROJECT)
        if isinstance(content.get("tool"), dict) and "dependencies" in content["tool"].get("poetry", {}):
            self.notes.append(
                f"{PYPROJECT}: [tool.poetry.dependencies] is not read: name them in [project] dependencies"
            )

    def _add(self, text: str, place: str) -> None:
        if re.match(r"[\w+.-]+://|git\+|\.{0,2}/", text):
            self.packages.setdefault(text, Requirement("", text))
            return
        found = NAME.fullmatch(text)
        if found is None:
            self.notes.append(f"{place}: {text!r} is left out: it is no requirement")
            return
        name, extras, version = normalised(found[1]), found[2] or "", found[3].partition(";")[0].strip()
        if name in OURS or name.startswith(PROVIDER):
            self._add_airflow(name, extras, version, text, place)
        else:
            self.packages.setdefault(name, Requirement(name, text))

    def _add_airflow(self, name: str, extras: str, version: str, text: str, place: str) -> None:
        if name.startswith(PROVIDER):
            self.providers.add(name.removeprefix(PROVIDER))
            if version:
                self.notes.append(f"{place}: {text}: its version is left out: one that fits our Airflow is installed")
            return
        self.notes.append(f"{place}: {text} is left out: the environment has the Airflow that Leoflow knows")
        self.providers |= {normalised(extra.strip()) for extra in extras.split(",") if extra.strip()}


def _text(file: Path, shown: str) -> str:
    return read_file(file, shown, MAX_BYTES).decode("utf-8-sig", "replace")


def _lines(text: str) -> list[tuple[int, str]]:
    """(number, line) without comments and hashes; a backslash joins a line with the next one."""
    found: list[tuple[int, str]] = []
    joined, began = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        began = began or number
        joined = f"{joined} {line.removesuffix(chr(92)).strip()}".strip()
        if line.endswith("\\"):
            continue
        joined = re.sub(r"\s--hash[=\s]\S+", "", joined).strip()
        if joined:
            found.append((began, joined))
        joined, began = "", 0
    return found
