"""TriggerDagRunOperator: what it asks of the daemon, and what becomes of the answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from .conftest import Compile, Process, StartProcess

DAG = """
from datetime import datetime
from airflow.sdk import DAG
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
with DAG("d") as dag:
    TriggerDagRunOperator(task_id="t", trigger_dag_id="other", %s)
"""


class Daemon:
    """Answers like the daemon; keeps the questions."""

    def __init__(self, **answer: Any) -> None:
        self.answer = {"run_id": "r1", "refused": None, "exists": False, "is_paused": False, **answer}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((kind, question))
        return self.answer


def start(process: StartProcess, arguments: str, daemon: Daemon) -> Process:
    started = process(DAG % arguments)
    started.runtime.set_supervisor(daemon)
    return started


def errors() -> Any:
    import airflow._leoflow.errors

    return airflow._leoflow.errors


def test_it_asks_for_a_run_and_pushes_its_id(process: StartProcess) -> None:
    daemon = Daemon()
    arguments = "trigger_run_id='x', logical_date='2024-01-01', conf={'a': 1}, reset_dag_run=True, note='n'"
    started = start(process, arguments, daemon)
    assert started.run("t") is None
    question = {
        "dag_id": "other",
        "run_id": "x",
        "logical_date": "2024-01-01T00:00:00+00:00",
        "run_after": None,
        "conf": {"a": 1},
        "reset": True,
        "note": "n",
    }
    assert daemon.asked == [("dag_run", question)]
    assert started.ti.pushed == {"trigger_run_id": "r1"}


def test_without_a_logical_date_it_is_now_and_with_none_there_is_none(process: StartProcess) -> None:
    daemon, before = Daemon(), datetime.now(UTC)
    start(process, "", daemon).run("t")
    start(process, "logical_date=None", daemon).run("t")
    (_, now), (_, none) = daemon.asked
    assert before <= datetime.fromisoformat(now["logical_date"]) <= datetime.now(UTC)
    assert none["logical_date"] is None


def test_waiting_for_the_run_is_a_native_wait_that_ends_the_task(process: StartProcess) -> None:
    states = "allowed_states=['success', 'failed'], failed_states=[]"
    arguments = f"wait_for_completion=True, deferrable=True, poke_interval=5, {states}"
    started = start(process, arguments, Daemon())
    with pytest.raises(errors().LeoflowDefer) as caught:
        started.run("t")
    wait = caught.value.wait
    assert caught.value.next_method is None
    assert wait["probe"]["kind"] == "external_task"
    assert (wait["probe"]["arguments"]["dag_id"], wait["probe"]["arguments"]["run_ids"]) == ("other", ["r1"])
    assert wait["terms"]["predicate"]["allowed_states"] == ["success", "failed"]
    assert wait["terms"]["predicate"]["failed_states"] == []
    assert (wait["terms"]["mode"], wait["terms"]["poke_interval_s"], wait["terms"]["timeout_s"]) == (
        "deferrable",
        5,
        None,
    )
    assert started.ti.pushed == {"trigger_run_id": "r1"}


@pytest.mark.parametrize(
    ("arguments", "answer", "error"),
    [
        ("", {"refused": "no such dag", "run_id": None}, "AirflowException"),
        ("", {"exists": True}, "AirflowFailException"),
        ("skip_when_already_exists=True", {"exists": True}, "AirflowSkipException"),
    ],
)
def test_a_run_that_was_not_started_ends_the_task(
    process: StartProcess, arguments: str, answer: dict[str, Any], error: str
) -> None:
    started = start(process, arguments, Daemon(**answer))
    with pytest.raises(errors().AirflowException) as caught:
        started.run("t")
    assert type(caught.value).__name__ == error
    assert started.ti.pushed == {}


def test_conf_must_be_json(process: StartProcess) -> None:
    with pytest.raises(ValueError, match="JSON"):
        start(process, "conf={'a': object()}", Daemon()).run("t")


def test_it_is_a_task_with_a_process(compiled: Compile) -> None:
    found = compiled(DAG % "conf={'at': '{{ ds }}'}").tasks[0]
    assert (found.kind, found.template_values["conf"]) == ("python", {"at": "{{ ds }}"})
    assert found.module == "airflow.providers.standard.operators.trigger_dagrun"


@pytest.mark.parametrize(
    ("arguments", "run_after", "logical_date"),
    [
        ("run_after='2030-01-01T05:00:00+05:00'", "2030-01-01T05:00:00+05:00", None),
        ("run_after=datetime(2030, 1, 1)", "2030-01-01T00:00:00+00:00", None),
        ("run_after='2030-01-01', logical_date='2029-01-01'", "2030-01-01T00:00:00+00:00", "2029-01-01T00:00:00+00:00"),
        ("run_after=None", None, None),
    ],
)
def test_a_run_may_be_asked_for_later_and_then_has_no_logical_date(
    process: StartProcess, arguments: str, run_after: str | None, logical_date: str | None
) -> None:
    daemon = Daemon()
    start(process, arguments, daemon).run("t")
    ((_, question),) = daemon.asked
    assert (question["run_after"], question["logical_date"]) == (run_after, logical_date)


def test_a_paused_dag_fails_the_task_where_that_is_asked_for(process: StartProcess) -> None:
    daemon = Daemon(is_paused=True)
    started = start(process, "fail_when_dag_is_paused=True", daemon)
    with pytest.raises(errors().AirflowException, match="Dag other is paused"):
        started.run("t")
    assert daemon.asked == [("dag", {"dag_id": "other"})], "no run was asked for"


ORDERED = """
from airflow import DAG
from airflow.operators.dagrun_operator import DagRunOrder, TriggerDagRunOperator

WANTED = %r

def order(context, dag_run_obj):
    if WANTED == "none":
        return None
    if WANTED == "own":
        return DagRunOrder(run_id="mine", payload={"n": 1})
    dag_run_obj.payload = {"n": 2}
    return dag_run_obj

with DAG("d"):
    TriggerDagRunOperator(task_id="t", trigger_dag_id="other", python_callable=order)
"""


@pytest.mark.parametrize(("wanted", "run_id", "conf"), [("own", "mine", {"n": 1}), ("given", "trig__", {"n": 2})])
def test_a_callable_of_airflow_1_orders_the_run(
    process: StartProcess, wanted: str, run_id: str, conf: dict[str, Any]
) -> None:
    daemon, started = Daemon(), process(ORDERED % wanted)
    started.runtime.set_supervisor(daemon)
    started.run("t")
    ((_, question),) = daemon.asked
    assert question["run_id"].startswith(run_id)
    assert question["conf"] == conf


def test_a_callable_that_orders_nothing_skips_the_task(process: StartProcess) -> None:
    daemon, started = Daemon(), process(ORDERED % "none")
    started.runtime.set_supervisor(daemon)
    with pytest.raises(errors().AirflowSkipException, match="asks for no run of dag 'other'"):
        started.run("t")
    assert daemon.asked == []


def test_a_callable_of_airflow_1_is_warned_of(compiled: Compile) -> None:
    (warning,) = [one for one in compiled(ORDERED % "own").warnings if "python_callable" in one.remedy + one.what]
    assert "pass conf={...}" in warning.remedy + warning.what
