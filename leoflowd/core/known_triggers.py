"""Airflow's own triggers as native waits: what would only be repeated in a trigger host is waited for in the pool.

Called by the scheduler for each deferral. A trigger becomes a native wait only when nothing is lost: the same
condition, the same event for the task's next method, every argument honoured. Everything else is None, and runs in a
trigger host (ADR 16). Behaviour copied from `apache-airflow-providers-standard` 1.21 and `-http` 6.3, on Airflow 3.2.

| class | kind | event |
|---|---|---|
| `temporal.DateTimeTrigger`, and `TimeDeltaTrigger`, which serializes as one | `time` | the moment, in UTC |
| the same with `end_from_trigger` and no timeout | `time` | none: the wait ends its task |
| `file.FileTrigger` with an absolute path | `file` | `True` |
| `external_task.WorkflowTrigger` without failed and skipped states | `external_task` | `{"status": "success"}` |
| `external_task.DagStateTrigger` for one state | `external_task` | (class path, {arguments, first run: state}) |
| `http.HttpSensorTrigger` | `http` | `True` |
| `hitl.HITLTrigger` with its question | `human` | what was answered (`core.human`) |

Not here, because their event says which of several things happened: a WorkflowTrigger that also looks for failures, and
a DagStateTrigger for several states. `TimeDeltaTrigger` by its own class path counts from when it is made, which no
argument says.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from leoflowd.contract.human import HUMAN_KIND, Options, Person, Question
from leoflowd.contract.wait_spec import ProbeSpec, TriggerSpec, WaitSpec, WaitTerms

STANDARD = "airflow.providers.standard.triggers"
HITL_TRIGGER = f"{STANDARD}.hitl.HITLTrigger"
HTTP = "airflow.providers.http.triggers.http"
_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"
_MOMENTS = frozenset({"datetime.datetime", "pendulum.datetime.DateTime"})
_COLLECTIONS = frozenset({"builtins.tuple", "builtins.set", "builtins.frozenset"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Interval = Annotated[float, msgspec.Meta(gt=0)]
Names = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


def native_wait(trigger: TriggerSpec, terms: WaitTerms) -> WaitSpec | None:
    """The trigger as a wait on these terms (those of the deferral: resume, timeout); None if only a host can run it."""
    known = _KNOWN.get(trigger.classpath)
    if known is None:
        return None
    arguments, wait = known
    try:
        return wait(msgspec.convert(_opened(trigger.kwargs), arguments), trigger, terms)
    except (_NotPlain, msgspec.ValidationError, OverflowError):  # a moment that UTC has no place for
        return None


class _Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: an argument that we do not know is one that we would not honour."""


# --- time --------------------------------------------------------------------------------------------------------


class _DateTime(_Arguments, frozen=True, kw_only=True):
    moment: datetime | None = None
    target_time: datetime | None = None
    end_from_trigger: bool = False


def _moment_wait(arguments: _DateTime, trigger: TriggerSpec, terms: WaitTerms) -> WaitSpec | None:
    if (arguments.moment is None) == (arguments.target_time is None):
        return None
    found = arguments.moment or arguments.target_time
    assert found is not None
    if found.tzinfo is None and arguments.moment is not None:
        return None  # Airflow refuses it, with its own words
    moment = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    probe = ProbeSpec(kind="time", arguments={"moment": moment.isoformat()})
    if not arguments.end_from_trigger:
        return WaitSpec(probe=probe, terms=_answering(terms, enveloped_moment(moment)))
    if terms.timeout_s is not None:
        return None  # a native wait without `resume` that times out fails for good; a deferral that does may be retried
    return WaitSpec(probe=probe, terms=msgspec.structs.replace(terms, resume=None))


# --- files -------------------------------------------------------------------------------------------------------


class _File(_Arguments, frozen=True, kw_only=True):
    filepath: Annotated[str, msgspec.Meta(pattern="^/")]
    """Absolute: a relative path depends on the folder of whoever looks."""
    recursive: bool = False
    poke_interval: Interval = 5.0


def _file_wait(arguments: _File, trigger: TriggerSpec, terms: WaitTerms) -> WaitSpec:
    probe = ProbeSpec(kind="file", arguments={"path": arguments.filepath, "recursive": arguments.recursive})
    return WaitSpec(probe=probe, terms=_answering(terms, True, poke_interval_s=arguments.poke_interval))


# --- other DAGs --------------------------------------------------------------------------------------------------


class _Workflow(_Arguments, frozen=True, kw_only=True):
    external_dag_id: str
    external_task_ids: tuple[str, ...] | None = None
    external_task_group_id: str | None = None
    failed_states: tuple[str, ...] | None = None
    skipped_states: tuple[str, ...] | None = None
    allowed_states: Names
    poke_interval: Interval = 2.0
    soft_fail: bool = False
    """Airflow keeps it and does nothing with it; the operator's next method decides."""
    run_ids: Names | None = None
    logical_dates: Annotated[tuple[datetime, ...], msgspec.Meta(min_length=1)] | None = None
    execution_dates: None = None


def _workflow_wait(arguments: _Workflow, trigger: TriggerSpec, terms: WaitTerms) -> WaitSpec | None:
    if arguments.failed_states or arguments.skipped_states:
        return None
    if (arguments.run_ids is None) == (arguments.logical_dates is None):
        return None  # both filter together in Airflow; neither counts nothing
    if arguments.external_task_ids and arguments.external_task_group_id:
        return None
    if any(moment.tzinfo is None for moment in arguments.logical_dates or ()):
        return None
    probe = _external_task(
        arguments.external_dag_id,
        task_ids=arguments.external_task_ids or (),
        task_group_id=arguments.external_task_group_id or None,
        logical_dates=arguments.logical_dates or (),
        run_ids=arguments.run_ids or (),
    )
    return WaitSpec(
        probe=probe,
        terms=_answering(
            terms,
            {"status": "success"},
            poke_interval_s=arguments.poke_interval,
            predicate={"allowed_states": list(arguments.allowed_states)},
        ),
    )


class _DagState(_Arguments, frozen=True, kw_only=True):
    dag_id: str
    states: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=1)]
    run_ids: Names
    execution_dates: None = None
    """In Airflow 3 a trigger with dates only never fires, and with both the run must match both."""
    poll_interval: Interval = 5.0


def _dag_state_wait(arguments: _DagState, trigger: TriggerSpec, terms: WaitTerms) -> WaitSpec:
    # As in Airflow 3.2, where the event tells the state of the first run only.
    data = {**trigger.kwargs, arguments.run_ids[0]: arguments.states[0]}
    probe = _external_task(arguments.dag_id, run_ids=arguments.run_ids)
    return WaitSpec(
        probe=probe,
        terms=_answering(
            terms,
            _enveloped("builtins.tuple", 1, [trigger.classpath, data]),
            poke_interval_s=arguments.poll_interval,
            predicate={"allowed_states": list(arguments.states)},
        ),
    )


def _external_task(
    dag_id: str,
    *,
    task_ids: tuple[str, ...] = (),
    task_group_id: str | None = None,
    logical_dates: tuple[datetime, ...] = (),
    run_ids: tuple[str, ...] = (),
) -> ProbeSpec:
    found: dict[str, Any] = {
        "task_ids": list(task_ids),
        "task_group_id": task_group_id,
        "logical_dates": [moment.astimezone(UTC).isoformat() for moment in logical_dates],
        "run_ids": list(run_ids),
    }
    given = {name: value for name, value in found.items() if value}
    return ProbeSpec(kind="external_task", arguments={"dag_id": dag_id, **given})


# --- HTTP --------------------------------------------------------------------------------------------------------


class _HttpOptions(_Arguments, frozen=True, kw_only=True):
    """What a native probe can do of `extra_options`."""

    json: Any = None
    timeout: Interval | None = None
    verify: bool | None = None


class _HttpSensor(_Arguments, frozen=True, kw_only=True):
    endpoint: str | None = None
    http_conn_id: str = "http_default"
    method: str = "GET"
    data: dict[str, Any] | str | None = None
    headers: dict[str, str] | None = None
    extra_options: _HttpOptions | None = None
    poke_interval: Interval = 5.0


def _http_wait(arguments: _HttpSensor, trigger: TriggerSpec, terms: WaitTerms) -> WaitSpec:
    options = arguments.extra_options or _HttpOptions()
    found: dict[str, Any] = {
        "headers": arguments.headers or None,
        "data": arguments.data,
        "json": options.json,
        "timeout_s": options.timeout,
        "verify": options.verify,
    }
    given = {name: value for name, value in found.items() if value is not None}
    probe = ProbeSpec(
        kind="http",
        arguments={"endpoint": arguments.endpoint or "", "method": arguments.method, **given},
        connection_id=arguments.http_conn_id,
    )
    return WaitSpec(probe=probe, terms=_answering(terms, True, poke_interval_s=arguments.poke_interval))


# --- people ------------------------------------------------------------------------------------------------------


class _Hitl(_Arguments, frozen=True, kw_only=True):
    """Airflow's trigger has no subject: it reads the question from the database. Here the question travels with it."""

    subject: str
    options: Options
    body: str | None = None
    defaults: tuple[str, ...] | None = None
    multiple: bool = False
    params: dict[str, Any] = {}
    assigned_users: tuple[Person, ...] = ()
    timeout_datetime: datetime | None = None


def _human_wait(arguments: _Hitl, trigger: TriggerSpec, terms: WaitTerms) -> WaitSpec | None:
    given, moment = msgspec.structs.asdict(arguments), arguments.timeout_datetime
    del given["timeout_datetime"]
    if terms.timeout_s is not None or (moment is not None and moment.tzinfo is None):
        return None  # a deferral's own timeout would end the wait behind the question's back
    question = Question(**given, respond_by=None if moment is None else moment.astimezone(UTC))
    return WaitSpec(probe=ProbeSpec(kind=HUMAN_KIND, arguments=msgspec.to_builtins(question)), terms=terms)


_Known = tuple[type[_Arguments], Callable[[Any, TriggerSpec, WaitTerms], WaitSpec | None]]
_KNOWN: dict[str, _Known] = {
    f"{STANDARD}.temporal.DateTimeTrigger": (_DateTime, _moment_wait),
    f"{STANDARD}.file.FileTrigger": (_File, _file_wait),
    f"{STANDARD}.external_task.WorkflowTrigger": (_Workflow, _workflow_wait),
    f"{STANDARD}.external_task.DagStateTrigger": (_DagState, _dag_state_wait),
    f"{HTTP}.HttpSensorTrigger": (_HttpSensor, _http_wait),
    HITL_TRIGGER: (_Hitl, _human_wait),
}


def _answering(terms: WaitTerms, event: Any, **changes: Any) -> WaitTerms:
    return msgspec.structs.replace(terms, event=event, **changes)


# --- the XCom form (agent/leoflow_agent/runner/xcom.py) ----------------------------------------------------------


class _NotPlain(Exception):
    """An envelope whose class only a process can open."""


def _opened(value: Any) -> Any:
    """Moments and collections as themselves; any other envelope raises `_NotPlain`."""
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _CLASS not in value:
        return {name: _opened(item) for name, item in value.items()}
    kind, data = value[_CLASS], value.get(_DATA)
    if kind in _MOMENTS and isinstance(data, dict):
        return _moment(data)
    if kind in _COLLECTIONS and isinstance(data, list):
        return tuple(_opened(item) for item in data)
    raise _NotPlain


def _moment(data: dict[str, Any]) -> datetime:
    """In UTC; naive when it was written without a zone. Its zone's name changes no instant."""
    timestamp = data.get("timestamp")
    if not isinstance(timestamp, (int, float)):
        raise _NotPlain
    try:
        moment = _EPOCH + timedelta(seconds=timestamp)
    except (OverflowError, ValueError) as error:
        raise _NotPlain from error
    return moment if data.get("tz") is not None else moment.replace(tzinfo=None)


def enveloped_moment(moment: datetime) -> dict[str, Any]:
    """As the next method of a task reads it."""
    zone = _enveloped("builtins.tuple", 1, ["UTC", "pendulum.tz.timezone.Timezone", 1, True])
    return _enveloped("pendulum.datetime.DateTime", 2, {"timestamp": moment.timestamp(), "tz": zone})


def _enveloped(name: str, version: int, data: Any) -> dict[str, Any]:
    return {_CLASS: name, _VERSION: version, _DATA: data}
