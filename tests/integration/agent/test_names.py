"""Names that tasks find on their operator, instance, run and DAG, as in Airflow, in one real try on the shim."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from leoflowd.contract.agent_messages import InstanceFacts, OutcomeKind, PreviousInstanceAsk, StatesAsk
from tests.fakes.fake_control_plane import Facts

from .harness import LOGICAL_DATE, TryFacts, run_one

FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)

TASKS = """
    @task(trigger_rule="all_done", owner="ann")
    def run(ti, task, dag, dag_run):
        from airflow.exceptions import DagRunNotFound
        from airflow.sdk import Connection, DagRunState, TaskInstanceState, TriggerRule
        from airflow.utils.types import DagRunType

        context = get_current_context()
        assert ti.state is TaskInstanceState.RUNNING
        assert dag_run.run_type is DagRunType.MANUAL
        assert dag_run.state is DagRunState.RUNNING
        assert dag_run.consumed_asset_events == []
        assert task.trigger_rule is TriggerRule.ALL_DONE
        assert not task.inherits_from_empty_operator
        assert dag.owner == "airflow, ann"
        assert dag.folder == os.path.dirname(dag.fileloc)
        assert ti.log_url == ti.mark_success_url
        assert ti.log_url.endswith("/dags/d/runs/manual__1/tasks/run?try_number=1")
        template = {"a": ["{{ ti.task_id }}", task.output], "b": 1}
        assert task.render_template(template, context) == {"a": ["run", None], "b": 1}
        assert task.render_template("{{ x }}", {"x": 5}) == "5"
        environment = task.get_template_env()
        assert environment.from_string("{{ 'y' | upper }}").render() == "Y"
        assert task.render_template("{{ z }}", {"z": 1}, environment.overlay(variable_end_string="}}")) == "1"
        counted = [
            ti.get_ti_count("d", task_ids=["run"], states=["success"]),
            ti.get_dr_count("d", run_ids=["r"]),
        ]
        state = ti.get_dagrun_state("d", "r")
        assert state is DagRunState.RUNNING
        moment = datetime(2026, 2, 1, tzinfo=timezone.utc)
        states = ti.get_task_states("d", map_index=0, task_ids=["a", "m"], run_ids=["r1"], logical_dates=[moment])
        assert states == {"r1": {"a": "success", "m_0": None}}
        before = ti.get_previous_ti(state=TaskInstanceState.SUCCESS)
        assert (before.run_id, before.state, before.duration) == ("r0", "success", 1.5)
        assert before.end_date - before.start_date == timedelta(seconds=1.5)
        ti.get_previous_ti(logical_date=moment, map_index=3)
        connection = Connection("c", "http", host="h", port=80, extra={"a": 1})
        assert json.loads(connection.as_json()) == {"conn_type": "http", "host": "h", "port": 80, "extra": {"a": 1}}
        assert connection.to_dict()["conn_id"] == "c"
        assert Connection.from_uri(connection.get_uri(), "c").extra_dejson == {"a": 1}
        return counted
    BashOperator(task_id="other", bash_command="true") >> run()
"""


def test_names_of_the_task_are_there_as_in_airflow() -> None:
    before = InstanceFacts(
        dag_id="d",
        run_id="r0",
        task_id="run",
        map_index=-1,
        logical_date=LOGICAL_DATE - timedelta(days=1),
        state="success",
        try_number=1,
        start_date=LOGICAL_DATE,
        end_date=LOGICAL_DATE + timedelta(seconds=1.5),
        duration=1.5,
    )
    facts = Facts(count=3, instance=before)
    ran: TryFacts = run_one(TASKS, facts=facts, dag_run={"state": "running"})
    assert ran.outcome.kind is OutcomeKind.SUCCESS, ran.outcome.because
    assert ran.xcoms["return_value"] == [3, 3]
    asked = [(ask.task_ids, ask.run_ids, ask.states) for ask in facts.counts]
    assert asked == [(("run",), (), ("success",)), (None, ("r",), ()), (None, ("r",), ("running",))]
    one = {"dag_id": "d", "task_id": "run"}
    assert facts.states == [
        StatesAsk(
            request_id=facts.states[0].request_id,
            dag_id="d",
            map_index=0,
            task_ids=("a", "m"),
            run_ids=("r1",),
            logical_dates=(FEBRUARY,),
        ),
        PreviousInstanceAsk(request_id=facts.states[1].request_id, logical_date=LOGICAL_DATE, state="success", **one),
        PreviousInstanceAsk(request_id=facts.states[2].request_id, logical_date=FEBRUARY, map_index=3, **one),
    ]


def test_a_run_without_a_logical_date_says_why_ds_is_undefined() -> None:
    task = 'BashOperator(task_id="run", bash_command="echo {{ ds }}")\n'
    no_date = {"logical_date": None, "data_interval_start": None, "data_interval_end": None}
    ran = run_one(task, dag_run=no_date, kind="bash", operator="BashOperator")
    assert ran.outcome.kind is OutcomeKind.FAILED
    assert "'ds' is undefined (this dag run was started without a logical date" in ran.outcome.because
    assert any("--logical-date" in event for event in ran.events), "the log says it as well"


LINKED = """
    from airflow.sdk import BaseOperator, BaseOperatorLink

    class Job(BaseOperatorLink):
        name = "The job"

        def get_link(self, operator, *, ti_key):
            return f"https://jobs.example/{{operator.job}}?run={{ti_key.run_id}}"

    class Own(BaseOperatorLink):
        name, xcom_key = "Own key", "link_of_mine"

        def get_link(self, operator, *, ti_key):
            return "https://own.example"

    class Broken(BaseOperatorLink):
        name = "Broken"

        def get_link(self, operator, *, ti_key):
            raise ValueError("no job yet")

    class Start(BaseOperator):
        operator_extra_links = (Broken(), Job(), Own())

        def execute(self, context):
            self.job = 7
            {end}

    Start(task_id="run")
"""


@pytest.mark.parametrize(
    ("end", "kind"), [("return None", OutcomeKind.SUCCESS), ("raise ValueError('it broke')", OutcomeKind.FAILED)]
)
def test_links_of_an_operator_are_pushed_when_it_has_run_however_it_ended(end: str, kind: OutcomeKind) -> None:
    ran = run_one(LINKED.format(end=end), operator="Start")
    assert ran.outcome.kind is kind, ran.outcome.because
    assert ran.xcoms == {"_link_Job": "https://jobs.example/7?run=manual__1", "link_of_mine": "https://own.example"}
    assert any("the link Broken failed" in event for event in ran.events)


def test_links_that_cannot_be_listed_change_nothing_for_the_task() -> None:
    listed = "operator_extra_links = (Broken(), Job(), Own())"
    property_ = "operator_extra_links = property(lambda self: self.links)"
    ran = run_one(LINKED.format(end="return 1").replace(listed, property_), operator="Start")
    assert ran.outcome.kind is OutcomeKind.SUCCESS, ran.outcome.because
    assert ran.xcoms == {"return_value": 1}
    assert any("operator_extra_links failed" in event for event in ran.events)
