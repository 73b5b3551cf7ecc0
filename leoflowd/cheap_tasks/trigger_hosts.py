"""Foreign triggers: which trigger host runs which, and what happens when a host stalls, grows or dies (ADR 16).

The pool calls `start` and `cancel` and is called back once for each wait that ended. No class named in a `TriggerCall`
is ever imported here. Triggers are idempotent by Airflow's contract, so whatever happens to a host, those of its
triggers that did not end are started again.

Who is to blame is settled in this order: the wait that the host's marker names; the only wait of the host; else nobody,
and a host that keeps dying gives half of its waits to another one, until the one that kills it is alone.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
import trio

from leoflowd import supervision, telemetry
from leoflowd.cheap_tasks.trigger_host_line import (
    UNSENDABLE,
    Ask,
    Beat,
    Ended,
    EndKind,
    Event,
    Failed,
    FromHost,
    Hello,
    HostEnd,
    HostKey,
    HostLine,
    HostPlaces,
    Log,
    Stalled,
)
from leoflowd.config import TriggerHostsConfig
from leoflowd.contract.dag_spec import EnvironmentSpec, has_airflow
from leoflowd.contract.waits import TriggerCall

log = telemetry.get_logger(__name__)

STRIKES = 3
"""So many ends of its host within the window fail a trigger."""
STRIKE_WINDOW_S = 3600.0
STEADY_S = 60.0
"""A host that lived so long did not fail to live."""
QUICK_ENDS = 3
"""So many quick ends in a row, and waits are parted from each other, or a host that does not start is given up."""


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    python: str
    runtime: str
    bundle: str
    group: str
    pid: int
    """0 while it waits to be started again."""
    triggers: int
    rss_bytes: int
    restarts: int
    stalls: int


class TriggerHostsStatistics(msgspec.Struct, frozen=True, kw_only=True):
    triggers: int
    starting: int
    """Not in a host yet: their interpreter is being built."""
    fired: int
    failed: int
    restarts: int
    stalls: int
    questions: int
    hosts: tuple[HostView, ...]


class _Wait:
    """One trigger, until it ended or is cancelled."""

    __slots__ = ("call", "host", "id", "since", "stall", "strikes")

    def __init__(self, wait_id: str, call: TriggerCall, since: datetime) -> None:
        self.id = wait_id
        self.call = call
        self.since = since
        self.host: _Host | None = None
        self.strikes: list[tuple[float, str]] = []
        """When (Trio's clock) and why its host ended through it."""
        self.stall = ""


class TriggerHosts:
    """`places` is where hosts run. `ask(call, about, question)` answers what a trigger asks.

    Exactly one of these is called for each wait that is not cancelled: `on_event(wait_id, event, end)`, where `end` is
    None or the state that the trigger ends its task with (`event` is then a mapping of XComs), or `on_failure(wait_id,
    error, traceback)`. `on_log(wait_id, call, line)` gets the first lines that a trigger logs. None of them waits.

    A call that repeats (of a watcher) calls `on_event` for each event, and waits after each for `go_on`; then once
    `on_ended(wait_id)`, or `on_failure`.
    """

    def __init__(
        self,
        *,
        places: HostPlaces,
        on_event: Callable[[str, Any, str | None], None],
        on_failure: Callable[[str, str, tuple[str, ...]], None],
        on_log: Callable[[str, TriggerCall, dict[str, Any]], None],
        ask: Callable[[TriggerCall, str, dict[str, Any]], Awaitable[dict[str, Any]]],
        now: Callable[[], datetime],
        config: TriggerHostsConfig,
        on_ended: Callable[[str], None] = lambda wait_id: None,
    ) -> None:
        self.config = config
        self.places = places
        self.on_log = on_log
        self._on_event = on_event
        self._on_failure = on_failure
        self._on_ended = on_ended
        self._ask = ask
        self._now = now
        self._waits: dict[str, _Wait] = {}
        self._hosts: dict[HostKey, _Host] = {}
        self._pythons: dict[bytes, str] = {}
        self._building: dict[bytes, list[_Wait]] = {}
        # One entry for each wait that starts: bounded by the waits.
        self._arrivals, self._arriving = trio.open_memory_channel[_Wait](math.inf)
        self._fired = self._failed = self._restarts = self._stalls = self._questions = 0

    # --- what the pool calls -------------------------------------------------------------------------------------

    def start(self, wait_id: str, call: TriggerCall) -> None:
        """Starting what runs already changes nothing."""
        if wait_id not in self._waits:
            wait = self._waits[wait_id] = _Wait(wait_id, call, self._now())
            self._arrivals.send_nowait(wait)

    def go_on(self, wait_id: str) -> None:
        """Its event is taken: the trigger may look for the next one."""
        wait = self._waits.get(wait_id)
        if wait is not None and wait.host is not None:
            wait.host.go_on(wait_id)

    def cancel(self, wait_id: str) -> None:
        """No event and no failure from now on; the trigger's `cleanup` runs."""
        wait = self._waits.pop(wait_id, None)
        if wait is not None and wait.host is not None:
            wait.host.drop(wait_id)

    def statistics(self) -> TriggerHostsStatistics:
        return TriggerHostsStatistics(
            triggers=len(self._waits),
            starting=sum(wait.host is None for wait in self._waits.values()),
            fired=self._fired,
            failed=self._failed,
            restarts=self._restarts,
            stalls=self._stalls,
            questions=self._questions,
            hosts=tuple(host.view() for host in self._hosts.values()),
        )

    def explain(self, wait_id: str) -> str:
        """Sentences for people."""
        wait = self._waits.get(wait_id)
        if wait is None:
            return "No trigger host knows this wait: it ended, or it was not started yet."
        since = f"{wait.call.classpath} waits since {wait.since:%Y-%m-%d %H:%M:%S} UTC"
        if wait.host is None:
            return f"{since}; its interpreter is not ready yet."
        told = [f"{since} in {wait.host.describe()}.", *(f"{text}." for _, text in wait.strikes)]
        return " ".join([*told, *([f"It held up the event loop: {wait.stall}."] if wait.stall else [])])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.places.run)
            task_status.started()
            async for wait in self._arriving:
                if self._waits.get(wait.id) is wait:
                    self._arrived(wait)

    # --- from a call to its host ---------------------------------------------------------------------------------

    def _arrived(self, wait: _Wait) -> None:
        try:
            environment = msgspec.convert(wait.call.environment, EnvironmentSpec)
        except msgspec.ValidationError as error:
            self.fail(wait, f"the environment of the trigger cannot be read: {error}")
            return
        key = msgspec.json.encode((environment, wait.call.image), order="sorted")
        if key in self._pythons:
            self._place(wait, environment, self._pythons[key])
        elif key in self._building:
            self._building[key].append(wait)
        else:
            self._building[key] = [wait]
            self._nursery.start_soon(self._build, key, wait.call, environment)

    async def _build(self, key: bytes, call: TriggerCall, environment: EnvironmentSpec) -> None:
        """Takes minutes for a new environment; triggers of other ones do not wait for it. What fails, fails its own."""
        broken = ""

        async def record(failure: Exception) -> None:
            nonlocal broken
            broken = str(failure) or type(failure).__name__
            await trio.lowlevel.checkpoint()

        async with supervision.contain(record):
            self._pythons[key] = await self.places.prepare(call, environment)
        for wait in self._still_wanted(key):
            if broken:
                self.fail(wait, f"the environment of the trigger cannot be built: {broken}")
            else:
                self._place(wait, environment, self._pythons[key])

    def _still_wanted(self, key: bytes) -> list[_Wait]:
        return [wait for wait in self._building.pop(key) if self._waits.get(wait.id) is wait]

    def _place(self, wait: _Wait, environment: EnvironmentSpec, python: str) -> None:
        try:
            digest = self.places.bundle_of(wait.call)
        except (OSError, ValueError) as error:  # names that the file system does not take
            self.fail(wait, f"the trigger's class cannot be looked for: {error}")
            return
        runtime = "airflow" if has_airflow(environment) else "shim"
        self.move(wait, HostKey(python, runtime, digest))

    def move(self, wait: _Wait, key: HostKey) -> None:
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = _Host(self, key)
            self._nursery.start_soon(host.run)
        host.add(wait)

    # --- what hosts report ---------------------------------------------------------------------------------------

    def fired(self, wait: _Wait, message: Event) -> None:
        self._fired += 1
        if not wait.call.repeats:
            self._forget(wait)
        self._on_event(wait.id, message.event, message.end)

    def ended(self, wait: _Wait) -> None:
        self._forget(wait)
        self._on_ended(wait.id)

    def fail(self, wait: _Wait, error: str, traceback: tuple[str, ...] = ()) -> None:
        self._failed += 1
        self._forget(wait)
        log.info("trigger_failed", wait_id=wait.id, classpath=wait.call.classpath, error=error)
        self._on_failure(wait.id, error, traceback or (error,))

    def _forget(self, wait: _Wait) -> None:
        del self._waits[wait.id]
        if wait.host is not None:
            wait.host.forget(wait.id)

    async def answer(self, ask: Ask) -> dict[str, Any]:
        self._questions += 1
        wait = self._waits.get(ask.wait_id)
        if wait is None:
            await trio.lowlevel.checkpoint()
            return {"refused": "only a trigger that is waited for may ask"}
        return await self._ask(wait.call, ask.about, ask.question)

    def stalled(self) -> None:
        self._stalls += 1

    def gone(self, host: _Host) -> None:
        del self._hosts[host.key]

    def host_ended(self, host: _Host, end: HostEnd, lived_s: float, quick_ends: int) -> None:
        """Blame whoever ended it, part those whom nobody can tell apart, give up a host that does not start."""
        self._restarts += 1
        log.warning("trigger_host_ended", host=host.describe(), kind=end.kind, because=end.because, culprit=end.culprit)
        if end.kind is EndKind.NOT_STARTED:
            if quick_ends >= QUICK_ENDS:
                for wait in host.waits():
                    self.fail(wait, f"its trigger host does not start: {end.because}", (host.log_tail,))
            return
        if end.kind is EndKind.LOST:
            return  # nobody's fault: its triggers start again
        if end.kind is EndKind.MEMORY and lived_s >= STEADY_S:
            return  # it grows slowly; a restart now and then is the remedy
        suspect = host.suspect(end.culprit)
        if suspect is not None:
            self._strike(suspect, host.key, f"Its trigger host ended through it: {end.because}")
        elif quick_ends >= QUICK_ENDS:
            self._part(host)

    def _strike(self, wait: _Wait, key: HostKey, because: str) -> None:
        recent = trio.current_time() - STRIKE_WINDOW_S
        wait.strikes = [strike for strike in wait.strikes if strike[0] > recent] + [(trio.current_time(), because)]
        if len(wait.strikes) >= STRIKES:
            told = tuple(text for _, text in wait.strikes)
            self.fail(wait, f"the trigger ended its trigger host {STRIKES} times; last: {because}", (*told, wait.stall))
        else:
            self._move_apart(wait, msgspec.structs.replace(key, group=f"only {wait.id}"))

    def _part(self, host: _Host) -> None:
        waits = host.waits()
        half = waits[len(waits) // 2 :]
        for wait in half:
            self._move_apart(wait, msgspec.structs.replace(host.key, group=f"with {half[0].id}"))

    def _move_apart(self, wait: _Wait, key: HostKey) -> None:
        if wait.host is not None:
            if wait.host.key == key:
                return
            wait.host.forget(wait.id)
        self.move(wait, key)


class _Host:
    """The waits of one key, and the process that runs them now; started again for as long as there are any."""

    def __init__(self, owner: TriggerHosts, key: HostKey) -> None:
        self.key = key
        self.log_tail = ""
        """Of the last process."""
        self._owner = owner
        self._waits: dict[str, _Wait] = {}
        self._process: HostLine | None = None
        self._empty_since: float | None = None
        self._rss_bytes = 0
        self._restarts = 0
        self._stalls = 0

    def add(self, wait: _Wait) -> None:
        self._waits[wait.id] = wait
        wait.host = self
        self._empty_since = None
        self._send_start(wait)

    def drop(self, wait_id: str) -> None:
        self.forget(wait_id)
        if self._process is not None:
            self._process.send("cancel", wait_id=wait_id)

    def go_on(self, wait_id: str) -> None:
        if self._process is not None:
            self._process.send("go_on", wait_id=wait_id)

    def forget(self, wait_id: str) -> None:
        del self._waits[wait_id]
        if not self._waits:
            self._empty_since = trio.current_time()

    def waits(self) -> tuple[_Wait, ...]:
        """In the order of their arrival."""
        return tuple(self._waits.values())

    def suspect(self, culprit: str) -> _Wait | None:
        if culprit or len(self._waits) != 1:
            return self._waits.get(culprit)
        return next(iter(self._waits.values()))

    def view(self) -> HostView:
        return HostView(
            python=self.key.python,
            runtime=self.key.runtime,
            bundle=self.key.bundle,
            group=self.key.group,
            pid=0 if self._process is None else self._process.pid,
            triggers=len(self._waits),
            rss_bytes=self._rss_bytes,
            restarts=self._restarts,
            stalls=self._stalls,
        )

    def describe(self) -> str:
        process = "that is being started" if self._process is None else self._process.where
        others = len(self._waits) - 1
        return f"a trigger host {process} ({self.key.runtime}, {self.key.python}) beside {max(others, 0)} others"

    async def run(self) -> None:
        quick_ends = 0
        while self._waits:
            started_at = trio.current_time()
            end = await self._run_process()
            if end.kind is EndKind.IDLE:
                continue
            lived_s = 0.0 if end.kind is EndKind.NOT_STARTED else trio.current_time() - started_at
            quick_ends = quick_ends + 1 if lived_s < STEADY_S else 1
            self._restarts += 1
            self._owner.host_ended(self, end, lived_s, quick_ends)
            if self._waits:
                await trio.sleep(supervision.backoff_s(quick_ends))
        self._owner.gone(self)

    async def _run_process(self) -> HostEnd:
        """Whatever goes wrong with one host is its own end."""
        ended = HostEnd(kind=EndKind.NOT_STARTED, culprit="", because="")

        async def record(failure: Exception) -> None:
            nonlocal ended
            log.error("trigger_host_broke", exc_info=failure, host=self.describe())
            ended = HostEnd(kind=EndKind.CRASHED, culprit="", because=f"{type(failure).__name__}: {failure}")
            await trio.lowlevel.checkpoint()

        async with supervision.contain(record):
            ended = await self._run_one_process()
        return ended

    async def _run_one_process(self) -> HostEnd:
        process = self._process = self._owner.places.make(self.key, self._heard, self._owner.answer)
        for wait in self.waits():
            self._send_start(wait)
        try:
            return await process.run()
        finally:
            self.log_tail = process.log_tail()
            self._process = None
            self._rss_bytes = 0

    def _send_start(self, wait: _Wait) -> None:
        if self._process is None:
            return
        try:
            self._process.send("start", wait_id=wait.id, call=msgspec.to_builtins(wait.call))
        except UNSENDABLE as error:
            self._owner.fail(wait, f"the trigger cannot be sent to its host: {error}")

    def _heard(self, message: FromHost) -> None:
        """A wait that ended or moved away meanwhile is no longer ours: what is said of it is ignored."""
        match message:
            case Beat():
                self._rss_bytes = message.rss_bytes
                self._end_if_large_or_idle()
            case Event():
                if wait := self._waits.get(message.wait_id):
                    self._owner.fired(wait, message)
            case Ended():
                if wait := self._waits.get(message.wait_id):
                    self._owner.ended(wait)
            case Failed():
                if wait := self._waits.get(message.wait_id):
                    self._owner.fail(wait, message.error, message.traceback)
            case Log():
                if wait := self._waits.get(message.wait_id):
                    self._owner.on_log(wait.id, wait.call, message.line)
            case Stalled():
                self._note_stall(message)
            case Hello():
                log.info("trigger_host_ready", host=self.describe())
            case Ask():
                raise AssertionError("questions are answered by the process's own task")

    def _note_stall(self, message: Stalled) -> None:
        self._stalls += 1
        self._owner.stalled()
        where = message.stack[0] if message.stack else "nobody knows where"
        log.warning("trigger_host_stalled", host=self.describe(), **msgspec.structs.asdict(message))
        if wait := self._waits.get(message.wait_id):
            wait.stall = f"{where} ({message.blocked_s:g} s and counting)"

    def _end_if_large_or_idle(self) -> None:
        assert self._process is not None
        config = self._owner.config
        idle_s = 0.0 if self.key.group else config.idle_s  # nobody new ever comes to a host of a group
        if self._rss_bytes > config.rss_limit_bytes:
            size = f"{self._rss_bytes / 1e6:.0f} MB, more than the limit of {config.rss_limit_bytes / 1e6:.0f} MB"
            self._process.stop(EndKind.MEMORY, f"it grew to {size}")
        elif self._empty_since is not None and self._empty_since + idle_s <= trio.current_time():
            self._process.stop(EndKind.IDLE, "it has no trigger")
