"""How a wait ends, as the scheduler is told: Airflow's rules for sensors and for deferrals. Pure.

For sensors they are those of `BaseSensorOperator.execute` in Airflow 3.2:

| what came | soft_fail | silent_fail | never_fail | none of them |
|---|---|---|---|---|
| the kind gave up (ExternalTaskFailedError and its like) | skipped | goes on waiting | skipped | failed |
| the probe failed (any other exception) | | goes on waiting | skipped | failed |
| the timeout (AirflowSensorTimeout) | skipped | | | failed for good |
| the kind skips (AirflowSkipException) | skipped | skipped | skipped | skipped |

For those that would defer, those of `resume_execution` come first: whatever their trigger ends with, `soft_fail` and
`never_fail` make a skip of it, a failed probe and the timeout too. (Airflow's first probe is not the trigger's, and
fails the task all the same. Which one was the first is nothing that outlives a daemon, so here all are alike.)

A deferral (`terms.resume`) decides itself: it gets the event, or Airflow's word for why there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from leoflow_sensors.kinds import Verdict
from leoflowd.cheap_tasks.records import WaitRecord
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, Outcome, OutcomeKind, XComItem
from leoflowd.contract.errors import Invalid
from leoflowd.contract.human import Answer
from leoflowd.contract.values import KEY_MAX, checked_text, json_text, shown
from leoflowd.contract.wait_spec import WaitMode
from leoflowd.contract.waits import ResumeWith, WaitEnd
from leoflowd.core import human

TRIGGER_FAILED = "Trigger failure"
TRIGGER_TIMED_OUT = "Trigger timeout"
"""Airflow's texts; `TaskDeferralTimeout` hangs on the second one."""

TRACEBACK_LINES_MAX, TRACEBACK_LINE_MAX = 500, 2000
"""The last lines of a trigger's traceback, and characters of each: they travel with the try that goes on."""
_END_STATES = {"success": OutcomeKind.SUCCESS, "failed": OutcomeKind.FAILED, "skipped": OutcomeKind.SKIPPED}


def judged(record: WaitRecord, verdict: Verdict, summary: str, now: datetime) -> WaitEnd | None:
    """None: it goes on waiting. `summary` is what the probe saw."""
    if verdict.met:
        return met(record, verdict, summary, now)
    given_up = verdict.failure or verdict.skip
    if given_up is None:
        return None
    if record.terms.wait.resume is not None:
        if verdict.event is not None:
            return _resumed(record, verdict.event, given_up)
        return _not_resumed(record, TRIGGER_FAILED, given_up)
    if verdict.skip is not None:
        return _ended(record, OutcomeKind.SKIPPED, verdict.skip, now)
    if record.terms.wait.soft_fail:
        return _ended(record, OutcomeKind.SKIPPED, f"{given_up}; soft_fail makes that a skip", now)
    return probe_failed(record, given_up, now)


def met(record: WaitRecord, verdict: Verdict, because: str, now: datetime) -> WaitEnd:
    terms = record.terms.wait
    if terms.resume is not None:
        return _resumed(record, verdict.event if terms.event is None else terms.event, because)
    return _succeeded(record, {} if verdict.xcom is None else {"return_value": verdict.xcom}, because, now)


def probe_failed(record: WaitRecord, because: str, now: datetime) -> WaitEnd | None:
    """None: `silent_fail`, it goes on waiting."""
    terms = record.terms.wait
    if terms.resume is not None:
        return _not_resumed(record, TRIGGER_FAILED, because)
    if terms.soft_fail and terms.mode is WaitMode.DEFERRABLE:
        return _ended(record, OutcomeKind.SKIPPED, f"{because}; soft_fail makes that a skip", now)
    if terms.silent_fail:
        return None
    if terms.never_fail:
        return _ended(record, OutcomeKind.SKIPPED, f"{because}; never_fail makes that a skip", now)
    return _ended(record, OutcomeKind.FAILED, because, now)


def timed_out(record: WaitRecord, seen: Sequence[str], now: datetime) -> WaitEnd:
    """`seen`: what the probes came to, in sentences. A sensor that a process prepared has waited since that began."""
    terms = record.terms.wait
    timeout_s = terms.timeout_s or 0.0
    waited_s = now.timestamp() - record.deadline_at + timeout_s
    because = "; ".join((f"timed out: waited {waited_s:.0f} s of a timeout of {timeout_s:g} s", *seen))
    if terms.resume is not None:
        return _not_resumed(record, TRIGGER_TIMED_OUT, because)
    because = f"Sensor has {because}"
    if terms.soft_fail:
        return _ended(record, OutcomeKind.SKIPPED, f"{because}; soft_fail makes that a skip", now)
    if terms.never_fail and terms.mode is WaitMode.DEFERRABLE:
        return _ended(record, OutcomeKind.SKIPPED, f"{because}; never_fail makes that a skip", now)
    return _ended(record, OutcomeKind.FAILED_FOR_GOOD, because, now)


def refused(record: WaitRecord, because: str, now: datetime) -> WaitEnd:
    """It cannot be waited for here, and trying again would change nothing."""
    if record.terms.wait.resume is not None:
        return _not_resumed(record, TRIGGER_FAILED, because)
    return _ended(record, OutcomeKind.FAILED_FOR_GOOD, because, now)


def failed_by_hand(record: WaitRecord, now: datetime) -> WaitEnd:
    return refused(record, "a person made this wait fail", now)


def answered(record: WaitRecord, answer: Answer | None) -> WaitEnd:
    """What a person answered, or the defaults; None: nobody did in time, which the task's next method is told."""
    if answer is None:
        return _resumed(record, dict(human.TIMED_OUT), "nobody answered in time")
    return _resumed(record, human.event_of(answer), human.describe(answer))


def trigger_fired(record: WaitRecord, event: Any, end: str | None, now: datetime) -> WaitEnd:
    """`end`: the state that the trigger ends its task with, by name; `event` is then a mapping of XComs."""
    if end is None:
        return _resumed(record, event, "the trigger fired")
    kind = _END_STATES.get(end)
    xcoms = event or {}
    if kind is None or not isinstance(xcoms, Mapping):
        return trigger_failed(record, f"its trigger ended it as {end!r} with XComs that are no mapping", (), now)
    if kind is OutcomeKind.SUCCESS:
        return _succeeded(record, xcoms, "the trigger ended its task as success", now)
    return _ended(record, kind, f"the trigger ended its task as {end}", now)


def trigger_failed(record: WaitRecord, error: str, traceback: tuple[str, ...], now: datetime) -> WaitEnd:
    if record.terms.wait.resume is None:
        return _ended(record, OutcomeKind.FAILED, error, now)
    return _not_resumed(record, TRIGGER_FAILED, error, traceback)


def _succeeded(record: WaitRecord, xcoms: Mapping[str, Any], because: str, now: datetime) -> WaitEnd:
    try:
        items = tuple(_item(key, value) for key, value in xcoms.items())
    except Invalid as fault:
        return _ended(record, OutcomeKind.FAILED, f"it cannot be stored: {fault}", now)
    return _ended(record, OutcomeKind.SUCCESS, because, now, items)


def _item(key: str, value: Any) -> XComItem:
    checked_text(key, "the key of an XCom", max_length=KEY_MAX)
    return XComItem(key=key, value=json_text(value, f"XCom {key!r}", max_bytes=XCOM_MAX_BYTES))


def _resumed(record: WaitRecord, event: Any, because: str) -> WaitEnd:
    try:
        json_text(event, "its event", max_bytes=XCOM_MAX_BYTES)
    except Invalid as fault:
        return _not_resumed(record, TRIGGER_FAILED, f"it cannot be stored: {fault}")
    resume = ResumeWith(event=event)
    return WaitEnd(id=record.wait_id, dag_run_id=record.run, resume=resume, because=shown(because))


def _not_resumed(record: WaitRecord, error: str, because: str, traceback: tuple[str, ...] = ()) -> WaitEnd:
    lines = tuple(shown(line, TRACEBACK_LINE_MAX) for line in (traceback or (because,))[-TRACEBACK_LINES_MAX:])
    error = shown(error)
    resume = ResumeWith(error=error, traceback=lines)
    return WaitEnd(id=record.wait_id, dag_run_id=record.run, resume=resume, because=shown(because))


def _ended(
    record: WaitRecord, kind: OutcomeKind, because: str, now: datetime, xcoms: tuple[XComItem, ...] = ()
) -> WaitEnd:
    because = shown(because)
    outcome = Outcome(kind=kind, because=because, start_date=record.started_at, end_date=now, xcoms=xcoms)
    return WaitEnd(id=record.wait_id, dag_run_id=record.run, outcome=outcome, because=because)
