"""Callbacks: which events of tasks and DAGs call for something, and what is then to be done (ADR 48).

The artifact names events, never functions. What an event calls for is one row of `callback`, and one process, which is
told by a `CallbackCall`: send these mails and alerts, then call the functions that the DAG file has for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from leoflowd.contract.deadline_spec import MissedDeadline

TaskEvent = Literal["execute", "failure", "retry", "skipped", "success"]
"""`on_<event>_callback` of a task. `execute` is called in the task's own process and is no row."""
DagEvent = Literal["failure", "success"]
AlertEvent = Literal["failure", "success", "task_failure", "task_retry"]
"""Of `alerts:` in leoflow.yaml: how a dag run ended, or a try."""
Reason = Literal["success", "task_failure", "all_tasks_deadlocked", "timed_out"]
"""Why a dag run ended, in Airflow's words: `context["reason"]`."""
CALLBACK_TIMEOUT_MAX_S = 3600.0


class AlertSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of `alerts:` in leoflow.yaml. Addresses with secrets in them stand in a connection."""

    on: tuple[AlertEvent, ...]
    kind: Literal["slack", "webhook", "email"]
    connection: Annotated[str, msgspec.Meta(min_length=1, max_length=250)]
    """slack, webhook: the address is its host, or its password (Slack's webhook connections); email: SMTP."""
    to: tuple[str, ...] = ()
    """email: who gets it."""


class CallbackCall(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, as `TrySpec.callback`: the process runs no task. Facts are those of the end itself."""

    event: Literal["deadline", "failure", "retry", "skipped", "success"]
    of_dag: bool = False
    calls_functions: bool = False
    """The DAG file has functions for this event."""
    email: tuple[str, ...] = ()
    """Who gets Airflow's mail of a failed try."""
    alerts: tuple[AlertSpec, ...] = ()
    state: str
    """Of the task instance or dag run."""
    reason: Reason | None = None
    """Of a dag run."""
    because: str = ""
    """One sentence: `context["exception"]` is made of it when a try failed."""
    start_date: datetime | None = None
    end_date: datetime | None = None
    task_state: str | None = None
    """Of a dag run: the state of the task instance that its context has, and when that began and ended."""
    task_start_date: datetime | None = None
    task_end_date: datetime | None = None
    deadline: MissedDeadline | None = None
    """The one that a dag run has missed: its own functions are called."""


class NewCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is written together with the state that calls for it."""

    dag_run_id: int
    task_id: str | None
    """Of a dag run: the task instance that its end is due to, if there is one."""
    map_index: int = -1
    of_try: str | None = None
    """The try that ended; None for a dag run."""
    try_number: int = 0
    max_tries: int = 0
    call: CallbackCall
