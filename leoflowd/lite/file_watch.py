"""Turns file events into looks. Where the system has no more watches, the workspace's own rescan alone must do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio
import watchfiles

from leoflowd import telemetry
from leoflowd.contract.values import shown

log = telemetry.get_logger(__name__)

WATCH_STEP_MS = 50
WATCH_AGAIN_S = 1.0
"""After an event that the library could not read."""
WATCH_LATER_S = 30.0
"""Where nothing can be watched."""
WATCH_DEBOUNCE_MS = 300
"""An editor writes in several steps; the watcher waits for a pause of one step, at most so long."""


class FileWatch:
    """`look` is told that something may have changed; it never waits."""

    def __init__(self, root: Path, look: Callable[[], None]) -> None:
        self._root = root
        self._look = look
        self.is_watching = False

    async def run(self) -> None:
        """Until cancelled."""
        told = False
        while True:
            again_s = WATCH_LATER_S
            try:
                self.is_watching = True
                await self._follow_events()
            except* RuntimeError as group:  # an event of a file whose name is not UTF-8 ends the library's watch
                if not told:  # once: such a file ends every watch, each second, for as long as it is there
                    log.warning("workspace_event_unreadable", error=_innermost(group), look_again_s=WATCH_AGAIN_S)
                told = True
                again_s = WATCH_AGAIN_S
                self._look()
            except* OSError as group:
                log.warning("workspace_not_watched", error=shown(str(group.exceptions[0])), watch_again_s=WATCH_LATER_S)
            self.is_watching = False
            await trio.sleep(again_s)
            self._look()  # for what happened unwatched

    async def _follow_events(self) -> None:
        """The watcher's thread looks at `stop` every step, while a cancellation alone waits for it."""
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set_when_cancelled, stop)
            events = watchfiles.awatch(self._root, step=WATCH_STEP_MS, debounce=WATCH_DEBOUNCE_MS, stop_event=stop)
            async for _ in events:
                self._look()


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return shown(str(error))


async def _set_when_cancelled(event: trio.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()
