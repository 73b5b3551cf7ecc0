"""Rendering, and what the UI is shown of it. The operator and DAG are stand-ins with the attributes that are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jinja2
import pytest

from leoflow_agent.runner import because, templates


def _render(
    text: str,
    folder: str = "/nowhere",
    *,
    dag: dict[str, Any] | None = None,
    source_path: str = "dag.py",
    **operator: Any,
) -> Any:
    settings = {
        "render_template_as_native_obj": False,
        "jinja_environment_kwargs": None,
        "template_searchpath": (),
        "template_undefined": None,
        "user_defined_filters": None,
        "user_defined_macros": None,
        **(dag or {}),
    }
    task = SimpleNamespace(template_ext=(".sql",), **operator)
    context = {"n": 3, "items_": [1, 2]}
    return templates.renderer(SimpleNamespace(**settings), task, context, folder, source_path)(text)


def test_text_without_braces_needs_no_jinja():
    assert _render("plain") == "plain"


def test_names_come_from_the_context():
    assert _render("{{ n + 1 }}") == "4"


def test_native_rendering_keeps_types():
    assert _render("{{ items_ }}", dag={"render_template_as_native_obj": True}) == [1, 2]
    assert _render("{{ items_ }}", render_template_as_native_obj=True) == [1, 2]


def test_an_undefined_name_is_an_error_unless_the_dag_says_otherwise():
    with pytest.raises(jinja2.UndefinedError):
        _render("{{ missing }}")
    assert _render("{{ missing }}", dag={"template_undefined": jinja2.Undefined}) == ""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("UndefinedError: 'ds' is undefined", "ds"),
        ("UndefinedError: 'data_interval_start' is undefined", "data_interval_start"),
        ("KeyError: logical_date", "logical_date"),
        ("TypeError: load() missing 1 required positional argument: 'ds_nodash'", "ds_nodash"),
    ],
)
def test_a_name_that_is_missing_for_want_of_a_logical_date_says_what_to_do(error: str, name: str) -> None:
    told = because.remedy(error, {"logical_date": None})
    assert f"has no {name}:" in told
    assert "--logical-date" in told
    assert because.remedy(error, {"logical_date": "2026-01-01T00:00:00Z"}) == ""


@pytest.mark.parametrize("error", ["UndefinedError: 'dss' is undefined", "KeyError: ds of mine", "ValueError: ds"])
def test_other_errors_get_no_such_advice(error: str) -> None:
    assert because.remedy(error, {"logical_date": None}) == ""


def test_pythons_internals_are_out_of_reach():
    with pytest.raises(jinja2.exceptions.SecurityError):
        _render("{{ ''.__class__.__mro__ }}")


def test_a_text_with_a_template_ending_is_a_file(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "q.sql").write_text("select {{ n }}")
    assert _render("sub/q.sql", str(tmp_path)) == "select 3"
    assert _render("q.sql", str(tmp_path), dag={"template_searchpath": ("sub",)}) == "select 3"


@pytest.mark.parametrize(
    "path",
    ["include/sql", "/usr/local/airflow/include/sql", "/opt/airflow/include/sql", "/home/airflow/gcs/include/sql"],
)
def test_search_paths_are_below_airflows_home_wherever_that_was(tmp_path, path: str):
    (tmp_path / "include" / "sql").mkdir(parents=True)
    (tmp_path / "include" / "sql" / "q.sql").write_text("select {{ n }}")
    found = _render("q.sql", str(tmp_path), source_path="dags/deep/etl.py", dag={"template_searchpath": (path,)})
    assert found == "select 3"


def test_a_search_path_of_this_machine_stays_as_it_is(tmp_path):
    (tmp_path / "q.sql").write_text("select {{ n }}")
    assert _render("q.sql", "/nowhere", dag={"template_searchpath": (str(tmp_path),)}) == "select 3"


def test_macros_and_filters_of_the_dag_are_there():
    dag = {"user_defined_macros": {"twice": lambda x: 2 * x}, "user_defined_filters": {"shout": str.upper}}
    assert _render("{{ twice(n) }} {{ 'a' | shout }}", dag=dag) == "6 A"


def test_shown_fields_are_json_hide_secrets_and_are_cut():
    operator = SimpleNamespace(
        template_fields=("sql", "password", "env", "function", "rows"),
        sql="x" * 5000,
        password="hunter2",
        env={"API_TOKEN": "hunter2", "HOME": "/", 1: float("inf")},
        function=len,
        rows=({3},),
    )
    shown = templates.shown_fields(operator, lambda text: text)
    assert shown["sql"] == "x" * 4096 + "... (cut: 5000 characters)"
    assert shown["password"] == "***"
    assert shown["env"] == {"API_TOKEN": "***", "HOME": "/", "1": "inf"}
    assert shown["function"] == "<callable len>"
    assert shown["rows"] == [[3]]


def test_a_connection_that_no_package_knows_is_told_with_what_brings_it() -> None:
    told = because.remedy('AirflowException: Unknown hook type "postgres"', {"logical_date": None})
    assert "'postgres'" in told
    assert "`connectors: [postgres]`" in told
    assert because.remedy('ValueError: Unknown hook type "postgres"', {"logical_date": None}) == ""
