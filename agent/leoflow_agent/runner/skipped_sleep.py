"""`leoflow test`: a sensor that pokes in its own process does not sleep in between; for it alone time seems to have
passed. Everything else in the process sees the real clock."""

from __future__ import annotations

import importlib
import time
from typing import Any

SENSORS = {"shim": "airflow._leoflow.sensors", "airflow": "airflow.sdk.bases.sensor"}
EACH_POKE = 5
"""So many pokes come at their interval, each later one after twice the time of the one before, as in
`leoflowd.cli.local_clock`."""
LONGEST_S = 365 * 86_400.0


class SkippedSleep:
    """In the place of the module `time`, in the module of sensors."""

    def __init__(self) -> None:
        self.slept_s = 0.0
        self._naps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        self._naps += 1
        self.slept_s += min(seconds * 2.0 ** min(max(0, self._naps - EACH_POKE), 64), LONGEST_S)

    def monotonic(self) -> float:
        return time.monotonic() + self.slept_s


def installed(runtime: str) -> SkippedSleep:
    skipped = SkippedSleep()
    vars(importlib.import_module(SENSORS[runtime]))["time"] = skipped
    return skipped
