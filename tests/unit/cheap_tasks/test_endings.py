"""What the scheduler is told: the table of `endings`, row by row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leoflow_sensors.kinds import Verdict
from leoflowd.cheap_tasks import endings
from leoflowd.cheap_tasks.records import ClockSource, Terms, WaitRecord
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, OutcomeKind
from leoflowd.contract.wait_spec import Resume, WaitMode, WaitTerms
from leoflowd.contract.waits import WaitEnd

BEGAN = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
NOW = BEGAN + timedelta(seconds=90)
_K = OutcomeKind


def record(**terms: Any) -> WaitRecord:
    return WaitRecord(
        wake_at=0.0,
        number=5,
        run=7,
        dag="d",
        source=ClockSource("probe"),
        terms=Terms(WaitTerms(**terms), None),
        registered_at=BEGAN.timestamp(),
        deadline_at=0.0,
    )


def deferral(**terms: Any) -> WaitRecord:
    return record(resume=Resume(next_method="go_on"), **terms)


def kind(end: WaitEnd | None) -> OutcomeKind | None:
    if end is None:
        return None
    assert end.outcome is not None
    return end.outcome.kind


GAVE_UP = Verdict(met=False, failure="no such task")
SKIPS = Verdict(met=False, skip="it was skipped")

TABLE = [
    ({}, _K.FAILED, _K.FAILED, _K.FAILED_FOR_GOOD, _K.SKIPPED),
    ({"soft_fail": True}, _K.SKIPPED, _K.FAILED, _K.SKIPPED, _K.SKIPPED),
    ({"silent_fail": True}, None, None, _K.FAILED_FOR_GOOD, _K.SKIPPED),
    ({"never_fail": True}, _K.SKIPPED, _K.SKIPPED, _K.FAILED_FOR_GOOD, _K.SKIPPED),
    ({"silent_fail": True, "never_fail": True}, None, None, _K.FAILED_FOR_GOOD, _K.SKIPPED),
    ({"silent_fail": True, "soft_fail": True}, _K.SKIPPED, None, _K.SKIPPED, _K.SKIPPED),
    ({"mode": WaitMode.DEFERRABLE}, _K.FAILED, _K.FAILED, _K.FAILED_FOR_GOOD, _K.SKIPPED),
    ({"mode": WaitMode.DEFERRABLE, "soft_fail": True}, _K.SKIPPED, _K.SKIPPED, _K.SKIPPED, _K.SKIPPED),
    ({"mode": WaitMode.DEFERRABLE, "never_fail": True}, _K.SKIPPED, _K.SKIPPED, _K.SKIPPED, _K.SKIPPED),
]


@pytest.mark.parametrize(("terms", "gave_up", "failed", "timed_out", "skips"), TABLE)
def test_a_sensor_ends_as_in_airflow(
    terms: dict[str, Any],
    gave_up: OutcomeKind | None,
    failed: OutcomeKind | None,
    timed_out: OutcomeKind,
    skips: OutcomeKind,
) -> None:
    assert kind(endings.judged(record(**terms), GAVE_UP, "seen", NOW)) is gave_up
    assert kind(endings.probe_failed(record(**terms), "HTTP 500", NOW)) is failed
    assert kind(endings.timed_out(record(**terms), (), NOW)) is timed_out
    assert kind(endings.judged(record(**terms), SKIPS, "seen", NOW)) is skips


def test_not_met_is_no_end() -> None:
    assert endings.judged(record(), Verdict(met=False), "seen", NOW) is None


def test_met_succeeds_with_what_was_seen() -> None:
    end = endings.judged(record(), Verdict(met=True, event=1), "HTTP 200", NOW)
    assert end is not None
    assert end.outcome is not None
    assert (end.outcome.kind, end.because, end.outcome.xcoms) == (_K.SUCCESS, "HTTP 200", ())
    assert (end.outcome.start_date, end.outcome.end_date) == (BEGAN, NOW)
    assert (end.id, end.dag_run_id) == ("00000000-0000-0000-0000-000000000005", 7)


def test_an_xcom_of_the_verdict_is_the_return_value() -> None:
    end = endings.judged(record(), Verdict(met=True, xcom={"a": 1}), "seen", NOW)
    assert end is not None
    assert end.outcome is not None
    assert [(item.key, item.value) for item in end.outcome.xcoms] == [("return_value", '{"a":1}')]


@pytest.mark.parametrize(
    ("xcom", "why"),
    [
        ("x" * XCOM_MAX_BYTES, "larger than"),
        ({"deep": [float("nan")]}, "XCom 'return_value'['deep'][0] is nan"),
        ("\ud800", "lone surrogate \\ud800"),
    ],
)
def test_an_xcom_that_cannot_be_stored_fails_the_task(xcom: Any, why: str) -> None:
    end = endings.judged(record(), Verdict(met=True, xcom=xcom), "seen", NOW)
    assert end is not None
    assert kind(end) is _K.FAILED
    assert why in end.because


@pytest.mark.parametrize("value", ["a\0b", "\\u0000", 2**70, 1e20])
def test_what_json_carries_is_kept_exactly(value: Any) -> None:
    end = endings.judged(record(), Verdict(met=True, xcom=value), "seen", NOW)
    assert end is not None
    assert end.outcome is not None
    kept = json.loads(end.outcome.xcoms[0].value)
    assert (kept, type(kept)) == (value, type(value))


@pytest.mark.parametrize("key", ["", "a\0b", "k" * 600])
def test_a_trigger_that_ends_its_task_with_a_key_that_cannot_be_stored_fails_it(key: str) -> None:
    end = endings.trigger_fired(deferral(), {key: 1}, "success", NOW)
    assert kind(end) is _K.FAILED
    assert "the key of an XCom" in end.because


def test_a_nul_in_what_a_target_says_does_not_reach_the_table() -> None:
    end = endings.probe_failed(record(), "bad\0answer", NOW)
    assert end is not None
    assert "\0" not in end.because


def test_a_deferral_gets_the_event_of_the_verdict() -> None:
    end = endings.judged(deferral(), Verdict(met=True, event={"a": 1}), "seen", NOW)
    assert end is not None
    assert end.outcome is None
    assert end.resume is not None
    assert end.resume.event == {"a": 1}


def test_an_event_in_the_terms_comes_before_that_of_the_verdict() -> None:
    end = endings.judged(deferral(event="mine"), Verdict(met=True, event="theirs"), "seen", NOW)
    assert end is not None
    assert end.resume is not None
    assert end.resume.event == "mine"


@pytest.mark.parametrize("given_up", [GAVE_UP, SKIPS])
def test_a_deferral_whose_kind_gives_up_hears_of_a_trigger_failure(given_up: Verdict) -> None:
    end = endings.judged(deferral(), given_up, "seen", NOW)
    assert end is not None
    assert end.resume is not None
    assert end.resume.error == "Trigger failure"
    assert end.resume.traceback in (("no such task",), ("it was skipped",))


def test_a_kind_that_gives_up_with_an_event_lets_the_deferral_decide() -> None:
    verdict = Verdict(met=False, failure="it failed", event={"status": "failed"})
    end = endings.judged(deferral(), verdict, "seen", NOW)
    assert end is not None
    assert end.resume is not None
    assert (end.resume.event, end.resume.error) == ({"status": "failed"}, None)


def test_a_deferral_hears_of_a_failed_probe_and_of_a_timeout() -> None:
    failed = endings.probe_failed(deferral(silent_fail=True), "HTTP 500", NOW)
    late = endings.timed_out(deferral(soft_fail=True), (), NOW)
    assert failed is not None
    assert failed.resume is not None
    assert late.resume is not None
    assert (failed.resume.error, late.resume.error) == ("Trigger failure", "Trigger timeout")


def test_an_event_that_cannot_be_stored_is_a_trigger_failure() -> None:
    end = endings.judged(deferral(), Verdict(met=True, event=float("inf")), "seen", NOW)
    assert end is not None
    assert end.resume is not None
    assert end.resume.error == "Trigger failure"


def test_a_timeout_says_how_long_and_what_was_seen_last() -> None:
    late = record(timeout_s=60)
    late.deadline_at = NOW.timestamp() - 5
    end = endings.timed_out(late, ("last seen: HTTP 404", "the last probe failed: refused"), NOW)
    assert end.because == (
        "Sensor has timed out: waited 65 s of a timeout of 60 s; last seen: HTTP 404; the last probe failed: refused"
    )


def test_a_timeout_counts_what_the_deadline_counts_from_and_not_from_when_the_pool_took_the_wait() -> None:
    """Of a sensor that a process prepared: the try began before the wait."""
    late = record(timeout_s=60)
    late.registered_at, late.deadline_at = NOW.timestamp() - 40, NOW.timestamp()
    assert "waited 60 s of a timeout of 60 s" in endings.timed_out(late, (), NOW).because


@pytest.mark.parametrize(("end", "expected"), [("failed", _K.FAILED), ("skipped", _K.SKIPPED), ("gone", None)])
def test_a_trigger_may_end_its_task(end: str, expected: OutcomeKind | None) -> None:
    told = endings.trigger_fired(deferral(), {}, end, NOW)
    if expected is None:
        assert told.resume is not None
        assert told.resume.error == "Trigger failure"
    else:
        assert kind(told) is expected
