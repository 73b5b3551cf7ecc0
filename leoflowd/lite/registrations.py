"""Writes what `registration_plan` decides: versions of DAGs, import errors, DAGs that are gone.

`workspace` calls `settle` after each outcome. What Postgres has is remembered, so that only differences are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import trio

from leoflowd import telemetry
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import shown
from leoflowd.lite.registration_plan import Plan, Registration, ToRegister, plan_registrations
from leoflowd.lite.watched_project import Failed, ProjectFiles, Watched
from leoflowd.store import dags
from leoflowd.store import workspace as facts
from leoflowd.store.content_errors import CONTENT_ERRORS
from leoflowd.store.database import Database

log = telemetry.get_logger(__name__)

BUNDLE_NAME = "workspace"


class Registrations:
    def __init__(
        self, db: Database, root: Path, now: Callable[[], datetime], *, paused_at_creation: bool = False
    ) -> None:
        self._db = db
        self._paused_at_creation = paused_at_creation
        self._root = root
        self._now = now
        self._registered: dict[str, Registration] = {}
        self._errors: dict[str, str] = {}
        self._settling = trio.Lock()

    @property
    def dag_count(self) -> int:
        return len(self._registered)

    def file_of(self, dag_id: str) -> str | None:
        """Relative to the workspace; None: no file of it has such a DAG."""
        known = self._registered.get(dag_id)
        return None if known is None else known.relative_fileloc

    def dag_ids(self, files: ProjectFiles) -> tuple[str, ...]:
        """The DAGs of this project, in force or deleted by somebody."""
        return tuple(sorted(dag_id for dag_id, known in self._registered.items() if files.owns(known.relative_fileloc)))

    @property
    def errors(self) -> Mapping[str, str]:
        """Import errors by file, relative to the workspace."""
        return self._errors

    async def load(self) -> None:
        """What Postgres has now."""
        async with self._db.api.connection() as conn:
            registered = await facts.list_registered(conn, BUNDLE_NAME)
            deleted = await facts.list_deleted(conn, BUNDLE_NAME)
            errors = await facts.list_import_errors(conn, BUNDLE_NAME)
        self._registered = {
            row.dag_id: Registration(row.relative_fileloc, row.digest) for row in (*registered, *deleted)
        }
        self._errors = {row.filename: row.stack_trace for row in errors}

    async def settle(self, projects: Mapping[str, Watched]) -> None:
        """Make Postgres agree. One at a time, and from the state at that moment. Raises `StoreUnavailable`."""
        async with self._settling:
            while True:
                plan = plan_registrations(projects, self._registered, self._errors)
                refused = [item for item in plan.register if not await self._register(item, projects)]
                if not refused:
                    break
            await self._write_errors(plan)
            await self._mark_stale(plan)

    async def _register(self, item: ToRegister, projects: Mapping[str, Watched]) -> bool:
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
                    paused_at_creation=self._paused_at_creation,
                )
        except Invalid as error:
            _refuse(projects, item, str(error))
            return False
        except CONTENT_ERRORS as error:
            log.warning("dag_refused_by_store", dag_id=item.spec.dag_id, error=shown(str(error)))
            _refuse(
                projects,
                item,
                f"cannot register dag {item.spec.dag_id!r}: the database refuses its artifact: {error}; "
                "remove the value it names from the DAG",
            )
            return False
        self._registered[item.spec.dag_id] = item.registration
        log.info("dag_registered", dag_id=item.spec.dag_id, version_number=done.version_number, is_new=done.created)
        return True

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


def _refuse(projects: Mapping[str, Watched], item: ToRegister, reason: str) -> None:
    if item.path in projects:
        projects[item.path].outcome = Failed(reason)
