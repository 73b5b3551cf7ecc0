"""Waits: what a task instance waits for while no process of its own exists (ADR 13).

A wait is data. The compiler writes a `WaitSpec` into the artifact for native sensors, a task process sends one (or a
trigger) when it defers, the scheduler stores it with the move to `deferred`, and the cheap-task pool watches it. The
pool never changes a task instance: it reports `WaitEnd`s, which the scheduler commits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import msgspec

from leoflowd.contract.agent_messages import Outcome
from leoflowd.contract.human import HUMAN_KIND
from leoflowd.contract.wait_spec import ProbeSpec, WaitSpec

TRIGGER_KIND = "trigger"
"""A trigger class that we do not know: it runs in a trigger host. `ProbeSpec.arguments` is a `TriggerCall`."""


class TriggerCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A foreign trigger and all that its host needs: nothing here is ever imported by the daemon."""

    classpath: str
    kwargs: Any
    """In the runner's XCom form (JSON with `__classname__` envelopes)."""
    environment: dict[str, Any]
    """`EnvironmentSpec` as plain data: which interpreter."""
    bundle_digest: str
    source_path: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    try_id: str
    dag_run_id: int = 0
    """0: stored by a release that did not need it."""
    import_paths: tuple[str, ...] = ()
    """As in the artifact."""
    image: str = ""
    """Of the version, for hosts that are pods."""
    repeats: bool = False
    """Of a watcher of an asset, and of no task: it goes on after its event, once that is taken."""


class NewWait(msgspec.Struct, frozen=True, kw_only=True):
    """A wait as the scheduler stores it and hands it to the pool; `id` is the id of its task instance (the fence)."""

    id: UUID
    dag_run_id: int
    dag_id: str
    spec: WaitSpec
    key: str
    registered_at: datetime
    deadline_at: datetime | None


class WaitEnd(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one wait. Exactly one of `outcome` and `resume` is set."""

    id: str
    dag_run_id: int
    outcome: Outcome | None = None
    """A native wait: how the try ended."""
    resume: ResumeWith | None = None
    """A deferral: what the task's next process is told."""
    because: str = ""


class ResumeWith(msgspec.Struct, frozen=True, kw_only=True):
    """The event, or why there is none. Airflow's `__fail__` covers a failed trigger and a timeout."""

    event: Any = None
    """JSON, or the runner's XCom form when a trigger host sent it."""
    error: str | None = None
    """`Trigger timeout` or `Trigger failure`: the task's `resume_execution` raises, as in Airflow."""
    traceback: tuple[str, ...] = ()


class WaitEnds(Protocol):
    """Where the pool reports: the scheduler's inbox."""

    async def waits_ended(self, ends: Sequence[WaitEnd]) -> Collection[str]:
        """Returns when they are committed, or refused because the wait is no longer current; forget them then.

        The answer is the ids of those that nobody can commit now, because their dag run was set aside: report them
        again later, apart from others. Raises `StoreUnavailable` when nobody committed: report them again.
        """


class Waits(Protocol):
    """The pool as the scheduler sees it: told after the commit, never waited for."""

    def register(self, waits: Sequence[NewWait]) -> None: ...

    def withdraw(self, wait_ids: Sequence[str], dag_run_ids: Collection[int]) -> None:
        """`dag_run_ids`: whose they are."""

    def dag_finished(self, dag_ids: Collection[str]) -> None:
        """A dag run or task instance of these DAGs finished: whoever waits for one may look now."""


class WaitAction(StrEnum):
    """What a person may do with a wait."""

    PROBE = "probe"
    FIRE = "fire"
    FAIL = "fail"


def coalescing_key(probe: ProbeSpec, wait_id: str, tenant: str = "") -> str:
    """Equal keys share one probe: same kind, arguments, connection and tenant. Triggers and people share nothing."""
    if probe.kind in (TRIGGER_KIND, HUMAN_KIND):
        return f"{probe.kind}:{wait_id}"
    canonical = msgspec.json.encode([tenant, probe.kind, probe.connection_id, probe.arguments], order="sorted")
    return hashlib.sha256(canonical).hexdigest()[:32]
