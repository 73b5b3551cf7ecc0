"""The pool of all daemons, as the scheduler of the leading one sees it: its own share is told, the others hear a hint.

Hints name dag runs: who hears one reads which of its waits are his. Losing one costs a sweep of the pool (ADR 62).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import trio

from leoflowd import telemetry
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.waits import NewWait, Waits
from leoflowd.store.database import Lane
from leoflowd.store.hints import send_hints

log = telemetry.get_logger(__name__)

TOGETHER_S = 0.02
"""A step of the scheduler after the other: one statement for the hints of all of them."""


class PoolEverywhere:
    """`contract.waits.Waits`. `is_alone`: nobody else has a share, so that nobody need be told."""

    def __init__(self, *, own: Waits, is_alone: Callable[[], bool], lane: Lane) -> None:
        self._own = own
        self._is_alone = is_alone
        self._lane = lane
        self._hints: dict[tuple[str, str], None] = {}
        self._wanted = trio.Event()
        self._told = 0

    def statistics(self) -> dict[str, int]:
        return {"told": self._told}

    def register(self, waits: Sequence[NewWait]) -> None:
        self._own.register(waits)
        self._tell("waits", {str(wait.dag_run_id) for wait in waits})

    def withdraw(self, wait_ids: Sequence[str], dag_run_ids: Collection[int]) -> None:
        self._own.withdraw(wait_ids, dag_run_ids)
        self._tell("waits", {str(dag_run_id) for dag_run_id in dag_run_ids})

    def dag_finished(self, dag_ids: Collection[str]) -> None:
        self._own.dag_finished(dag_ids)
        self._tell("finished", dag_ids)

    def _tell(self, kind: str, values: Collection[str]) -> None:
        if not self._is_alone():
            self._hints.update(dict.fromkeys((kind, value) for value in values))
            self._wanted.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """What an older term told may have been lost with it: everybody looks once."""
        task_status.started()
        self._tell("waits", {""})
        while True:
            await self._wanted.wait()
            await trio.sleep(TOGETHER_S)
            self._wanted = trio.Event()
            hints, self._hints = list(self._hints), {}
            try:
                async with self._lane.connection() as conn:
                    await send_hints(conn, hints)
                self._told += len(hints)
            except StoreUnavailable as error:
                log.warning("other_pools_not_told", hints=len(hints), error=str(error))
