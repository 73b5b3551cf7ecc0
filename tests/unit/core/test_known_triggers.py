"""Which of Airflow's triggers become native waits, with which event, and which are left to a trigger host."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from leoflow_agent.runner import xcom
from leoflow_sensors import load_kinds
from leoflowd.contract.wait_spec import Resume, TriggerSpec, WaitSpec, WaitTerms
from leoflowd.core.known_triggers import native_wait

STANDARD = "airflow.providers.standard.triggers"
DATE_TIME = f"{STANDARD}.temporal.DateTimeTrigger"
FILE = f"{STANDARD}.file.FileTrigger"
WORKFLOW = f"{STANDARD}.external_task.WorkflowTrigger"
DAG_STATE = f"{STANDARD}.external_task.DagStateTrigger"
HTTP_SENSOR = "airflow.providers.http.triggers.http.HttpSensorTrigger"
MOMENT = datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)
RESUME = Resume(next_method="execute_complete")
TERMS = WaitTerms(resume=RESUME, timeout_s=None)


def wait_of(classpath: str, terms: WaitTerms = TERMS, **kwargs: Any) -> WaitSpec | None:
    """As a task process sends it: arguments in the runner's XCom form."""
    return native_wait(TriggerSpec(classpath=classpath, kwargs=xcom.plain(kwargs, "kwargs")), terms)


def known(classpath: str, terms: WaitTerms = TERMS, **kwargs: Any) -> WaitSpec:
    wait = wait_of(classpath, terms, **kwargs)
    assert wait is not None
    return wait


def test_an_unknown_class_is_left_to_a_host() -> None:
    assert wait_of("my.Trigger") is None


def test_an_argument_that_we_do_not_know_is_left_to_a_host() -> None:
    assert wait_of(FILE, filepath="/data/in", sensitivity=3) is None


def test_an_argument_of_a_class_that_only_a_process_can_read_is_left_to_a_host() -> None:
    envelope = {"__classname__": "my.Path", "__version__": 1, "__data__": "/data/in"}
    assert native_wait(TriggerSpec(classpath=FILE, kwargs={"filepath": envelope}), TERMS) is None


def test_the_terms_of_the_deferral_are_kept() -> None:
    terms = WaitTerms(resume=RESUME, timeout_s=90.0)
    kept = known(FILE, terms, filepath="/data/in").terms
    assert (kept.resume, kept.timeout_s) == (RESUME, 90.0)


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_moment_is_a_wait_for_the_clock() -> None:
    wait = known(DATE_TIME, moment=MOMENT, end_from_trigger=False)
    assert (wait.probe.kind, wait.probe.arguments) == ("time", {"moment": "2026-03-01T12:30:00.250000+00:00"})


def test_the_event_of_a_moment_is_the_moment_as_a_task_writes_it() -> None:
    assert xcom.decode(known(DATE_TIME, moment=MOMENT).terms.event) == MOMENT


def test_a_moment_in_another_zone_is_the_same_instant() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5)))
    assert known(DATE_TIME, moment=elsewhere) == known(DATE_TIME, moment=MOMENT)


def test_a_target_time_may_be_text() -> None:
    assert known(DATE_TIME, target_time="2026-03-01T12:30:00.25Z") == known(DATE_TIME, moment=MOMENT)


def test_a_target_time_without_a_zone_is_utc() -> None:
    assert known(DATE_TIME, target_time="2026-03-01T12:30:00.25") == known(DATE_TIME, moment=MOMENT)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"moment": MOMENT, "target_time": "2026-03-01T12:30:00Z"},
        {"moment": MOMENT.replace(tzinfo=None)},
        {"target_time": "{{ ds }}"},
    ],
)
def test_a_moment_that_airflow_would_refuse_is_left_to_a_host(kwargs: dict[str, Any]) -> None:
    assert wait_of(DATE_TIME, **kwargs) is None


def test_a_moment_that_ends_its_task_needs_no_further_process() -> None:
    terms = known(DATE_TIME, moment=MOMENT, end_from_trigger=True).terms
    assert (terms.resume, terms.event) == (None, None)


def test_a_moment_that_ends_its_task_and_may_time_out_is_left_to_a_host() -> None:
    terms = WaitTerms(resume=RESUME, timeout_s=60.0)
    assert wait_of(DATE_TIME, terms, moment=MOMENT, end_from_trigger=True) is None


def test_a_delay_by_its_own_class_is_left_to_a_host() -> None:
    assert wait_of(f"{STANDARD}.temporal.TimeDeltaTrigger", delta=timedelta(minutes=5)) is None


# --- files --------------------------------------------------------------------------------------------------------


def test_a_file_is_waited_for_at_the_triggers_own_interval() -> None:
    wait = known(FILE, filepath="/data/*.csv", recursive=True, poke_interval=7.0)
    assert wait.probe.kind == "file"
    assert wait.probe.arguments == {"path": "/data/*.csv", "recursive": True}
    assert (wait.terms.poke_interval_s, wait.terms.event) == (7.0, True)


def test_a_relative_path_is_left_to_a_host() -> None:
    assert wait_of(FILE, filepath="in.csv") is None


def test_an_interval_of_nothing_is_left_to_a_host() -> None:
    assert wait_of(FILE, filepath="/data/in", poke_interval=0) is None


# --- other DAGs ---------------------------------------------------------------------------------------------------

WORKFLOW_ARGUMENTS: dict[str, Any] = {
    "external_dag_id": "other",
    "external_task_ids": None,
    "external_task_group_id": None,
    "failed_states": [],
    "skipped_states": None,
    "allowed_states": ["success"],
    "poke_interval": 3.0,
    "soft_fail": False,
    "run_ids": None,
    "logical_dates": [MOMENT],
}
"""What the real trigger serializes."""


def test_a_workflow_is_waited_for_by_its_dates() -> None:
    wait = known(WORKFLOW, **{**WORKFLOW_ARGUMENTS, "external_task_ids": {"a"}})
    assert wait.probe.kind == "external_task"
    assert wait.probe.arguments == {
        "dag_id": "other",
        "task_ids": ["a"],
        "logical_dates": ["2026-03-01T12:30:00.250000+00:00"],
    }
    assert wait.terms.predicate == {"allowed_states": ["success"]}
    assert (wait.terms.poke_interval_s, wait.terms.event) == (3.0, {"status": "success"})


def test_a_workflow_may_be_named_by_its_runs_and_group() -> None:
    changes = {"run_ids": ["r1", "r2"], "logical_dates": None, "external_task_group_id": "g"}
    wait = known(WORKFLOW, **{**WORKFLOW_ARGUMENTS, **changes})
    assert wait.probe.arguments == {"dag_id": "other", "task_group_id": "g", "run_ids": ["r1", "r2"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"failed_states": ["failed"]},
        {"skipped_states": ["skipped"]},
        {"allowed_states": None},
        {"logical_dates": None},
        {"run_ids": ["r1"]},
        {"logical_dates": [MOMENT.replace(tzinfo=None)]},
        {"external_task_ids": ["a"], "external_task_group_id": "g"},
    ],
)
def test_a_workflow_that_has_more_than_one_answer_is_left_to_a_host(changes: dict[str, Any]) -> None:
    assert wait_of(WORKFLOW, **{**WORKFLOW_ARGUMENTS, **changes}) is None


DAG_STATE_ARGUMENTS: dict[str, Any] = {
    "dag_id": "other",
    "states": ["success"],
    "poll_interval": 4.0,
    "run_ids": ["r1", "r2"],
    "execution_dates": None,
}


def test_a_dag_state_is_waited_for_by_its_runs() -> None:
    wait = known(DAG_STATE, **DAG_STATE_ARGUMENTS)
    assert (wait.probe.kind, wait.probe.arguments) == ("external_task", {"dag_id": "other", "run_ids": ["r1", "r2"]})
    assert (wait.terms.predicate, wait.terms.poke_interval_s) == ({"allowed_states": ["success"]}, 4.0)


def test_the_event_of_a_dag_state_is_airflows_pair_with_the_state_of_the_first_run() -> None:
    event = xcom.decode(known(DAG_STATE, **DAG_STATE_ARGUMENTS).terms.event)
    assert event == (DAG_STATE, {**DAG_STATE_ARGUMENTS, "r1": "success"})


@pytest.mark.parametrize(
    "changes",
    [
        {"states": ["success", "failed"]},
        {"states": []},
        {"run_ids": None},
        {"run_ids": []},
        {"execution_dates": [MOMENT]},
    ],
)
def test_a_dag_state_whose_event_nobody_knows_beforehand_is_left_to_a_host(changes: dict[str, Any]) -> None:
    assert wait_of(DAG_STATE, **{**DAG_STATE_ARGUMENTS, **changes}) is None


# --- HTTP ---------------------------------------------------------------------------------------------------------


def test_an_http_sensor_is_a_probe_with_its_connection() -> None:
    wait = known(
        HTTP_SENSOR,
        endpoint="jobs/1",
        http_conn_id="api",
        method="POST",
        data={"a": 1},
        headers={"x": "y"},
        extra_options={"timeout": 5, "verify": False, "json": {"b": 2}},
        poke_interval=9.0,
    )
    assert (wait.probe.kind, wait.probe.connection_id) == ("http", "api")
    assert wait.probe.arguments == {
        "endpoint": "jobs/1",
        "method": "POST",
        "headers": {"x": "y"},
        "data": {"a": 1},
        "json": {"b": 2},
        "timeout_s": 5.0,
        "verify": False,
    }
    assert (wait.terms.poke_interval_s, wait.terms.event) == (9.0, True)


def test_an_http_sensor_says_nothing_about_what_it_was_not_told() -> None:
    wait = known(HTTP_SENSOR, endpoint=None, data=None, headers=None, extra_options={})
    assert wait.probe.arguments == {"endpoint": "", "method": "GET"}


@pytest.mark.parametrize("options", [{"proxies": {}}, {"timeout": [1, 2]}, {"allow_redirects": False}])
def test_an_http_sensor_with_options_of_its_library_is_left_to_a_host(options: dict[str, Any]) -> None:
    assert wait_of(HTTP_SENSOR, endpoint="x", extra_options=options) is None


# --- the other side of the border ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classpath", "kwargs"),
    [
        (DATE_TIME, {"moment": MOMENT}),
        (FILE, {"filepath": "/data/in"}),
        (WORKFLOW, WORKFLOW_ARGUMENTS),
        (DAG_STATE, DAG_STATE_ARGUMENTS),
        (HTTP_SENSOR, {"endpoint": "x", "extra_options": {"timeout": 5, "verify": True, "json": [1]}}),
    ],
)
def test_the_native_kind_reads_what_is_written_here(classpath: str, kwargs: dict[str, Any]) -> None:
    wait = known(classpath, **kwargs)
    kind = load_kinds()[wait.probe.kind]
    msgspec.convert(wait.probe.arguments, kind.spec)
    msgspec.convert(wait.terms.predicate, kind.predicate)
