"""THE TREE: every long-lived task of the process, in start order, with its failure policy. Read this first.

    signals                                                                       crash
    embedded Postgres (Lite)                                                      restart_on(StoreUnavailable)
    hint listener                                                                 restart_on(StoreUnavailable)
      refusals: tries that could not be launched                                  crash; contain per refusal
      agents: gRPC service                                                        crash; contain per stream
      process executor (Lite)                                                     crash; contain per environment
      cheap-task pool                                                             crash; contain per probe
        stall watcher, trigger hosts, inline HTTP tasks                           crash; contain per wait, per call
        leadership                                                  restart_on(StoreUnavailable, LeadershipLost)
          while leading: outboxes, scheduler, timetable clock, sweeps             with the leadership
            api: HTTP API and UI                                                  crash; contain per request
            workspace (Lite)                           restart_on(StoreUnavailable); contain per project
    event loop: notices what stands still                                         crash

Nesting is the order: what stands further in starts later and stops earlier. Unwinding is the shutdown; only the
executor has a `stop()`, because its processes would outlive us. `leoflow tree` and the UI's tree page show this tree.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec
import trio
import trio_asyncio  # noqa: F401  # before any library that does `from asyncio import get_running_loop`

from leoflow_sensors.egress_policy import EgressPolicy, parse_policy
from leoflowd import telemetry
from leoflowd.agents.service import AgentService
from leoflowd.api.context import ApiContext, LeaderStatus
from leoflowd.api.server import ApiServer
from leoflowd.cheap_tasks import parts as cheap_tasks
from leoflowd.cheap_tasks.connection_check import ConnectionCheck
from leoflowd.cheap_tasks.parts import CheapTasks
from leoflowd.config import Config, ConfigRefused, EgressConfig, LiteConfig, StoreConfig, lite_config
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.errors import LeadershipLost, StoreUnavailable
from leoflowd.executors.launches import Launches
from leoflowd.executors.process import ProcessExecutor, make_host_token
from leoflowd.executors.refusals import Refusal, Refusals
from leoflowd.lite.environments import Environments
from leoflowd.lite.passwords import ADMIN, set_up_admin
from leoflowd.lite.postgres import EmbeddedPostgres
from leoflowd.lite.ui_assets import prepare_ui
from leoflowd.lite.walls import build_walls
from leoflowd.lite.workspace import Workspace
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.scheduler.draft import EXECUTOR, INLINE
from leoflowd.scheduler.inbox import Inbox
from leoflowd.scheduler.leadership import Leadership
from leoflowd.scheduler.loop import Scheduler
from leoflowd.scheduler.outbox import Outbox
from leoflowd.scheduler.sweeps import Sweeper, follow_hints
from leoflowd.store import settings, tries
from leoflowd.store.connections import ConnectionBook
from leoflowd.store.database import Database, migration_limits
from leoflowd.store.hints import HintListener
from leoflowd.store.log_files import LogFiles
from leoflowd.store.migrations import migrate
from leoflowd.store.secret_box import box_of
from leoflowd.store.trio_connection import TrioConnection, store_errors
from leoflowd.supervision import Node, Pulses, backoff_s, start, start_restarting

log = telemetry.get_logger(__name__)

SWEEPS_MISSED = 3
"""A scheduler or sweeper that does nothing for so many sweep intervals is unhealthy."""
DISK_FREE_MIN_BYTES = 32 * 1024 * 1024
"""Less is a fault: one log may take three times as much."""
START_ATTEMPTS = 10
"""Attempts at the first statements, with backoff: about half a minute."""
T = TypeVar("T")

SHIM = Path(__file__).parent / "authoring" / "airflow_shim"


async def run(config: Config | LiteConfig, announce: Callable[[str], None] | None = None) -> None:
    """The whole life of the process; `announce` gets the few lines meant for the person who started it."""
    telemetry.configure()
    config = lite_config(config) if isinstance(config, LiteConfig) else config
    say = announce or _write_line
    root, stop = Node("leoflowd"), trio.Event()
    root.enter("running")
    with _only_one(config.lite):
        if config.lite is not None:
            build_walls(config.lite)
        await _run_tree(config, root, stop, say)


async def _run_tree(config: Config, root: Node, stop: trio.Event, say: Callable[[str], None]) -> None:
    async with _stage() as signals:
        await signals.start(_wait_signal, stop)
        async with _stage() as stores:
            conninfo = config.database or await _start_postgres(stores, root, config)
            async with _open_database(conninfo, config.store) as db:
                parts = await _build(config, db, root, stop)
                await start_restarting(stores, root.child("hint listener"), parts.hints.run, StoreUnavailable)
                async with _stage() as workers:
                    await _start_workers(workers, root, parts)
                    await _start_pool(workers, root, parts.cheap)
                    async with _stage() as deciders:
                        deciders.start_soon(parts.follow_hints)
                        await start_restarting(
                            deciders, parts.leading, parts.leadership.run, StoreUnavailable, LeadershipLost
                        )
                        async with _stage() as edge:
                            edge.start_soon(_close_at_end, parts.environments)
                            url = await start(edge, root.child("api"), parts.api.run)
                            await start_restarting(
                                edge,
                                root.child("workspace", statistics=parts.workspace.statistics),
                                parts.workspace.run,
                                StoreUnavailable,
                            )
                            say(f"ready: {url}")
                            await stop.wait()
                            say("stopping: running tasks are ended and will run again at the next start")
                            await parts.executor.stop()


async def _start_workers(workers: trio.Nursery, root: Node, parts: Parts) -> None:
    await start(workers, root.child("event loop", complaint=parts.pulses.complaint), parts.pulses.run)
    await start(workers, root.child("refusals", statistics=parts.refusals.statistics), parts.refusals.run)
    agents, executor = parts.agents, parts.executor
    node = root.child("agents", statistics=agents.statistics, complaint=agents.complaint)
    await start(workers, node, agents.run)
    node = root.child("process executor", statistics=executor.statistics, complaint=executor.complaint)
    await start(workers, node, executor.run)


async def _start_pool(workers: trio.Nursery, root: Node, cheap: CheapTasks) -> None:
    """The cheap-task pool: armed before anyone schedules."""
    pool = root.child("cheap-task pool", statistics=cheap.summary)
    await start(workers, pool.child("stall watcher", statistics=cheap.stalls.statistics), cheap.stalls.run)
    await start(workers, pool.child("trigger hosts", statistics=cheap.hosts.statistics), cheap.hosts.run)
    await start(workers, pool.child("inline http", statistics=cheap.inline.statistics), cheap.inline.run)
    await start_restarting(workers, pool.child("inline changes"), cheap.inline_life.run, StoreUnavailable)
    await start(workers, pool, cheap.pool.run)


@contextmanager
def _only_one(lite: LiteConfig | None) -> Iterator[None]:
    """Lite's data folder belongs to one process: a second one would take over, and then stop, the first one's parts."""
    if lite is None:
        yield
        return
    lite.data_dir.mkdir(parents=True, exist_ok=True)
    with (lite.data_dir / "lock").open("a+") as lock:
        (lite.data_dir / "lock").chmod(0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigRefused(
                f"another Leoflow Lite (process {lock.read().strip() or 'unknown'}) runs on {lite.data_dir}; "
                "stop it, or choose another --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


async def migrate_only(config: Config) -> None:
    """`leoflowd migrate`: the schema and nothing else."""
    if config.database is None:
        raise ConfigRefused("no database is configured; set LEOFLOW_DATABASE to the conninfo or URL of a Postgres")
    async with _open_database(config.database, config.store):
        pass


@asynccontextmanager
async def _stage() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks end with its block: leaving the block is their shutdown."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


async def _wait_signal(stop: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    """The first SIGINT or SIGTERM begins the drain; the second one ends the process at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        task_status.started()
        async for number in received:
            if stop.is_set():
                raise KeyboardInterrupt
            log.info("stopping", signal=signal.Signals(number).name)
            stop.set()


async def _start_postgres(stores: trio.Nursery, root: Node, config: Config) -> str:
    if config.lite is None:
        raise ConfigRefused("no database is configured; set LEOFLOW_DATABASE to the conninfo or URL of a Postgres")
    server = EmbeddedPostgres(config.lite.data_dir)
    node = root.child("embedded postgres", statistics=server.statistics)
    conninfo: str = await start_restarting(stores, node, server.run, StoreUnavailable)
    file = config.lite.data_dir / "postgres.conninfo"
    file.touch(mode=0o600)
    file.chmod(0o600)  # as an older release made it
    file.write_text(conninfo + "\n")
    return conninfo


@asynccontextmanager
async def _open_database(conninfo: str, config: StoreConfig) -> AsyncIterator[Database]:
    """The lanes, after the schema is what this release needs."""
    applied = await _patiently(lambda: _migrate(conninfo, config))
    if applied:
        log.info("migrated", files=applied)
    db = Database(conninfo, config)
    try:
        yield db
    finally:
        db.close()


async def _migrate(conninfo: str, config: StoreConfig) -> int:
    with store_errors("cannot bring the schema up to date"):
        connection = await TrioConnection.open(conninfo, migration_limits(config))
        try:
            return await migrate(connection)
        finally:
            connection.pgconn.finish()


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Before the tree stands nobody restarts anything: a Postgres that breaks off now gets its chance here."""
    for attempt in range(1, START_ATTEMPTS):
        try:
            return await work()
        except StoreUnavailable as error:
            log.warning("start_waits_for_postgres", error=str(error), attempt=attempt)
            await trio.sleep(backoff_s(attempt))
    return await work()


# --- what the tree is made of: constructed here, started above ------------------------------------------------------


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    hints: HintListener
    follow_hints: Callable[[], Awaitable[None]]
    pulses: Pulses
    refusals: Refusals
    agents: AgentService
    executor: ProcessExecutor
    cheap: CheapTasks
    leading: Node
    leadership: Leadership
    api: ApiServer
    environments: Environments
    workspace: Workspace


async def _build(config: Config, db: Database, root: Node, stop: trio.Event) -> Parts:
    if config.lite is None or config.process is None or config.agents.socket is None:
        raise ConfigRefused("only Lite can be run so far; the cluster roles are on docs/roadmap.md")
    root.child("store", statistics=db.statistics).enter("running")
    root.child("disk", complaint=lambda: _disk_complaint(config.agents.log_dir)).enter("running")
    hints, inbox, now = HintListener(db.conninfo, config.store), Inbox(), telemetry.utc_now
    logs = LogFiles(config.agents.log_dir)
    dispatches_in, dispatches_out = trio.open_memory_channel[Dispatch](0)
    inline_in, inline_out = trio.open_memory_channel[Dispatch](0)
    launches = Launches()
    refusals = Refusals(lambda refusal: _tell_refusal(db, inbox, refusal))
    pulses = Pulses(root)
    lite = config.lite
    box = box_of(config.secrets)
    policy = _egress_policy(config.egress)
    try_secret = await _patiently(lambda: _try_secret(db))
    password = await _patiently(lambda: set_up_admin(db, lite.admin_password, now()))
    if password is not None:
        _write_line(
            f"admin: user {ADMIN}, password {password}  (shown once; `leoflow lite reset-password` makes another)"
        )
    agents = AgentService(
        db=db,
        logs=logs,
        reports=inbox,
        launches=launches,
        refuse=refusals.refuse,
        hints=hints.subscribe(),
        socket=config.agents.socket,
        try_secret=try_secret,
        host_token=make_host_token(config.process.host_token_file),
        now=now,
        connections=ConnectionBook(db.agents, box, os.environ),
        silence_max_s=config.scheduler.agent_silence_s,
    )
    environments = Environments(config.lite.data_dir)
    executor = ProcessExecutor(
        config=config.process,
        socket=config.agents.socket,
        shim=SHIM,
        dispatches=dispatches_out,
        launches=launches,
        try_secret=try_secret,
        python_for=lambda environment: _python_for(environments, environment),
        refuse=refusals.refuse,
        silent_s=agents.silent_s,
        silence_max_s=config.scheduler.agent_silence_s,
        stop_agent=lambda: agents.shut_down_hosts(
            grace_s=config.process.stop_grace_s if config.process else 0.0, reason="Leoflow Lite was stopped"
        ),
    )
    cheap = cheap_tasks.build(
        config,
        db,
        scheduler=inbox,
        hints=hints,
        connections=ConnectionBook(db.pool, box, os.environ),
        policy=policy,
        dispatches=inline_out,
        python_for=lambda environment: _python_for(environments, environment),
        shim=SHIM,
        logs=logs,
        now=now,
    )
    clock = TimetableClock(db=db, now=now)
    leading = root.child("leadership")
    holder = f"{socket.gethostname()}/{os.getpid()}"

    async def lead(term: int) -> None:
        """Everything that only the leader does; ends with the leadership."""
        outboxes = {
            executor: Outbox(
                db=db,
                dispatches=dispatches,
                refuse=lambda try_id, because: refusals.refuse(try_id, OutcomeKind.FAILED, because),
                now=now,
            )
            for executor, dispatches in ((EXECUTOR, dispatches_in), (INLINE, inline_in))
        }
        scheduler = Scheduler(
            db=db,
            receive=inbox.receive,
            offers={executor: outbox.offer for executor, outbox in outboxes.items()},
            config=config.scheduler,
            term=term,
            now=now,
            run_ended=clock.look_at,
            waits=cheap.pool,
            may_launch=lambda: not stop.is_set(),
        )
        sweeper = Sweeper(db=db, inbox=inbox, config=config.scheduler, now=now, signs=agents.signs)
        within_s = SWEEPS_MISSED * config.scheduler.sweep_interval_s
        decides = pulses.watch("scheduler", lambda: scheduler.rounds, within_s)
        sweeps = pulses.watch("sweeps", lambda: sweeper.statistics()["sweeps"], within_s)
        async with trio.open_nursery() as nursery:
            for executor, outbox in outboxes.items():
                await start(nursery, leading.child(f"{executor} outbox", statistics=outbox.statistics), outbox.run)
            await start(nursery, leading.child("scheduler", "crash", scheduler.statistics, decides), scheduler.run)
            await start(nursery, leading.child("timetable clock", statistics=clock.statistics), clock.run)
            await start(nursery, leading.child("sweeps", "crash", sweeper.statistics, sweeps), sweeper.run)
            clock.look_at(None)
            await trio.sleep_forever()

    leadership = Leadership(
        conninfo=db.conninfo, holder=holder, config=config.scheduler, store=config.store, now=now, lead=lead
    )
    leading.child("lock", statistics=leadership.statistics).enter("running")
    ui_dir = await trio.to_thread.run_sync(lambda: prepare_ui(config.api.ui_dir or Path(), progress=_write_line))
    context = ApiContext(
        db=db,
        logs=logs,
        config=msgspec.structs.replace(config.api, ui_dir=ui_dir),
        now=now,
        tree=lambda: msgspec.to_builtins(root.view()),
        faults=root.faults,
        version=release(),
        leader=lambda: LeaderStatus(
            is_leader=leadership.statistics().leading,
            holder=holder if leadership.statistics().leading else "",
            heartbeat_at=now() if leadership.statistics().leading else None,
        ),
        pool=cheap.pool,
        secrets=box,
        test_connection=ConnectionCheck(policy).check if config.api.test_connection else None,
    )
    following = hints.subscribe()
    return Parts(
        hints=hints,
        follow_hints=lambda: follow_hints(following, inbox, clock.look_at),
        pulses=pulses,
        refusals=refusals,
        agents=agents,
        executor=executor,
        cheap=cheap,
        leading=leading,
        leadership=leadership,
        api=ApiServer(context, shutdown=stop.wait),
        environments=environments,
        workspace=Workspace(config.lite, db, now, environments=environments),
    )


def _disk_complaint(folder: Path) -> str | None:
    """Before nothing can be written any more: logs, spool and, in Lite, Postgres share the disk."""
    try:
        free = shutil.disk_usage(_existing(folder)).free
    except OSError as error:
        return f"the disk of the logs cannot be looked at: {error.strerror}"
    if free >= DISK_FREE_MIN_BYTES:
        return None
    return f"the disk of the logs has {free // 2**20} MiB left; make room, or tasks fail and launches are refused"


def _existing(folder: Path) -> Path:
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def _egress_policy(config: EgressConfig) -> EgressPolicy:
    try:
        return parse_policy(config.allow)
    except ValueError as error:
        raise ConfigRefused(str(error)) from error


async def _try_secret(db: Database) -> bytes:
    async with db.api.connection() as conn:
        return await settings.fetch_or_create_secret(conn, "try_token_secret")


async def _close_at_end(environments: Environments) -> None:
    """Installers run in threads, which a cancellation waits for: end them, so that it need not wait for long."""
    try:
        await trio.sleep_forever()
    finally:
        environments.close()


async def _python_for(environments: Environments, environment: EnvironmentSpec) -> str:
    return str(await trio.to_thread.run_sync(environments.ensure, environment))


async def _tell_refusal(db: Database, inbox: Inbox, refusal: Refusal) -> None:
    """The scheduler hears of it like of any end of a try, and commits it."""
    async with db.agents.connection() as conn:
        row = await tries.fetch_try(conn, refusal.try_id)
    if row is not None and row.live:
        now = telemetry.utc_now()
        outcome = Outcome(kind=refusal.kind, because=refusal.because, start_date=now, end_date=now)
        await inbox.try_ended(row, outcome, None)


def release() -> str:
    try:
        return version("leoflow")
    except PackageNotFoundError:
        return "0.0.0+source"


def _write_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
