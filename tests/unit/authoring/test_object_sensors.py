# ruff: noqa: E501 - DAG texts and tables, one case per line
"""Sensors of S3 and Google Cloud Storage: what they take, and what of it the daemon honours."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

from .conftest import Compile, Refuse, StartProcess
from .test_native_sensors import body, task

# --- which object ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://b/k/l", "b", "k/l"),
        ("S3A://b/k", "b", "k"),
        ("s3n://b//k", "b", "k"),
        ("s3://{{ params.b }}/k/{{ ds }}", "{{ params.b }}", "k/{{ ds }}"),
        ("https://b.s3.eu-west-1.amazonaws.com/k/l", "b", "k/l"),
        ("https://s3.eu-west-1.amazonaws.com/b/k/l", "b", "k/l"),
    ],
)
def test_a_key_may_be_any_url_of_s3_that_airflow_takes(compiled: Compile, url: str, bucket: str, key: str) -> None:
    wait = task(compiled(body(f"S3KeySensor(task_id='w', bucket_key={url!r})"))).wait
    assert wait is not None
    assert (wait.probe.arguments["bucket"], wait.probe.arguments["keys"]) == (bucket, [key])


@pytest.mark.parametrize("key", ["{{ params.url }}", "s3://{{ params.path }}", "s3://{{ params['a/b'] }}/k"])
def test_a_url_whose_bucket_a_template_hides_is_taken_apart_in_a_process(compiled: Compile, key: str) -> None:
    assert task(compiled(body(f"S3KeySensor(task_id='w', bucket_key={key!r})"))).prepare == "process"


def test_all_keys_of_an_empty_list_are_there(compiled: Compile) -> None:
    wait = task(compiled(body("S3KeySensor(task_id='w', bucket_key=[])"))).wait
    assert wait is not None
    assert wait.probe.arguments["keys"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("bucket_key='s3://b/k', bucket_name='b'", ["'s3://b/k'", "remove bucket_name"]),
        ("bucket_key='https://example.org/k'", ["one bucket"]),
        ("bucket_key=5, bucket_name='b'", ["bucket_key=5", "a key is a text"]),
        ("bucket_key=[None], bucket_name='b'", ["[None]", "a key is a text"]),
    ],
)
def test_what_names_no_object_is_refused(refused: Refuse, arguments: str, words: list[str]) -> None:
    text = str(refused(body(f"S3KeySensor(task_id='w', {arguments})")))
    assert all(word in text for word in words), text


# --- through which connection ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "connection_id"),
    [
        ("S3KeySensor(task_id='w', bucket_key='s3://b/k', aws_conn_id='{{ params.c }}')", "{{ params.c }}"),
        ("S3PrefixSensor(task_id='w', bucket_name='b', prefix='p', aws_conn_id='{{ params.c }}')", "{{ params.c }}"),
        ("GCSObjectExistenceSensor(task_id='w', bucket='b', object='o', google_cloud_conn_id='c')", "c"),
        ("GCSObjectsWithPrefixExistenceSensor(task_id='w', bucket='b', prefix='o', google_cloud_conn_id='{{ params.c }}')", "{{ params.c }}"),
    ],
)  # fmt: skip
def test_a_connection_is_a_template_field_as_in_airflow(compiled: Compile, call: str, connection_id: str) -> None:
    found = task(compiled(body(call)))
    assert found.wait is not None
    assert (found.prepare, found.wait.probe.connection_id) == ("daemon", connection_id)


@pytest.mark.parametrize("connection_id", ["None", "''"])
def test_the_identity_of_whoever_asks_is_that_of_a_process(compiled: Compile, connection_id: str) -> None:
    spec = compiled(body(f"S3KeySensor(task_id='w', bucket_key='s3://b/k', aws_conn_id={connection_id})"))
    assert task(spec).kind == "operator"


# --- what only the real class honours ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        "S3KeySensor(task_id='w', bucket_key='s3://b/k', verify=False)",
        "S3PrefixSensor(task_id='w', bucket_name='b', prefix='p', verify=False)",
        "S3KeySensor(task_id='w', bucket_key='s3://b/k', default_args={'region_name': 'eu-west-1'})",
        "GCSObjectExistenceSensor(task_id='w', bucket='b', object='o', default_args={'impersonation_chain': 'a@b'})",
        "S3KeySensor.partial(task_id='w', bucket_name='b', verify=False).expand(bucket_key=['a', 'b'])",
        "S3KeySensor.partial(task_id='w', bucket_name='b', check_fn=print).expand(bucket_key=XComArg(keys))",
        "S3KeySensor.partial(task_id='w', bucket_name='b', check_fn=print).expand(bucket_key=XComArg(keys).map(str))",
        "S3KeySensor.partial(task_id='w', bucket_name='b', check_fn=print).expand_kwargs(XComArg(keys))",
        "S3KeySensor.partial(task_id='w', bucket_name='b', check_fn=print, map_index_template='x').expand(bucket_key=['a'])",
        "S3KeySensor.partial(task_id='w', bucket_name='b').expand(bucket_key=['a'], use_regex=[False, True])",
        "S3KeySensor.partial(task_id='w', bucket_name='b').expand_kwargs([{'bucket_key': '{{ ti }}'}, {'bucket_key': 'a', 'use_regex': True}])",
        "GCSObjectExistenceSensor.partial(task_id='w', bucket='b', impersonation_chain='a@b').expand(object=['a'])",
        "SqlSensor.partial(task_id='w', conn_id='c', success=bool).expand(sql=['a'])",
    ],
)  # fmt: skip
def test_what_only_the_real_class_honours_takes_its_package_in(compiled: Compile, call: str) -> None:
    keys = "keys = BashOperator(task_id='keys', bash_command='true')"
    head = "from airflow.providers.standard.operators.bash import BashOperator\n"
    assert task(compiled(head + body(keys, call))).kind == "operator"


@pytest.mark.parametrize(
    "arguments", ["use_regex=False", "check_fn=None, verify=None, metadata_keys=None", "botocore_config=None"]
)
def test_the_values_that_airflow_has_anyhow_change_nothing(compiled: Compile, arguments: str) -> None:
    assert task(compiled(body(f"S3KeySensor(task_id='w', bucket_key='s3://b/k', {arguments})"))).kind == "wait"


@pytest.mark.parametrize(
    "call",
    [
        "S3KeySensor.partial(task_id='w', bucket_name='b', deferrable=True).expand(bucket_key=['a', 'b'])",
        "GCSObjectExistenceSensor.partial(task_id='w', bucket='b', google_cloud_conn_id='c', deferrable=True).expand(object=['a'])",
        "FileSensor.partial(task_id='w', deferrable=True).expand(filepath=['a', 'b'])",
        "HttpSensor.partial(task_id='w', deferrable=True, tcp_keep_alive=True).expand(endpoint=['a', 'b'])",
    ],
)  # fmt: skip
def test_arguments_about_deferring_may_be_given_to_partial(compiled: Compile, call: str) -> None:
    found = task(compiled(body(call)))
    assert found.wait is not None
    assert found.wait.terms.mode == "deferrable"


@pytest.fixture
def told_nothing(runtime: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a task's process: only the loader says which packages there will be."""
    monkeypatch.setattr(importlib.import_module("airflow._leoflow.connectors"), "_packages", None)


@pytest.mark.usefixtures("told_nothing")
def test_an_output_that_asks_for_the_real_class_fails_its_instance_in_words(process: StartProcess) -> None:
    text = body("S3KeySensor.partial(task_id='w', bucket_name='b').expand_kwargs([{'bucket_key': 'a'}])")
    mapped: Any = process(text).task("w")
    with pytest.raises(Exception, match=r"S3KeySensor has use_regex; only the real package honours it.*partial\(\)"):
        mapped.instance_with({"bucket_key": "a", "use_regex": True})


@pytest.mark.usefixtures("told_nothing")
def test_beside_an_instance_the_file_may_have_what_only_the_real_class_honours(process: StartProcess) -> None:
    """A wait of the same file is prepared here, although other tasks of it run under Airflow."""
    assert process(body("S3KeySensor(task_id='w', bucket_key='s3://b/k', use_regex=True)")).task("w").kind == "operator"
