"""The base of native sensors: what they wait for is data, so the daemon waits, and no process exists (ADR 13).

`leoflow_wait()` says it as a `WaitSpec` (`leoflowd/contract/wait_spec.py`; ADR 13 has each kind's arguments).
The compiler calls it on the unrendered arguments; where those need code to be rendered, the task's process calls it
on the rendered ones (`prepare="process"`). A subclass of yours that overrides `poke` or `execute` is user code and
runs like any other sensor. The kinds are in `time_sensors`, `external_task_sensor`, `file_sensor`, `database_sensors`,
`object_sensors`, `document_sensors` and `http_calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from airflow._leoflow import context as contexts
from airflow._leoflow.base_operator import is_user_code
from airflow._leoflow.errors import ShimUnsupported
from airflow._leoflow.sensors import DEFAULT_TIMEOUT_S, BaseSensorOperator
from airflow._leoflow.templating import needs_jinja, texts

USER_HOOKS = ("poke", "execute", "pre_execute", "post_execute")
RUN_DATE = "{{ dag_run.logical_date or dag_run.run_after }}"


class NativeSensor(BaseSensorOperator):
    """Base; a kind says its probe, its predicate, and its connection."""

    kind = "wait"
    sensor_kind = ""
    object_fields: Sequence[str] = ()
    """Of the template fields, those that may be JSON objects and go into the wait as they are."""
    deferral_arguments: Sequence[str] = ()
    """Which of Airflow's arguments about deferring this class has."""
    is_deferrable = False
    """Without the argument: what the class itself says, as the `...Async` ones do."""
    waits_for_ever = False
    """Airflow defers these without a timeout: only one that the author gave counts."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if is_user_code(cls, USER_HOOKS):
            cls.kind = "sensor"

    def __init__(self, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name, self._defaults.get(name)) for name in self.deferral_arguments}
        super().__init__(**kwargs)
        self.deferrable = bool(given.get("deferrable", self.is_deferrable))
        # a native wait has no process to start or to end in: start_from_trigger and end_from_trigger hold already
        if given.get("trigger_kwargs"):
            raise self.refuse("trigger_kwargs", "no trigger is made for it, since the daemon waits")
        if self._pre_execute_hook is not None or self._post_execute_hook is not None:
            self.kind = "sensor"

    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]:
        return cls.deferral_arguments

    def refuse(self, name: str, why: str, remedy: str = "remove it") -> ShimUnsupported:
        return ShimUnsupported(f"task {self.task_id!r}: {type(self).__name__} has {name}", why, remedy, self._location)

    # -- what it waits for

    def probe_arguments(self) -> dict[str, Any]:
        """What the probe of this sensor looks at; every subclass has its own."""
        raise NotImplementedError

    def predicate(self) -> dict[str, Any]:
        return {}

    def connection(self) -> str | None:
        return None

    def leoflow_wait(self) -> dict[str, Any]:
        """The `WaitSpec`, as plain data."""
        return {
            "probe": {
                "kind": self.sensor_kind,
                "arguments": self.probe_arguments(),
                "connection_id": self.connection(),
            },
            "terms": {
                "predicate": self.predicate(),
                "mode": "deferrable" if self.deferrable else self.mode,
                "poke_interval_s": self.poke_interval,
                "exponential_backoff": bool(self.exponential_backoff),
                "max_wait_s": None if self.max_wait is None else self.max_wait.total_seconds(),
                "timeout_s": self.timeout_s(),
                "soft_fail": bool(self.soft_fail),
                "silent_fail": bool(self.silent_fail),
                "never_fail": bool(self.never_fail),
            },
        }

    def timeout_s(self) -> float | None:
        is_given = "timeout" in self._given or "timeout" in self._defaults or self.timeout != DEFAULT_TIMEOUT_S
        return self.timeout if is_given or not self.waits_for_ever else None

    # -- who prepares it

    def needs_process(self) -> bool:
        """Whether only the task's process knows the arguments; the compiler adds the templates that are not simple."""
        return needs_jinja(self) or any("{{" in text for text in texts(self.fixed_values()))

    def fixed_values(self) -> Sequence[Any]:
        """Arguments that go into the wait and are no template fields: Airflow would not render them."""
        return ()


def fact(template: str, of: Callable[[Any], Any]) -> Any:
    """What the daemon fills in: its template while the file is compiled, the value itself in the task's process."""
    current = contexts.running_context()
    if current is None:
        return template
    value = of(current)
    return value.isoformat() if isinstance(value, datetime) else value


def run_date(context: Any) -> datetime:
    """The logical date, or the moment of a run that has none."""
    found: datetime | None = context.get("logical_date") or context["dag_run"].run_after
    if found is None:
        raise ValueError("the dag run has neither a logical_date nor a run_after")
    return found


def base_time(context: Any) -> datetime:
    """What a TimeDeltaSensor counts from."""
    found: datetime = context.get("data_interval_end") or context["dag_run"].run_after
    return found


def registered_at(context: Any) -> datetime:
    """When the try began, before it was deferred or rescheduled."""
    ti = context["ti"]
    found: datetime = getattr(ti, "first_started_at", None) or ti.start_date
    return found
