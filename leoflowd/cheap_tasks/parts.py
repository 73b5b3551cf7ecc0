"""What the cheap-task pool is made of: the share of the waits that a daemon watches, and the calls of the leader."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import trio

from leoflow_sensors import load_kinds
from leoflow_sensors.egress import EgressClient
from leoflow_sensors.egress_policy import EgressPolicy
from leoflowd import telemetry
from leoflowd.cheap_tasks.asset_watchers import PREFIX, AssetWatchers
from leoflowd.cheap_tasks.http_task import InlineTasks, Reports
from leoflowd.cheap_tasks.human_answers import StoredQuestions
from leoflowd.cheap_tasks.inline_life import InlineLife
from leoflowd.cheap_tasks.pool import CheapTaskPool
from leoflowd.cheap_tasks.probes import probe_running_in
from leoflowd.cheap_tasks.shards import Shards
from leoflowd.cheap_tasks.stall_watcher import StallWatcher
from leoflowd.cheap_tasks.trigger_host_line import HostPlaces
from leoflowd.cheap_tasks.trigger_hosts import TriggerHosts
from leoflowd.cheap_tasks.wait_table import StoredWaits
from leoflowd.config import Config
from leoflowd.contract.agent_messages import CountsAsk
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.logs import LogStore, TryLog
from leoflowd.contract.waits import TriggerCall, WaitEnds
from leoflowd.store import tries, webhooks
from leoflowd.store.connections import ConnectionBook
from leoflowd.store.counts import count_states
from leoflowd.store.database import Database
from leoflowd.store.external_facts import ExternalFacts
from leoflowd.store.hints import HintListener
from leoflowd.store.tries import TryRow
from leoflowd.store.variables import VariableBook

log = telemetry.get_logger(__name__)


class HostParts(msgspec.Struct, frozen=True):
    """Of every daemon that watches waits or may lead."""

    hosts: TriggerHosts
    watchers: AssetWatchers
    """They run only where this daemon leads: `Term` has them."""


class WaitParts(msgspec.Struct, frozen=True):
    """Of every daemon that watches waits, whether it leads or not."""

    pool: CheapTaskPool
    triggers: HostParts
    shards: Shards
    stalls: StallWatcher

    def summary(self) -> dict[str, float]:
        """The pool in the tree; its page has the rest."""
        seen = self.pool.statistics()
        return {
            "waits": sum(seen.waits.values()),
            "groups": seen.groups,
            "probes_made": seen.probes_made,
            "probes_saved": seen.probes_saved,
            "fired": seen.ended_fired,
            "lateness_p99_s": round(seen.lateness_p99_s or 0.0, 3),
        }


class CallParts(msgspec.Struct, frozen=True):
    """Of the daemon that leads: inline HTTP tasks, which its outbox launches."""

    inline: InlineTasks
    inline_life: InlineLife


def build_waits(
    config: Config,
    db: Database,
    *,
    ends: WaitEnds,
    hints: HintListener,
    connections: ConnectionBook,
    variables: VariableBook,
    policy: EgressPolicy,
    places: HostPlaces,
    logs: LogStore,
    now: Callable[[], datetime],
) -> WaitParts:
    """It watches nothing until its `shards` run. Raises `leoflow_sensors.BrokenKind`."""
    stalls = StallWatcher(stall_after_s=config.pool.stall_after_s, describe=probe_running_in)
    triggers = build_hosts(
        config,
        db,
        hints=hints,
        connections=connections,
        variables=variables,
        places=places,
        logs=logs,
        now=now,
        pool=lambda: pool,
    )
    pool = CheapTaskPool(
        table=StoredWaits(db.pool),
        questions=StoredQuestions(db.pool),
        ends=ends,
        hints=hints.subscribe(),
        kinds=load_kinds(),
        connections=connections,
        dag_facts=ExternalFacts(db.pool),
        deliveries=partial(_deliveries, db),
        trigger_hosts=triggers.hosts,
        make_client=partial(EgressClient, policy),
        config=config.pool,
        now=now,
        stalls=stalls.statistics,
        held=frozenset(),
    )
    shards = Shards(conninfo=db.conninfo, share=pool, store=config.store)
    return WaitParts(pool=pool, triggers=triggers, shards=shards, stalls=stalls)


def build_hosts(
    config: Config,
    db: Database,
    *,
    hints: HintListener,
    connections: ConnectionBook,
    variables: VariableBook,
    places: HostPlaces,
    logs: LogStore,
    now: Callable[[], datetime],
    pool: Callable[[], CheapTaskPool] | None = None,
) -> HostParts:
    """`pool` is told of waits; None: this daemon watches none, and its hosts are for watchers of assets alone."""

    def waits() -> CheapTaskPool:
        assert pool is not None, "a trigger of a wait where none is watched"
        return pool()

    hosts = TriggerHosts(
        places=places,
        on_event=lambda wait_id, event, end: (
            watchers.fired(wait_id, event) if wait_id.startswith(PREFIX) else waits().trigger_fired(wait_id, event, end)
        ),
        on_failure=lambda wait_id, error, traceback: (
            watchers.failed(wait_id, error)
            if wait_id.startswith(PREFIX)
            else waits().trigger_failed(wait_id, error, traceback)
        ),
        on_ended=lambda wait_id: watchers.ended(wait_id),
        on_log=partial(_write_log, logs),
        ask=partial(_answer, db, connections, variables),
        now=now,
        config=config.triggers,
    )
    watchers = AssetWatchers(lane=db.pool, hosts=hosts, hints=hints, now=now)
    return HostParts(hosts=hosts, watchers=watchers)


def build_calls(
    config: Config,
    db: Database,
    *,
    reports: Reports,
    hints: HintListener,
    connections: ConnectionBook,
    policy: EgressPolicy,
    dispatches: trio.MemoryReceiveChannel[Dispatch],
    logs: LogStore,
    now: Callable[[], datetime],
) -> CallParts:
    """`dispatches` are inline HTTP tasks."""
    inline = InlineTasks(
        dispatches=dispatches,
        reports=reports,
        connections=connections,
        find_try=partial(_find_try, db),
        logs=logs,
        make_client=partial(EgressClient, policy),
        config=config.inline,
        now=now,
    )
    life = InlineLife(lane=db.pool, inline=inline, reports=reports, hints=hints.subscribe(), now=now)
    return CallParts(inline=inline, inline_life=life)


def _write_log(logs: LogStore, _wait_id: str, call: TriggerCall, line: dict[str, Any]) -> None:
    """Between the processes of a deferred try its trigger speaks in the same log; a watcher's has only its host's."""
    if call.repeats:
        return
    its_log = TryLog(
        dag_id=call.dag_id,
        run_id=call.run_id,
        dag_run_id=call.dag_run_id,
        task_id=call.task_id,
        map_index=call.map_index,
        try_number=call.try_number,
    )
    logs.write_line(its_log, msgspec.json.encode(line) + b"\n")


async def _find_try(db: Database, try_id: str) -> TryRow | None:
    async with db.pool.connection() as conn:
        return await tries.fetch_try(conn, try_id)


async def _deliveries(db: Database, name: str) -> tuple[webhooks.DeliveryRow, ...]:
    async with db.pool.connection() as conn:
        return await webhooks.list_deliveries(conn, name)


async def _answer(
    db: Database,
    connections: ConnectionBook,
    variables: VariableBook,
    call: TriggerCall,
    about: str,
    question: dict[str, Any],
) -> dict[str, Any]:
    """What a trigger asks, in the shape of the agents' answers; `refused` is a sentence that it raises."""
    if about == "connection":
        try:
            found = await connections.fetch(str(question.get("connection_id")))
        except ValueError as error:
            return {"refused": str(error)}
        return {"connection": None if found is None else msgspec.to_builtins(found)}
    if about == "variable":
        try:
            return {"value": await variables.fetch(str(question.get("key")))}
        except ValueError as error:
            return {"refused": str(error)}
    if about == "counts":
        try:
            ask = msgspec.convert({"request_id": 0, **question}, CountsAsk, strict=False)
        except msgspec.ValidationError as error:
            return {"refused": f"the question cannot be understood: {error}"}
        async with db.pool.connection() as conn:
            return {"count": await count_states(conn, ask)}
    return {"refused": f"a trigger of task {call.task_id!r} cannot ask about {about!r} here"}
