"""One project as the workspace knows it: its files, what compiling it gave, and whether it is due again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath

import msgspec
import trio

from leoflowd.authoring.errors import PATH_MAX, DagCompileError
from leoflowd.authoring.project import Project
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.loading import Loadable, Read, are_current
from leoflowd.contract.values import shown
from leoflowd.contract.workspace_files import Finding, ProjectState

BURST = 20
BURST_WINDOW_S = 60.0
"""A project that changes its own files while it is compiled would be compiled for ever; beyond so many compiles a
minute it waits for the next rescan."""


class ProjectFiles(msgspec.Struct, frozen=True):
    """One project as the scan sees it."""

    project: Project
    folder: str
    """Relative to the workspace; `.` when the workspace itself is the project, or the tree that holds it."""
    signature: str
    """Changes with the name, size or time of any of its files."""

    @property
    def path(self) -> str:
        return self.project.path

    @property
    def source(self) -> str:
        """The file its import error is shown under, relative to the workspace; storable, whatever its name is."""
        return shown(join(self.folder, self.project.source_path), PATH_MAX)

    def owns(self, fileloc: str) -> bool:
        """Was the DAG in this file (relative to the workspace) this project's?"""
        if self.project.in_tree:
            return fileloc == self.source
        return self.folder == "." or fileloc.startswith(f"{self.folder}/")


class Compiled(msgspec.Struct, frozen=True):
    """A project's DAGs; their code lies in the bundle already."""

    specs: tuple[DagSpec, ...]
    digests: tuple[str, ...]
    """Of each artifact; worked out once, in the compiler's thread."""
    duration_s: float
    beyond: frozenset[str] = frozenset()
    """Files that loading imported, although no text of the project names them: a save of theirs is its business too."""
    reads: tuple[Read, ...] = ()
    """What loading the file read; once that is another, it is compiled again."""


class Failed(msgspec.Struct, frozen=True):
    """Why a project has no DAGs now, for people; storable."""

    reason: str
    is_temporary: bool = False
    """Tried again at each rescan: a package index that does not answer comes back without a save."""
    reads: tuple[Read, ...] = ()
    """What the file had read when it failed; once that is another, it is tried again."""
    errors: tuple[DagCompileError, ...] = ()
    """The same with their places, where it is the code that fails."""


Outcome = Compiled | Failed | None
"""None: not tried yet."""


class Watched(msgspec.Struct):
    """What the watcher knows of one project. Written by the watcher's own tasks only, never across an await."""

    files: ProjectFiles
    outcome: Outcome = None
    tried_signature: str | None = None
    is_busy: bool = False
    ask_again_at: datetime | None = None
    """When its custom timetables are to be asked for more."""
    recent: list[float] = []
    """When it was compiled lately, for `BURST`."""


def note_compile(project: Watched) -> None:
    """It begins now."""
    project.recent = [*project.recent[-BURST:], trio.current_time()]


def is_due(project: Watched, *, by_event: bool, now: datetime) -> bool:
    """Not tried since its files changed, or worth another try."""
    if project.tried_signature != project.files.signature:
        return not (by_event and is_in_burst(project))
    if project.ask_again_at is not None and project.ask_again_at <= now:
        return True
    return isinstance(project.outcome, Failed) and project.outcome.is_temporary and not by_event


def reads_another(project: Watched, known: Loadable, environment: Mapping[str, str] = os.environ) -> bool:
    """Did loading it read what is another by now?"""
    return project.outcome is not None and not are_current(project.outcome.reads, known, environment)


def is_in_burst(project: Watched) -> bool:
    return len(project.recent) >= BURST and project.recent[-BURST] > trio.current_time() - BURST_WINDOW_S


def state_of(project: Watched, dag_ids: tuple[str, ...], import_error: str | None) -> ProjectState:
    """What the editor shows of it. `import_error`: what is reported of its file, whatever for."""
    return ProjectState(
        source=project.files.source,
        is_compiling=project.is_busy,
        dag_ids=dag_ids,
        findings=_findings(project.files, project.outcome, import_error),
    )


def _findings(files: ProjectFiles, outcome: Outcome, import_error: str | None) -> tuple[Finding, ...]:
    errors = outcome.errors if isinstance(outcome, Failed) else ()
    if errors:
        return tuple(
            Finding(
                path=join(files.folder, one.path), line=one.line, message=f"{one.what}; {one.why}", remedy=one.remedy
            )
            for one in errors
        )
    reason = outcome.reason if isinstance(outcome, Failed) else import_error
    if reason is not None:
        return (Finding(path=files.source, line=1, message=reason),)
    specs = outcome.specs if isinstance(outcome, Compiled) else ()
    warnings = dict.fromkeys(warning for spec in specs for warning in spec.warnings)
    return tuple(
        Finding(path=join(files.folder, one.path), line=one.line, message=one.what, remedy=one.remedy, is_warning=True)
        for one in warnings
    )


def join(folder: str, source_path: str) -> str:
    """A path relative to the workspace."""
    return str(PurePosixPath(folder) / source_path)
