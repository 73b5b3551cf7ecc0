"""What a `pyproject.toml` or a `Pipfile` asks for, in the words of an installer: a rule for each tool that writes them.

[project] is the standard (PEP 621), `[tool.uv.sources]` says where some of it comes from, `[tool.poetry.dependencies]`
is the list itself, or says the same of what [project] lists. ADR 108.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.project import repository_of
from leoflowd.authoring.reading import read_file
from leoflowd.authoring.requirement_names import name_of, normalised

Table = Mapping[str, Any]
PYPROJECT = "pyproject.toml"
MAX_BYTES = 1024 * 1024
MEMBERS_MAX = 200
"""Folders of a workspace of uv that are looked at for a name."""


class Wanted(msgspec.Struct, frozen=True):
    text: str
    """A requirement; of a folder, or of what is left out, the name alone."""
    path: str = ""
    """The folder, or file, that it is installed from, as it is written; may lie outside of the project."""
    left_out: str = ""
    """Why it is not to be asked for by its name."""
    note: str = ""


def wanted_by_project(content: Table, folder: Path) -> Iterator[Wanted]:
    """Of a `pyproject.toml` in `folder`: what its package needs to run, not its groups and extras."""
    listed = _table(content, "project").get("dependencies")
    sources = {normalised(name): one for name, one in _table(content, "tool", "uv", "sources").items()}
    poetry = {normalised(name): one for name, one in _table(content, "tool", "poetry", "dependencies").items()}
    if not isinstance(listed, list):
        yield from (one for name, value in poetry.items() if name != "python" for one in _of_poetry(name, value))
        return
    for text in (str(one).strip() for one in listed):
        name = name_of(text)
        if name in sources:
            yield _from_one_of(text, name, sources[name], folder)
        elif isinstance(poetry.get(name), dict) and not poetry[name].keys().isdisjoint(
            {"path", "git", "url", "source"}
        ):
            yield from _of_poetry(name, poetry[name])
        else:
            yield Wanted(text)


def wanted_by_pipfile(content: Table, _folder: Path) -> Iterator[Wanted]:
    for name, value in _table(content, "packages").items():
        one: Table = value if isinstance(value, dict) else {"version": value}
        extras = f"[{','.join(map(str, one['extras']))}]" if one.get("extras") else ""
        marker = f"; {one['markers']}" if one.get("markers") else ""
        if "path" in one:
            yield Wanted(normalised(name), path=str(one["path"]))
        elif "git" in one or "file" in one:
            yield Wanted(f"{name}{extras} @ {_address(one)}{marker}")
        else:
            version = re.sub(r"^(?=\d)", "==", str(one.get("version", "*"))).removeprefix("*")
            yield Wanted(f"{name}{extras}{version}{marker}", note=_of_index(name, one.get("index")))


def python_range(folder: Path) -> str:
    """The Pythons that its package runs on, as `requires-python` or Poetry says it; empty where neither does."""
    content = _read(folder)
    found = _table(content, "project").get("requires-python")
    found = found or _table(content, "tool", "poetry", "dependencies").get("python")
    return found if isinstance(found, str) else ""


def _table(content: Table, *keys: str) -> Table:
    for key in keys:
        found = content.get(key)
        content = found if isinstance(found, dict) else {}
    return content


def _from_one_of(text: str, name: str, sources: Any, folder: Path) -> Wanted:
    """uv has one, or several that differ by platform or extra: indexes are told, of other places none is chosen."""
    several = sources if isinstance(sources, list) else [sources]
    if len(several) == 1:
        return _from_uv(text, name, several[0], folder)
    if all("index" in one for one in several):
        return Wanted(text, note=_of_index(name, ", ".join(one["index"] for one in several)))
    return Wanted(name, left_out="uv has several places for it, by platform or extra; write the one that counts here")


def _from_uv(text: str, name: str, source: Table, folder: Path) -> Wanted:
    if "path" in source:
        return Wanted(name, path=str(source["path"]))
    if source.get("workspace"):
        member = _member(name, folder)
        left_out = "" if member else "no workspace of uv around it, within its repository, has this member"
        return Wanted(name, path=member or "", left_out=left_out)
    if "git" in source or "url" in source:
        own, _, marker = text.partition(";")
        extras = re.search(r"\[[^\]]*\]", own)
        return Wanted(f"{name}{extras[0] if extras else ''} @ {_address(source)}" + (f" ;{marker}" if marker else ""))
    return Wanted(text, note=_of_index(name, source.get("index")))


def _of_index(name: str, index: Any) -> str:
    """Whoever installs has to know its address; what is asked of the usual index may be somebody else's."""
    return f"{name} comes from the index {index!r}: set UV_INDEX to its address for the installer" if index else ""


def _address(source: Table) -> str:
    if "git" not in source:
        return str(source.get("url", source.get("file")))
    at = next((f"@{source[key]}" for key in ("rev", "tag", "branch", "ref") if key in source), "")
    inside = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
    return f"git+{str(source['git']).removeprefix('git+')}{at}{inside}"


def _member(name: str, folder: Path) -> str | None:
    """Where the package of this name lies in the workspace of uv that the folder is in."""
    for place in (folder, *folder.parents):
        for member in members_of(place):
            if normalised(str(_table(_read(member), "project").get("name", ""))) == name:
                return os.path.relpath(member, folder)
        if place == repository_of(folder):
            break
    return None


def members_of(folder: Path) -> list[Path]:
    """Folders of the packages of the workspace of uv that begins in this one."""
    patterns = _table(_read(folder), "tool", "uv", "workspace").get("members", ())
    globs = [f"{pattern}/{PYPROJECT}".lstrip("/") for pattern in patterns]
    return [file.parent for pattern in globs for file in sorted(folder.glob(pattern))[:MEMBERS_MAX]]


def _read(folder: Path) -> Table:
    """Its `pyproject.toml`; nothing where that cannot be read, which its own reader says."""
    try:
        return tomllib.loads(read_file(folder / PYPROJECT, PYPROJECT, MAX_BYTES).decode())
    except (DagCompileError, ValueError):
        return {}


def _of_poetry(name: str, value: Any) -> Iterator[Wanted]:
    """Poetry's own library knows its carets, tildes and markers."""
    from poetry.core.factory import Factory

    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and one.get("optional"):
            continue
        if isinstance(one, dict) and "path" in one:
            yield Wanted(name, path=str(one["path"]))
            continue
        source = one.get("source") if isinstance(one, dict) else None
        try:
            text = Factory.create_dependency(name, one).to_pep_508()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            yield Wanted(name, note=f"{name}: its version is left out: Poetry's own library cannot read it: {error}")
            continue
        if "||" in text:
            yield Wanted(name, note=f"{name}: its version is left out: installers know no alternatives (||)")
        else:
            yield Wanted(text, note=_of_index(name, source))
