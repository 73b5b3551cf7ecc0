"""The editor completes what the stubs say."""

from __future__ import annotations

from leoflowd.lite.completions import Argument, completions_of, read_stubs

STUBS = {
    "airflow._leoflow": '''
class Operator:
    """Runs something."""
    queue: str
    def __init__(self, *, task_id: str, retries: int = 0, **kwargs) -> None: ...
class _Factory:
    def __call__(self, function, /): ...
    def bash(self): ...
def dag(function, /): ...
def dag(*, dag_id: str = ..., tags: list[str] | None = None):
    """Makes DAGs."""
''',
    "airflow.sdk": """
from airflow._leoflow import Operator as Operator
from airflow._leoflow import dag as dag
from airflow._leoflow import _Factory
task: _Factory
""",
    "airflow._private": "x: int",
}


def test_a_module_has_the_names_that_its_stub_hands_on() -> None:
    assert completions_of(STUBS).modules == {"airflow.sdk": {"Operator": "Operator", "dag": "dag", "task": "_Factory"}}


def test_arguments_come_with_type_and_default() -> None:
    made = completions_of(STUBS).callables["Operator"]
    assert made.doc == "Runs something."
    assert made.arguments == (Argument("task_id", "str", ""), Argument("retries", "int", "0"))


def test_of_overloads_the_one_with_arguments_counts() -> None:
    assert [one.name for one in completions_of(STUBS).callables["dag"].arguments] == ["dag_id", "tags"]


def test_what_follows_a_dot_is_known_of_values() -> None:
    assert completions_of(STUBS).callables["_Factory"].members == ("bash",)


def test_the_real_stubs_know_the_operators_and_both_packages() -> None:
    found = completions_of(read_stubs())
    bash = found.callables[found.modules["airflow.providers.standard.operators.bash"]["BashOperator"]]
    assert {"bash_command", "task_id", "retries"} <= {one.name for one in bash.arguments}
    assert "bash" in found.callables[found.modules["airflow.sdk"]["task"]].members
    assert "DAG" in found.modules["leoflow"]
