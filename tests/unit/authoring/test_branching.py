"""Branches, short circuits, latest only and conditions: what their tasks push and skip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .conftest import Compile, Process, Refuse, StartProcess

IMPORTS = """
from datetime import datetime, time, timedelta, timezone
from airflow.sdk import DAG, BaseOperator, Label, SkipMixin, TaskGroup, chain, setup, task, teardown
from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.providers.standard.operators.datetime import BranchDateTimeOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.providers.standard.operators.weekday import BranchDayOfWeekOperator
from airflow.providers.standard.utils.weekday import WeekDay
"""
BRANCH = (
    IMPORTS
    + """
with DAG("d") as dag:
    b = BranchPythonOperator(task_id="b", python_callable=lambda answer: answer, op_args=[%s])
    a, z, late, other = (EmptyOperator(task_id=t) for t in ("a", "z", "late", "other"))
    with TaskGroup("g") as g:
        EmptyOperator(task_id="one") >> EmptyOperator(task_id="two")
        EmptyOperator(task_id="side")
    b >> [a, z, g, late]
    a >> late
"""
)


def skipped_by(process: Process, task_id: str) -> tuple[set[str], Any]:
    """(what the task skips, the choice that it pushed)"""
    import airflow._leoflow.errors

    with pytest.raises(airflow._leoflow.errors.DownstreamTasksSkipped) as caught:
        process.run(task_id)
    return set(caught.value.tasks), process.ti.pushed["skipmixin_key"]


@pytest.mark.parametrize(
    ("answer", "followed"),
    [
        ("'a'", {"a", "late"}),
        ("['z']", {"z"}),
        ("('z', 'a')", {"a", "z", "late"}),
        ("'g'", {"g.one", "g.side"}),
        ("['g', 'z']", {"g.one", "g.side", "z"}),
        ("None", set()),
        ("[]", set()),
    ],
)
def test_a_branch_skips_what_it_does_not_follow_but_no_join(
    process: StartProcess, answer: str, followed: set[str]
) -> None:
    skipped, choice = skipped_by(process(BRANCH % answer), "b")
    direct = {"a", "z", "g.one", "g.side", "late"}
    assert skipped == direct - followed
    assert choice == {"followed": sorted(followed)}


def test_one_that_follows_all_returns_its_answer(process: StartProcess) -> None:
    started = process(BRANCH % "['a', 'z', 'g']")
    assert started.run("b") == ["a", "z", "g"]
    assert started.ti.pushed == {"skipmixin_key": {"followed": ["a", "g.one", "g.side", "late", "z"]}}


def test_an_instance_of_a_mapped_branch_only_tells_its_choice(process: StartProcess) -> None:
    started = process(BRANCH % "'a'")
    started.ti.map_index = 3
    assert started.run("b") == "a"
    assert started.ti.pushed == {"skipmixin_key": {"followed": ["a", "late"]}}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("'nobody'", ["'nobody'", "a, g.one, g.side, late, z"]),
        ("'other'", ["'other'", "no task downstream"]),
        ("'b'", ["'b'"]),
        ("['a', 7]", ["7"]),
        ("['g.ones', 'lat']", ["did you mean 'g.one'?", "did you mean 'late'?"]),
        ("7", ["7", "a task id, several, or None"]),
    ],
)
def test_an_answer_that_cannot_be_followed_names_those_that_can(
    process: StartProcess, answer: str, words: list[str]
) -> None:
    from airflow.exceptions import AirflowException

    started = process(BRANCH % answer)
    with pytest.raises(AirflowException) as caught:
        started.run("b")
    assert str(caught.value).startswith("task 'b' ")
    for word in words:
        assert word in str(caught.value)
    assert started.ti.pushed == {}


def test_an_id_that_is_nearly_one_is_answered_with_that(process: StartProcess) -> None:
    dag = process(BRANCH % "'a'").dags["d"]
    with pytest.raises(KeyError, match=r"no task or group 'sides'; did you mean 'g.side'\?"):
        dag.task_group["g"]["sides"]
    with pytest.raises(Exception, match=r"has no task 'lates'; did you mean 'late'\?"):
        dag.get_task("lates")
    with pytest.raises(Exception, match=r"has no task 'nothing like it'$"):
        dag.get_task("nothing like it")


def test_tasks_further_down_may_be_named_and_keep_their_own_way(process: StartProcess) -> None:
    skipped, choice = skipped_by(process(BRANCH % "'g.two'"), "b")
    assert (skipped, choice) == ({"a", "z", "late", "g.one", "g.side"}, {"followed": []})


SHORT = (
    IMPORTS
    + """
with DAG("d") as dag:
    c = ShortCircuitOperator(task_id="c", python_callable=lambda: %s)
    near, far, clean = (EmptyOperator(task_id=t) for t in ("near", "far", "clean"))
    c >> near >> far >> clean.as_teardown(setups=c)
    last = ShortCircuitOperator(task_id="last", python_callable=lambda: 0)
"""
)


@pytest.mark.parametrize(
    ("answer", "skipped"),
    [("[]", {"near", "far"}), ("'', ignore_downstream_trigger_rules=False", {"near"})],
)
def test_a_short_circuit_skips_all_but_teardowns_or_its_direct_downstream(
    process: StartProcess, answer: str, skipped: set[str]
) -> None:
    found, choice = skipped_by(process(SHORT % answer), "c")
    assert (found, set(choice["skipped"])) == (skipped, skipped)


def test_something_true_goes_on_and_is_the_output(process: StartProcess) -> None:
    started = process(SHORT % "{'rows': 3}")
    assert (started.run("c"), started.ti.pushed) == ({"rows": 3}, {})


def test_without_anything_downstream_there_is_nothing_to_skip(process: StartProcess) -> None:
    started = process(SHORT % "1")
    assert (started.run("last"), started.ti.pushed) == (0, {})


OTHERS = (
    IMPORTS
    + """
class Mine(BaseBranchOperator):
    def choose_branch(self, context):
        return "yes" if context["ds"] == "2024-03-01" else "no"

class Skipper(BaseOperator, SkipMixin):
    def execute(self, context):
        self.skip(context["ti"], self.downstream_list)

with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=14)))) as dag:
    yes, no = EmptyOperator(task_id="yes"), EmptyOperator(task_id="no")
    two = dict(follow_task_ids_if_true="yes", follow_task_ids_if_false=["no"])
    week = {WeekDay.FRIDAY}
    branches = [
        Mine(task_id="mine"),
        Skipper(task_id="skipper"),
        LatestOnlyOperator(task_id="latest"),
        BranchDayOfWeekOperator(task_id="friday", week_day=week, use_task_logical_date=True, **two),
        BranchDayOfWeekOperator(task_id="monday", week_day="Monday", use_task_logical_date=True, **two),
        BranchDayOfWeekOperator(task_id="ever", week_day=set(WeekDay), **two),
        BranchDateTimeOperator(task_id="after", target_lower=datetime(2024, 2, 1), target_upper=None, **two),
        BranchDateTimeOperator(task_id="before", target_lower=None, target_upper=datetime(2024, 2, 1), **two),
        BranchDateTimeOperator(task_id="night", target_lower=time(12, tzinfo=timezone.utc),
                               target_upper=time(1, tzinfo=timezone.utc), use_task_logical_date=True, **two),
        BranchDateTimeOperator(task_id="zone", target_lower=None, target_upper=time(1),
                               use_task_logical_date=True, **two),
    ]
    @task.branch
    def decorated(ds=None) -> str:
        return "yes"
    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def short(answer):
        return answer
    branches += [decorated(), short.override(task_id="falsy")(False)]
    branches >> yes
    branches >> no
"""
)
"""The logical date of these tests is Friday 2024-03-01, midnight in UTC."""


@pytest.mark.parametrize(
    ("task_id", "skipped"),
    [
        ("mine", {"no"}),
        ("skipper", {"yes", "no"}),
        ("friday", {"no"}),
        ("monday", {"yes"}),
        ("ever", {"no"}),
        ("after", {"no"}),
        ("before", {"yes"}),
        ("night", {"yes"}),
        ("zone", {"yes"}),
        ("decorated", {"no"}),
        ("falsy", {"yes", "no"}),
    ],
)
def test_which_way_each_goes(process: StartProcess, task_id: str, skipped: set[str]) -> None:
    """`zone`: until 01:00 of the DAG's zone, 14 hours ahead, which was over 13 hours before midnight in UTC."""
    assert skipped_by(process(OTHERS), task_id)[0] == skipped


@pytest.mark.parametrize(("after_h", "until_h", "is_newest"), [(-5, 1, True), (-5, -1, False), (1, 5, False)])
def test_latest_only_goes_on_in_the_window_of_its_run(
    process: StartProcess, after_h: int, until_h: int, is_newest: bool
) -> None:
    started, now = process(OTHERS), datetime.now(UTC)
    started.ti.latest_window = (now + timedelta(hours=after_h), now + timedelta(hours=until_h))
    if is_newest:
        assert set(started.run("latest")) == {"yes", "no"}
    else:
        assert skipped_by(started, "latest")[0] == {"yes", "no"}


def test_latest_only_goes_on_when_no_run_follows_and_in_runs_of_people(process: StartProcess) -> None:
    started, now = process(OTHERS), datetime.now(UTC)
    assert set(started.run("latest")) == {"yes", "no"}
    started.ti.latest_window = (now + timedelta(hours=1), now + timedelta(hours=2))
    started.context["dag_run"].run_type = "manual"
    assert set(started.run("latest")) == {"yes", "no"}


def test_the_artifact_says_whose_choice_is_remembered(compiled: Compile) -> None:
    tasks = {task.task_id: task for task in compiled(OTHERS).tasks}
    deciders = {task_id for task_id, task in tasks.items() if task.decides}
    assert deciders == tasks.keys() - {"skipper", "yes", "no"}, "a SkipMixin alone is none, as in Airflow"
    assert tasks["decorated"].operator_name == "@task.branch"
    assert tasks["decorated"].module == "airflow.providers.standard.decorators.branch_python"
    assert tasks["latest"].module == "airflow.providers.standard.operators.latest_only"


def test_an_operator_of_a_provider_may_decide_as_nobody_knows(compiled: Compile) -> None:
    text = IMPORTS + (
        "from airflow.providers.common.sql.operators.sql import BranchSQLOperator\n"
        "with DAG('d'):\n"
        "    BranchSQLOperator(task_id='s', conn_id='c', sql='x', follow_task_ids_if_true='a',\n"
        "                      follow_task_ids_if_false='z') >> [EmptyOperator(task_id=t) for t in 'az']\n"
    )
    (found,) = [task for task in compiled(text, yaml="connectors: [common.sql]\n").tasks if task.task_id == "s"]
    assert (found.kind, found.decides) == ("operator", True)


def test_a_branch_between_two_moments_needs_one(refused: Refuse) -> None:
    line = (
        "    BranchDateTimeOperator(task_id='x', target_lower=None, target_upper=None, "
        "follow_task_ids_if_true='a', follow_task_ids_if_false='b')\n"
    )
    error = refused(IMPORTS + "with DAG('d'):\n" + line)
    assert "target_lower and target_upper are both None" in error.what
    assert error.line == IMPORTS.lstrip().count("\n") + 2


# --- conditions --------------------------------------------------------------------------------------------------

CONDITIONS = (
    IMPORTS
    + """
SEEN = []
with DAG("d") as dag:
    @task.run_if(lambda context: context["ds"] == "%s")
    @task(pre_execute=lambda context: SEEN.append("own"))
    def run(): return 1
    run()
    @task.skip_if(lambda context: (True, "not today"))
    @task.skip_if(lambda context: False)
    @task.bash
    def skip(): return "echo"
    skip()
    @task.skip_if(lambda context: True, skip_message="never")
    @task
    def never(): return 1
    never()
"""
)


def test_run_if_goes_on_when_its_condition_holds(process: StartProcess) -> None:
    started = process(CONDITIONS % "2024-03-01")
    assert started.run("run") == 1
    assert started.task("run").python_callable.__globals__["SEEN"] == ["own"], "a hook of its own comes first"


@pytest.mark.parametrize(
    ("task_id", "message"),
    [("run", "Task was skipped due to condition."), ("skip", "not today"), ("never", "never")],
)
def test_a_condition_skips_the_task_with_its_message(process: StartProcess, task_id: str, message: str) -> None:
    from airflow.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match=message):
        process(CONDITIONS % "2020-01-01").run(task_id)


def test_a_condition_stands_above_a_task(refused: Refuse) -> None:
    error = refused(IMPORTS + "with DAG('d'):\n    @task.run_if(lambda context: True)\n    def f(): ...\n")
    assert "run_if can only be used with task" in error.what


# --- scopes ------------------------------------------------------------------------------------------------------


def edges(compiled: Compile, body: str) -> set[str]:
    text = IMPORTS + "with DAG('d') as dag:\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())
    return {f"{up}>{task.task_id}" for task in compiled(text).tasks for up in task.upstream_task_ids}


E = "s1, w0, t1, s2, t2 = (EmptyOperator(task_id=t) for t in ('s1', 'w0', 't1', 's2', 't2'))\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "with t1.as_teardown(setups=s1):\n    EmptyOperator(task_id='a') >> EmptyOperator(task_id='b')",
            {"s1>t1", "s1>a", "a>b", "b>t1"},
        ),
        (
            "with s1.as_setup() >> t1.as_teardown():\n    [EmptyOperator(task_id=t) for t in ('a', 'b')]",
            {"s1>t1", "s1>a", "a>t1", "s1>b", "b>t1"},
        ),
        ("with s1.as_setup():\n    EmptyOperator(task_id='a')", {"s1>a"}),
        ("with t1.as_teardown() as scope:\n    scope.add_task(w0)", {"w0>t1"}),
        (
            "with t1.as_teardown(setups=s1):\n"
            "    EmptyOperator(task_id='a')\n"
            "    with t2.as_teardown(setups=s2):\n"
            "        EmptyOperator(task_id='b')",
            {"s1>t1", "s1>a", "a>t1", "s2>t2", "s2>b", "b>t2", "s1>s2", "t2>t1"},
        ),
        (
            "with t1.as_teardown(setups=s1):\n    w0 >> EmptyOperator(task_id='a') >> EmptyOperator(task_id='z')",
            {"s1>t1", "w0>a", "s1>a", "a>z", "z>t1"},
        ),
    ],
)
def test_tasks_of_a_scope_run_between_its_setups_and_its_teardowns(
    compiled: Compile, body: str, expected: set[str]
) -> None:
    assert edges(compiled, E + body) == expected


def test_decorated_setups_and_teardowns_have_scopes(compiled: Compile) -> None:
    body = """
@setup
def up(): return 1
@teardown
def down(cluster): ...
@task
def work(): ...
with down(up()):
    work()
"""
    assert edges(compiled, body) == {"up>down", "up>work", "work>down"}


def test_other_tasks_have_no_scope(refused: Refuse) -> None:
    error = refused(IMPORTS + "with DAG('d'):\n    with EmptyOperator(task_id='x'): ...\n")
    assert "'x' is used in a `with` statement" in error.what
    assert "as_setup" in error.remedy
