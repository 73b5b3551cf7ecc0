"""Turns pods into ends of tries. List and watch -> `core.pod_outcome` -> a report that is committed -> the pod goes.

Three mechanisms meet here, and each rests on one rule (ADR 59):

* *What is known of pods* comes from `kube.watch` alone, pod by pod (uid), the newest state of each. A daemon that
  starts adopts whatever the first list shows; a pod that a later list no longer has is gone, with its last state.
* *What that means* is `judge`, asked after each change and when the verdict says to look again. The agent tells most
  ends itself; an end that both tell is one end, because reports are fenced by the try.
* *A pod is deleted* only after its end is committed, or when its try is not current any more. Until then its state is
  the only record of how the try ended, so nothing else here, and nothing of age, deletes pods.

One worker handles one pod at a time, so what is told of a pod is told in order. A report that cannot be committed is
told again; a pod that is handled with an error is set aside for a while, and the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Protocol

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.errors import KubeUnavailable, StoreUnavailable
from leoflowd.contract.values import shown
from leoflowd.core.pod_outcome import (
    Coming,
    Ended,
    NotNeeded,
    PodEnd,
    PodFacts,
    PodLimits,
    Running,
    Verdict,
    how_ended,
    judge,
)
from leoflowd.kube.api import KubeRefused, PodList, Seen
from leoflowd.kube.objects import Pod, Unreadable
from leoflowd.supervision import backoff_s, contain

log = telemetry.get_logger(__name__)

WORKERS = 16
TIDY_S = 5.0
"""How often all pods are compared with their tries, and the patient ones with the clock."""
ASIDE_S = 60.0
"""For a pod whose handling failed with a bug of ours."""
FRESH_S = 10.0
"""A pod so young may belong to a try whose commit we do not read yet."""


class Pods(Protocol):
    """`kube.api.KubeApi`."""

    async def delete_pod(self, name: str, *, uid: str, grace_s: int | None = None) -> bool: ...


class WatcherStatistics(msgspec.Struct, frozen=True):
    pods: int
    pending: int
    running: int
    adopted: int
    """That were there when this term began."""
    ended: dict[str, int]
    """By `PodEnd`: those that were about to go, each once."""
    reported: int
    """Ends that were told here; the agents tell most."""
    deleted: int
    unreadable: int
    """Objects of which nothing can be told, since the last list."""
    set_aside: int
    failures: int


class PodLife(msgspec.Struct, frozen=True):
    """One that is over, by our clock; of one that was adopted the API server says when it began."""

    pod: Pod
    began_at: datetime
    ended_at: datetime
    end: PodEnd


class PodWatcher:
    """`tell(try_id, outcome)` returns when the end is committed, or refused as stale; `live(try_ids)` says which of
    these tries are current; `over` hears of each pod that is about to go, once a term. `follow` runs
    `kube.watch.PodWatch` with our `see`."""

    def __init__(
        self,
        *,
        api: Pods,
        follow: Callable[..., Awaitable[None]],
        tell: Callable[[str, Outcome], Awaitable[None]],
        live: Callable[[Collection[str]], Awaitable[frozenset[str]]],
        limits: PodLimits,
        now: Callable[[], datetime],
        over: Callable[[PodLife], None] = lambda _: None,
    ) -> None:
        self._over = over
        self._api = api
        self._follow = follow
        self._tell = tell
        self._live = live
        self._limits = limits
        self._now = now
        self._pods: dict[str, _Known] = {}
        """By uid."""
        self._uid_of: dict[str, str] = {}
        """Try -> its newest pod."""
        self._due: dict[str, None] = {}
        """Uids to look at, the oldest first, each once."""
        self._idle = trio.lowlevel.ParkingLot()
        """Workers; each pod that is due wakes one."""
        self._unreadable = 0
        self._complained: set[str] = set()
        self._reported = self._deleted = self._failures = 0
        self._adopted: int | None = None
        """None: there was no list yet."""
        self._ended: Counter[str] = Counter(dict.fromkeys(PodEnd, 0))

    def statistics(self) -> WatcherStatistics:
        known = self._pods.values()
        return WatcherStatistics(
            pods=len(known),
            pending=len(self.pending()),
            running=sum(one.pod.facts.is_running for one in known),
            adopted=self._adopted or 0,
            ended=dict(self._ended),
            reported=self._reported,
            deleted=self._deleted,
            unreadable=self._unreadable,
            set_aside=sum(one.not_before > trio.current_time() for one in known),
            failures=self._failures,
        )

    def complaint(self) -> str | None:
        if self._unreadable:
            return f"{self._unreadable} pod(s) with our labels cannot be read and belong to no try; look who made them"
        return None

    def pending(self) -> frozenset[str]:
        """Ids of the tries whose pods have not begun."""
        return frozenset(one.pod.try_id for one in self._pods.values() if _is_pending(one.pod.facts))

    def has_pod(self, try_id: str) -> bool:
        """One that comes or runs, or whose end is about to be stored: another one for this try would run it twice."""
        known = self._pods.get(self._uid_of.get(try_id, ""))
        return known is not None and not isinstance(judge(known.pod.facts, self._limits, self._now()), NotNeeded)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started when the pods that there are have been adopted."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._follow)
            nursery.start_soon(self._tidy)
            for _ in range(WORKERS):
                nursery.start_soon(self._work)
            task_status.started()

    # --- what is known -------------------------------------------------------------------------------------------

    def see(self, news: PodList | Seen) -> None:
        """From the watch, in its order. Never waits."""
        if isinstance(news, PodList):
            self._see_all(news)
        elif isinstance(news.pod, Unreadable):
            self._unreadable += 1
            self._complain(news.pod)
        elif news.type == "DELETED":
            self._note_gone(news.pod)
        else:
            self._note(news.pod)

    def _see_all(self, listed: PodList) -> None:
        self._unreadable = len(listed.unreadable)
        for poison in listed.unreadable:
            self._complain(poison)
        for pod in listed.pods:
            self._note(pod)
        if self._adopted is None:
            self._adopted = len(listed.pods)
        for uid in self._pods.keys() - {pod.uid for pod in listed.pods}:
            self._note_gone(self._pods[uid].pod)

    def _note(self, pod: Pod) -> None:
        known = self._pods.get(pod.uid)
        if known is None:
            began_at = pod.facts.created_at if self._adopted is None else self._now()
            self._pods[pod.uid] = _Known(pod, trio.current_time(), began_at)
            self._uid_of[pod.try_id] = pod.uid
        else:
            known.pod = pod
        self._look_at(pod.uid)

    def _note_gone(self, pod: Pod) -> None:
        self._note(msgspec.structs.replace(pod, facts=msgspec.structs.replace(pod.facts, is_gone=True)))

    def _complain(self, poison: Unreadable) -> None:
        if poison.because not in self._complained and len(self._complained) < 100:
            self._complained.add(poison.because)
            log.error("pod_unreadable", because=shown(poison.because, 300), size_bytes=poison.size_bytes)

    def _look_at(self, uid: str) -> None:
        self._due[uid] = None
        self._idle.unpark()

    # --- what is done --------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            known = await self._take()
            known.is_busy = True
            try:
                async with contain(self._setting_aside(known)):
                    await self._handle(known)
            finally:
                known.is_busy = False
                if known.changed_while_busy:
                    known.changed_while_busy = False
                    self._look_at(known.pod.uid)

    async def _take(self) -> _Known:
        await trio.lowlevel.checkpoint()
        while True:
            while self._due:
                uid = next(iter(self._due))
                del self._due[uid]
                known = self._pods.get(uid)
                if known is None:
                    continue
                if known.is_busy:
                    known.changed_while_busy = True
                elif trio.current_time() >= known.not_before:
                    return known
            await self._idle.park()

    async def _handle(self, known: _Known) -> None:
        """Everything here may be done twice."""
        pod = known.pod
        verdict = judge(pod.facts, self._limits, self._now())
        if isinstance(verdict, Ended) and not known.is_told:
            await self._report(pod, verdict)
            known.is_told = True
        is_over = known.is_told or isinstance(verdict, NotNeeded)
        if is_over and not known.is_counted:
            known.is_counted = True
            end = how_ended(pod.facts)
            self._ended[end] += 1
            self._over(PodLife(pod, known.began_at, self._now(), end))
        if is_over:
            await self._collect(known, grace_s=0 if _has_ended(pod.facts) else None)

    async def _report(self, pod: Pod, ended: Ended) -> None:
        outcome = outcome_of(pod.facts, ended, self._now())
        log.info("pod_ended", try_id=pod.try_id, pod=pod.name, outcome=outcome.kind, because=outcome.because)
        await self._tell(pod.try_id, outcome)
        self._reported += 1

    async def _collect(self, known: _Known, *, grace_s: int | None) -> None:
        """Its end is stored, or nobody wants it."""
        pod = known.pod
        if pod.facts.is_gone:
            self._pods.pop(pod.uid, None)
            if self._uid_of.get(pod.try_id) == pod.uid:
                del self._uid_of[pod.try_id]
            return
        if pod.facts.deleted_at is not None and not _has_ended(pod.facts):
            return  # its node has been told
        if await self._api.delete_pod(pod.name, uid=pod.uid, grace_s=grace_s):
            self._deleted += 1

    def _setting_aside(self, known: _Known) -> Callable[[Exception], Awaitable[None]]:
        async def record(failure: Exception) -> None:
            known.failures += 1
            self._failures += 1
            is_outside = isinstance(failure, StoreUnavailable | KubeUnavailable | KubeRefused)
            pause_s = backoff_s(known.failures) if is_outside else ASIDE_S
            known.not_before = trio.current_time() + pause_s
            if is_outside:
                log.warning("pod_handled_later", pod=known.pod.name, error=str(failure), delay_s=round(pause_s, 1))
            else:
                log.error("pod_set_aside", pod=known.pod.name, try_id=known.pod.try_id, exc_info=failure)
            await trio.lowlevel.checkpoint()

        return record

    async def _tidy(self) -> None:
        """The guarantee behind every event: time passes for pods that come, tries end while their pods go on."""
        while True:
            await trio.sleep(TIDY_S)
            async with contain(_log_failure):
                await self._end_unwanted()
            for uid, known in list(self._pods.items()):
                verdict = judge(known.pod.facts, self._limits, self._now())
                if _needs_a_look(verdict, known):
                    self._look_at(uid)

    async def _end_unwanted(self) -> None:
        """Cleared, marked, deleted or timed out while its pod waited or ran: a running one hears of it on its agent's
        stream too, one that pends has nobody to tell it."""
        old = trio.current_time() - FRESH_S
        asked = [
            one for one in self._pods.values() if one.seen_at < old and not one.is_told and not one.pod.facts.is_gone
        ]
        live = await self._live([one.pod.try_id for one in asked]) if asked else frozenset()
        for one in asked:
            if one.pod.try_id not in live:
                one.is_told = True
                log.info("pod_unwanted", pod=one.pod.name, try_id=one.pod.try_id)


class _Known:
    """A pod and how far we are with it."""

    def __init__(self, pod: Pod, seen_at: float, began_at: datetime) -> None:
        self.pod = pod
        self.seen_at = seen_at
        self.began_at = began_at
        self.is_told = False
        """Its end is committed, or nobody wants to hear of it: it may go."""
        self.is_counted = False
        self.is_busy = False
        self.changed_while_busy = False
        self.failures = 0
        self.not_before = 0.0


def outcome_of(facts: PodFacts, ended: Ended, now: datetime) -> Outcome:
    """As its agent would have reported it."""
    if ended.outcome is not None:
        return ended.outcome
    end = facts.terminated
    start = (end and end.started_at) or now
    return Outcome(
        kind=ended.kind,
        because=ended.because,
        start_date=min(start, now),
        end_date=now,
        exit_code=ended.exit_code if ended.exit_code is not None and ended.kind is not OutcomeKind.LOST else None,
    )


def _needs_a_look(verdict: Verdict, known: _Known) -> bool:
    match verdict:
        case Ended() | NotNeeded():
            return True
        case Coming() | Running():
            return known.is_told


def _is_pending(facts: PodFacts) -> bool:
    return not facts.is_running and not _has_ended(facts)


def _has_ended(facts: PodFacts) -> bool:
    return facts.is_gone or facts.terminated is not None or facts.phase in ("Failed", "Succeeded")


async def _log_failure(failure: Exception) -> None:
    log.warning("pods_not_compared", error=str(failure))
    await trio.lowlevel.checkpoint()
