"""The workspace of Lite: every project in it is compiled and registered, and again within a second of each save.

A scan (`project_scan`) lists the projects with a signature of all their files; what changed is compiled
(`project_compiler`), and `registrations` makes Postgres agree with the outcomes. `file_watch` only says "look now"; a
rescan every `RESCAN_S` is the guarantee. Projects never wait for each other, and nothing a project does ends the
component: what goes wrong with it is its import error.

Started by `daemon.py`; its value arrives when every project was tried once, or after `FIRST_SCAN_S`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.authoring.errors import DagCompileError, EnvironmentFailed
from leoflowd.config import LiteConfig
from leoflowd.contract.errors import LeoflowError, StoreUnavailable
from leoflowd.contract.loading import EMPTY, Loadable
from leoflowd.contract.values import shown
from leoflowd.contract.workspace_files import WorkspaceState
from leoflowd.core.timetable import ask_again_at
from leoflowd.lite.bundles import prune_bundles
from leoflowd.lite.environments import Environments, EnvironmentStatistics
from leoflowd.lite.file_watch import FileWatch
from leoflowd.lite.project_compiler import Pods, ProjectCompiler
from leoflowd.lite.project_scan import list_projects_in
from leoflowd.lite.registrations import Registrations
from leoflowd.lite.staging import dag_run_ids, prune_staging
from leoflowd.lite.watched_project import (
    Compiled,
    Failed,
    ProjectFiles,
    Watched,
    is_due,
    is_in_burst,
    note_compile,
    reads_another,
    state_of,
)
from leoflowd.store import dags
from leoflowd.store.database import Database
from leoflowd.store.hints import Hint
from leoflowd.store.staging import list_run_ends

log = telemetry.get_logger(__name__)

RESCAN_S = 30.0
FIRST_SCAN_S = 30.0
"""How long the start waits for the first scan; an environment that takes longer to build is built beside it."""
THREADS = 64
"""Projects at once, nearly all of which wait: `project_compiler` bounds those that load and those that build."""
KEEP_BUNDLES = timedelta(days=7)
"""Bundles of runs that ended are kept so long, for clearing their tasks."""


class WorkspaceStatistics(msgspec.Struct, frozen=True):
    projects: int
    dags: int
    import_errors: int
    compiling: int
    compiles_total: int
    scans_total: int
    watching: bool
    last_compile_s: float | None
    environments: EnvironmentStatistics


class Workspace:
    """The component. `loadable` is what the store has for files that are loaded, `hints` tell when that changes."""

    def __init__(
        self,
        config: LiteConfig,
        db: Database,
        now: Callable[[], datetime],
        *,
        environments: Environments | None = None,
        loadable: Callable[[], Awaitable[Loadable]] | None = None,
        hints: trio.MemoryReceiveChannel[Hint] | None = None,
        paused_at_creation: bool = False,
    ) -> None:
        self._root = config.workspace
        self._bundles = config.data_dir / "bundles"
        self._staging = config.data_dir / "staging"
        self._db = db
        self._now = now
        self._environments = environments or Environments(config.data_dir)
        self._loadable = loadable or _nothing
        self._hints = hints
        self._known = EMPTY
        """What `loadable` said last."""
        self._compile = ProjectCompiler(
            self._environments,
            self._bundles,
            lambda: trio.from_thread.run(self._fetch_loadable),
            pods=None if config.cluster is None else Pods(config.cluster.image),
        )
        self._projects: dict[str, Watched] = {}
        self._registrations = Registrations(db, config.workspace, now, paused_at_creation=paused_at_creation)
        self._watch = FileWatch(config.workspace, self._look)
        self._threads = trio.CapacityLimiter(THREADS)
        self._look_now = trio.Event()
        self._tried_all = trio.Event()
        self._is_scanning = False
        self._version = 0
        """Of `state`."""
        self._changed = trio.Event()
        self._compiles_total = 0
        self._scans_total = 0
        self._last_compile_s: float | None = None

    def statistics(self) -> WorkspaceStatistics:
        return WorkspaceStatistics(
            projects=len(self._projects),
            dags=self._registrations.dag_count,
            import_errors=len(self._registrations.errors),
            compiling=sum(project.is_busy for project in self._projects.values()),
            compiles_total=self._compiles_total,
            scans_total=self._scans_total,
            watching=self._watch.is_watching,
            last_compile_s=self._last_compile_s,
            environments=self._environments.statistics(),
        )

    def reparse(self, dag_id: str) -> bool:
        """Have the file of this DAG compiled again, whether it changed or not. False: none of ours has such a DAG."""
        fileloc = self._registrations.file_of(dag_id)
        owners = [one for one in self._projects.values() if fileloc is not None and one.files.owns(fileloc)]
        for project in owners:
            project.tried_signature = None
            self._look()
        return bool(owners)

    def look(self) -> int:
        """Files changed: list them now. Any state of a later version than the answer knows of them."""
        self._look()
        self._note_change()
        return self._version

    def state(self) -> WorkspaceState:
        """What compiling gave, project by project, as `contract.workspace_files` tells it to the editor."""
        errors = self._registrations.errors
        return WorkspaceState(
            version=self._version,
            is_looking=self._look_now.is_set() or self._is_scanning,
            projects=tuple(
                state_of(one, self._registrations.dag_ids(one.files), errors.get(one.files.source))
                for one in self._projects.values()
            ),
        )

    async def wait_changed(self, version: int) -> None:
        """Until the state is another than that of `version`."""
        while self._version == version:
            await self._changed.wait()

    def _note_change(self) -> None:
        self._version += 1
        self._changed.set()
        self._changed = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled. Raises `StoreUnavailable`."""
        await self._registrations.load()
        await self._prune_bundles()
        await self._prune_staging()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch.run)
            if self._hints is not None:
                nursery.start_soon(self._follow, self._hints)
            nursery.start_soon(self._scan_whenever_told, nursery)
            if not self._registrations.dag_count:  # else there is something to see already: nobody need wait
                with trio.move_on_after(FIRST_SCAN_S):
                    await self._tried_all.wait()
            task_status.started()

    async def _prune_bundles(self) -> None:
        async with self._db.api.connection() as conn:
            needed = await dags.list_bundles_in_use(conn, now=self._now(), keep=KEEP_BUNDLES)
        await trio.to_thread.run_sync(prune_bundles, self._bundles, needed)

    async def _prune_staging(self) -> None:
        ids = await trio.to_thread.run_sync(dag_run_ids, self._staging)
        async with self._db.api.connection() as conn:
            runs = await list_run_ends(conn, ids)
        await trio.to_thread.run_sync(prune_staging, self._staging, runs, self._now())

    def _look(self) -> None:
        self._look_now.set()

    async def _follow(self, hints: trio.MemoryReceiveChannel[Hint]) -> None:
        async for hint in hints:
            if hint.kind in ("variables", "connections", "all"):
                self._look()

    async def _fetch_loadable(self) -> Loadable:
        self._known = await self._loadable()
        return self._known

    async def _scan_whenever_told(self, nursery: trio.Nursery) -> None:
        while True:
            told = self._look_now.is_set()
            self._look_now, self._is_scanning = trio.Event(), True
            await self._scan(nursery, by_event=told)
            self._is_scanning = False
            self._note_change()
            with trio.move_on_after(RESCAN_S):
                await self._look_now.wait()

    async def _scan(self, nursery: trio.Nursery, *, by_event: bool) -> None:
        """List the projects, start compiling what changed. A workspace that cannot be read changes nothing."""
        self._scans_total += 1
        try:
            listed = await trio.to_thread.run_sync(list_projects_in, self._root, self._beyond())
            found = {files.path: files for files in listed}
        except OSError as error:
            log.warning("workspace_unreadable", workspace=shown(str(self._root)), error=shown(str(error)))
            return
        except Exception as error:  # contain: one look; the next one may find the workspace otherwise
            log.error("workspace_not_scanned", exc_info=error)  # noqa: TRY400  # our own logger
            return
        gone = self._projects.keys() - found.keys()
        for path in gone:
            del self._projects[path]
        if any(project.is_busy or (project.outcome and project.outcome.reads) for project in self._projects.values()):
            await self._fetch_loadable()
        for path, files in found.items():
            project = self._projects.setdefault(path, Watched(files, recent=[]))
            project.files = files
            if not project.is_busy and self._is_due(project, by_event):
                project.is_busy = True
                nursery.start_soon(self._compile_until_current, nursery, project)
        if gone or not found:
            await self._registrations.settle(self._projects)
        self._note_tried()

    def _is_due(self, project: Watched, by_event: bool) -> bool:
        return is_due(project, by_event=by_event, now=self._now()) or reads_another(project, self._known)

    def _beyond(self) -> dict[str, frozenset[str]]:
        """What loading showed to belong to a project, by its path."""
        outcomes = {path: project.outcome for path, project in self._projects.items()}
        return {path: one.beyond for path, one in outcomes.items() if isinstance(one, Compiled) and one.beyond}

    async def _compile_until_current(self, nursery: trio.Nursery, project: Watched) -> None:
        """Compile, register, and once more when files changed meanwhile."""
        try:
            while True:
                files = project.files
                note_compile(project)
                outcome = await self._outcome_of(files)
                if self._projects.get(files.path) is not project:
                    return  # gone meanwhile; the scan that saw it go has settled that
                project.outcome, project.tried_signature = outcome, files.signature
                specs = outcome.specs if isinstance(outcome, Compiled) else ()
                project.ask_again_at = ask_again_at([spec.timetable for spec in specs], self._now())
                await self._registrations.settle(self._projects)
                if isinstance(outcome, Compiled) and outcome.specs:
                    nursery.start_soon(self._build_for, project, outcome)
                is_current = project.files.signature == files.signature and not reads_another(project, self._known)
                if is_current or is_in_burst(project):
                    return
        finally:
            project.is_busy = False
            self._note_tried()
            self._note_change()

    async def _build_for(self, project: Watched, outcome: Compiled) -> None:
        """The environment of its tasks, for a project that was compiled without: it is to be there when they start."""
        try:
            await trio.to_thread.run_sync(
                self._compile.build, project.files.project, outcome.specs, limiter=self._threads
            )
        except EnvironmentFailed as error:
            if project.outcome is outcome:
                project.outcome = Failed(str(error), is_temporary=True)
                await self._registrations.settle(self._projects)
                self._note_change()

    async def _outcome_of(self, files: ProjectFiles) -> Compiled | Failed:
        began = time.perf_counter()
        try:
            outcome: Compiled | Failed = await trio.to_thread.run_sync(
                self._compile, files.project, limiter=self._threads
            )
        except EnvironmentFailed as error:
            outcome = Failed(str(error), is_temporary=True)
        except StoreUnavailable:
            raise
        except DagCompileError as error:
            outcome = Failed("\n".join(map(str, error.all)), reads=error.reads, errors=error.all)
        except LeoflowError as error:
            outcome = Failed(str(error))
        except Exception as error:  # contain: one project, one recorded outcome
            log.error("project_not_compiled", project=files.source, exc_info=error)  # noqa: TRY400  # our own logger
            outcome = Failed(f"leoflow could not compile this project, a fault of leoflow itself: {error!r}")
        self._compiles_total += 1
        waited_too_s = time.perf_counter() - began
        self._last_compile_s = outcome.duration_s if isinstance(outcome, Compiled) else waited_too_s
        log.info(
            "project_compiled", project=files.source, ok=isinstance(outcome, Compiled), s=round(self._last_compile_s, 3)
        )
        return outcome

    def _note_tried(self) -> None:
        if self._scans_total and all(project.outcome is not None for project in self._projects.values()):
            self._tried_all.set()


async def _nothing() -> Loadable:
    await trio.lowlevel.checkpoint()
    return EMPTY
