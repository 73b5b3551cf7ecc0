"""What follows a commit: answers, launches, what the pool is told, and why a dag run was set aside.

Nothing here waits for a worker (ADR 19): a launch that finds no room is dropped, and the sweep launches every try again
that stays queued. Doing any of it twice is harmless, since each is named after its try.
"""

from __future__ import annotations

from collections.abc import Collection

import trio

from leoflowd import telemetry
from leoflowd.contract.states import FINISHED, TaskInstanceState
from leoflowd.contract.values import shown
from leoflowd.contract.waits import Waits
from leoflowd.core.run_view import SET_ASIDE
from leoflowd.scheduler.dispatch import Order
from leoflowd.scheduler.draft import Draft
from leoflowd.scheduler.views import Views
from leoflowd.store import dag_runs
from leoflowd.store.database import Database

log = telemetry.get_logger(__name__)


class Effects:
    def __init__(
        self, db: Database, views: Views, orders: trio.MemorySendChannel[tuple[Order, ...]], waits: Waits
    ) -> None:
        self._db = db
        self._views = views
        self._orders = orders
        self._waits = waits
        self._reasons: dict[int, str] = {}
        """Why runs were set aside, until Postgres knows it."""
        self.dropped_launches = 0

    def answer(self, draft: Draft, set_aside: Collection[int]) -> None:
        """Everyone whose report is committed may forget it; what concerns a run that is set aside stays with them.

        What is to be decided again is answered then.
        """
        for event in draft.tries_ended:
            if event.row.dag_run_id in draft.stale:
                continue
            if event.row.dag_run_id in set_aside:
                event.reply.fail(f"dag run {event.row.dag_run_id} was set aside; its outcomes wait for a person")
            else:
                event.reply.commit()
        for ended in draft.waits_ended:
            if any(end.dag_run_id in draft.stale for end in ended.ends):
                continue
            ended.reply.commit(but=frozenset(end.id for end in ended.ends if end.dag_run_id in set_aside))

    def launch(self, draft: Draft) -> None:
        runs = self._views.runs
        orders = tuple(
            Order(runs[dag_run_id], runs[dag_run_id].view.facts[i])
            for dag_run_id, i in dict.fromkeys(draft.launches)
            if dag_run_id in runs and runs[dag_run_id].view.facts[i].state == TaskInstanceState.QUEUED
        )
        if not orders:
            return
        try:
            self._orders.send_nowait(orders)
        except trio.WouldBlock:
            self.dropped_launches += len(orders)
            log.warning("launches_wait_for_the_sweep", count=len(orders), reason="the dispatcher is behind")

    def tell_pool(self, draft: Draft) -> None:
        runs = self._views.runs
        begun = [wait for _, wait in draft.begun_waits(self._views)]
        if begun:
            self._waits.register(begun)
        ended = []
        finished = {runs[i].view.dag_id for i in draft.moved_runs}
        for (dag_run_id, i), before in draft.first.items():
            view = runs[dag_run_id].view
            after = view.facts[i]
            if before.wait == "waiting" and (after.wait != "waiting" or after.id != before.id):
                ended.append(before.id)
            if after.state in FINISHED:
                finished.add(view.dag_id)
        if ended:
            self._waits.withdraw(ended)
        finished |= draft.changed_dags
        if finished:
            self._waits.dag_finished(finished)

    async def write_reasons(self, draft: Draft) -> None:
        """People see why a run does not move; its tries go on, and their agents keep what they cannot report."""
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
