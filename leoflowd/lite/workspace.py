"""The workspace of Lite: every project in it is compiled and registered, and again within a second of each save.

A scan lists the projects with a signature of all their files; what changed is compiled (its environment first), and
`plan_registrations` compares the outcomes with what Postgres has: register, report an import error, mark stale. The
file watcher only says "look now"; a rescan every `RESCAN_S` is the guarantee. Projects never wait for each other, and
nothing a project does ends the watcher: what goes wrong with it is its import error.

Started by `daemon.py`; its value arrives when every project was tried once, or after `FIRST_SCAN_S`. It never imports
user code: `authoring` compiles in a process of its own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

import msgspec
import trio
import watchfiles

from leoflowd import telemetry
from leoflowd.authoring.bundle import copy_bundle
from leoflowd.authoring.compiler import compile_opened, excluded_of
from leoflowd.authoring.errors import PATH_MAX
from leoflowd.authoring.project import (
    SKIPPED_FOLDERS,
    Project,
    ProjectConfig,
    discover,
    read_project,
    unused_in_lite,
)
from leoflowd.config import LiteConfig
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import DagSpec, EnvironmentSpec
from leoflowd.contract.errors import Invalid, LeoflowError
from leoflowd.contract.values import shown
from leoflowd.lite.environments import EnvironmentFailed, Environments, EnvironmentStatistics
from leoflowd.store import dags
from leoflowd.store import workspace as facts
from leoflowd.store.content_errors import CONTENT_ERRORS
from leoflowd.store.database import Database

log = telemetry.get_logger(__name__)

BUNDLE_NAME = "workspace"
REASON_MAX = 100_000
"""Characters of an import error: an installer says a lot."""
RESCAN_S = 30.0
FIRST_SCAN_S = 30.0
"""How long the start waits for the first scan; an environment that takes longer to build is built beside it."""
COMPILES = 2
"""Compilers at once: each is a process with an interpreter of its own on a laptop's cores."""
ENVIRONMENT_BUILDS = 2
WATCH_STEP_MS = 50
WATCH_AGAIN_S = 1.0
WATCH_DEBOUNCE_MS = 300
"""An editor writes in several steps; the watcher waits for a pause of one step, at most so long."""
BURST = 20
BURST_WINDOW_S = 60.0
"""A project that changes its own files while it is compiled would be compiled for ever; beyond so many compiles a
minute it waits for the next rescan."""
SAVES_WHILE_COMPILING = 3
KEEP_BUNDLES = timedelta(days=7)
"""Bundles of runs that ended are kept so long, for clearing their tasks."""


class ProjectFiles(msgspec.Struct, frozen=True):
    """One project as the scan sees it."""

    project: Project
    folder: str
    """Relative to the workspace; `.` when the workspace itself is the project, or holds it as a bare file."""
    signature: str
    """Changes with the name, size or time of any of its files."""

    @property
    def path(self) -> str:
        return self.project.path

    @property
    def source(self) -> str:
        """The file its import error is shown under, relative to the workspace; storable, whatever its name is."""
        return shown(_join(self.folder, self.project.source_path), PATH_MAX)

    def owns(self, fileloc: str) -> bool:
        """Was the DAG in this file (relative to the workspace) this project's?"""
        if self.project.single_file:
            return fileloc == self.source
        return self.folder == "." or fileloc.startswith(f"{self.folder}/")


class Compiled(msgspec.Struct, frozen=True):
    """A project's DAGs; their code lies in the bundle already."""

    specs: tuple[DagSpec, ...]
    digests: tuple[str, ...]
    """Of each artifact; worked out once, in the compiler's thread."""
    duration_s: float


class Failed(msgspec.Struct, frozen=True):
    """Why a project has no DAGs now, for people; storable."""

    reason: str
    is_temporary: bool = False
    """Tried again at each rescan: a package index that does not answer comes back without a save."""


Outcome = Compiled | Failed | None
"""None: not tried yet."""


class Watched(msgspec.Struct):
    """What the watcher knows of one project. Written by the watcher's own tasks only, never across an await."""

    files: ProjectFiles
    outcome: Outcome = None
    tried_signature: str | None = None
    is_busy: bool = False
    recent: list[float] = []
    """When it was compiled lately, for `BURST`."""


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


# --- deciding ----------------------------------------------------------------------------------------------------


class Registration(msgspec.Struct, frozen=True):
    """What Postgres has, or shall have, of one DAG."""

    relative_fileloc: str
    digest: str


class ToRegister(msgspec.Struct, frozen=True):
    path: str
    spec: DagSpec
    registration: Registration
    duration_s: float


class Plan(msgspec.Struct, frozen=True):
    """What Postgres needs to agree with the workspace."""

    register: tuple[ToRegister, ...]
    errors: dict[str, str]
    """Import errors to write, by file."""
    cleared: tuple[str, ...]
    stale: tuple[str, ...]


def plan_registrations(
    projects: Mapping[str, Watched], registered: Mapping[str, Registration], errors: Mapping[str, str]
) -> Plan:
    """Compare the scan's outcomes with what was registered and reported before.

    A DAG id belongs to the first project (by path) that defines it; the others get an import error naming both. DAGs
    of a project that fails, or was not tried yet, stay as they are: the last good version goes on.
    """
    owners: dict[str, str] = {}
    register: list[ToRegister] = []
    wanted_errors: dict[str, str] = {}
    for path in sorted(projects):
        project = projects[path]
        match project.outcome:
            case Failed(reason=reason):
                wanted_errors[project.files.source] = shown(reason, REASON_MAX)
            case Compiled(specs=specs, digests=digests, duration_s=duration_s):
                taken = [spec.dag_id for spec in specs if spec.dag_id in owners]
                if taken:
                    wanted_errors[project.files.source] = _taken_message(path, taken, owners)
                for spec, digest in zip(specs, digests, strict=True):
                    if owners.setdefault(spec.dag_id, path) == path:
                        wanted = Registration(_join(project.files.folder, spec.source_path), digest)
                        if registered.get(spec.dag_id) != wanted:
                            register.append(ToRegister(path, spec, wanted, duration_s))
            case None:
                pass
    pending = {p.files.source for p in projects.values() if p.outcome is None}
    keep = [project.files for project in projects.values() if not isinstance(project.outcome, Compiled)]
    return Plan(
        register=tuple(register),
        errors={source: text for source, text in wanted_errors.items() if errors.get(source) != text},
        cleared=tuple(source for source in sorted(errors) if source not in wanted_errors and source not in pending),
        stale=tuple(
            dag_id
            for dag_id, known in sorted(registered.items())
            if dag_id not in owners and not any(files.owns(known.relative_fileloc) for files in keep)
        ),
    )


def _taken_message(path: str, taken: list[str], owners: Mapping[str, str]) -> str:
    return "\n".join(
        f"dag_id {dag_id!r} is defined by two projects, {owners[dag_id]!r} and {path!r}; the first one is used; "
        f"give the DAG in {path!r} another dag_id, or remove one of the projects"
        for dag_id in taken
    )


def _join(folder: str, source_path: str) -> str:
    return str(PurePosixPath(folder) / source_path)


# --- watching ----------------------------------------------------------------------------------------------------


class Workspace:
    """The component. Tests bring their own `compile_project` and `list_projects`."""

    def __init__(
        self,
        config: LiteConfig,
        db: Database,
        now: Callable[[], datetime],
        *,
        environments: Environments | None = None,
        compile_project: Callable[[Project], Compiled] | None = None,
        list_projects: Callable[[Path], tuple[ProjectFiles, ...]] | None = None,
    ) -> None:
        self._root = config.workspace
        self._bundles = config.data_dir / "bundles"
        self._db = db
        self._now = now
        self._environments = environments or Environments(config.data_dir)
        self._compile = compile_project or ProjectCompiler(self._environments, self._bundles)
        self._list = list_projects or list_projects_in
        self._projects: dict[str, Watched] = {}
        self._registered: dict[str, Registration] = {}
        self._errors: dict[str, str] = {}
        self._settling = trio.Lock()
        self._slots = trio.CapacityLimiter(COMPILES)
        self._look_now = trio.Event()
        self._tried_all = trio.Event()
        self._compiles_total = 0
        self._scans_total = 0
        self._watching = False
        self._last_compile_s: float | None = None

    def statistics(self) -> WorkspaceStatistics:
        return WorkspaceStatistics(
            projects=len(self._projects),
            dags=len(self._registered),
            import_errors=len(self._errors),
            compiling=sum(project.is_busy for project in self._projects.values()),
            compiles_total=self._compiles_total,
            scans_total=self._scans_total,
            watching=self._watching,
            last_compile_s=self._last_compile_s,
            environments=self._environments.statistics(),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled. Raises `StoreUnavailable`."""
        await self._load_facts()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._scan_whenever_told, nursery)
            if not self._registered:  # else there is something to see already, and nobody need wait for the scan
                with trio.move_on_after(FIRST_SCAN_S):
                    await self._tried_all.wait()
            task_status.started()

    async def _load_facts(self) -> None:
        """What Postgres has now, and no bundle that nobody needs."""
        async with self._db.api.connection() as conn:
            registered = await facts.list_registered(conn, BUNDLE_NAME)
            deleted = await facts.list_deleted(conn, BUNDLE_NAME)
            errors = await facts.list_import_errors(conn, BUNDLE_NAME)
            needed = await dags.list_bundles_in_use(conn, now=self._now(), keep=KEEP_BUNDLES)
        self._registered = {
            row.dag_id: Registration(row.relative_fileloc, row.digest) for row in (*registered, *deleted)
        }
        self._errors = {row.filename: row.stack_trace for row in errors}
        await trio.to_thread.run_sync(prune_bundles, self._bundles, needed)

    async def _watch(self) -> None:
        """Turn file events into looks. Where the system has no more watches, the rescan alone must do."""
        told = False
        while True:
            again_s = RESCAN_S
            try:
                self._watching = True
                await self._follow_events()
            except* RuntimeError as group:  # an event of a file whose name is not UTF-8 ends the library's watch
                if not told:  # once: such a file ends every watch, each second, for as long as it is there
                    log.warning("workspace_event_unreadable", error=_innermost(group), look_again_s=WATCH_AGAIN_S)
                told = True
                again_s = WATCH_AGAIN_S
                self._look_now.set()
            except* OSError as group:
                log.warning("workspace_not_watched", error=shown(str(group.exceptions[0])), rescan_s=RESCAN_S)
            self._watching = False
            await trio.sleep(again_s)
            self._look_now.set()  # for what happened unwatched

    async def _follow_events(self) -> None:
        """Until cancelled; the watcher's thread looks at `stop` every step, while a cancellation alone waits for it."""
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set_when_cancelled, stop)
            events = watchfiles.awatch(self._root, step=WATCH_STEP_MS, debounce=WATCH_DEBOUNCE_MS, stop_event=stop)
            async for _ in events:
                self._look_now.set()

    async def _scan_whenever_told(self, nursery: trio.Nursery) -> None:
        while True:
            told = self._look_now.is_set()
            self._look_now = trio.Event()
            await self._scan(nursery, by_event=told)
            with trio.move_on_after(RESCAN_S):
                await self._look_now.wait()

    async def _scan(self, nursery: trio.Nursery, *, by_event: bool) -> None:
        """List the projects, start compiling what changed. A workspace that cannot be read changes nothing."""
        self._scans_total += 1
        try:
            found = {files.path: files for files in await trio.to_thread.run_sync(self._list, self._root)}
        except OSError as error:
            log.warning("workspace_unreadable", workspace=shown(str(self._root)), error=shown(str(error)))
            return
        except Exception as error:  # contain: one look; the next one may find the workspace otherwise
            log.error("workspace_not_scanned", exc_info=error)  # noqa: TRY400  # our own logger
            return
        gone = self._projects.keys() - found.keys()
        for path in gone:
            del self._projects[path]
        for path, files in found.items():
            project = self._projects.setdefault(path, Watched(files, recent=[]))
            project.files = files
            if not project.is_busy and _is_due(project, by_event=by_event):
                project.is_busy = True
                nursery.start_soon(self._compile_until_current, project)
        if gone or not found:
            await self._settle()
        self._note_tried()

    async def _compile_until_current(self, project: Watched) -> None:
        """Compile, register, and once more when files changed meanwhile."""
        try:
            while True:
                files = project.files
                project.recent = [*project.recent[-BURST:], trio.current_time()]
                outcome = await self._outcome_of(files)
                if self._projects.get(files.path) is not project:
                    return  # gone meanwhile; the scan that saw it go has settled that
                project.outcome, project.tried_signature = outcome, files.signature
                await self._settle()
                if project.files.signature == files.signature or _is_in_burst(project):
                    return
        finally:
            project.is_busy = False
            self._note_tried()

    async def _outcome_of(self, files: ProjectFiles) -> Compiled | Failed:
        began = time.perf_counter()
        try:
            outcome: Compiled | Failed = await trio.to_thread.run_sync(
                self._compile, files.project, limiter=self._slots
            )
        except EnvironmentFailed as error:
            outcome = Failed(str(error), is_temporary=True)
        except LeoflowError as error:
            outcome = Failed(str(error))
        except Exception as error:  # contain: one project, one recorded outcome
            log.error("project_not_compiled", project=files.source, exc_info=error)  # noqa: TRY400  # our own logger
            outcome = Failed(f"leoflow could not compile this project, a fault of leoflow itself: {error!r}")
        self._compiles_total += 1
        self._last_compile_s = time.perf_counter() - began
        log.info(
            "project_compiled", project=files.source, ok=isinstance(outcome, Compiled), s=round(self._last_compile_s, 3)
        )
        return outcome

    def _note_tried(self) -> None:
        if self._scans_total and all(project.outcome is not None for project in self._projects.values()):
            self._tried_all.set()

    # --- writing what was decided ---

    async def _settle(self) -> None:
        """Make Postgres agree. One at a time, and from the state at that moment."""
        async with self._settling:
            while True:
                plan = plan_registrations(self._projects, self._registered, self._errors)
                refused = [item for item in plan.register if not await self._register(item)]
                if not refused:
                    break
            await self._write_errors(plan)
            await self._mark_stale(plan)

    async def _register(self, item: ToRegister) -> bool:
        """False when the store refuses the artifact, whatever for: an import error then, of this project alone."""
        try:
            async with self._db.api.transaction() as conn:
                if await dags.stays_deleted(conn, item.spec):
                    self._registered[item.spec.dag_id] = item.registration
                    log.info("dag_stays_deleted", dag_id=item.spec.dag_id)
                    return True
                done = await dags.register_dag(
                    conn,
                    item.spec,
                    now=self._now(),
                    fileloc=str(self._root / item.registration.relative_fileloc),
                    relative_fileloc=item.registration.relative_fileloc,
                    bundle_name=BUNDLE_NAME,
                    parse_duration_s=item.duration_s,
                )
        except Invalid as error:
            self._refuse(item, str(error))
            return False
        except CONTENT_ERRORS as error:
            log.warning("dag_refused_by_store", dag_id=item.spec.dag_id, error=shown(str(error)))
            self._refuse(
                item,
                f"cannot register dag {item.spec.dag_id!r}: the database refuses its artifact: {error}; "
                "remove the value it names from the DAG",
            )
            return False
        self._registered[item.spec.dag_id] = item.registration
        log.info("dag_registered", dag_id=item.spec.dag_id, version_number=done.version_number, is_new=done.created)
        return True

    def _refuse(self, item: ToRegister, reason: str) -> None:
        if item.path in self._projects:
            self._projects[item.path].outcome = Failed(reason)

    async def _write_errors(self, plan: Plan) -> None:
        if not plan.errors and not plan.cleared:
            return
        async with self._db.api.transaction() as conn:
            for filename, text in plan.errors.items():
                await dags.put_import_error(
                    conn, filename=filename, bundle_name=BUNDLE_NAME, stack_trace=text, now=self._now()
                )
            for filename in plan.cleared:
                await dags.clear_import_error(conn, filename=filename, bundle_name=BUNDLE_NAME)
        for filename, text in plan.errors.items():
            self._errors[filename] = text
            log.warning("import_error", file=filename, error=text)
        for filename in plan.cleared:
            del self._errors[filename]
            log.info("import_error_cleared", file=filename)

    async def _mark_stale(self, plan: Plan) -> None:
        if not plan.stale or not await trio.to_thread.run_sync(self._root.is_dir):
            return
        async with self._db.api.transaction() as conn:
            await dags.mark_stale(conn, plan.stale, self._now())
        for dag_id in plan.stale:
            del self._registered[dag_id]
            log.info("dag_gone", dag_id=dag_id)


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return shown(str(error))


async def _set_when_cancelled(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()


def _is_due(project: Watched, *, by_event: bool) -> bool:
    """Not tried since its files changed, or worth another try."""
    if project.tried_signature != project.files.signature:
        return not (by_event and _is_in_burst(project))
    return isinstance(project.outcome, Failed) and project.outcome.is_temporary and not by_event


def _is_in_burst(project: Watched) -> bool:
    return len(project.recent) >= BURST and project.recent[-BURST] > trio.current_time() - BURST_WINDOW_S


def prune_bundles(bundles: Path, needed: set[str]) -> None:
    """Remove the code of versions that nothing needs any more, and copies that a kill left half made."""
    if not bundles.is_dir():
        return
    for folder in bundles.iterdir():
        if folder.name not in needed:
            _remove(folder)


def seal(bundle: Path) -> None:
    """Read-only for everyone: a task that writes next to its code is told so, and no version changes by accident."""
    for folder, _, files in os.walk(bundle):
        for name in files:
            file = Path(folder, name)
            file.chmod(0o555 if file.stat().st_mode & 0o100 else 0o444)
        Path(folder).chmod(0o555)


def _remove(bundle: Path) -> None:
    """A sealed folder must be opened first, unless we are root."""
    for folder, _, _ in os.walk(bundle):
        with contextlib.suppress(OSError):
            Path(folder).chmod(0o755)
    shutil.rmtree(bundle, ignore_errors=True)


# --- looking and compiling, in threads ---------------------------------------------------------------------------


def list_projects_in(workspace: Path) -> tuple[ProjectFiles, ...]:
    """All projects with the signatures of their files. Raises OSError when the workspace cannot be read."""
    if not workspace.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the workspace is not there", str(workspace))
    root = workspace.resolve()
    found = discover(root)
    for skipped in found.skipped:
        log.debug("folder_skipped", reason=skipped)
    listings: Listings = {}
    return tuple(
        ProjectFiles(project, project.folder.relative_to(root).as_posix(), signature_of(project, listings))
        for project in found.projects
    )


Listings = dict[Path, tuple[tuple[bytes, bytes], ...]]


def signature_of(project: Project, listings: Listings | None = None) -> str:
    """A digest of names, sizes and times: cheap enough for every look, and any save changes it.

    `listings` keeps what was found in a folder, for the projects that share it.
    """
    listings = {} if listings is None else listings
    if project.folder not in listings:
        listings[project.folder] = _listing(project.folder)
    excluded = [os.fsencode(name) for name in project.excluded]
    folders = tuple(name + b"/" for name in excluded)
    digest = hashlib.blake2b(digest_size=16)
    for name, line in listings[project.folder]:
        if name not in excluded and not name.startswith(folders):
            digest.update(line)
    return digest.hexdigest()


def _listing(folder: Path) -> tuple[tuple[bytes, bytes], ...]:
    """(name relative to the folder, what a save changes) of all files, sorted. Bytes: a name may be no text."""
    found: list[tuple[bytes, bytes]] = []
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
                    elif not name.endswith(b".pyc"):
                        found.append((name, name + b"\0%d %d %d\n" % _facts(entry)))
    return tuple(sorted(found))


def _facts(entry: os.DirEntry[bytes]) -> tuple[int, int, int]:
    facts = entry.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_mode


def _is_code(folder: str) -> bool:
    return folder not in SKIPPED_FOLDERS and not folder.startswith(".")


class FilesChanged(LeoflowError):
    """The author saved while the project was compiled; the save itself leads to the next compile."""


class ProjectCompiler:
    """Environment, compile, copy of the code: all that stands between a project and its registration. Blocking."""

    def __init__(self, environments: Environments, bundles: Path) -> None:
        self._environments = environments
        self._bundles = bundles

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
            specs = compile_opened(project, python=str(python))
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
            _remove(copy)
