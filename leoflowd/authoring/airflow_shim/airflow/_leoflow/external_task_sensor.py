"""The native sensor that waits for another DAG's tasks, task group or run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any

from airflow._leoflow import context as contexts
from airflow._leoflow.enums import DagRunState, TaskInstanceState
from airflow._leoflow.errors import AuthoringError
from airflow._leoflow.native_sensor import RUN_DATE, NativeSensor, fact, run_date
from airflow._leoflow.operators import select_kwargs


class ExternalTaskSensor(NativeSensor):
    """Waits for tasks, a task group or a whole run of another DAG at the same logical date."""

    sensor_kind = "external_task"
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = (
        "external_dag_id",
        "external_task_id",
        "external_task_ids",
        "external_task_group_id",
    )
    ui_color = "#4db7db"

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str | None = None,
        external_task_ids: Collection[str] | None = None,
        external_task_group_id: str | None = None,
        allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None,
        execution_date_fn: Callable[..., Any] | None = None,
        check_existence: bool = False,
        poll_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        if poll_interval is not None:
            kwargs.setdefault("poke_interval", poll_interval)
        super().__init__(**kwargs)
        self.external_dag_id = external_dag_id
        self.external_task_id = external_task_id
        self.external_task_ids = external_task_ids or ([external_task_id] if external_task_id is not None else None)
        self.external_task_group_id = external_task_group_id
        self.allowed_states = _states(allowed_states) or ["success"]
        self.skipped_states = _states(skipped_states)
        self.failed_states = _states(failed_states)
        self.execution_delta = execution_delta
        self.execution_date_fn = execution_date_fn
        self.check_existence = check_existence
        self._check_arguments(external_task_ids)

    def _check_arguments(self, given_task_ids: Collection[str] | None) -> None:
        targets = (self.external_task_id, given_task_ids or None, self.external_task_group_id)
        if sum(target is not None for target in targets) > 1:
            raise self._contradiction(
                "more than one of external_task_id, external_task_ids and external_task_group_id",
                "it waits for tasks, for a group, or for the whole run",
            )
        if self.execution_delta is not None and self.execution_date_fn is not None:
            raise self._contradiction("execution_delta and execution_date_fn", "both say which run it waits for")
        states = [*self.allowed_states, *self.skipped_states, *self.failed_states]
        if len(states) != len(set(states)):
            raise self._contradiction("one state in several of its lists of states", "it could not be decided")
        is_dag = self.external_task_ids is None and self.external_task_group_id is None
        known = [state.value for state in (DagRunState if is_dag else TaskInstanceState)]
        if not set(states) <= set(known):
            raise AuthoringError(
                f"task {self.task_id!r} waits for the states {sorted(set(states))}",
                f"a {'dag run' if is_dag else 'task'} has only {', '.join(known)}",
                "correct the states",
                self._location,
            )

    def _contradiction(self, what: str, why: str) -> AuthoringError:
        return AuthoringError(f"task {self.task_id!r} has {what}", why, "keep one of them", self._location)

    def needs_process(self) -> bool:
        is_one_text = isinstance(self.external_task_ids, str)
        return super().needs_process() or self.execution_date_fn is not None or is_one_text

    def fixed_values(self) -> Sequence[Any]:
        return (self.allowed_states, self.skipped_states, self.failed_states)

    def probe_arguments(self) -> dict[str, Any]:
        delta = self.execution_delta
        return {
            "dag_id": self.external_dag_id,
            "task_ids": list(self.external_task_ids or ()),
            "task_group_id": self.external_task_group_id,
            "logical_dates": self._dates(),
            "run_ids": [],
            "minus_s": 0.0 if delta is None else delta.total_seconds(),
        }

    def _dates(self) -> list[str]:
        if self.execution_date_fn is None:
            return [fact(RUN_DATE, run_date)]
        context = contexts.get_current_context()
        moment = run_date(context)
        available = {key: value for key, value in context.items() if key != "logical_date"} | {"context": context}
        found = self.execution_date_fn(moment, **select_kwargs(self.execution_date_fn, [moment], available))
        return [date.isoformat() for date in (found if isinstance(found, list) else [found])]

    def predicate(self) -> dict[str, Any]:
        return {
            "allowed_states": self.allowed_states,
            "failed_states": self.failed_states,
            "skipped_states": self.skipped_states,
            "check_existence": bool(self.check_existence),
        }


def _states(states: Iterable[Any] | None) -> list[str]:
    return [str(getattr(state, "value", state)) for state in states or ()]
