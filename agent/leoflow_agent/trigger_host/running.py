"""One trigger, from its class path to its event: made, run, and cleaned up after.

Airflow's rules (`airflow.jobs.triggerer_job_runner.TriggerRunner`), with two differences: the first event counts at
once, and a trigger that goes on is ended a moment later; and one that watches for an asset, where each event counts, is
not asked for the next one before the daemon has stored the last.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
import types
from collections.abc import AsyncIterator
from typing import Any

from ..runner import limits
from ..runner.limits import NotSerializable
from ..runner.logs import clean, safe_text
from .channel import Channel
from .classes import TriggerClasses
from .runtimes import Runtime
from .shared_streams import SharedStreams

AFTER_EVENT_S = 1.0
"""How long a trigger may go on after its event. Airflow cancels it within about this time."""
CLEANUP_S = 10.0
MAX_EVENT_BYTES = 1024 * 1024
"""Of JSON text. An event is a note for the task's next process, not a way to carry data."""
_TRACEBACK_LENGTH = 16_384
_ENDS = ("success", "failed", "skipped")
_log = logging.getLogger("leoflow.trigger")


class Call:
    """A wait id and its `leoflowd.contract.waits.TriggerCall` as plain data."""

    def __init__(self, wait_id: str, call: dict[str, Any]) -> None:
        self.wait_id = wait_id
        self.classpath: str = call["classpath"]
        self.kwargs: Any = call["kwargs"]
        self.source_path: str = call["source_path"]
        self.import_paths: list[str] = call.get("import_paths", [])
        names = ("dag_id", "run_id", "task_id", "map_index", "try_number")
        self.repeats: bool = call.get("repeats", False)
        self.task_instance = (
            None if self.repeats else types.SimpleNamespace(id=call["try_id"], **{name: call[name] for name in names})
        )


class RunningTrigger:
    """`start` once; it reports exactly one event or failure, unless it is cancelled before. One that repeats reports
    any number of events, and then a failure or its end."""

    def __init__(
        self, call: Call, *, channel: Channel, runtime: Runtime, classes: TriggerClasses, streams: SharedStreams
    ) -> None:
        self.is_decided = False
        """It fired, failed or was cancelled: only its `cleanup` may still run."""
        self._call = call
        self._channel = channel
        self._runtime = runtime
        self._classes = classes
        self._streams = streams
        self._too_long: asyncio.TimerHandle | None = None
        self._taken = asyncio.Event()

    def start(self) -> asyncio.Task[None]:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    def go_on(self) -> None:
        """Its event is stored."""
        self._taken.set()

    def cancel(self) -> None:
        """The wait is no longer wanted: no event, no failure, but `cleanup`."""
        if not self.is_decided:
            self.is_decided = True
            self._task.cancel()

    async def _run(self) -> None:
        trigger = None
        try:
            trigger = await self._make()
            await self._read(self._events(trigger))
            if self._call.repeats and not self.is_decided:
                self.is_decided = True
                self._channel.send("ended", wait_id=self._call.wait_id)
            elif not self.is_decided:
                self._fail("The trigger ended without an event; a trigger must yield a TriggerEvent", "")
        except asyncio.CancelledError as error:
            self._ended_by(error)
            raise
        except BaseException as error:  # noqa: BLE001  user code; also sys.exit, which would end the process
            self._ended_by(error)
        finally:
            if self._too_long is not None:
                self._too_long.cancel()
            if trigger is not None:
                await self._clean_up(trigger)

    def _ended_by(self, error: BaseException) -> None:
        if not self.is_decided:
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            self._fail(clean(f"{type(error).__name__}: {safe_text(error)}"), trace)
        elif not isinstance(error, asyncio.CancelledError):
            _log.error("The trigger failed after it was done, which changes nothing", exc_info=error)

    async def _make(self) -> Any:
        trigger_class = await self._classes.find(self._call.classpath, self._call.source_path, self._call.import_paths)
        trigger = trigger_class(**self._runtime.decode(self._call.kwargs))
        trigger.trigger_id = self._call.wait_id
        trigger.task_instance = self._call.task_instance
        return trigger

    def _events(self, trigger: Any) -> AsyncIterator[Any]:
        key = trigger.shared_stream_key() if hasattr(trigger, "shared_stream_key") else None
        if key is None:
            return trigger.run()  # type: ignore[no-any-return]
        kwargs = self._runtime.decode(self._call.kwargs)
        return trigger.filter_shared_stream(self._streams.subscribe(key, type(trigger), kwargs))  # type: ignore[no-any-return]

    async def _read(self, events: AsyncIterator[Any]) -> None:
        async for event in events:
            if self.is_decided:
                _log.warning("The trigger yielded another event, which is ignored: a task waits for one")
                continue
            if self._call.repeats:
                self._taken.clear()
                self._report(event)
                await self._taken.wait()
                continue
            self._report(event)
            self.is_decided = True
            self._too_long = asyncio.get_running_loop().call_later(AFTER_EVENT_S, self._task.cancel)

    def _report(self, event: Any) -> None:
        if not hasattr(event, "payload"):
            raise TypeError(f"the trigger yielded {event!r}; it must yield a TriggerEvent")
        state = None if self._call.repeats else getattr(event, "task_instance_state", None)
        end = None if state is None else str(getattr(state, "value", state))
        if end is not None and end not in _ENDS:
            raise TypeError(f"the trigger ends its task as {end!r}; possible are {', '.join(_ENDS)}")
        value = event.payload if end is None else event.xcoms or {}
        plain = self._runtime.encode(value, "the event of the trigger")
        self._check_size(plain)
        self._channel.send("event", wait_id=self._call.wait_id, event=plain, end=end)

    def _check_size(self, plain: Any) -> None:
        size = len(json.dumps(limits.check(plain, "the event of the trigger")))
        if size > MAX_EVENT_BYTES:
            raise NotSerializable(
                f"the event of the trigger is {size} bytes of JSON, more than the limit of {MAX_EVENT_BYTES} bytes; "
                "store the data in a file, a bucket or a table, and send its path"
            )

    def _fail(self, error: str, trace: str) -> None:
        self.is_decided = True
        lines = self._channel.redact(clean(trace))[-_TRACEBACK_LENGTH:].splitlines()
        self._channel.send("failed", wait_id=self._call.wait_id, error=self._channel.redact(error), traceback=lines)

    async def _clean_up(self, trigger: Any) -> None:
        """As in Airflow, what fails here is logged and no more."""
        try:
            await asyncio.wait_for(trigger.cleanup(), CLEANUP_S)
        except asyncio.CancelledError:
            _log.error("cleanup() of the trigger was cancelled")
            raise
        except BaseException as error:  # noqa: BLE001  user code, or it took too long
            _log.error("cleanup() of the trigger failed", exc_info=error)
