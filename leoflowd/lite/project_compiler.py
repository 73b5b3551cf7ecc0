"""Environment, compile, copy of the code: all that stands between a project and its registration. Blocking.

It never imports user code: `authoring` compiles in a process of its own.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec

from leoflowd import telemetry
from leoflowd.authoring.bundle import copy_bundle
from leoflowd.authoring.compiler import Compilation, compile_opened, excluded_of
from leoflowd.authoring.errors import DagCompileError, EnvironmentFailed
from leoflowd.authoring.packages import Needs
from leoflowd.authoring.project import Project, ProjectConfig, config_of, unused_in_lite
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import DagSpec, EnvironmentSpec
from leoflowd.contract.errors import LeoflowError
from leoflowd.contract.loading import Loadable
from leoflowd.contract.values import shown
from leoflowd.lite.bundles import remove, seal
from leoflowd.lite.environments import Environments
from leoflowd.lite.watched_project import Compiled

log = telemetry.get_logger(__name__)

SAVES_WHILE_COMPILING = 3
LOADS = 2
"""Compiles at once: each is two processes with an interpreter of their own on a laptop's cores."""
BUILDS = 2


class Attempt:
    """One compile of a project: the seconds that it waited for environments, and the shared one that it had to leave
    because that cannot be built."""

    waited_s = 0.0
    left: EnvironmentSpec | None = None


class FilesChanged(LeoflowError):
    """The author saved while the project was compiled; the save itself leads to the next compile."""


class Pods(msgspec.Struct, frozen=True):
    """That tasks run in them."""

    image: str
    """For projects that name none; may be empty."""


class ProjectCompiler:
    """Called in many threads at once. A project that waits for its environment holds up none that needs none.

    `loadable` says what files may read while they are loaded; it is called in the compiler's thread, each time. With
    `pods` the environments are there for loading alone: tasks run in images.
    """

    def __init__(
        self,
        environments: Environments,
        bundles: Path,
        loadable: Callable[[], Loadable],
        *,
        pods: Pods | None = None,
    ) -> None:
        self._pods = pods
        self._environments = environments
        self._bundles = bundles
        self._loadable = loadable
        self._loading = threading.Semaphore(LOADS)
        self._building = threading.Semaphore(BUILDS)
        self._alone: defaultdict[EnvironmentSpec, threading.Lock] = defaultdict(threading.Lock)
        self._told: set[tuple[str, str]] = set()
        """Notes that the log has already: (whose, what)."""
        self._broken: dict[EnvironmentSpec, EnvironmentFailed] = {}
        """Environments that could not be built: a project of theirs is compiled when they can. One that is shared is
        not tried again while its projects can have others."""

    def __call__(self, project: Project) -> Compiled:
        """Raises `DagCompileError`, `EnvironmentFailed`, `FilesChanged`, OSError."""
        config = config_of(project)
        for _ in range(SAVES_WHILE_COMPILING):
            with self._loading:
                began = time.perf_counter()
                attempt = Attempt()
                done = self._compilation_of(project, attempt)
                duration_s = time.perf_counter() - began - attempt.waited_s
                self._tell(project, config, done)
                if not done.specs or self._keep(project, config, done):
                    return Compiled(
                        done.specs, tuple(map(dag_spec.digest, done.specs)), duration_s, done.beyond, done.reads
                    )
        raise FilesChanged(
            f"the files of {project.path!r} change while they are compiled; save once more when it is quiet"
        )

    def _compilation_of(self, project: Project, attempt: Attempt) -> Compilation:
        try:
            done = compile_opened(
                project,
                python_for=partial(self._python_for, project, attempt),
                loadable=self._loadable(),
                for_pods=self._pods is not None,
                here=self._environments.python if self._pods is None else None,
            )
        except EnvironmentFailed:
            if attempt.left is not None:  # its own cannot be had either: it may be the network
                self._broken.pop(attempt.left, None)
            raise
        if self._pods is not None and not self._pods.image and any(not spec.image for spec in done.specs):
            raise DagCompileError(
                project.source_path,
                1,
                "its tasks run in pods, and it names no image for them",
                "the code of a pod's task is in its image",
                "write `image: repository:tag` into leoflow.yaml, or start Lite with --image",
            )
        return done

    def build(self, project: Project, specs: Iterable[DagSpec]) -> None:
        """The environments of the project's tasks. Raises `EnvironmentFailed`."""
        for spec in specs if self._pods is None else ():
            self._ensure(project, spec.environment)

    def _python_for(self, project: Project, attempt: Attempt, needs: Needs) -> str:
        """The environment of its tasks; the default one where that is enough to load the file, and sooner there."""
        wanted = needs.environment
        if needs.alone is not None:
            attempt.left = _plain(wanted)
            if failed := self._broken.get(attempt.left):
                raise failed
        if not needs.loads_with_base or wanted.python_version is not None or _plain(wanted) in self._broken:
            return self._built(project, attempt, wanted)
        is_there = self._environments.has(wanted)
        return self._built(project, attempt, wanted if is_there else EnvironmentSpec())

    def _built(self, project: Project, attempt: Attempt, wanted: EnvironmentSpec) -> str:
        if self._environments.has(wanted):
            return str(self._environments.ensure(wanted))
        began = time.perf_counter()
        self._loading.release()
        try:
            return self._ensure(project, wanted)
        finally:
            self._loading.acquire()
            attempt.waited_s += time.perf_counter() - began

    def _ensure(self, project: Project, environment: EnvironmentSpec) -> str:
        wanted = _plain(environment)
        before = self._broken.get(wanted)
        try:
            with self._alone[wanted], self._building:  # in this order: who waits for the same takes nobody's place
                failed = self._broken.get(wanted)
                if failed is not None and failed is not before:
                    raise failed  # found out while this one waited
                python = self._environments.ensure(
                    wanted, lambda step: log.info("environment", project=shown(project.path), step=shown(step))
                )
        except EnvironmentFailed as error:
            self._broken[wanted] = error
            raise
        self._broken.pop(wanted, None)
        return str(python)

    def _tell(self, project: Project, config: ProjectConfig, done: Compilation) -> None:
        """Once, not after every save, and what concerns a folder not for each of its files."""
        sentences = unused_in_lite(config) if self._pods is None else ()
        unused = (f"in Lite without effect: {sentence}" for sentence in sentences)
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


def _plain(environment: EnvironmentSpec) -> EnvironmentSpec:
    """Without what makes no other venv."""
    return msgspec.structs.replace(environment, preload=(), warm=True, system_packages=())
