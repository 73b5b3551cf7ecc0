# ruff: noqa: E501 - DAG texts and tables, one case per line
"""The border that the task runner relies on: loading, finding, resolving and executing tasks."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leoflowd.authoring.bundle import copy_bundle

from .conftest import MakeProject

DAG = """
from leoflow import DAG, task, BashOperator, PythonOperator, get_current_context, literal
SEEN = []
with DAG("d") as dag:
    @task
    def make(ti=None, **context): return {"n": context["params"]["n"], "ti": ti}
    @task
    def use(values, fixed, n=None): return [values, fixed, n]
    use([make()], fixed=literal("{{ raw }}"), n=make()["k"])
    @task
    async def later(): return get_current_context()["ds"]
    later()
    @task.bash
    def shell(word): return "echo {{ ds }} " + word
    shell("w")
    BashOperator(task_id="lines", bash_command="echo one; echo two >&2; echo $A", env={"A": "three"}, append_env=True)
    BashOperator(task_id="skip", bash_command="exit 99")
    BashOperator(task_id="fail", bash_command="exit 3")
    PythonOperator(task_id="hooks", python_callable=lambda: SEEN.append("run"),
                   pre_execute=lambda c: SEEN.append("pre"), post_execute=lambda c, r: SEEN.append("post"))
"""


@pytest.fixture
def dags(runtime: ModuleType, project: MakeProject) -> Any:
    return runtime.load_project(str(project(DAG)))


def test_a_missing_task_or_dag_names_those_that_exist(runtime: ModuleType, dags: Any) -> None:
    from airflow.exceptions import TaskNotFound

    with pytest.raises(TaskNotFound, match="fail, hooks, later"):
        runtime.find_task(dags, "d", "x")
    with pytest.raises(KeyError, match="it defines d"):
        runtime.find_task(dags, "x", "x")


def test_a_function_gets_the_context_keys_that_it_names(runtime: ModuleType, dags: Any) -> None:
    op = runtime.find_task(dags, "d", "make")
    assert runtime.execute(op, {"ti": "TI", "params": {"n": 4}, "ds": "x"}) == {"n": 4, "ti": "TI"}


def test_outputs_are_pulled_and_texts_rendered(runtime: ModuleType, dags: Any) -> None:
    op = runtime.find_task(dags, "d", "use")
    pushed = {("make", "return_value"): 1, ("make__1", "k"): 2}
    for field in op.template_fields:
        value = runtime.resolve(getattr(op, field), lambda *key: pushed.get(key, runtime.MISSING), text=str.upper)
        setattr(op, field, value)
    assert runtime.execute(op, {}) == [[1], "{{ raw }}", 2]


def test_a_key_that_was_never_pushed_is_an_error_and_a_return_value_is_none(runtime: ModuleType, dags: Any) -> None:
    from airflow.exceptions import XComNotFound

    op = runtime.find_task(dags, "d", "use")
    assert runtime.resolve(op.op_args, lambda *_: runtime.MISSING) == ([None],)
    with pytest.raises(XComNotFound):
        runtime.resolve(op.op_kwargs, lambda *_: runtime.MISSING)


def test_a_coroutine_function_runs_with_the_current_context(runtime: ModuleType, dags: Any) -> None:
    runtime.set_current_context({"ds": "2024-01-01"})
    assert runtime.execute(runtime.find_task(dags, "d", "later"), {}) == "2024-01-01"
    runtime.set_current_context(None)
    with pytest.raises(RuntimeError, match="while a task runs"):
        runtime.execute(runtime.find_task(dags, "d", "later"), {})


def test_bash_logs_every_line_and_returns_the_last(
    runtime: ModuleType, dags: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert runtime.execute(runtime.find_task(dags, "d", "lines"), {}) == "three"
    assert [record.getMessage() for record in caplog.records if record.getMessage() in {"one", "two", "three"}] == [
        "one",
        "two",
        "three",
    ]


def test_bash_exit_codes(runtime: ModuleType, dags: Any) -> None:
    from airflow.exceptions import AirflowException, AirflowSkipException

    with pytest.raises(AirflowSkipException):
        runtime.execute(runtime.find_task(dags, "d", "skip"), {})
    with pytest.raises(AirflowException, match="non-zero exit code 3"):
        runtime.execute(runtime.find_task(dags, "d", "fail"), {})


def test_the_command_of_a_bash_function_is_rendered(runtime: ModuleType, dags: Any) -> None:
    runtime.set_renderer(lambda text: text.replace("{{ ds }}", "2024-01-01"))
    assert runtime.execute(runtime.find_task(dags, "d", "shell"), {}) == "2024-01-01 w"
    runtime.set_renderer(None)


def test_hooks_run_around_the_task(runtime: ModuleType, dags: Any) -> None:
    op = runtime.find_task(dags, "d", "hooks")
    runtime.execute(op, {})
    assert op.python_callable.__globals__["SEEN"] == ["pre", "run", "post"]


def test_a_declarative_dag_is_loaded_from_its_bundle(runtime: ModuleType, project: MakeProject, tmp_path: Path) -> None:
    folder = project(
        files={
            "dag.yaml": "dag_id: y\ntasks:\n  a: {python: 'steps:one'}\n  b: {python: 'steps:two', inputs: {x: 'a[k]'}}\n",
            "steps.py": "def one(): return 1\ndef two(x): return x + 1\n",
        }
    )
    copy_bundle(folder, tmp_path / "copy")
    dags = runtime.load_project(str(tmp_path / "copy"), "dag.yaml")
    op = runtime.find_task(dags, "y", "b")
    op.op_kwargs = runtime.resolve(op.op_kwargs, lambda task_id, key: {("a", "k"): 41}[task_id, key])
    assert runtime.execute(op, {}) == 42


def test_variables_and_connections_come_from_the_environment(
    runtime: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import BaseHook, Connection, Variable

    monkeypatch.setenv("AIRFLOW_VAR_X", '{"a": 1}')
    monkeypatch.setenv("AIRFLOW_CONN_DB", "postgresql://me:p%40ss@host:5432/base?sslmode=require")
    monkeypatch.setenv("AIRFLOW_CONN_API", '{"conn_type": "http", "host": "h", "extra": {"k": 1}}')
    assert Variable.get("x", deserialize_json=True) == {"a": 1}
    assert Variable.get("y", "default") == "default"
    with pytest.raises(KeyError):
        Variable.get("y")
    db = BaseHook.get_connection("db")
    assert (db.conn_type, db.login, db.password, db.host, db.port, db.schema) == (
        "postgres",
        "me",
        "p@ss",
        "host",
        5432,
        "base",
    )
    assert db.extra_dejson == {"sslmode": "require"}
    assert "p@ss" not in repr(db)
    assert Connection.get("api").extra_dejson == {"k": 1}


@pytest.mark.parametrize(
    ("fields", "uri"),
    [
        ({"conn_type": "my_http", "host": "http://h/x", "extra": '{"a": "b"}'}, "my-http://http://h%2Fx/?a=b"),
        ({"conn_type": "http", "host": "http://h", "port": 5}, "http://http%3A%2F%2Fh:5"),
        ({"conn_type": "db", "login": "u", "password": "p@:/", "schema": "s"}, "db://u:p%40%3A%2F@/s"),
        ({"conn_type": "db", "port": 5}, "db://@:5"),
        ({"conn_type": "db", "host": "h", "schema": "s", "extra": '{"a": 1}'}, "db://h/s?__extra__=%7B%22a%22%3A+1%7D"),
        ({"conn_type": "db", "host": "h", "extra": '{"a": ""}'}, "db://h/?a="),
        ({"conn_type": "db", "host": "h", "extra": "[1]"}, "db://h/?__extra__=%5B1%5D"),
    ],
)
def test_the_uri_of_a_connection_is_airflows(runtime: ModuleType, fields: dict[str, Any], uri: str) -> None:
    from airflow.sdk import Connection

    assert Connection("it", **fields).get_uri() == uri


def test_macros(runtime: ModuleType) -> None:
    from airflow import macros

    assert macros.ds_add("2024-01-31", 1) == "2024-02-01"
    assert macros.ds_format("2024-01-31", "%Y-%m-%d", "%d.%m.%y") == "31.01.24"
