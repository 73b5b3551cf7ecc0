"""One daemon of the crash suite: the real parts as `leoflowd.daemon` puts them together, in its tree's order.

Without what adds nothing to crash points: the HTTP server around the application, the compiler, processes. A new
arrangement of parts in the product is repeated here and nowhere else in this suite.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import trio
from psycopg.conninfo import make_conninfo
from quart_trio import QuartTrio

from leoflow_sensors import load_kinds
from leoflowd.agents.service import AgentService
from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.cheap_tasks.asset_watchers import AssetWatchers
from leoflowd.cheap_tasks.everywhere import PoolEverywhere
from leoflowd.cheap_tasks.human_answers import StoredQuestions
from leoflowd.cheap_tasks.pool import CheapTaskPool
from leoflowd.cheap_tasks.shards import Shards
from leoflowd.cheap_tasks.wait_table import StoredWaits
from leoflowd.config import ApiConfig, CallbacksConfig, PoolConfig, SchedulerConfig, StoreConfig
from leoflowd.contract.agent_messages import Launch, Outcome
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.errors import LeadershipLost, StoreUnavailable
from leoflowd.core.try_tokens import try_token
from leoflowd.executors.launches import Launches
from leoflowd.executors.refusals import Refusal, Refusals
from leoflowd.scheduler.backfills import BackfillMaker
from leoflowd.scheduler.callbacks import Callbacks
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.scheduler.deadlines import Deadlines
from leoflowd.scheduler.draft import EXECUTOR, INLINE
from leoflowd.scheduler.inbox import Inbox
from leoflowd.scheduler.leadership import Leadership
from leoflowd.scheduler.loop import Scheduler
from leoflowd.scheduler.outbox import Outbox
from leoflowd.scheduler.replicas import Heart, Others
from leoflowd.scheduler.reports import KeptReports, OthersReports, follow
from leoflowd.scheduler.sweeps import Sweeper, follow_hints
from leoflowd.store import tries
from leoflowd.store.database import Database
from leoflowd.store.external_facts import ExternalFacts
from leoflowd.store.hints import Hint, HintListener
from leoflowd.store.log_files import LogFiles
from leoflowd.supervision import Node, start, start_restarting
from tests.crashes.agent import HOST_TOKEN, SECRET
from tests.crashes.source import Source, SourceHosts
from tests.crashes.watched import LATE_S, Watch, Way, told_by
from tests.fakes.pool_world import Connections, NoClient, TriggerHosts, no_deliveries

T = TypeVar("T")
QUIET_S = 6000.0
"""By the world's fast clock: what is only slow is never taken for silent or gone."""
STORE = StoreConfig(connect_s=QUIET_S, statement_s=QUIET_S, silence_s=QUIET_S)
SILENT_S = 480.0
"""How long a launch that another daemon was given may be silent, until it is lost: twelve real seconds."""


class Killed(Exception):
    """The process ended while it worked on this."""


class Daemon:
    """`launcher` is the id of its data folder, whose agent it shares with its predecessors and successors."""

    def __init__(
        self,
        name: str,
        *,
        launcher: str,
        conninfo: str,
        folder: Path,
        watch: Watch,
        silence_s: float,
        source: Source,
        now: Callable[[], datetime],
    ) -> None:
        self.name = name
        self.launcher = launcher
        self._config = SchedulerConfig(agent_silence_s=silence_s)
        self.socket = folder / f"{name}.sock"
        self.ready = trio.Event()
        self.scheduler: Scheduler | None = None
        self.callbacks: Callbacks | None = None
        self.deadlines: Deadlines | None = None
        """While it leads."""
        self._folder = folder
        self._source = source
        self._watch = watch
        self._now = now
        self._db = Database(make_conninfo(conninfo, application_name=name), STORE)
        self._scope = trio.CancelScope()
        self._calls: set[trio.CancelScope] = set()
        self._app: QuartTrio | None = None
        self._is_over = False
        self._launches = Launches()
        self._agents: AgentService | None = None

    def kill(self) -> None:
        """As SIGKILL: nothing of it runs on, and nothing that it holds is put in order."""
        self._scope.cancel()
        for call in self._calls:
            call.cancel()

    async def run(self) -> None:
        """Until killed; raises what would end the process with an error."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._start(nursery)
                    self.ready.set()
                    await trio.sleep_forever()
        finally:
            self._is_over = True
            self.scheduler = None
            self._db.close()

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Something that this process does for somebody; raises `Killed` when it ends meanwhile."""
        if self._scope.cancel_called:
            raise Killed
        scope = trio.CancelScope()
        self._calls.add(scope)
        try:
            with scope:
                return await work()
        finally:
            self._calls.discard(scope)
            if self._is_over:
                self._db.close()  # what it gave back after the end of its process
        raise Killed

    @property
    def db(self) -> Database:
        return self._db

    def shown(self) -> str:
        """For a walk that failed: whether it leads, and what became of its launches."""
        parts = [part.statistics() for part in (self.scheduler, self._agents, self._launches) if part is not None]
        return f"{self.name}: {parts}"

    def app(self) -> QuartTrio:
        """Its API, called in process."""
        if self._app is None:
            self._app = create_app(
                ApiContext(
                    db=self._db,
                    logs=LogFiles(self._folder / "logs"),
                    config=ApiConfig(),
                    now=self._now,
                    tree=lambda: {"name": "daemon", "children": []},
                    version="0",
                )
            )
        return self._app

    async def _start(self, nursery: trio.Nursery) -> None:
        db, now, root = self._db, self._now, Node("daemon")
        hints, inbox, launches = HintListener(db.conninfo, STORE), Inbox(), self._launches
        dispatches_in, dispatches_out = trio.open_memory_channel[Dispatch](0)
        refusals = Refusals(lambda refusal: self._tell_refusal(inbox, refusal))
        clock = TimetableClock(db=db, now=now)
        backfills = BackfillMaker(db=db, now=now)
        agents = AgentService(
            db=db,
            logs=LogFiles(self._folder / "logs"),
            reports=inbox,
            launches=launches,
            refuse=refusals.refuse,
            hints=self._overheard("agents", hints, nursery),
            socket=self.socket,
            try_secret=SECRET,
            host_token=HOST_TOKEN,
            launcher=self.launcher,
            now=now,
            silence_max_s=QUIET_S,
        )
        self._agents = agents

        def refuse(try_id: str, reason: str) -> None:
            raise AssertionError(f"try {try_id} cannot be launched: {reason}")

        others = OthersReports(db=db, inbox=inbox, sweep_interval_s=self._config.sweep_interval_s)

        triggers = SourceHosts(self._source, fired=lambda wait_id, event: watchers.fired(wait_id, event))
        ear = _Ear(self, hints)
        watchers = AssetWatchers(lane=db.pool, hosts=triggers, hints=ear, now=now)

        def run_ended(dag_id: str) -> None:
            clock.look_at(dag_id)
            backfills.run_ended(dag_id)

        def dag_changed(dag_id: str | None) -> None:
            clock.look_at(dag_id)
            backfills.look()

        async def lead(term: int) -> None:
            async with trio.open_nursery() as leading:
                try:
                    await start_term(leading, term)
                    await trio.sleep_forever()
                finally:
                    self.scheduler = self.callbacks = self.deadlines = None

        async def start_term(leading: trio.Nursery, term: int) -> None:
            inline_in, _inline_out = trio.open_memory_channel[Dispatch](0)
            outboxes = {
                executor: Outbox(db=db, dispatches=dispatches, refuse=refuse, now=now)
                for executor, dispatches in ((EXECUTOR, dispatches_in), (INLINE, inline_in))
            }
            pools = PoolEverywhere(own=pool, is_alone=lambda: shards.is_alone, lane=db.pool)
            callbacks = Callbacks(
                db=db,
                dispatches=dispatches_in,
                config=CallbacksConfig(),
                sweep_interval_s=self._config.sweep_interval_s,
                silence_s=self._config.agent_silence_s,
                now=now,
                signs=agents.signs,
                others=Others(db, self.launcher),
                launcher=self.launcher,
            )
            deadlines = Deadlines(
                db=db, sweep_interval_s=self._config.sweep_interval_s, now=now, call_back=callbacks.came
            )
            scheduler = Scheduler(
                db=db,
                receive=inbox.receive,
                offers={executor: outbox.offer for executor, outbox in outboxes.items()},
                config=self._config,
                term=term,
                now=now,
                run_ended=run_ended,
                waits=pools,
                launcher=self.launcher,
                call_back=callbacks.came,
            )
            sweeper = Sweeper(
                db=db, inbox=inbox, config=self._config, now=now, signs=agents.signs, others=Others(db, self.launcher)
            )
            await start(leading, root.child("others' pools"), pools.run)
            for executor, outbox in outboxes.items():
                await start(leading, root.child(f"{executor} outbox"), outbox.run)
            await start(leading, root.child("scheduler"), scheduler.run)
            await start(leading, root.child("clock"), clock.run)
            await start(leading, root.child("backfills"), backfills.run)
            await start(leading, root.child("others' reports"), others.run)
            await start(leading, root.child("callbacks"), callbacks.run)
            await start(leading, root.child("deadlines"), deadlines.run)
            await start(leading, root.child("sweeps"), sweeper.run)
            ear.nursery = leading
            await start(leading, root.child("asset watchers"), watchers.run)
            self.callbacks, self.deadlines = callbacks, deadlines
            self.scheduler = scheduler

        kept = KeptReports(db=db, inbox=inbox, now=now)

        async def tell_held(at: datetime) -> None:
            await agents.tell_held(launches.tries(), at)

        leadership = Leadership(
            conninfo=db.conninfo,
            holder=self.name,
            config=self._config,
            store=STORE,
            now=now,
            follow=lambda: follow(kept, tell_held, now),
            lead=lead,
        )
        pool = self._pool(inbox, self._overheard("pool", hints, nursery))
        shards = Shards(conninfo=db.conninfo, share=pool, store=STORE)
        heart = Heart(db=db, replica=self.launcher, name=self.name, heard=agents.heard, agents=lambda: 1, now=now)
        following = self._overheard("scheduler", hints, nursery)
        await start_restarting(nursery, root.child("hints"), hints.run, StoreUnavailable)
        await start(nursery, root.child("refusals"), refusals.run)
        await start(nursery, root.child("agents"), agents.run)
        nursery.start_soon(_launch_all, dispatches_out, launches)
        came = (others.came, self._callbacks_came, self._deadlines_came)
        nursery.start_soon(follow_hints, following, inbox, dag_changed, *came)
        await start(nursery, root.child("replica"), heart.run)
        await start(nursery, root.child("pool"), pool.run)
        await start_restarting(nursery, root.child("shards"), shards.run, StoreUnavailable)
        await start_restarting(nursery, root.child("leadership"), leadership.run, StoreUnavailable, LeadershipLost)

    def _callbacks_came(self) -> None:
        if self.callbacks is not None:
            self.callbacks.came()

    def _deadlines_came(self) -> None:
        if self.deadlines is not None:
            self.deadlines.came()

    def _pool(self, inbox: Inbox, hints: trio.MemoryReceiveChannel[Hint]) -> CheapTaskPool:
        return CheapTaskPool(
            table=StoredWaits(self._db.pool),
            questions=StoredQuestions(self._db.pool),
            ends=inbox,
            hints=hints,
            kinds=load_kinds(),
            connections=Connections(),
            dag_facts=ExternalFacts(self._db.pool),
            deliveries=no_deliveries,
            trigger_hosts=TriggerHosts(),
            make_client=NoClient,
            config=PoolConfig(stall_after_s=QUIET_S),
            now=self._now,
            held=frozenset(),
        )

    def _overheard(self, who: str, hints: HintListener, nursery: trio.Nursery) -> trio.MemoryReceiveChannel[Hint]:
        """The hints that `who` hears, behind an ear that may lose, double or delay one of them."""
        heard = hints.subscribe()
        send, receive = trio.open_memory_channel[Hint](1024)

        async def listen() -> None:
            with heard, suppress(trio.BrokenResourceError):  # whoever heard may have ended before
                async for hint in heard:
                    pass_on(hint)

        def pass_on(hint: Hint) -> None:
            match self._watch.hear(told_by(self.name, f"hint {hint.kind} to {who}")):
                case Way.DROPPED:
                    pass
                case Way.TWICE:
                    send.send_nowait(hint)
                    send.send_nowait(hint)
                case Way.LATE:
                    nursery.start_soon(pass_on_late, hint)
                case _:
                    send.send_nowait(hint)

        async def pass_on_late(hint: Hint) -> None:
            await trio.sleep(LATE_S)
            send.send_nowait(hint)

        nursery.start_soon(listen)
        return receive

    async def _tell_refusal(self, inbox: Inbox, refusal: Refusal) -> None:
        async with self._db.agents.connection() as conn:
            row = await tries.fetch_try(conn, refusal.try_id)
        if row is not None and row.live:
            now = self._now()
            end = Outcome(kind=refusal.kind, because=refusal.because, start_date=now, end_date=now)
            await inbox.try_ended(row, end, None)


class _Ear:
    """What the watchers of assets subscribe to: once in each term, whose nursery listens."""

    def __init__(self, daemon: Daemon, hints: HintListener) -> None:
        self.nursery: trio.Nursery | None = None
        self._daemon = daemon
        self._hints = hints

    def subscribe(self) -> trio.MemoryReceiveChannel[Hint]:
        assert self.nursery is not None
        return self._daemon._overheard("watchers", self._hints, self.nursery)


async def _launch_all(dispatches: trio.MemoryReceiveChannel[Dispatch], launches: Launches) -> None:
    """In the place of the executor, whose environments are always ready."""
    async for dispatch in dispatches:
        launches.put(Launch(spec=dispatch.spec, token=try_token(SECRET, dispatch.spec.try_id)))


def views_of(daemon: Daemon) -> dict[int, Any]:
    """What its scheduler remembers: dag run id -> facts of the instances."""
    assert daemon.scheduler is not None, f"{daemon.name} does not lead"
    return {i: tuple(loaded.view.facts) for i, loaded in daemon.scheduler._views.runs.items()}
