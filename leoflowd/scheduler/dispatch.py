"""From a committed `queued` to an executor: the try's spec, with the upstream outputs that its arguments use.

Runs after the commit, and is named after the try: doing it twice starts it once. An inline HTTP task goes to the
cheap-task pool instead, with its call rendered; a try that goes on after a deferral is told what came of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
import trio

from leoflowd.contract.agent_messages import ResumeCall, TrySpec, XComInput
from leoflowd.contract.agent_wire import fault_of
from leoflowd.contract.dag_spec import runtime_of
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.values import byte_size
from leoflowd.contract.xcoms import XCom
from leoflowd.core.run_view import InstanceFacts
from leoflowd.core.simple_templates import TemplateFault
from leoflowd.scheduler.waits import HTTP_KIND, inline_call
from leoflowd.store.database import Database
from leoflowd.store.run_views import LoadedRun
from leoflowd.store.waits import InstanceKey, list_resumes
from leoflowd.store.xcoms import xcoms_of

XCOM_BYTES_ALONG = 4 * 1024 * 1024
"""Upstream outputs larger than this in all are not sent with the try; the runner pulls each when it needs it."""

ROOM_BYTES = 64 * 1024
"""What an executor adds to the spec of a try: paths, a token."""


class Order(msgspec.Struct, frozen=True):
    """One task instance to launch."""

    run: LoadedRun
    facts: InstanceFacts


class Dispatcher:
    def __init__(
        self,
        *,
        db: Database,
        orders: trio.MemoryReceiveChannel[tuple[Order, ...]],
        dispatches: trio.MemorySendChannel[Dispatch],
        inline: trio.MemorySendChannel[Dispatch],
        refuse: Callable[[TrySpec, str], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._orders = orders
        self._dispatches = dispatches
        self._inline = inline
        self._refuse = refuse
        self._now = now
        self._count = 0

    def statistics(self) -> dict[str, int]:
        return {"dispatched": self._count, "waiting": self._orders.statistics().current_buffer_used}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async for orders in self._orders:
            values = await self._fetch_xcoms(orders)
            resumes = await self._fetch_resumes(orders)
            for order in orders:
                await self._send(order, _try_spec(order, values, resumes.get(_key(order))))
                self._count += 1

    async def _send(self, order: Order, spec: TrySpec) -> None:
        environment = order.run.version.spec.environment
        if spec.kind != HTTP_KIND:
            fault = fault_of(spec, room=ROOM_BYTES)
            if fault is not None:
                await self._refuse(spec, f"the try cannot be launched: what it needs to know is too much: {fault}")
                return
            await self._dispatches.send(Dispatch(spec, environment))
            return
        try:
            call = inline_call(order.run, order.facts, self._now())
        except TemplateFault as fault:
            await self._refuse(spec, str(fault))
            return
        await self._inline.send(Dispatch(spec, environment, call))

    async def _fetch_resumes(self, orders: tuple[Order, ...]) -> dict[InstanceKey, ResumeCall]:
        keys = [_key(order) for order in orders if order.facts.wait == "fired"]
        if not keys:
            return {}
        async with self._db.scheduler.connection() as conn:
            return await list_resumes(conn, keys)

    async def _fetch_xcoms(self, orders: tuple[Order, ...]) -> dict[tuple[int, str], list[XCom]]:
        wanted = {
            (order.run.view.dag_run_id, ref.task_id)
            for order in orders
            for ref in order.run.view.shape.nodes[order.facts.node].spec.xcom_refs
        }
        found: dict[tuple[int, str], list[XCom]] = defaultdict(list)
        if wanted:
            async with self._db.scheduler.connection() as conn:
                rows = await xcoms_of(conn).outputs(sorted(wanted))
            for row in rows:
                found[row.dag_run_id, row.task_id].append(row)
        return found


def _key(order: Order) -> InstanceKey:
    view, facts = order.run.view, order.facts
    return view.dag_run_id, view.shape.nodes[facts.node].spec.task_id, facts.map_index


def _try_spec(order: Order, values: dict[tuple[int, str], list[XCom]], resume: ResumeCall | None) -> TrySpec:
    view, spec = order.run.view, order.run.version.spec
    task = view.shape.nodes[order.facts.node].spec
    inputs = [
        row for ref in task.xcom_refs for row in values.get((view.dag_run_id, ref.task_id), ()) if row.key == ref.key
    ]
    complete = sum(byte_size(row.value) for row in inputs) <= XCOM_BYTES_ALONG
    return TrySpec(
        try_id=order.facts.id,
        dag_run=msgspec.structs.replace(order.run.facts, state=view.state.value, start_date=view.start_date),
        task_id=task.task_id,
        map_index=order.facts.map_index,
        try_number=order.facts.try_number,
        max_tries=order.facts.max_tries,
        kind=task.kind,
        operator=task.operator,
        bundle_digest=order.run.version.bundle_digest,
        source_path=spec.source_path,
        env=task.env,
        execution_timeout_s=task.execution_timeout_s,
        do_xcom_push=task.do_xcom_push,
        xcoms=tuple(XComInput(task_id=r.task_id, key=r.key, map_index=r.map_index, value=r.value) for r in inputs)
        if complete
        else (),
        xcoms_complete=complete,
        dag_version_number=order.run.version.version_number,
        resume=resume,
        first_started_at=order.facts.start_date,
        runtime=runtime_of(task.kind, spec.environment),
    )
