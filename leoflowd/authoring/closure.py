"""What belongs to one DAG file of a tree: the modules that it imports, transitively, wherever they are named.

Pure: the files of the tree and what each says (`module_facts`) are arguments. Rather too much than too little:
a file that is missing from a bundle breaks its tasks, one too many is compiled once more than needed. ADR 37.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath

import msgspec

from leoflowd.authoring.bundle import DEPTH_MAX, is_excluded, is_named
from leoflowd.authoring.module_facts import Facts, Import
from leoflowd.contract.import_paths import package_of

DBT_PROJECT = "dbt_project.yml"
DBT_GROUPS = "leoflow.dbt"
"""The module whose groups run dbt projects."""
TREES = 64
"""Remembered: two for each folder and way to import."""


class Outside(msgspec.Struct, frozen=True):
    """An import that no file of the tree answers."""

    path: str
    """Of the file that says it."""
    what: Import


class Closure(msgspec.Struct, frozen=True, kw_only=True):
    modules: frozenset[str]
    """Python files, relative to the tree."""
    is_whole: bool
    """One of them imports by names that it computes: any file of the tree may belong to it."""
    outside: tuple[Outside, ...]
    """By path and line."""


def closure_of(
    sources: Collection[str],
    files: Collection[str],
    import_paths: Iterable[str],
    facts_of: Callable[[str], Facts],
    *,
    for_tasks: Iterable[str] = (),
    dbt_projects: Collection[str] = (),
) -> Closure:
    """`sources`: where the project begins; `files`: all Python files of the tree; `facts_of(path)`: what one says;
    `for_tasks`: files that tasks may import although nothing says so; `dbt_projects`: folders, each with a slash, whose
    Python files dbt runs for whoever makes a group of it."""
    tree = _tree(frozenset(files), tuple(import_paths))
    begin = [*sources, *for_tasks]
    reached = _reach(begin, tree, facts_of)
    if dbt_projects and any(asks_for_dbt(one) for path in reached for one in facts_of(path).imports):
        begin += sorted(path for path in files if path.startswith(tuple(dbt_projects)))
        reached = _reach(begin, tree, facts_of)
    if any(facts_of(path).changes_the_path for path in reached):
        tree = _tree(frozenset(files), tuple(import_paths), everywhere=True)
        reached = _reach(begin, tree, facts_of)
    loaded = set(_reach(sources, tree, facts_of, while_loading=True))
    outside = [
        Outside(path, one if path in loaded else msgspec.structs.replace(one, when="call"))
        for path in reached
        for one in facts_of(path).imports
        if one.level == 0 and tree.answers(one, path) is None
    ]
    return Closure(
        modules=frozenset(reached),
        is_whole=any(facts_of(path).imports_anything for path in reached),
        outside=tuple(sorted(outside, key=lambda one: (one.path, one.what.line))),
    )


def asks_for_dbt(one: Import) -> bool:
    """Is it an import of what makes groups of dbt projects?"""
    return DBT_GROUPS in (one.module, *(f"{one.module}.{name}" for name in one.names))


def python_files(folder: Path, exclude: tuple[str, ...]) -> frozenset[str]:
    """Those that a bundle of this folder could hold, relative to it."""
    found: set[str] = set()
    ahead = [""]
    while ahead:
        inner = ahead.pop()
        with contextlib.suppress(OSError), os.scandir(folder / inner) as entries:
            for entry in entries:
                relative = inner + entry.name
                if not entry.is_dir(follow_symlinks=False):
                    found |= {relative} if relative.endswith(".py") and not is_named(relative, exclude) else set()
                elif inner.count("/") <= DEPTH_MAX and not is_excluded(entry.path, relative, exclude):
                    ahead.append(f"{relative}/")
    return frozenset(found)


def _reach(
    sources: Iterable[str], tree: _Tree, facts_of: Callable[[str], Facts], *, while_loading: bool = False
) -> list[str]:
    """Each file once, the sources first; `while_loading`: without what only tasks import or run."""
    reached = dict.fromkeys(sources)
    ahead = list(reached)
    while ahead:
        path = ahead.pop()
        facts = facts_of(path)
        imports = [one for one in facts.imports if not (while_loading and one.when == "call")]
        found = {file for one in imports for file in tree.answers(one, path) or ()}
        if not while_loading:
            found |= {file for name in facts.named_files for file in tree.named(name)}
        new = sorted(found - reached.keys())
        reached |= dict.fromkeys(new)
        ahead += new
    return list(reached)


def _folders_of(files: Iterable[str]) -> set[str]:
    """Each with a slash at its end, also those that only hold folders."""
    found: set[str] = set()
    for file in files:
        folder = file.rpartition("/")[0]
        while folder and f"{folder}/" not in found:
            found.add(f"{folder}/")
            folder = folder.rpartition("/")[0]
    return found


@lru_cache(maxsize=TREES)
def _tree(files: frozenset[str], import_paths: tuple[str, ...], *, everywhere: bool = False) -> _Tree:
    """One for all DAG files of a folder."""
    return _Tree(files, import_paths, everywhere=everywhere)


class _Tree:
    """Python's rules of where a module is, over a set of file names."""

    def __init__(self, files: frozenset[str], import_paths: Iterable[str], *, everywhere: bool) -> None:
        """`everywhere`: each folder is on the path, behind those that are."""
        self._files = files
        self._folders = _folders_of(files)
        paths = list(import_paths)
        self._packages = frozenset(filter(None, map(package_of, paths)))
        """Names by which the tree itself is imported."""
        self._roots = ["" if path == "." else f"{path}/" for path in paths if package_of(path) is None]
        self._roots += sorted(self._folders - set(self._roots)) if everywhere else []
        self._by_name: dict[str, list[str]] = {}
        for file in files:
            self._by_name.setdefault(file.rpartition("/")[2], []).append(file)

    def named(self, name: str) -> list[str]:
        return self._by_name.get(name, [])

    def answers(self, one: Import, importer: str) -> set[str] | None:
        """The files that an import in `importer` runs; None when it is not of this tree."""
        if one.level:
            folder = PurePosixPath(importer).parent
            for _ in range(one.level - 1):
                folder = folder.parent
            return self._below("" if str(folder) == "." else f"{folder}/", one)
        for root in self._roots:
            found = self._below(root, one)
            # A DAG file that has the name of a library it uses
            if found is not None and found != {importer}:
                return found
        top, _, inside = one.module.partition(".")
        if top not in self._packages:
            return None
        found = self._below("", msgspec.structs.replace(one, module=inside)) or set()
        return found | (self._files & {"__init__.py"})

    def _below(self, folder: str, one: Import) -> set[str] | None:
        found: set[str] = set()
        for part in one.module.split(".") if one.module else ():
            if f"{folder}{part}/__init__.py" in self._files:
                found.add(f"{folder}{part}/__init__.py")
            elif f"{folder}{part}.py" in self._files:
                return found | {f"{folder}{part}.py"}
            elif f"{folder}{part}/" not in self._folders:
                return found or None  # a package of ours without that part, or nothing of ours
            folder = f"{folder}{part}/"
        names = {f"{folder}{name}{end}" for name in one.names for end in (".py", "/__init__.py")} & self._files
        is_ours = found or names or any(f"{folder}{name}/" in self._folders for name in one.names)
        return found | names if is_ours else None  # else a folder that only has the name of a library
