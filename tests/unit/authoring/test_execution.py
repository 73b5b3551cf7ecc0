"""`tasks.<id>.execution` of leoflow.yaml: in the daemon, or in a process."""

from __future__ import annotations

import pytest

from .conftest import Compile, Refuse

DAG = """
from leoflow import DAG, EmptyOperator, task
from leoflow.sensors import FileSensor, RedisKeySensor
from airflow.providers.http.operators.http import HttpOperator
with DAG("d"):
    FileSensor(task_id="file", filepath="x")
    RedisKeySensor(task_id="redis", key="k", redis_conn_id="c")
    HttpOperator(task_id="call", endpoint="x")
    EmptyOperator(task_id="empty")
    @task
    def code(): ...
    code()
"""


@pytest.mark.parametrize(
    ("task_id", "execution", "kind"),
    [
        ("file", "inline", "wait"),
        ("file", "process", "sensor"),
        ("call", "inline", "http"),
        ("call", "process", "python"),
        ("empty", "inline", "empty"),
        ("code", "process", "python"),
    ],
)
def test_a_task_is_placed_as_asked(compiled: Compile, task_id: str, execution: str, kind: str) -> None:
    spec = compiled(DAG, yaml=f"tasks:\n  {task_id}: {{execution: {execution}}}\n")
    found = next(task for task in spec.tasks if task.task_id == task_id)
    assert (found.kind, found.execution) == (kind, {})
    assert (found.wait is not None, found.http is not None) == (kind == "wait", kind == "http")


@pytest.mark.parametrize(
    ("task_id", "execution", "words"),
    [
        ("code", "inline", ["@task", "the daemon runs none"]),
        ("redis", "process", ["RedisKeySensor", "no code"]),
        ("empty", "process", ["EmptyOperator", "nothing to run"]),
        ("file", "elsewhere", ["inline, process"]),
    ],
)
def test_where_a_task_cannot_run_is_an_error_of_that_line(
    refused: Refuse, task_id: str, execution: str, words: list[str]
) -> None:
    error = refused(DAG, yaml=f"tasks:\n  {task_id}:\n    execution: {execution}\n")
    assert (error.path, error.line) == ("leoflow.yaml", 3)
    for word in words:
        assert word in str(error)
