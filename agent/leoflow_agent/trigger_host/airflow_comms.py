"""Stands where Airflow's triggerer keeps its line to the supervisor, and asks our daemon instead.

Installed as `airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS`. `send` may be called from every thread, from the
event loop's too: the channel reads in a thread of its own, so neither blocks the other for ever.

Messages: https://github.com/apache/airflow, `task-sdk/src/airflow/sdk/execution_time/comms.py`, version 1.3.2.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from ..runner import secret_forms
from .channel import Channel
from .marking import current_wait

_RUN_STATES = ("running", "success", "failed", "queued")
"""In the order in which somebody who waits for a dag run is likely to find it."""
_CONNECTION_FIELDS = ("conn_type", "host", "schema", "login", "password", "port", "extra")


class AirflowComms:
    """`send` and `asend`, as `airflow.sdk.execution_time.comms.CommsDecoder` has them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._comms: Any = importlib.import_module("airflow.sdk.execution_time.comms")
        self._errors: Any = importlib.import_module("airflow.sdk.exceptions")

    def send(self, msg: Any) -> Any:
        """The answer; None where Airflow gives none. Raises AirflowRuntimeError for what a trigger cannot ask here."""
        name = type(msg).__name__
        answer = self._ANSWERS.get(name)
        if answer is None:
            raise self._refused(
                f"{name} is not possible in a trigger; triggers may ask for {', '.join(sorted(self._ANSWERS))}. "
                "Do it in the operator, before it defers or in its next method"
            )
        return answer(self, msg)

    async def asend(self, msg: Any) -> Any:
        return await asyncio.to_thread(self.send, msg)

    def _ask(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        return self._channel.ask(kind, question, current_wait.get())

    def _count(self, question: dict[str, Any]) -> int:
        answer = self._ask("counts", question)
        if answer.get("refused"):
            raise self._refused(f"states of dag {question['dag_id']!r} cannot be read: {answer['refused']}")
        return int(answer["count"])

    def _refused(self, message: str) -> Exception:
        return self._errors.AirflowRuntimeError(self._error("GENERIC_ERROR", message=message))  # type: ignore[no-any-return]

    def _error(self, error: str, **detail: Any) -> Any:
        return self._comms.ErrorResponse(error=self._errors.ErrorType[error], detail=detail)

    def _connection(self, msg: Any) -> Any:
        answer = self._ask("connection", {"connection_id": msg.conn_id})
        if answer.get("refused"):
            return self._error("PERMISSION_DENIED", conn_id=msg.conn_id, message=answer["refused"])
        facts = answer.get("connection")
        if facts is None:
            return self._error("CONNECTION_NOT_FOUND", conn_id=msg.conn_id)
        fields = {name: facts[name] for name in _CONNECTION_FIELDS if facts.get(name) is not None}
        return self._comms.ConnectionResult(conn_id=msg.conn_id, **{"conn_type": "", **fields})

    def _variable(self, msg: Any) -> Any:
        """A secrets backend and the environment were asked before."""
        answer = self._ask("variable", {"key": msg.key})
        if answer.get("refused"):
            return self._error("PERMISSION_DENIED", key=msg.key, message=answer["refused"])
        if answer.get("value") is None:
            return self._error("VARIABLE_NOT_FOUND", key=msg.key)
        self._channel.hide(secret_forms.of_variable(msg.key, answer["value"]))
        return self._comms.VariableResult(key=msg.key, value=answer["value"])

    def _mask(self, msg: Any) -> None:
        self._channel.hide(secret_forms.of_value(msg.value, msg.name))

    def _count_instances(self, msg: Any) -> Any:
        if msg.map_index is not None and msg.map_index >= 0:
            raise self._refused("task instances are counted over all their map indexes only")
        question = _filters(msg, "task_group_id", "logical_dates", "run_ids", "states")
        # None would count dag runs.
        question["task_ids"] = msg.task_ids if msg.task_ids is not None or msg.task_group_id else []
        return self._comms.TICount(count=self._count(question))

    def _count_runs(self, msg: Any) -> Any:
        question = _filters(msg, "logical_dates", "run_ids", "states")
        return self._comms.DRCount(count=self._count(question))

    def _run_state(self, msg: Any) -> Any:
        for state in _RUN_STATES:
            question = {"dag_id": msg.dag_id, "run_ids": [msg.run_id], "states": [state]}
            if self._count(question):
                return self._comms.DagRunStateResult(state=state)
        raise self._refused(f"dag {msg.dag_id!r} has no run {msg.run_id!r}")

    _ANSWERS: Mapping[str, Callable[[AirflowComms, Any], Any]] = {
        "GetConnection": _connection,
        "GetVariable": _variable,
        "MaskSecret": _mask,
        "GetTICount": _count_instances,
        "GetDRCount": _count_runs,
        "GetDagRunState": _run_state,
    }


def _filters(msg: Any, *names: str) -> dict[str, Any]:
    found = {name: getattr(msg, name) for name in names}
    return {"dag_id": msg.dag_id, **{name: value for name, value in found.items() if value is not None}}
