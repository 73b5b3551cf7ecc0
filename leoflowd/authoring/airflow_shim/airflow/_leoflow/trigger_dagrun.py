"""`TriggerDagRunOperator`: asks for a run of another DAG, and may wait for its end in the cheap-task pool."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from airflow._leoflow import timezone
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.enums import DagRunState
from airflow._leoflow.errors import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    LeoflowDefer,
)
from airflow._leoflow.params import NOTSET

RUN_ID_KEY = "trigger_run_id"
"""XCom with the id of the run, as in Airflow."""


def _moment_text(moment: Any) -> str | None:
    if moment is None:
        return None
    moment = moment if isinstance(moment, datetime) else timezone.parse(str(moment))
    return str(timezone.coerce_datetime(moment).isoformat())  # type: ignore[union-attr]  # None only for None


class TriggerDagRunOperator(BaseOperator):
    """Starts a run of `trigger_dag_id`."""

    template_fields: Sequence[str] = (
        "trigger_dag_id",
        "trigger_run_id",
        "logical_date",
        "conf",
        "wait_for_completion",
        "skip_when_already_exists",
    )
    template_fields_renderers = {"conf": "py"}
    ui_color = "#ffefeb"

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        trigger_run_id: str | None = None,
        conf: dict[str, Any] | None = None,
        logical_date: Any = NOTSET,
        run_after: Any = NOTSET,
        reset_dag_run: bool = False,
        wait_for_completion: bool = False,
        poke_interval: float = 60,
        allowed_states: Iterable[Any] | None = None,
        failed_states: Iterable[Any] | None = None,
        skip_when_already_exists: bool = False,
        fail_when_dag_is_paused: bool = False,
        note: str | None = None,
        deferrable: bool = False,
        openlineage_inject_parent_info: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_dag_id = trigger_dag_id
        self.trigger_run_id = trigger_run_id
        self.conf = conf
        self.logical_date = None if logical_date is NOTSET else logical_date
        self.has_logical_date = logical_date is not NOTSET
        self.run_after = None if run_after is NOTSET else run_after
        self.has_run_after = run_after is not NOTSET
        self.reset_dag_run = reset_dag_run
        self.wait_for_completion = wait_for_completion
        self.poke_interval = poke_interval
        self.allowed_states = [DagRunState(state).value for state in allowed_states or (DagRunState.SUCCESS,)]
        failing = (DagRunState.FAILED,) if failed_states is None else failed_states
        self.failed_states = [DagRunState(state).value for state in failing]
        self.skip_when_already_exists = skip_when_already_exists
        self.fail_when_dag_is_paused = fail_when_dag_is_paused
        self.note = note
        self.deferrable = deferrable
        # there is no OpenLineage listener, so there is nothing to inject, which is what Airflow does then
        self.openlineage_inject_parent_info = openlineage_inject_parent_info

    def execute(self, context: Any) -> None:
        from airflow._leoflow.supervisor import ask  # only in a task's process

        if self.fail_when_dag_is_paused and ask("dag", {"dag_id": self.trigger_dag_id})["is_paused"]:
            raise AirflowException(f"Dag {self.trigger_dag_id} is paused")
        answer = ask("dag_run", self._question())
        if answer.get("refused"):
            raise AirflowException(f"dag {self.trigger_dag_id!r} was not started: {answer['refused']}")
        run_id = answer["run_id"]
        if answer.get("exists"):
            self._end_because_it_exists(run_id)
        self.log.info("Started run %s of dag %s", run_id, self.trigger_dag_id)
        context["ti"].xcom_push(key=RUN_ID_KEY, value=run_id)
        if self.wait_for_completion:
            raise LeoflowDefer(self._wait(run_id))

    def _question(self) -> dict[str, Any]:
        return {
            "dag_id": self.trigger_dag_id,
            "run_id": None if self.trigger_run_id is None else str(self.trigger_run_id),
            "logical_date": self._logical_date_text(),
            "run_after": _moment_text(self.run_after),
            "conf": self._conf(),
            "reset": bool(self.reset_dag_run),
            "note": self.note,
        }

    def _logical_date_text(self) -> str | None:
        """Not given: now, or none where `run_after` is given. None: a run without one."""
        if self.has_logical_date:
            return _moment_text(self.logical_date)
        return None if self.has_run_after else timezone.utcnow().isoformat()

    def _conf(self) -> dict[str, Any]:
        try:
            conf = json.loads(self.conf) if isinstance(self.conf, str) and self.conf else self.conf
            json.dumps(conf)
        except (TypeError, ValueError):
            raise ValueError(f"conf parameter should be JSON Serializable: {self.conf}") from None
        return dict(conf or {})

    def _end_because_it_exists(self, run_id: str) -> None:
        message = f"run {run_id!r} of dag {self.trigger_dag_id!r} exists already"
        if self.skip_when_already_exists:
            raise AirflowSkipException(f"{message}, and skip_when_already_exists is set")
        raise AirflowFailException(f"{message}; set reset_dag_run=True to clear it, or skip_when_already_exists=True")

    def _wait(self, run_id: str) -> dict[str, Any]:
        """The `WaitSpec` for the end of that run; it ends this task too."""
        return {
            "probe": {
                "kind": "external_task",
                "arguments": {
                    "dag_id": self.trigger_dag_id,
                    "task_ids": [],
                    "task_group_id": None,
                    "logical_dates": [],
                    "run_ids": [run_id],
                    "minus_s": 0.0,
                },
                "connection_id": None,
            },
            "terms": {
                "predicate": {
                    "allowed_states": self.allowed_states,
                    "failed_states": self.failed_states,
                    "skipped_states": [],
                    "check_existence": False,
                },
                "mode": "deferrable" if self.deferrable else "poke",
                "poke_interval_s": float(self.poke_interval),
                "timeout_s": None,
            },
        }
