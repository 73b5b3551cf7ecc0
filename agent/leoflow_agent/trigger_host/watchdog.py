"""Sees from a thread that the event loop does not run, and says whose code holds it up."""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import threading
import time
from types import FrameType

from .channel import Channel
from .marking import Marker

STALL_AFTER_S = 0.5
TICK_S = 0.1
_MOST_FRAMES = 8
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"] + os.sep
_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Watchdog:
    """Started in the loop's own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel, marker: Marker) -> None:
        self._loop = loop
        self._channel = channel
        self._marker = marker
        self._loop_thread = threading.get_ident()
        self._ticked_at = time.monotonic()

    def start(self) -> None:
        self._tick()
        threading.Thread(target=self._watch, name="leoflow-watchdog", daemon=True).start()

    def _tick(self) -> None:
        self._ticked_at = time.monotonic()
        self._loop.call_later(TICK_S, self._tick)

    def _watch(self) -> None:
        reported = 0.0
        while True:
            time.sleep(TICK_S)
            ticked_at = self._ticked_at
            blocked_s = time.monotonic() - ticked_at
            if blocked_s < STALL_AFTER_S or ticked_at == reported:
                continue
            reported = ticked_at  # one message a stall
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  there is no public way
            self._channel.send(
                "stalled", wait_id=self._marker.running, blocked_s=round(blocked_s, 2), stack=stack_of(frame)
            )


def stack_of(frame: FrameType | None) -> list[str]:
    """`file.py:12 in run`, innermost first; the standard library's frames are left out unless there are no others."""
    frames: list[tuple[str, str]] = []
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS):
        path = frame.f_code.co_filename
        frames.append((path, f"{path}:{frame.f_lineno} in {frame.f_code.co_name}"))
        frame = frame.f_back
    theirs = [text for path, text in frames if not _is_standard(path)]
    return (theirs or [text for _, text in frames])[:_MOST_FRAMES]


def _is_standard(path: str) -> bool:
    return path.startswith("<frozen") or (path.startswith(_STANDARD_LIBRARY) and "-packages" not in path)
