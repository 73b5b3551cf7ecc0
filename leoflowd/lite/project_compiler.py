"""Environment, compile, copy of the code: all that stands between a project and its registration. Blocking.

It never imports user code: `authoring` compiles in a process of its own.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from pathlib import Path

from leoflowd import telemetry
from leoflowd.authoring.bundle import copy_bundle
from leoflowd.authoring.compiler import Compilation, compile_opened, excluded_of
from leoflowd.authoring.packages import Needs
from leoflowd.authoring.project import Project, ProjectConfig, config_of, unused_in_lite
from leoflowd.contract import dag_spec
from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.values import shown
from leoflowd.lite.bundles import remove, seal
from leoflowd.lite.environments import Environments
from leoflowd.lite.watched_project import Compiled

log = telemetry.get_logger(__name__)

SAVES_WHILE_COMPILING = 3


class FilesChanged(LeoflowError):
    """The author saved while the project was compiled; the save itself leads to the next compile."""


class ProjectCompiler:
    def __init__(self, environments: Environments, bundles: Path) -> None:
        self._environments = environments
        self._bundles = bundles
        self._told: set[tuple[str, str]] = set()
        """Notes that the log has already: (whose, what)."""

    def __call__(self, project: Project) -> Compiled:
        """Raises `DagCompileError`, `EnvironmentFailed`, `FilesChanged`, OSError."""
        config = config_of(project)
        built_s = 0.0

        def python_for(needs: Needs) -> str:
            nonlocal built_s
            began = time.perf_counter()
            python = self._environments.ensure(
                needs.environment, lambda step: log.info("environment", project=shown(project.path), step=shown(step))
            )
            built_s += time.perf_counter() - began
            return str(python)

        for _ in range(SAVES_WHILE_COMPILING):
            built_s, began = 0.0, time.perf_counter()
            done = compile_opened(project, python_for=python_for)
            duration_s = time.perf_counter() - began - built_s
            self._tell(project, config, done)
            if not done.specs or self._keep(project, config, done):
                return Compiled(done.specs, tuple(map(dag_spec.digest, done.specs)), duration_s, done.beyond)
        raise FilesChanged(
            f"the files of {project.path!r} change while they are compiled; save once more when it is quiet"
        )

    def _tell(self, project: Project, config: ProjectConfig, done: Compilation) -> None:
        """Once, not after every save, and what concerns a folder not for each of its files."""
        unused = (f"in Lite without effect: {sentence}" for sentence in unused_in_lite(config))
        inferred = (f"needs {one}" for one in done.needs.inferred)
        own = [(project.path, note) for note in (*inferred, *done.notes, *done.needs.notes)]
        shared = [(str(project.folder), note) for note in (*done.folder_notes, *unused)]
        for whose, note in (*shared, *own):
            if (whose, note) not in self._told:
                self._told.add((whose, note))
                log.info("project_note", project=shown(whose), note=shown(note))

    def _keep(self, project: Project, config: ProjectConfig, done: Compilation) -> bool:
        """Copy the code that was compiled; False when the files are others by now."""
        digest = done.specs[0].bundle_digest
        target = self._bundles / digest
        if target.is_dir():
            if target.stat().st_mode & 0o200:  # a copy of an earlier release
                seal(target)
            return True
        copy = self._bundles / f".copy-{uuid.uuid4().hex}"
        try:
            copied = copy_bundle(
                project.folder,
                copy,
                config.include_paths,
                excluded_of(project, config),
                is_shared=project.in_tree,
                modules=done.modules,
            )
            if copied != digest:
                return False
            seal(copy)
            with contextlib.suppress(OSError):  # the same code of another project was faster
                copy.rename(target)
            return target.is_dir()
        finally:
            remove(copy)
