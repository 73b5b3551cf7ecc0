"""Airflow's insides may be imported, annotated with and derived from; whoever uses them is told what to do."""

from __future__ import annotations

import pytest

from .conftest import Compile, Refuse, StartProcess

DAG = "\nfrom leoflow import DAG, EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n"
IMPORTS = [
    "from airflow import settings",
    "from airflow.settings import Session",
    "from airflow.configuration import conf",
    "from airflow import configuration",
    "from airflow.utils.db import provide_session, create_session",
    "from airflow.utils.session import NEW_SESSION, provide_session",
    "from airflow.models import DagBag, DagModel, DagRun, Pool, TaskInstance, XCom",
    "from airflow.models.taskinstance import TaskInstance",
    "from airflow.utils.log.secrets_masker import mask_secret",
    "from airflow.utils.email import send_email",
    "from airflow.plugins_manager import AirflowPlugin",
    "from airflow.stats import Stats",
    "from airflow.lineage.entities import File",
    "from airflow.api.common.experimental.trigger_dag import trigger_dag",
    "from airflow.hooks.filesystem import FSHook",
]


@pytest.mark.parametrize("line", IMPORTS)
def test_they_may_be_imported(compiled: Compile, line: str) -> None:
    spec = compiled(line + DAG)
    assert (len(spec.tasks), spec.warnings) == (1, ())


def test_they_may_stand_in_annotations_and_be_derived_from(compiled: Compile) -> None:
    spec = compiled(
        "from airflow.models import DagRun\nfrom airflow.plugins_manager import AirflowPlugin\n"
        "from airflow.utils.session import provide_session\n"
        "class Mine(AirflowPlugin):\n    name = 'mine'\n    macros = [len]\n"
        "@provide_session\ndef find(run: DagRun, session=None) -> DagRun | None: ...\n" + DAG
    )
    assert len(spec.tasks) == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("from airflow import settings\nsettings.Session()", ["airflow.settings.Session", "database", "XComs"]),
        ("from airflow.models import DagRun\nDagRun.find(dag_id='x')", ["airflow.models.DagRun.find", "REST API"]),
        (
            "from airflow.utils.session import create_session\nwith create_session() as s: ...",
            ["create_session", "database"],
        ),
        ("from airflow.stats import Stats\nStats.incr('x')", ["airflow.stats.Stats.incr", "no Airflow installation"]),
        ("from airflow.models import clear_task_instances\nclear_task_instances()", ["clear_task_instances"]),
        *(
            (
                f"from airflow.config_templates.airflow_local_settings import LOGGING\n{use}",
                ["settings.LOGGING is used"],
            )
            for use in ("LOGGING['x']", "{**LOGGING}", "'x' in LOGGING", "list(LOGGING)", "with LOGGING: ...")
        ),
        ("from airflow.configuration import conf\nconf.as_dict()", ["as_dict"]),
        (
            "from airflow.configuration import conf\nconf.get('core', 'fernet_key')",
            ["fernet_key", "AIRFLOW__CORE__FERNET_KEY"],
        ),
    ],
)
def test_using_one_while_loading_names_its_line(refused: Refuse, code: str, words: list[str]) -> None:
    error = refused(code + DAG)
    assert (error.path, error.line) == ("dag.py", 2), str(error)
    for word in words:
        assert word in str(error)


def test_an_option_comes_from_the_environment_then_the_fallback(
    compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__MINE__LIMIT", "7")
    spec = compiled(
        "from airflow.configuration import conf\nfrom leoflow import DAG, EmptyOperator\n"
        "limit = conf.getint('mine', 'limit')\nmore = conf.getint('mine', 'more', fallback=2)\n"
        "assert conf.getboolean('core', 'load_examples') is False\n"
        "with DAG('d', max_active_runs=limit, max_active_tasks=more):\n    EmptyOperator(task_id='a')\n"
    )
    assert (spec.max_active_runs, spec.max_active_tasks) == (7, 2)


def test_the_dags_folder_is_the_projects_and_leaves_no_trace(compiled: Compile) -> None:
    spec = compiled(
        "import os\nfrom airflow import settings\nfrom airflow.configuration import conf\n"
        "from leoflow import DAG, EmptyOperator\n"
        "assert settings.DAGS_FOLDER == conf.get('core', 'dags_folder')\n"
        "with DAG('d', template_searchpath=os.path.join(settings.DAGS_FOLDER, 'sql')):\n"
        "    EmptyOperator(task_id='a')\n"
    )
    assert spec.template_searchpath == ("sql",)


def test_log_folders_are_below_the_home(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/srv/airflow")
    spec = compiled(
        "from airflow.configuration import conf\nfrom leoflow import DAG, EmptyOperator\n"
        "with DAG('d', description=conf.get('logging', 'BASE_LOG_FOLDER')):\n    EmptyOperator(task_id='a')\n"
    )
    assert spec.description == "/srv/airflow/logs"


def test_a_function_that_wants_a_session_says_so_when_a_task_calls_it(process: StartProcess) -> None:
    task = process(
        "from airflow.utils.session import provide_session\nfrom leoflow import DAG, PythonOperator\n"
        "@provide_session\ndef look(session=None): ...\n"
        "with DAG('d'):\n    PythonOperator(task_id='a', python_callable=look)\n"
    )
    with pytest.raises(Exception, match="Airflow's database does not exist here"):
        task.run("a")
