"""THE TREE: every long-lived task of the process, in start order, with its failure policy. Read this first.

    signals                                                                       crash
    embedded Postgres (Lite)                                                      restart_on(StoreUnavailable)
    Redis, if it is used                                                          crash; contain per trip
    hint listener                                                                 restart_on(StoreUnavailable)
      refusals: tries that could not be launched                                  crash; contain per refusal
      logs: what is not stored yet                                                crash; contain per log
      agents: gRPC service                                                        crash; contain per stream
      process executor (Lite)                                                     crash; contain per environment
      replica: says that this daemon lives                                        crash; contain per beat
      cheap-task pool: this daemon's share of the waits                           crash; contain per probe
        trigger hosts (of a leader without a pool too), stall watcher             crash; contain per wait
        shards: which waits are ours                                              restart_on(StoreUnavailable)
        leadership                                                  restart_on(StoreUnavailable, LeadershipLost)
          while not leading: reports become rows                                  with the leadership
          while leading:                                                          with the leadership
            inline HTTP tasks                                                     crash; contain per call
            others' pools: hints about their waits                                crash
            asset watchers                                                        crash; contain per event
            outboxes, scheduler, timetable clock, backfills                       crash
            others' reports, callbacks, deadlines, sweeps, audit seals, retention crash
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
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio
import trio_asyncio  # noqa: F401  # before any library that does `from asyncio import get_running_loop`

from leoflowd import telemetry
from leoflowd.assembly.parts import Parts, Term
from leoflowd.assembly.places import Kept, places_of
from leoflowd.cheap_tasks.parts import HostParts, WaitParts
from leoflowd.config import Config, ConfigRefused, LiteConfig, StoreConfig, lite_config
from leoflowd.contract.errors import LeadershipLost, StoreUnavailable
from leoflowd.lite.environments import Environments
from leoflowd.lite.postgres import EmbeddedPostgres
from leoflowd.lite.walls import build_walls
from leoflowd.store.database import Database, migration_limits
from leoflowd.store.migrations import migrate
from leoflowd.store.trio_connection import TrioConnection, store_errors
from leoflowd.store.value_places import NO_PLACES, ValuePlaces
from leoflowd.supervision import Node, backoff_s, start, start_restarting

log = telemetry.get_logger(__name__)

DISK_FREE_MIN_BYTES = 32 * 1024 * 1024
"""Less is a fault: one log may take three times as much."""
CLOSE_WITHIN_S = 2.0
START_ATTEMPTS = 10
"""Attempts at the first statements, with backoff: about half a minute."""
T = TypeVar("T")


async def run(config: Config | LiteConfig, announce: Callable[[str], None] | None = None) -> None:
    """The whole life of the process; `announce` gets the few lines meant for the person who started it."""
    telemetry.configure(as_json=False if isinstance(config, LiteConfig) else None)  # a person started Lite, and reads
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
            kept = places_of(config)
            async with _open_database(conninfo, config.store, kept.values) as db:
                root.child("store", statistics=db.statistics).enter("running")
                root.child("disk", complaint=lambda: _disk_complaint(config.agents.log_dir)).enter("running")
                await _start_places(stores, root, kept)
                leading = root.child("leadership")
                build = _edition(config)
                parts = await _patiently(
                    lambda: build(config, db, kept, root, stop, lead=partial(_lead, root, leading), say=say)
                )
                if parts.close is not None:
                    stores.start_soon(_call_at_end, parts.close)  # after the workers, who have last words to say
                await start_restarting(stores, root.child("hint listener"), parts.hints.run, StoreUnavailable)
                async with _stage() as workers:
                    await _start_workers(workers, root, parts)
                    await _start_waits(workers, root, parts.waits, parts.triggers)
                    async with _stage() as deciders:
                        deciders.start_soon(parts.follow_hints)
                        await _start_leadership(deciders, leading, parts)
                        async with _stage() as edge:
                            url = await start(edge, root.child("api"), parts.api.run)
                            await _start_workspace(edge, root, parts)
                            say(f"ready: {url}")
                            await stop.wait()
                            await _stop_executor(parts, say)


def _edition(config: Config) -> Callable[..., Awaitable[Parts]]:
    """Its own packages are loaded for it alone: a laptop needs no Kubernetes."""
    if config.lite is not None and config.lite.cluster is not None:
        from leoflowd.assembly.lite_cluster import build as build_lite_cluster

        return build_lite_cluster
    if config.lite is not None:
        from leoflowd.assembly.lite import build as build_lite

        return build_lite
    from leoflowd.assembly.cluster import build as build_cluster

    return build_cluster


async def _start_places(stores: trio.Nursery, root: Node, kept: Kept) -> None:
    """What is kept beside the database. It may be gone: that is a complaint, and nobody waits for it."""
    if kept.redis is not None:
        redis = kept.redis
        await start(stores, root.child("redis", statistics=redis.statistics, complaint=redis.complaint), redis.run)
    if kept.redis is not None or kept.large is not None:
        root.child("xcom values", statistics=kept.values.statistics, complaint=kept.large).enter("running")


async def _start_workers(workers: trio.Nursery, root: Node, parts: Parts) -> None:
    await start(workers, root.child("event loop", complaint=parts.pulses.complaint), parts.pulses.run)
    if parts.traces is not None:
        await start(workers, root.child("traces", statistics=parts.traces.statistics), parts.traces.run)
    await start(workers, root.child("refusals", statistics=parts.refusals.statistics), parts.refusals.run)
    logs, agents, executor = parts.logs, parts.agents, parts.executor
    await start(workers, root.child("logs", statistics=logs.statistics, complaint=logs.complaint), logs.run)
    node = root.child("agents", statistics=agents.statistics, complaint=agents.complaint)
    await start(workers, node, agents.run)
    if executor is not None:
        node = root.child("process executor", statistics=executor.statistics, complaint=executor.complaint)
        await start(workers, node, executor.run)
    await start(workers, root.child("replica", statistics=parts.heart.statistics), parts.heart.run)


async def _start_leadership(deciders: trio.Nursery, leading: Node, parts: Parts) -> None:
    leadership = parts.leadership
    if leadership is None:
        deciders.start_soon(parts.keep_reports)
        leading.enter("not of this role")
        return
    leading.child("lock", statistics=leadership.statistics).enter("running")
    await start_restarting(deciders, leading, leadership.run, StoreUnavailable, LeadershipLost)


async def _stop_executor(parts: Parts, say: Callable[[str], None]) -> None:
    """Pods go on without us."""
    if parts.executor is not None:
        say("stopping: running tasks are ended and will run again at the next start")
        await parts.executor.stop()


async def _start_workspace(edge: trio.Nursery, root: Node, parts: Parts) -> None:
    """Lite's own: DAG files become versions."""
    if parts.environments is not None:
        edge.start_soon(_close_at_end, parts.environments)
    if parts.workspace is not None:
        node = root.child("workspace", statistics=parts.workspace.statistics)
        await start_restarting(edge, node, parts.workspace.run, StoreUnavailable)


async def _lead(root: Node, leading: Node, term: Term) -> None:
    """Everything that only the leader does; ends with the leadership."""
    async with trio.open_nursery() as nursery:
        if term.executor is not None:
            node = leading.child("pods", "crash", term.executor.statistics, term.executor.complaint)
            await start(nursery, node, term.executor.run)
        calls = leading.child("inline http", statistics=term.calls.inline.statistics)
        await start(nursery, calls, term.calls.inline.run)
        await start_restarting(nursery, leading.child("inline changes"), term.calls.inline_life.run, StoreUnavailable)
        node = leading.child("others' pools", statistics=term.pools.statistics)
        await start(nursery, node, term.pools.run)
        for executor, outbox in term.outboxes.items():
            await start(nursery, leading.child(f"{executor} outbox", statistics=outbox.statistics), outbox.run)
        for name, part in (
            ("scheduler", term.scheduler),
            ("timetable clock", term.clock),
            ("asset watchers", term.watchers),
            ("backfills", term.backfills),
            ("others' reports", term.reports),
            ("callbacks", term.callbacks),
            ("deadlines", term.deadlines),
            ("sweeps", term.sweeper),
            ("audit seals", term.seals),
            ("deleted runs", term.deleted_runs),
            ("retention", term.retention),
        ):
            node = leading.child(name, "crash", part.statistics, term.complaints.get(name))
            await start(nursery, node, part.run)
        term.clock.look_at(None)
        await trio.sleep_forever()


async def _start_waits(workers: trio.Nursery, root: Node, waits: WaitParts | None, triggers: HostParts | None) -> None:
    """Waits are watched before anyone schedules. A leader without waits has hosts for the watchers of assets."""
    pool = root if waits is None else root.child("cheap-task pool", statistics=waits.summary)
    if triggers is not None:
        await start(workers, pool.child("trigger hosts", statistics=triggers.hosts.statistics), triggers.hosts.run)
    if waits is None:
        return
    await start(workers, pool.child("stall watcher", statistics=waits.stalls.statistics), waits.stalls.run)
    await start(workers, pool, waits.pool.run)
    node = pool.child("shards", statistics=waits.shards.statistics)
    await start_restarting(workers, node, waits.shards.run, StoreUnavailable)


@contextmanager
def _only_one(config: LiteConfig | None) -> Iterator[None]:
    """Lite's data folder belongs to one process: a second one would take over, and then stop, the first one's parts."""
    if config is None:
        yield
        return
    config.data_dir.mkdir(parents=True, exist_ok=True)
    with (config.data_dir / "lock").open("a+") as lock:
        (config.data_dir / "lock").chmod(0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ConfigRefused(
                f"another Leoflow Lite (process {lock.read().strip() or 'unknown'}) runs on {config.data_dir}; "
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
    return conninfo


@asynccontextmanager
async def _open_database(
    conninfo: str, config: StoreConfig, values: ValuePlaces = NO_PLACES
) -> AsyncIterator[Database]:
    """The lanes, after the schema is what this release needs."""
    applied = await _patiently(lambda: _migrate(conninfo, config))
    if applied:
        log.info("migrated", files=applied)
    db = Database(conninfo, config, values=values)
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


async def _call_at_end(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
            await work()


async def _close_at_end(environments: Environments) -> None:
    """Installers run in threads, which a cancellation waits for: end them, so that it need not wait for long."""
    try:
        await trio.sleep_forever()
    finally:
        environments.close()


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


def _write_line(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it is gone (`| head`), and the work goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
