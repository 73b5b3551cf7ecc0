"""Dag runs that the scheduler cannot go on with: left alone, with the reason, until a person changes them (ADR 19).

What fails for one dag run fails for it alone. Its tries go on, and their agents keep what they cannot report.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

from leoflowd import telemetry
from leoflowd.contract.overriding import override
from leoflowd.contract.values import shown
from leoflowd.core.run_view import SET_ASIDE
from leoflowd.scheduler.draft import Draft
from leoflowd.scheduler.views import Views
from leoflowd.store import dag_runs
from leoflowd.store.database import Database
from leoflowd.store.run_views import RunHead
from leoflowd.supervision import contained

log = telemetry.get_logger(__name__)

STEP_ATTEMPTS = 8
"""A run that voids a step so often in a row has rows that are not what anyone reads: it is set aside."""


class SetAside(Collection[int]):
    """The ids of these runs."""

    def __init__(self, db: Database, views: Views) -> None:
        self._db = db
        self._views = views
        self._revisions: dict[int, int | None] = {}
        """With the revision they had: a person's change of it takes them up again. None: as the next sweep finds it."""
        self._voided: dict[int, tuple[int, int]] = {}
        """Runs that voided their last step: at which revision, and how often in a row."""
        self._reasons: dict[int, str] = {}
        """Why runs were set aside, until Postgres knows it."""

    @override
    def __contains__(self, dag_run_id: object) -> bool:
        return dag_run_id in self._revisions

    @override
    def __iter__(self) -> Iterator[int]:
        return iter(self._revisions)

    @override
    def __len__(self) -> int:
        return len(self._revisions)

    def contained(self, dag_run_id: int, draft: Draft) -> AbstractContextManager[None]:
        """What fails in here sets this run aside, and nothing else."""
        return contained(lambda failure: self.put(dag_run_id, failure, draft))

    def put(self, dag_run_id: int, failure: Exception, draft: Draft, head: RunHead | None = None) -> None:
        log.error("dag_run_quarantined", exc_info=failure, dag_run_id=dag_run_id)
        loaded = self._views.runs.get(dag_run_id)
        known = head.revision if head is not None else draft.revisions.get(dag_run_id)
        self._revisions[dag_run_id] = known if loaded is None else loaded.view.revision
        self._views.forget(dag_run_id)
        draft.drop(dag_run_id)
        draft.quarantined[dag_run_id] = f"{type(failure).__name__}: {failure}"

    def lift(self, dag_run_ids: Iterable[int]) -> None:
        """They were changed: try them again."""
        for dag_run_id in dag_run_ids:
            self._revisions.pop(dag_run_id, None)

    def changed_since(self, active: Mapping[int, RunHead]) -> set[int]:
        """Those that somebody changed; those that are active no more are forgotten."""
        changed = {
            i
            for i, known in self._revisions.items()
            if known is not None and i in active and active[i].revision != known
        }
        self._revisions = {i: active[i].revision for i in self._revisions if i in active}
        return changed

    def note_voided(self, draft: Draft) -> None:
        """Set those aside that voided step after step, though nobody changed them."""
        for dag_run_id, revision in list(draft.stale.items()):
            known, times = self._voided.get(dag_run_id, (revision, 0))
            times = times + 1 if known == revision else 1
            self._voided[dag_run_id] = (revision, times)
            if times >= STEP_ATTEMPTS:
                reason = RuntimeError(f"its rows were not as they had just been read, {times} times in a row")
                self.put(dag_run_id, reason, draft)
                del draft.stale[dag_run_id], self._voided[dag_run_id]

    def note_committed(self, dag_run_ids: Iterable[int]) -> None:
        for dag_run_id in dag_run_ids:
            self._voided.pop(dag_run_id, None)

    async def write_reasons(self, draft: Draft) -> None:
        """People see why a run does not move."""
        taken_up = draft.taken_up - draft.quarantined.keys()
        if taken_up:
            async with self._db.scheduler.connection() as conn:
                await dag_runs.forget_because(conn, taken_up, SET_ASIDE, draft.now)
        self._reasons |= draft.quarantined
        for dag_run_id, reason in list(self._reasons.items()):
            because = shown(f"{SET_ASIDE}: {reason}")
            async with self._db.scheduler.connection() as conn:
                await dag_runs.set_because(conn, dag_run_id, because, draft.now)
            del self._reasons[dag_run_id]
