# ruff: noqa: E501 - DAG texts and tables, one case per line
"""Airflow's sensors become waits: what each says to the daemon, and who prepares it."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.wait_spec import WaitMode

from .conftest import Compile, Refuse

HEAD = """
from datetime import datetime, time, timedelta, timezone
from airflow.sdk import *
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.providers.standard.sensors.date_time import DateTimeSensor, DateTimeSensorAsync
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.providers.standard.sensors.time import TimeSensor, TimeSensorAsync
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor, TimeDeltaSensorAsync, WaitSensor
from airflow.providers.standard.sensors.weekday import DayOfWeekSensor
from airflow.providers.standard.utils.weekday import WeekDay
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.common.sql.sensors.sql import SqlSensor
from airflow.providers.redis.sensors.redis_key import RedisKeySensor
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor, S3PrefixSensor
from airflow.providers.google.cloud.sensors.gcs import GCSObjectExistenceSensor, GCSObjectsWithPrefixExistenceSensor
from leoflow.sensors import KubernetesObjectSensor, WebhookSensor
"""
RUN_DATE = "{{ dag_run.logical_date or dag_run.run_after }}"
EXTERNAL = {
    "dag_id": "o",
    "task_ids": [],
    "task_group_id": None,
    "logical_dates": [RUN_DATE],
    "run_ids": [],
    "minus_s": 0.0,
}
ONLY_SUCCESS = {"allowed_states": ["success"], "failed_states": [], "skipped_states": [], "check_existence": False}
HTTP = {"method": "GET", "headers": {}, "data": None, "json": None}


def body(*lines: str, dag: str = 'DAG("d", start_date=datetime(2024, 1, 1))') -> str:
    return HEAD + f"with {dag} as dag:\n" + "".join(f"    {line}\n" for line in lines)


def task(spec: DagSpec, task_id: str = "w") -> TaskSpec:
    return next(found for found in spec.tasks if found.task_id == task_id)


@pytest.mark.parametrize(
    ("sensor", "kind", "arguments", "predicate", "connection"),
    [
        ("DateTimeSensor(task_id='w', target_time='{{ ds }}')", "time", {"moment": "{{ ds }}", "plus_s": 0.0}, {}, None),
        ("DateTimeSensor(task_id='w', target_time=datetime(2024, 1, 2))", "time", {"moment": "2024-01-02T00:00:00", "plus_s": 0.0}, {}, None),
        ("TimeDeltaSensor(task_id='w', delta=timedelta(hours=1))", "time", {"moment": "{{ leoflow_base_time }}", "plus_s": 3600.0}, {}, None),
        ("TimeDeltaSensor(task_id='w', delta=5)", "time", {"moment": "{{ leoflow_base_time }}", "plus_s": 300.0}, {}, None),
        ("WaitSensor(task_id='w', time_to_wait=timedelta(seconds=9))", "time", {"moment": "{{ leoflow_registered_at }}", "plus_s": 9.0}, {}, None),
        ("TimeSensor(task_id='w', target_time=time(9, 30, 0, 5))", "time_of_day", {"time": "09:30:00.000005", "timezone": "UTC"}, {}, None),
        ("DayOfWeekSensor(task_id='w', week_day={'Sunday', WeekDay.MONDAY})", "day_of_week", {"days": [1, 7], "moment": None, "timezone": "UTC"}, {}, None),
        ("DayOfWeekSensor(task_id='w', week_day='friday', use_task_logical_date=True)", "day_of_week", {"days": [5], "moment": RUN_DATE, "timezone": "UTC"}, {}, None),
        ("ExternalTaskSensor(task_id='w', external_dag_id='o')", "external_task", EXTERNAL, ONLY_SUCCESS, None),
        ("ExternalTaskSensor(task_id='w', external_dag_id='o', external_task_id='{{ params.t }}')", "external_task", {**EXTERNAL, "task_ids": ["{{ params.t }}"]}, ONLY_SUCCESS, None),
        ("ExternalTaskSensor(task_id='w', external_dag_id='o', external_task_ids=['a', 'b'], execution_delta=timedelta(days=1))", "external_task", {**EXTERNAL, "task_ids": ["a", "b"], "minus_s": 86400.0}, ONLY_SUCCESS, None),
        ("ExternalTaskSensor(task_id='w', external_dag_id='o', external_task_group_id='g', check_existence=True, allowed_states=[TaskInstanceState.SKIPPED], failed_states=['failed'], skipped_states=['removed'])", "external_task", {**EXTERNAL, "task_group_id": "g"}, {"allowed_states": ["skipped"], "failed_states": ["failed"], "skipped_states": ["removed"], "check_existence": True}, None),
        ("FileSensor(task_id='w', filepath='in/*.csv', recursive=True)", "file", {"path": "in/*.csv", "recursive": True}, {}, "fs_default"),
        ("HttpSensor(task_id='w', endpoint='x', request_params={'d': '{{ ds }}'})", "http", {**HTTP, "endpoint": "x", "data": {"d": "{{ ds }}"}}, {"error_codes": ["404"]}, "http_default"),
        ("HttpSensor(task_id='w', endpoint='x', method='post', headers={'A': 1}, response_error_codes_allowlist=['503'], extra_options={'timeout': 3, 'verify': False}, http_conn_id='c')", "http", {**HTTP, "endpoint": "x", "method": "POST", "headers": {"A": "1"}, "timeout_s": 3.0, "verify": False}, {"error_codes": ["503"]}, "c"),
        ("SqlSensor(task_id='w', conn_id='db', sql='select 1', parameters=[1], hook_params={'database': 'x'}, fail_on_empty=True)", "sql", {"sql": "select 1", "parameters": [1], "database": "x"}, {"fail_on_empty": True}, "db"),
        ("RedisKeySensor(task_id='w', key='k', redis_conn_id='r')", "redis_key", {"key": "k"}, {}, "r"),
        ("S3KeySensor(task_id='w', bucket_key='s3://b/a/{{ ds }}')", "object_key", {"store": "s3", "bucket": "b", "keys": ["a/{{ ds }}"], "wildcard": False, "prefix": False}, {}, "aws_default"),
        ("S3KeySensor(task_id='w', bucket_key=['a*', 'b'], bucket_name='n', wildcard_match=True)", "object_key", {"store": "s3", "bucket": "n", "keys": ["a*", "b"], "wildcard": True, "prefix": False}, {}, "aws_default"),
        ("S3PrefixSensor(task_id='w', bucket_name='n', prefix='p/')", "object_key", {"store": "s3", "bucket": "n", "keys": ["p/"], "wildcard": False, "prefix": True}, {}, "aws_default"),
        ("GCSObjectExistenceSensor(task_id='w', bucket='b', object='o')", "object_key", {"store": "gcs", "bucket": "b", "keys": ["o"], "wildcard": False, "prefix": False}, {}, "google_cloud_default"),
        ("GCSObjectsWithPrefixExistenceSensor(task_id='w', bucket='b', prefix='o')", "object_key", {"store": "gcs", "bucket": "b", "keys": ["o"], "wildcard": False, "prefix": True}, {}, "google_cloud_default"),
        ("WebhookSensor(task_id='w', name='paid', json_path='a.b', equals=1)", "webhook", {"name": "paid"}, {"since": "{{ leoflow_registered_at }}", "json_path": "a.b", "equals": 1}, "webhook_paid"),
        ("WebhookSensor(task_id='w', name='paid', json_path='a.b')", "webhook", {"name": "paid"}, {"since": "{{ leoflow_registered_at }}", "json_path": "a.b"}, "webhook_paid"),
        ("KubernetesObjectSensor(task_id='w', api_version='batch/v1', resource='jobs', name='j', namespace='n', condition='Complete')", "kubernetes_object", {"api_version": "batch/v1", "resource": "jobs", "namespace": "n", "name": "j"}, {"condition": "Complete", "status": "True"}, "kubernetes_default"),
    ],
)  # fmt: skip
def test_a_native_sensor_says_what_it_waits_for(
    compiled: Compile, sensor: str, kind: str, arguments: Any, predicate: Any, connection: str | None
) -> None:
    found = task(compiled(body(sensor)))
    assert (found.kind, found.prepare) == ("wait", "daemon")
    assert found.wait is not None
    assert (found.wait.probe.kind, found.wait.probe.arguments) == (kind, arguments)
    assert (found.wait.terms.predicate, found.wait.probe.connection_id) == (predicate, connection)


def test_the_terms_are_those_of_the_sensor(compiled: Compile) -> None:
    arguments = (
        "mode='reschedule', poke_interval=timedelta(seconds=5), timeout=30, soft_fail=True, exponential_backoff=True,"
        "max_wait=timedelta(minutes=2), silent_fail=True"
    )
    wait = task(compiled(body(f"FileSensor(task_id='w', filepath='x', {arguments})"))).wait
    assert wait is not None
    terms = wait.terms
    assert (terms.mode, terms.poke_interval_s, terms.timeout_s, terms.max_wait_s) == (WaitMode.RESCHEDULE, 5, 30, 120)
    assert (terms.soft_fail, terms.silent_fail, terms.never_fail, terms.exponential_backoff) == (
        True,
        True,
        False,
        True,
    )


@pytest.mark.parametrize(
    ("sensor", "mode", "timeout_s"),
    [
        ("FileSensor(task_id='w', filepath='x')", "poke", 604800),
        ("FileSensor(task_id='w', filepath='x', deferrable=True, start_from_trigger=True)", "deferrable", 604800),
        ("TimeSensor(task_id='w', target_time=time(1))", "poke", 604800),
        ("TimeSensor(task_id='w', target_time=time(1), deferrable=True)", "deferrable", None),
        ("TimeSensorAsync(task_id='w', target_time=time(1), timeout=3)", "deferrable", 3),
        ("DateTimeSensorAsync(task_id='w', target_time='2024-01-01', end_from_trigger=True)", "deferrable", None),
        ("TimeDeltaSensorAsync(task_id='w', delta=timedelta(1))", "deferrable", 604800),
    ],
)
def test_deferrable_is_a_mode_and_airflow_s_timeouts_stay(
    compiled: Compile, sensor: str, mode: str, timeout_s: float | None
) -> None:
    wait = task(compiled(body(sensor))).wait
    assert wait is not None
    assert (wait.terms.mode, wait.terms.timeout_s) == (mode, timeout_s)


def test_default_args_reach_the_terms(compiled: Compile) -> None:
    dag = "DAG('d', default_args={'mode': 'reschedule', 'poke_interval': 7, 'deferrable': True})"
    spec = compiled(
        body(
            "FileSensor(task_id='w', filepath='x')", "RedisKeySensor(task_id='r', key='k', redis_conn_id='c')", dag=dag
        )
    )
    for task_id, mode in (("w", "deferrable"), ("r", "reschedule")):
        wait = task(spec, task_id).wait
        assert wait is not None
        assert (wait.terms.poke_interval_s, wait.terms.mode) == (7, mode)


@pytest.mark.parametrize(
    "lines",
    [
        ["FileSensor(task_id='w', filepath='{{ macros.ds_add(ds, 1) }}')"],
        ["FileSensor(task_id='w', filepath='{{ ds | upper }}')"],
        ["FileSensor(task_id='w', filepath='{{ ti.xcom_pull(\"a\") }}')"],
        ["@task", "def f(): ...", "FileSensor(task_id='w', filepath=f())"],
        ["@task", "def f(): ...", "HttpSensor(task_id='w', endpoint='x', headers={'A': f()['k']})"],
        ["FileSensor(task_id='w', filepath=dag.param('p', 'x'))"],
        ["FileSensor(task_id='w', filepath=literal('{{ ds }}'))"],
        ["ExternalTaskSensor(task_id='w', external_dag_id='o', execution_date_fn=lambda d: d)"],
        ["TimeDeltaSensor(task_id='w', delta='{{ params.n }}')"],
        ["SqlSensor(task_id='w', conn_id='c', sql='query.sql')"],
        ["SqlSensor(task_id='w', conn_id='c', sql='x', parameters=[datetime(2024, 1, 1)])"],
        ["SqlSensor(task_id='w', conn_id='{{ ds }}', sql='x')"],
        ["S3KeySensor(task_id='w', bucket_key='{{ params.url }}')"],
        ["TimeSensor(task_id='w', target_time=datetime.now().time())"],
        ["TimeSensor(task_id='w', target_time=datetime.now(timezone.utc).replace(microsecond=0).time())"],
        ["DateTimeSensor(task_id='w', target_time=datetime.now() + timedelta(seconds=3))"],
    ],
)  # fmt: skip
def test_what_only_a_process_knows_is_prepared_there(compiled: Compile, lines: list[str]) -> None:
    found = task(compiled(body(*lines)))
    assert (found.kind, found.prepare, found.wait) == ("wait", "process", None)


@pytest.mark.parametrize("dag", ["user_defined_macros={'ds': 1}", "render_template_as_native_obj=True"])
def test_a_dag_with_its_own_jinja_renders_templates_in_a_process(compiled: Compile, dag: str) -> None:
    spec = compiled(
        body(
            "FileSensor(task_id='w', filepath='{{ ds }}')",
            "FileSensor(task_id='plain', filepath='x')",
            dag=f"DAG('d', {dag})",
        )
    )
    assert task(spec).prepare == "process"
    assert task(spec, "plain").prepare == "daemon"


def test_arguments_that_differ_from_load_to_load_are_not_in_the_artifact(compiled: Compile) -> None:
    found = task(
        compiled("import time as clock\n" + body("FileSensor(task_id='w', filepath=str(clock.perf_counter_ns()))"))
    )
    assert (found.prepare, found.wait, found.template_values) == ("process", None, {})


def test_structure_that_differs_is_an_error_beside_arguments_that_differ(refused: Refuse) -> None:
    error = refused("import time as clock\n" + body("FileSensor(task_id=f'a{clock.perf_counter_ns()}', filepath='x')"))
    assert "twice" in error.what


@pytest.mark.parametrize(
    "lines",
    [
        ["class Mine(FileSensor):", "    def poke(self, context): return True", "Mine(task_id='w', filepath='x')"],
        ["class Mine(FileSensor):", "    def execute(self, context): ...", "Mine(task_id='w', filepath='x')"],
        ["class Mixin:", "    def poke(self, context): return True", "class Mine(Mixin, FileSensor): pass", "Mine(task_id='w', filepath='x')"],
        ["FileSensor(task_id='w', filepath='x', pre_execute=print)"],
        ["HttpSensor(task_id='w', endpoint='x', response_check=lambda r: True)"],
        ["HttpSensor(task_id='w', endpoint='x', extra_options={'check_response': False})"],
        ["PythonSensor(task_id='w', python_callable=print)"],
        ["BashSensor(task_id='w', bash_command='true')"],
        ["@task.sensor(poke_interval=3, mode='reschedule')", "def w(): return True", "w()"],
    ],
)  # fmt: skip
def test_code_of_the_author_s_runs_in_a_process(compiled: Compile, lines: list[str]) -> None:
    found = task(compiled(body(*lines)))
    assert (found.kind, found.wait) == ("sensor", None)


def test_a_subclass_that_only_sets_arguments_stays_a_wait(compiled: Compile) -> None:
    lines = [
        "class Daily(FileSensor):",
        "    def __init__(self, *, name, **kwargs):",
        "        super().__init__(filepath=f'/in/{name}', **kwargs)",
        "Daily(task_id='w', name='{{ ds }}')",
    ]
    wait = task(compiled(body(*lines))).wait
    assert wait is not None
    assert wait.probe.arguments["path"] == "/in/{{ ds }}"


@pytest.mark.parametrize(
    ("sensor", "words"),
    [
        ("FileSensor(task_id='w', filepath='x', surprise=1)", ["surprise"]),
        ("DayOfWeekSensor(task_id='w', week_day=1)", ["week_day"]),
        ("DayOfWeekSensor(task_id='w', week_day='monday', deferrable=True)", ["deferrable"]),
        ("FileSensor(task_id='w', filepath='x', mode='often')", ["often", "poke, reschedule"]),
        ("FileSensor(task_id='w', filepath='x', poke_interval=-1)", ["poke_interval", "negative"]),
        ("FileSensor(task_id='w', filepath='x', trigger_kwargs={'a': 1})", ["trigger_kwargs"]),
        ("TimeSensor(task_id='w', target_time='09:00')", ["target_time", "DateTimeSensor"]),
        ("S3KeySensor(task_id='w', bucket_key=['s3://a/b', 's3://c/d'])", ["one bucket"]),
        ("S3KeySensor(task_id='w', bucket_key='a/b')", ["bucket_name"]),
        ("ExternalTaskSensor(task_id='w', external_dag_id='o', external_task_id='a', external_task_ids=['b'])", ["external_task_ids"]),
        ("ExternalTaskSensor(task_id='w', external_dag_id='o', allowed_states=['skipped'])", ["skipped", "dag run"]),
        ("ExternalTaskSensor(task_id='w', external_dag_id='o', failed_states=['success'])", ["several"]),
        ("RedisKeySensor(task_id='w', key='k', redis_conn_id='c', pre_execute=print)", ["poke()"]),
        ("BaseSensorOperator(task_id='w')", ["poke()"]),
        ("WebhookSensor(task_id='w', name='paid', equals=1)", ["equals", "json_path"]),
        ("WebhookSensor(task_id='w', name='a/b')", ["'a/b'", "letters"]),
        ("KubernetesObjectSensor(task_id='w', api_version='v1', resource='pods', name='p', condition='Ready', json_path='a')", ["condition and json_path"]),
    ],
)  # fmt: skip
def test_an_argument_that_could_not_be_honoured_is_refused(refused: Refuse, sensor: str, words: list[str]) -> None:
    text = body(sensor)
    error = refused(text)
    assert (error.path, error.line) == ("dag.py", text.lstrip().count("\n")), str(error)
    for word in words:
        assert word in str(error)


@pytest.mark.parametrize(
    ("sensor", "connector"),
    [
        ("SqlSensor(task_id='w', conn_id='c', sql='x', success=bool)", "common.sql"),
        ("SqlSensor(task_id='w', conn_id='c', sql='x', hook_params={'a': 1})", "common.sql"),
        ("HttpSensor(task_id='w', endpoint='x', extra_options={'cert': 1})", "http"),
        ("S3KeySensor(task_id='w', bucket_key='s3://a/b', check_fn=print)", "amazon"),
    ],
)
def test_an_argument_that_only_the_real_sensor_honours_takes_its_package_in(
    compiled: Compile, sensor: str, connector: str
) -> None:
    """And those of the other classes that the file imports, since its tasks then load it under Airflow."""
    spec = compiled(body(sensor))
    assert connector in spec.environment.connectors
    assert task(spec).kind == "operator"


@pytest.mark.parametrize(
    "old",
    [
        "airflow.sensors.base:BaseSensorOperator",
        "airflow.sensors.base:PokeReturnValue",
        "airflow.sdk.bases.sensor:poke_mode_only",
        "airflow.sensors.bash:BashSensor",
        "airflow.sensors.python:PythonSensor",
        "airflow.sensors.date_time:DateTimeSensorAsync",
        "airflow.sensors.external_task:ExternalTaskSensor",
        "airflow.sensors.filesystem:FileSensor",
        "airflow.sensors.time_sensor:TimeSensor",
        "airflow.sensors.time_delta:TimeDeltaSensorAsync",
        "airflow.sensors.weekday:DayOfWeekSensor",
        "airflow.providers.amazon.aws.sensors.s3_key:S3KeySensor",
        "airflow.triggers.base:BaseTrigger",
        "airflow.triggers.temporal:DateTimeTrigger",
        "airflow.providers.http.triggers.http:HttpSensorTrigger",
        "airflow.exceptions:TaskDeferred",
        "airflow.utils.weekday:WeekDay",
    ],
)
def test_the_usual_import_paths_exist(compiled: Compile, old: str) -> None:
    module, _, name = old.partition(":")
    compiled(f"from {module} import {name}\n" + body("FileSensor(task_id='w', filepath='x')"))
