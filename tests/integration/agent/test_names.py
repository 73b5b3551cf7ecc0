"""Names that tasks find on their operator, instance, run and DAG, as in Airflow, in one real try on the shim."""

from __future__ import annotations

from leoflowd.contract.agent_messages import OutcomeKind
from tests.fakes.fake_control_plane import Facts

from .harness import TryFacts, run_one

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
        try:
            ti.get_task_states("d")
        except RuntimeError as error:
            assert "get_ti_count" in str(error)
        else:
            raise AssertionError("get_task_states() answered")
        connection = Connection("c", "http", host="h", port=80, extra={"a": 1})
        assert json.loads(connection.as_json()) == {"conn_type": "http", "host": "h", "port": 80, "extra": {"a": 1}}
        assert connection.to_dict()["conn_id"] == "c"
        assert Connection.from_uri(connection.get_uri(), "c").extra_dejson == {"a": 1}
        return counted
    BashOperator(task_id="other", bash_command="true") >> run()
"""


def test_names_of_the_task_are_there_as_in_airflow() -> None:
    facts = Facts(count=3)
    ran: TryFacts = run_one(TASKS, facts=facts, dag_run={"state": "running"})
    assert ran.outcome.kind is OutcomeKind.SUCCESS, ran.outcome.because
    assert ran.xcoms["return_value"] == [3, 3]
    asked = [(ask.task_ids, ask.run_ids, ask.states) for ask in facts.counts]
    assert asked == [(("run",), (), ("success",)), (None, ("r",), ()), (None, ("r",), ("running",))]
