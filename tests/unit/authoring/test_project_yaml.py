# ruff: noqa: E501 - DAG texts and tables, one case per line
"""`leoflow.yaml`: every key of the original is honoured or refused with a reason, at its line."""

from __future__ import annotations

import pytest

from leoflowd.authoring.compiler import compile_project
from leoflowd.authoring.project import KEYS, TASK_KEYS, read_project, unused_in_lite
from leoflowd.contract.callback_spec import AlertSpec
from leoflowd.contract.dag_spec import CronTimetable, DagSpec

from .conftest import Compile, MakeProject, Refuse

DAG = """
from datetime import timedelta
from leoflow import DAG, EmptyOperator
with DAG('d', schedule='@daily', tags=['code'], description='code', default_args={'pool': 'code'}):
    EmptyOperator(task_id='plain') >> EmptyOperator(task_id='set', retries=7, retry_delay=timedelta(seconds=7), owner='me')
"""


def both(spec: DagSpec, field: str) -> tuple[object, object]:
    plain, set_in_code = spec.tasks
    return getattr(plain, field), getattr(set_in_code, field)


HONOURED = {
    "schema_version": ("'1.0'", lambda s: s.dag_id == "d"),
    "dag_id": ("d", lambda s: s.dag_id == "d"),
    "description": ("yaml", lambda s: s.description == "yaml"),
    "owner": ("team", lambda s: both(s, "owner") == ("team", "me")),
    "tags": ("[b, a]", lambda s: s.tags == ("a", "b")),
    "python_version": ("'3.12'", lambda s: s.environment.python_version == "3.12"),
    "base_image": ("x", lambda s: True),
    "image": ("x", lambda s: s.image == "x"),
    "dependencies": ("[requests]", lambda s: s.environment.dependencies == ("requests",)),
    "system_packages": ("[git]", lambda s: s.environment.system_packages == ("git",)),
    "dag_source": ("dag.py", lambda s: s.source_path == "dag.py"),
    "include_paths": ("[dag.py]", lambda s: s.bundle_digest != ""),
    "exclude_paths": ("['*.csv']", lambda s: s.bundle_digest != ""),
    "build": ("{dockerfile: D, context: '.', platforms: [linux/amd64], labels: {a: b}}", lambda s: True),
    "registry": ("{url: r, auth_method: iam, image_name: i, tag_strategy: git_sha}", lambda s: True),
    "defaults": (
        "{retries: 3, retry_delay_seconds: 4, execution_timeout_seconds: 5, resources: {cpu: 500m, memory: 1Gi}, node_selector: {a: b}}",
        lambda s: (
            both(s, "retries") == (3, 7)
            and both(s, "retry_delay_s") == (4, 7)
            and both(s, "execution_timeout_s") == (5, 5)
            and s.tasks[0].resources["limits"] == {"cpu": "500m", "memory": "1Gi"}
            and s.tasks[0].execution == {"node_selector": {"a": "b"}}
        ),
    ),
    "staging": ("{enabled: true, size: 1Gi, storage_class: fast}", lambda s: s.staging["size"] == "1Gi"),
    "tasks": (
        "{set: {retries: 1, retry_delay_seconds: 2, execution_timeout_seconds: 3, env: {A: b}, pool: q,"
        " resources: {requests: {cpu: '1'}}, execution: {node_selector: {a: b}, tolerations: [{key: k}],"
        " service_account: s, image_pull_policy: Always}}}",
        lambda s: (
            both(s, "retries") == (0, 1)
            and both(s, "retry_delay_s") == (300, 2)
            and both(s, "execution_timeout_s") == (None, 3)
            and both(s, "env") == ({}, {"A": "b"})
            and both(s, "pool") == ("code", "q")
            and s.tasks[1].resources == {"requests": {"cpu": "1"}}
            and s.tasks[1].execution["tolerations"] == [{"key": "k"}]
        ),
    ),
    "max_active_tasks": ("2", lambda s: s.max_active_tasks == 2),
    "pool": ("p", lambda s: both(s, "pool") == ("code", "code")),
    "connectors": ("[http, cncf.kubernetes]", lambda s: s.environment.connectors == ("http", "cncf.kubernetes")),
    "alerts": (
        "[{on: [failure, task_retry], slack: team}, {on: success, email: smtp_default, to: [a@b, c@d]}]",
        lambda s: (
            s.alerts
            == (
                AlertSpec(on=("failure", "task_retry"), kind="slack", connection="team"),
                AlertSpec(on=("success",), kind="email", connection="smtp_default", to=("a@b", "c@d")),
            )
        ),
    ),
    "callback_timeout_seconds": ("90", lambda s: s.callback_timeout_s == 90),
    "warm": ("false", lambda s: s.environment.warm is False),
    "cron_data_intervals": ("true", lambda s: s.timetable == CronTimetable(expression="0 0 * * *", data_interval=True)),
}
REFUSED = ("dbt_groups", "connections", "variables", "placement", "min_idle_workers")


def test_the_tables_here_cover_every_key() -> None:
    assert set(HONOURED) | set(REFUSED) | {"dbt"} == set(KEYS)  # that one makes a DAG of its own: test_dbt.py


@pytest.mark.parametrize("key", HONOURED)
def test_a_key_is_honoured(compiled: Compile, key: str) -> None:
    value, is_honoured = HONOURED[key]
    assert is_honoured(compiled(DAG, yaml=f"{key}: {value}\n"))


@pytest.mark.parametrize("key", REFUSED)
def test_a_key_is_refused_with_a_reason(refused: Refuse, key: str) -> None:
    error = refused(DAG, yaml=f"dag_id: d\n{key}: [x]\n")
    assert (error.path, error.line, error.what) == ("leoflow.yaml", 2, f"{key} is set")
    assert error.why
    assert error.remedy


@pytest.mark.parametrize("key", ["alerts", "connections", "variables", "placement"])
def test_a_key_of_a_task_is_refused_with_a_reason(refused: Refuse, key: str) -> None:
    assert key in TASK_KEYS
    error = refused(DAG, yaml=f"tasks:\n  set:\n    {key}: [x]\n")
    assert (error.line, error.what) == (3, f"tasks.set.{key} is set")


@pytest.mark.parametrize(
    ("yaml", "line", "words"),
    [
        ("dag_id: d\nretry: 1\n", 2, ["unknown key 'retry'", "defaults"]),
        ("tasks:\n  set:\n    retrys: 1\n", 3, ["unknown key 'tasks.set.retrys'", "retries"]),
        ("dag_id: d\nowner: x\ndag_id: d\n", 3, ["twice", "line 1"]),
        ("tasks:\n  set: {}\n  set: {}\n", 3, ["twice"]),
        ("tasks:\n  plain: {retries: 1}\n  other: {retries: 1}\n", 3, ["other", "plain, set"]),
        ("alerts:\n  - {on: [never], slack: c}\n", 2, ["alerts.0", "task_failure"]),
        ("alerts:\n  - {on: failure}\n", 2, ["alerts.0", "slack, webhook, email"]),
        ("alerts:\n  - {on: failure, slack: c, email: d}\n", 2, ["alerts.0", "one of"]),
        ("alerts:\n  - {on: failure, slack: ''}\n", 2, ["alerts.0", "connection"]),
        ("alerts:\n  - {on: failure, email: c}\n", 2, ["alerts.0", "addresses"]),
        ("alerts:\n  - {on: failure, slack: c, to: a@b}\n", 2, ["alerts.0", "to"]),
        ("alerts:\n  - {on: failure, slack: c, channel: x}\n", 2, ["channel"]),
        ("alerts:\n  - print\n", 2, ["'print'", "mapping"]),
        ("callback_timeout_seconds: 0\n", 1, ["callback_timeout_seconds", "3600"]),
        ("dag_id: other\n", 1, ["'other'", "'d'"]),
        ("dag_id: a b\n", 1, ["letters"]),
        ("defaults:\n  retries: '3'\n", 2, ["defaults.retries", "whole number"]),
        ("defaults:\n  retries: true\n", 2, ["whole number"]),
        ("defaults:\n  execution_timeout_seconds: 0\n", 2, ["at least 1"]),
        ("python_version: 3.11\n", 1, ["3.10, 3.11"]),
        ("tags: x\n", 1, ["a list"]),
        ("dependencies:\n  - a\n  - 1\n", 3, ["dependencies.1", "a text"]),
        ("tasks:\n  set:\n    env:\n      A: 1\n", 4, ["quotes"]),
        ("tasks:\n  set:\n    resources: {requests: {cpu: lots}}\n", 3, ["quantity"]),
        ("dag_source: ../x.py\n", 1, ["inside the project"]),
        ("schema_version: '9'\n", 1, ["1.0"]),
        ("- a\n", 1, ["a mapping"]),
        ("a: [\n", 2, ["not valid YAML"]),
        ("x: !!python/object:os.system {}\n", 1, ["tag"]),
        ("1: x\n", 1, ["plain texts"]),
    ],
)
def test_a_fault_names_its_line(refused: Refuse, yaml: str, line: int, words: list[str]) -> None:
    error = refused(DAG, yaml=yaml)
    assert (error.path, error.line) == ("leoflow.yaml", line), str(error)
    for word in words:
        assert word in str(error)


def test_dag_id_chooses_one_of_several(project: MakeProject) -> None:
    two = DAG + DAG.replace("'d'", "'e'")
    assert [spec.dag_id for spec in compile_project(project(two, yaml="dag_id: e\n"))] == ["e"]


def test_what_only_a_cluster_needs_is_said_in_lite(project: MakeProject) -> None:
    folder = project(DAG, yaml="registry: {url: r}\nstaging: {enabled: true}\ntasks: {set: {resources: {}}}\n")
    notes = unused_in_lite(read_project(folder))
    assert [note.partition(":")[0] for note in notes] == ["registry", "tasks.set.resources"]
