# ruff: noqa: E501 - DAG texts and tables, one case per line
"""Each construct of Airflow that we support, and what it becomes in the artifact."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from leoflowd.authoring.compiler import compile_project
from leoflowd.contract.dag_spec import (
    CronTimetable,
    DagSpec,
    DatesTimetable,
    DeltaTimetable,
    EdgeLabel,
    TaskSpec,
    XComRef,
    encode_canonical,
)

from .conftest import Compile, MakeProject

HEAD = """
from datetime import datetime, timedelta
from airflow.sdk import *
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
"""


def tasks(spec: DagSpec) -> dict[str, TaskSpec]:
    return {task.task_id: task for task in spec.tasks}


def edges(spec: DagSpec) -> set[str]:
    return {f"{before}>{task.task_id}" for task in spec.tasks for before in task.upstream_task_ids}


def body(*lines: str, head: str = HEAD, dag: str = 'DAG("d")') -> str:
    return head + f"with {dag} as dag:\n" + "".join(f"    {line}\n" for line in lines)


EMPTY = [f'{name} = EmptyOperator(task_id="{name}")' for name in "abcd"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a >> b >> c"], {"a>b", "b>c"}),
        (["a << b"], {"b>a"}),
        (["a >> [b, c]", "[b, c] >> d"], {"a>b", "a>c", "b>d", "c>d"}),
        (["[a, b] << c"], {"c>a", "c>b"}),
        (["a.set_downstream([b, c])", "d.set_upstream(a)"], {"a>b", "a>c", "a>d"}),
        (["chain(a, [b, c], d)"], {"a>b", "a>c", "b>d", "c>d"}),
        (["chain([a, b], [c, d])"], {"a>c", "b>d"}),
        (["chain_linear([a, b], [c, d])"], {"a>c", "a>d", "b>c", "b>d"}),
        (["cross_downstream([a, b], [c, d])"], {"a>c", "a>d", "b>c", "b>d"}),
    ],
)
def test_dependencies_become_upstream_ids(compiled: Compile, lines: list[str], expected: set[str]) -> None:
    assert edges(compiled(body(*EMPTY, *lines))) == expected


def test_a_label_stands_on_its_edge(compiled: Compile) -> None:
    spec = compiled(body(*EMPTY, 'a >> Label("yes") >> [b, c]', 'chain(a, [Label("x"), Label("y")], [c, d])'))
    assert edges(spec) == {"a>b", "a>c", "a>d"}
    assert spec.edge_labels == (
        EdgeLabel(upstream_id="a", downstream_id="b", label="yes"),
        EdgeLabel(upstream_id="a", downstream_id="c", label="x"),
        EdgeLabel(upstream_id="a", downstream_id="d", label="y"),
    )


def test_a_decorated_function_becomes_a_task_each_time_it_is_called(compiled: Compile) -> None:
    spec = compiled(
        body("@task", "def f(x):", '    "Doc."', "f(1)", "f(2)", "f(3)", 'f.override(task_id="g", retries=4)(5)')
    )
    assert list(tasks(spec)) == ["f", "f__1", "f__2", "g"]
    assert tasks(spec)["g"].retries == 4
    assert tasks(spec)["f"].operator == "_PythonDecoratedOperator"
    assert tasks(spec)["f"].doc_md == "Doc."
    assert tasks(spec)["f__1"].template_values["op_args"] == [2]


def test_outputs_may_stand_anywhere_in_arguments(compiled: Compile) -> None:
    spec = compiled(
        body(
            "@task",
            "def one(): ...",
            "@task",
            "def all_of(*args, **kwargs): ...",
            "x, y, z = one(), one(), one()",
            'all_of([x], {"deep": (y["k"], 1)}, text=f"say {z}", plain=EmptyOperator(task_id="e").output)',
        )
    )
    task = tasks(spec)["all_of"]
    assert task.upstream_task_ids == ("e", "one", "one__1")
    assert task.xcom_refs == (
        XComRef(task_id="e"),
        XComRef(task_id="one"),
        XComRef(task_id="one__1", key="k"),
    )
    assert task.template_values["op_args"][0] == [
        "{{ task_instance.xcom_pull(task_ids='one', dag_id='d', key='return_value') }}"
    ]


def test_map_reduce_over_a_list_comprehension_keeps_a_list_of_one(compiled: Compile) -> None:
    spec = compiled(body("@task", "def f(x): ...", "@task", "def total(xs): ...", "total([f(i) for i in range(1)])"))
    assert edges(spec) == {"f>total"}
    assert len(tasks(spec)["total"].template_values["op_args"][0]) == 1


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [("dict[str, int]", True), ("dict", True), ("Out", True), ("list", False), ("int", False), ("Unknown", False)],
)
def test_multiple_outputs_follow_the_return_annotation(compiled: Compile, annotation: str, expected: bool) -> None:
    head = (
        "from __future__ import annotations\n"
        + HEAD
        + "from typing import TypedDict\nclass Out(TypedDict):\n    a: int\n"
    )
    spec = compiled(body("@task", f"def f() -> {annotation}: ...", "f()", head=head))
    assert tasks(spec)["f"].multiple_outputs is expected


def test_a_bash_function_is_a_bash_task(compiled: Compile) -> None:
    spec = compiled(body("@task.bash(env={'A': 'b'})", "def f(x): return 'echo'", "f(1)"))
    task = tasks(spec)["f"]
    assert (task.kind, task.operator) == ("bash", "_BashDecoratedOperator")
    assert task.template_fields == ("op_args", "op_kwargs", "bash_command", "env", "cwd")


def test_a_dag_function_makes_a_dag_with_params(compiled: Compile) -> None:
    spec = compiled(
        HEAD
        + """
@dag(schedule=None, tags=["b", "a"])
def my_dag(email="x@y", n: int = 3):
    "About."
    @task
    def f(e): ...
    f(email)
my_dag()
"""
    )
    assert (spec.dag_id, spec.doc_md, spec.tags) == ("my_dag", "About.", ("a", "b"))
    assert spec.params["n"] == {"value": 3, "description": None, "schema": {}, "source": "dag"}
    assert spec.tasks[0].template_values["op_args"] == ["{{ params.email }}"]


def test_default_args_flow_from_dag_to_group_to_task(compiled: Compile) -> None:
    spec = compiled(
        body(
            'with TaskGroup("g", default_args={"retries": 2, "owner": "g"}):',
            '    EmptyOperator(task_id="a")',
            '    EmptyOperator(task_id="b", retries=3)',
            '    EmptyOperator(task_id="c", default_args={"retries": 9})',
            'EmptyOperator(task_id="z")',
            dag='DAG("d", default_args={"retries": 1, "retry_delay": timedelta(seconds=7), "unknown_to_all": 1})',
        )
    )
    found = tasks(spec)
    assert [found[name].retries for name in ("g.a", "g.b", "g.c", "z")] == [2, 3, 9, 1]
    assert {task.retry_delay_s for task in spec.tasks} == {7.0}
    assert found["g.a"].owner == "g"
    assert spec.default_args == {"retries": 1, "retry_delay": "0:00:07", "unknown_to_all": 1}


def test_groups_nest_prefix_and_connect(compiled: Compile) -> None:
    spec = compiled(
        body(
            'start, end = EmptyOperator(task_id="start"), EmptyOperator(task_id="end")',
            'with TaskGroup("out", tooltip="tip") as out:',
            '    a = EmptyOperator(task_id="a")',
            '    with TaskGroup("inner", prefix_group_id=False) as inner:',
            '        b = EmptyOperator(task_id="b")',
            "    a >> inner",
            "start >> out >> end",
        )
    )
    assert edges(spec) == {"start>out.a", "out.a>b", "b>end"}
    out, inner = sorted(spec.groups, key=lambda group: group.group_id)
    assert (out.group_id, out.tooltip, out.upstream_ids, out.downstream_ids) == ("out", "tip", ("start",), ("end",))
    assert (inner.group_id, inner.parent_group_id, inner.upstream_ids) == ("out.inner", "out", ("out.a",))
    assert tasks(spec)["b"].group_id == "out.inner"


def test_a_group_function_may_be_called_twice(compiled: Compile) -> None:
    spec = compiled(body("@task", "def f(x): ...", "@task_group", "def g(x):", "    return f(x)", "g(1) >> g(2)"))
    assert edges(spec) == {"g.f>g__1.f"}
    assert [group.group_id for group in spec.groups] == ["g", "g__1"]


def test_teardown_gives_way_to_the_work_of_its_group(compiled: Compile) -> None:
    spec = compiled(
        body(
            'with TaskGroup("g") as g:',
            '    s = EmptyOperator(task_id="s").as_setup()',
            '    w = EmptyOperator(task_id="w")',
            '    t = EmptyOperator(task_id="t")',
            "    s >> w >> t.as_teardown(setups=s, on_failure_fail_dagrun=True)",
            'g >> EmptyOperator(task_id="after")',
        )
    )
    teardown = tasks(spec)["g.t"]
    assert edges(spec) == {"g.s>g.w", "g.w>g.t", "g.s>g.t", "g.w>after"}
    assert (teardown.trigger_rule, teardown.is_teardown, teardown.on_failure_fail_dagrun) == (
        "all_done_setup_success",
        True,
        True,
    )
    assert tasks(spec)["g.s"].is_setup


def test_setup_and_teardown_decorate_functions(compiled: Compile) -> None:
    spec = compiled(
        body(
            "@setup",
            "def s(): ...",
            "@teardown(on_failure_fail_dagrun=True)",
            "@task(retries=2)",
            "def t(): ...",
            "s() >> t()",
        )
    )
    assert tasks(spec)["s"].is_setup
    assert (tasks(spec)["t"].is_teardown, tasks(spec)["t"].retries) == (True, 2)


@pytest.mark.parametrize(
    ("schedule", "expected", "summary"),
    [
        ("'0 6 * * 1-5'", CronTimetable(expression="0 6 * * 1-5", timezone="Europe/Berlin"), "0 6 * * 1-5"),
        ("'@daily'", CronTimetable(expression="0 0 * * *", timezone="Europe/Berlin"), "@daily"),
        ("timedelta(days=1)", DeltaTimetable(seconds=86400.0), "1 day, 0:00:00"),
        (
            "relativedelta(months=1, days=2)",
            DeltaTimetable(seconds=172800.0, months=1),
            "relativedelta(months=+1, days=+2)",
        ),
        (
            "DeltaDataIntervalTimetable(timedelta(hours=1))",
            DeltaTimetable(seconds=3600.0, data_interval=True),
            "1:00:00",
        ),
        (
            "CronDataIntervalTimetable('@hourly', timezone='UTC')",
            CronTimetable(expression="0 * * * *", data_interval=True),
            "@hourly",
        ),
        (
            "CronTriggerTimetable('0 1 * * *', timezone='UTC', interval=timedelta(hours=1), run_immediately=True)",
            CronTimetable(expression="0 1 * * *", interval_s=3600.0, run_immediately=True),
            "0 1 * * *",
        ),
        (
            "EventsTimetable([datetime(2024, 2, 1), datetime(2024, 1, 1)], description='x')",
            DatesTimetable(dates=(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)), description="x"),
            "x",
        ),
    ],
)
def test_schedules(compiled: Compile, schedule: str, expected: object, summary: str) -> None:
    head = HEAD + "from dateutil.relativedelta import relativedelta\nfrom zoneinfo import ZoneInfo\n"
    dag = f'DAG("d", schedule={schedule}, start_date=datetime(2024, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")))'
    spec = compiled(body(EMPTY[0], head=head, dag=dag))
    assert spec.timetable_summary == summary
    assert spec.start_date is not None
    assert (spec.start_date.isoformat(), spec.timezone) == ("2024-01-01T11:00:00+00:00", "Europe/Berlin")
    assert spec.timetable == expected


def test_no_schedule_once_and_continuous(compiled: Compile) -> None:
    for schedule, expected in (
        ("None", "none"),
        ("'@once'", "once"),
        ("'@continuous', max_active_runs=1", "continuous"),
    ):
        spec = compiled(body(EMPTY[0], dag=f'DAG("d", schedule={schedule})'))
        assert spec.timetable.__struct_config__.tag == expected


def test_params_keep_their_schema(compiled: Compile) -> None:
    spec = compiled(
        body(
            'EmptyOperator(task_id="a", params={"own": 2})',
            dag='DAG("d", params={"x": Param(1, "words", type="integer", minimum=0), "y": [1]})',
        )
    )
    assert spec.params["x"] == {
        "value": 1,
        "description": "words",
        "schema": {"type": "integer", "minimum": 0},
        "source": "dag",
    }
    assert spec.tasks[0].params == {"own": {"value": 2, "description": None, "schema": {}, "source": "task"}}


def test_every_task_argument_arrives(compiled: Compile) -> None:
    arguments = """retries=2, retry_delay=30, retry_exponential_backoff=True, max_retry_delay=timedelta(minutes=9),
        execution_timeout=timedelta(seconds=5), depends_on_past=True, wait_for_downstream=True,
        ignore_first_depends_on_past=True, priority_weight=-3, weight_rule=WeightRule.ABSOLUTE, queue="q", pool="p",
        pool_slots=2, trigger_rule=TriggerRule.ONE_FAILED, max_active_tis_per_dag=4, max_active_tis_per_dagrun=5,
        do_xcom_push=False, multiple_outputs=True, owner="me", start_date=datetime(2024, 1, 1), end_date=datetime(2025, 1, 1),
        task_display_name="Shown", doc_yaml="a: 1" """
    task = compiled(body(f'BashOperator(task_id="a", bash_command="date", {arguments})')).tasks[0]
    assert (task.retries, task.retry_delay_s, task.retry_exponential_backoff, task.max_retry_delay_s) == (
        2,
        30.0,
        2.0,
        540.0,
    )
    assert (task.execution_timeout_s, task.depends_on_past, task.wait_for_downstream) == (5.0, True, True)
    assert (task.ignore_first_depends_on_past, task.priority_weight, task.weight_rule) == (True, -3, "absolute")
    assert (task.queue, task.pool, task.pool_slots, task.trigger_rule) == ("q", "p", 2, "one_failed")
    assert (task.max_active_tis_per_dag, task.max_active_tis_per_dagrun, task.do_xcom_push) == (4, 5, False)
    assert (task.multiple_outputs, task.owner, task.task_display_name) == (True, "me", "Shown")
    assert (task.start_date is not None, task.end_date is not None, task.doc_md) == (True, True, "```yaml\na: 1\n```")
    assert task.template_values == {"bash_command": "date", "env": None, "cwd": None}
    assert task.module == "airflow.providers.standard.operators.bash"


def test_every_dag_argument_arrives(compiled: Compile) -> None:
    arguments = """description="D", end_date=datetime(2030, 1, 1), template_searchpath="sql", max_active_tasks=3, max_active_runs=2,
        max_consecutive_failed_dag_runs=4, dagrun_timeout=timedelta(hours=1), catchup=True, is_paused_upon_creation=True,
        render_template_as_native_obj=True, owner_links={"me": "mailto:me@x"}, fail_fast=True, dag_display_name="Shown" """
    spec = compiled(body(EMPTY[0], "dag.doc_md = 'set later'", dag=f'DAG("d", {arguments})'))
    assert (spec.description, spec.template_searchpath, spec.max_active_tasks, spec.max_active_runs) == (
        "D",
        ("sql",),
        3,
        2,
    )
    assert (spec.max_consecutive_failed_dag_runs, spec.dagrun_timeout_s, spec.catchup) == (4, 3600.0, True)
    assert (spec.is_paused_upon_creation, spec.render_template_as_native_obj, spec.fail_fast) == (True, True, True)
    assert (spec.owner_links, spec.dag_display_name, spec.doc_md) == ({"me": "mailto:me@x"}, "Shown", "set later")


def test_a_subclass_of_base_operator_runs_as_it_is(compiled: Compile) -> None:
    head = (
        HEAD
        + """
class Mine(BaseOperator):
    template_fields = ("text",)
    def __init__(self, text, **kwargs):
        super().__init__(**kwargs)
        self.text = text
    def execute(self, context):
        return self.text
"""
    )
    spec = compiled(body('a = Mine(task_id="a", text="{{ ds }}")', 'Mine(task_id="b", text=a.output)', head=head))
    assert edges(spec) == {"a>b"}
    assert tasks(spec)["a"].operator == "Mine"
    assert tasks(spec)["a"].template_values == {"text": "{{ ds }}"}


def test_classic_import_paths(compiled: Compile) -> None:
    spec = compiled(
        """
from airflow import DAG, __version__
from airflow.decorators import dag, task, task_group, setup, teardown
from airflow.exceptions import AirflowSkipException, AirflowFailException
from airflow.hooks.base import BaseHook
from airflow.macros import ds_add
from airflow.models import DAG as D2, BaseOperator, Variable, Param, TaskInstance
from airflow.models.baseoperator import chain
from airflow.models.param import ParamsDict
from airflow.models.xcom_arg import XComArg
from airflow.operators.bash import BashOperator
from airflow.operators.dummy import DummyOperator
from airflow.operators.python import PythonOperator, get_current_context
from airflow.timetables.trigger import CronTriggerTimetable
from airflow.utils import timezone
from airflow.utils.edgemodifier import Label
from airflow.utils.helpers import cross_downstream
from airflow.utils.state import State
from airflow.utils.task_group import TaskGroup
from airflow.utils.trigger_rule import TriggerRule
from airflow.utils.types import DagRunType
from airflow.utils.weight_rule import WeightRule

dag = DAG("classic", start_date=timezone.datetime(2024, 1, 1))
DummyOperator(task_id="a", dag=dag) >> PythonOperator(task_id="b", python_callable=print, dag=dag)
assert D2 is DAG and __version__ == "3.2.2"
"""
    )
    assert edges(spec) == {"a>b"}


def test_the_leoflow_package_has_the_same_names(compiled: Compile) -> None:
    head = "from leoflow import DAG, task, BashOperator, EmptyOperator, chain, Param\n"
    assert compiled(body(*EMPTY, "chain(a, b)", head=head)).dag_id == "d"


def test_several_dags_of_one_file(project: MakeProject) -> None:
    folder = project(body(EMPTY[0]) + body(EMPTY[0], head="", dag='DAG("e", schedule="@daily")'))
    assert [spec.dag_id for spec in compile_project(folder)] == ["d", "e"]
    assert [spec.dag_id for spec in compile_project(folder, dag_id="e")] == ["e"]


def test_tasks_are_in_topological_order_whatever_the_order_of_a_set(compiled: Compile) -> None:
    spec = compiled(
        body('for n in {"c", "b", "a"}:', "    EmptyOperator(task_id=n)", 'dag.get_task("c") >> dag.get_task("a")')
    )
    assert [task.task_id for task in spec.tasks] == ["b", "c", "a"]


def test_compiling_twice_gives_the_same_bytes_and_names_no_folder_of_this_machine(
    project: MakeProject, tmp_path: Path
) -> None:
    folder = project(body("@task", "def f(x): ...", "f(object())", "f(print)", *EMPTY))
    first, second = (encode_canonical(compile_project(folder)[0]) for _ in range(2))
    assert first == second
    assert str(tmp_path).encode() not in first


def test_project_modules_and_third_party_imports(compiled: Compile) -> None:
    spec = compiled(
        "import helper, json, yaml.reader\n" + body(EMPTY[0], "helper.make()"),
        files={"helper.py": "from attr import define\nfrom airflow.sdk import DAG\ndef make(): ...\n"},
    )
    assert spec.environment.preload == ("attr", "yaml.reader")


def test_a_thousand_tasks(compiled: Compile) -> None:
    spec = compiled(body("@task", "def f(x): ...", "@task", "def g(xs): ...", "g([f(i) for i in range(999)])"))
    assert len(spec.tasks) == 1000
    assert len(tasks(spec)["g"].upstream_task_ids) == 999


def test_an_operator_may_have_an_argument_that_is_called_cls(compiled: Compile) -> None:
    (task,) = compiled(
        """
        from airflow.sdk import DAG, BaseOperator

        class Makes(BaseOperator):
            def __init__(self, cls, **kwargs):
                super().__init__(**kwargs)
                self.cls = cls

            def execute(self, context): ...

        with DAG("d"):
            Makes(task_id="a", cls="x")
        """
    ).tasks
    assert task.task_id == "a"
