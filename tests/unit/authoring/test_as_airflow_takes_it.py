# ruff: noqa: E501 - DAG texts, one case per line
"""What Airflow 3.2 accepts and refuses of a file, beyond the constructs themselves: the same here, or listed in docs."""

from __future__ import annotations

import sysconfig
import venv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from leoflowd.authoring.compiler import compile_project
from leoflowd.authoring.errors import DagCompileError
from leoflowd.contract.dag_spec import CronTimetable

from .conftest import Compile, MakeProject, Refuse, StartProcess

HEAD = """import os, random, time, uuid
from datetime import datetime, timedelta
from datetime import timezone as zone
from airflow.sdk import *
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
"""


def dag(*lines: str, arguments: str = "") -> str:
    return HEAD + f"with DAG('d', {arguments}) as d:\n" + "".join(f"    {line}\n" for line in lines or ("pass",))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("schedule='@daily', catchup=True", ["catchup=True", "start_date"]),
        ("schedule='@daily', params={'p': Param(type='string')}", ["'p'", "schedule=None"]),
        ("tags=['x' * 101]", ["tag", "100"]),
    ],
)
def test_a_dag_that_airflow_refuses(refused: Refuse, arguments: str, words: list[str]) -> None:
    error = refused(dag("EmptyOperator(task_id='a')", arguments=arguments))
    assert error.line == 8
    for word in words:
        assert word in str(error)


def test_a_preset_of_the_authors_own_is_a_schedule(compiled: Compile, refused: Refuse) -> None:
    """Airflow's own are in a dict that its users add to."""
    added = HEAD + "from airflow.utils.dates import cron_presets\ncron_presets['@often'] = '{}'\n"
    spec = compiled(added.format("*/5 * * * *") + "with DAG('d', schedule='@often'):\n    EmptyOperator(task_id='a')\n")
    assert isinstance(spec.timetable, CronTimetable)
    assert spec.timetable.expression == "*/5 * * * *"
    assert "'61' is no minute" in str(refused(added.format("61 * * * *") + "d = DAG('d', schedule='@often')\n"))


@pytest.mark.parametrize("arguments", ["catchup=True", "params={'p': Param(type='string')}"])
def test_without_a_schedule_it_is_right(compiled: Compile, arguments: str) -> None:
    assert len(compiled(dag("EmptyOperator(task_id='a')", arguments=arguments)).tasks) == 1


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (("EmptyOperator(task_id='a', execution_timeout=5)",), 9, ["execution_timeout=5", "timedelta(seconds=5)"]),
        (("a = EmptyOperator(task_id='a')", "a.is_setup = a.is_teardown = True"), 9, ["'a'", "setup and a teardown"]),
        (
            ("a, b = (EmptyOperator(task_id=i) for i in 'ab')", "a.as_setup() >> b", "b.trigger_rule = 'all_done'"),
            9,
            ["'b'", "setup 'a'", "all_success"],
        ),
    ],
)
def test_a_task_that_airflow_refuses(refused: Refuse, lines: tuple[str, ...], line: int, words: list[str]) -> None:
    error = refused(dag(*lines))
    assert error.line == line
    for word in words:
        assert word in str(error)


def test_a_teardown_may_follow_a_setup_by_its_own_rule(compiled: Compile) -> None:
    lines = ("a, b = (EmptyOperator(task_id=i) for i in 'ab')", "a >> b.as_teardown(setups=a)")
    assert len(compiled(dag(*lines)).tasks) == 2


def test_a_dag_without_tasks(compiled: Compile) -> None:
    assert compiled(dag()).tasks == ()


def test_retries_as_text_and_no_owner(compiled: Compile) -> None:
    (task,) = compiled(dag("EmptyOperator(task_id='a', retries='3', owner=None)")).tasks
    assert (task.retries, task.owner) == (3, "airflow")


def test_retries_that_are_no_number_are_still_refused(refused: Refuse) -> None:
    assert "retries" in refused(dag("EmptyOperator(task_id='a', retries='many')")).what


def test_an_offset_that_is_no_whole_hour(compiled: Compile) -> None:
    start = "start_date=datetime(2024, 1, 1, tzinfo=zone(timedelta(hours=5, minutes=30)))"
    spec = compiled(dag("EmptyOperator(task_id='a')", arguments=f"schedule='0 6 * * *', {start}"))
    assert spec.timetable == CronTimetable(expression="0 6 * * *", timezone="+05:30")
    assert spec.timezone == "+05:30"


def test_ids_of_any_language(compiled: Compile) -> None:
    spec = compiled(HEAD + "with DAG('日報'):\n    with TaskGroup('größe'):\n        EmptyOperator(task_id='抽出')\n")
    assert (spec.dag_id, spec.tasks[0].task_id) == ("日報", "größe.抽出")


def test_two_dags_of_one_id_the_last_counts(project: MakeProject) -> None:
    folder = project(dag("EmptyOperator(task_id='a')") + "with DAG('d'):\n    EmptyOperator(task_id='b')\n")
    (spec,) = compile_project(folder)
    assert [task.task_id for task in spec.tasks] == ["b"]
    assert [(warning.line, "the last one counts" in warning.what) for warning in spec.warnings] == [(10, True)]


def test_dags_made_in_the_order_of_a_set(project: MakeProject) -> None:
    body = (
        HEAD + "for name in {f'dag{i}' for i in range(9)}:\n    with DAG(name):\n        EmptyOperator(task_id='a')\n"
    )
    assert [spec.dag_id for spec in compile_project(project(body))] == [f"dag{i}" for i in range(9)]


# --- dates that tasks inherit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("", (2, 20)),
        ("start_date=datetime(2024, 1, 5)", (5, 20)),
        ("start_date=datetime(2023, 12, 5, tzinfo=zone.utc)", (2, 20)),
        ("end_date=datetime(2024, 1, 9)", (2, 9)),
        ("end_date=datetime(2024, 2, 9)", (2, 20)),
    ],
)
def test_a_tasks_dates_are_the_narrower_ones(compiled: Compile, own: str, expected: tuple[int, int]) -> None:
    dates = "start_date=datetime(2024, 1, 2), end_date=datetime(2024, 1, 20)"
    (task,) = compiled(dag(f"EmptyOperator(task_id='a', {own})", arguments=dates)).tasks
    assert (task.start_date, task.end_date) == tuple(datetime(2024, 1, day, tzinfo=UTC) for day in expected)


# --- clocks and chance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        "BashOperator(task_id='a', bash_command=f'echo {time.perf_counter_ns()}')",
        "PythonOperator(task_id='a', python_callable=print, op_args=[uuid.uuid4()])",
        "PythonOperator(task_id='a', python_callable=print, op_kwargs={'x': random.random()})",
        "BashOperator(task_id='a', bash_command=' '.join({str(i) for i in range(99)}))",
    ],
)
def test_arguments_that_vary_are_the_processes_to_evaluate(compiled: Compile, task: str) -> None:
    spec = compiled(dag(task))
    assert spec.tasks[0].template_values == {}
    assert [(warning.line, warning.varies) for warning in spec.warnings] == [(9, True)]
    assert "evaluated again by each try" in spec.warnings[0].remedy


@pytest.mark.parametrize(
    "moment",
    [
        "datetime.now()",
        "datetime.now(zone.utc)",
        "datetime.now().replace(microsecond=0)",
        "datetime.now() - timedelta(days=3)",
    ],
)
def test_a_start_date_from_the_clock_is_pinned_with_one_warning(compiled: Compile, moment: str) -> None:
    spec = compiled(dag("EmptyOperator(task_id='a')", "EmptyOperator(task_id='b')", arguments=f"start_date={moment}"))
    assert [task.start_date for task in spec.tasks] == [spec.start_date, spec.start_date]
    assert [(warning.path, warning.line, warning.varies) for warning in spec.warnings] == [("dag.py", 8, True)]
    assert "pinned when the file is compiled" in spec.warnings[0].remedy


@pytest.mark.parametrize(
    "arguments", ["doc_md=str(uuid.uuid4())", "params={'x': random.random()}", "default_args={'x': uuid.uuid4()}"]
)
def test_texts_and_params_of_the_dag_that_vary_are_pinned(compiled: Compile, arguments: str) -> None:
    spec = compiled(dag("EmptyOperator(task_id='a')", arguments=arguments))
    assert [warning.varies for warning in spec.warnings] == [True]


@pytest.mark.parametrize(
    "line", ["EmptyOperator(task_id=f'a{random.random()}')", "EmptyOperator(task_id='a', pool=str(uuid.uuid4()))"]
)
def test_structure_that_varies_is_refused(refused: Refuse, line: str) -> None:
    assert "two different DAGs" in refused(dag(line)).what


# --- groups and relatives ----------------------------------------------------------------------------------------


def test_a_label_before_a_nested_group(compiled: Compile) -> None:
    spec = compiled(
        HEAD + "with DAG('d'):\n    with TaskGroup('g1'):\n        a = EmptyOperator(task_id='a')\n"
        "        with TaskGroup('inner') as inner:\n            EmptyOperator(task_id='b')\n        a >> Label('then') >> inner\n"
    )
    assert {task.task_id: task.upstream_task_ids for task in spec.tasks} == {"g1.a": (), "g1.inner.b": ("g1.a",)}


def test_relatives_are_known_while_loading(process: StartProcess) -> None:
    (loaded,) = process(dag("a, b, c = (EmptyOperator(task_id=i) for i in 'abc')", "a >> b >> c")).dags.values()
    b, c = loaded.get_task("b"), loaded.get_task("c")
    assert [task.task_id for task in b.get_direct_relatives(upstream=True)] == ["a"]
    assert [task.task_id for task in b.get_direct_relatives()] == ["c"]
    assert (b.get_direct_relative_ids(), c.get_flat_relative_ids(upstream=True)) == ({"c"}, {"a", "b"})
    assert [task.task_id for task in c.get_flat_relatives(upstream=True)] == ["a", "b"]


# --- a provider's objects while loading --------------------------------------------------------------------------

PROVIDER = "from airflow.sdk import DAG\nfrom airflow.providers.http.operators.http import {name}\n"


def environment(folder: Path) -> str:
    """An interpreter whose environment has a provider `http` with two classes."""
    venv.create(folder, symlinks=True)
    module = (
        Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)})) / "airflow/providers/http/operators/http.py"
    )
    module.parent.mkdir(parents=True)
    module.write_text("class HttpOperator: ...\nclass Known: ...\n")
    return str(folder / "bin" / "python")


def test_a_class_that_the_environment_does_not_have(tmp_path: Path, project: MakeProject) -> None:
    python = environment(tmp_path / "env")
    text = PROVIDER + "with DAG('x'):\n    {name}(task_id='a', anything=1)\n"
    (spec,) = compile_project(project(text.format(name="Known"), yaml="connectors: [http]\n"), python=python)
    assert spec.tasks[0].operator == "Known"
    with pytest.raises(DagCompileError) as caught:
        compile_project(project(text.format(name="NoSuchOperator"), yaml="connectors: [http]\n"), python=python)
    assert caught.value.line == 2
    assert "NoSuchOperator" in caught.value.what
    assert "no such name" in caught.value.why


@pytest.mark.parametrize(
    ("code", "line", "words"),
    [
        (
            "from airflow.providers.cncf.kubernetes.operators.pod import OnFinishAction\nprint(f'{OnFinishAction.DELETE_POD.value}')\n",
            3,
            ["OnFinishAction.DELETE_POD.value", "plain value"],
        ),
        (
            "from airflow.providers.cncf.kubernetes.utils.pod_manager import OnFinishAction\nif OnFinishAction.DELETE_POD: ...\n",
            3,
            ["OnFinishAction.DELETE_POD", "plain value"],
        ),
        (
            "from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator\n"
            "class Mine(KubernetesPodOperator):\n    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n"
            "        self.label = f'{self.task_id} in {self.namespace}'\nwith DAG('d'):\n    Mine(task_id='a')\n",
            6,
            ["namespace of task 'a'", "Mine"],
        ),
        (
            "from airflow.providers.cncf.kubernetes.secret import Secret\nprint(Secret.kind)\n",
            3,
            ["Secret.kind", "is used while the file is loaded"],
        ),
    ],
)
def test_a_providers_object_used_while_loading_names_its_line(
    refused: Refuse, code: str, line: int, words: list[str]
) -> None:
    error = refused("from airflow.sdk import DAG\n" + code, yaml="connectors: [cncf.kubernetes]\n")
    assert (error.path, error.line) == ("dag.py", line), str(error)
    for word in words:
        assert word in str(error)


def test_a_constant_of_a_provider_may_be_passed_on(compiled: Compile) -> None:
    spec = compiled(
        "from airflow.sdk import DAG\nfrom airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator, OnFinishAction\n"
        "with DAG('enum'):\n    KubernetesPodOperator(task_id='a', on_finish_action=OnFinishAction.DELETE_POD.value, labels={'a': OnFinishAction.KEEP_POD})\n",
        yaml="connectors: [cncf.kubernetes]\n",
    )
    assert spec.tasks[0].template_values == {
        "on_finish_action": "OnFinishAction.DELETE_POD.value",
        "labels": {"a": "OnFinishAction.KEEP_POD"},
    }


def test_what_a_subclass_gave_its_parent_it_may_read(compiled: Compile) -> None:
    spec = compiled(
        "from airflow.sdk import DAG\nfrom airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator\n"
        "class Mine(SQLExecuteQueryOperator):\n    template_fields = (*SQLExecuteQueryOperator.template_fields, 'label')\n"
        "    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n        self.label = self.sql\n"
        "        assert getattr(self, 'conn_id', None) is None\n"
        "with DAG('d'):\n    Mine(task_id='a', sql='select 1')\n",
        yaml="connectors: [common.sql]\n",
    )
    assert spec.tasks[0].template_values["label"] == "select 1"


def test_template_fields_may_come_of_a_set(compiled: Compile) -> None:
    """As those of Google's pods do: their order is another one in each process, and means nothing."""
    names = [f"field_{letter}" for letter in "edcba"]
    spec = compiled(
        "from airflow.sdk import DAG, BaseOperator\n"
        f"class Own(BaseOperator):\n    template_fields = tuple(set({names}))\n    def execute(self, context): ...\n"
        "with DAG('d'):\n    Own(task_id='t')\n"
    )
    assert spec.tasks[0].template_fields == tuple(sorted(names))


LINKED = """
from airflow.sdk import DAG, BaseOperator, BaseOperatorLink
from airflow.providers.standard.operators.empty import EmptyOperator

class Job(BaseOperatorLink):
    name = "The job"
    def get_link(self, operator, *, ti_key): return "x"

class Own({base}):
    operator_extra_links = ({link},)
    def __init__(self, size=1, **kwargs):
        super().__init__(**kwargs)
    def execute(self, context): ...

with DAG("d"):
    Own(task_id="t")
    Own.partial(task_id="m").expand(size=[1, 2])
"""


def test_links_of_an_operator_are_named(compiled: Compile) -> None:
    spec = compiled(LINKED.format(base="BaseOperator", link="Job()"))
    assert [task.extra_links for task in spec.tasks] == [("The job",), ("The job",)]
    assert [task.extra_link_keys for task in spec.tasks] == [("_link_Job",), ("_link_Job",)]


@pytest.mark.parametrize(
    ("base", "link", "says"),
    [("EmptyOperator", "Job()", "has none"), ("BaseOperator", "'x'", "no link"), ("BaseOperator", "Job", "no link")],
)
def test_links_that_nobody_could_make_are_refused(refused: Refuse, base: str, link: str, says: str) -> None:
    assert says in str(refused(LINKED.format(base=base, link=link)))
