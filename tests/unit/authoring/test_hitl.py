"""Human-in-the-loop operators on the shim: what is refused, what is asked, what becomes of an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from leoflow_agent.runner import deferral
from leoflowd.contract.human import HUMAN_KIND, Person, Question
from leoflowd.contract.wait_spec import Deferral, WaitTerms
from leoflowd.core.known_triggers import native_wait

from .conftest import Compile, Process, Refuse, StartProcess

IMPORTS = """
from datetime import timedelta
from airflow.sdk import DAG, Param
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import (
    ApprovalOperator, HITLBranchOperator, HITLEntryOperator, HITLOperator,
)
"""
DAG = (
    IMPORTS
    + """
with DAG("d", params={"of_the_dag": 1, "size": 2}):
    ask = HITLOperator(
        task_id="ask", subject="Which?", body="*one*", options=["a", "b"], defaults="a",
        params={"zone": Param("eu", type="string"), "size": Param(3, type="integer", description="how many")},
        assigned_users={"id": "anna", "name": "Anna"}, response_timeout=timedelta(hours=1),
    )
    go = ApprovalOperator(task_id="go", subject="Go?")
    strict = ApprovalOperator(task_id="strict", subject="Go?", fail_on_reject=True)
    deep = ApprovalOperator(task_id="deep", subject="Go?", ignore_downstream_trigger_rules=True)
    turn = HITLBranchOperator(task_id="turn", subject="Where?", options=["left", "r", "s"], multiple=True,
                              options_mapping={"left": "l"})
    form = HITLEntryOperator(task_id="form", subject="Fill in", params={"n": 1})
    l, r, s, late = (EmptyOperator(task_id=t) for t in ("l", "r", "s", "late"))
    turn >> [l, r, s]
    go >> l >> late
    deep >> l
"""
)
EVENT: dict[str, Any] = {
    "params_input": {},
    "responded_at": datetime(2026, 1, 1, tzinfo=UTC),
    "responded_by_user": {"id": "anna", "name": "Anna"},
    "timedout": False,
}


def asked(process: Process, task_id: str) -> Question:
    """The question, as the daemon reads it from the outcome of the first process."""
    with pytest.raises(BaseException) as caught:
        process.run(task_id)
    sent = msgspec.json.decode(deferral.text(deferral.of_task(caught.value)), type=Deferral)
    assert sent.trigger is not None
    assert (sent.next_method, sent.timeout_s) == ("execute_complete", None)
    wait = native_wait(sent.trigger, WaitTerms(timeout_s=None))
    assert wait is not None
    assert wait.probe.kind == HUMAN_KIND
    return msgspec.convert(wait.probe.arguments, Question)


def answered(process: Process, task_id: str, *chosen: str, **changes: Any) -> Any:
    process.ti.task = process.task(task_id)
    event = {**EVENT, "chosen_options": list(chosen), **changes}
    return process.runtime.resume(process.ti.task, process.context, "execute_complete", {"event": event})


def skipped_by(process: Process, task_id: str, *chosen: str) -> tuple[set[str], Any]:
    import airflow._leoflow.errors

    with pytest.raises(airflow._leoflow.errors.DownstreamTasksSkipped) as caught:
        answered(process, task_id, *chosen)
    return set(caught.value.tasks), process.ti.pushed["skipmixin_key"]


# --- what is asked -----------------------------------------------------------------------------------------------


def test_the_question_has_all_that_was_written_and_only_the_tasks_own_params(process: StartProcess) -> None:
    before = datetime.now(UTC)
    found = asked(process(DAG), "ask")
    assert found.respond_by is not None
    assert before + timedelta(hours=1) <= found.respond_by <= datetime.now(UTC) + timedelta(hours=1)
    assert msgspec.structs.replace(found, respond_by=None) == Question(
        subject="Which?",
        body="*one*",
        options=("a", "b"),
        defaults=("a",),
        params={
            "zone": {"value": "eu", "description": None, "schema": {"type": "string"}, "source": "task"},
            "size": {"value": 3, "description": "how many", "schema": {"type": "integer"}, "source": "task"},
        },
        assigned_users=(Person(id="anna", name="Anna"),),
    )
    assert list(found.params) == ["zone", "size"]


def test_an_entry_has_one_option_which_is_its_default(process: StartProcess) -> None:
    found = asked(process(DAG), "form")
    assert (found.options, found.defaults, found.respond_by) == (("OK",), ("OK",), None)


def test_an_approval_has_two_options(process: StartProcess) -> None:
    assert asked(process(DAG), "go").options == ("Approve", "Reject")


def test_each_instance_of_a_mapped_task_asks_its_own_question(process: StartProcess) -> None:
    text = IMPORTS + (
        "with DAG('d'):\n    HITLOperator.partial(task_id='each', options=['a'], execution_timeout=timedelta(hours=1))"
        ".expand(subject=['x', 'y'])\n"
    )
    loaded = process(text)
    operator, _ = loaded.runtime.unmap(loaded.task("each"), 1, lambda *_: None)
    assert (operator.subject, operator.response_timeout, operator.execution_timeout) == ("y", timedelta(hours=1), None)


# --- what is compiled --------------------------------------------------------------------------------------------


def test_execution_timeout_becomes_the_time_to_answer_in(compiled: Compile) -> None:
    text = IMPORTS + (
        "with DAG('d', default_args={'execution_timeout': timedelta(hours=2)}):\n"
        "    HITLOperator(task_id='one', subject='s', options=['a'])\n"
        "    HITLOperator.partial(task_id='many', options=['a']).expand(subject=['x'])\n"
        "    HITLOperator(task_id='both', subject='s', options=['a'], response_timeout=timedelta(1))\n"
    )
    spec = compiled(text)
    limits = {task.task_id: task.execution_timeout_s for task in spec.tasks}
    assert limits == {"one": None, "many": None, "both": 7200.0}
    assert any("response_timeout" in warning.remedy for warning in spec.warnings)


def test_what_skips_is_known_to_decide(compiled: Compile) -> None:
    decides = {task.task_id: task.decides for task in compiled(DAG).tasks}
    assert (decides["go"], decides["turn"], decides["ask"]) == (True, True, False)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("HITLOperator(task_id='t', subject='s', options=[])", "cannot be empty"),
        ("HITLOperator(task_id='t', subject='s', options=['a'], defaults='b')", "should be a subset"),
        ("HITLOperator(task_id='t', subject='s', options=['a', 'b'], defaults=['a', 'b'])", "More than one defaults"),
        ("HITLOperator(task_id='t', subject='s', options=['a'], params={'_options': 1})", "not allowed in params"),
        ("HITLOperator(task_id='t', subject='s', options=['a'], assigned_users=['anna'])", "assigned_users"),
        ("ApprovalOperator(task_id='t', subject='s', options=['a'])", "Passing options to ApprovalOperator"),
        ("ApprovalOperator(task_id='t', subject='s', multiple=True)", "Passing multiple to ApprovalOperator"),
        ("HITLBranchOperator(task_id='t', subject='s', options=['a'], options_mapping={'b': 't'})", "not in `options`"),
        ("HITLBranchOperator(task_id='t', subject='s', options=['a'], options_mapping={'a': 1})", "must be strings"),
    ],
)
def test_what_airflow_refuses_when_it_is_made_is_refused_with_its_line(refused: Refuse, line: str, why: str) -> None:
    text = IMPORTS + f"with DAG('d'):\n    {line}\n"
    error = refused(text)
    assert why in str(error)
    assert error.line == text.lstrip().count("\n")


NOTIFIED = (
    IMPORTS
    + """
from airflow.sdk import BaseNotifier
class Told(BaseNotifier):
    def notify(self, context): context["ti"].xcom_push("told", True)
def broken(context): raise ValueError("nobody is told")
with DAG("d"):
    HITLOperator(task_id="ask", subject="s", options=["a"], notifiers=Told())
    HITLOperator(task_id="breaks", subject="s", options=["a"], notifiers=[broken])
"""
)


def test_notifiers_are_called_where_the_question_is_asked(compiled: Compile, process: StartProcess) -> None:
    assert compiled(NOTIFIED).environment.connectors == ()
    started = process(NOTIFIED)
    assert asked(started, "ask").subject == "s"
    assert started.ti.pushed == {"told": True}


def test_a_notifier_that_breaks_fails_the_task_as_in_airflow(process: StartProcess) -> None:
    with pytest.raises(ValueError, match="nobody is told"):
        process(NOTIFIED).run("breaks")


# --- what becomes of an answer -----------------------------------------------------------------------------------


def test_the_answer_is_the_output(process: StartProcess) -> None:
    entered = {"zone": "us", "size": 4}
    assert answered(process(DAG), "ask", "b", params_input=entered) == {
        "chosen_options": ["b"],
        "params_input": entered,
        "responded_at": EVENT["responded_at"],
        "responded_by_user": EVENT["responded_by_user"],
    }


@pytest.mark.parametrize(
    ("chosen", "entered"), [("z", {}), ("a", {"zone": "us"}), ("a", {"zone": "us", "size": 1, "x": 1})]
)
def test_an_answer_that_does_not_fit_fails_the_task(
    process: StartProcess, chosen: str, entered: dict[str, Any]
) -> None:
    loaded = process(DAG)
    with pytest.raises(ValueError, match=r"not in|does not match"):
        answered(loaded, "ask", chosen, params_input=entered)


def test_nobody_answered_in_time(process: StartProcess) -> None:
    loaded = process(DAG)
    import airflow._leoflow.hitl

    with pytest.raises(airflow._leoflow.hitl.HITLTimeoutError):
        answered(loaded, "ask", error="The timeout has passed", error_type="timeout")


def test_an_approval_goes_on(process: StartProcess) -> None:
    assert answered(process(DAG), "go", "Approve")["chosen_options"] == ["Approve"]


def test_a_rejection_skips_what_is_directly_downstream_or_all(process: StartProcess) -> None:
    assert skipped_by(process(DAG), "go", "Reject") == ({"l"}, {"skipped": ["l"]})
    assert skipped_by(process(DAG), "deep", "Reject")[0] == {"l", "late"}


def test_a_rejection_fails_the_task_if_that_is_wanted(process: StartProcess) -> None:
    loaded = process(DAG)
    import airflow._leoflow.hitl

    with pytest.raises(airflow._leoflow.hitl.HITLRejectException):
        answered(loaded, "strict", "Reject")


@pytest.mark.parametrize(("chosen", "skipped"), [(["left"], {"r", "s"}), (["r"], {"l", "s"}), (["left", "s"], {"r"})])
def test_a_branch_follows_the_options(process: StartProcess, chosen: list[str], skipped: set[str]) -> None:
    found, choice = skipped_by(process(DAG), "turn", *chosen)
    assert found == skipped
    assert set(choice["followed"]) == {"l", "r", "s"} - skipped


def test_a_link_leads_to_the_page_with_an_answer_filled_in(process: StartProcess) -> None:
    loaded = process(DAG)
    task, ti = loaded.task("ask"), loaded.ti
    ti.dag_id, ti.run_id, ti.task_id = "d", "r1", "ask"
    link = task.generate_link_to_ui(task_instance=ti, base_url="https://a.example", options="b")
    assert link == "https://a.example/dags/d/runs/r1/tasks/ask/required_actions?_options=%5B%27b%27%5D&map_index=-1"
    with pytest.raises(ValueError, match="not valid"):
        task.generate_link_to_ui(task_instance=ti, base_url="https://a.example", options="z")
