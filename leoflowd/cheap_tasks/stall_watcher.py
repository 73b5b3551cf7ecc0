"""Notices that the event loop stands still, and says in which line of whose code, while it still does.

Everything in the daemon shares one thread. A kind that blocks it for half a second is late for everybody, and nothing
inside the loop can tell; so a thread of its own looks at a mark that the loop has to move.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import trio

from leoflowd import telemetry

log = telemetry.get_logger(__name__)

LOOKS = 5
"""Within the time that counts as a stall: when the whole process was asleep the looks are missing too."""
FRAMES_SHOWN = 5
OURS = tuple(str(Path(__file__).parents[2] / folder) for folder in ("leoflowd", "sensors", "agent"))


class StallStatistics(msgspec.Struct, frozen=True):
    stalls: int
    longest_s: float


class StallWatcher:
    """`describe(code name, local names)` says which probe a frame runs, or None. It is called in the other thread."""

    def __init__(self, *, stall_after_s: float, describe: Callable[[str, dict[str, Any]], str | None]) -> None:
        self._every_s = stall_after_s / LOOKS
        self._describe = describe
        self._mark = 0
        self._stop = threading.Event()
        self._stalls = 0
        self._longest_s = 0.0

    def statistics(self) -> StallStatistics:
        return StallStatistics(self._stalls, self._longest_s)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; the thread has ended then."""
        self._stop.clear()
        thread = threading.Thread(target=self._watch, args=(threading.get_ident(),), name="stall watcher", daemon=True)
        thread.start()
        task_status.started()
        try:
            while True:
                await trio.sleep(self._every_s)
                self._mark += 1
        finally:
            self._stop.set()
            thread.join()

    def _watch(self, loop_thread: int) -> None:
        seen, missed, since = self._mark, 0, time.monotonic()
        while not self._stop.wait(self._every_s):
            if self._mark != seen:
                seen, missed, since = self._mark, 0, time.monotonic()
                continue
            missed += 1
            if missed == LOOKS:
                self._stalls += 1
                self._report(sys._current_frames().get(loop_thread))  # noqa: SLF001  # there is no other way
            if missed >= LOOKS:
                self._longest_s = max(self._longest_s, time.monotonic() - since)

    def _report(self, innermost: FrameType | None) -> None:
        frames = list(_outwards(innermost))
        ours = [frame for frame in frames if frame.f_code.co_filename.startswith(OURS)] or frames
        where = [f"{Path(f.f_code.co_filename).name}:{f.f_lineno} {f.f_code.co_name}" for f in ours[:FRAMES_SHOWN]]
        probes = (self._describe(frame.f_code.co_name, frame.f_locals) for frame in ours)
        log.error(
            "event_loop_stalled",
            innermost="".join(traceback.format_stack(frames[0], limit=1)).strip() if frames else "unknown",
            ours=where,
            probe=next((probe for probe in probes if probe is not None), None),
            after_s=self._every_s * LOOKS,
        )


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
