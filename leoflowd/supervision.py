"""Who starts what again, and the visible tree of it. Nothing else in the project restarts anything.

Three policies, chosen in `daemon.py`:

* *crash* (default): an exception goes up, cancels everything, and the process exits non-zero. For bugs.
* *restart_on(errors)*: named errors of the outside world; backoff with jitter; too many restarts in a window is a
  crash. The rest of the tree stays up meanwhile.
* *contain*: one unit of work (a request, a dag run, a project) fails, its outcome is recorded, its siblings go on.

What runs may still be of no use: `complaint` is a component's own word for that, and `Pulses` notices what should move
and stands still. Both make health red under the component's name.

Nurseries raise ExceptionGroup, and one failure may arrive in a group together with Cancelled; `except*` is used so
that neither hides the other.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from leoflowd import telemetry

log = telemetry.get_logger(__name__)

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
RESTARTS_MAX = 30
"""More restarts than this inside RESTART_WINDOW_S mean that restarting does not help."""
RESTART_WINDOW_S = 60.0
START_WITHIN_S = 120.0
"""A component that is still starting after this is a fault; Postgres recovers from a crash within it."""
PULSE_S = 1.0
STALLED_S = 5.0
"""The event loop standing still for longer is a fault."""
STALL_SHOWN_S = 60.0


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """One component as `leoflow tree`, the tree page and /metrics show it."""

    name: str
    policy: str
    state: str
    restarts: int
    since: str | None
    last_error: str | None
    fault: str | None
    """Why health is red."""
    statistics: Any
    children: tuple[NodeView, ...]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why health is red."""

    component: str
    """Its path in the tree, such as `leadership/scheduler`."""
    because: str


class Node:
    """A place in the tree: its policy, state (starting, running, waiting, stopped, failed) and children."""

    def __init__(
        self,
        name: str,
        policy: str = "crash",
        statistics: Callable[[], Any] | None = None,
        complaint: Callable[[], str | None] | None = None,
    ) -> None:
        self.name = name
        self.policy = policy
        self.state = "starting"
        self.restarts = 0
        self.since: str | None = None
        self.last_error: str | None = None
        self.children: list[Node] = []
        self._statistics = statistics
        self._complaint = complaint
        self._entered = time.monotonic()

    def child(
        self,
        name: str,
        policy: str = "crash",
        statistics: Callable[[], Any] | None = None,
        complaint: Callable[[], str | None] | None = None,
    ) -> Node:
        """The child of this name; a component that starts again finds its own node."""
        for known in self.children:
            if known.name == name:
                known._statistics, known._complaint = statistics, complaint  # noqa: SLF001  # our own class
                return known
        node = Node(name, policy, statistics, complaint)
        self.children.append(node)
        return node

    def fault(self) -> str | None:
        """Why this component is of no use now, as a sentence that anyone may read; error texts might say too much."""
        match self.state:
            case "failed":
                return "it failed"
            case "waiting":
                return f"it waits to be started again after an error ({self.restarts} restarts)"
            case "starting" if (seconds := time.monotonic() - self._entered) >= START_WITHIN_S:
                return f"it has been starting for {seconds:.0f} s"
            case "running" if self._complaint is not None:
                return self._complaint()
        return None

    def faults(self) -> tuple[Fault, ...]:
        """Of the whole tree below, by path."""
        found = []
        for child in self.children:
            because = child.fault()
            if because is not None:
                found.append(Fault(component=child.name, because=because))
            found += [
                Fault(component=f"{child.name}/{fault.component}", because=fault.because) for fault in child.faults()
            ]
        return tuple(found)

    def enter(self, state: str) -> None:
        self.state = state
        self._entered = time.monotonic()
        self.since = telemetry.utc_now().isoformat().replace("+00:00", "Z")

    def view(self) -> NodeView:
        statistics = self._statistics() if self._statistics and self.state == "running" else None
        return NodeView(
            name=self.name,
            policy=self.policy,
            state=self.state,
            restarts=self.restarts,
            since=self.since,
            last_error=self.last_error,
            fault=self.fault(),
            statistics=statistics,
            children=tuple(child.view() for child in self.children),
        )


class Pulses:
    """Looks each second whether what should move does; a component beside those that it watches."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._watched: dict[str, _Pulse] = {}
        self._stalled_at: float | None = None
        self._stalled_s = 0.0
        self._known: set[str] = set()

    def watch(self, name: str, read: Callable[[], object], within_s: float) -> Callable[[], str | None]:
        """The complaint of a component whose `read()` should change within so many seconds."""
        pulse = self._watched[name] = _Pulse(read, within_s)
        return pulse.complaint

    def complaint(self) -> str | None:
        """Of the event loop, while people still ask themselves what that was."""
        if self._stalled_at is None or (ago := trio.current_time() - self._stalled_at) > STALL_SHOWN_S:
            return None
        return f"the event loop stood still for {self._stalled_s:.1f} s, {ago:.0f} s ago"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            due = trio.current_time() + PULSE_S
            await trio.sleep_until(due)
            late_s = trio.current_time() - due
            if late_s >= STALLED_S:
                self._stalled_at, self._stalled_s = trio.current_time(), late_s
            for pulse in self._watched.values():
                pulse.look()
            self._tell(self._root.faults())

    def _tell(self, faults: tuple[Fault, ...]) -> None:
        """The log names what turns red, and when that is over, once."""
        found = {fault.component for fault in faults}
        for fault in faults:
            if fault.component not in self._known:
                log.error("component_unhealthy", component=fault.component, because=fault.because)
        for component in sorted(self._known - found):
            log.info("component_healthy_again", component=component)
        self._known = found


class _Pulse:
    def __init__(self, read: Callable[[], object], within_s: float) -> None:
        self._read = read
        self._within_s = within_s
        self._last = read()
        self._still_s = 0.0

    def look(self) -> None:
        """Counts looks, not time: while the loop stood still nothing could move, and that time is the loop's."""
        now = self._read()
        self._still_s = 0.0 if now != self._last else self._still_s + PULSE_S
        self._last = now

    def complaint(self) -> str | None:
        if self._still_s < self._within_s:
            return None
        return f"it has done nothing for {self._still_s:.0f} s; it should every {self._within_s:.0f} s at least"


async def start(nursery: trio.Nursery, node: Node, run: Callable[..., Awaitable[None]]) -> Any:
    """Start a component under *crash*; returns what it reports as started."""

    async def running(*, task_status: trio.TaskStatus[Any]) -> None:  # noqa: ASYNC128  # the component calls it
        async with _states(node):
            await run(task_status=_Reporting(node, task_status))

    return await nursery.start(running)


async def start_restarting(
    nursery: trio.Nursery,
    node: Node,
    run: Callable[..., Awaitable[None]],
    *errors: type[Exception],
) -> Any:
    """Start a component under *restart_on(errors)*; returns what its first start reports."""
    node.policy = "restart on " + ", ".join(error.__name__ for error in errors)

    async def keeping(*, task_status: trio.TaskStatus[Any]) -> None:  # noqa: ASYNC128  # the component calls it
        first: trio.TaskStatus[Any] = task_status
        recent: list[float] = []
        while True:
            broken: BaseException | None = None
            reporting = _Reporting(node, first)
            async with _states(node):
                try:
                    await run(task_status=reporting)
                except* errors as group:
                    broken = _innermost(group)
            if broken is None:
                return
            if reporting.reported:
                first = trio.TASK_STATUS_IGNORED
            recent = [at for at in recent if at > trio.current_time() - RESTART_WINDOW_S] + [trio.current_time()]
            if len(recent) > RESTARTS_MAX:
                raise RuntimeError(
                    f"{node.name}: {len(recent)} restarts within {RESTART_WINDOW_S:.0f} s; last: {broken}"
                ) from broken
            delay = backoff_s(len(recent))
            node.restarts += 1
            node.last_error = str(broken)
            node.enter("waiting")
            log.warning("component_restarts", component=node.name, error=str(broken), delay_s=round(delay, 3))
            await trio.sleep(delay)

    return await nursery.start(keeping)


def backoff_s(attempt: int) -> float:
    """Doubling from BACKOFF_FIRST_S to BACKOFF_MAX_S, with 50 % jitter so that many do not come back at once."""
    doublings = min(attempt - 1, 30)  # hours of attempts are a number that no float holds
    longest: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**doublings)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not secrecy


@asynccontextmanager
async def contain(record: Callable[[Exception], Awaitable[None]]) -> AsyncIterator[None]:
    """Whatever fails inside is recorded and ends here. The one broad catch of the project (STYLE 3)."""
    failure: Exception | None = None
    try:
        yield
    except* Exception as group:  # noqa: BLE001  # this is `contain`
        failure = _innermost(group)
    if failure is not None:
        await record(failure)


class contained:  # noqa: N801  # a context manager by class: it is entered for each of a million waits
    """`contain` for a unit of work that never waits."""

    __slots__ = ("_record",)

    def __init__(self, record: Callable[[Exception], None]) -> None:
        self._record = record

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> bool:
        if not isinstance(failure, Exception):
            return False
        self._record(failure)
        return True


def _innermost(error: BaseException) -> Exception:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Exception)
    return error


class _Reporting:
    """A task status that also moves the node to running."""

    def __init__(self, node: Node, inner: trio.TaskStatus[Any]) -> None:
        self._node = node
        self._inner = inner
        self.reported = False

    def started(self, value: Any = None) -> None:
        self._node.enter("running")
        self.reported = True
        self._inner.started(value)


@asynccontextmanager
async def _states(node: Node) -> AsyncIterator[None]:
    node.enter("starting")
    try:
        yield
    except trio.Cancelled:
        node.enter("stopped")
        raise
    except BaseException as error:
        node.last_error = str(error)
        node.enter("failed")
        raise
    else:
        node.enter("stopped")
