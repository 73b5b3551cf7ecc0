"""One wait of `leoflow test`, which has no cheap-task pool: its moment comes by `Clock`, its probes are asked here.

What a wait is and how it ends are the daemon's rules. Asked for real is whatever answers a person's own machine: files,
HTTP, SQL, buckets. Foreign triggers run in a trigger host (`local_triggers`). Other dag runs and webhooks have nobody
here who watches them: the task fails and says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from leoflowd.cheap_tasks import endings
from leoflowd.cheap_tasks.cadence import backoff_s
from leoflowd.cheap_tasks.records import Terms, WaitRecord
from leoflowd.cli.local_clock import Clock
from leoflowd.contract.agent_messages import Outcome, OutcomeKind, ResumeCall
from leoflowd.contract.connection import ConnectionFacts, from_environment
from leoflowd.contract.errors import Invalid
from leoflowd.contract.human import HUMAN_KIND, Answer, Question
from leoflowd.contract.values import later
from leoflowd.contract.waits import TRIGGER_KIND, NewWait, TriggerCall, WaitEnd
from leoflowd.core.human import event_of

if TYPE_CHECKING:
    from leoflow_sensors.kinds import Observation, SensorKind
    from leoflowd.cli.local_triggers import LocalTriggers

BY_THE_CLOCK = "its moment came"
PROBE_TIMEOUT_S = 60.0
NOT_HERE = frozenset({"external_task", "webhook"})
"""Kinds that look at what only a server has."""
ALL_ADDRESSES = "0.0.0.0/0, ::/0, 127.0.0.0/8, ::1, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, fc00::/7"
"""A person's own DAG may ask on his machine whatever its tasks may."""

End = Outcome | ResumeCall
"""An outcome ends the task; a call lets it go on in its next process."""


class LocalWait:
    """`triggers` runs foreign ones; None: there is no place for them."""

    def __init__(
        self,
        wait: NewWait,
        clock: Clock,
        answer: Callable[[Question], Answer | None],
        triggers: Callable[[], LocalTriggers] | None = None,
    ) -> None:
        self._wait = wait
        self._clock = clock
        self._answer = answer
        self._triggers = triggers
        self._trigger: LocalTriggers | None = None
        self._pokes = 0
        self._last_seen: str | None = None
        self._next_at: datetime | None = wait.registered_at

    @property
    def next_at(self) -> datetime | None:
        """When it is to be looked at again; None = never."""
        has_spoken = self._trigger is not None and self._trigger.has_spoken(str(self._wait.id))
        return self._wait.registered_at if has_spoken else self._next_at

    @property
    def is_real(self) -> bool:
        """Somebody's own code waits, and time must not leap."""
        return self._trigger is not None

    def look(self) -> End | None:
        """None: it goes on waiting."""
        now = self._clock.now()
        probe = self._wait.spec.probe
        if probe.kind == HUMAN_KIND:
            return self._of_people(now)
        if probe.kind == TRIGGER_KIND and self._triggers is not None:
            return self._of_the_trigger(self._triggers(), now)
        kind = kinds().get(probe.kind)
        if kind is None or kind.name in NOT_HERE:
            return failed_for_good(self._why_not(), now)
        try:
            spec = msgspec.convert(probe.arguments, kind.spec)
            predicate = msgspec.convert(self._wait.spec.terms.predicate, kind.predicate)
        except (ValueError, TypeError) as fault:
            return failed_for_good(f"it cannot be waited for: {fault}", now)
        record = self._record(predicate)
        if kind.due_at is not None:
            return self._of_the_clock(record, kind.due_at(spec, self._wait.registered_at), now)
        return self._of_the_world(kind, spec, record)

    def _of_people(self, now: datetime) -> End:
        try:
            answer = self._answer(msgspec.convert(self._wait.spec.probe.arguments, Question))
        except Invalid as fault:
            return failed_for_good(f"it cannot be answered like this: {fault}", now)
        if answer is None:
            because = "it asks a person, nobody is here, and it has no defaults; answer with --answer TASK=OPTION"
            return failed_for_good(because, now)
        resume = self._wait.spec.terms.resume
        assert resume is not None, "a question comes from a deferral"
        return ResumeCall(
            next_method=resume.next_method, next_kwargs=_text(resume.next_kwargs), event=_text(event_of(answer))
        )

    def _of_the_trigger(self, triggers: LocalTriggers, now: datetime) -> End | None:
        wait_id, record = str(self._wait.id), self._record(None)
        if self._trigger is None:
            self._trigger = triggers
            triggers.start(wait_id, msgspec.convert(self._wait.spec.probe.arguments, TriggerCall))
        if (said := triggers.said(wait_id)) is not None:
            return self._end(said(record, now))
        self._next_at = self._wait.deadline_at
        return self._timed_out(record, now)

    def _of_the_clock(self, record: WaitRecord, due_at: datetime | None, now: datetime) -> End | None:
        from leoflow_sensors.kinds import Verdict

        if due_at is not None and due_at <= now:
            return self._end(endings.met(record, Verdict(met=True), BY_THE_CLOCK, now))
        if (end := self._timed_out(record, now)) is not None:
            return end
        moments = [moment for moment in (due_at, self._wait.deadline_at) if moment is not None]
        self._next_at = min(moments, default=None)
        return None

    def _of_the_world(self, kind: SensorKind[Any, Any], spec: Any, record: WaitRecord) -> End | None:
        from leoflow_sensors.kinds import Observation, ProbeFailed, TargetDown, judge

        seen = asked(kind, spec, self._wait.spec.probe.connection_id, self._clock.now)
        now = self._clock.now()
        self._last_seen = seen.summary if isinstance(seen, Observation) else str(seen)
        self._pokes += 1
        end: WaitEnd | None = None
        try:
            if isinstance(seen, Observation):
                end = endings.judged(record, judge(kind, record.terms.predicate, seen), seen.summary, now)
            elif isinstance(seen, ProbeFailed | TargetDown):
                end = endings.probe_failed(record, str(seen), now)
        except ProbeFailed as fault:
            end = endings.probe_failed(record, str(fault), now)
        if end is not None:
            return self._end(end)
        if (timed_out := self._timed_out(record, now)) is not None:
            return timed_out
        self._next_at = self._next_poke(now)
        return None

    def _next_poke(self, now: datetime) -> datetime | None:
        """No later than the timeout, at which it is asked once more."""
        terms = self._wait.spec.terms
        interval_s = terms.poke_interval_s
        if terms.exponential_backoff:
            interval_s = backoff_s(terms, str(self._wait.id), (now - self._wait.registered_at).total_seconds())
        moment = later(now, self._clock.after(max(interval_s, 1.0), self._pokes).total_seconds())
        return min((one for one in (moment, self._wait.deadline_at) if one is not None), default=None)

    def _timed_out(self, record: WaitRecord, now: datetime) -> End | None:
        deadline = self._wait.deadline_at
        if deadline is None or now < deadline:
            return None
        seen = () if self._last_seen is None else (f"last seen: {self._last_seen}",)
        return self._end(endings.timed_out(record, seen, now))

    def _record(self, predicate: Any) -> WaitRecord:
        wait = self._wait
        deadline = float("inf") if wait.deadline_at is None else wait.deadline_at.timestamp()
        return WaitRecord(
            wake_at=deadline,
            number=wait.id.int,
            run=wait.dag_run_id,
            dag=wait.dag_id,
            source=None,
            terms=Terms(wait.spec.terms, predicate),
            registered_at=wait.registered_at.timestamp(),
            deadline_at=deadline,
        )

    def _end(self, end: WaitEnd | None) -> End | None:
        if end is None or end.outcome is not None:
            return None if end is None else end.outcome
        resume, given = self._wait.spec.terms.resume, end.resume
        assert resume is not None
        assert given is not None
        return ResumeCall(
            next_method=resume.next_method,
            next_kwargs=_text(resume.next_kwargs),
            event=_text(given.event),
            error=given.error,
            traceback=given.traceback,
        )

    def _why_not(self) -> str:
        probe = self._wait.spec.probe
        classpath = probe.arguments.get("classpath")
        what = f"a wait of kind {probe.kind!r}" if classpath is None else f"trigger {classpath}"
        return f"`leoflow test` cannot tell whether {what} is met; run the DAG in `leoflow lite`, which watches it"


@cache
def kinds() -> dict[str, SensorKind[Any, Any]]:
    from leoflow_sensors import load_kinds

    return load_kinds()


def asked(
    kind: SensorKind[Any, Any], spec: Any, connection_id: str | None, now: Callable[[], datetime]
) -> Observation | Exception:
    """One probe. What it raises is the answer; what is none of the kind's own errors means nothing for who waits."""
    import trio

    from leoflow_sensors.egress import EgressClient
    from leoflow_sensors.egress_policy import parse_policy
    from leoflowd.supervision import contain

    seen: Observation | Exception = TimeoutError(f"no answer within {PROBE_TIMEOUT_S:g} s")

    async def record(failure: Exception) -> None:
        nonlocal seen
        await trio.lowlevel.checkpoint()
        seen = failure

    async def ask() -> None:
        nonlocal seen
        client = EgressClient(parse_policy(ALL_ADDRESSES))
        try:
            with trio.move_on_after(PROBE_TIMEOUT_S):
                async with contain(record):
                    assert kind.poke is not None
                    seen = await kind.poke(spec, _Context(_connection(kind, connection_id), client, now))
        finally:
            client.close()

    trio.run(ask)
    return seen


def _connection(kind: SensorKind[Any, Any], connection_id: str | None) -> ConnectionFacts | None:
    """Of `AIRFLOW_CONN_*`: there is no store here. Raises `ProbeFailed`."""
    from leoflow_sensors.kinds import ProbeFailed

    if connection_id is None:
        return None
    try:
        found = from_environment(connection_id, os.environ)
    except ValueError as fault:
        raise ProbeFailed(str(fault)) from fault
    if found is None and connection_id != kind.default_connection_id:
        name = f"AIRFLOW_CONN_{connection_id.upper()}"
        raise ProbeFailed(f"there is no connection {connection_id!r}: `leoflow test` reads it from {name}")
    return found


class _Context(msgspec.Struct, frozen=True):
    """`kinds.ProbeContext`."""

    connection: ConnectionFacts | None
    http: Any
    now: Callable[[], datetime]

    @property
    def dag_facts(self) -> Any:
        raise AssertionError("kinds that ask for other dag runs are not asked here")


def failed_for_good(because: str, now: datetime) -> Outcome:
    return Outcome(kind=OutcomeKind.FAILED_FOR_GOOD, because=because, start_date=now, end_date=now)


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
