"""A kubelet that follows a script: it binds each pod, lets it live as its story says, and tells the API server its end.

No process is run, but each pod asks first, as its agent would, whether its try is current, and says that it begins.
Where the story ends well, what that agent would have left in its termination message is there, unheard. So a
thousand pods cost a thousand times a few requests, and all that rests on watching is tested for each of them.
`loadtests.pods` and tests/integration/cluster/test_storm.py use it.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum

import httpx
import msgspec
import trio

from leoflowd.agents.pod_admission import REPLACED_BECAUSE, admits
from leoflowd.assembly.foundation import tell_end
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.termination import Termination, termination_text
from leoflowd.core.history import Started
from leoflowd.core.pod_outcome import EXIT_STALE
from leoflowd.kube.api import KubeApi, PodList, Seen
from leoflowd.kube.objects import Pod
from leoflowd.kube.watch import PodWatch
from leoflowd.scheduler.inbox import Inbox
from leoflowd.scheduler.reports import KeptReports
from leoflowd.store.database import Database
from leoflowd.store.tries import fetch_try
from leoflowd.telemetry import utc_now
from loadtests.kube_admin import Admin

AGAIN_S = 0.1
REQUESTS_AT_ONCE = 24
PULL_S = 1.0
"""For an image that comes late."""
WATCH_S = 30
ID_CHARS = 36
"""Of a try's id, with which the name of its pod ends."""


class Fate(StrEnum):
    """What becomes of a pod."""

    WELL = "well"
    KILLED = "killed in silence"
    EVICTED = "evicted"
    DELETED = "deleted by force"
    DRAINED = "deleted with grace"
    SLOW_PULL = "image came late"
    NO_IMAGE = "image never came"
    FAILED = "failed by its own code"
    TOO_LARGE = "needed too much memory"


INFRASTRUCTURE = frozenset({Fate.KILLED, Fate.EVICTED, Fate.DELETED, Fate.DRAINED, Fate.NO_IMAGE})
"""Ends for which nobody's retry may be spent."""
OWN = frozenset({Fate.FAILED, Fate.TOO_LARGE})
"""The task's: they cost its author a retry."""


class Story(msgspec.Struct, frozen=True):
    fate: Fate = Fate.WELL
    lasts_s: float = 0.0
    """From its begin to its end."""


class Lived(msgspec.Struct, frozen=True):
    """One pod that came to its end."""

    task_id: str
    try_id: str
    fate: Fate
    ended_at: float
    """Before the API server was told; seconds since the epoch."""


class ScriptKubelet:
    """`story(task_id, nth)` is asked for each pod; `nth` counts the tries of a task from 0. `hello(try_id, uid)` is the
    first word of a pod's agent; false: the try is over, or another pod's, and nothing is run."""

    def __init__(
        self,
        *,
        admin: Admin,
        api: KubeApi,
        selector: str,
        story: Callable[[str, int], Story],
        hello: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._admin = admin
        self._watch = PodWatch(api, selector=selector, watch_s=WATCH_S, tell=self._see)
        self._story = story
        self._hello = hello
        self._requests = trio.CapacityLimiter(REQUESTS_AT_ONCE)
        self._nursery: trio.Nursery | None = None
        self._uids: set[str] = set()
        self._tries: defaultdict[str, list[str]] = defaultdict(list)
        self._leaving: set[str] = set()
        """Names whose removal is under way, or is the business of their story."""
        self.started: list[Started] = []
        """Each begin of what would be user code: the try, and the pod as its owner."""
        self.lived: list[Lived] = []
        self.stale = 0
        """Pods of tries that were over: they ran nothing."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._watch.run)
            task_status.started()

    def _see(self, news: PodList | Seen) -> None:
        seen = news.pods if isinstance(news, PodList) else (news.pod,)
        for pod in seen:
            if isinstance(pod, Pod) and not (isinstance(news, Seen) and news.type == "DELETED"):
                self._look_at(pod)

    def _look_at(self, pod: Pod) -> None:
        assert self._nursery is not None
        if pod.uid not in self._uids:
            self._uids.add(pod.uid)
            self._nursery.start_soon(self._live, pod)
        elif pod.facts.deleted_at is not None and pod.uid not in self._leaving:
            self._leaving.add(pod.uid)
            self._nursery.start_soon(self._does, lambda: self._admin.remove(pod.name))

    async def _live(self, pod: Pod) -> None:
        task_id, tries = pod.name[: -ID_CHARS - 1], self._tries[pod.name[: -ID_CHARS - 1]]
        if pod.try_id not in tries:
            tries.append(pod.try_id)
        story = self._story(task_id, tries.index(pod.try_id))
        await self._does(lambda: self._admin.bind(pod.name))
        if story.fate in (Fate.SLOW_PULL, Fate.NO_IMAGE):
            await self._does(lambda: self._admin.wait(pod.name, "ErrImagePull", "the registry says 503"))
            if story.fate is Fate.NO_IMAGE:
                self._note(task_id, pod, story.fate)
                return
            await trio.sleep(min(story.lasts_s, PULL_S))
        has_begun = await self._does(lambda: self._admin.begin(pod.name))
        if has_begun and await self._hello(pod.try_id, pod.uid):
            self.started.append(Started(pod.try_id, pod.uid))
            await trio.sleep(story.lasts_s)
            self._note(task_id, pod, story.fate)
            await self._end(pod, story.fate)
            return
        if has_begun:
            self.stale += 1
            await self._does(lambda: self._admin.end(pod.name, EXIT_STALE))
        if story.fate is Fate.SLOW_PULL:
            self._note(task_id, pod, Fate.NO_IMAGE)  # too slow: the daemon has given it up

    def _note(self, task_id: str, pod: Pod, fate: Fate) -> None:
        self.lived.append(Lived(task_id, pod.try_id, fate, time.time()))

    async def _end(self, pod: Pod, fate: Fate) -> None:
        admin, name = self._admin, pod.name
        match fate:
            case Fate.WELL | Fate.SLOW_PULL:
                await self._does(lambda: admin.end(name, 0, message=_left(pod, OutcomeKind.SUCCESS)))
            case Fate.FAILED:
                await self._does(lambda: admin.end(name, 0, message=_left(pod, OutcomeKind.FAILED)))
            case Fate.TOO_LARGE:
                await self._does(lambda: admin.end(name, 137, reason="OOMKilled"))
            case Fate.KILLED:
                await self._does(lambda: admin.end(name, 137))
            case Fate.EVICTED:
                await self._does(
                    lambda: admin.patch_status(name, phase="Failed", reason="Evicted", message="low on memory")
                )
            case Fate.DELETED:
                await self._does(lambda: admin.remove(name))
            case Fate.DRAINED:
                self._leaving.add(pod.uid)
                await self._does(lambda: admin.delete(name, grace_s=5))
                await self._does(lambda: admin.end(name, 143))
                await self._does(lambda: admin.remove(name))
            case Fate.NO_IMAGE:
                raise AssertionError("it never began")

    async def _does(self, act: Callable[[], Awaitable[None]]) -> bool:
        """Through restarts of the API server. What was done and not answered is done. False: the pod is gone."""
        while True:
            try:
                async with self._requests:
                    await act()
            except httpx.TransportError:
                await trio.sleep(AGAIN_S)
            except httpx.HTTPStatusError as error:
                if error.response.status_code == httpx.codes.CONFLICT:
                    return True
                if error.response.status_code == httpx.codes.NOT_FOUND:
                    return False
                await trio.sleep(AGAIN_S)
            else:
                return True


class Hearing:
    """What agents are told, and heard saying, at a daemon that does not lead: as much as the script needs."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._inbox = Inbox()
        self._kept = KeptReports(db=db, inbox=self._inbox, now=utc_now)

    async def run(self) -> None:
        await self._kept.run()

    async def hello(self, try_id: str, pod_uid: str) -> bool:
        """Whether it is current, and this pod's; if so the leader will hear that it has begun."""
        async with self._db.agents.connection() as conn:
            row = await fetch_try(conn, try_id)
        if row is None or not row.live:
            return False
        if not await admits(self._db, row, pod_uid):
            now = utc_now()
            lost = Outcome(kind=OutcomeKind.LOST, because=REPLACED_BECAUSE, start_date=now, end_date=now)
            await tell_end(self._db, self._inbox, try_id, lost)
            return False
        await self._inbox.try_started(row, at=utc_now(), hostname="node-1", pid=None)
        return True


def story_of(seed: int, *, fates: dict[Fate, float], lasts_s: tuple[float, float]) -> Callable[[str, int], Story]:
    """The same for the same seed, whatever the order of the pods. `fates` with their weights; a task's own failures
    come to its first try alone, and what the cluster does to its first three."""

    def story(task_id: str, nth: int) -> Story:
        dice = random.Random(f"{seed}/{task_id}/{nth}")  # noqa: S311 - repeatable, not secret
        fate = dice.choices(list(fates), list(fates.values()))[0]
        if (fate in OWN and nth > 0) or (fate in INFRASTRUCTURE and nth > 2):
            fate = Fate.WELL
        return Story(fate, dice.uniform(*lasts_s))

    return story


def _left(pod: Pod, kind: OutcomeKind) -> str:
    """As the agent of a try whose daemon was away would have left it."""
    now = datetime.now(UTC)
    outcome = Outcome(kind=kind, because="The script says so.", start_date=now, end_date=now)
    return termination_text(Termination(try_id=pod.try_id, outcome=outcome)).decode()
