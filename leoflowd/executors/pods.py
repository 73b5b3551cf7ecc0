"""The executor of a cluster as a component of the term: who creates pods, and who keeps up with them (ADR 59).

Of the daemon that leads, and made anew with each term: pods outlive both, and the next leader adopts what it finds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime

import msgspec
import trio

from leoflowd.config import KubernetesConfig
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dispatch import Dispatch
from leoflowd.executors.pod_launcher import LauncherStatistics, PodLauncher
from leoflowd.executors.pod_watcher import PodWatcher, WatcherStatistics
from leoflowd.kube.api import KubeApi
from leoflowd.kube.pod_spec import selector
from leoflowd.kube.policy import PodPolicy, limits_of
from leoflowd.kube.watch import PodWatch, WatchStatistics

LAUNCHER = "pods"
"""In the place of a daemon's id: whoever leads launches pods."""


class PodStatistics(msgspec.Struct, frozen=True):
    launcher: LauncherStatistics
    watcher: WatcherStatistics
    watch: WatchStatistics


class Pods:
    """`tell` and `live` as `PodWatcher` wants them, `refuse` as `PodLauncher`."""

    def __init__(
        self,
        *,
        api: KubeApi,
        config: KubernetesConfig,
        policy: PodPolicy,
        dispatches: trio.MemoryReceiveChannel[Dispatch],
        refuse: Callable[[str, OutcomeKind, str], None],
        tell: Callable[[str, Outcome], Awaitable[None]],
        live: Callable[[Collection[str]], Awaitable[frozenset[str]]],
        now: Callable[[], datetime],
    ) -> None:
        limits = limits_of(config)
        self._watch = PodWatch(
            api,
            selector=selector(policy.installation),
            watch_s=config.watch_s,
            tell=lambda news: self._watcher.see(news),
        )
        self._watcher = PodWatcher(api=api, follow=self._watch.run, tell=tell, live=live, limits=limits, now=now)
        self._launcher = PodLauncher(
            api=api,
            policy=policy,
            dispatches=dispatches,
            refuse=refuse,
            pending=self._watcher.pending,
            at_once=config.creates_at_once,
        )

    def statistics(self) -> PodStatistics:
        return PodStatistics(self._launcher.statistics(), self._watcher.statistics(), self._watch.statistics())

    def complaint(self) -> str | None:
        if self._watch.last_fault:
            return f"pods are not seen: {self._watch.last_fault}"
        return self._launcher.complaint() or self._watcher.complaint()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pods are launched at once; those that there are, are adopted as soon as the API server shows them."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watcher.run)
            await nursery.start(self._launcher.run)
            task_status.started()
