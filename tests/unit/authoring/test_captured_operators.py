"""Operators of Airflow's providers: captured where leoflow.yaml names the provider, else refused with its name."""

from __future__ import annotations

import pytest

from leoflowd.contract.dag_spec import DagSpec, TaskSpec, XComRef

from .conftest import Compile, Refuse

S3 = """
from airflow.sdk import DAG, task
from airflow.providers.amazon.aws.operators.s3 import S3CopyObjectOperator
from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator
from airflow.providers.amazon.aws.sensors.sqs import SqsSensor
with DAG("d", default_args={"retries": 3}) as dag:
"""
CONNECTED = "connectors: [amazon]\n"


def body(*lines: str, head: str = S3) -> str:
    return head + "".join(f"    {line}\n" for line in lines)


def task(spec: DagSpec, task_id: str) -> TaskSpec:
    return next(found for found in spec.tasks if found.task_id == task_id)


def test_a_captured_operator_keeps_its_place_and_its_arguments(compiled: Compile) -> None:
    lines = [
        "@task",
        "def key(): ...",
        "copy = S3CopyObjectOperator(task_id='copy', source_bucket_key=key(), dest_bucket_key='{{ ds }}', n={'a': 1})",
        "copy >> SqlToS3Operator(task_id='load', query=copy.output['q'], retries=1)",
    ]
    spec = compiled(body(*lines), yaml=CONNECTED)
    copy, load = task(spec, "copy"), task(spec, "load")
    assert (copy.kind, copy.operator) == ("operator", "S3CopyObjectOperator")
    assert copy.module == "airflow.providers.amazon.aws.operators.s3"
    assert copy.template_values["dest_bucket_key"] == "{{ ds }}"
    assert copy.template_values["n"] == {"a": 1}
    assert (copy.upstream_task_ids, load.upstream_task_ids) == (("key",), ("copy",))
    assert (copy.xcom_refs, load.xcom_refs) == ((XComRef(task_id="key"),), (XComRef(task_id="copy", key="q"),))
    assert (copy.retries, load.retries) == (3, 1)


def test_a_captured_sensor_takes_the_arguments_of_sensors(compiled: Compile) -> None:
    found = task(compiled(body("SqsSensor(task_id='s', sqs_queue='q', poke_interval=3)"), yaml=CONNECTED), "s")
    assert (found.kind, found.template_values) == ("operator", {"sqs_queue": "q"})


def test_a_subclass_in_the_project_is_captured_with_it(compiled: Compile) -> None:
    lines = [
        "class Mine(S3CopyObjectOperator):",
        "    template_fields = (*S3CopyObjectOperator.template_fields, 'table')",
        "    def __init__(self, *, table, **kwargs):",
        "        super().__init__(dest_bucket_key='x', **kwargs)",
        "        self.table = table",
        "Mine(task_id='m', table='{{ ds }}', retries=2)",
    ]
    found = task(compiled(body(*lines), yaml=CONNECTED), "m")
    assert (found.kind, found.operator, found.retries) == ("operator", "Mine", 2)
    assert found.template_values == {"table": "{{ ds }}", "dest_bucket_key": "x"}


@pytest.mark.parametrize(
    "yaml",
    [
        "connectors: [amazon]",
        "dependencies: ['apache-airflow-providers-amazon>=9']",
        "dependencies: ['Apache_Airflow_Providers_Amazon==9.1']",
        "dependencies: ['apache-airflow[amazon]==3.2.2']",
    ],
)
def test_each_way_to_name_a_provider_counts(compiled: Compile, yaml: str) -> None:
    assert compiled(body("SqlToS3Operator(task_id='a')"), yaml=yaml + "\n").tasks[0].kind == "operator"


@pytest.mark.parametrize(
    ("imported", "connector"),
    [
        ("airflow.providers.amazon.aws.operators.s3:S3CopyObjectOperator", "amazon"),
        ("airflow.providers.cncf.kubernetes.operators.pod:KubernetesPodOperator", "cncf.kubernetes"),
        ("airflow.providers.apache.spark.operators.spark_submit:SparkSubmitOperator", "apache.spark"),
        ("airflow.providers.slack.transfers.sql_to_slack:SqlToSlack", "slack"),
    ],
)
def test_an_operator_of_a_provider_that_is_not_named_takes_it_in(
    compiled: Compile, imported: str, connector: str
) -> None:
    module, _, name = imported.partition(":")
    spec = compiled(
        f"from airflow.sdk import DAG\nfrom {module} import {name}\nwith DAG('d'):\n    {name}(task_id='t')\n"
    )
    assert (spec.environment.connectors, spec.tasks[0].kind) == ((connector,), "operator")


@pytest.mark.parametrize("part", ["hooks.s3", "triggers.s3", "utils.x", "links.emr"])
def test_so_do_other_modules_of_a_provider(compiled: Compile, part: str) -> None:
    text = f"from airflow.providers.amazon.aws.{part} import Thing\n"
    spec = compiled(text + "from leoflow import DAG, EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n")
    assert spec.environment.connectors == ("amazon",)


def test_its_import_may_be_caught_as_an_import_error(compiled: Compile) -> None:
    text = (
        "try:\n    from airflow.providers.amazon.aws.hooks.s3 import S3Hook\nexcept ImportError:\n    S3Hook = None\n"
    )
    compiled(text + "from leoflow import DAG, EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n")


def test_hooks_and_triggers_of_a_named_provider_may_be_imported_and_derived_from(compiled: Compile) -> None:
    lines = [
        "from airflow.providers.amazon.aws.hooks.s3 import S3Hook",
        "from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger",
        "from airflow.providers.amazon.aws.utils.waiter import wait",
        "class Mine(S3Hook): ...",
        "@task",
        "def f(): return Mine().get_conn()",
        "f()",
    ]
    spec = compiled(body(*lines), yaml=CONNECTED)
    assert spec.environment.connectors == ("amazon",)


def test_an_object_that_describes_an_argument_is_kept_as_written(compiled: Compile) -> None:
    lines = [
        "from airflow.providers.amazon.aws.secret import Secret",
        "SqlToS3Operator(task_id='a', secrets=[Secret('env', key='K')])",
    ]
    assert compiled(body(*lines), yaml=CONNECTED).tasks[0].template_values == {"secrets": ["Secret('env', key='K')"]}


def test_abstract_bases_of_the_author_s_may_be_mixed_in(compiled: Compile) -> None:
    lines = [
        "from abc import ABC",
        "from airflow.providers.amazon.aws.hooks.s3 import S3Hook",
        "class Mine(S3Hook, ABC): ...",
        "class Copy(SqlToS3Operator, ABC): ...",
        "Copy(task_id='a')",
    ]
    assert compiled(body(*lines), yaml=CONNECTED).tasks[0].operator == "Copy"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("S3Hook()", "S3Hook"),
        ("S3Hook.get_key('k')", "S3Hook"),
        ("Mine('aws_default')", "Mine"),
        ("wait(3)", "airflow.providers.amazon.aws.utils.waiter.wait"),
    ],
)
def test_using_one_while_compiling_is_an_error_at_that_line(refused: Refuse, code: str, name: str) -> None:
    lines = [
        "from airflow.providers.amazon.aws.hooks.s3 import S3Hook",
        "from airflow.providers.amazon.aws.utils.waiter import wait",
        "class Mine(S3Hook): ...",
        code,
    ]
    text = body(*lines)
    error = refused(text, yaml=CONNECTED)
    assert error.line == text.lstrip().count("\n")
    assert error.what.startswith(name)
    assert "@task" in error.remedy


def test_an_object_of_an_operator_module_that_is_no_operator_is_explained(refused: Refuse) -> None:
    error = refused(body("SqlToS3Operator(query='x')"), yaml=CONNECTED)
    assert "task_id" in error.what


def test_a_native_sensor_beside_the_real_airflow_takes_its_provider_in(compiled: Compile) -> None:
    """Tasks of this DAG load the file under the real Airflow, where that import would fail."""
    text = "from airflow.providers.http.sensors.http import HttpSensor\nfrom airflow.sdk import DAG\nwith DAG('d'):\n"
    text += "    HttpSensor(task_id='s', endpoint='x')\n"
    assert compiled(text, yaml=CONNECTED).environment.connectors == ("amazon", "http")


def test_operators_that_come_with_airflow_and_that_we_do_not_run_are_refused_with_and_without_it(
    refused: Refuse,
) -> None:
    text = (
        "from leoflow import DAG\nfrom airflow.providers.standard.operators.smooth import SmoothOperator\n"
        "with DAG('d'):\n    SmoothOperator(task_id='a')\n"
    )
    assert "'a' uses SmoothOperator" in str(refused(text))
    assert "'a' uses SmoothOperator" in str(refused(text, yaml=CONNECTED))


def test_an_argument_that_only_the_real_sensor_honours_makes_it_captured(compiled: Compile) -> None:
    text = (
        "from airflow.sdk import DAG\nfrom airflow.providers.amazon.aws.sensors.s3 import S3KeySensor\nwith DAG('d'):\n"
    )
    spec = compiled(text + "    S3KeySensor(task_id='s', bucket_key='s3://a/b', check_fn=print)\n", yaml=CONNECTED)
    assert spec.tasks[0].kind == "operator"


def test_another_class_beside_one_of_ours_is_captured(compiled: Compile) -> None:
    text = (
        "from airflow.sdk import DAG\nfrom airflow.providers.amazon.aws.sensors.s3 import S3KeysUnchangedSensor as S\n"
    )
    spec = compiled(text + "with DAG('d'):\n    S(task_id='s', bucket_name='b', prefix='p')\n", yaml=CONNECTED)
    assert (spec.tasks[0].kind, spec.tasks[0].operator) == ("operator", "S3KeysUnchangedSensor")


@pytest.mark.parametrize("name", ["Amazon", "apache-airflow-providers-x y", "a..b", "3 "])
def test_a_connector_is_a_short_name(refused: Refuse, name: str) -> None:
    error = refused(body("SqlToS3Operator(task_id='a')"), yaml=f"connectors: ['{name}']\n")
    assert (error.path, "short name" in error.why) == ("leoflow.yaml", True)
