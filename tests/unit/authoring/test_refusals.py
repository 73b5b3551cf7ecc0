"""What we do not run is an error that names file, line, task and remedy."""

from __future__ import annotations

import pytest

from .conftest import Compile, Refuse

IMPORTS = """from airflow.sdk import *
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
with DAG("d") as dag:
"""
"""Four lines, so that a case's code is line 5."""


@pytest.mark.parametrize(
    ("code", "line", "words"),
    [
        ("    @task.stub\n    def f(): ...", 5, ["@task.stub", "other languages"]),
        ("    from airflow.operators.subdag import get_subdag", 5, ["get_subdag", "TaskGroup"]),
        ("    @task.nonsense\n    def f(): ...", 5, ["no such decorator"]),
        ("    EmptyOperator(task_id='a', on_failure_callback='mine.f')", 5, ["'a'", "on_failure_callback", "notifier"]),
        ("    EmptyOperator(task_id='a', executor_config={'x': {1}})", 5, ["executor_config", "JSON"]),
        ("    EmptyOperator(task_id='a').on_success_callback = [print, 1]", 5, ["on_success_callback", "called"]),
        ("    EmptyOperator(task_id='a', outlets=[1])", 5, ["outlets of task 'a'", "Asset(...)"]),
        ("    EmptyOperator(task_id='a', email=7)", 5, ["email", "addresses"]),
        ("    EmptyOperator(task_id='a', trigger_rule='maybe')", 5, ["'maybe'", "one_success"]),
        ("    EmptyOperator(task_id='a', retries=-1)", 5, ["retries", "at least 0"]),
        ("    EmptyOperator(task_id='a', execution_timeout='5m')", 5, ["execution_timeout", "timedelta"]),
        ("    EmptyOperator(task_id='a', surprise=1)", 5, ["'a'", "surprise"]),
        ("    EmptyOperator(task_id='a b')", 5, ["'a b'", "letters"]),
        ("    EmptyOperator('a')", 5, ["positional"]),
        ("    EmptyOperator(task_id='a')\n    EmptyOperator(task_id='a')", 6, ["'a'", "twice"]),
        ("    BaseOperator(task_id='a')", 5, ["execute", "EmptyOperator"]),
        ("    a = EmptyOperator(task_id='a')\n    a >> a", 6, ["'a'", "itself"]),
        ("    a = EmptyOperator(task_id='a')\n    a >> 'b'", 6, ["'b'", "dependency"]),
        ("    @task\n    def f(): ...\n    EmptyOperator(task_id='a') >> f", 7, ["write f()"]),
        ("    @task\n    def f(x): ...\n    f()", 7, ["missing a required argument", "'x'"]),
        ("    @task\n    def f(): ...\n    a = f()\n    EmptyOperator(task_id='e', retries=a)", 8, ["retries", "'f'"]),
        ("    from airflow.providers.amzon.aws.hooks.s3 import S3Hook", 5, ["amzon", "no provider of this name"]),
        ("    from airflow import Nonsense", 5, ["'Nonsense'"]),
        ("    import airflow.nonsense", 5, ["airflow.nonsense"]),
        ("    import surely_not_there", 5, ["surely_not_there", "dependencies"]),
        ("    with task(print)() as x: ...", 5, ["with"]),
        ("    1 / 0", 5, ["ZeroDivisionError"]),
        ("    def f(:", 5, ["not valid Python", "Python 3.", "`python_version:`"]),
    ],
)
def test_a_fault_in_a_dag_names_its_line(refused: Refuse, code: str, line: int, words: list[str]) -> None:
    error = refused(IMPORTS + code + "\n")
    assert (error.path, error.line) == ("dag.py", line), str(error)
    for word in words:
        assert word in str(error)
    assert str(error) == f"dag.py:{line}: {error.what}; {error.why}; {error.remedy}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("schedule='61 * * * *'", ["'61'", "minute"]),
        ("schedule='* * * * * * *'", ["7 fields"]),
        ("schedule='@sometimes'", ["preset"]),
        ("schedule=[1]", ["[1]", "assets"]),
        ("on_failure_callback='mine.f'", ["on_failure_callback", "list"]),
        ("deadline=1", ["deadline=1", "DeadlineAlert"]),
        ("max_active_runs=-1", ["max_active_runs"]),
        ("schedule='@continuous'", ["max_active_runs=1"]),
        ("start_date='2024-01-01'", ["start_date", "datetime"]),
        ("params={'x': object()}", ["JSON"]),
        ("surprise=1", ["surprise", "remove"]),
    ],
)
def test_a_fault_in_the_dag_itself(refused: Refuse, arguments: str, words: list[str]) -> None:
    error = refused(
        "from airflow.sdk import DAG\nfrom leoflow import EmptyOperator\n"
        f"with DAG('d', {arguments}):\n    EmptyOperator(task_id='a')\n"
    )
    assert (error.path, error.line) == ("dag.py", 3), str(error)
    for word in words:
        assert word in str(error)


def test_a_cycle_is_shown_whole(refused: Refuse) -> None:
    error = refused(IMPORTS + "    a, b, c = (EmptyOperator(task_id=n) for n in 'abc')\n    c >> a >> b >> c\n")
    assert "a >> b >> c >> a" in error.what


def test_an_import_error_may_be_caught(compiled: Compile) -> None:
    spec = compiled(
        "try:\n    from airflow.sdk import StartOfDayMapper\nexcept ImportError:\n    StartOfDayMapper = None\n"
        + IMPORTS
        + "    EmptyOperator(task_id='a')\n"
    )
    assert spec.tasks[0].task_id == "a"


def test_a_file_without_a_dag(refused: Refuse) -> None:
    assert "defines no DAG" in refused("from airflow.sdk import DAG\n").what


def test_a_missing_file(refused: Refuse) -> None:
    assert str(refused(yaml="dag_id: x\n")).startswith("dag.py:1: the file does not exist;")


def test_the_fault_is_found_in_a_helper_module(refused: Refuse) -> None:
    error = refused("import helper\n", files={"helper.py": "x = 1\nraise ValueError('no')\n"})
    assert (error.path, error.line) == ("helper.py", 2)


@pytest.mark.parametrize(
    "code",
    [
        "EmptyOperator(task_id=f'a{random.random()}')",
        "EmptyOperator(task_id=f'a{time.perf_counter_ns()}')",
    ],
)
def test_structure_that_depends_on_clock_or_chance(refused: Refuse, code: str) -> None:
    error = refused("import random, time, uuid\n" + IMPORTS + f"    {code}\n")
    assert "twice" in error.what
    assert error.path == "dag.py"


@pytest.mark.parametrize("number", ["float('nan')", "float('inf')"])
def test_a_number_that_json_does_not_have(refused: Refuse, number: str) -> None:
    error = refused(IMPORTS + f"    EmptyOperator(task_id='a', params={{'p': {number}}})\n")
    assert error.line == 5
    assert "not JSON compliant" in error.what


def test_what_a_traceback_would_say_is_in_the_message(refused: Refuse) -> None:
    """It named "the output above", which nobody was shown."""
    helper = "import textwrap\n\n\ndef build(text):\n    return textwrap.fill(text, width=0)\n"
    error = refused(
        "from helper import build\n\n\ndef make():\n    return build('x')\n\n\nmake()\n", files={"helper.py": helper}
    )
    assert (error.path, error.line) == ("helper.py", 5)
    assert error.remedy.startswith("correct that line; it was called from dag.py:5, from dag.py:8; raised in ")
    assert "textwrap.py:" in error.remedy
    assert error.remedy.endswith(", in _wrap_chunks")


def test_a_line_that_raises_by_itself_needs_no_way_to_it(refused: Refuse) -> None:
    assert refused("import airflow\n1 / 0\n").remedy == "correct that line"
