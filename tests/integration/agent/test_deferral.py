"""Tasks that give their process back and go on in another one; and what a task may ask the daemon."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from leoflowd.contract.agent_messages import OutcomeKind, ResumeCall
from leoflowd.contract.connection import ConnectionFacts
from tests.fakes.fake_control_plane import Facts, TryFacts

from .harness import HEADER, run_one

DEFERRING = """
from airflow.sdk import BaseOperator, Connection

class Bell:
    def __init__(self, moment):
        self.moment = moment
    def serialize(self):
        return "bells.Bell", {"moment": self.moment, "kinds": {"a"}, "key": b"x"}

class Waiting(BaseOperator):
    template_fields = ("path",)
    def __init__(self, path="", **kwargs):
        super().__init__(**kwargs)
        self.path = path
    def execute(self, context):
        self.defer(trigger=Bell(datetime(2026, 1, 2, tzinfo=timezone.utc)), method_name="go_on",
                   kwargs={"pair": (1, timedelta(minutes=1))}, timeout=timedelta(hours=1))
    def go_on(self, context, event=None, pair=None):
        print("began", context["ti"].first_started_at)
        return [event, pair, self.path]

class Unserializable(Waiting):
    def execute(self, context):
        self.defer(trigger=Bell(object()), method_name="go_on")

class Native(Waiting):
    kind = "wait"
    def leoflow_wait(self):
        return {"probe": {"kind": "file", "arguments": {"path": self.path}}, "terms": {"timeout_s": 60}}

with DAG("d", params={"p": 1}) as dag:
"""


def ran(task: str, **spec: Any) -> TryFacts:
    header = HEADER.replace('\nwith DAG("d", params={"p": 1}) as dag:\n', DEFERRING)
    return run_one(task, header=header, kind=spec.pop("kind", "python"), **spec)


def resumed(**call: Any) -> ResumeCall:
    texts = {name: json.dumps(call.pop(name)) for name in ("next_kwargs", "event") if name in call}
    return ResumeCall(next_method="go_on", **texts, **call)


def test_an_operator_that_defers_says_for_what_and_how_it_goes_on() -> None:
    facts = ran('Waiting(task_id="run", path="/{{ ds }}")')
    assert facts.outcome.kind is OutcomeKind.DEFERRED, facts.events
    deferral = facts.outcome.deferral
    assert deferral is not None
    assert deferral.trigger is not None
    assert (deferral.trigger.classpath, deferral.next_method, deferral.timeout_s) == ("bells.Bell", "go_on", 3600.0)
    assert deferral.trigger.kwargs["moment"]["__classname__"] == "datetime.datetime"
    assert facts.rendered == {"path": "/2026-03-01"}


def test_it_goes_on_with_its_own_arguments_and_the_event() -> None:
    deferral = ran('Waiting(task_id="run")').outcome.deferral
    assert deferral is not None
    facts = ran(
        'Waiting(task_id="run", path="/{{ ds }}")',
        resume=resumed(next_kwargs=deferral.next_kwargs, event={"n": 1}),
        first_started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    event, pair, path = facts.xcoms["return_value"]
    assert (event, path) == ({"n": 1}, "/2026-03-01"), "templates are rendered again"
    assert [item if isinstance(item, int) else item["__data__"] for item in pair["__data__"]] == [1, 60.0]
    assert "began 2026-01-01 00:00:00+00:00" in facts.events


@pytest.mark.parametrize(
    ("error", "because"),
    [
        ("Trigger failure", "TaskDeferralError: Trigger failure"),
        ("Trigger timeout", "TaskDeferralTimeout: Trigger timeout"),
    ],
)
def test_a_trigger_that_failed_or_was_late_fails_the_task(error: str, because: str) -> None:
    outcome = ran('Waiting(task_id="run")', resume=resumed(error=error)).outcome
    assert (outcome.kind, outcome.because) == (OutcomeKind.FAILED, because)


def test_arguments_that_cannot_be_kept_fail_the_task_and_are_named() -> None:
    outcome = ran('Unserializable(task_id="run")').outcome
    assert outcome.kind is OutcomeKind.FAILED
    assert "argument of trigger bells.Bell['moment'] is of type builtins.object" in outcome.because


def test_a_native_sensor_is_rendered_in_the_process_and_waits_without_one() -> None:
    facts = ran('Native(task_id="run", path="/{{ macros.ds_add(ds, 1) }}")', kind="wait")
    assert facts.outcome.deferral is not None, facts.events
    assert facts.outcome.deferral.wait is not None
    assert facts.outcome.deferral.wait.probe.arguments == {"path": "/2026-03-02"}
    assert facts.rendered == {"path": "/2026-03-02"}


def test_a_native_sensor_with_on_execute_callback_is_called_by_its_process_and_then_waits_without_one() -> None:
    facts = ran(
        'Native(task_id="run", path="/x", on_execute_callback=lambda context: print("before", context["ti"].task_id))',
        kind="wait",
    )
    assert "before run" in facts.events
    assert facts.outcome.deferral is not None, facts.events
    assert facts.outcome.deferral.wait is not None


ASKING = """
@task
def run():
    from airflow.sdk import Connection
    found = Connection.get("api")
    print("the password is", found.password)
    logging.getLogger("x").warning("the token is %s", found.extra_dejson["token"])
    return [found.conn_type, found.host, found.port, found.schema]
run()
"""
API = ConnectionFacts(
    connection_id="api",
    conn_type="http",
    host="example.org",
    port=8080,
    password="open-sesame",
    extra='{"token": "abracadabra"}',
)


def test_a_connection_that_is_not_in_the_environment_is_asked_of_the_daemon() -> None:
    facts = run_one(ASKING, facts=Facts(connections={"api": API}))
    assert facts.xcoms["return_value"] == ["http", "example.org", 8080, None], facts.events


def test_its_secrets_are_hidden_in_output_and_log() -> None:
    facts = run_one(ASKING, facts=Facts(connections={"api": API}))
    assert {"the password is ***", "the token is ***"} <= set(facts.events)
    assert b"sesame" not in facts.log


def test_an_error_that_quotes_a_password_does_not_carry_it_out() -> None:
    tasks = """
    @task
    def run():
        from airflow.sdk import Connection
        raise ValueError("login failed: " + Connection.get("api").password)
    run()
    """
    facts = run_one(tasks, facts=Facts(connections={"api": API}))
    assert facts.outcome.because == "ValueError: login failed: ***"
    assert b"sesame" not in facts.log


def test_the_environment_comes_before_the_daemon() -> None:
    facts = run_one(ASKING, env={"AIRFLOW_CONN_API": "ftp://:pw-of-env@h:1/s?token=abcdef"}, facts=Facts())
    assert facts.xcoms["return_value"] == ["ftp", "h", 1, "s"], facts.events


@pytest.mark.parametrize(
    ("facts", "because"),
    [
        (Facts(), "The conn_id `api` isn't defined; add it"),
        (Facts(connections_refused="key k1 is missing"), "The connection `api` cannot be read: key k1 is missing"),
    ],
)
def test_why_a_connection_cannot_be_had(facts: Facts, because: str) -> None:
    assert because in run_one(ASKING, facts=facts).outcome.because


def test_dag_runs_are_started_and_instances_counted_by_the_daemon() -> None:
    tasks = """
    @task
    def run():
        from airflow._leoflow import supervisor
        moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
        started = supervisor.ask("dag_run", {"dag_id": "other", "run_id": "r", "logical_date": moment})
        counted = supervisor.ask("counts", {"dag_id": "other", "logical_dates": [moment], "states": ["success"]})
        return [started["run_id"], started["exists"], counted["count"]]
    run()
    """
    known = Facts(count=3)
    assert run_one(tasks, facts=known).xcoms["return_value"] == ["r", False, 3]
    assert known.dag_runs[0].logical_date == known.counts[0].logical_dates[0] == datetime(2026, 1, 1, tzinfo=UTC)
