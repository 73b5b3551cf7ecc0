"""`dag.yaml`: the same objects as a Python file, and errors with the line of the key."""

from __future__ import annotations

import pytest

from leoflowd.contract.dag_spec import XComRef

from .conftest import Compile, Refuse

STEPS = {"steps.py": "def count(text): ...\ndef report(total, title): ...\n"}
GOOD = """\
dag_id: y
schedule: "0 6 * * *"
start_date: 2024-01-31
tags: [one]
params: {n: 1}
default_args: {retries: 1, retry_delay_seconds: 5}
tasks:
  fetch: {bash: "echo {{ ds }}", env: {A: b}}
  count: {python: "steps:count", inputs: {text: fetch}, retries: 2}
  report:
    python: steps:report
    inputs: {total: "count[total]"}
    kwargs: {title: "{{ ds }}"}
    trigger_rule: all_done
  done: {empty: true, depends_on: [report, fetch]}
"""


def test_a_declarative_dag(compiled: Compile) -> None:
    spec = compiled(files={"dag.yaml": GOOD, **STEPS})
    found = {task.task_id: task for task in spec.tasks}
    assert (spec.dag_id, spec.tags, spec.source_path, spec.timetable_summary) == (
        "y",
        ("one",),
        "dag.yaml",
        "0 6 * * *",
    )
    assert found["done"].upstream_task_ids == ("fetch", "report")
    assert (found["count"].retries, found["fetch"].retries, found["fetch"].retry_delay_s) == (2, 1, 5.0)
    assert found["report"].xcom_refs == (XComRef(task_id="count", key="total"),)
    assert found["report"].trigger_rule == "all_done"


def test_the_id_is_that_of_the_project(compiled: Compile) -> None:
    text = "tasks:\n  a: {empty: true}\n"
    assert compiled(files={"dag.yaml": text}).dag_id == "project"
    assert compiled(yaml="dag_id: named\n", files={"dag.yaml": text}).dag_id == "named"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("tasks:\n  a: {empty: true}\nowner: x\n", 3, ["unknown key 'owner'"]),
        ("tasks:\n  a:\n    bash: date\n    retrys: 1\n", 4, ["unknown key 'tasks.a.retrys'"]),
        ("tasks:\n  a:\n    bash: 1\n", 3, ["tasks.a.bash", "a text"]),
        ("tasks:\n  a: {bash: x, empty: true}\n", 2, ["exactly one thing"]),
        ("tasks:\n  a: {}\n", 2, ["nothing to run"]),
        ("tasks:\n  a:\n    empty: true\n    cwd: x\n", 4, ["'cwd'"]),
        ("tasks:\n  a:\n    empty: true\n    depends_on: b\n", 4, ["'b'", "the tasks are a"]),
        ("tasks:\n  a:\n    python: steps:nothing\n", 3, ["'nothing'"]),
        ("tasks:\n  a:\n    python: nowhere:x\n", 3, ["'nowhere'"]),
        ("tasks:\n  a:\n    python: x\n", 3, ["module:function"]),
        ("schedule: x\ntasks:\n  a: {empty: true}\n", 1, ["cron"]),
        ("start_date: soon\ntasks:\n  a: {empty: true}\n", 1, ["ISO"]),
        ("description: x\n", 1, ["no tasks"]),
        ("tasks:\n  a: {empty: true}\n  a: {empty: true}\n", 3, ["twice"]),
    ],
)
def test_a_fault_names_its_line(refused: Refuse, text: str, line: int, words: list[str]) -> None:
    error = refused(files={"dag.yaml": text, **STEPS})
    assert (error.path, error.line) == ("dag.yaml", line), str(error)
    for word in words:
        assert word in str(error)
