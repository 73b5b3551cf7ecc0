"""A loop that stands still is noticed while it does. On the real clock, but it is the watcher that is waited for."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
import trio

from leoflow_sensors.kinds import KindSpec, Observation, SensorKind
from leoflowd.cheap_tasks.groups import ProbeGroup
from leoflowd.cheap_tasks.probes import Context, poke, probe_running_in
from leoflowd.cheap_tasks.stall_watcher import StallWatcher
from tests.conftest import PATIENCE_S

AT_MOST_S = PATIENCE_S
"""For the watcher to notice; a machine that needs so long has stopped."""


class Spec(KindSpec, frozen=True, kw_only=True):
    pass


class Noticed(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.event = threading.Event()
        self.fields: dict[str, Any] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "event_loop_stalled":
            self.fields = getattr(record, "fields", {})
            self.event.set()


@pytest.fixture
def noticed() -> Any:
    handler = Noticed()
    logger = logging.getLogger("leoflowd.cheap_tasks.stall_watcher")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def test_the_probe_that_blocks_is_named(noticed: Noticed) -> None:
    async def block(_spec: Spec, _context: Any) -> Observation:
        assert noticed.event.wait(AT_MOST_S)
        return Observation(value=False, summary="")

    kind = SensorKind(name="bad", spec=Spec, predicate=Spec, describe=lambda _spec: "a bad probe", poke=block)
    group = ProbeGroup("key", kind, Spec(), None, "d", None)
    watcher = StallWatcher(stall_after_s=0.05, describe=probe_running_in)
    async with trio.open_nursery() as nursery:
        await nursery.start(watcher.run)
        await poke([group], Context(None, None, None, None, None))  # type: ignore[arg-type]  # nobody looks at them
        nursery.cancel_scope.cancel()
    assert noticed.fields["probe"] == "a bad probe"
    assert "wait" in noticed.fields["innermost"]
    assert any("probes.py" in frame for frame in noticed.fields["ours"])
    assert watcher.statistics().stalls == 1
    assert watcher.statistics().longest_s > 0


async def test_the_thread_ends_with_the_component() -> None:
    watcher = StallWatcher(stall_after_s=0.05, describe=probe_running_in)
    async with trio.open_nursery() as nursery:
        await nursery.start(watcher.run)
        assert any(thread.name == "stall watcher" for thread in threading.enumerate())
        nursery.cancel_scope.cancel()
    assert not any(thread.name == "stall watcher" for thread in threading.enumerate())
