"""The executor of a cluster as a component of the term: who creates pods, and who keeps up with them (ADR 59).

Of the daemon that leads, and made anew with each term: pods outlive both, and the next leader adopts what it finds.
"""

from __future__ import annotations

import msgspec
import trio

from leoflowd.executors.pod_launcher import LauncherStatistics, PodLauncher
from leoflowd.executors.pod_watcher import PodWatcher, WatcherStatistics
from leoflowd.executors.staging import CollectorStatistics, StagingCollector
from leoflowd.kube.watch import PodWatch, WatchStatistics


class PodStatistics(msgspec.Struct, frozen=True):
    launcher: LauncherStatistics
    watcher: WatcherStatistics
    watch: WatchStatistics
    staging: CollectorStatistics


class Pods:
    """`watch` tells the `watcher`, whose pending pods the `launcher` knows."""

    def __init__(
        self, *, launcher: PodLauncher, watcher: PodWatcher, watch: PodWatch, collector: StagingCollector
    ) -> None:
        self._launcher = launcher
        self._watcher = watcher
        self._watch = watch
        self._collector = collector

    def statistics(self) -> PodStatistics:
        return PodStatistics(
            self._launcher.statistics(),
            self._watcher.statistics(),
            self._watch.statistics(),
            self._collector.statistics(),
        )

    def complaint(self) -> str | None:
        if self._watch.last_fault:
            return f"pods are not seen: {self._watch.last_fault}"
        return self._launcher.complaint() or self._watcher.complaint()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Launches at once; the pods that there are, are adopted as soon as the API server shows them."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watcher.run)
            nursery.start_soon(self._collector.run)
            await nursery.start(self._launcher.run)
            task_status.started()
