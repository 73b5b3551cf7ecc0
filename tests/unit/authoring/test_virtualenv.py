"""Functions that another interpreter calls. The environments here have no packages, so that nothing is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Compile, MakeProject, Process, Refuse, StartProcess

DAG = f"""
import pickle, sys
from datetime import datetime
from airflow.sdk import DAG, task
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import (
    ExternalPythonOperator)
OUTSIDE = 1
HERE = {sys.executable!r}

def add(x, y=0, ds=None):
    import helper
    return [helper.NAME, x + y, ds]

with DAG("d") as dag:
    ExternalPythonOperator(task_id="add", python=HERE, python_callable=add, op_args=[2], op_kwargs={{"y": 3}})
    @task.external_python(python=HERE)
    def where():
        import sys
        return [sys.executable, __name__, "airflow" in sys.modules]
    where()
    @task.run_if(lambda context: True)
    @task.external_python(HERE)
    def texts():
        \"\"\"
Of a docstring that begins in the first column.
        \"\"\"
        return virtualenv_string_args
    texts.override(string_args=["a b", 7])()
    @task.external_python(python=HERE)
    def fails():
        raise KeyError("no such " + "row")
    fails()
    @task.external_python(python=HERE, skip_on_exit_code=[9])
    def leaves(code):
        import sys
        sys.exit(code)
    leaves(9)
    leaves.override(task_id="leaves_badly")(3)
    @task.external_python(python=HERE)
    def nothing(): pass
    nothing()
    @task.external_python(python=HERE)
    def late(logical_date, **context): return [logical_date.year, sorted(context)]
    late()
    @task.external_python(python=HERE, env_vars={{"A": "b"}}, inherit_env=False)
    def environment():
        import os
        return [os.environ.get("A"), "HOME" in os.environ]
    environment()
    @task.external_python(python=HERE)
    def blind(): return OUTSIDE
    blind()
    @task.external_python(python="/no/such/python")
    def nowhere(): ...
    nowhere()
    @task.external_python(python=HERE)
    def unpicklable(value): ...
    unpicklable(lambda: 1)
    @task.external_python(python=HERE)
    def odd():
        class Odd: pass
        return Odd
    odd()
    @task.branch_external_python(python=HERE)
    def choose(): return "x"
    choose() >> [EmptyOperator(task_id="x"), EmptyOperator(task_id="y")]
"""
LINE_OF_FAILURE = DAG.lstrip("\n")[: DAG.index("raise KeyError")].count("\n") + 1


@pytest.fixture
def started(process: StartProcess, project: MakeProject) -> Process:
    project(files={"helper.py": "NAME = 'helper of the project'\n"})
    return process(DAG)


def test_a_function_gets_its_arguments_and_returns_its_value(started: Process) -> None:
    assert started.run("add") == ["helper of the project", 5, "2024-03-01"]


def test_the_other_interpreter_knows_nothing_of_us(started: Process) -> None:
    assert started.run("where") == [sys.executable, "__main__", False]


def test_texts_are_a_global_of_the_function_and_its_decorators_are_left_out(started: Process) -> None:
    assert started.run("texts") == ["a b", "7"]


def test_what_it_raises_fails_the_task_with_its_words_and_its_line(
    started: Process, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.exceptions import AirflowException

    with caplog.at_level("INFO"), pytest.raises(AirflowException, match=r"exit status 1\.\nKeyError: 'no such row'"):
        started.run("fails")
    assert any(f'dag.py", line {LINE_OF_FAILURE}, in fails' in record.getMessage() for record in caplog.records)


def test_an_exit_code_may_skip_the_task(started: Process) -> None:
    from airflow.exceptions import AirflowException, AirflowSkipException

    with pytest.raises(AirflowSkipException, match="code 9"):
        started.run("leaves")
    with pytest.raises(AirflowException, match="exit status 3"):
        started.run("leaves_badly")


def test_nothing_returned_is_none(started: Process) -> None:
    assert started.run("nothing") is None


def test_dates_come_along_where_they_can_be_read(started: Process) -> None:
    assert started.run("late") == [2024, ["data_interval_end", "ds"]]


def test_its_environment_is_the_tasks_or_only_what_is_named(started: Process) -> None:
    assert started.run("environment") == ["b", False]


@pytest.mark.parametrize(
    ("task_id", "words"),
    [
        ("blind", "NameError: name 'OUTSIDE' is not defined"),
        ("unpicklable", "cannot be handed to another interpreter"),
        ("odd", "exit status 1"),
    ],
)
def test_what_cannot_cross_fails_with_a_sentence(started: Process, task_id: str, words: str) -> None:
    from airflow.exceptions import AirflowException

    with pytest.raises(AirflowException, match=words):
        started.run(task_id)


def test_an_interpreter_that_is_not_there(started: Process) -> None:
    with pytest.raises(ValueError, match="/no/such/python"):
        started.run("nowhere")


def test_a_branch_decides_there_and_skips_here(started: Process) -> None:
    from airflow.exceptions import DownstreamTasksSkipped

    with pytest.raises(DownstreamTasksSkipped) as caught:
        started.run("choose")
    assert (caught.value.tasks, started.ti.pushed) == (["y"], {"skipmixin_key": {"followed": ["x"]}})


# --- virtual environments ----------------------------------------------------------------------------------------

VENV = """
from airflow.sdk import DAG, task
with DAG("d") as dag:
    @task.virtualenv(%s)
    def f():
        import sys
        try:
            import msgspec
        except ImportError:
            msgspec = None
        return [sys.prefix, msgspec is not None]
    f()
"""


@pytest.mark.parametrize(("has_uv", "system_site_packages"), [(True, True), (True, False), (False, True)])
def test_an_environment_is_made_for_the_task_and_gone_with_it(
    process: StartProcess, monkeypatch: pytest.MonkeyPatch, has_uv: bool, system_site_packages: bool
) -> None:
    if has_uv:
        find_uv(monkeypatch)
    else:
        monkeypatch.setattr("shutil.which", lambda _: None)
    prefix, sees_ours = process(VENV % f"system_site_packages={system_site_packages}").run("f")
    assert prefix != sys.prefix
    assert not Path(prefix).exists()
    assert sees_ours is system_site_packages, "the packages of the DAG's environment, where that is asked for"


def find_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment that uv has built."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert shutil.which("uv") is not None


def test_one_that_is_cached_is_built_once(
    process: StartProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find_uv(monkeypatch)
    started = process(VENV % f"system_site_packages=False, venv_cache_path={str(tmp_path / 'cache')!r}")
    first = started.run("f")
    assert Path(first[0]).parent == tmp_path / "cache"
    monkeypatch.setattr(type(started.task("f")), "_do", _no_building)
    assert started.run("f") == first
    (Path(first[0]) / "install_complete_marker.json").unlink()
    with pytest.raises(AssertionError, match="built again"):
        started.run("f")


def _no_building(*_: Any) -> None:
    raise AssertionError("it is built again")


def test_requirements_are_installed_with_the_options_of_the_task(
    process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    listed: list[str] = []

    def do(_: Any, *command: str) -> None:
        commands.append(list(command))
        if "-r" in command:
            listed.append(Path(command[-1]).read_text())

    arguments = (
        "requirements=['b>=1', 'a'], serializer='cloudpickle', system_site_packages=False,"
        " pip_install_options=['--pre'], index_urls=['https://one', 'https://two']"
    )
    started = process(VENV % arguments)
    operator = started.task("f")
    monkeypatch.setattr(type(operator), "_do", do)
    with operator._interpreter():
        pass
    made, installed = commands
    assert "--system-site-packages" not in made
    index = ["--index-url", "https://one", "--extra-index-url", "https://two"]
    assert installed[-7:-1] == ["--pre", *index, "-r"]
    assert listed == ["a\nb>=1\ncloudpickle"]


def test_a_build_that_fails_says_why(process: StartProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.exceptions import AirflowException

    find_uv(monkeypatch)
    started = process(VENV % "requirements=['no such thing at all'], index_urls=[]")
    with pytest.raises(AirflowException, match="correct `requirements`"):
        started.run("f")


def test_they_are_tasks_with_a_process(compiled: Compile) -> None:
    found = {task.task_id: task for task in compiled(DAG, files={"helper.py": "NAME = ''\n"}).tasks}
    assert (found["add"].kind, found["add"].template_values["python"]) == ("python", sys.executable)
    assert found["where"].operator_name == "@task.external_python"
    assert (found["choose"].decides, found["where"].decides) == (True, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("python_callable=lambda: 1", "write a `def`"),
        ("python_callable=print", "write a `def`"),
        ("python_callable=generator", "return a list"),
        ("python_callable=f, serializer='marshal'", "pickle"),
        ("python_callable=f, python_version=3.1", 'write it as text, e.g. "3.11"'),
        ("python_callable=f, index_urls_from_connection_ids=['c']", "index_urls"),
    ],
)
def test_what_another_interpreter_cannot_do_is_refused_at_its_line(refused: Refuse, arguments: str, words: str) -> None:
    text = (
        "from airflow.sdk import DAG\n"
        "from airflow.providers.standard.operators.python import PythonVirtualenvOperator\n"
        "def f(): ...\n"
        "def generator(): yield 1\n"
        "with DAG('d'):\n"
        f"    PythonVirtualenvOperator(task_id='t', {arguments})\n"
    )
    error = refused(text)
    assert (error.line, "'t'" in error.what) == (6, True)
    assert words in error.remedy


def test_the_script_runs_alone(tmp_path: Path) -> None:
    """It is all that the other interpreter gets of us."""
    from leoflowd.cli.local_try import shim_folder

    script = shim_folder() / "airflow" / "_leoflow" / "virtualenv_script.py"
    assert "airflow" not in script.read_text().split('"""')[2], "it imports nothing of ours"
    ended = subprocess.run([sys.executable, "-I", script, tmp_path], capture_output=True, check=False)
    assert b"call.json" in ended.stderr
