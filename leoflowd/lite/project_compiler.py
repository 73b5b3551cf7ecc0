"""Environment, compile, copy of the code: all that stands between a project and its registration. Blocking.

It never imports user code: `authoring` compiles in a process of its own.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from leoflowd import telemetry
from leoflowd.authoring.bundle import copy_bundle
from leoflowd.authoring.compiler import compile_opened, excluded_of
from leoflowd.authoring.project import Project, ProjectConfig, read_project, unused_in_lite
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.loading import Loadable
from leoflowd.contract.values import shown
from leoflowd.lite.bundles import remove, seal
from leoflowd.lite.environments import Environments
from leoflowd.lite.watched_project import Compiled

log = telemetry.get_logger(__name__)

SAVES_WHILE_COMPILING = 3


class FilesChanged(LeoflowError):
    """The author saved while the project was compiled; the save itself leads to the next compile."""


class ProjectCompiler:
    """`loadable` says what files may read while they are loaded; it is called in the compiler's thread, each time."""

    def __init__(self, environments: Environments, bundles: Path, loadable: Callable[[], Loadable]) -> None:
        self._environments = environments
        self._bundles = bundles
        self._loadable = loadable

    def __call__(self, project: Project) -> Compiled:
        """Raises `DagCompileError`, `EnvironmentFailed`, `FilesChanged`, OSError."""
        config = ProjectConfig() if project.single_file else read_project(project.folder)
        for sentence in unused_in_lite(config):
            log.info("unused_in_lite", project=shown(project.path), setting=sentence)
        python = self._environments.ensure(
            EnvironmentSpec(
                python_version=config.python_version,
                dependencies=config.dependencies,
                connectors=config.connectors,
            ),
            lambda step: log.info("environment", project=shown(project.path), step=shown(step)),
        )
        for _ in range(SAVES_WHILE_COMPILING):
            began = time.perf_counter()
            specs = compile_opened(project, python=str(python), loadable=self._loadable())
            duration_s = time.perf_counter() - began
            if self._keep(project, config, specs[0].bundle_digest):
                return Compiled(specs, tuple(map(dag_spec.digest, specs)), duration_s)
        raise FilesChanged(
            f"the files of {project.path!r} change while they are compiled; save once more when it is quiet"
        )

    def _keep(self, project: Project, config: ProjectConfig, digest: str) -> bool:
        """Copy the code that was compiled; False when the files are others by now."""
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
                is_shared=project.single_file,
            )
            if copied != digest:
                return False
            seal(copy)
            with contextlib.suppress(OSError):  # the same code of another project was faster
                copy.rename(target)
            return target.is_dir()
        finally:
            remove(copy)
