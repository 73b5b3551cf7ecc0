"""The workers: a fixed number of tasks that take due groups, ask the world under one deadline, and pass the answer on.

Each has its own HTTP client, because a shared one costs more with every connection it keeps. What a probe raises is
sorted here: the kinds' own errors mean what `leoflow_sensors.kinds` says; anything else, and a probe that had to be cut
off, is a strike against its group, never a failure of those who wait.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
import trio

from leoflow_sensors.kinds import Observation, ProbeFailed, ProbeThrottled, TargetDown
from leoflow_sensors.webhook import Delivery
from leoflowd import telemetry
from leoflowd.cheap_tasks.connection_cache import ConnectionCache
from leoflowd.cheap_tasks.groups import ProbeGroup
from leoflowd.cheap_tasks.schedule import ProbeSchedule
from leoflowd.config import PoolConfig
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_facts import DagFacts
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.supervision import contain

log = telemetry.get_logger(__name__)


class CutOff(Exception):
    """The probe did not end within its deadline."""


Answer = Observation | Exception
"""`ProbeFailed`, `TargetDown`, `ProbeThrottled`, `CutOff`, or whatever a broken kind raised."""


class Client(Protocol):
    """`leoflow_sensors.egress.EgressClient`, as far as the pool itself uses it."""

    def close(self) -> None: ...


class Context(msgspec.Struct, frozen=True):
    """`kinds.ProbeContext`, and what the kind `webhook` needs beyond it."""

    connection: ConnectionFacts | None
    http: Client
    dag_facts: DagFacts
    now: Callable[[], datetime]
    deliveries: Callable[[str], Awaitable[Sequence[Delivery]]]


class ProbeEnded(msgspec.Struct, frozen=True):
    """One trip of a worker, as it is handed to the pool."""

    groups: Sequence[ProbeGroup]
    answers: Sequence[Answer]
    """One for each group."""
    began: datetime
    began_at: float
    """Trio's clock."""
    took_s: float


class ProbeWorkers:
    """`settle` judges and reports; the next trip of this worker begins when it has returned."""

    def __init__(
        self,
        *,
        schedule: ProbeSchedule,
        connections: ConnectionCache,
        dag_facts: DagFacts,
        deliveries: Callable[[str], Awaitable[Sequence[Delivery]]],
        make_client: Callable[[], Client],
        settle: Callable[[ProbeEnded], Awaitable[None]],
        config: PoolConfig,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self._schedule = schedule
        self._connections = connections
        self._dag_facts = dag_facts
        self._deliveries = deliveries
        self._make_client = make_client
        self._settle = settle
        self._config = config
        self._now = now
        self._jitter = jitter
        self.in_flight = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(self._config.workers):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        client = self._make_client()
        try:
            while True:
                batch = await self._schedule.next_batch()
                began, began_at = self._now(), trio.current_time()
                self.in_flight += 1
                try:
                    answers = await self._ask(batch, client)
                finally:
                    self.in_flight -= 1
                if answers is not None:
                    took_s = trio.current_time() - began_at
                    await self._settle(ProbeEnded(batch, answers, began, began_at, took_s))
        finally:
            client.close()

    async def _ask(self, batch: list[ProbeGroup], client: Client) -> Sequence[Answer] | None:
        """One answer for each group; None: nobody was asked, because their target had to be found out first."""
        began_at = trio.current_time()
        answers: Sequence[Answer] = ()
        asked = False

        async def record(failure: Exception) -> None:
            nonlocal answers
            await trio.lowlevel.checkpoint()
            if isinstance(failure, StoreUnavailable):
                failure = ProbeThrottled(f"our own Postgres does not answer: {failure}")
            answers = [failure] * len(batch)

        with trio.move_on_after(self._config.probe_timeout_s) as scope:
            async with contain(record):
                facts = await self._connection(batch[0])
                if self._needs_place(batch, facts):
                    return None
                asked = True
                answers = await poke(batch, Context(facts, client, self._dag_facts, self._now, self._deliveries))
        if scope.cancelled_caught:
            answers = [CutOff(f"cut off after {self._config.probe_timeout_s:g} s")] * len(batch)
        self._tell_budget(batch, answers, trio.current_time() - began_at, asked=asked)
        return answers

    async def _connection(self, group: ProbeGroup) -> ConnectionFacts | None:
        """Raises `ProbeFailed` for a connection that is named and missing, unless it is the kind's default."""
        facts = await self._connections.fetch(group.connection_id)
        if facts is None and group.connection_id not in (None, group.kind.default_connection_id):
            raise ProbeFailed(
                f"there is no connection {group.connection_id!r}; add it under Admin, Connections, or name another"
            )
        return facts

    def _needs_place(self, batch: Sequence[ProbeGroup], facts: ConnectionFacts | None) -> bool:
        """Whoever stands in the wrong line, because its target is unknown or its connection has changed, gets in the
        right one."""
        if batch[0].placed_for is facts:
            return False
        kind = batch[0].kind
        targets = [None if kind.target is None else kind.target(group.spec, facts) for group in batch]
        if batch[0].gate is not None:
            batch[0].gate.budget.give_back()
            self._schedule.seats_freed(batch)
        for group, target in zip(batch, targets, strict=True):
            self._schedule.place(group, facts, target)
        return True

    def _tell_budget(
        self, batch: Sequence[ProbeGroup], answers: Sequence[Answer], took_s: float, *, asked: bool
    ) -> None:
        """One trip is one probe, for all groups in it."""
        now = trio.current_time()
        throttled = [answer for answer in answers if isinstance(answer, ProbeThrottled)]
        gate = batch[0].gate
        until = -math.inf
        if gate is not None:
            if not asked:
                gate.budget.give_back()
            elif throttled:
                asked_s = [one.retry_after_s for one in throttled if one.retry_after_s is not None]
                until = gate.budget.throttled(now, took_s, max(asked_s, default=None), self._jitter())
            elif answers and all(isinstance(answer, TargetDown | CutOff) for answer in answers):
                gate.budget.failed(now, took_s, self._jitter())
            else:
                gate.budget.answered(took_s)
        for group, answer in zip(batch, answers, strict=True):
            if isinstance(answer, ProbeThrottled):
                own_s = self._config.throttle_first_s if answer.retry_after_s is None else answer.retry_after_s
                group.postponed_until = max(until, now + min(own_s, self._config.throttle_max_s))
        self._schedule.seats_freed(batch)


async def poke(batch: Sequence[ProbeGroup], context: Context) -> Sequence[Answer]:
    """One trip: an answer for each group, or the exception that stands for all of them."""
    first = batch[0]
    kind = first.kind
    if kind.poke_many is not None and first.shape is not None:
        answers = await kind.poke_many([group.spec for group in batch], context)
        if len(answers) != len(batch):
            raise RuntimeError(f"kind {kind.name!r} gave {len(answers)} answers to {len(batch)} questions")
        return answers
    assert kind.poke is not None
    assert len(batch) == 1
    return [await kind.poke(first.spec, context)]


def probe_running_in(code_name: str, local_names: dict[str, Any]) -> str | None:
    """For the stall watcher: which probe a frame of this module belongs to."""
    batch = local_names.get("batch")
    if code_name != poke.__name__ or not batch:
        return None
    return str(batch[0].kind.describe(batch[0].spec))
