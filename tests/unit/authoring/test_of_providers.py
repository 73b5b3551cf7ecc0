"""Decorators and task groups of providers, paths, weights and executor_config: structure, without any package."""

from __future__ import annotations

import pytest

from leoflowd.contract.dag_spec import DagSpec, TaskSpec

from .conftest import Compile, Refuse

HEAD = """
from airflow.sdk import DAG, ObjectStoragePath, task
from airflow.providers.standard.operators.empty import EmptyOperator
"""


def body(*lines: str) -> str:
    return HEAD + 'with DAG("d") as dag:\n' + "".join(f"    {line}\n" for line in lines)


def task(spec: DagSpec, task_id: str) -> TaskSpec:
    return next(found for found in spec.tasks if found.task_id == task_id)


@pytest.mark.parametrize(
    ("decorator", "connector"),
    [("kubernetes(image='x')", "cncf.kubernetes"), ("sql(conn_id='c')", "common.sql"), ("docker(image='x')", "docker")],
)
def test_a_decorator_of_a_provider_is_captured_with_its_provider(
    decorator: str, connector: str, compiled: Compile
) -> None:
    spec = compiled(body(f"@task.{decorator}", "def f(x): ...", "f(1) >> EmptyOperator(task_id='after')"))
    assert task(spec, "f").kind == "operator"
    assert task(spec, "f").operator_name == f"@task.{decorator.partition('(')[0]}"
    assert task(spec, "after").upstream_task_ids == ("f",)
    assert spec.environment.connectors == (connector,)


def test_a_mapped_one_too(compiled: Compile) -> None:
    spec = compiled(body("@task.sql(conn_id='c')", "def f(x): ...", "f.expand(x=[1, 2])"))
    assert task(spec, "f").kind == "operator"
    assert task(spec, "f").mapped is not None
    assert spec.environment.connectors == ("common.sql",)


def test_what_the_provider_fills_in_may_be_left_out(compiled: Compile, refused: Refuse) -> None:
    assert task(compiled(body("@task.pyspark", "def f(spark): ...", "f()")), "f").kind == "operator"
    assert "'spark'" in refused(body("@task.sql", "def f(spark): ...", "f()")).what


def test_a_databricks_workflow_has_the_task_that_starts_it(compiled: Compile) -> None:
    lines = [
        "from airflow.providers.databricks.operators.databricks_workflow import DatabricksWorkflowTaskGroup",
        "from airflow.providers.databricks.operators.databricks import DatabricksNotebookOperator",
        "group = DatabricksWorkflowTaskGroup(group_id='g', databricks_conn_id='c')",
        "EmptyOperator(task_id='before') >> group",
        "with group:",
        "    DatabricksNotebookOperator(task_id='a') >> DatabricksNotebookOperator(task_id='b')",
        "group >> EmptyOperator(task_id='after')",
    ]
    spec = compiled(body(*lines))
    assert {one.task_id: one.upstream_task_ids for one in spec.tasks} == {
        "before": (),
        "g.launch": ("before",),
        "g.a": ("g.launch",),
        "g.b": ("g.a",),
        "after": ("g.b",),
    }


def test_an_object_storage_path_needs_the_real_packages_and_is_not_opened(compiled: Compile, refused: Refuse) -> None:
    lines = ["base = ObjectStoragePath('s3://c@b/')", "@task", "def f(path): ...", "f(base / 'x')"]
    spec = compiled(body(*lines))
    assert spec.environment.connectors == ("common.io",)
    assert task(spec, "f").template_values["op_args"] == ["s3://c@b/x"]
    assert "exists" in refused(body("ObjectStoragePath('s3://b/').exists()")).what


def test_rights_and_executors_that_a_file_names_have_no_effect_and_are_warned_of(compiled: Compile) -> None:
    """The first could only give rights, the second only place work."""
    spec = compiled(
        "from leoflow import DAG, EmptyOperator\nwith DAG('d', access_control={'role': {'can_edit'}}):\n"
        "    EmptyOperator(task_id='a', executor='CeleryExecutor')\n"
    )
    assert [(one.line, one.what) for one in spec.warnings] == [
        (2, "dag 'd' has access_control, which has no effect here"),
        (3, "task 'a' has executor, which has no effect here"),
    ]


def test_executor_config_is_kept_and_warned_of(compiled: Compile) -> None:
    lines = [
        "class Pod:",
        "    attribute_map = {'node_name': 'nodeName', 'empty': 'empty'}",
        "    node_name, empty = 'n', None",
        "EmptyOperator(task_id='a', executor_config={'pod_override': Pod()})",
    ]
    spec = compiled(body(*lines))
    assert task(spec, "a").executor_config == {"pod_override": {"nodeName": "n"}}
    assert [one.what.partition(": ")[0] for one in spec.warnings] == [
        "task 'a' asks for what no pod gets",
    ]


def test_what_no_cluster_would_give_is_refused_where_a_project_is_for_one(compiled: Compile, refused: Refuse) -> None:
    asked = {"metadata": {"labels": {"team": "etl"}}, "spec": {"hostNetwork": True}}
    text = body(f"EmptyOperator(task_id='a', executor_config={{'pod_override': {asked!r}}})")
    yaml = "image: registry.example/etl@sha256:" + "0" * 64
    error = refused(text, yaml=yaml)
    line = next(at for at, one in enumerate(text.lstrip().splitlines(), 1) if "EmptyOperator(" in one)
    assert (error.path, error.line) == ("dag.py", line)
    assert "pod_override.spec.hostNetwork is refused" in error.why
    spec = compiled(text.replace(", 'spec': {'hostNetwork': True}", ""), yaml=yaml)
    assert spec.image == "registry.example/etl@sha256:" + "0" * 64
    assert spec.warnings == ()


def test_tasks_that_one_line_makes_are_warned_of_once(compiled: Compile) -> None:
    lines = [
        "asked = {'pod_override': {'metadata': {'labels': {'team': 'etl'}}}}",
        "for name in ('a', 'b', 'c'):",
        "    EmptyOperator(task_id=name, executor_config=asked)",
        "EmptyOperator(task_id='d', executor_config=asked)",
    ]
    whats = [one.what for one in compiled(body(*lines)).warnings]
    assert whats == ["task 'a' (and 2 more) has executor_config", "task 'd' has executor_config"]


WEIGHT = [
    "from airflow.task.priority_strategy import PriorityWeightStrategy",
    "class Less(PriorityWeightStrategy):",
    "    def get_weight(self, ti): return 7 - ti.try_number",
]


def test_a_weight_strategy_is_asked_for_a_first_try(compiled: Compile, refused: Refuse) -> None:
    found = task(compiled(body(*WEIGHT, "EmptyOperator(task_id='a', weight_rule=Less())")), "a")
    assert (found.priority_weight, found.weight_rule.value) == (7, "absolute")
    lines = [
        *WEIGHT[:-1],
        "    def get_weight(self, ti): return ti.dag_run.id",
        "EmptyOperator(task_id='a', weight_rule=Less())",
    ]
    assert "only a run has" in refused(body(*lines)).why


def test_a_dag_has_the_decorator_for_its_tasks(compiled: Compile) -> None:
    spec = compiled(HEAD + "dag = DAG('d')\n@dag.task\ndef f(): ...\nf()\n")
    assert [one.task_id for one in spec.tasks] == ["f"]


def test_an_external_task_marker_does_nothing(compiled: Compile) -> None:
    line = "ExternalTaskMarker(task_id='m', external_dag_id='x', external_task_id='y')"
    spec = compiled(body("from airflow.providers.standard.sensors.external_task import ExternalTaskMarker", line))
    assert (task(spec, "m").kind, task(spec, "m").template_values["external_dag_id"]) == ("empty", "x")


def test_small_functions_of_airflow_utils_are_there(compiled: Compile) -> None:
    lines = [
        "from airflow.utils.helpers import exactly_one, prune_dict, merge_dicts, convert_camel_to_snake",
        "assert exactly_one(1, None) and not exactly_one(1, 2)",
        "assert prune_dict({'a': None, 'b': [None, 0]}) == {'b': [0]}",
        "assert merge_dicts({'a': {'b': 1}}, {'a': {'c': 2}}) == {'a': {'b': 1, 'c': 2}}",
        "EmptyOperator(task_id=convert_camel_to_snake('MyTask'))",
    ]
    assert task(compiled(body(*lines)), "my_task").kind == "empty"


def test_plugins_of_listeners_and_timetables_can_be_imported(compiled: Compile) -> None:
    lines = [
        "from airflow.listeners import hookimpl",
        "from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable",
        "@hookimpl",
        "def on_starting(component): ...",
        "EmptyOperator(task_id=on_starting.__name__)",
    ]
    assert task(compiled(body(*lines)), "on_starting").kind == "empty"
