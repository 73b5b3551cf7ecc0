"""What becomes of inline calls when something else happens to their tries: the daemon's end, a clear, a mark, a delete.

For tries with an agent, the agent and its service see to this; an inline call has only us.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import trio

from leoflowd import telemetry
from leoflowd.cheap_tasks.http_task import InlineTasks, Reports, on_start
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.store import tries
from leoflowd.store.database import Lane
from leoflowd.store.hints import Hint
from leoflowd.store.tries import TryRow
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)

EXECUTOR = "inline"
SWEEP_S = 3.0
"""How often all calls are compared with Postgres: the guarantee behind every lost hint to end one."""


class InlineLife:
    """A component beside `InlineTasks`: first the calls of the daemon before us, then every hint about a change."""

    def __init__(
        self,
        *,
        lane: Lane,
        inline: InlineTasks,
        reports: Reports,
        hints: trio.MemoryReceiveChannel[Hint],
        now: Callable[[], datetime],
    ) -> None:
        self._lane = lane
        self._inline = inline
        self._reports = reports
        self._hints = hints
        self._now = now

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Raises `StoreUnavailable`; started again, it looks at everything once more."""
        async with self._lane.connection() as conn:
            found = await tries.list_running_calls(conn, EXECUTOR)
        ours = set(self._inline.calls())
        interrupted = on_start([one for one in found if str(one.row.id) not in ours], self._now())
        task_status.started()
        for row, outcome in interrupted:
            await self._reports.try_ended(row, outcome, None)
        while True:
            with trio.move_on_after(SWEEP_S):
                while (await self._hints.receive()).kind not in ("run", "dag", "all"):
                    pass
            if self._inline.calls():
                async with contain(_note):
                    await self._end_unwanted()

    async def _end_unwanted(self) -> None:
        asked = self._inline.calls()
        async with self._lane.connection() as conn:
            rows = {str(row.id): row for row in await tries.list_tries(conn, asked)}
        for try_id in asked:
            row = rows.get(try_id)
            if row is not None and row.live and row.state != "restarting":
                continue
            self._inline.cancel(try_id)
            if row is not None and row.state == "restarting":
                await self._report_cleared(row)

    async def _report_cleared(self, row: TryRow) -> None:
        """The instance starts from nothing as soon as somebody says that its old try is gone."""
        now = self._now()
        because = "its call was cut off, because the task was cleared"
        outcome = Outcome(kind=OutcomeKind.TERMINATED, because=because, start_date=now, end_date=now)
        await self._reports.try_ended(row, outcome, None)


async def _note(failure: Exception) -> None:
    """The next sweep, or the end of the call, comes to the same."""
    if not isinstance(failure, StoreUnavailable):
        log.error("inline_sweep_failed", exc_info=failure)
    await trio.lowlevel.checkpoint()
