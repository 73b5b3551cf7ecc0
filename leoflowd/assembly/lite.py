"""Lite's parts: one host agent, environments and a workspace of its own, and a Postgres that is embedded or given."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import trio

from leoflow_sensors.egress_policy import EgressPolicy, parse_policy
from leoflowd import telemetry
from leoflowd.agents.callbacks import CallbackReports
from leoflowd.agents.service import AgentService
from leoflowd.api.context import ApiContext
from leoflowd.api.server import ApiServer
from leoflowd.assembly.parts import Parts, Term
from leoflowd.cheap_tasks import parts as cheap_tasks
from leoflowd.cheap_tasks.connection_check import ConnectionCheck
from leoflowd.cheap_tasks.pool import CheapTaskPool
from leoflowd.config import Config, ConfigRefused, EgressConfig, LiteConfig, ProcessConfig
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch
from leoflowd.executors.launches import Launches
from leoflowd.executors.process import ProcessExecutor, make_host_token
from leoflowd.executors.refusals import Refusal, Refusals
from leoflowd.lite.environments import Environments
from leoflowd.lite.passwords import ADMIN, set_up_admin
from leoflowd.lite.ui_assets import prepare_ui
from leoflowd.lite.workspace import Workspace
from leoflowd.scheduler.backfills import BackfillMaker
from leoflowd.scheduler.callbacks import Callbacks
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.scheduler.draft import EXECUTOR, INLINE
from leoflowd.scheduler.inbox import Inbox
from leoflowd.scheduler.leadership import Leadership
from leoflowd.scheduler.loop import Scheduler
from leoflowd.scheduler.outbox import Outbox
from leoflowd.scheduler.replicas import Heart, Others
from leoflowd.scheduler.reports import KeptReports, OthersReports
from leoflowd.scheduler.sweeps import Sweeper, follow_hints
from leoflowd.store import settings
from leoflowd.store.callbacks import CallbackTry, fetch_any_try
from leoflowd.store.connections import ConnectionBook
from leoflowd.store.database import Database, Lane
from leoflowd.store.hints import HintListener
from leoflowd.store.loadable import fetch_loadable
from leoflowd.store.log_files import LogFiles
from leoflowd.store.secret_box import box_of
from leoflowd.store.variables import VariableBook
from leoflowd.supervision import Node, Pulses

SWEEPS_MISSED = 3
"""A scheduler or sweeper that does nothing for so many sweep intervals is unhealthy."""
SHIM = Path(__file__).parent.parent / "authoring" / "airflow_shim"


class Foundation(msgspec.Struct, frozen=True, kw_only=True):
    """What most parts are built on. `replica` names this daemon to the others for as long as its data folder lives."""

    config: Config
    lite: LiteConfig
    process: ProcessConfig
    socket: Path
    db: Database
    root: Node
    stop: trio.Event
    hints: HintListener
    inbox: Inbox
    logs: LogFiles
    environments: Environments
    policy: EgressPolicy
    refusals: Refusals
    launches: Launches
    dispatches_in: trio.MemorySendChannel[Dispatch]
    dispatches_out: trio.MemoryReceiveChannel[Dispatch]
    pulses: Pulses
    clock: TimetableClock
    backfills: BackfillMaker
    try_secret: bytes
    host_token: str
    replica: str
    name: str
    """Host and process, for people."""
    now: Callable[[], datetime]


class Led:
    """What this daemon has only while it leads, for those who are told or ask from outside of the term."""

    def __init__(self) -> None:
        self.pool: CheapTaskPool | None = None
        self.reports: OthersReports | None = None
        self.callbacks: Callbacks | None = None

    def begin(self, term: Term) -> None:
        self.pool, self.reports, self.callbacks = term.cheap.pool, term.reports, term.callbacks

    def end(self) -> None:
        self.pool = self.reports = self.callbacks = None

    def reports_came(self) -> None:
        if self.reports is not None:
            self.reports.came()

    def callbacks_came(self) -> None:
        if self.callbacks is not None:
            self.callbacks.came()


async def build(
    config: Config,
    db: Database,
    root: Node,
    stop: trio.Event,
    *,
    lead: Callable[[Term], Awaitable[None]],
    say: Callable[[str], None],
) -> Parts:
    """`lead` runs a term's parts until it is cancelled; `say` gets what is meant for the person who started us.

    Raises `ConfigRefused`, and `StoreUnavailable`.
    """
    base = await _foundation(config, db, root, stop, say)
    led, agents = Led(), _agents(base)

    async def lead_term(number: int) -> None:
        term = _term(base, agents, number)
        led.begin(term)
        try:
            await lead(term)
        finally:
            led.end()

    leadership = Leadership(
        conninfo=db.conninfo,
        holder=base.name,
        config=config.scheduler,
        store=config.store,
        now=base.now,
        follow=KeptReports(db=db, inbox=base.inbox, now=base.now).run,
        lead=lead_term,
    )
    following = base.hints.subscribe()
    return Parts(
        hints=base.hints,
        follow_hints=lambda: follow_hints(
            following, base.inbox, partial(_dag_changed, base), led.reports_came, led.callbacks_came
        ),
        pulses=base.pulses,
        refusals=base.refusals,
        agents=agents,
        heart=Heart(
            db=db,
            replica=base.replica,
            name=base.name,
            heard=agents.heard,
            agents=lambda: agents.statistics().hosts,
            now=base.now,
        ),
        executor=_executor(base, agents),
        leadership=leadership,
        api=ApiServer(await _api(base, led, say), shutdown=stop.wait),
        environments=base.environments,
        workspace=Workspace(
            base.lite,
            db,
            base.now,
            environments=base.environments,
            loadable=partial(fetch_loadable, db, box_of(config.secrets)),
            hints=base.hints.subscribe(),
        ),
    )


async def _foundation(
    config: Config, db: Database, root: Node, stop: trio.Event, say: Callable[[str], None]
) -> Foundation:
    if config.lite is None or config.process is None or config.agents.socket is None:
        raise ConfigRefused("only Lite can be run so far; the cluster roles are on docs/roadmap.md")
    try_secret = await _try_secret(db)
    password = await set_up_admin(db, config.lite.admin_password, telemetry.utc_now())
    if password is not None:
        say(f"admin: user {ADMIN}, password {password}  (shown once; `leoflow lite reset-password` makes another)")
    dispatches_in, dispatches_out = trio.open_memory_channel[Dispatch](0)
    inbox, host_token = Inbox(), make_host_token(config.process.host_token_file)
    return Foundation(
        config=config,
        lite=config.lite,
        process=config.process,
        socket=config.agents.socket,
        db=db,
        root=root,
        stop=stop,
        hints=HintListener(db.conninfo, config.store),
        inbox=inbox,
        logs=LogFiles(config.agents.log_dir),
        environments=Environments(config.lite.data_dir),
        policy=_egress_policy(config.egress),
        refusals=Refusals(partial(_tell_refusal, db, inbox)),
        launches=Launches(),
        dispatches_in=dispatches_in,
        dispatches_out=dispatches_out,
        pulses=Pulses(root),
        clock=TimetableClock(db=db, now=telemetry.utc_now),
        backfills=BackfillMaker(db=db, now=telemetry.utc_now),
        try_secret=try_secret,
        host_token=host_token,
        replica=hashlib.sha256(host_token.encode()).hexdigest()[:16],
        name=f"{socket.gethostname()}/{os.getpid()}",
        now=telemetry.utc_now,
    )


def _dag_changed(base: Foundation, dag_id: str | None) -> None:
    """None: any of them may have."""
    base.clock.look_at(dag_id)
    base.backfills.look()


def _run_ended(base: Foundation, dag_id: str) -> None:
    base.clock.look_at(dag_id)
    base.backfills.run_ended(dag_id)


def _agents(base: Foundation) -> AgentService:
    return AgentService(
        db=base.db,
        logs=base.logs,
        reports=base.inbox,
        launches=base.launches,
        refuse=base.refusals.refuse,
        hints=base.hints.subscribe(),
        socket=base.socket,
        try_secret=base.try_secret,
        host_token=base.host_token,
        launcher=base.replica,
        now=base.now,
        connections=_connections(base, base.db.agents),
        variables=_variables(base, base.db.agents),
        silence_max_s=base.config.scheduler.agent_silence_s,
        callback_timeout_s=base.config.callbacks.timeout_s,
    )


def _executor(base: Foundation, agents: AgentService) -> ProcessExecutor:
    return ProcessExecutor(
        config=base.process,
        socket=base.socket,
        shim=SHIM,
        dispatches=base.dispatches_out,
        launches=base.launches,
        try_secret=base.try_secret,
        python_for=partial(_python_for, base.environments),
        refuse=base.refusals.refuse,
        silent_s=agents.silent_s,
        silence_max_s=base.config.scheduler.agent_silence_s,
        stop_agent=lambda: agents.shut_down_hosts(grace_s=base.process.stop_grace_s, reason="Leoflow Lite was stopped"),
    )


def _term(base: Foundation, agents: AgentService, number: int) -> Term:
    """Channels between its parts are its own: what an older term ordered is void."""
    config = base.config.scheduler
    inline_in, inline_out = trio.open_memory_channel[Dispatch](0)
    cheap = cheap_tasks.build(
        base.config,
        base.db,
        scheduler=base.inbox,
        hints=base.hints,
        connections=_connections(base, base.db.pool),
        variables=_variables(base, base.db.pool),
        policy=base.policy,
        dispatches=inline_out,
        python_for=partial(_python_for, base.environments),
        shim=SHIM,
        logs=base.logs,
        now=base.now,
    )
    outboxes = {
        executor: Outbox(
            db=base.db,
            dispatches=dispatches,
            refuse=lambda try_id, because: base.refusals.refuse(try_id, OutcomeKind.FAILED, because),
            now=base.now,
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
        others=Others(base.db, base.replica),
        launcher=base.replica,
    )
    scheduler = Scheduler(
        db=base.db,
        receive=base.inbox.receive,
        offers={executor: outbox.offer for executor, outbox in outboxes.items()},
        config=config,
        term=number,
        now=base.now,
        run_ended=partial(_run_ended, base),
        waits=cheap.pool,
        may_launch=lambda: not base.stop.is_set(),
        launcher=base.replica,
        call_back=callbacks.came,
    )
    sweeper = Sweeper(
        db=base.db,
        inbox=base.inbox,
        config=config,
        now=base.now,
        signs=agents.signs,
        others=Others(base.db, base.replica),
    )
    within_s = SWEEPS_MISSED * config.sweep_interval_s
    return Term(
        cheap=cheap,
        outboxes=outboxes,
        scheduler=scheduler,
        clock=base.clock,
        backfills=base.backfills,
        reports=OthersReports(db=base.db, inbox=base.inbox, sweep_interval_s=config.sweep_interval_s),
        callbacks=callbacks,
        sweeper=sweeper,
        complaints={
            "scheduler": base.pulses.watch("scheduler", lambda: scheduler.rounds, within_s),
            "sweeps": base.pulses.watch("sweeps", lambda: sweeper.statistics()["sweeps"], within_s),
        },
    )


async def _api(base: Foundation, led: Led, say: Callable[[str], None]) -> ApiContext:
    config = base.config.api
    ui_dir = await trio.to_thread.run_sync(lambda: prepare_ui(config.ui_dir or Path(), progress=say))
    return ApiContext(
        db=base.db,
        logs=base.logs,
        config=msgspec.structs.replace(config, ui_dir=ui_dir),
        now=base.now,
        tree=lambda: msgspec.to_builtins(base.root.view()),
        faults=base.root.faults,
        version=release(),
        pool=lambda: led.pool,
        secrets=box_of(base.config.secrets),
        test_connection=ConnectionCheck(base.policy).check if config.test_connection else None,
    )


def _connections(base: Foundation, lane: Lane) -> ConnectionBook:
    return ConnectionBook(lane, box_of(base.config.secrets), os.environ)


def _variables(base: Foundation, lane: Lane) -> VariableBook:
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


async def _python_for(environments: Environments, environment: EnvironmentSpec) -> str:
    return str(await trio.to_thread.run_sync(environments.ensure, environment))


async def _tell_refusal(db: Database, inbox: Inbox, refusal: Refusal) -> None:
    """The scheduler hears of it like of any end of a try, and commits it."""
    async with db.agents.connection() as conn:
        row = await fetch_any_try(conn, refusal.try_id)
    if row is not None and row.live:
        now = telemetry.utc_now()
        outcome = Outcome(kind=refusal.kind, because=refusal.because, start_date=now, end_date=now)
        if isinstance(row, CallbackTry):
            await CallbackReports(db, telemetry.utc_now).try_ended(row, outcome, None)
        else:
            await inbox.try_ended(row, outcome, None)
