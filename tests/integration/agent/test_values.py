"""Values between a task and its agent, in real processes: kept exactly, or refused where the task can read why."""

from __future__ import annotations

import json

import pytest

from leoflowd.contract.agent_messages import OutcomeKind, XComInput

from .harness import run_one

ODD = {"a\0": ["a\0b", 2**70, 1e20, "\u202e", ""], "": {}}


def test_upstream_values_conf_and_results_are_the_same_in_python() -> None:
    tasks = """
    @task
    def up():
        return None

    @task
    def run(value, dag_run=None):
        assert type(value["a\\0"][2]) is float
        return [value, dag_run.conf]
    run(up())
    """
    text = json.dumps(ODD)
    xcoms = (XComInput(task_id="up", key="return_value", value=text),)
    result = run_one(tasks, xcoms=xcoms, dag_run={"conf": text})
    assert result.outcome.kind is OutcomeKind.SUCCESS, result.outcome.because
    assert result.xcoms["return_value"] == [ODD, ODD]
    assert result.rendered is not None
    assert result.rendered["op_args"] == [json.loads(text.replace("\\u0000", "\\\\x00"))]


def test_the_task_that_pushes_or_asks_what_is_not_possible_reads_why() -> None:
    tasks = """
    @task
    def run(ti=None):
        from airflow.sdk import Connection
        from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
        told = []
        def tell(call, *args, **kwargs):
            try:
                call(*args, **kwargs)
                told.append("no error")
            except Exception as error:
                told.append(f"{type(error).__name__}: {error}")
        tell(ti.xcom_push, "a\\0b", 1)
        tell(ti.xcom_push, "", 1)
        tell(ti.xcom_push, "k" * 600, 1)
        tell(ti.xcom_push, 5, 1)
        tell(ti.xcom_push, "k", float("nan"))
        tell(ti.xcom_pull, "a", key="\\ud800")
        tell(ti.xcom_pull, ["a", 5])
        tell(ti.xcom_pull, "a", run_id=5)
        tell(ti._control.ask, "pull", {"key": "k", "map_indexes": [2**70]})
        tell(ti._control.ask, "counts", {"dag_id": "d", "run_ids": "r"})
        start = TriggerDagRunOperator(task_id="inner", trigger_dag_id="other", conf={"a": "x" * 300_000})
        tell(start.execute, get_current_context())
        return told
    run()
    """
    result = run_one(tasks)
    assert result.outcome.kind is OutcomeKind.SUCCESS, result.outcome.because
    expected = [
        r"NotSerializable: the key 'a\x00b' of an XCom holds \x00",
        "NotSerializable: the key of an XCom must have 1 to 512 characters; '' has 0",
        "NotSerializable: the key of an XCom must have 1 to 512 characters; 'kkk",
        "NotSerializable: the key of an XCom must be text; 5 is of type int",
        "NotSerializable: XCom k is nan, which JSON cannot carry",
        r"NotSerializable: the question (pull)['key'] holds the lone surrogate \ud800",
        "NoAnswer: this question cannot be asked: Expected `str`, got `int`",
        "NoAnswer: this question cannot be asked: Expected `str | null`, got `int`",
        "NotSerializable: map_indexes of the question (pull) is an integer of more than 64 bits",
        "NoAnswer: this question cannot be asked: Expected `array`, got `str`",
        "TooLarge: conf is 300009 bytes of JSON, more than the limit of 262144 bytes",
    ]
    for words, told in zip(expected, result.xcoms["return_value"], strict=True):
        assert told.startswith(words)


RAW = """
import socket

def say(outcome):
    "As the runner would, and then no runner is left to contradict."
    facts = dict(start_date='2026-01-01T00:00:00Z', end_date='2026-01-01T00:00:00Z', **outcome)
    line = json.dumps({{'outcome': {{'outcome': facts, 'has_children': False}}}}).encode() + b'\\n'
    socket.socket(fileno=os.dup(3)).sendall(line)
    os._exit(0)

@task
def run():
    {}
run()
"""


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (
            "raise AirflowRescheduleException(datetime.max.replace(tzinfo=timezone(timedelta(hours=14))))",
            OutcomeKind.FAILED,
            "is so near to the ends of time",
        ),
        ("return {'k' * 600: 1}", OutcomeKind.SUCCESS, "The task returned."),
        ("raise ValueError('a\\0b\\ud800')", OutcomeKind.FAILED, r"ValueError: a\x00b\ud800"),
        ("return 10**4200", OutcomeKind.FAILED, "NotSerializable: XCom return_value is an integer of more than 4000"),
        (
            'os.write(3, b\'{"pull": {"request_id": 1, "map_indexes": [%d]}}\\n\' % 2**70)',
            OutcomeKind.SUCCESS,
            "The task returned.",
        ),
        (
            "say({'kind': 'success', 'because': '', 'exit_code': 2**70})",
            OutcomeKind.FAILED,
            "its result cannot be read",
        ),
        (
            "say({'kind': 'success', 'because': 'x' * 2**25})",
            OutcomeKind.FAILED_FOR_GOOD,
            "The outcome of the try is refused: it takes 335",
        ),
    ],
)
def test_a_try_ends_whatever_its_process_leaves(code: str, kind: OutcomeKind, words: str) -> None:
    outcome = run_one(RAW.format(code)).outcome
    assert (outcome.kind, words in outcome.because) == (kind, True), outcome.because


def test_outputs_with_keys_that_no_xcom_has_fail_the_task() -> None:
    result = run_one("@task(multiple_outputs=True)\ndef run():\n    return {'': 1}\nrun()")
    assert result.outcome.kind is OutcomeKind.FAILED
    assert result.outcome.because.startswith("NotSerializable: the key of an XCom must have 1 to 512 characters")
