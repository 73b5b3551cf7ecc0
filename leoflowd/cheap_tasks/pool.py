r"""The cheap-task pool: watches every wait of the daemon and says how each one ended (ADR 13). Read this first.

    register, arm --> Parked (records, heap by the wall clock) --> moments, deadlines ----+
                 \--> ProbeSchedule (groups, heap by Trio's clock)                        |
                         | due: Lines (budgets, turns)                                    v
                         +--> ProbeWorkers ask the world --> judge each wait --> EndReporter --> scheduler
    HumanAnswers look whether somebody answered -----------------------------------------^

It never changes a task instance, and never asks whether it may: a wait whose try is over is refused by the scheduler
when it is reported. Calls from outside (`register`, `withdraw`, `dag_finished`, `act`) only change memory and return.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import trio

from leoflow_sensors.kinds import Observation, ProbeFailed, ProbeThrottled, SensorKind, TargetDown, Verdict
from leoflow_sensors.webhook import Delivery
from leoflowd import telemetry
from leoflowd.cheap_tasks import endings, explain
from leoflowd.cheap_tasks.arming import Arming
from leoflowd.cheap_tasks.connection_cache import ConnectionCache, Connections
from leoflowd.cheap_tasks.ends import EndReporter
from leoflowd.cheap_tasks.explain import Clocks
from leoflowd.cheap_tasks.figures import Figures, statistics
from leoflowd.cheap_tasks.groups import STRIKES, ProbeGroup
from leoflowd.cheap_tasks.human_answers import HumanAnswers, QuestionTable
from leoflowd.cheap_tasks.intake import Intake, TriggerHosts
from leoflowd.cheap_tasks.probes import Answer, Client, CutOff, ProbeEnded, ProbeWorkers
from leoflowd.cheap_tasks.push import PushSources
from leoflowd.cheap_tasks.records import (
    ClockSource,
    HostSource,
    HumanSource,
    Parked,
    TermsTable,
    WaitRecord,
    WaitState,
    number_of,
)
from leoflowd.cheap_tasks.schedule import ProbeSchedule
from leoflowd.cheap_tasks.stall_watcher import StallStatistics
from leoflowd.cheap_tasks.verdicts import Verdicts
from leoflowd.cheap_tasks.wait_table import WaitTable
from leoflowd.config import PoolConfig
from leoflowd.contract.dag_facts import DagFacts
from leoflowd.contract.human import HUMAN_KIND
from leoflowd.contract.pool_view import PoolStatistics, WaitExplanation
from leoflowd.contract.waits import NewWait, WaitAction, WaitEnd, WaitEnds
from leoflowd.core.pool_shards import ALL_SHARDS, SHARDS, shard_of
from leoflowd.store.hints import Hint
from leoflowd.store.hitl_details import Settled

log = telemetry.get_logger(__name__)

SLEEP_MAX_S = 2.0
"""The wall clock may be set; then nobody may be asleep for long on what it showed before."""
SLICE = 500
"""Waits fired, or judged, without letting others run."""
GRACE_S = 1.0
"""Beyond the longest probe: how long a wait past its deadline is left to a probe that is on its way."""


class CheapTaskPool:
    """`contract.waits.Waits` for the scheduler, `contract.pool_view.Pool` for the API, a component for the tree.

    `table` is `store.waits` on a lane, `questions` `store.hitl_details`, `connections` the connection book,
    `deliveries(name)` the webhooks that arrived; `make_client` gives each worker its own HTTP client. `stalls` reads
    the stall watcher. `held` are the shards that it watches from the start; `Shards` changes them.
    """

    def __init__(
        self,
        *,
        table: WaitTable,
        questions: QuestionTable,
        ends: WaitEnds,
        hints: trio.MemoryReceiveChannel[Hint],
        kinds: Mapping[str, SensorKind[Any, Any]],
        connections: Connections,
        dag_facts: DagFacts,
        deliveries: Callable[[str], Awaitable[Sequence[Delivery]]],
        trigger_hosts: TriggerHosts,
        make_client: Callable[[], Client],
        config: PoolConfig,
        now: Callable[[], datetime],
        stalls: Callable[[], StallStatistics] = lambda: StallStatistics(0, 0.0),
        jitter: Callable[[], float] = random.random,
        held: Collection[int] = ALL_SHARDS,
    ) -> None:
        self._table = table
        self._trigger_hosts = trigger_hosts
        self._config = config
        self._now = now
        self._stalls = stalls
        self._held = set(held)
        self._parked = Parked()
        self._terms = TermsTable()
        self._push = PushSources()
        self._figures = Figures()
        self._schedule = ProbeSchedule(config, lambda: now().timestamp(), jitter)
        self._reporter = EndReporter(ends, self._committed)
        self._answers = HumanAnswers(
            questions,
            ended=self._question_settled,
            count=lambda: self._parked.by_kind[HUMAN_KIND],
            now=now,
        )
        self._intake = Intake(
            kinds=kinds,
            parked=self._parked,
            terms=self._terms,
            schedule=self._schedule,
            push=self._push,
            trigger_hosts=trigger_hosts,
            replace=self._drop,
            refused=lambda record, because: self._end_now(record, endings.refused(record, because, now())),
            parked_until=self._clock_looks_at,
            asked=self._answers.look,
        )
        self._arming = Arming(
            table=table,
            hints=hints,
            parked=self._parked,
            take=self._intake.take_row,
            drop=self._drop,
            hook_arrived=self.hook_arrived,
            answered=self._answers.look,
            finished=lambda dag_id: self.dag_finished((dag_id,)),
            asked=self._asked,
            held=self._held,
            sweep_interval_s=config.sweep_interval_s,
        )
        self._workers = ProbeWorkers(
            schedule=self._schedule,
            connections=ConnectionCache(connections),
            dag_facts=dag_facts,
            deliveries=deliveries,
            make_client=make_client,
            settle=self._settle,
            config=config,
            now=now,
            jitter=jitter,
        )
        self._wakes_at = -math.inf
        self._earlier = trio.Event()
        """Set when a wait came that is due before the clock's task wakes up by itself."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Started once every wait of the table is watched, however long Postgres takes for that."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reporter.run)
            if self._held:
                await self.arm(frozenset(self._held))
            nursery.start_soon(self._push.run)
            nursery.start_soon(self._watch_clock)
            nursery.start_soon(self._answers.run)
            nursery.start_soon(self._schedule.run)
            nursery.start_soon(self._workers.run)
            nursery.start_soon(self._arming.listen)
            nursery.start_soon(self._arming.reconcile)
            task_status.started()

    # --- its share --------------------------------------------------------------------------------------------------

    def holds(self, wait_id: str) -> bool:
        """Whether this daemon is to watch it."""
        number = number_of(wait_id)
        return number is not None and shard_of(number) in self._held

    def take(self, shards: frozenset[int]) -> None:
        """`shards.Share`, as the next two."""
        self._held |= shards
        self._schedule.lines.share_out(len(self._held) / SHARDS)

    async def arm(self, shards: frozenset[int]) -> None:
        began = trio.current_time()
        armed = await self._arming.arm(shards)
        self._figures.armed += armed
        self._figures.armed_in_s = trio.current_time() - began
        log.info("waits_armed", waits=armed, seconds=round(self._figures.armed_in_s, 3))

    async def give_up(self, shards: frozenset[int]) -> None:
        """Their ends on the way are reported still: nobody minds whose report it is."""
        self._held -= shards
        self._schedule.lines.share_out(len(self._held) / SHARDS)
        await self._arming.release(shards)

    # --- what the scheduler says ------------------------------------------------------------------------------------

    def register(self, waits: Sequence[NewWait]) -> None:
        for wait in waits:
            if shard_of(wait.id.int) in self._held:
                self._intake.take_new(wait)

    def withdraw(self, wait_ids: Sequence[str], dag_run_ids: Collection[int] = ()) -> None:
        for wait_id in wait_ids:
            number = UUID(wait_id).int
            record = self._parked.records.get(number)
            if record is None:
                self._arming.note_left(number)  # the page that is being read may have it
            else:
                self._drop(record)

    def dag_finished(self, dag_ids: Collection[str]) -> None:
        self._push.dags.publish(dag_ids)

    def hook_arrived(self, name: str) -> None:
        """A signed webhook of this name was stored."""
        self._push.hooks.publish((name,))

    # --- what trigger hosts say -------------------------------------------------------------------------------------

    def trigger_fired(self, wait_id: str, event: Any, end: str | None = None) -> None:
        """`end`: the state that the trigger ends its task with; `event` is then a mapping of XComs."""
        record = self._parked.find(wait_id)
        if record is not None:
            self._end_now(record, endings.trigger_fired(record, event, end, self._now()))

    def trigger_failed(self, wait_id: str, error: str, traceback: tuple[str, ...] = ()) -> None:
        record = self._parked.find(wait_id)
        if record is not None:
            self._end_now(record, endings.trigger_failed(record, error, traceback, self._now()))

    # --- what people answer, and ask --------------------------------------------------------------------------------

    def _question_settled(self, settled: Settled) -> None:
        record = self._parked.find(settled.wait_id)
        if record is not None:
            self._end_now(record, endings.answered(record, settled.answer))

    def statistics(self) -> PoolStatistics:
        return statistics(
            self._figures,
            parked=self._parked,
            shards=len(self._held),
            schedule=self._schedule,
            stalls=self._stalls(),
            probes_in_flight=self._workers.in_flight,
            clocks=self._clocks(),
        )

    def explain(self, wait_id: str) -> WaitExplanation | None:
        record = self._parked.find(wait_id)
        if record is None:
            return None
        source = record.source
        match source:
            case ProbeGroup():
                return explain.explain_probed(record, source, self._schedule.wanted_s(record), self._clocks())
            case HostSource():
                return explain.explain_trigger(record, self._trigger_hosts.explain(wait_id))
            case HumanSource():
                return explain.explain_question(record)
            case _:
                return explain.explain_timed(record)

    def act(self, wait_id: str, action: WaitAction) -> bool:
        """False: it is not watched; or, for PROBE, nobody probes its kind; or, for FIRE, it is a question."""
        record = self._parked.find(wait_id)
        if record is None:
            return False
        match action:
            case WaitAction.PROBE:
                if not isinstance(record.source, ProbeGroup):
                    return False
                self._schedule.probe_now(record.source, release=True)
            case WaitAction.FIRE:
                if isinstance(record.source, HumanSource):
                    return False
                self._stop_trigger(record)
                because = "a person fired this wait"
                self._end_now(record, endings.met(record, Verdict(met=True), because, self._now()))
            case WaitAction.FAIL:
                self._stop_trigger(record)
                self._end_now(record, endings.failed_by_hand(record, self._now()))
        return True

    async def set_poke_interval(self, wait_id: str, seconds: float) -> bool:
        """Stored first, then applied. False: no longer waited for. Raises `StoreUnavailable`."""
        if not await self._table.set_poke_interval(wait_id, seconds):
            return False
        return self._apply_poke_interval(wait_id, seconds)

    def _apply_poke_interval(self, wait_id: str, seconds: float) -> bool:
        record = self._parked.find(wait_id)
        if record is None:
            return False
        changed = msgspec.structs.replace(record.terms.wait, poke_interval_s=seconds)
        if isinstance(record.source, ProbeGroup):
            record.terms = self._terms.of(record.source.kind, msgspec.json.encode(changed).decode())
            self._schedule.new_cadence(record.source, record)
        return True

    def _asked(self, what: str, of: str) -> None:
        """By a person at another daemon: a `WaitAction` for a wait, or the seconds of a new poke interval."""
        wait_id, _, seconds = of.partition(" ")
        if what == "terms":
            self._apply_poke_interval(wait_id, float(seconds))
        else:
            self.act(wait_id, WaitAction(what))

    # --- waits go ---------------------------------------------------------------------------------------------------

    def _end_now(self, record: WaitRecord, end: WaitEnd) -> None:
        self._figures.count(end)
        self._end(record, end)

    def _end(self, record: WaitRecord, end: WaitEnd, *, popped: bool = False) -> None:
        """Decided. It is out of every queue at once, and known until somebody has committed it."""
        self._unpark(record, WaitState.ENDING, popped=popped)
        self._reporter.put(record, end)

    def _drop(self, record: WaitRecord) -> None:
        """Nobody waits for it any more; no end is reported, or none that was not sent yet."""
        if record.is_dead:
            self._parked.forget(record)
        else:
            self._stop_trigger(record)
            self._unpark(record, WaitState.GONE)
        self._arming.note_left(record.number)

    def _unpark(self, record: WaitRecord, state: WaitState, *, popped: bool = False) -> None:
        self._parked.unpark(record, state, popped=popped)
        if isinstance(record.source, ProbeGroup):
            self._schedule.leave(record.source)

    def _committed(self, record: WaitRecord) -> None:
        self._parked.forget(record)
        self._arming.note_left(record.number)

    def _stop_trigger(self, record: WaitRecord) -> None:
        if isinstance(record.source, HostSource):
            self._trigger_hosts.cancel(record.wait_id)

    # --- the wall clock: moments and deadlines ----------------------------------------------------------------------

    def _clock_looks_at(self, wake_at: float) -> None:
        """A wait came."""
        if wake_at < self._wakes_at:
            self._earlier.set()

    async def _watch_clock(self) -> None:
        while True:
            self._earlier = trio.Event()
            now = self._now()
            for record in self._parked.pop_due(now.timestamp(), SLICE):
                self._due(record, now)
            self._wakes_at = self._parked.next_at()
            sleep_s = min(max(self._wakes_at - self._now().timestamp(), 0.0), SLEEP_MAX_S)
            with trio.move_on_after(sleep_s):
                await self._earlier.wait()
            self._wakes_at = -math.inf

    def _due(self, record: WaitRecord, now: datetime) -> None:
        if record.wake_at < record.deadline_at and isinstance(record.source, ClockSource):
            self._figures.late(now.timestamp() - max(record.wake_at, record.registered_at))
            end = endings.met(record, Verdict(met=True), "its moment has come", now)
            self._figures.count(end)
            self._end(record, end, popped=True)
        elif record.state is not WaitState.OVERDUE and self._may_be_saved(record):
            record.state = WaitState.OVERDUE
            self._parked.requeue(record, now.timestamp() + self._config.probe_timeout_s + GRACE_S)
        else:
            self._time_out(record, now, popped=True)

    def _may_be_saved(self, record: WaitRecord) -> bool:
        """By a probe on its way; one that was never probed gets its first one now, as Airflow pokes before it looks at
        the clock."""
        group = record.source
        if not isinstance(group, ProbeGroup):
            return False
        if record.state is WaitState.FRESH and not self._schedule.is_blocked(group, trio.current_time()):
            self._schedule.probe_now(group)
            return True
        return self._schedule.may_answer_soon(group)

    def _time_out(self, record: WaitRecord, now: datetime, *, popped: bool = False) -> None:
        self._stop_trigger(record)
        history = record.source.history if isinstance(record.source, ProbeGroup) else None
        self._figures.timed_out += 1
        self._end(record, endings.timed_out(record, () if history is None else history.told(), now), popped=popped)

    # --- answers of the world ---------------------------------------------------------------------------------------

    async def _settle(self, ended: ProbeEnded) -> None:
        self._figures.probes_made += 1
        served = 0
        for group, answer in zip(ended.groups, ended.answers, strict=True):
            self._figures.late(ended.began_at - group.due_at)
            served += group.size - len(group.newcomers)
            is_error = not isinstance(answer, Observation)
            summary = answer.summary if isinstance(answer, Observation) else str(answer) or type(answer).__name__
            group.note_probe(ended.began.timestamp(), ended.took_s, summary, is_error=is_error)
            self._figures.probes_failed += is_error and not isinstance(answer, ProbeThrottled)
            interval_s, broken = await self._judge(group, answer)
            self._note_strike(group, answer, broken)
            self._schedule.probed(group, ended.began_at, interval_s)
        self._figures.probes_saved += max(0, served - 1)

    async def _judge(self, group: ProbeGroup, answer: Answer) -> tuple[float, Exception | None]:
        """Each wait that was there when the probe began, by its own terms.

        (the shortest interval that those who stay ask for, what the kind's `judge` broke with)
        """
        now, shortest = self._now(), math.inf
        verdicts = Verdicts(group.kind, answer)
        for place, record in enumerate(group.waits):
            if place % SLICE == SLICE - 1:
                await trio.lowlevel.checkpoint()
            if record.is_dead:
                continue
            end = verdicts.end_of(record, now)
            if end is not None:
                self._figures.count(end)
                self._end(record, end)
            elif record.state is WaitState.OVERDUE:
                self._time_out(record, now)
            else:
                if isinstance(answer, Observation):
                    record.state = WaitState.PARKED
                shortest = min(shortest, self._schedule.wanted_s(record))
        return shortest, verdicts.broken

    def _note_strike(self, group: ProbeGroup, answer: Answer, broken: Exception | None) -> None:
        """Cut off, or broken as no kind should break: nobody fails for that, but it is soon asked rarely."""
        if broken is None and isinstance(answer, Observation | ProbeFailed | TargetDown):
            group.strikes = 0
        elif isinstance(answer, CutOff):
            group.strikes, group.strike = group.strikes + 1, str(answer)
        elif not isinstance(answer, ProbeThrottled):
            failure = broken or answer
            assert isinstance(failure, Exception)
            if group.strikes == 0:
                log.error("probe_broke", exc_info=failure, kind=group.kind_name, key=group.key, dag_id=group.dag)
            group.strikes, group.strike = group.strikes + 1, f"{type(failure).__name__}: {failure}"
        if group.strikes == STRIKES:
            log.warning(
                "group_quarantined", kind=group.kind_name, key=group.key, waits=group.size, because=group.strike
            )

    def _clocks(self) -> Clocks:
        return Clocks(self._now(), trio.current_time())
