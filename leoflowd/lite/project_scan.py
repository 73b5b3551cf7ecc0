"""Which projects the workspace has, each with a signature that any save of its files changes. Blocking: for a thread.

A project of its own owns its folder. A DAG file of a tree owns what it imports and all that is no Python, so that a
saved module is the business of those that import it, and of nobody else (ADR 37).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from leoflowd import telemetry
from leoflowd.authoring.bundle import is_named, own_outputs
from leoflowd.authoring.closure import DBT_PROJECT, closure_of
from leoflowd.authoring.compiler import LEFT_BY_AIRFLOW, plugins_with_macros
from leoflowd.authoring.discovery import SKIPPED_FOLDERS, discover
from leoflowd.authoring.module_facts import facts_of
from leoflowd.authoring.project import Project
from leoflowd.authoring.pythons import DOCKERFILE, VERSION_FILE
from leoflowd.authoring.requirements import SAY_IT, places_of
from leoflowd.core.workspace_paths import RESERVED
from leoflowd.lite.watched_project import ProjectFiles

log = telemetry.get_logger(__name__)

HALF_WRITTEN = RESERVED.encode()
Listing = dict[str, bytes]
"""Of all files of a folder, sorted: name relative to it (undecodable bytes as surrogates), and what a save changes."""


def list_projects_in(workspace: Path, beyond: Mapping[str, frozenset[str]] | None = None) -> tuple[ProjectFiles, ...]:
    """All projects with the signatures of their files. Raises OSError when the workspace cannot be read.

    `beyond`, by the path of a project: files that loading it imported, although its text does not tell.
    """
    if not workspace.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the workspace is not there", str(workspace))
    root = workspace.resolve()
    found = discover(root)
    for skipped in found.skipped:
        log.debug("folder_skipped", reason=skipped)
    folders: dict[tuple[Path, tuple[str, ...]], _Folder] = {}
    listed = []
    for project in found.projects:
        key = (project.folder, project.excluded)
        if key not in folders:
            folders[key] = _Folder(project)
        signature = folders[key].signature_of(project, (beyond or {}).get(project.path, frozenset()))
        listed.append(ProjectFiles(project, project.folder.relative_to(root).as_posix(), signature))
    return tuple(listed)


class _Folder:
    """The files that some projects share, looked at once."""

    def __init__(self, project: Project) -> None:
        inside = tuple(f"{name}/" for name in project.excluded)
        files = _listing(project.folder)
        left = LEFT_BY_AIRFLOW if project.in_tree else ()
        self._files = {
            name: facts for name, facts in files.items() if not name.startswith(inside) and not is_named(name, left)
        }
        self._modules = frozenset(name for name in self._files if name.endswith(".py"))
        self._dbt_projects = [name.removesuffix(DBT_PROJECT) for name in self._files if _is_dbt_project(name)]
        above = _requirements_above(project)
        others = (facts for name, facts in self._files.items() if name not in self._modules)
        self._others = _digest([*others, *above])
        self._all = _digest([*self._files.values(), *above])

    def signature_of(self, project: Project, beyond: frozenset[str]) -> str:
        if not project.in_tree:
            return self._all
        code = closure_of(
            [project.source_path],
            self._modules,
            project.import_paths,
            lambda path: facts_of(project.folder / path),
            for_tasks=plugins_with_macros(project, self._modules),
            dbt_projects=self._dbt_projects,
        )
        if code.is_whole:
            return self._all
        own = sorted((code.modules | beyond) & self._modules)
        return _digest([self._others.encode(), *(self._files[name] for name in own)])


def _requirements_above(project: Project) -> Iterator[bytes]:
    """What says further up in the repository what the project is to have."""
    for place in places_of(project.folder, project.base, in_tree=project.in_tree):
        for name in () if place.is_relative_to(project.folder) else (*SAY_IT, VERSION_FILE, DOCKERFILE):
            with contextlib.suppress(OSError):
                yield name.encode() + _saved((place / name).stat())


def _is_dbt_project(name: str) -> bool:
    return name.rpartition("/")[2] == DBT_PROJECT


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _listing(folder: Path) -> Listing:
    found: list[tuple[str, bytes]] = []
    ours = own_outputs()
    ahead = [b""]
    top = os.fsencode(folder)
    while ahead:
        inner = ahead.pop()
        with contextlib.suppress(OSError), os.scandir(os.path.join(top, inner)) as entries:  # noqa: PTH118 - bytes
            for entry in entries:
                name = inner + entry.name
                with contextlib.suppress(OSError):  # removed since it was listed: the next event tells
                    if entry.is_dir(follow_symlinks=False):
                        ahead += [name + b"/"] if _is_code(os.fsdecode(entry.name)) else []
                    elif not name.endswith(b".pyc") and not entry.name.startswith(HALF_WRITTEN):
                        facts = entry.stat()
                        if (facts.st_dev, facts.st_ino) not in ours:
                            found.append((os.fsdecode(name), name + _saved(facts)))
    return dict(sorted(found))


def _saved(facts: os.stat_result) -> bytes:
    return b"\0%d %d %d\n" % (facts.st_mtime_ns, facts.st_size, facts.st_mode)


def _is_code(folder: str) -> bool:
    return folder not in SKIPPED_FOLDERS and not folder.startswith(".")
