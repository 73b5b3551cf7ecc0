"""Airflow's triggers: what an operator of the author's defers with, and what authors derive their own from.

The standard ones are only described here (`serialize`): the daemon knows them as native waits. A trigger of the
author's own runs in a trigger host, on asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow._leoflow import timezone
from airflow._leoflow.services import LoggingMixin

STANDARD = "airflow.providers.standard.triggers"


@dataclass
class StartTriggerArgs:
    """Which trigger a task begins with when its class has `start_from_trigger`."""

    trigger_cls: str
    next_method: str
    trigger_kwargs: dict[str, Any] | None = None
    next_kwargs: dict[str, Any] | None = None
    timeout: timedelta | None = None


class TriggerEvent:
    """What a trigger yields when it fires."""

    def __init__(self, payload: Any = None) -> None:
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.payload == other.payload  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]  # payloads are mostly dicts

    def __repr__(self) -> str:
        return f"TriggerEvent<{self.payload!r}>"


class BaseTaskEndEvent(TriggerEvent):
    """Ends the task without another process."""

    task_instance_state = ""

    def __init__(self, *, xcoms: dict[str, Any] | None = None) -> None:
        super().__init__(self.task_instance_state)
        self.xcoms = xcoms


class TaskSuccessEvent(BaseTaskEndEvent):
    task_instance_state = "success"


class TaskFailedEvent(BaseTaskEndEvent):
    task_instance_state = "failed"


class TaskSkippedEvent(BaseTaskEndEvent):
    task_instance_state = "skipped"


class BaseTrigger(LoggingMixin):
    """Waits in a trigger host; `serialize` says how to make it there."""

    def __init__(self, **_: Any) -> None:
        self.task_instance: Any = None
        self.trigger_id: Any = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """(class path, keyword arguments)."""
        raise NotImplementedError("Triggers must implement serialize()")

    def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields an event when it fires."""
        raise NotImplementedError("Triggers must implement run()")

    async def cleanup(self) -> None:
        """Called when the trigger is no longer needed."""

    def __repr__(self) -> str:
        classpath, kwargs = self.serialize()
        return f"<{classpath} {', '.join(f'{name}={value}' for name, value in kwargs.items())}>"


class BaseEventTrigger(BaseTrigger):
    """A trigger that may also watch for an asset: each of its events becomes one of the asset."""


class DateTimeTrigger(BaseTrigger):
    """Fires at a moment."""

    def __init__(
        self,
        moment: datetime | None = None,
        *,
        target_time: datetime | str | None = None,
        end_from_trigger: bool = False,
    ) -> None:
        super().__init__()
        if (moment is None) == (target_time is None):
            raise TypeError("DateTimeTrigger requires exactly one of 'moment' or 'target_time'")
        found: Any = moment if moment is not None else target_time
        if isinstance(found, str):
            found = timezone.parse(found)
        if not isinstance(found, datetime):
            raise TypeError(f"Expected datetime.datetime type for moment. Got {type(found)}")
        if found.tzinfo is None and moment is not None:
            raise ValueError("You cannot pass naive datetimes")
        self.moment = timezone.convert_to_utc(found)
        self.end_from_trigger = end_from_trigger

    def serialize(self) -> tuple[str, dict[str, Any]]:
        kwargs = {"moment": self.moment, "end_from_trigger": self.end_from_trigger}
        return f"{STANDARD}.temporal.DateTimeTrigger", kwargs


class TimeDeltaTrigger(DateTimeTrigger):
    """Fires so long after it was made."""

    def __init__(self, delta: timedelta, *, end_from_trigger: bool = False) -> None:
        super().__init__(timezone.utcnow() + delta, end_from_trigger=end_from_trigger)


class FileTrigger(BaseTrigger):
    """Fires when a file, or a folder with a file in it, exists; the path may be a glob."""

    def __init__(self, filepath: str, recursive: bool = False, poke_interval: float = 5.0, **_: Any) -> None:
        super().__init__()
        self.filepath = filepath
        self.recursive = recursive
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("filepath", "recursive", "poke_interval")
        return f"{STANDARD}.file.FileTrigger", {name: getattr(self, name) for name in names}


class WorkflowTrigger(BaseTrigger):
    """Fires when tasks, a group or runs of another DAG are in one of the states."""

    def __init__(
        self,
        external_dag_id: str,
        run_ids: list[str] | None = None,
        execution_dates: list[datetime] | None = None,
        logical_dates: list[datetime] | None = None,
        external_task_ids: Collection[str] | None = None,
        external_task_group_id: str | None = None,
        failed_states: Collection[str] | None = None,
        skipped_states: Collection[str] | None = None,
        allowed_states: Collection[str] | None = None,
        poke_interval: float = 2.0,
        soft_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.external_dag_id = external_dag_id
        self.run_ids = run_ids
        self.logical_dates = logical_dates or execution_dates
        self.external_task_ids = external_task_ids
        self.external_task_group_id = external_task_group_id
        self.failed_states = failed_states
        self.skipped_states = skipped_states
        self.allowed_states = allowed_states
        self.poke_interval = poke_interval
        self.soft_fail = soft_fail

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = """external_dag_id external_task_ids external_task_group_id failed_states skipped_states allowed_states
        poke_interval soft_fail run_ids logical_dates""".split()
        return f"{STANDARD}.external_task.WorkflowTrigger", {name: getattr(self, name) for name in names}


class DagStateTrigger(BaseTrigger):
    """Fires when runs of a DAG are in one of the states."""

    def __init__(
        self,
        dag_id: str,
        states: list[Any],
        run_ids: list[str] | None = None,
        execution_dates: list[datetime] | None = None,
        poll_interval: float = 5.0,
    ) -> None:
        super().__init__()
        self.dag_id = dag_id
        self.states = [str(getattr(state, "value", state)) for state in states]
        self.run_ids = run_ids
        self.execution_dates = execution_dates
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("dag_id", "states", "poll_interval", "run_ids", "execution_dates")
        return f"{STANDARD}.external_task.DagStateTrigger", {name: getattr(self, name) for name in names}


class _HttpTrigger(BaseTrigger):
    """What the two HTTP triggers share."""

    method = "GET"
    names: tuple[str, ...] = ("http_conn_id", "method", "endpoint", "headers", "data", "extra_options")

    def __init__(
        self,
        *,
        http_conn_id: str = "http_default",
        method: str | None = None,
        endpoint: str | None = None,
        headers: dict[str, str] | None = None,
        data: dict[str, Any] | str | None = None,
        extra_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.http_conn_id = http_conn_id
        self.method = method or type(self).method
        self.endpoint = endpoint
        self.headers = headers
        self.data = data
        self.extra_options = extra_options or {}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        path = f"airflow.providers.http.triggers.http.{type(self).__name__}"
        return path, {name: getattr(self, name) for name in self.names}


class HttpTrigger(_HttpTrigger):
    """Makes one call, and fires with the answer."""

    method = "POST"
    names = (*_HttpTrigger.names, "auth_type")

    def __init__(self, http_conn_id: str = "http_default", auth_type: Any = None, **kwargs: Any) -> None:
        super().__init__(http_conn_id=http_conn_id, **kwargs)
        is_class = isinstance(auth_type, type)
        self.auth_type = f"{auth_type.__module__}.{auth_type.__qualname__}" if is_class else auth_type


class HttpSensorTrigger(_HttpTrigger):
    """Calls until the answer is no longer 404."""

    names = (*_HttpTrigger.names, "poke_interval")

    def __init__(self, endpoint: str | None = None, *, poke_interval: float = 5.0, **kwargs: Any) -> None:
        super().__init__(endpoint=endpoint, **kwargs)
        self.poke_interval = poke_interval
