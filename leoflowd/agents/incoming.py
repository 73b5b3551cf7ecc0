"""What a try says, checked before anything else sees it: a task can write its own control socket and outcome file.

Called by `try_session`. Nothing here refuses a try for ever: an outcome that cannot be stored becomes one that can and
says why, a question is refused with a sentence that the task raises (`Invalid`), and what is only shown is made
storable (ADR 18).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract import agent_messages as m
from leoflowd.contract import variable
from leoflowd.contract.asset_spec import TEXT_MAX, check_record
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import (
    INTEGER_MAX,
    KEY_MAX,
    checked_integer,
    checked_json_text,
    checked_moment,
    checked_text,
    parsed_json,
    shown,
)
from leoflowd.contract.wait_spec import Deferral

ID_MAX = 250
"""Characters of a dag id, run id or task id."""
HOSTNAME_MAX = 255
MAP_INDEX_NAME_MAX = 250
RENDERED_MAX_BYTES = 1024 * 1024
_SUCCESSES = frozenset({m.OutcomeKind.SUCCESS, m.OutcomeKind.SKIPPED, m.OutcomeKind.DEFERRED, m.OutcomeKind.RESCHEDULE})


# --- what a try reports ------------------------------------------------------------------------------------------


def hello_of(hello: m.TryHello, now: datetime) -> m.TryHello:
    """The hello with a host name, a process id and a start that can be stored."""
    started_at = hello.started_at
    if started_at is not None:
        try:
            started_at = checked_moment(started_at, "the start")
        except Invalid:
            started_at = now
    pid = hello.pid if hello.pid is not None and 0 < hello.pid <= INTEGER_MAX else None
    return msgspec.structs.replace(hello, hostname=shown(hello.hostname, HOSTNAME_MAX), pid=pid, started_at=started_at)


def rendered_of(message: m.RenderedFields) -> dict[str, Any]:
    """Raises `Invalid`; then nothing is shown."""
    if len(message.fields) > RENDERED_MAX_BYTES:
        raise Invalid(f"the rendered fields are larger than {RENDERED_MAX_BYTES} bytes")
    fields = parsed_json(message.fields, "the rendered fields")
    if not isinstance(fields, dict):
        raise Invalid("the rendered fields are no JSON object")
    return fields


def map_index_name(name: str) -> str:
    """As Airflow's column takes it."""
    return shown(name, MAP_INDEX_NAME_MAX)


def check_xcom(key: str, value: str, max_bytes: int) -> None:
    """Raises `Invalid`."""
    checked_text(key, "the key of an XCom", max_length=KEY_MAX)
    checked_json_text(value, f"XCom {key!r}", max_bytes=max_bytes)


def outcome_of(
    message: m.Outcome, refused: str | None, now: datetime, *, xcom_max_bytes: int = m.XCOM_MAX_BYTES
) -> m.Outcome:
    """The outcome, opened and storable. `refused`: something that the try pushed before and that was not stored; a try
    that believes it did its work has failed then. So has one whose outcome cannot be stored."""
    try:
        start, end = checked_moment(message.start_date, "its start"), checked_moment(message.end_date, "its end")
    except Invalid as fault:
        return _failed(f"the outcome of the try is refused: {fault}", now, now)
    if refused is not None and message.kind in _SUCCESSES:
        return _failed(refused, start, end)
    try:
        opened = _opened(message, xcom_max_bytes)
    except Invalid as fault:
        return _failed(f"the outcome of the try is refused: {fault}", start, end)
    return msgspec.structs.replace(opened, because=shown(message.because), start_date=start, end_date=end)


def _failed(because: str, start: datetime, end: datetime) -> m.Outcome:
    return m.Outcome(kind=m.OutcomeKind.FAILED_FOR_GOOD, because=shown(because), start_date=start, end_date=end)


def _opened(message: m.Outcome, xcom_max_bytes: int) -> m.Outcome:
    for item in message.xcoms:
        check_xcom(item.key, item.value, xcom_max_bytes)
    for record in message.assets:
        check_record(record, "the task")
    for task_id in message.skips:
        checked_text(task_id, "the id of a task that it skips", max_length=ID_MAX)
    if message.reschedule_at is not None:
        checked_moment(message.reschedule_at, "the moment it wants to run again at")
    elif message.kind is m.OutcomeKind.RESCHEDULE:
        raise Invalid("it does not say when to run again")
    if message.kind is not m.OutcomeKind.DEFERRED:
        return msgspec.structs.replace(message, deferral_json=None, deferral=None)
    return msgspec.structs.replace(message, deferral_json=None, deferral=_deferral(message.deferral_json))


def _deferral(text: str | None) -> Deferral:
    checked_json_text(text or "null", "what it waits for", max_bytes=4 * m.XCOM_MAX_BYTES)
    try:
        deferral = msgspec.json.decode(text or "null", type=Deferral)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"what it waits for cannot be read: {error}") from error
    if (deferral.wait is None) == (deferral.trigger is None):
        raise Invalid("it must wait for a trigger or for a sensor's condition, and for one of them")
    if deferral.wait is not None:
        checked_text(deferral.wait.probe.kind, "the kind of what it waits for", max_length=ID_MAX)
    return deferral


# --- what a try asks ---------------------------------------------------------------------------------------------


def check_question(ask: Any) -> None:
    """Raises `Invalid` with the sentence for the task that asks."""
    checked_integer(ask.request_id, "the number of the question", least=0)
    match ask:
        case m.XComPull():
            checked_text(ask.key, "the key of an XCom", max_length=KEY_MAX)
            _check_ids("task_ids", ask.task_ids or ())
            _check_ids("run_id and dag_id", (ask.run_id, ask.dag_id))
            for index in ask.map_indexes or ():
                checked_integer(index, "a map index", least=-1)
            checked_integer(ask.offset or 0, "the offset of a page", least=0)
            checked_integer(ask.limit or 0, "the size of a page", least=0)
        case m.ConnectionAsk():
            checked_text(ask.connection_id, "the id of a connection", max_length=ID_MAX)
        case m.VariableAsk() | m.VariableWrite():  # the value is checked where it is stored
            checked_text(ask.key, "the key of a variable", max_length=variable.KEY_MAX)
        case m.DagRunAsk():
            _check_ids("dag_id", (ask.dag_id,))
            for name in ("run_id", "note"):  # their lengths are checked with those of people
                text = getattr(ask, name) or ""
                checked_text(text, name, max_length=len(text), allow_empty=True)
            for name in ("logical_date", "run_after"):
                moment = getattr(ask, name)
                if moment is not None and moment.tzinfo is not None:
                    checked_moment(moment, name)
        case m.DagAsk():
            _check_ids("dag_id", (ask.dag_id,))
        case m.AssetEventsAsk():
            _check_asset_events(ask)
        case m.CountsAsk():
            _check_ids("dag_id and task_group_id", (ask.dag_id, ask.task_group_id))
            for name in ("task_ids", "run_ids", "states"):
                _check_ids(name, getattr(ask, name) or ())
            for moment in ask.logical_dates:
                checked_moment(moment, "a logical date")
        case m.StatesAsk():
            _check_ids("dag_id and task_group_id", (ask.dag_id, ask.task_group_id))
            for name in ("task_ids", "run_ids"):
                _check_ids(name, getattr(ask, name))
            for moment in ask.logical_dates:
                checked_moment(moment, "a logical date")
            checked_integer(ask.map_index or 0, "a map index", least=-1)
        case m.PreviousInstanceAsk():
            _check_ids("dag_id, task_id and state", (ask.dag_id, ask.task_id, ask.state))
            if ask.logical_date is not None:
                checked_moment(ask.logical_date, "a logical date")
            checked_integer(ask.map_index, "a map index", least=-1)
        case _:
            pass


def _check_asset_events(ask: m.AssetEventsAsk) -> None:
    for what, text in (("name", ask.name), ("uri", ask.uri), ("alias", ask.alias)):
        if text is not None:
            checked_text(text, f"the {what} of an asset", max_length=TEXT_MAX)
    if not ask.triggering and (ask.alias is None) == (ask.name is None and ask.uri is None):
        raise Invalid("events are asked for of an asset, by its name or uri, or of an alias")
    for what, moment in (("after", ask.after), ("before", ask.before)):
        if moment is not None:
            checked_moment(moment, what)
    checked_integer(ask.limit or 0, "the limit of events", least=0)


def _check_ids(what: str, ids: Iterable[str | None]) -> None:
    for one in ids:
        if one is not None:
            checked_text(one, f"an id in {what}", max_length=ID_MAX, allow_empty=True)


def refusal(ask: Any, because: str) -> m.ToTry | None:
    """The answer that says no; None for a message that has no answer."""
    answer = ANSWERS.get(type(ask))
    return None if answer is None else answer(request_id=ask.request_id, refused=shown(because))


ANSWERS: dict[type[m.Message], Callable[..., m.ToTry]] = {
    m.XComPull: m.XComValues,
    m.PreviousRunAsk: m.PreviousRun,
    m.ConnectionAsk: m.ConnectionAnswer,
    m.VariableAsk: m.VariableAnswer,
    m.VariableWrite: m.VariableAnswer,
    m.DagRunAsk: m.DagRunAnswer,
    m.CountsAsk: m.CountsAnswer,
    m.DagAsk: m.DagAnswer,
    m.AssetEventsAsk: m.AssetEventsAnswer,
    m.StatesAsk: m.StatesAnswer,
    m.PreviousInstanceAsk: m.PreviousInstance,
}
"""Question -> its answer, which takes `request_id` and `refused`."""
