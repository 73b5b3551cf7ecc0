"""Everything around the daemons of one journey: the database, its history, the agent, and a person who asks again.

A daemon that is killed, or crashes, is followed by another one on the same database, as an orchestrator would do. Time
is real, only faster (`RATE`), so that sweeps and backoffs take milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import trio
import trio_asyncio
from psycopg.conninfo import make_conninfo

from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.core.canary import CanaryTerms
from leoflowd.core.history import Rule, Violation, check_history, check_view
from leoflowd.store import dags, run_views
from leoflowd.store.canary_versions import register_canary
from leoflowd.store.database import Database
from loadtests.history_log import read_history
from tests.crashes.agent import Agent, Script
from tests.crashes.daemon import QUIET_S, SILENT_S, STORE, Daemon, Killed, views_of
from tests.crashes.source import Source
from tests.crashes.watched import STANDBY, Fault, Point, Watch
from tests.integration.api.api_client import PASSWORD, Client

RATE = 40.0
"""How much faster Trio's clock goes: a sweep every 125 ms."""
WITHIN_S = 30.0 * RATE
"""How long a journey may wait for one thing: half a minute of a machine that is busy."""
LOOK_S = 0.15
"""Between two looks at the database."""
LOOKS_MIN = 300
"""Of a busy machine in `WITHIN_S`: with fewer it stood still, and nobody has waited."""
START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
EMPTY = (
    "DELETE FROM dag; DELETE FROM deleted_dag; DELETE FROM event_log; DELETE FROM audit_seal; DELETE FROM history_log;"
    "DELETE FROM asset_event; DELETE FROM deleted_run;"
)
SESSIONS = (
    b"SELECT application_name, pid, state, wait_event, pg_blocking_pids(pid), now() - xact_start, left(query, 90)"
    b" FROM pg_stat_activity WHERE datname = current_database()"
)
RUN_ID = "r1"
FIRST = "daemon"


def now() -> datetime:
    return START + timedelta(seconds=trio.current_time())


def dag(dag_id: str, *tasks: TaskSpec, **fields: Any) -> DagSpec:
    return DagSpec(dag_id=dag_id, tasks=tasks, **fields)


def task(task_id: str, *upstream: str, **fields: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="PythonOperator", upstream_task_ids=upstream, **fields)


class Site:
    """One data folder: its agent, and the daemons that follow each other on it. `name` is what they have in common."""

    def __init__(self, name: str, folder: Path, script: Script) -> None:
        self.name = name
        self.daemon: Daemon | None = None
        self.agent = Agent(name, self._socket, script, now)
        self._nobody = folder / "nobody"

    def _socket(self) -> Path:
        return self._nobody if self.daemon is None else self.daemon.socket


class World:
    """With `has_standby`, a second daemon with an agent of its own follows until the first one no longer leads."""

    def __init__(
        self, conninfo: str, folder: Path, script: Script, fault: Fault | None, *, has_standby: bool = False
    ) -> None:
        self.conninfo = conninfo
        self.watch = Watch(fault)
        self.watch.kill = self._kill
        self.sites = [Site(name, folder, script) for name in ((FIRST, STANDBY) if has_standby else (FIRST,))]
        self.source = Source()
        self.crashes: list[str] = []
        self.expected: dict[str, str] = {}
        """What the journey says that became of it: `task_id` -> state and number of the last try."""
        self._folder = folder
        self._asking = Database(make_conninfo(conninfo, application_name="the test"), STORE, api=1)
        self._made: list[Daemon] = []
        self._token = ""

    def find(self, application_name: str) -> Watch | None:
        return self.watch if application_name.startswith((FIRST, STANDBY)) else None

    @asynccontextmanager
    async def running(self, *, watch_start: bool = False) -> AsyncIterator[World]:
        """With a daemon that leads, perhaps one that stands by, and an agent at each."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(EMPTY)
        try:
            async with trio_asyncio.open_loop(), trio.open_nursery() as nursery:
                self.watch.is_on = watch_start
                for site in self.sites:
                    nursery.start_soon(self._keep, site)
                    nursery.start_soon(site.agent.run)
                    await self.until(self._leads)
                await self._log_in()
                self.watch.is_on = True
                yield self
                nursery.cancel_scope.cancel()
        finally:
            self._asking.close()
            for daemon in self._made:
                daemon.db.close()  # its callers' connections, given back after the end of its process

    async def _leads(self) -> bool:
        await trio.lowlevel.checkpoint()
        return self.leader is not None

    # --- daemons ----------------------------------------------------------------------------------------------

    async def _keep(self, site: Site) -> None:
        """As an orchestrator does: a daemon that ends is followed by another one."""
        while True:
            daemon = Daemon(
                f"{site.name}-{len(self._made) + 1}",
                launcher=site.name,
                conninfo=self.conninfo,
                folder=self._folder,
                watch=self.watch,
                source=self.source,
                silence_s=QUIET_S if len(self.sites) == 1 else SILENT_S,
                now=now,
            )
            site.daemon = daemon
            self._made.append(daemon)
            try:
                await daemon.run()
            except Exception as error:
                self.crashes.append(told(error))
            site.daemon = None
            site.agent.cut_off()
            await trio.sleep(0.5)

    async def _kill(self, name: str) -> None:
        for daemon in self._daemons:
            if daemon.name == name:
                daemon.kill()
        await trio.sleep_forever()

    @property
    def _daemons(self) -> list[Daemon]:
        return [site.daemon for site in self.sites if site.daemon is not None]

    @property
    def leader(self) -> Daemon | None:
        return next((daemon for daemon in self._daemons if daemon.scheduler is not None), None)

    async def by_some_daemon(self, work: Callable[[Daemon], Awaitable[bool]]) -> None:
        """Somebody asks, sees that it failed or hears nothing, and asks again. `work` says whether it is done."""
        with trio.fail_after(WITHIN_S):
            while True:
                daemon = next((daemon for daemon in self._daemons if daemon.ready.is_set()), None)
                try:
                    if daemon is not None and await daemon.call(lambda daemon=daemon: work(daemon)):  # type: ignore[misc]
                        return
                except (Killed, StoreUnavailable):
                    pass
                await trio.sleep(LOOK_S)

    # --- what people and projects do --------------------------------------------------------------------------

    async def register(self, spec: DagSpec, *, canary: CanaryTerms | None = None) -> None:
        async def work(daemon: Daemon) -> bool:
            async with daemon.db.api.transaction() as conn:
                if canary is not None:
                    await register_canary(conn, spec, canary, by="somebody", now=now())
                else:
                    await dags.register_dag(conn, spec, now=now(), fileloc="x", relative_fileloc="x")
            return True

        await self.by_some_daemon(work)

    async def _log_in(self) -> None:
        assert self.leader is not None
        body = {"username": "admin", "password": PASSWORD}
        was_on, self.watch.is_on = self.watch.is_on, False
        leader = Client(self.leader.app())
        while (answer := await leader.call("POST", "/auth/token", json=body)).status_code != 201:  # noqa: ASYNC110  # 408: late by the fast clock
            await trio.sleep(LOOK_S)
        self._token = (await answer.get_json())["access_token"]
        self.watch.is_on = was_on

    async def ask(self, method: str, path: str, body: Any, *, event: str) -> None:
        """One call of the API. `event` is what the audit log then says: a person looks before asking again."""
        before = await self.count_events(event)

        async def work(daemon: Daemon) -> bool:
            client = Client(daemon.app(), token=self._token)
            answer = await client.call(method, f"/api/v2/{path}", json=body)
            text = await answer.get_data(as_text=False)
            assert answer.status_code < 400 or answer.status_code in (408, 503), (path, answer.status_code, text)
            return answer.status_code < 400

        async def unless_done(daemon: Daemon) -> bool:
            return await self.count_events(event) > before or await work(daemon)

        await self.by_some_daemon(unless_done)

    async def create_run(self, dag_id: str, run_id: str = RUN_ID) -> None:
        body = {"dag_run_id": run_id, "logical_date": None}
        await self.ask("POST", f"dags/{dag_id}/dagRuns", body, event="trigger_dag_run")

    async def clear(self, dag_id: str, *task_ids: str, **more: Any) -> None:
        body = {"dry_run": False, "only_failed": False, "task_ids": task_ids, "dag_run_id": RUN_ID, **more}
        await self.ask("POST", f"dags/{dag_id}/clearTaskInstances", body, event="clear_task_instances")

    async def mark(self, dag_id: str, task_id: str, state: str) -> None:
        path = f"dags/{dag_id}/dagRuns/{RUN_ID}/taskInstances/{task_id}"
        await self.ask("PATCH", path, {"new_state": state}, event="patch_task_instance")

    async def answer(self, dag_id: str, task_id: str, option: str) -> None:
        path = f"dags/{dag_id}/dagRuns/{RUN_ID}/taskInstances/{task_id}/-1/hitlDetails"
        await self.ask("PATCH", path, {"chosen_options": [option]}, event="update_hitl_detail")

    async def backfill(self, dag_id: str, first: datetime, last: datetime) -> None:
        body = {"dag_id": dag_id, "from_date": first.isoformat(), "to_date": last.isoformat(), "max_active_runs": 1}
        await self.ask("POST", "backfills", body, event="create_backfill")

    async def unwatched(self, work: Callable[[], Awaitable[None]], *, but: bool) -> None:
        """The stage: no fault happens, and nothing of it is a point. `but`: it is part of the journey after all."""
        was_on, self.watch.is_on = self.watch.is_on, but
        await work()
        self.watch.is_on = was_on

    # --- the agents ---------------------------------------------------------------------------------------------

    def release(self) -> None:
        for site in self.sites:
            site.agent.release()

    async def is_idle(self) -> bool:
        return all([await site.agent.is_idle() for site in self.sites])

    # --- looking ----------------------------------------------------------------------------------------------

    async def rows(self, statement: bytes, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self._asking.api.connection() as conn:
            return list(await (await conn.execute(statement, parameters)).fetchall())

    async def count_events(self, event: str) -> int:
        ((count,),) = await self.rows(b"SELECT count(*) FROM event_log WHERE event = %(event)s", event=event)
        return int(count)

    async def states(self) -> dict[str, str]:
        """Of all task instances: state, and how often they ran.

        Where one daemon stands by, that is not the number of the try: a launch that is lost with the leader is a new
        try at the next one (ADR 28).
        """
        found = await self.rows(b"SELECT task_id, state, try_number FROM task_instance ORDER BY task_id")
        if len(self.sites) == 1:
            return {task_id: f"{state} {number}" for task_id, state, number in found}
        ran = Counter(task_id for site in self.sites for task_id in site.agent.ran)
        return {task_id: f"{state} {ran[task_id]}" for task_id, state, _ in found}

    async def until_states(self, **expected: str) -> None:
        """A state and number for each of these tasks."""
        seen: dict[str, str] = {}

        async def met() -> bool:
            nonlocal seen
            seen = await self.states()
            return expected.items() <= seen.items()

        try:
            await self.until(met)
        except trio.TooSlowError as error:
            tries = await self.rows(
                b"SELECT task_id, id::text, state, launcher, queued_at::text FROM task_instance ORDER BY task_id"
            )
            sides = [line for site in self.sites for line in (site.daemon and site.daemon.shown(), site.agent.shown())]
            sides += ["", *await self.rows(SESSIONS), "", *stacks(), ""]
            raise AssertionError(
                f"at {now()} waited in vain for {expected}, there is {seen}: {tries}\n" + "\n".join(map(str, sides))
            ) from error

    async def until_runs(self, count: int, *, fails: int = 0, or_more: bool = False) -> None:
        """So many runs there are, and all but `fails` have succeeded."""

        async def met() -> bool:
            states = [row[0] for row in await self.rows(b"SELECT state FROM dag_run")]
            is_over = states.count("failed") == fails and states.count("success") == len(states) - fails
            return is_over and (len(states) == count or (or_more and len(states) > count))

        try:
            await self.until(met)
        except trio.TooSlowError as error:
            runs = await self.rows(b"SELECT id, state, because FROM dag_run")
            raise AssertionError(f"{count} runs did not succeed: {runs}, {await self.states()}") from error

    async def until(self, met: Callable[[], Awaitable[bool]]) -> None:
        """Raises `trio.TooSlowError` after `WITHIN_S`, and as many looks as fit into that."""
        late_at = trio.current_time() + WITHIN_S
        looks = 0
        while not await met():
            looks += 1
            if trio.current_time() > late_at and looks > LOOKS_MIN:
                raise trio.TooSlowError
            await trio.sleep(LOOK_S)

    # --- judging ----------------------------------------------------------------------------------------------

    async def check_views(self) -> None:
        """What the leader remembers of runs that go on is what Postgres says, once both have come to rest."""
        found: list[Violation] = []

        async def equal() -> bool:
            found.clear()
            leader = self.leader
            if leader is None:
                return False
            known = list(views_of(leader))
            async with self._asking.api.connection() as conn:
                stored = {i: await run_views.load_view(conn, i) for i in known}
            if self.leader is not leader:  # it may have been killed meanwhile
                return False
            views = views_of(leader)
            for dag_run_id, facts in views.items():
                loaded = stored.get(dag_run_id)
                if loaded is None:
                    found.append(Violation(Rule.VIEW, f"dag run {dag_run_id} is remembered and has no rows"))
                else:
                    found.extend(check_view(dag_run_id, facts, loaded.view.facts))
            running = {row[0] for row in await self.rows(b"SELECT id FROM dag_run WHERE state = 'running'")}
            found.extend(Violation(Rule.VIEW, f"dag run {i} runs and nobody knows") for i in running - views.keys())
            return not found

        try:
            await self.until(equal)
        except trio.TooSlowError as error:
            raise AssertionError("\n".join(violation.what for violation in found)) from error

    async def has_called_back(self) -> bool:
        """Whatever was called for is done, and nothing is due that calls for more."""
        due = b"SELECT 1 FROM deadline WHERE NOT missed AND deadline_time <= %(now)s"
        called = b"SELECT 1 FROM callback WHERE state IN ('queued', 'running')"
        return not await self.rows(called + b" UNION ALL " + due, now=now())

    async def has_judged(self) -> bool:
        return not await self.rows(b"SELECT 1 FROM canary WHERE ended_at IS NULL")

    async def has_filled_back(self) -> bool:
        return not await self.rows(b"SELECT 1 FROM backfill WHERE completed_at IS NULL")

    async def judge(self, callbacks: Sequence[str] = ()) -> list[str]:
        """All that is wrong; the journey is over."""
        started = [start for site in self.sites for start in site.agent.started]
        history = read_history(self.conninfo, started=started)
        wrong = [f"{violation.rule}: {violation.what}" for violation in check_history(history)]
        wrong += [f"the daemon crashed: {crash}" for crash in self.crashes]
        called = sorted(one for site in self.sites for one in site.agent.called)
        wrong += [] if called == list(callbacks) else [f"callbacks were called: {called}, not {list(callbacks)}"]
        ended = await self.rows(b"SELECT state, starts FROM callback")
        wrong += [f"a callback ended {state} after {starts} start(s)" for state, starts in ended if state != "success"]
        xcoms = await self.rows(
            b"SELECT x.task_id, x.key, x.value::text, t.id::text FROM xcom x JOIN task_instance t"
            b" USING (dag_run_id, task_id, map_index) WHERE x.value::text <> '\"' || t.id || '\"'"
        )
        wrong += [f"XCom {key!r} of {task_id!r} is {value}, its try is {own}" for task_id, key, value, own in xcoms]
        return wrong

    async def judge_partitions(self, expected: Sequence[str]) -> list[str]:
        """Of all runs that have one, sorted; and what was queued for them has been taken."""
        found = await self.rows(b"SELECT partition_key FROM dag_run WHERE partition_key IS NOT NULL ORDER BY 1")
        keys = [row[0] for row in found]
        wrong = [] if keys == list(expected) else [f"there are runs of the partitions {keys}, not of {list(expected)}"]
        waits = await self.rows(
            b"SELECT event_id FROM asset_queue UNION ALL SELECT id FROM partition_run WHERE dag_run_id IS NULL"
        )
        return [*wrong, *(f"event or partition {row[0]} still waits for a run" for row in waits)]

    async def judge_canaries(self, expected: Sequence[str]) -> list[str]:
        """Each verdict is given once, and no run that was made afterwards is of what was rolled back."""
        given = [f"{outcome}: {why}" for outcome, why in await self.rows(b"SELECT outcome, because FROM canary")]
        told = await self.count_events("rollback_canary")
        late = await self.rows(
            b"SELECT r.run_id FROM canary_run JOIN dag_run r ON r.id = dag_run_id JOIN canary c ON c.id = canary_id"
            b" WHERE r.queued_at > c.ended_at"
        )
        wrong = [] if given == list(expected) else [f"canaries came to {given}, not {list(expected)}"]
        wrong += [] if told == len(expected) else [f"verdicts were told {told} times, not {len(expected)}"]
        return wrong + [f"run {run_id} is of a canary that was over" for (run_id,) in late]

    async def has_changed_leaders(self) -> bool:
        """Watchers belong to a term; what one has heard when it ends, before it could say so, is heard again."""
        ((term,),) = await self.rows(b"SELECT term FROM leadership")
        return bool(term > 1)

    async def judge_heard(self, expected: int, *, or_more: bool) -> list[str]:
        ((count,),) = await self.rows(b"SELECT count(*) FROM asset_event WHERE extra ->> 'from_trigger' = 'true'")
        is_right = count == expected or (or_more and count > expected)
        left = [f"{message!r} was never heard" for message in self.source.messages]
        return left if is_right else [*left, f"watchers made {count} events, not {expected}"]


def stacks() -> Iterator[str]:
    """Where each task of this run waits: for a walk that hangs."""
    root = trio.lowlevel.current_root_task()
    tasks = [] if root is None else [root]
    while tasks:
        task = tasks.pop()
        frames = [
            f"{Path(f.f_code.co_filename).name}:{line} {f.f_code.co_name}" for f, line in task.iter_await_frames()
        ]
        yield f"{task.name}: {' < '.join(frames[:-7:-1])}"
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def points_of(world: World) -> tuple[Point, ...]:
    return tuple(world.watch.points)


class Done(msgspec.Struct, frozen=True):
    """What came of one journey."""

    points: tuple[Point, ...]
    happened: bool
    wrong: tuple[str, ...]
    seen: dict[str, str]
