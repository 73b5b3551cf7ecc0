"""Push, where the world offers it: a finished DAG, a webhook, a change in a folder wakes the groups that wait for it.

`PushSources` is the `Watcher` of the kinds. Every wake is a hint to probe now; the poll stays the guarantee. Folders
are watched on Linux only, and only as many as the kernel lets us.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable

import trio

from leoflowd import telemetry
from leoflowd.cheap_tasks import inotify

log = telemetry.get_logger(__name__)

BURST_S = 0.05
"""Events that come within so long of each other are one."""
THREADS = 2
"""For looks at file systems: one that hangs holds one thread."""

Wake = Callable[[], None]
End = Callable[[], None]


class Topics:
    """Who wants to know of what, by name. Whoever ends is not called any more."""

    def __init__(self) -> None:
        self._wakes: dict[str, dict[object, Wake]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._wakes

    def subscribe(self, name: str, wake: Wake) -> End:
        token = object()
        self._wakes.setdefault(name, {})[token] = wake

        def end() -> None:
            held = self._wakes.get(name, {})
            held.pop(token, None)
            if not held:
                self._wakes.pop(name, None)

        return end

    def publish(self, names: Iterable[str]) -> None:
        for name in names:
            for wake in tuple(self._wakes.get(name, {}).values()):
                wake()

    def names(self) -> tuple[str, ...]:
        return tuple(self._wakes)


class PushSources:
    """`leoflow_sensors.kinds.Watcher`."""

    def __init__(self) -> None:
        self.dags = Topics()
        self.hooks = Topics()
        self._folders = Folders()

    def directory(self, path: str, wake: Wake) -> End:
        return self._folders.subscribe(path, wake)

    def dag(self, dag_id: str, wake: Wake) -> End:
        return self.dags.subscribe(dag_id, wake)

    def hook(self, name: str, wake: Wake) -> End:
        return self.hooks.subscribe(name, wake)

    async def run(self) -> None:
        await self._folders.run()


class Folders:
    """inotify on the nearest folder that exists of each path; it moves down when the missing part is made."""

    def __init__(self) -> None:
        self._topics = Topics()
        self._watch_of: dict[str, int] = {}
        """Path -> the kernel's number of the folder that is watched for it."""
        self._paths_of: dict[int, dict[str, str]] = {}
        """Number -> path -> the only entry of that folder that matters for the path; empty = any."""
        self._stale: set[str] = set()
        """Paths whose nearest folder has to be found, or whose watch has to end."""
        self._work = trio.Event()
        self._warned = False

    def subscribe(self, path: str, wake: Wake) -> End:
        path = os.path.normpath(path)
        if path not in self._topics:
            self._look_at(path)
        end = self._topics.subscribe(path, wake)

        def end_both() -> None:
            end()
            if path not in self._topics:
                self._look_at(path)

        return end_both

    async def run(self) -> None:
        kernel = inotify.Inotify.open()
        if kernel is None:
            log.info("folders_are_polled", because="there is no inotify here, or no instance left of the user's limit")
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, kernel)
                await self._arrange(kernel)
        finally:
            kernel.close()

    def _look_at(self, path: str) -> None:
        self._stale.add(path)
        self._work.set()

    # --- which folder for which path --------------------------------------------------------------------------------

    async def _arrange(self, kernel: inotify.Inotify) -> None:
        """One path at a time; the looks themselves block, so that a thread takes them."""
        limiter = trio.CapacityLimiter(THREADS)
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._stale:
                path = self._stale.pop()
                self._unlink(kernel, path)
                if path in self._topics:
                    found = await trio.to_thread.run_sync(
                        _watch_nearest, kernel, path, limiter=limiter, abandon_on_cancel=True
                    )
                    self._link(path, found)

    def _link(self, path: str, found: tuple[int, str] | OSError) -> None:
        if isinstance(found, OSError):
            if not self._warned:
                log.warning("folder_is_polled", path=path, error=str(found))
            self._warned = True
            return
        number, entry = found
        self._watch_of[path] = number
        self._paths_of.setdefault(number, {})[path] = entry

    def _unlink(self, kernel: inotify.Inotify, path: str) -> None:
        number = self._watch_of.pop(path, None)
        paths = {} if number is None else self._paths_of.get(number, {})
        paths.pop(path, None)
        if number is not None and not paths and self._paths_of.pop(number, None) is not None:
            kernel.forget(number)

    # --- what happens in them ---------------------------------------------------------------------------------------

    async def _listen(self, kernel: inotify.Inotify) -> None:
        touched: set[str] = set()
        wake_at = math.inf
        while True:
            with trio.move_on_at(wake_at):
                await trio.lowlevel.wait_readable(kernel.fd)
                for event in kernel.read():
                    touched |= self._heard(event)
                wake_at = min(wake_at, trio.current_time() + BURST_S) if touched else math.inf
            if trio.current_time() >= wake_at:
                self._topics.publish(touched)
                touched, wake_at = set(), math.inf

    def _heard(self, event: inotify.Event) -> set[str]:
        """The paths that it may matter for."""
        if event.mask & inotify.OVERFLOWED:
            return set(self._topics.names())
        paths = self._paths_of.get(event.watch, {})
        concerned = {path for path, entry in paths.items() if not event.name or entry in ("", event.name)}
        is_moved = event.mask & (inotify.IGNORED | inotify.SELF_DELETED | inotify.SELF_MOVED)
        for path in concerned:
            if is_moved or paths[path]:
                self._look_at(path)
        if event.mask & inotify.IGNORED:
            for path in self._paths_of.pop(event.watch, {}):
                self._watch_of.pop(path, None)
        return concerned


def _watch_nearest(kernel: inotify.Inotify, path: str) -> tuple[int, str] | OSError:
    """Blocking. (number, the entry in that folder that leads to `path`); empty entry: the path itself is watched."""
    folder, entry = path, ""
    while True:
        try:
            return kernel.watch(folder), entry
        except (FileNotFoundError, NotADirectoryError) as error:
            if folder in ("/", ""):
                return error
            folder, entry = os.path.split(folder)
        except OSError as error:
            return error
