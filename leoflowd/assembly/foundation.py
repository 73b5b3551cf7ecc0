"""What every edition's daemon is built on, and the parts that do not care where tasks run.

What an edition adds (an executor, environments, a workspace) it builds itself: see `lite`.
"""

from __future__ import annotations

import hmac
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import trio

from leoflow_sensors.egress_policy import EgressPolicy, parse_policy
from leoflowd import telemetry
from leoflowd.agents.callbacks import CallbackReports
from leoflowd.agents.service import AgentService
from leoflowd.api.admission import Admission
from leoflowd.api.context import ApiContext
from leoflowd.api.identity_provider import IdentityProvider
from leoflowd.api.server import ApiServer
from leoflowd.assembly.parts import Component, Term
from leoflowd.assembly.places import Kept, LogPart
from leoflowd.cheap_tasks import parts as cheap_tasks
from leoflowd.cheap_tasks.connection_check import ConnectionCheck
from leoflowd.cheap_tasks.everywhere import PoolEverywhere
from leoflowd.cheap_tasks.parts import HostParts, WaitParts
from leoflowd.cheap_tasks.trigger_host_line import HostPlaces
from leoflowd.config import SECTIONS, AdmissionConfig, ApiConfig, Config, ConfigRefused, EgressConfig
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.errors import Invalid, StoreUnavailable
from leoflowd.contract.signatures import read_signers
from leoflowd.contract.workspace_files import WorkspaceEditor
from leoflowd.core.traces import TraceIds, Traceparent, untraced
from leoflowd.executors.refusals import Refusal, Refusals
from leoflowd.scheduler.audit_seals import AuditSeals
from leoflowd.scheduler.backfills import BackfillMaker
from leoflowd.scheduler.callbacks import Callbacks
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.scheduler.deadlines import Deadlines
from leoflowd.scheduler.deleted_runs import DeletedRuns
from leoflowd.scheduler.draft import EXECUTOR, INLINE
from leoflowd.scheduler.inbox import Inbox
from leoflowd.scheduler.leadership import Leadership
from leoflowd.scheduler.loop import Scheduler
from leoflowd.scheduler.outbox import Outbox
from leoflowd.scheduler.replicas import Heart, Others
from leoflowd.scheduler.reports import KeptReports, OthersReports, follow
from leoflowd.scheduler.retention import Retention
from leoflowd.scheduler.sweeps import Sweeper, follow_hints
from leoflowd.scheduler.trace_export import TraceExport
from leoflowd.scheduler.tracing import Tracing
from leoflowd.store import settings
from leoflowd.store.callbacks import CallbackTry, fetch_any_try
from leoflowd.store.connections import ConnectionBook
from leoflowd.store.database import Database, Lane
from leoflowd.store.hints import HintListener
from leoflowd.store.reports import fetch_has_end
from leoflowd.store.secret_box import box_of
from leoflowd.store.variables import VariableBook
from leoflowd.supervision import Node, Pulses

SWEEPS_MISSED = 3
"""A scheduler or sweeper that does nothing for so many sweep intervals is unhealthy."""
SHIM = Path(__file__).parent.parent / "authoring" / "airflow_shim"


class Foundation(msgspec.Struct, frozen=True, kw_only=True):
    """What most parts are built on. `replica` names this daemon to the others."""

    config: Config
    db: Database
    root: Node
    stop: trio.Event
    hints: HintListener
    inbox: Inbox
    logs: LogPart
    policy: EgressPolicy
    refusals: Refusals
    dispatches_in: trio.MemorySendChannel[Dispatch]
    dispatches_out: trio.MemoryReceiveChannel[Dispatch]
    pulses: Pulses
    clock: TimetableClock
    backfills: BackfillMaker
    try_secret: bytes
    traces: TraceExport | None
    """None: nothing is traced."""
    trace_ids: TraceIds | None
    replica: str
    launcher: str
    name: str
    """Host and process, for people."""
    now: Callable[[], datetime]

    @property
    def traceparent(self) -> Traceparent:
        return untraced if self.trace_ids is None else self.trace_ids.traceparent


class Led:
    """What this daemon has only while it leads, for those who are told or ask from outside of the term."""

    def __init__(self) -> None:
        self.reports: OthersReports | None = None
        self.callbacks: Callbacks | None = None
        self.deadlines: Deadlines | None = None

    def begin(self, term: Term) -> None:
        self.reports, self.callbacks, self.deadlines = term.reports, term.callbacks, term.deadlines

    def end(self) -> None:
        self.reports = self.callbacks = self.deadlines = None

    def reports_came(self) -> None:
        if self.reports is not None:
            self.reports.came()

    def callbacks_came(self) -> None:
        if self.callbacks is not None:
            self.callbacks.came()

    def deadlines_came(self) -> None:
        if self.deadlines is not None:
            self.deadlines.came()


async def lay_foundation(
    config: Config,
    db: Database,
    kept: Kept,
    root: Node,
    stop: trio.Event,
    *,
    replica: str,
    launcher: str | None = None,
) -> Foundation:
    """`launcher`: under which name tries are launched, if not as this daemon's. Raises `ConfigRefused`, and
    `StoreUnavailable`."""
    dispatches_in, dispatches_out = trio.open_memory_channel[Dispatch](0)
    inbox = Inbox()
    try_secret, otel = await _try_secret(db), config.traces
    return Foundation(
        config=config,
        db=db,
        root=root,
        stop=stop,
        hints=HintListener(db.conninfo, config.store),
        inbox=inbox,
        logs=kept.logs,
        policy=_egress_policy(config.egress),
        refusals=Refusals(partial(_tell_refusal, db, inbox)),
        dispatches_in=dispatches_in,
        dispatches_out=dispatches_out,
        pulses=Pulses(root),
        clock=TimetableClock(db=db, now=telemetry.utc_now),
        backfills=BackfillMaker(db=db, now=telemetry.utc_now),
        try_secret=try_secret,
        traces=None if otel is None else TraceExport(otel, version=release()),
        trace_ids=None if otel is None else TraceIds(hmac.digest(try_secret, b"traces", "sha256"), otel.ratio),
        replica=replica,
        launcher=replica if launcher is None else launcher,
        name=f"{socket.gethostname()}/{os.getpid()}",
        now=telemetry.utc_now,
    )


def build_leadership(
    base: Foundation,
    led: Led,
    agents: AgentService,
    waits: WaitParts | None,
    triggers: HostParts,
    *,
    waiting: Callable[[], frozenset[str]] | None = None,
    lead: Callable[[Term], Awaitable[None]],
    executor: Callable[[], Component] | None = None,
) -> Leadership:
    """`lead` runs a term's parts until it is cancelled; `executor` makes the one that only a leader has; `waiting` are
    the tries that the executor of this host will hand over, which a leader elsewhere wants to know."""
    kept = KeptReports(db=base.db, inbox=base.inbox, now=base.now)

    async def tell_held(at: datetime) -> None:
        await agents.tell_held(frozenset() if waiting is None else waiting(), at)

    async def lead_term(number: int) -> None:
        term = _term(base, agents, waits, triggers, number, None if executor is None else executor())
        led.begin(term)
        try:
            await lead(term)
        finally:
            led.end()

    return Leadership(
        conninfo=base.db.conninfo,
        holder=base.name,
        config=base.config.scheduler,
        store=base.config.store,
        now=base.now,
        follow=kept.run if waiting is None else lambda: follow(kept, tell_held, base.now),
        lead=lead_term,
    )


def keep_reports(base: Foundation) -> Callable[[], Awaitable[None]]:
    """The inbox of a daemon that does not lead."""
    return KeptReports(db=base.db, inbox=base.inbox, now=base.now).run


def following(base: Foundation, led: Led) -> Callable[[], Awaitable[None]]:
    """Brings what Postgres announces to whoever is concerned."""
    heard = base.hints.subscribe()
    changed = partial(_dag_changed, base)
    return lambda: follow_hints(heard, base.inbox, changed, led.reports_came, led.callbacks_came, led.deadlines_came)


def build_heart(base: Foundation, agents: AgentService) -> Heart:
    return Heart(
        db=base.db,
        replica=base.replica,
        name=base.name,
        heard=agents.heard,
        agents=lambda: agents.statistics().hosts,
        now=base.now,
    )


def _dag_changed(base: Foundation, dag_id: str | None) -> None:
    """None: any of them may have."""
    base.clock.look_at(dag_id)
    base.backfills.look()


def _run_ended(base: Foundation, dag_id: str) -> None:
    base.clock.look_at(dag_id)
    base.backfills.run_ended(dag_id)


def build_waits(base: Foundation, places: HostPlaces) -> WaitParts:
    return cheap_tasks.build_waits(
        base.config,
        base.db,
        ends=base.inbox,
        hints=base.hints,
        connections=connections_of(base, base.db.pool),
        variables=variables_of(base, base.db.pool),
        policy=base.policy,
        places=places,
        logs=base.logs,
        now=base.now,
    )


def build_hosts(base: Foundation, places: HostPlaces) -> HostParts:
    """Of a daemon that may lead and watches no waits."""
    return cheap_tasks.build_hosts(
        base.config,
        base.db,
        hints=base.hints,
        connections=connections_of(base, base.db.pool),
        variables=variables_of(base, base.db.pool),
        places=places,
        logs=base.logs,
        now=base.now,
    )


def _term(
    base: Foundation,
    agents: AgentService,
    waits: WaitParts | None,
    triggers: HostParts,
    number: int,
    executor: Component | None,
) -> Term:
    """Channels between its parts are its own: what an older term ordered is void."""
    config = base.config.scheduler
    tracing = None
    if base.traces is not None and base.trace_ids is not None:
        tracing = Tracing(base.trace_ids, base.traces.offer, base.now)
    inline_in, inline_out = trio.open_memory_channel[Dispatch](0)
    calls = cheap_tasks.build_calls(
        base.config,
        base.db,
        reports=base.inbox,
        hints=base.hints,
        connections=connections_of(base, base.db.pool),
        policy=base.policy,
        dispatches=inline_out,
        logs=base.logs,
        now=base.now,
    )
    pools = PoolEverywhere(
        own=None if waits is None else waits.pool,
        is_alone=lambda: waits is not None and waits.shards.is_alone,
        lane=base.db.pool,
    )
    outboxes = {
        executor: Outbox(
            db=base.db,
            dispatches=dispatches,
            refuse=lambda try_id, because: base.refusals.refuse(try_id, OutcomeKind.FAILED, because),
            now=base.now,
            tracing=tracing,
        )
        for executor, dispatches in ((EXECUTOR, base.dispatches_in), (INLINE, inline_in))
    }
    callbacks = Callbacks(
        db=base.db,
        dispatches=base.dispatches_in,
        config=base.config.callbacks,
        sweep_interval_s=config.sweep_interval_s,
        silence_s=config.agent_silence_s,
        now=base.now,
        signs=agents.signs,
        others=Others(base.db, base.replica, launcher=base.launcher),
        launcher=base.launcher,
    )
    scheduler = Scheduler(
        db=base.db,
        receive=base.inbox.receive,
        offers={executor: outbox.offer for executor, outbox in outboxes.items()},
        config=config,
        term=number,
        now=base.now,
        run_ended=partial(_run_ended, base),
        waits=pools,
        may_launch=lambda: not base.stop.is_set(),
        launcher=base.launcher,
        call_back=callbacks.came,
        tracing=tracing,
    )
    sweeper = Sweeper(
        db=base.db,
        inbox=base.inbox,
        config=config,
        now=base.now,
        signs=agents.signs,
        others=Others(base.db, base.replica, launcher=base.launcher),
    )
    secrets = box_of(base.config.secrets)
    seals = AuditSeals(db=base.db, secrets=secrets)
    deleted_runs = DeletedRuns(db=base.db, logs=base.logs, sweep_interval_s=config.sweep_interval_s, now=base.now)
    retention = Retention(db=base.db, config=base.config.retention, secrets=secrets, now=base.now)
    within_s = SWEEPS_MISSED * config.sweep_interval_s
    return Term(
        calls=calls,
        pools=pools,
        executor=executor,
        outboxes=outboxes,
        scheduler=scheduler,
        clock=base.clock,
        backfills=base.backfills,
        watchers=triggers.watchers,
        reports=OthersReports(db=base.db, inbox=base.inbox, sweep_interval_s=config.sweep_interval_s),
        callbacks=callbacks,
        deadlines=Deadlines(
            db=base.db, sweep_interval_s=config.sweep_interval_s, now=base.now, call_back=callbacks.came
        ),
        sweeper=sweeper,
        seals=seals,
        deleted_runs=deleted_runs,
        retention=retention,
        complaints={
            "audit seals": seals.complaint,
            "deleted runs": deleted_runs.complaint,
            "retention": retention.complaint,
            "scheduler": base.pulses.watch("scheduler", lambda: scheduler.rounds, within_s),
            "sweeps": base.pulses.watch("sweeps", lambda: sweeper.statistics()["sweeps"], within_s),
        },
    )


def build_api(
    base: Foundation,
    waits: WaitParts | None,
    config: ApiConfig,
    *,
    reparse: Callable[[str], bool] | None = None,
    is_building: Callable[[str], bool] = lambda try_id: False,
    editor: WorkspaceEditor | None = None,
) -> ApiServer:
    """`reparse`: what a workspace does when somebody asks for a DAG's file to be compiled again; `is_building`: does a
    try wait for its environment? `editor`: of a workspace."""
    context = ApiContext(
        db=base.db,
        logs=base.logs,
        config=config,
        now=base.now,
        tree=lambda: msgspec.to_builtins(base.root.view()),
        faults=base.root.faults,
        version=release(),
        pool=None if waits is None else waits.pool,
        secrets=box_of(base.config.secrets),
        oidc=_identity_provider(base),
        admission=_admission(base.config.admission),
        paused_at_creation=base.config.dags.paused_at_creation,
        retention=base.config.retention,
        settings={name: getattr(base.config, name) for name in SECTIONS},
        reparse=reparse,
        is_building=is_building,
        editor=editor,
        test_connection=ConnectionCheck(base.policy).check if config.test_connection else None,
    )
    return ApiServer(context, shutdown=base.stop.wait)


def _identity_provider(base: Foundation) -> IdentityProvider | None:
    """Raises `ConfigRefused`."""
    config, base_path = base.config.oidc, base.config.api.base_path
    if not config.issuer:
        return None
    provider = IdentityProvider(config, base.now)
    if urlsplit(provider.public_url).path != base_path:
        raise ConfigRefused(
            f"LEOFLOW_OIDC_PUBLIC_URL is {config.public_url}, and LEOFLOW_API_BASE_PATH is {base_path}: the path of "
            "the one must be the other"
        )
    return provider


def _admission(config: AdmissionConfig) -> Admission:
    """Raises `ConfigRefused`."""
    try:
        signers = read_signers(config.signers)
    except Invalid as error:
        raise ConfigRefused(f"LEOFLOW_ADMISSION_SIGNERS: {error}") from error
    if config.require_signed and not signers:
        raise ConfigRefused(
            "LEOFLOW_ADMISSION_REQUIRE_SIGNED is set and LEOFLOW_ADMISSION_SIGNERS names no key: no version could be "
            "registered"
        )
    return Admission(signers, is_required=config.require_signed)


def connections_of(base: Foundation, lane: Lane) -> ConnectionBook:
    return ConnectionBook(lane, box_of(base.config.secrets), os.environ)


def variables_of(base: Foundation, lane: Lane) -> VariableBook:
    return VariableBook(lane, box_of(base.config.secrets), os.environ)


def _egress_policy(config: EgressConfig) -> EgressPolicy:
    try:
        return parse_policy(config.allow)
    except ValueError as error:
        raise ConfigRefused(str(error)) from error


async def _try_secret(db: Database) -> bytes:
    async with db.api.connection() as conn:
        return await settings.fetch_or_create_secret(conn, "try_token_secret")


def release() -> str:
    try:
        return version("leoflow")
    except PackageNotFoundError:
        return "0.0.0+source"


async def _tell_refusal(db: Database, inbox: Inbox, refusal: Refusal) -> None:
    now = telemetry.utc_now()
    outcome = Outcome(kind=refusal.kind, because=refusal.because, start_date=now, end_date=now)
    await tell_end(db, inbox, refusal.try_id, outcome)


async def tell_end(db: Database, inbox: Inbox, try_id: str, outcome: Outcome) -> None:
    """The scheduler hears of it like of any end of a try, and commits it; one that is not current has ended already.

    What is only inferred waits for what the agent itself told another daemon. Raises `StoreUnavailable`: tell it again.
    """
    async with db.agents.connection() as conn:
        row = await fetch_any_try(conn, try_id)
        if row is not None and outcome.kind is OutcomeKind.LOST and await fetch_has_end(conn, try_id):
            raise StoreUnavailable(f"the end that the agent of try {try_id} told is not decided yet; tell it again")
    if row is not None and row.live:
        if isinstance(row, CallbackTry):
            await CallbackReports(db, telemetry.utc_now).try_ended(row, outcome, None)
        else:
            await inbox.try_ended(row, outcome, None)
