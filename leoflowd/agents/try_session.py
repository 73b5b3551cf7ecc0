"""One try's conversation with its agent, from hello to stored outcome. Runs in Trio; `service` moves the messages.

Log chunks go to files at once; XComs and rendered fields of a running try to Postgres, fenced by the try id; start and
outcome to the scheduler, which commits them together with what follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import msgspec

from leoflowd import telemetry
from leoflowd.agents import incoming
from leoflowd.agents.questions import Questions
from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import fault_of
from leoflowd.contract.errors import Invalid
from leoflowd.contract.logs import LogStore
from leoflowd.contract.xcoms import Asker, ValueGone
from leoflowd.store import dag_runs, tries
from leoflowd.store.database import Database
from leoflowd.store.tries import TryRow
from leoflowd.store.xcoms import xcoms_of

log = telemetry.get_logger(__name__)


class Reports(Protocol):
    """Where starts and outcomes go: the scheduler's inbox."""

    async def try_started(self, row: TryRow, *, at: datetime, hostname: str, pid: int | None) -> None: ...

    async def try_ended(self, row: TryRow, outcome: m.Outcome, rendered: dict[str, Any] | None) -> None:
        """Returns when the outcome is committed, or was refused because the try is no longer current."""


class TrySession:
    def __init__(
        self,
        db: Database,
        logs: LogStore,
        reports: Reports,
        questions: Questions,
        row: TryRow,
        now: Callable[[], datetime],
    ) -> None:
        self.row = row
        self._db = db
        self._logs = logs
        self._reports = reports
        self._questions = questions
        self._now = now
        self._log_begins_at = 0
        self._rendered: dict[str, Any] | None = None
        self._start: m.TryHello | None = None
        """As its agent told it."""
        self._refused: str | None = None
        """What this try pushed and was not stored. Agents send all pushes again on each new stream."""

    async def begin_log(self) -> int:
        """First of all: how many bytes of what this process of the try wrote are stored. Raises `LogNotStored`."""
        leg = await self._logs.begin(self.row.log, str(self.row.id), goes_on=bool(self.row.goes_on))
        self._log_begins_at = leg.begins_at
        return leg.stored

    async def append_log(self, chunk: m.LogChunk) -> None:
        """Raises `LogNotStored`; the same chunk may come again."""
        await self._logs.append(self.row.log, self._log_begins_at + chunk.offset, chunk.content)

    async def flush_log(self) -> None:
        """Returns when what was appended outlives us. Raises `LogNotStored`."""
        await self._logs.flush(self.row.log)

    async def started(self, hello: m.TryHello) -> None:
        hello = incoming.hello_of(hello, self._now())
        if hello.started_at is not None and self._start is None:
            self._start = hello
            await self.tell_start()

    async def tell_start(self) -> None:
        """Nobody acknowledges a start: one whose commit failed is told again when the sweep finds it still queued."""
        start = self._start
        if start is not None and start.started_at is not None:
            await self._reports.try_started(self.row, at=start.started_at, hostname=start.hostname, pid=start.pid)

    async def handle(self, message: Any) -> m.ToTry | None:
        """Act on one message that needs Postgres or the scheduler; the answer, if it has one.

        Raises `Invalid` only for what is no message of a running try: whatever else a task sends that cannot be stored
        fails that task, or answers its question, because an agent offers what was not taken again and again.
        """
        match message:
            case m.RenderedFields():
                # Shown when the task has run for a moment or ended; most tasks are over before anyone could look.
                await self._show(message)
                return None
            case m.XComPush():
                await self._push(message)
                return None
            case _ if type(message) in incoming.ANSWERS:
                return await self._answer(message)
            case m.Outcome():
                limit = self._db.values.max_bytes
                outcome = incoming.outcome_of(message, self._refused, self._now(), xcom_max_bytes=limit)
                # Not in the commit that takes it, for which every other decision would wait.
                await self._db.values.keep_ahead([(self.row.dag_run_id, x.key, x.value) for x in outcome.xcoms])
                rendered, self._rendered = self._rendered, None
                await self._reports.try_ended(self.row, outcome, rendered)
                return m.OutcomeStored()
            case _:
                raise Invalid(f"{type(message).__name__} is no message of a running try")

    async def flush_rendered(self) -> None:
        """Write the rendered fields of a try that runs for longer than a moment."""
        if self._rendered is not None:
            fields, self._rendered = self._rendered, None
            async with self._db.agents.connection() as conn:
                await tries.put_rendered_fields(conn, str(self.row.id), fields, self._now())

    async def _show(self, message: m.RenderedFields) -> None:
        if message.rendered_map_index is not msgspec.UNSET:
            name = incoming.map_index_name(message.rendered_map_index)
            async with self._db.agents.connection() as conn:
                await tries.put_rendered_map_index(conn, str(self.row.id), name, self._now())
        if not message.fields:
            return
        try:
            self._rendered = incoming.rendered_of(message)
        except Invalid as fault:
            log.warning("rendered_fields_refused", try_id=str(self.row.id), because=str(fault))

    async def _push(self, push: m.XComPush) -> None:
        """Nobody waits for an answer to a push: one that is refused fails the try at its end."""
        try:
            incoming.check_xcom(push.key, push.value, self._db.values.max_bytes)
        except Invalid as fault:
            self._refused = self._refused or f"an XCom that the task pushed is refused: {fault}"
            return
        async with self._db.agents.connection() as conn:
            await xcoms_of(conn).put(str(self.row.id), push.key, push.value, self._now())

    async def _answer(self, ask: Any) -> m.ToTry | None:
        try:
            incoming.check_question(ask)
            answer = await self._found(ask)
        except (Invalid, ValueGone) as fault:
            return incoming.refusal(ask, str(fault))
        unsendable = fault_of(answer)
        return answer if unsendable is None else incoming.refusal(ask, f"the answer is too much: {unsendable}")

    async def _found(self, ask: Any) -> m.ToTry:
        match ask:
            case m.XComPull():
                async with self._db.agents.connection() as conn:
                    asker = Asker(self.row.dag_run_id, self.row.dag_id, self.row.run_id)
                    values = await xcoms_of(conn).pull(asker, ask)
                    total = msgspec.UNSET if ask.limit is msgspec.UNSET else await xcoms_of(conn).count(asker, ask)
                return m.XComValues(request_id=ask.request_id, values=values, total=total)
            case m.PreviousRunAsk():
                return m.PreviousRun(request_id=ask.request_id, run=await self._previous(ask))
            case _:
                return await self._questions.answer(self.row, ask)

    async def _previous(self, ask: m.PreviousRunAsk) -> m.DagRunFacts | None:
        async with self._db.agents.connection() as conn:
            run = await dag_runs.fetch_previous_run(conn, self.row.dag_run_id, only_success=ask.only_success)
        if run is None:
            return None
        return m.DagRunFacts(
            dag_id=run.dag_id,
            run_id=run.run_id,
            run_type=run.run_type,
            state=run.state,
            run_after=run.run_after,
            logical_date=run.logical_date,
            data_interval_start=run.data_interval_start,
            data_interval_end=run.data_interval_end,
            start_date=run.start_date,
            queued_at=run.queued_at,
            triggered_by=run.triggered_by,
            triggering_user_name=run.triggering_user_name,
            conf=run.conf,
            note=run.note,
        )
