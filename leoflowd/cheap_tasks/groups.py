"""One probe and all who wait for it: what the pool knows of a coalescing key."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from leoflow_sensors.kinds import SensorKind
from leoflowd.cheap_tasks.records import PRUNE_FROM, WaitRecord
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.pool_view import PROBES_SHOWN, ProbeRecord

if TYPE_CHECKING:
    from leoflowd.cheap_tasks.lines import Gate

STRIKES = 3
"""Probes cut off or broken in a row; then the group is quarantined."""


class GroupState(Enum):
    IDLE = "idle"
    """Its next probe has a time."""
    READY = "ready"
    """Due: in line for its target or for a worker."""
    PROBING = "probing"


class GroupWake(msgspec.Struct, order=True, gc=False):
    """When a group is due; replaced, never moved."""

    wake_at: float
    """Trio's clock: a step of the wall clock is no storm of probes."""
    number: int
    group: Any
    """A `ProbeGroup`; never compared, because numbers differ."""
    is_dead: bool = False


class ProbeHistory:
    """The last PROBES_SHOWN probes of a group, in some 0.5 KB; equal summaries in a row are one text."""

    __slots__ = ("_at", "_errors", "_summaries", "_took")

    def __init__(self) -> None:
        self._at = array("d")
        self._took = array("d")
        self._summaries: list[str] = []
        self._errors = 0
        """Bit i: the i-th of them, from the oldest, was an error."""

    def add(self, at: float, took_s: float, summary: str, *, is_error: bool) -> None:
        """`at` in seconds since the epoch."""
        if len(self._at) == PROBES_SHOWN:
            del self._at[0], self._took[0], self._summaries[0]
            self._errors >>= 1
        self._at.append(at)
        self._took.append(took_s)
        is_same = bool(self._summaries) and self._summaries[-1] == summary
        self._summaries.append(self._summaries[-1] if is_same else summary)
        self._errors |= is_error << (len(self._at) - 1)

    def last_seen(self) -> str | None:
        """Summary of the newest one that was no error."""
        return next((record.summary for record in reversed(self.records()) if not record.is_error), None)

    def told(self) -> tuple[str, ...]:
        """What was seen last, and what is wrong if later probes saw nothing."""
        seen, newest = self.last_seen(), next(reversed(self.records()), None)
        sentences = [] if seen is None else [f"last seen: {seen}"]
        if newest is not None and newest.is_error:
            sentences.append(f"the last probe failed: {newest.summary}")
        return tuple(sentences)

    def records(self) -> tuple[ProbeRecord, ...]:
        """Oldest first."""
        return tuple(
            ProbeRecord(
                at=datetime.fromtimestamp(at, UTC),
                duration_s=took,
                summary=summary,
                is_error=bool(self._errors >> place & 1),
            )
            for place, (at, took, summary) in enumerate(zip(self._at, self._took, self._summaries, strict=True))
        )


class ProbeGroup:
    """Waits with equal probes. `schedule.ProbeSchedule` owns its state; the pool judges its waits."""

    __slots__ = (
        "again",
        "began_at",
        "connection_id",
        "dag",
        "due_at",
        "end_watch",
        "gate",
        "history",
        "interval_s",
        "key",
        "kind",
        "newcomers",
        "placed_for",
        "postponed_until",
        "shape",
        "size",
        "spec",
        "state",
        "strike",
        "strikes",
        "waits",
        "wake",
    )

    def __init__(
        self, key: str, kind: SensorKind[Any, Any], spec: Any, connection_id: str | None, dag: str, shape: str | None
    ) -> None:
        self.key = key
        self.kind = kind
        self.spec = spec
        self.connection_id = connection_id
        self.dag = dag
        """Of its first wait: whose turn it uses."""
        self.shape = shape
        """The kind's `batch_key`; None: asked alone."""
        self.size = 0
        """Live ones among `waits` and `newcomers`."""
        self.waits: list[WaitRecord] = []
        self.newcomers: list[WaitRecord] = []
        """Registered while a probe was on its way: its answer is older than they are."""
        self.state = GroupState.IDLE
        self.wake: GroupWake | None = None
        self.due_at = 0.0
        """Trio's clock: when it became due, for lateness."""
        self.began_at = -math.inf
        """Trio's clock: when its last probe began."""
        self.interval_s = 0.0
        self.postponed_until = -math.inf
        """Trio's clock: the target asked for patience."""
        self.again = False
        """Something happened during a probe that it may not have seen."""
        self.placed_for: ConnectionFacts | object | None = _UNPLACED
        self.gate: Gate | None = None
        self.strikes = 0
        self.strike = ""
        self.history: ProbeHistory | None = None
        self.end_watch: Callable[[], None] | None = None

    @property
    def kind_name(self) -> str:
        return self.kind.name

    @property
    def is_quarantined(self) -> bool:
        return self.strikes >= STRIKES

    @property
    def batch(self) -> tuple[str, str | None, int, str] | None:
        """Ready groups with the same one go in one trip; None: it goes alone, or nobody knows its target yet."""
        if self.shape is None or self.placed_for is _UNPLACED:
            return None
        return self.kind.name, self.connection_id, id(self.gate), self.shape

    def add(self, record: WaitRecord) -> None:
        (self.newcomers if self.state is GroupState.PROBING else self.waits).append(record)
        self.size += 1

    def note_dead(self) -> None:
        """One of its waits died. While a probe runs nothing moves: somebody walks through them."""
        self.size -= 1
        if self.state is not GroupState.PROBING and len(self.waits) >= PRUNE_FROM and self.size * 2 < len(self.waits):
            self.waits = [record for record in self.waits if not record.is_dead]

    def welcome(self) -> None:
        """The probe is over: those who came during it are like the others now, and the dead are cleared away."""
        self.waits = [record for record in (*self.waits, *self.newcomers) if not record.is_dead]
        self.newcomers = []

    def let_go(self) -> None:
        """Nobody waits any more. Records are outside the garbage collector's sight: the circle is cut here."""
        self.waits, self.newcomers = [], []

    def note_probe(self, at: float, took_s: float, summary: str, *, is_error: bool) -> None:
        if self.history is None:
            self.history = ProbeHistory()
        self.history.add(at, took_s, summary, is_error=is_error)


_UNPLACED = object()
