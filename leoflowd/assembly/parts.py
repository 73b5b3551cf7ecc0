"""The parts of the tree, as an edition's assembly hands them to `daemon.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from leoflowd.agents.service import AgentService
from leoflowd.api.server import ApiServer
from leoflowd.assembly.places import LogPart
from leoflowd.cheap_tasks.asset_watchers import AssetWatchers
from leoflowd.cheap_tasks.everywhere import PoolEverywhere
from leoflowd.cheap_tasks.parts import CallParts, HostParts, WaitParts
from leoflowd.contract.executors import Executor
from leoflowd.executors.refusals import Refusals
from leoflowd.scheduler.audit_seals import AuditSeals
from leoflowd.scheduler.backfills import BackfillMaker
from leoflowd.scheduler.callbacks import Callbacks
from leoflowd.scheduler.clock import TimetableClock
from leoflowd.scheduler.deadlines import Deadlines
from leoflowd.scheduler.deleted_runs import DeletedRuns
from leoflowd.scheduler.leadership import Leadership
from leoflowd.scheduler.loop import Scheduler
from leoflowd.scheduler.outbox import Outbox
from leoflowd.scheduler.replicas import Heart
from leoflowd.scheduler.reports import OthersReports
from leoflowd.scheduler.retention import Retention
from leoflowd.scheduler.sweeps import Sweeper
from leoflowd.scheduler.trace_export import TraceExport
from leoflowd.store.hints import HintListener
from leoflowd.supervision import Pulses

if TYPE_CHECKING:  # a cluster's daemon has none of what these import
    from leoflowd.lite.environments import Environments
    from leoflowd.lite.workspace import Workspace


class Component(Protocol):
    """What the tree starts."""

    def statistics(self) -> object: ...

    def complaint(self) -> str | None: ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...


class ExecutorPart(Executor, Component, Protocol):
    """An executor of this host, whose processes would outlive us."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Of every daemon, whether it leads or not."""

    hints: HintListener
    follow_hints: Callable[[], Awaitable[None]]
    pulses: Pulses
    refusals: Refusals
    logs: LogPart
    agents: AgentService
    heart: Heart
    waits: WaitParts | None
    """None: other daemons watch them."""
    triggers: HostParts | None
    """The trigger hosts of a daemon that watches waits or may lead."""
    executor: ExecutorPart | None = None
    """Lite's."""
    leadership: Leadership | None
    """None: it never leads."""
    keep_reports: Callable[[], Awaitable[None]]
    """The inbox while it does not lead; `leadership` runs it by itself."""
    api: ApiServer
    environments: Environments | None = None
    """Lite's, as is the next one."""
    workspace: Workspace | None = None
    traces: TraceExport | None = None
    """None: nothing is traced."""
    close: Callable[[], Awaitable[None]] | None = None
    """At the very end."""


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """Of the daemon that leads, made anew for each term."""

    calls: CallParts
    executor: Component | None
    """A cluster's: of the leader alone."""
    pools: PoolEverywhere
    outboxes: dict[str, Outbox]
    """By executor."""
    scheduler: Scheduler
    clock: TimetableClock
    backfills: BackfillMaker
    watchers: AssetWatchers
    reports: OthersReports
    callbacks: Callbacks
    deadlines: Deadlines
    sweeper: Sweeper
    seals: AuditSeals
    deleted_runs: DeletedRuns
    retention: Retention
    complaints: dict[str, Callable[[], str | None]]
    """By component: of what should move and stands still."""
