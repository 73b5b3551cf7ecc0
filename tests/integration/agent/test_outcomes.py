"""What user code does, and what the daemon is told about it. The agent, fork server and processes are real."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, DagRunFacts, OutcomeKind, XComInput
from tests.fakes.fake_control_plane import Facts
from tests.integration.agent.harness import LOGICAL_DATE, run_one


def test_a_task_that_returns_is_a_success_with_its_value_as_xcom():
    facts = run_one(
        """
        @task
        def run():
            print("working")
            return {"rows": 3}
        run()
        """
    )
    assert facts.outcome.kind is OutcomeKind.SUCCESS
    assert facts.outcome.exit_code == 0
    assert facts.xcoms == {"return_value": {"rows": 3}}
    assert facts.lines[0] == {**facts.lines[0], "event": "working", "level": "info", "logger": "task.stdout"}
    assert facts.messages[-1] == "Outcome"
    assert facts.hellos[0].token == "token-of-a-try"


def test_an_exception_is_a_failure_with_its_frames_in_the_log():
    facts = run_one(
        """
        @task
        def run():
            try:
                {}["x"]
            except KeyError as error:
                raise ValueError("no such row") from error
        run()
        """
    )
    assert facts.outcome.kind is OutcomeKind.FAILED
    assert facts.outcome.because == "ValueError: no such row"
    [record] = [line for line in facts.lines if "error_detail" in line]
    value_error, key_error = record["error_detail"]
    assert (value_error["exc_type"], value_error["is_cause"]) == ("ValueError", False)
    assert (key_error["exc_type"], key_error["is_cause"]) == ("KeyError", True)
    assert value_error["frames"][-1]["name"] == "run"
    assert value_error["frames"][-1]["filename"].endswith("dag.py")
    assert record["level"] == "error"


@pytest.mark.parametrize(
    ("statement", "kind", "because"),
    [
        ("raise AirflowSkipException('not today')", OutcomeKind.SKIPPED, "AirflowSkipException: not today"),
        ("raise AirflowFailException('never')", OutcomeKind.FAILED_FOR_GOOD, "AirflowFailException: never"),
        ("raise AirflowException('again')", OutcomeKind.FAILED, "AirflowException: again"),
        ("sys.exit(0)", OutcomeKind.FAILED, "The task called sys.exit(0); return to succeed."),
        ("raise KeyboardInterrupt", OutcomeKind.FAILED, "KeyboardInterrupt"),
    ],
)
def test_airflow_exceptions_decide_the_outcome(statement, kind, because):
    facts = run_one(f"@task\ndef run():\n    {statement}\nrun()")
    assert (facts.outcome.kind, facts.outcome.because) == (kind, because)


def test_a_reschedule_carries_its_date():
    facts = run_one(
        """
        @task
        def run():
            raise AirflowRescheduleException(datetime(2030, 1, 2, tzinfo=timezone.utc))
        run()
        """
    )
    assert facts.outcome.kind is OutcomeKind.RESCHEDULE
    assert facts.outcome.reschedule_at is not None
    assert facts.outcome.reschedule_at.isoformat() == "2030-01-02T00:00:00+00:00"


def test_os_exit_is_a_failure_that_says_so():
    facts = run_one("@task\ndef run():\n    print('bye', end='')\n    os._exit(3)\nrun()")
    assert facts.outcome.kind is OutcomeKind.FAILED
    assert "exit code 3" in facts.outcome.because
    assert facts.events == ["bye", facts.outcome.because]


def test_a_task_that_is_killed_keeps_all_it_printed():
    facts = run_one(
        """
        @task
        def run():
            for number in range(1000):
                print(number)
            print("no newline", end="")
            os.kill(os.getpid(), signal.SIGKILL)
        run()
        """
    )
    assert facts.events == [*map(str, range(1000)), "no newline", facts.outcome.because]
    assert facts.outcome.kind is OutcomeKind.FAILED
    assert facts.outcome.signal == signal.SIGKILL
    assert "SIGKILL" in facts.outcome.because
    assert "memory" in facts.outcome.because


def test_a_task_may_close_its_output_and_print_binary():
    facts = run_one(
        r"""
        @task
        def run():
            os.write(1, b"\xff\xfe\x00 caf\xc3\xa9\n")
            os.close(1)
            os.close(2)
            logging.getLogger("mine").warning("still here")
            return "done"
        run()
        """
    )
    assert facts.outcome.kind is OutcomeKind.SUCCESS
    assert facts.events[0] == "\\xff\\xfe\x00 café"
    assert "still here" in facts.events
    assert facts.xcoms == {"return_value": "done"}


def test_children_in_the_background_do_not_hold_the_try_open():
    facts = run_one(
        """
        @task
        def run():
            child = subprocess.Popen(["sleep", "1000"])
            return child.pid
        run()
        """
    )
    assert facts.outcome.kind is OutcomeKind.SUCCESS
    assert not Path(f"/proc/{facts.xcoms['return_value']}").exists()


def test_an_execution_timeout_lets_finally_run_and_names_the_limit():
    facts = run_one(
        """
        @task
        def run():
            child = subprocess.Popen(["sleep", "1000"])
            try:
                child.wait()
                time.sleep(1000)
            except AirflowTaskTimeout as error:
                print("caught:", error)
                raise
            finally:
                print("cleaned up")
        run()
        """,
        execution_timeout_s=2,
    )
    assert facts.outcome.kind is OutcomeKind.TIMED_OUT
    assert facts.outcome.because == "The task ran longer than its execution_timeout of 2 s."
    assert "caught: The task ran longer than its execution_timeout of 2 s." in facts.events
    assert "cleaned up" in facts.events


def test_an_execution_timeout_counts_from_the_first_process_of_a_try():
    """It deferred or was rescheduled an hour ago: what is left of the limit counts, not all of it again."""
    facts = run_one(
        """
        @task
        def run():
            time.sleep(1000)
        run()
        """,
        execution_timeout_s=3600,
        first_started_at=datetime.now(UTC) - timedelta(seconds=3598),
    )
    assert facts.outcome.kind is OutcomeKind.TIMED_OUT


def test_a_big_log_is_cut_at_the_cap_and_the_task_goes_on():
    facts = run_one(
        """
        @task
        def run():
            for number in range(20_000):
                print("x" * 100)
            return "finished"
        run()
        """,
        agent=("--log-cap-bytes", "100000"),
    )
    assert facts.xcoms == {"return_value": "finished"}
    assert 99_000 < len(facts.log) < 101_000
    assert [line["logger"] for line in facts.lines if line["logger"] != "task.stdout"] == ["leoflow.agent"]
    assert "reached its limit of 100000 bytes" in facts.events[-1]
    assert facts.gaps == facts.overlaps == 0


def test_one_endless_line_is_split():
    facts = run_one("@task\ndef run():\n    sys.stdout.write('é' * 100_000)\nrun()")
    assert "".join(line["event"] for line in facts.lines if line["logger"] == "task.stdout") == "é" * 100_000
    assert max(len(line) for line in facts.log.splitlines()) < 64 * 1024


def test_a_value_that_is_too_large_is_a_failure_that_says_what_to_do():
    facts = run_one(f"@task\ndef run():\n    return 'x' * {XCOM_MAX_BYTES + 1}\nrun()")
    assert facts.outcome.kind is OutcomeKind.FAILED
    assert str(XCOM_MAX_BYTES) in facts.outcome.because
    assert "return its path" in facts.outcome.because
    assert facts.outcome.xcoms == ()


def test_the_largest_value_gets_through_pushed_and_returned():
    size = XCOM_MAX_BYTES - 2
    facts = run_one(
        f"""
        @task
        def run(ti=None):
            ti.xcom_push("big", "x" * {size})
            return "y" * {size}
        run()
        """
    )
    assert facts.outcome.kind is OutcomeKind.SUCCESS
    assert (len(facts.xcoms["big"]), len(facts.xcoms["return_value"])) == (size, size)


def test_a_value_that_is_not_json_names_its_type():
    facts = run_one("@task\ndef run():\n    return {'a': [object()]}\nrun()")
    assert facts.outcome.kind is OutcomeKind.FAILED
    assert "return_value['a'][0] is of type builtins.object" in facts.outcome.because


def test_multiple_outputs_push_each_key():
    facts = run_one("@task(multiple_outputs=True)\ndef run():\n    return {'a': 1, 'b': [2]}\nrun()")
    assert facts.xcoms == {"a": 1, "b": [2], "return_value": {"a": 1, "b": [2]}}


def test_xcoms_are_pushed_before_they_are_pulled_and_pulled_values_arrive():
    facts = Facts(
        xcoms=[XComInput(task_id="up", key="k", value="[1, 2]")],
        previous_run=DagRunFacts(
            dag_id="d", run_id="before", run_type="scheduled", run_after=LOGICAL_DATE, data_interval_start=LOGICAL_DATE
        ),
    )
    result = run_one(
        """
        @task
        def run(ti=None):
            ti.xcom_push("mine", (1, "two"))
            context = get_current_context()
            return {
                "pulled": ti.xcom_pull(task_ids="up", key="k"),
                "missing": ti.xcom_pull(task_ids="nobody", default="none"),
                "several": ti.xcom_pull(task_ids=["up", "nobody"], key="k"),
                "previous": str(context["prev_data_interval_start_success"]),
            }
        run()
        """,
        facts=facts,
    )
    assert result.outcome.kind is OutcomeKind.SUCCESS
    assert result.xcoms["return_value"] == {
        "pulled": [1, 2],
        "missing": "none",
        "several": [[1, 2], None],
        "previous": str(LOGICAL_DATE).replace(" ", result.xcoms["return_value"]["previous"][10]),
    }
    assert result.messages.index("XComPush") < result.messages.index("XComPull")


def test_outputs_sent_along_need_no_question():
    facts = Facts()
    result = run_one(
        """
        @task
        def up():
            return None

        @task
        def run(value, nothing):
            return [value, nothing]
        run(up(), up())
        """,
        facts=facts,
        xcoms=(XComInput(task_id="up", key="return_value", value='{"a": 1}'),),
    )
    assert result.xcoms == {"return_value": [{"a": 1}, None]}
    assert facts.pulls == []


def test_templates_are_rendered_and_reported():
    result = run_one(
        """
        BashOperator(
            task_id="run",
            bash_command="echo {{ ds }} $AIRFLOW_CTX_DAG_ID {{ params.p }} {{ macros.ds_add(ds, 1) }} "
            "${LEOFLOW_SECRET:-clean}",
        )
        """,
        kind="bash",
        dag_run={"conf": '{"p": 7}'},
    )
    assert result.outcome.kind is OutcomeKind.SUCCESS, result.events
    assert result.xcoms == {"return_value": "2026-03-01 d 7 2026-03-02 clean"}
    assert result.rendered is not None
    assert result.rendered["bash_command"].startswith("echo 2026-03-01 $AIRFLOW_CTX_DAG_ID 7 2026-03-02")


def test_an_undefined_name_in_a_template_is_a_failure():
    result = run_one("BashOperator(task_id='run', bash_command='echo {{ nonsense }}')", kind="bash")
    assert result.outcome.because == "UndefinedError: 'nonsense' is undefined"


def test_a_project_that_cannot_be_loaded_names_file_and_line():
    result = run_one("import no_such_module\n")
    assert result.outcome.kind is OutcomeKind.FAILED
    assert result.outcome.because == "dag.py:9: ModuleNotFoundError: No module named 'no_such_module'"


def test_a_task_that_is_not_there_is_a_failure_that_lists_what_is():
    result = run_one("@task\ndef other():\n    pass\nother()")
    assert result.outcome.kind is OutcomeKind.FAILED
    assert "'run'" in result.outcome.because
    assert "other" in result.outcome.because


def test_a_project_that_cannot_be_forked_gets_a_fresh_interpreter():
    result = run_one(
        "@task\ndef run():\n    print('cold', os.getpid() == os.getsid(0))\n    return 1\nrun()", warm=False
    )
    assert result.outcome.kind is OutcomeKind.SUCCESS
    assert "cold True" in result.events


def test_a_missing_interpreter_is_no_reason_to_try_again():
    result = run_one("@task\ndef run():\n    pass\nrun()", python="/no/such/python")
    assert result.outcome.kind is OutcomeKind.FAILED_FOR_GOOD
    assert "/no/such/python" in result.outcome.because
