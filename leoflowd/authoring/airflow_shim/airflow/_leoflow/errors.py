"""Exceptions of a DAG file: what we refuse (with the place and the remedy), and Airflow's own classes.

`AuthoringError` carries what `leoflowd.authoring.compiler` prints as `path:line: what; why; what to do`.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any, NamedTuple

SHIM_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep

_NOT_THE_AUTHOR = (SHIM_ROOT, os.path.join(os.path.dirname(SHIM_ROOT[:-1]), "loader.py"), "<frozen")

Location = tuple[str, int]


replayed: list[Location] = []
"""Where the author wrote what is made again now (`sdk_objects.py`): the last one counts."""


def user_location() -> Location:
    """File and line of the innermost caller outside the shim; ("", 0) when there is none."""
    if replayed:
        return replayed[-1]
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_NOT_THE_AUTHOR):
            return name, frame.f_lineno
        frame = frame.f_back
    return "", 0


class Warned(NamedTuple):
    """Something that works and should be written otherwise; `dag_id` None = it concerns the whole file."""

    location: Location
    what: str
    remedy: str
    dag_id: str | None = None
    varies: bool = False
    """Each loading gives another value."""


warned: dict[Warned, None] = {}
"""What this loading was warned of, in order, each once."""


def warn(
    what: str, remedy: str, location: Location | None = None, dag_id: str | None = None, *, varies: bool = False
) -> None:
    """`location` defaults to the author's line that led here."""
    warned.setdefault(Warned(location or user_location(), what, remedy, dag_id, varies))


class AuthoringError(Exception):
    """A DAG that we cannot accept. `location` defaults to the author's line that led here."""

    connector = ""
    """The provider whose package would help; the compiler then takes it into the environment and loads again."""

    holds_for_both = False
    """Loading the file with Airflow's own packages would come to the same."""

    def __init__(self, what: str, why: str, remedy: str, location: Location | None = None) -> None:
        super().__init__(f"{what}; {why}; {remedy}")
        self.what = what
        self.why = why
        self.remedy = remedy
        self.location = location or user_location()


class ShimUnsupported(AuthoringError):
    """A construct of Airflow that Leoflow does not run (yet)."""


class UnsupportedImport(ShimUnsupported, ImportError):
    """An `airflow` name that is not there. An ImportError, so that a DAG file may catch it and use another name."""


# --- Airflow's exceptions ----------------------------------------------------------------------------------------


class AirflowException(Exception):
    """Base of Airflow's errors; the task fails and may be retried."""


class AirflowFailException(AirflowException):
    """The task fails for good: no retry."""


class AirflowSkipException(AirflowException):
    """The task is skipped."""


class DownstreamTasksSkipped(AirflowException):
    """The task succeeds, and these tasks are skipped: ids, or (id, map index); what runs or ran is left alone."""

    def __init__(self, *, tasks: Any) -> None:
        super().__init__()
        self.tasks = tasks


class AirflowBadRequest(AirflowException):
    """The application or server cannot handle the request."""


class AirflowNotFoundException(AirflowException):
    """The requested object does not exist."""


class AirflowOptionalProviderFeatureException(AirflowException):
    """A provider lacks a package that one of its features needs."""


class AirflowConfigException(Exception):
    """Something is configured wrongly."""


class AirflowSensorTimeout(AirflowException):
    """A sensor waited longer than its `timeout`."""


class AirflowRescheduleException(AirflowException):
    """The task wants to run again at `reschedule_date`, as the same try."""

    def __init__(self, reschedule_date: datetime) -> None:
        super().__init__(f"run again at {reschedule_date.isoformat()}")
        self.reschedule_date = reschedule_date


class TaskDeferralError(AirflowException):
    """What a deferred task waited for failed."""


class TaskDeferralTimeout(AirflowException):
    """What a deferred task waited for did not come in time."""


class TaskDeferred(BaseException):
    """The task gives its process back until `trigger` fires; then `method_name` is called in another one."""

    def __init__(
        self, *, trigger: Any, method_name: str, kwargs: dict[str, Any] | None = None, timeout: Any = None
    ) -> None:
        super().__init__()
        self.trigger = trigger
        self.method_name = method_name
        self.kwargs = kwargs
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"<TaskDeferred trigger={self.trigger} method={self.method_name}>"


class LeoflowDefer(BaseException):
    """The task gives its process back for a native wait: `wait` is a `WaitSpec` as plain data.

    Without `next_method` the end of the wait is the end of the task.
    """

    def __init__(self, wait: dict[str, Any], next_method: str | None = None) -> None:
        super().__init__()
        self.wait = wait
        self.next_method = next_method


class AirflowTaskTimeout(BaseException):
    """`execution_timeout` has passed."""


class AirflowTaskTerminated(BaseException):
    """The task was asked to end."""


class AirflowTimetableInvalid(AirflowException):
    """The schedule cannot be right."""


class AirflowDagCycleException(AirflowException):
    """The dependencies form a circle."""


class DuplicateTaskIdFound(AirflowException):
    """Two tasks or groups of one DAG have the same id."""


class TaskAlreadyInTaskGroup(AirflowException):
    """A task cannot be in two groups."""


class TaskNotFound(AirflowException):
    """No task of this id."""


class NodeNotFound(TaskNotFound, KeyError):
    """No task or group of this id."""


class DagNotFound(AirflowNotFoundException):
    """No DAG of this id."""


class DagRunNotFound(AirflowNotFoundException):
    """No dag run of this id."""


class TaskInstanceNotFound(AirflowNotFoundException):
    """No such task instance."""


class PoolNotFound(AirflowNotFoundException):
    """No pool of this name."""


class DagRunAlreadyExists(AirflowBadRequest):
    """There is a dag run of this id."""


class ParamValidationError(AirflowException, ValueError):
    """A param has a value that its schema does not allow."""


class FailFastDagInvalidTriggerRule(AirflowException):
    """`fail_fast` allows only the trigger rule `all_success`."""


class XComNotFound(AirflowException):
    """The output that a task asks for was never pushed."""

    def __init__(self, dag_id: str, task_id: str, key: str) -> None:
        super().__init__(f"XCom {key!r} of task {task_id!r} (dag {dag_id!r}) was never pushed")
        self.dag_id = dag_id
        self.task_id = task_id
        self.key = key


class RemovedInAirflow4Warning(DeprecationWarning):
    """A feature that Airflow 4 removes."""


class AirflowProviderDeprecationWarning(DeprecationWarning):
    """A feature that a provider will remove."""


def describe(value: Any) -> str:
    """A short form of any value for messages, without memory addresses (they differ from load to load)."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - an integer of more digits than Python writes, or an author's own repr
        return f"{type(value).__name__} object"
    return f"{type(value).__name__} object" if " at 0x" in text else text[:120]
