"""The way of launches to one executor: offered after their commit, made into `Dispatch`es, taken when it has time.

Each executor has an outbox of its own, with a task of its own: one that is slow, or takes nothing, stops only itself.
An offer never waits (ADR 29): a try that waits already keeps its place, one without room is launched by the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

import msgspec
import trio

from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, TrySpec
from leoflowd.contract.dispatch import Dispatch, Placement, launch_fault
from leoflowd.contract.staging import staging_of
from leoflowd.contract.xcoms import ValueGone, ValuesUnavailable
from leoflowd.core.simple_templates import TemplateFault
from leoflowd.core.try_spec import HTTP_KIND, TryFacts, build_try_spec
from leoflowd.scheduler.tracing import Tracing
from leoflowd.scheduler.waits import inline_call
from leoflowd.store.database import Database
from leoflowd.store.try_specs import list_try_specs

CAPACITY = 4096
"""More would be launched later anyway: an executor takes some hundred a second."""
AT_ONCE = 64
"""Tries whose upstream outputs are in memory together."""


class OutboxStatistics(msgspec.Struct, frozen=True):
    waiting: int
    dispatched: int
    refused: int
    dropped: int
    """For lack of room; their tries are launched again."""


class Outbox:
    """`dispatches` is the executor's end; `refuse(try_id, because)` reports a try that cannot be launched, and never
    waits."""

    def __init__(
        self,
        *,
        db: Database,
        dispatches: trio.MemorySendChannel[Dispatch],
        refuse: Callable[[str, str], None],
        now: Callable[[], datetime],
        capacity: int = CAPACITY,
        tracing: Tracing | None = None,
    ) -> None:
        self._db = db
        self._dispatches = dispatches
        self._refuse = refuse
        self._now = now
        self._capacity = capacity
        self._tracing = tracing
        self._waiting: dict[str, TryFacts] = {}
        self._arrived = trio.Event()
        self._dispatched = self._refused = self._dropped = 0

    def statistics(self) -> OutboxStatistics:
        return OutboxStatistics(len(self._waiting), self._dispatched, self._refused, self._dropped)

    def offer(self, tries: Sequence[TryFacts]) -> int:
        """How many found no room. Never waits."""
        dropped = 0
        for one in tries:
            if one.try_id in self._waiting or len(self._waiting) < self._capacity:
                self._waiting[one.try_id] = one
            else:
                dropped += 1
        self._dropped += dropped
        self._arrived.set()
        return dropped

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await self._hand_over(await self._take())

    async def _take(self) -> list[TryFacts]:
        """The oldest, some of them, when there is one."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return [self._waiting.pop(try_id) for try_id in list(islice(self._waiting, AT_ONCE))]

    async def _hand_over(self, tries: Sequence[TryFacts]) -> None:
        for one, spec in await self._readable(tries):
            dispatch = self._dispatch(one, spec)
            if dispatch is not None:
                await self._dispatches.send(dispatch)
                self._dispatched += 1
                if self._tracing is not None:
                    self._tracing.dispatched(one)

    async def _readable(self, tries: Sequence[TryFacts]) -> list[tuple[TryFacts, TrySpec]]:
        """All of them, but for those whose values cannot be read: now (the scheduler's sweep brings them again, as it
        does what found no room), or ever."""
        try:
            return list(zip(tries, await self._specs(tries), strict=True))
        except (ValuesUnavailable, ValueGone) as error:
            if len(tries) > 1:
                return [found for one in tries for found in await self._readable([one])]
            if isinstance(error, ValueGone):
                self._refused += 1
                self._refuse(tries[0].try_id, str(error))
            else:
                self._dropped += 1
            return []

    async def _specs(self, tries: Sequence[TryFacts]) -> Sequence[TrySpec]:
        takes_more = self._db.values.max_bytes > XCOM_MAX_BYTES
        if not takes_more and not any(one.wanted_xcoms or one.wanted_instances or one.goes_on for one in tries):
            return [build_try_spec(one) for one in tries]
        async with self._db.scheduler.connection() as conn:
            return await list_try_specs(conn, tries)

    def _dispatch(self, one: TryFacts, spec: TrySpec) -> Dispatch | None:
        """None: it cannot be launched, and that is reported."""
        environment = one.artifact.spec.environment
        if self._tracing is not None:
            spec = msgspec.structs.replace(spec, traceparent=self._tracing.traceparent(one.dag_run_id, one.try_id))
        if spec.kind == HTTP_KIND:
            try:
                return Dispatch(spec, environment, inline_call(one, self._now()))
            except TemplateFault as fault:
                because = str(fault)
        else:
            unsendable = launch_fault(spec)
            if unsendable is None:
                return Dispatch(spec, environment, placement=_placement(one), queued_at=one.facts.queued_at)
            because = unsendable
        self._refused += 1
        self._refuse(one.try_id, because)
        return None


def _placement(one: TryFacts) -> Placement:
    task, spec = one.task, one.artifact.spec
    staging = staging_of(spec.staging, dag_run_id=one.dag_run_id, dag_id=one.run.dag_id, run_id=one.run.run_id)
    return Placement(spec.image, task.resources, task.execution, task.executor_config, staging)
