"""The executor of a cluster: one pod per try, created here; what becomes of it is `pod_watcher`'s (ADR 59).

A pod is named after its try, so creating it twice is once, as long as it is there. Of a try that may have had one
before, Postgres is asked whether that pod began it (ADR 78). An API server that asks for patience (429), has no room
(quota) or is away slows this component and nothing else: the scheduler's outbox hands over without waiting, what finds
no room is dropped and comes again with its sweep.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import msgspec
import trio
from typing_extensions import override

from leoflowd import telemetry
from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.errors import KubeUnavailable, StoreUnavailable
from leoflowd.contract.executors import Executor
from leoflowd.contract.staging import Staging
from leoflowd.core.delays import DelayCounts, Delays
from leoflowd.core.pod_outcome import NotNeeded, PodLimits, judge
from leoflowd.core.pod_wishes import PodRefused
from leoflowd.kube.api import KubeRefused
from leoflowd.kube.claims import build_claim, claim_name
from leoflowd.kube.objects import Pod, Unreadable
from leoflowd.kube.pod_spec import build_pod, pod_name
from leoflowd.kube.policy import PodPolicy
from leoflowd.supervision import backoff_s

log = telemetry.get_logger(__name__)

CAPACITY = 1024
"""At fifty pods a second: twenty seconds' worth."""
QUOTA_PAUSE_S = 2.0
"""Before the next attempt when the namespace is full; pods end all the time."""
PAUSE_MAX_S = 60.0
"""Whatever the API server asks for."""
WORTH_A_WORD_S = 20.0
REMEMBERED = 10_000
"""Tries that were asked for in this term; one that is forgotten costs at most a pod that runs nothing."""


class Pods(Protocol):
    """`kube.api.KubeApi`."""

    async def create_pod(self, pod: bytes) -> None: ...

    async def keep_claim(self, name: str, claim: bytes) -> bool: ...

    async def fetch_pod(self, name: str) -> Pod | Unreadable | None: ...

    async def delete_pod(self, name: str, *, uid: str, grace_s: int | None = None) -> bool: ...


class LauncherStatistics(msgspec.Struct, frozen=True):
    waiting: int
    creating: int
    created: int
    found: int
    """That were there already: launched twice (the scheduler's sweep does, as long as a try has not begun), or adopted
    from a daemon that is gone."""
    refused: int
    dropped: int
    """For lack of room; their tries are launched again."""
    pauses: int
    paused_because: str
    delays: DelayCounts
    """Of those created: from the decision until they were asked for."""


class PodLauncher(Executor):
    """`pending` gives the ids of the tries whose pods have not begun; `has_pod` says of a try whether the watcher knows
    a pod of it that is needed; `has_begun`, whether a pod was ever told what this try is; `refuse` reports one that can
    have no pod."""

    def __init__(
        self,
        *,
        api: Pods,
        policy: PodPolicy,
        dispatches: trio.MemoryReceiveChannel[Dispatch],
        refuse: Callable[[str, OutcomeKind, str], None],
        pending: Callable[[], frozenset[str]] = frozenset,
        has_pod: Callable[[str], bool] = lambda _: False,
        has_begun: Callable[[str], Awaitable[bool]],
        now: Callable[[], datetime],
        at_once: int = 8,
        capacity: int = CAPACITY,
    ) -> None:
        self._api = api
        self._policy = policy
        self._dispatches = dispatches
        self._refuse = refuse
        self._pending = pending
        self._has_pod = has_pod
        self._has_begun = has_begun
        self._now = now
        self._since = now()
        self._asked_for: OrderedDict[str, None] = OrderedDict()
        self._at_once = at_once
        self._capacity = capacity
        self._waiting: dict[str, Dispatch] = {}
        self._creating: set[str] = set()
        self._idle = trio.lowlevel.ParkingLot()
        """Workers; each launch wakes one."""
        self._go_on_at = 0.0
        """Nothing is created before that moment."""
        self._faults = 0
        self._paused_since: float | None = None
        self._paused_because = ""
        self._delays = Delays()
        self._created = self._found = self._refused = self._dropped = self._pauses = 0

    def statistics(self) -> LauncherStatistics:
        return LauncherStatistics(
            waiting=len(self._waiting),
            creating=len(self._creating),
            created=self._created,
            found=self._found,
            refused=self._refused,
            dropped=self._dropped,
            pauses=self._pauses,
            paused_because=self._paused_because,
            delays=self._delays.counts(),
        )

    def complaint(self) -> str | None:
        """What keeps pods from being created."""
        if self._paused_since is None or trio.current_time() - self._paused_since < WORTH_A_WORD_S:
            return None
        since_s = trio.current_time() - self._paused_since
        return f"no pod could be created for {since_s:.0f} s ({len(self._waiting)} wait): {self._paused_because}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._launch_all)
            for _ in range(self._at_once):
                nursery.start_soon(self._work)
            task_status.started()

    @override
    def launch(self, dispatch: Dispatch) -> None:
        try_id = dispatch.spec.try_id
        if try_id in self._creating:
            return  # its agent asks for what is new
        if self._has_pod(try_id):
            self._found += 1  # a thousand pods without a node are launched again every few seconds
            return
        if try_id not in self._waiting and len(self._waiting) >= self._capacity:
            self._dropped += 1
            return
        self._waiting[try_id] = dispatch
        self._idle.unpark()

    @override
    def known_tries(self) -> frozenset[str]:
        return self._pending().union(self._waiting, self._creating)

    @override
    async def stop(self) -> None:
        """Pods outlive the daemon: the next one adopts them."""
        await trio.lowlevel.checkpoint()

    async def _launch_all(self) -> None:
        async for dispatch in self._dispatches:
            self.launch(dispatch)

    async def _work(self) -> None:
        while True:
            try_id, dispatch = await self._take()
            if self._has_pod(try_id):  # created, and the answer was lost; by now it may even be gone
                self._found += 1
                continue
            self._creating.add(try_id)
            try:
                if not await self._create(dispatch):
                    self._waiting = {try_id: dispatch, **self._waiting}
            finally:
                self._creating.discard(try_id)

    async def _take(self) -> tuple[str, Dispatch]:
        """The oldest, when there is one and nothing says to wait."""
        await trio.lowlevel.checkpoint()
        while True:
            if trio.current_time() < self._go_on_at:
                await trio.sleep_until(self._go_on_at)
                continue
            if self._waiting:
                try_id = next(iter(self._waiting))
                return try_id, self._waiting.pop(try_id)
            await self._idle.park()

    async def _create(self, dispatch: Dispatch) -> bool:
        """False: try again, after the pause that was set."""
        spec = dispatch.spec
        try:
            pod = build_pod(spec, dispatch.placement, self._policy)
        except PodRefused as error:
            self._end(spec.try_id, OutcomeKind.FAILED, str(error))
            return True
        staging = dispatch.placement.staging
        try:
            if self._may_have_had_one(dispatch) and await self._has_begun(spec.try_id):
                return await self._after_begin(pod_name(spec.task_id, spec.try_id), spec.try_id)
            if staging is not None and not await self._keep_claim(staging):
                self._dropped += 1  # collected, and not gone yet: the try comes again
                return True
            asked_at = self._now()
            await self._api.create_pod(pod)
        except (KubeUnavailable, StoreUnavailable) as error:
            return self._pause(backoff_s(self._faults + 1), str(error))
        except KubeRefused as refused:
            return await self._after_refusal(dispatch, refused)
        self._created += 1
        if dispatch.queued_at is not None:
            self._delays.add((asked_at - dispatch.queued_at).total_seconds())
        self._went_well()
        return True

    def _may_have_had_one(self, dispatch: Dispatch) -> bool:
        """Asked for before: by us, whose request may have been done without an answer, or by the daemon that led."""
        try_id = dispatch.spec.try_id
        is_new = try_id not in self._asked_for and dispatch.queued_at is not None and dispatch.queued_at >= self._since
        self._asked_for[try_id] = None
        while len(self._asked_for) > REMEMBERED:
            self._asked_for.popitem(last=False)
        return not is_new

    async def _after_begin(self, name: str, try_id: str) -> bool:
        """Its pod began it. If that is not there any more, nobody will say how the try ended."""
        if await self._api.fetch_pod(name) is None:
            self._end(try_id, OutcomeKind.LOST, "its pod began it, and is gone without a word")
        else:
            self._found += 1
        self._went_well()
        return True

    async def _keep_claim(self, staging: Staging) -> bool:
        return await self._api.keep_claim(claim_name(staging, self._policy), build_claim(staging, self._policy))

    async def _after_refusal(self, dispatch: Dispatch, refused: KubeRefused) -> bool:
        match refused.status:
            case 409 if refused.reason == "AlreadyExists":
                return await self._after_conflict(pod_name(dispatch.spec.task_id, dispatch.spec.try_id))
            case 429:
                return self._pause(refused.retry_after_s or backoff_s(self._faults + 1), str(refused))
            case 403 if "exceeded quota" in refused.message:
                return self._pause(QUOTA_PAUSE_S, str(refused))
            case 403 | 404 | 409:
                # Of our rights or our namespace, not of this pod: a person has to mend it.
                return self._pause(backoff_s(self._faults + 1), str(refused))
            case _:
                because = f"the API server refuses its pod: {refused}"
                self._end(dispatch.spec.try_id, OutcomeKind.FAILED_FOR_GOOD, because)
                return True

    async def _after_conflict(self, name: str) -> bool:
        """A pod of this try is there. If an earlier leg of the try left it (rescheduled, deferred), it is in the way;
        any other runs, comes, or is the watcher's to report."""
        try:
            pod = await self._api.fetch_pod(name)
            if pod is None:
                return False
            if isinstance(pod, Pod) and isinstance(judge(pod.facts, PodLimits(), telemetry.utc_now()), NotNeeded):
                await self._api.delete_pod(name, uid=pod.uid, grace_s=0)
                return False
        except (KubeUnavailable, KubeRefused) as error:
            return self._pause(backoff_s(self._faults + 1), str(error))
        self._found += 1
        self._went_well()
        return True

    def _pause(self, pause_s: float, because: str) -> bool:
        """All workers; False, for `_create`. Those that fail together meet one fault."""
        self._faults += trio.current_time() >= self._go_on_at
        self._go_on_at = max(self._go_on_at, trio.current_time() + min(pause_s, PAUSE_MAX_S))
        if self._paused_since is None:
            self._paused_since = trio.current_time()
            log.warning("pod_launches_wait", because=because)
        self._paused_because = because
        self._pauses += 1
        return False

    def _went_well(self) -> None:
        self._faults = 0
        self._paused_since = None
        self._paused_because = ""

    def _end(self, try_id: str, kind: OutcomeKind, because: str) -> None:
        self._refused += 1
        self._refuse(try_id, kind, because)
