"""Where a batch is written: one transaction for all dag runs of a step that may commit, each row by compare-and-set."""

from __future__ import annotations

from leoflowd import telemetry
from leoflowd.contract.states import TaskInstanceState
from leoflowd.core.delays import Delays
from leoflowd.scheduler.aside import SetAside
from leoflowd.scheduler.draft import Draft, batch_of
from leoflowd.scheduler.views import Views
from leoflowd.store.content_errors import CONTENT_ERRORS
from leoflowd.store.database import Database
from leoflowd.store.transitions import InstanceWrite, StaleViews, write_batch

log = telemetry.get_logger(__name__)


class Committing:
    """For one term: a later leader makes every commit of this one fail."""

    def __init__(self, db: Database, views: Views, aside: SetAside, term: int) -> None:
        self._db = db
        self._views = views
        self._aside = aside
        self._term = term
        self.steps = self.transitions = self.stale = self.refused = 0
        self.start_delays = Delays()
        """From the decision that a try is launched until it began."""

    async def commit(self, draft: Draft) -> None:
        """What cannot be committed leaves the draft: as stale, to be decided again, or set aside."""
        await self._commit_part(draft, sorted(draft.revisions))

    async def _commit_part(self, draft: Draft, dag_run_ids: list[int]) -> None:
        """One transaction for all these runs, without those that somebody changed since they were read.

        When Postgres refuses the content, halves of it, down to the guilty run.
        """
        while dag_run_ids:
            try:
                await self._write(draft, dag_run_ids)
            except StaleViews as stale:
                if stale.dag_run_ids.isdisjoint(dag_run_ids):
                    raise
                self.stale += 1
                log.info("step_stale", dag_run_ids=sorted(stale.dag_run_ids))
                for dag_run_id in stale.dag_run_ids.intersection(dag_run_ids):
                    self._leave_out(dag_run_id, draft)
                dag_run_ids = [i for i in dag_run_ids if i not in stale.dag_run_ids]
            except CONTENT_ERRORS as refused:
                self.refused += 1
                log.warning("batch_refused", dag_run_ids=dag_run_ids, error=str(refused))
                if len(dag_run_ids) == 1:
                    self._aside.put(dag_run_ids[0], refused, draft)
                    return
                middle = len(dag_run_ids) // 2
                await self._commit_part(draft, dag_run_ids[:middle])
                dag_run_ids = dag_run_ids[middle:]
            else:
                return

    def _leave_out(self, dag_run_id: int, draft: Draft) -> None:
        draft.stale[dag_run_id] = draft.revisions[dag_run_id]
        self._views.forget(dag_run_id)
        draft.drop(dag_run_id)

    async def _write(self, draft: Draft, dag_run_ids: list[int]) -> None:
        batch = batch_of(draft, self._views, dag_run_ids)
        async with self._db.scheduler.pipelined_transaction() as conn:
            waiting = await write_batch(conn, batch, term=self._term, now=draft.now)
        draft.waiting_dags |= waiting
        self.steps += 1
        self.transitions += len(batch.instances)
        for write in batch.instances:
            self._note_start(write)
        self._aside.note_committed(dag_run_ids)

    def _note_start(self, write: InstanceWrite) -> None:
        queued_at, began_at = write.before.queued_at, write.after.start_date
        if write.before.state == TaskInstanceState.QUEUED and queued_at and began_at and began_at >= queued_at:
            self.start_delays.add((began_at - queued_at).total_seconds())
