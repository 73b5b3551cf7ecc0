"""What the pool remembers of a parked wait: one small record, an entry in a heap, and a place in two or three indexes.

A million of them have to fit beside the rest of the daemon, so that nothing here is a dict of its own, what repeats
(DAG ids, terms, run ids) exists once, and leaving a crowd costs nothing at the moment of leaving.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from leoflow_sensors.kinds import SensorKind
from leoflowd.cheap_tasks.wake_queue import WakeQueue
from leoflowd.contract.human import HUMAN_KIND
from leoflowd.contract.wait_spec import WaitTerms
from leoflowd.contract.waits import TRIGGER_KIND

PRUNE_FROM = 32


class WaitState(Enum):
    FRESH = "fresh"
    """No probe has answered it yet."""
    PARKED = "parked"
    OVERDUE = "overdue"
    """Its deadline has passed; a probe that is on its way may still save it."""
    ENDING = "ending"
    """How it ended is decided and not committed yet: only `Parked.records` holds it."""
    GONE = "gone"


LIVE = frozenset({WaitState.FRESH, WaitState.PARKED, WaitState.OVERDUE})


class Terms:
    """One wait's terms with the predicate as its kind reads it; equal terms of a kind are one object."""

    __slots__ = ("__weakref__", "predicate", "wait")

    def __init__(self, wait: WaitTerms, predicate: Any) -> None:
        self.wait = wait
        self.predicate = predicate


class TermsTable:
    """Terms by kind and JSON text, for as long as a wait has them."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, str], Terms] = WeakValueDictionary()

    def of(self, kind: SensorKind[Any, Any] | None, text: str) -> Terms:
        """`kind` None: a trigger or a person, without a predicate. Raises `msgspec.MsgspecError`."""
        name = TRIGGER_KIND if kind is None else kind.name
        found = self._known.get((name, text))
        if found is None:
            wait = msgspec.json.decode(text, type=WaitTerms)
            predicate = None if kind is None else msgspec.convert(wait.predicate, kind.predicate)
            found = self._known[name, text] = Terms(wait, predicate)
        return found


class ClockSource:
    """Waits of a timed kind: their own moment is all there is to know."""

    __slots__ = ("kind_name",)

    def __init__(self, kind_name: str) -> None:
        self.kind_name = kind_name


class HostSource:
    """Waits for a trigger that runs in a trigger host."""

    __slots__ = ()
    kind_name = TRIGGER_KIND


class HumanSource:
    """Waits for an answer."""

    __slots__ = ()
    kind_name = HUMAN_KIND


class RefusedSource:
    """A wait that makes no sense here (unknown kind, wrong arguments): it ends before it begins."""

    __slots__ = ("because", "kind_name")

    def __init__(self, kind_name: str, because: str) -> None:
        self.kind_name = kind_name
        self.because = because


class WaitRecord(msgspec.Struct, eq=False, gc=False):
    """One wait. Ordered by `wake_at` for the heap, by nothing else: the same wait may be in it twice, once dead.

    Outside the garbage collector's sight (`gc=False`): a group must let go of its crowd when it ends.
    """

    wake_at: float
    """UTC, seconds since the epoch: its moment, or its deadline, when the clock looks at it; infinity for never."""
    number: int
    """The wait's id."""
    run: int
    """`dag_run_id`"""
    dag: str
    source: Any
    """`groups.ProbeGroup`, `ClockSource`, `HostSource`, `HumanSource` or `RefusedSource`."""
    terms: Terms
    registered_at: float
    deadline_at: float
    """Infinity for never."""
    state: WaitState = WaitState.FRESH
    sweep: int = 0
    """The last sweep that saw its row."""

    def __lt__(self, other: WaitRecord) -> bool:
        return self.wake_at < other.wake_at

    @property
    def is_dead(self) -> bool:
        """For crowds and queues: it is not waited for any more."""
        return self.state not in LIVE

    @property
    def wait_id(self) -> str:
        return str(UUID(int=self.number))

    @property
    def started_at(self) -> datetime:
        return datetime.fromtimestamp(self.registered_at, UTC)


def number_of(wait_id: str) -> int | None:
    """None: it is no id of a wait."""
    try:
        return UUID(wait_id).int
    except ValueError:
        return None


class Crowd:
    """Records with something in common. The dead stay until they are half of it: tell `note_dead` of each."""

    __slots__ = ("_dead", "_records")

    def __init__(self) -> None:
        self._records: list[WaitRecord] = []
        self._dead = 0

    def __len__(self) -> int:
        return len(self._records) - self._dead

    def __iter__(self) -> Iterator[WaitRecord]:
        """The live ones, in order of arrival; those who die meanwhile are left out."""
        return (record for record in tuple(self._records) if not record.is_dead)

    def add(self, record: WaitRecord) -> None:
        self._records.append(record)

    def note_dead(self) -> None:
        self._dead += 1
        if self._dead == len(self._records) or (self._dead >= PRUNE_FROM and self._dead * 2 > len(self._records)):
            self._records = [record for record in self._records if not record.is_dead]
            self._dead = 0


class RunIndex:
    """Live waits by dag run. A run with a single wait, the usual thing, costs no crowd."""

    def __init__(self) -> None:
        self._runs: dict[int, WaitRecord | Crowd] = {}

    def __contains__(self, run: int) -> bool:
        return run in self._runs

    def of(self, run: int) -> tuple[WaitRecord, ...]:
        held = self._runs.get(run)
        if held is None:
            return ()
        return (held,) if isinstance(held, WaitRecord) else tuple(held)

    def add(self, record: WaitRecord) -> None:
        held = self._runs.get(record.run)
        if held is None:
            self._runs[record.run] = record
            return
        if isinstance(held, WaitRecord):
            record.run = held.run  # one int object for the run
            crowd = Crowd()
            crowd.add(held)
            held = self._runs[record.run] = crowd
        held.add(record)

    def note_dead(self, record: WaitRecord) -> None:
        held = self._runs[record.run]
        if isinstance(held, WaitRecord):
            del self._runs[record.run]
            return
        held.note_dead()
        if not held:
            del self._runs[record.run]


class Parked:
    """All records, and what finds them: by id, by run, by the time at which the clock has to look."""

    def __init__(self) -> None:
        self.records: dict[int, WaitRecord] = {}
        self.runs = RunIndex()
        self._queue: WakeQueue[WaitRecord] = WakeQueue()
        self.by_kind: Counter[str] = Counter()
        self.by_dag: Counter[str] = Counter()
        self.sweep = 0
        """Number of the sweep that runs, or ran last; new records count as seen by it."""
        self._dags: dict[str, str] = {}

    def find(self, wait_id: str) -> WaitRecord | None:
        """A live one."""
        number = number_of(wait_id)
        record = None if number is None else self.records.get(number)
        return None if record is None or record.is_dead else record

    def add(self, record: WaitRecord) -> None:
        assert record.number not in self.records
        record.dag = self._dags.setdefault(record.dag, record.dag)
        record.sweep = self.sweep
        self.records[record.number] = record
        self.runs.add(record)
        self._queue.add(record)
        self.by_kind[record.source.kind_name] += 1
        self.by_dag[record.dag] += 1

    def next_at(self) -> float:
        return self._queue.next_at()

    def pop_due(self, now: float, limit: int) -> list[WaitRecord]:
        """Those that the clock has to look at; each is then put back with `requeue`, or unparked as `popped`."""
        return self._queue.pop_due(now, limit)

    def requeue(self, record: WaitRecord, wake_at: float) -> None:
        record.wake_at = wake_at
        self._queue.add(record)

    def unpark(self, record: WaitRecord, state: WaitState, *, popped: bool) -> None:
        """It is waited for no more: ENDING keeps it known until its end is committed, GONE forgets it."""
        assert not record.is_dead
        record.state = state
        self.runs.note_dead(record)
        if not popped:
            self._queue.note_dead()
        _one_less(self.by_kind, record.source.kind_name)
        _one_less(self.by_dag, record.dag)
        if record.dag not in self.by_dag:
            del self._dags[record.dag]
        if state is WaitState.GONE:
            del self.records[record.number]

    def forget(self, record: WaitRecord) -> None:
        """Its end is committed."""
        if self.records.get(record.number) is record:
            del self.records[record.number]
        record.state = WaitState.GONE


def _one_less(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
