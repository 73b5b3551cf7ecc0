# ruff: noqa: E501 - DAG texts, one case per line
"""Airflow 1.10 and 2's spelling: what it becomes is what today's spelling becomes, with one warning and its line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from leoflowd.contract.dag_spec import CronTimetable, DagSpec, DeltaTimetable, TaskSpec, digest

from .conftest import Compile, Refuse, StartProcess

SQL = "airflow.providers.common.sql.operators.sql"
YAML = "connectors: [amazon, cncf.kubernetes, common.sql, google, http, mysql, postgres, slack, snowflake, ssh]\n"


def one(spec: DagSpec, task_id: str = "a") -> TaskSpec:
    return next(task for task in spec.tasks if task.task_id == task_id)


def said(spec: DagSpec) -> list[str]:
    return [f"{warning.path}:{warning.line}: {warning.what}; {warning.remedy}" for warning in spec.warnings]


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ("airflow.operators.bash_operator.BashOperator", "airflow.providers.standard.operators.bash.BashOperator"),
        ("airflow.operators.BashOperator", "airflow.providers.standard.operators.bash.BashOperator"),
        ("airflow.contrib.operators.ssh_operator.SSHOperator", "airflow.providers.ssh.operators.ssh.SSHOperator"),
        (
            "airflow.contrib.operators.gcs_to_bq.GoogleCloudStorageToBigQueryOperator",
            "airflow.providers.google.cloud.transfers.gcs_to_bigquery.GCSToBigQueryOperator",
        ),
        ("airflow.operators.http_operator.SimpleHttpOperator", "airflow.providers.http.operators.http.HttpOperator"),
        (
            "airflow.providers.http.operators.http.SimpleHttpOperator",
            "airflow.providers.http.operators.http.HttpOperator",
        ),
        (
            "airflow.providers.cncf.kubernetes.operators.kubernetes_pod.KubernetesPodOperator",
            "airflow.providers.cncf.kubernetes.operators.pod.KubernetesPodOperator",
        ),
        (
            "airflow.contrib.operators.emr_add_steps_operator.EmrAddStepsOperator",
            "airflow.providers.amazon.aws.operators.emr.EmrAddStepsOperator",
        ),
        ("airflow.sensors.s3_key_sensor.S3KeySensor", "airflow.providers.amazon.aws.sensors.s3.S3KeySensor"),
    ],
)
def test_an_old_class_becomes_what_todays_becomes(compiled: Compile, old: str, today: str) -> None:
    arguments = {"Bash": "task_id='a', bash_command='x'", "Http": "task_id='a', endpoint='x'"}.get(
        today.rpartition(".")[2].removesuffix("Operator"), "task_id='a', bucket_key='s3://b/k'"
    )

    def dag(full: str) -> DagSpec:
        module, _, name = full.rpartition(".")
        return compiled(
            f"from airflow.sdk import DAG\nfrom {module} import {name}\nwith DAG('d'):\n    {name}({arguments})\n",
            yaml=YAML,
        )

    before, after = dag(old), dag(today)
    assert one(before) == one(after)
    assert f"{one(after).module}.{one(after).operator}" == today
    old_module, _, old_name = old.rpartition(".")
    new_module, _, new_name = today.rpartition(".")
    assert (
        said(before)[0] == f"dag.py:2: {old_module}.{old_name} has moved; write `from {new_module} import {new_name}`"
    )
    assert after.warnings == ()


@pytest.mark.parametrize(
    "line",
    [
        "from airflow.operators.bash import BashOperator",
        "from airflow.operators.python import PythonOperator",
        "from airflow.decorators import task",
        "from airflow.models import DAG, Variable",
        "from airflow.utils.trigger_rule import TriggerRule",
        "from airflow.utils.weekday import WeekDay",
        "from airflow import AirflowException",
    ],
)
def test_what_airflow_3_still_takes_is_no_warning(compiled: Compile, line: str) -> None:
    assert (
        said(
            compiled(
                f"{line}\nfrom leoflow import DAG, EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n"
            )
        )
        == []
    )


def old_dag(arguments: str, *body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body or ("DummyOperator(task_id='a')",))
    return (
        "from datetime import datetime, timedelta\nfrom airflow import DAG\n"
        f"from airflow.operators.dummy import DummyOperator\nwith DAG('d', {arguments}) as dag:\n{lines}"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("concurrency=3", {"max_active_tasks": 3}),
        ("fail_stop=True", {"fail_fast": True}),
        ("default_view='graph', orientation='LR'", {}),
        ("sla_miss_callback=print", {}),
        ("default_args={'task_concurrency': 2, 'provide_context': True, 'sla': timedelta(1)}", {}),
        ("schedule_interval=None", {}),
        ("default_args={'start_date': '2024-01-02'}", {"start_date": datetime(2024, 1, 2, tzinfo=UTC)}),
    ],
)
def test_an_old_argument_of_a_dag_means_todays(compiled: Compile, arguments: str, expected: dict[str, Any]) -> None:
    spec = compiled(old_dag(arguments))
    assert {name: getattr(spec, name) for name in expected} == expected


def test_old_default_args_reach_the_tasks(compiled: Compile) -> None:
    spec = compiled(old_dag("default_args={'task_concurrency': 2, 'trigger_rule': 'none_failed_or_skipped'}"))
    assert (one(spec).max_active_tis_per_dag, one(spec).trigger_rule) == (2, "none_failed_min_one_success")


def test_the_warning_of_arguments_names_each_of_them(compiled: Compile) -> None:
    (_, warning) = compiled(old_dag("schedule_interval=None, concurrency=3, orientation='LR'")).warnings
    assert (warning.path, warning.line) == ("dag.py", 4)
    for words in (
        "schedule_interval is called schedule",
        "concurrency is called max_active_tasks",
        "orientation has no effect",
    ):
        assert words in warning.remedy


def test_a_schedule_interval_keeps_catchup_and_the_interval_of_its_time(compiled: Compile) -> None:
    spec = compiled(old_dag("schedule_interval='@daily', start_date=datetime(2024, 1, 1)"))
    assert spec.catchup is True
    assert spec.timetable == CronTimetable(expression="0 0 * * *", data_interval=True)
    assert "catchup is True, as it was then" in spec.warnings[-1].remedy


@pytest.mark.parametrize("arguments", ["catchup=False, start_date=datetime(2024, 1, 1)", "description='no start date'"])
def test_catchup_is_what_the_file_says_and_needs_a_start(compiled: Compile, arguments: str) -> None:
    assert compiled(old_dag(f"schedule_interval='@daily', {arguments}")).catchup is False


def test_todays_argument_has_todays_defaults(compiled: Compile) -> None:
    spec = compiled(old_dag("schedule='@daily', start_date=datetime(2024, 1, 1)"))
    assert (spec.catchup, spec.timetable) == (False, CronTimetable(expression="0 0 * * *"))


def test_a_timedelta_keeps_its_interval(compiled: Compile) -> None:
    spec = compiled(old_dag("schedule_interval=timedelta(hours=1), start_date=datetime(2024, 1, 1)"))
    assert spec.timetable == DeltaTimetable(seconds=3600.0, data_interval=True)


def test_arguments_by_their_place(compiled: Compile) -> None:
    spec = compiled(old_dag("'says', '@hourly', datetime(2024, 1, 1)"))
    assert (spec.description, spec.timetable_summary, spec.start_date) == (
        "says",
        "@hourly",
        datetime(2024, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("where", "old", "new", "counts"),
    [
        ("dag", "concurrency=4", "max_active_tasks=6", 4),
        ("dag", "max_active_tasks=6", "concurrency=4", 4),
        ("task", "task_concurrency=4", "max_active_tis_per_dag=6", 6),
    ],
)
def test_of_two_names_that_airflow_2_took_together_the_same_one_counts(
    compiled: Compile, where: str, old: str, new: str, counts: int
) -> None:
    both = f", {old}, {new}"
    of_dag, of_task = (both, "") if where == "dag" else ("", both)
    spec = compiled(
        "from airflow import DAG\nfrom airflow.operators.empty import EmptyOperator\n"
        f"with DAG('d'{of_dag}):\n    EmptyOperator(task_id='a'{of_task})\n"
    )
    assert (spec.max_active_tasks if where == "dag" else one(spec).max_active_tis_per_dag) == counts
    assert any(f"{counts} counts, as in Airflow 2" in text for text in said(spec))


def test_an_old_and_a_new_argument_that_disagree_are_refused(refused: Refuse) -> None:
    error = refused(old_dag("schedule_interval='@daily', schedule='@hourly'"))
    assert (error.line, "schedule_interval" in error.what, "keep one of them" in error.remedy) == (4, True, True)


def test_what_nobody_ever_knew_is_refused(refused: Refuse) -> None:
    assert "surprise" in refused(old_dag("surprise=1")).what


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("task_concurrency=2", "max_active_tis_per_dag", 2),
        ("xcom_push=False", "do_xcom_push", False),
        ("trigger_rule='dummy'", "trigger_rule", "always"),
        ("trigger_rule=TriggerRule.NONE_FAILED_OR_SKIPPED", "trigger_rule", "none_failed_min_one_success"),
        ("provide_context=True", "task_id", "a"),
        ("sla=timedelta(hours=1)", "task_id", "a"),
    ],
)
def test_an_old_argument_of_every_operator(compiled: Compile, arguments: str, field: str, value: Any) -> None:
    spec = compiled(
        "from datetime import timedelta\nfrom airflow.sdk import DAG, BaseOperator, TriggerRule\n"
        "class Mine(BaseOperator):\n    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n"
        "    def execute(self, context): ...\n"
        f"with DAG('d'):\n    Mine(task_id='a', {arguments})\n"
    )
    assert getattr(one(spec), field) == value
    assert [(warning.path, warning.line) for warning in spec.warnings] == [("dag.py", 8)]


OPERATORS = f"""from airflow.sdk import DAG
from airflow.contrib.operators.ssh_operator import SSHOperator
from airflow.contrib.operators.snowflake_operator import SnowflakeOperator
from airflow.contrib.operators.bigquery_operator import BigQueryOperator
from airflow.operators.postgres_operator import PostgresOperator
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.slack.operators.slack_webhook import SlackWebhookOperator
from airflow.providers.google.cloud.operators.datastore import CloudDatastoreExportEntitiesOperator
from airflow.providers.google.cloud.sensors.gcs import GCSObjectUpdateSensor
from airflow.providers.google.cloud.operators.bigquery import BigQueryCreateEmptyTableOperator, BigQueryCreateExternalTableOperator, BigQueryInsertJobOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sensors.external_task import ExternalTaskMarker
from {SQL} import SQLExecuteQueryOperator
with DAG('d', default_args={{'postgres_conn_id': 'mine'}}):
"""


def test_old_arguments_of_partial_become_todays_and_are_named(compiled: Compile) -> None:
    spec = compiled(
        "from datetime import timedelta\nfrom airflow.sdk import DAG\n"
        "from airflow.operators.bash import BashOperator\n"
        "with DAG('d', schedule=None):\n"
        "    shared = BashOperator.partial(task_id='a', task_concurrency=2, sla=timedelta(1), trigger_rule='dummy')\n"
        "    shared.expand(bash_command=['x', 'y'])\n"
    )
    task = one(spec)
    assert (task.max_active_tis_per_dag, task.trigger_rule) == (2, "always")
    (arguments,) = [line for line in said(spec) if "BashOperator is given old arguments" in line]
    assert "max_active_tis_per_dag" in arguments
    assert "SLAs" in arguments
    assert any("'dummy'" in line for line in said(spec))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("PostgresOperator(task_id='a', sql='s', postgres_conn_id='p')", {"sql": "s", "conn_id": "p"}),
        ("PostgresOperator(task_id='a', sql='s')", {"sql": "s", "conn_id": "mine"}),
        (
            "SnowflakeOperator(task_id='a', sql='s', warehouse='w', role=None)",
            {"sql": "s", "conn_id": "snowflake_default", "hook_params": {"warehouse": "w"}},
        ),
        ("SSHOperator(task_id='a', timeout=5)", {"conn_timeout": 5, "cmd_timeout": 5}),
        ("KubernetesPodOperator(task_id='a', is_delete_operator_pod=False)", {"on_finish_action": "keep_pod"}),
        ("KubernetesPodOperator(task_id='a', on_finish_action='keep_pod')", {"on_finish_action": "keep_pod"}),
        (
            "KubernetesPodOperator(task_id='a', resources={'limit_memory': '1Gi', 'limit_cpu': None, 'request_ephemeral_storage': '2Gi'})",
            {"container_resources": {"limits": {"memory": "1Gi"}, "requests": {"ephemeral-storage": "2Gi"}}},
        ),
        (
            "ExternalTaskMarker(task_id='a', external_dag_id='d', external_task_id='t', execution_date='{{ ts }}')",
            {"external_dag_id": "d", "external_task_id": "t", "logical_date": "{{ ts }}"},
        ),
        ("SlackWebhookOperator(task_id='a', http_conn_id='h', webhook_token=None)", {"slack_webhook_conn_id": "h"}),
        ("BigQueryInsertJobOperator(task_id='a', bigquery_conn_id='b')", {"gcp_conn_id": "b"}),
        ("GCSObjectUpdateSensor(task_id='a', google_cloud_conn_id='b')", {"google_cloud_conn_id": "b"}),
        ("CloudDatastoreExportEntitiesOperator(task_id='a', datastore_conn_id='b')", {"datastore_conn_id": "b"}),
        (
            "BigQueryCreateEmptyTableOperator(task_id='a', dataset_id='d', table_id='t', schema_fields=[1], cluster_fields=['x'])",
            {
                "dataset_id": "d",
                "table_id": "t",
                "table_resource": {"schema": {"fields": [1]}, "clustering": {"fields": ["x"]}},
            },
        ),
        (
            "BigQueryCreateExternalTableOperator(task_id='a', table_resource={'tableReference': {'projectId': 'p', 'datasetId': 'd', 'tableId': 't'}})",
            {
                "project_id": "p",
                "dataset_id": "d",
                "table_id": "t",
                "table_resource": {"tableReference": {"projectId": "p", "datasetId": "d", "tableId": "t"}},
            },
        ),
        (
            "BigQueryOperator(task_id='a', bql='s', use_legacy_sql=False, destination_dataset_table='p.d.t', bigquery_conn_id='b')",
            {
                "gcp_conn_id": "b",
                "configuration": {
                    "query": {
                        "query": "s",
                        "useLegacySql": False,
                        "destinationTable": {"projectId": "p", "datasetId": "d", "tableId": "t"},
                        "writeDisposition": "WRITE_EMPTY",
                    }
                },
            },
        ),
    ],
)
def test_old_arguments_of_a_class_become_its_successors(compiled: Compile, call: str, expected: dict[str, Any]) -> None:
    assert one(compiled(f"{OPERATORS}    {call}\n", yaml=YAML)).template_values == expected


def test_a_subclass_of_an_old_class_passes_old_arguments_up(compiled: Compile) -> None:
    spec = compiled(
        OPERATORS.replace(
            "with DAG",
            "class Mine(PostgresOperator):\n    def __init__(self, **kwargs):\n        super().__init__(postgres_conn_id='up', **kwargs)\nwith DAG",
        )
        + "    Mine(task_id='a', sql='s')\n",
        yaml=YAML,
    )
    assert one(spec).template_values == {"sql": "s", "conn_id": "up"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            "PostgresOperator(task_id='a', sql='s', runtime_parameters={'x': 1})",
            ["'a'", "runtime_parameters", "hook_params"],
        ),
        ("BigQueryOperator(task_id='a', sql=['s', 't'])", ["sql", "each"]),
        ("BigQueryCreateExternalTableOperator(task_id='a', bucket='b')", ["bucket", "externalDataConfiguration"]),
        ("KubernetesPodOperator(task_id='a', resources={'memory': 1})", ["resources", "container_resources"]),
        ("BigQueryOperator(task_id='a', sql='s', destination_dataset_table='{{ t }}')", ["destinationTable"]),
    ],
)
def test_what_has_no_successor_is_refused_with_the_remedy(refused: Refuse, call: str, words: list[str]) -> None:
    error = refused(f"{OPERATORS}    {call}\n", yaml=YAML)
    assert error.line == OPERATORS.count("\n") + 1
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("from airflow.operators.subdag import get_subdag", "task group"),
        ("from airflow.contrib.operators.nobody import Nobody", "airflow.providers"),
    ],
)
def test_a_name_without_a_successor_says_what_to_do(refused: Refuse, line: str, remedy: str) -> None:
    error = refused(f"{line}\n", yaml=YAML)
    assert (error.line, remedy in error.remedy) == (1, True), str(error)


@pytest.mark.parametrize(
    ("line", "call", "remedy"),
    [
        ("from airflow.operators.subdag import SubDagOperator", "SubDagOperator(task_id='s')", "task group"),
        ("from airflow.contrib.kubernetes.volume import Volume", "Volume(name='v')", "V1Volume"),
        (
            "from airflow.contrib.operators.dataproc_operator import DataProcSparkOperator",
            "DataProcSparkOperator.partial(task_id='s')",
            "spark_job",
        ),
    ],
)
def test_a_class_without_a_successor_may_be_imported_and_is_refused_where_it_is_made(
    compiled: Compile, refused: Refuse, line: str, call: str, remedy: str
) -> None:
    """A library of helpers asks `isinstance(task, SubDagOperator)`, and every DAG file imports it."""
    name = line.rpartition(" ")[2]
    dag = f"from airflow.sdk import DAG, task\n{line}\nwith DAG('d'):\n    task(print)()\n    isinstance(1, {name})\n"
    (warning,) = compiled(dag, yaml=YAML).warnings
    assert (warning.line, name in warning.what, remedy in warning.remedy) == (2, True, True)
    error = refused(f"{dag}    {call}\n", yaml=YAML)
    assert (error.line, name in error.what, error.why) == (6, True, "Airflow 3 has removed it")
    assert remedy in error.remedy


# --- names of the context ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (
            "BashOperator(task_id='a', bash_command='{{ execution_date }} {{ next_ds_nodash }}')",
            ["execution_date", "next_ds_nodash"],
        ),
        ("BashOperator(task_id='a', bash_command='{{ ti.execution_date }}')", ["execution_date"]),
        ("BashOperator(task_id='a', bash_command='{{ params.prev_ds }} execution_date {{ dag_run.conf }}')", []),
        ("PythonOperator(task_id='a', python_callable=by_name)", ["next_execution_date", "prev_ds"]),
        ("PythonOperator(task_id='a', python_callable=by_key)", ["execution_date", "tomorrow_ds"]),
        ("PythonOperator(task_id='a', python_callable=print)", []),
    ],
)
def test_old_names_of_the_context_are_a_warning(compiled: Compile, task: str, names: list[str]) -> None:
    spec = compiled(
        "from leoflow import DAG, BashOperator, PythonOperator\n"
        "def by_name(next_execution_date, prev_ds=None, conf=None): ...\n"
        "def by_key(**kwargs):\n    return kwargs['tomorrow_ds'], kwargs['ti'].execution_date\n"
        f"with DAG('d'):\n    {task}\n"
    )
    assert [(warning.line, warning.what.partition(" ")[0]) for warning in spec.warnings] == [
        (6, name) for name in names
    ]


def test_a_task_function_may_take_an_old_name_that_the_try_fills_in(compiled: Compile) -> None:
    spec = compiled(
        "from leoflow import DAG, task\nwith DAG('d'):\n    @task\n    def a(execution_date): ...\n    a()\n"
    )
    assert [task.task_id for task in spec.tasks] == ["a"]


# --- warnings ----------------------------------------------------------------------------------------------------


def test_warnings_are_no_part_of_the_digest(compiled: Compile) -> None:
    spec = compiled(old_dag("concurrency=3"))
    assert spec.warnings
    assert digest(spec) == digest(msgspec.structs.replace(spec, warnings=()))


def test_a_warning_of_one_dag_is_not_the_others(project: Any) -> None:
    from leoflowd.authoring.compiler import compile_project

    folder = project(old_dag("concurrency=3") + "with DAG('e'):\n    DummyOperator(task_id='b')\n")
    warned = {spec.dag_id: [warning.line for warning in spec.warnings] for spec in compile_project(folder)}
    assert warned == {"d": [3, 4], "e": [3]}


def test_the_line_of_a_helper_module_is_named(compiled: Compile) -> None:
    spec = compiled(
        "from helper import *\nfrom airflow.sdk import DAG\nwith DAG('d'):\n    DummyOperator(task_id='a')\n",
        files={"helper.py": "x = 1\nfrom airflow.operators.dummy_operator import DummyOperator\n"},
    )
    assert [(warning.path, warning.line) for warning in spec.warnings] == [("helper.py", 2)]


# --- what is gone but small --------------------------------------------------------------------------------------


def test_airflow_is_whole_after_importing_its_root(compiled: Compile) -> None:
    spec = compiled(
        "import airflow\nfrom airflow.sdk import DAG\nwith DAG('dates', start_date=airflow.utils.dates.days_ago(1)):\n    pass\n"
    )
    assert spec.start_date is not None
    assert spec.start_date.hour == 0
    assert "days_ago is gone" in said(spec)[0]


def test_a_dag_may_stand_at_the_beginning_of_a_chain(compiled: Compile) -> None:
    spec = compiled(
        "from airflow import DAG\n"
        "from airflow.operators.dummy_operator import DummyOperator\n"
        "dag, first, second, third = DAG('d'), *map(lambda name: DummyOperator(task_id=name), 'abc')\n"
        "dag >> first >> second\n"
        "dag << [second, third]\n"
    )
    assert {task.task_id: task.upstream_task_ids for task in spec.tasks} == {"a": (), "b": ("a",), "c": ()}
    assert any("stands in no chain any more" in text for text in said(spec))


def test_apply_defaults_and_old_helpers(process: StartProcess) -> None:
    old = process(
        "from datetime import datetime, timedelta\n"
        "from airflow.sdk import DAG, BaseOperator\n"
        "from airflow.utils.decorators import apply_defaults\n"
        "from airflow.utils.dates import date_range, round_time\n"
        "class Mine(BaseOperator):\n    @apply_defaults\n    def __init__(self, size, **kwargs):\n"
        "        super().__init__(**kwargs)\n        self.size = size\n"
        "    def execute(self, context):\n        at = datetime(2024, 1, 1, 13)\n"
        "        return self.size, date_range(at, num=2, delta=60), round_time(at)\n"
        "with DAG('d', default_args={'size': 3}):\n    Mine(task_id='a')\n"
    )
    size, moments, nearest = old.run("a")
    assert (size, [moment.minute for moment in moments], nearest.day, nearest.hour) == (3, [0, 1], 2, 0)


@pytest.mark.parametrize(
    "line",
    [
        "airflow.operators.postgres_operator.PostgresOperator",
        "airflow.providers.mysql.operators.mysql.MySqlOperator",
        "airflow.contrib.operators.snowflake_operator.SnowflakeOperator",
    ],
)
def test_an_sql_operator_becomes_the_one_that_there_is(compiled: Compile, line: str) -> None:
    module, _, name = line.rpartition(".")
    spec = compiled(
        f"from leoflow import DAG\nfrom {module} import {name}\nwith DAG('d'):\n    {name}(task_id='a', sql='s')\n",
        yaml=YAML,
    )
    assert (one(spec).module, one(spec).operator) == (SQL, "SQLExecuteQueryOperator")


def test_a_run_of_the_whole_dag_at_the_end_of_its_file_is_left_out(compiled: Compile) -> None:
    text = "from airflow.sdk import DAG, task\ndag = DAG('e')\ndag.test()\ndag.cli()\n"
    assert {warning.what: warning.line for warning in compiled(text).warnings} == {
        "dag 'e' calls .test(), which has no effect": 3,
        "dag 'e' calls .cli(), which has no effect": 4,
    }
