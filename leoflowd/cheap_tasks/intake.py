"""How a wait gets into memory: from the scheduler or from the table, checked, and to the source that will end it.

A timed kind gives it a moment, a probed kind a group, a trigger goes to its host, a question waits to be answered. What
makes no sense ends at once, with a sentence, because nobody would ever wake it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from leoflow_sensors.kinds import SensorKind, Watcher
from leoflowd import telemetry
from leoflowd.cheap_tasks.groups import ProbeGroup
from leoflowd.cheap_tasks.push import PushSources
from leoflowd.cheap_tasks.records import (
    ClockSource,
    HostSource,
    HumanSource,
    Parked,
    RefusedSource,
    Terms,
    TermsTable,
    WaitRecord,
)
from leoflowd.cheap_tasks.schedule import ProbeSchedule
from leoflowd.contract.human import HUMAN_KIND
from leoflowd.contract.wait_spec import ProbeSpec, WaitTerms
from leoflowd.contract.waits import TRIGGER_KIND, NewWait, TriggerCall
from leoflowd.store.waits import ArmRow, row_of
from leoflowd.supervision import contained

log = telemetry.get_logger(__name__)

SPECS_KEPT = 10_000
"""Of timed kinds, as they were read: the sensors of a dag run, and the runs of a day, wait for the same few moments."""


class TriggerHosts(Protocol):
    """`cheap_tasks.trigger_hosts`, which calls `trigger_fired` or `trigger_failed` once for each trigger it starts."""

    def start(self, wait_id: str, call: TriggerCall) -> None: ...

    def cancel(self, wait_id: str) -> None: ...

    def explain(self, wait_id: str) -> str: ...


class Intake:
    """`replace` drops an older wait of the same try, `refused` ends one that makes no sense, `parked_until` hears when
    the clock has to look at a new one, `asked` of a question, which may be answered already."""

    def __init__(
        self,
        *,
        kinds: Mapping[str, SensorKind[Any, Any]],
        parked: Parked,
        terms: TermsTable,
        schedule: ProbeSchedule,
        push: PushSources,
        trigger_hosts: TriggerHosts,
        replace: Callable[[WaitRecord], None],
        refused: Callable[[WaitRecord, str], None],
        parked_until: Callable[[float], None],
        asked: Callable[[], None],
    ) -> None:
        self._kinds = kinds
        self._parked = parked
        self._terms = terms
        self._schedule = schedule
        self._push = push
        self._trigger_hosts = trigger_hosts
        self._replace = replace
        self._refused = refused
        self._parked_until = parked_until
        self._somebody_asked = asked
        self._clock_sources = {name: ClockSource(name) for name in kinds}
        self._timed_spec = lru_cache(SPECS_KEPT)(self._read_timed_spec)

    def take_new(self, wait: NewWait) -> None:
        """Registered just now: a probe may come at once."""
        self._take(row_of(wait), is_new=True)

    def take_row(self, row: ArmRow) -> None:
        """Found in the table: it comes back at its stable phase."""
        self._take(row, is_new=False)

    def _take(self, row: ArmRow, *, is_new: bool) -> None:
        """Park it, unless it is known. The same try may wait a second time, under the same id: the later one counts."""
        known = self._parked.records.get(row.id.int)
        if known is not None:
            if known.registered_at >= row.registered_at:
                return
            self._replace(known)

        def refuse(error: Exception) -> None:
            log.error("wait_refused", wait_id=str(row.id), kind=row.kind, error=str(error))
            self._refuse(row, f"this {row.kind} wait cannot be understood: {type(error).__name__}: {error}")

        kind = self._kinds.get(row.kind)
        # A third party's kind may raise anything about arguments that it does not like.
        with contained(refuse):
            if row.kind == TRIGGER_KIND:
                self._take_trigger(row)
            elif row.kind == HUMAN_KIND:
                self._take_question(row)
            elif kind is None:
                self._refuse(row, f"no sensor kind {row.kind!r} is installed in this daemon; install its package")
            elif kind.due_at is not None:
                self._take_timed(row, kind, kind.due_at)
            else:
                self._take_probed(row, kind, is_new=is_new)

    def _take_trigger(self, row: ArmRow) -> None:
        call = msgspec.convert(_probe(row.probe).arguments, TriggerCall)
        record = self._park(row, HostSource(), self._terms.of(None, row.terms), row.deadline_at)
        self._trigger_hosts.start(record.wait_id, call)

    def _take_question(self, row: ArmRow) -> None:
        """Its row knows its deadline: the clock of the pool never looks at it."""
        self._park(row, HumanSource(), self._terms.of(None, row.terms), math.inf)
        self._somebody_asked()

    def _take_timed(
        self, row: ArmRow, kind: SensorKind[Any, Any], due_at: Callable[[Any, datetime], datetime | None]
    ) -> None:
        spec = self._timed_spec(kind.name, row.probe)
        moment = _seconds(due_at(spec, datetime.fromtimestamp(row.registered_at, UTC)))
        source = self._clock_sources[kind.name]
        # Strictly before the deadline means its moment; the deadline itself is one float object for both.
        wake_at = min(row.deadline_at, moment)
        if moment == row.deadline_at < math.inf:
            wake_at = math.nextafter(moment, -math.inf)
        self._park(row, source, self._terms.of(kind, row.terms), wake_at)

    def _read_timed_spec(self, kind_name: str, probe: str) -> Any:
        return msgspec.convert(_probe(probe).arguments, self._kinds[kind_name].spec)

    def _take_probed(self, row: ArmRow, kind: SensorKind[Any, Any], *, is_new: bool) -> None:
        terms = self._terms.of(kind, row.terms)
        key = row.key if kind.is_safe_to_share else f"{row.key}:{row.id.int}"
        group = self._schedule.groups.get(key)
        if group is None:
            group = self._new_group(row, kind, key)
        record = self._park(row, group, terms, row.deadline_at)
        self._schedule.join(group, record, is_new=is_new)
        if group.size == 1 and kind.watch is not None and group.end_watch is None:
            group.end_watch = self._subscribe(kind, kind.watch, group)

    def _new_group(self, row: ArmRow, kind: SensorKind[Any, Any], key: str) -> ProbeGroup:
        probe = _probe(row.probe)
        spec = msgspec.convert(probe.arguments, kind.spec)
        shape = None if kind.batch_key is None or kind.poke_many is None else kind.batch_key(spec)
        return ProbeGroup(key, kind, spec, probe.connection_id, row.dag_id, shape)

    def _subscribe(
        self,
        kind: SensorKind[Any, Any],
        watch: Callable[[Any, Watcher, Callable[[], None]], Callable[[], None]],
        group: ProbeGroup,
    ) -> Callable[[], None] | None:
        """What ends the push; None for a kind that fails here, which is polled only."""

        def record(error: Exception) -> None:
            log.error("kind_cannot_watch", kind=kind.name, exc_info=error)

        with contained(record):
            return watch(group.spec, self._push, lambda: self._schedule.wake(group))
        return None

    def _refuse(self, row: ArmRow, because: str) -> None:
        terms = _readable_terms(row.terms)
        source = RefusedSource(row.kind, because)
        record = self._park(row, source, Terms(terms, None), row.deadline_at)
        self._refused(record, because)

    def _park(self, row: ArmRow, source: Any, terms: Terms, wake_at: float) -> WaitRecord:
        record = WaitRecord(
            wake_at=wake_at,
            number=row.id.int,
            run=row.dag_run_id,
            dag=row.dag_id,
            source=source,
            terms=terms,
            registered_at=row.registered_at,
            deadline_at=row.deadline_at,
        )
        self._parked.add(record)
        self._parked_until(wake_at)
        return record


def _readable_terms(terms: str) -> WaitTerms:
    """Those of a wait that is refused; they may be what cannot be understood of it."""
    try:
        return msgspec.json.decode(terms, type=WaitTerms)
    except (msgspec.MsgspecError, RecursionError):
        return WaitTerms()


def _probe(text: str) -> ProbeSpec:
    return msgspec.json.decode(text, type=ProbeSpec)


def _seconds(moment: datetime | None) -> float:
    """Since the epoch; None is never."""
    return math.inf if moment is None else moment.timestamp()
