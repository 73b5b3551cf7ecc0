"""What a sensor kind is: the border between the cheap-task pool, which waits, and the modules here, which look.

A kind is one module with a spec struct, at most one predicate struct, and a few functions, gathered in a `SensorKind`.
The pool calls `poke` once for all waits with the same spec and connection, then `judge` for each of them. Third parties
register a `SensorKind` under the entry point group `leoflow.sensors`. A kind never runs code that a DAG author wrote.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_facts import DagFacts

ENTRY_POINTS = "leoflow.sensors"

S = TypeVar("S", bound=msgspec.Struct)
P = TypeVar("P", bound=msgspec.Struct)


class KindSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of specs and predicates: unknown arguments are an error."""


class NoPredicate(KindSpec, frozen=True, kw_only=True):
    """For kinds whose observation is the answer."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What one probe saw, for all who wait for it."""

    value: Any
    """Small and plain; `judge` reads it."""
    summary: str
    """For people, one line: `HTTP 404 Not Found`, `no such file`."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One wait's answer to an observation."""

    met: bool
    event: Any = None
    """Plain JSON: what a deferred task's next method gets."""
    xcom: Any = None
    """Plain JSON pushed as `return_value` when the wait ends its task; None pushes nothing, as in Airflow."""
    failure: str | None = None
    """Waiting any longer is pointless: the try fails (ExternalTaskFailedError); a retry may find the world changed."""
    skip: str | None = None
    """Why the task is to be skipped now (AirflowSkipException): ExternalTaskSensor's `skipped_states`."""


class ProbeFailed(Exception):
    """Airflow's sensor would raise here: the waits fail; `silent_fail` goes on, `never_fail` skips."""


class ProbeThrottled(Exception):
    """The target asks for patience (429, 503): no failure. `retry_after_s` None = the pool's own backoff."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TargetDown(Exception):
    """Nobody answers at the target: counts against its breaker, and is a `ProbeFailed` for those who wait."""


class ProbeContext(Protocol):
    """What the pool gives a probe. Everything outside goes through it, so that budgets and policy hold."""

    @property
    def connection(self) -> ConnectionFacts | None:
        """The probe's connection, looked up by the pool; None when the spec names none."""

    @property
    def http(self) -> Any:
        """The worker's own `leoflow_sensors.egress.EgressClient`: one kept-alive client per worker."""

    @property
    def dag_facts(self) -> DagFacts: ...

    def now(self) -> datetime: ...


class SensorKind(msgspec.Struct, Generic[S, P], frozen=True, kw_only=True):
    """One kind, as the pool knows it. `poke` may raise the errors above; anything else is a bug of the kind.

    A kind is one of two: *timed* has `due_at` and no `poke`; *probed* has `poke` (and maybe `poke_many`).
    """

    name: str
    spec: type[S]
    predicate: type[P]
    describe: Callable[[S], str]
    """For people: `file /data/in.csv`, `GET https://api/x`."""
    due_at: Callable[[S, datetime], datetime | None] | None = None
    """(spec, registered_at) -> the moment it is met; None = never."""
    poke: Callable[[S, ProbeContext], Awaitable[Observation]] | None = None
    poke_many: Callable[[Sequence[S], ProbeContext], Awaitable[Sequence[Observation | Exception]]] | None = None
    """Several specs with equal `batch_key` in one trip; answers in the same order."""
    batch_key: Callable[[S], str | None] | None = None
    judge: Callable[[P, Observation], Verdict] | None = None
    """None: `observation.value` is true or false."""
    target: Callable[[S, ConnectionFacts | None], str] | None = None
    """Whose budget a probe uses: `https://host:443`, `postgres://host:5432`. None: the kind's name, unlimited."""
    watch: Callable[[S, Watcher, Callable[[], None]], Callable[[], None]] | None = None
    """Push, where the world offers it: (spec, watcher, wake) subscribes and gives back what ends it. The poll stays."""
    is_safe_to_share: bool = True
    default_connection_id: str | None = None


class Watcher(Protocol):
    """Push sources of the pool: each calls `wake` when a probe is worth its while now."""

    def directory(self, path: str, wake: Callable[[], None]) -> Callable[[], None]:
        """inotify on the nearest directory that exists; a no-op where inotify is not to be had."""

    def dag(self, dag_id: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Whenever a dag run or task instance of this DAG finished."""

    def hook(self, name: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Whenever a signed webhook of this name arrived."""


def judge(kind: SensorKind[Any, Any], predicate: Any, observation: Observation) -> Verdict:
    """The verdict of one wait, with the default for kinds that have no predicate."""
    if kind.judge is not None:
        return kind.judge(predicate, observation)
    return Verdict(met=bool(observation.value))
