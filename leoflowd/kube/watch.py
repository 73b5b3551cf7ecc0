"""Keeping up with our pods: a list, then watches from where the last one ended, and another list when that is too old.

Whoever follows gets everything in order: a `PodList` (what is not in it is gone), then `Seen`, and so on.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.errors import KubeUnavailable
from leoflowd.kube.api import Bookmark, Expired, KubeApi, KubeRefused, PodList, Seen
from leoflowd.kube.objects import Pod
from leoflowd.supervision import backoff_s

log = telemetry.get_logger(__name__)

BETWEEN_S = 0.2
"""From one list or watch to the next: an API server that ends them at once must not be asked at once for ever."""


class WatchStatistics(msgspec.Struct, frozen=True):
    lists: int
    watches: int
    events: int
    failures: int
    """In a row, now."""
    seen_s: float
    """Since the API server last answered; before the first answer, since the start."""


class PodWatch:
    """`tell` gets a `PodList` or a `Seen`, and never waits."""

    def __init__(self, api: KubeApi, *, selector: str, watch_s: int, tell: Callable[[PodList | Seen], None]) -> None:
        self._api = api
        self._selector = selector
        self._watch_s = watch_s
        self._tell = tell
        self._version = ""
        self._lists = self._watches = self._events = self._failures = 0
        self._heard_at = trio.current_time()
        self.last_fault = ""

    def statistics(self) -> WatchStatistics:
        silent_s = round(trio.current_time() - self._heard_at, 1)
        return WatchStatistics(self._lists, self._watches, self._events, self._failures, silent_s)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """For ever; started when the first list is there. What fails is tried again with a growing pause."""
        is_started = False
        while True:
            try:
                if not self._version:
                    await self._list()
                    if not is_started:
                        is_started = True
                        task_status.started()
                await self._follow()
            except Expired:
                self._version = ""
                await trio.sleep(BETWEEN_S)
            except (KubeUnavailable, KubeRefused) as error:
                await self._pause(error)

    async def _list(self) -> None:
        found = await self._api.list_pods(self._selector)
        self._lists += 1
        self._heard()
        self._tell(found)
        self._version = found.resource_version

    async def _follow(self) -> None:
        self._watches += 1
        begun_at = trio.current_time()
        async with self._api.watch_pods(self._selector, self._version, watch_s=self._watch_s) as lines:
            self._heard_at = trio.current_time()
            async for line in lines:
                self._heard()
                match line:
                    case Bookmark():
                        self._version = line.resource_version or self._version
                    case Seen():
                        self._events += 1
                        self._tell(line)
                        if isinstance(line.pod, Pod):
                            self._version = line.pod.resource_version or self._version
        self._heard()
        await trio.sleep_until(begun_at + BETWEEN_S)

    def _heard(self) -> None:
        self._heard_at = trio.current_time()
        self._failures = 0
        self.last_fault = ""

    async def _pause(self, error: Exception) -> None:
        self._failures += 1
        if not self.last_fault:
            log.warning("pod_watch_broken", error=str(error))
        self.last_fault = str(error)
        await trio.sleep(backoff_s(self._failures))
