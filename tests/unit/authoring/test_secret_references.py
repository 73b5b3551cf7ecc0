"""A secret that is read while a file is loaded: a reference stands for it, and no value is in the artifact. ADR 74."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leoflowd.authoring.compiler import compile_project
from leoflowd.authoring.errors import DagCompileError
from leoflowd.contract import dag_spec
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.core.loadable import loadable_of, told_of

from .conftest import MakeProject

CANARY = "hunter2"
HEAD = """\
import base64, copy, json, os
from urllib.parse import quote
from airflow.sdk import DAG, BaseHook, BaseOperator, Connection, Variable
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.operators.bash import BashOperator
TOKEN = Variable.get("api_token")
CREDS = Variable.get("aws_secret", deserialize_json=True)
LIMITS = Variable.get("limits", deserialize_json=True)
"""
KNOWN = loadable_of(
    {
        "api_token": "***",
        "aws_secret": "***",
        "a-password.of mine": "***",
        "limits": '{"rows": 3, "auth": {"token": "***", "empty_token": ""}, '
        '"hosts": [{"name": "a", "password": "***"}]}',
        "some": '{"token": "***"}',
    },
    {
        "api": told_of(ConnectionFacts(connection_id="api", conn_type="http", host="h.example", password=CANARY)),
        "my-db": told_of(ConnectionFacts(connection_id="my-db", extra='{"a": 1, "token": "hunter2"}')),
    },
)
Load = Callable[..., DagSpec]
Refuse = Callable[[str], DagCompileError]


@pytest.fixture
def load(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Compile a DAG with these statements."""

    def run(body: str, **environment: str) -> DagSpec:
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        (spec,) = compile_project(project(f'{HEAD}with DAG("d"):\n{lines}'), loadable=KNOWN)
        assert CANARY.encode() not in dag_spec.encode_canonical(spec)
        return spec

    return run


@pytest.fixture
def refuse(load: Load) -> Refuse:
    def run(body: str) -> DagCompileError:
        with pytest.raises(DagCompileError) as caught:
            load(body)
        assert (caught.value.path, caught.value.line) == ("dag.py", 11), str(caught.value)
        assert CANARY not in str(caught.value)
        return caught.value

    return run


def command(value: str) -> str:
    return f'BashOperator(task_id="t", bash_command=str({value}))'


def shown(spec: DagSpec) -> Any:
    return spec.tasks[0].template_values["bash_command"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("TOKEN", "{{ var.value.api_token }}"),
        ('Variable.get("api_token", "fallback")', "{{ var.value.api_token }}"),
        ('f"Bearer {TOKEN}!"', "Bearer {{ var.value.api_token }}!"),
        ('"a" + TOKEN + "b"', "a{{ var.value.api_token }}b"),
        ('"%s/%s" % (TOKEN, "x")', "{{ var.value.api_token }}/x"),
        ('",".join(["a", TOKEN])', "a,{{ var.value.api_token }}"),
        ('TOKEN.strip().replace("a", "b")', "{{ var.value.api_token }}"),
        ('{**{"k": copy.deepcopy([TOKEN])}}', "{'k': ['{{ var.value.api_token }}']}"),
        ('TOKEN if TOKEN else "none"', "{{ var.value.api_token }}"),
        ("TOKEN is None", "False"),
        ('Variable.get("a-password.of mine")', "{{ var.value['a-password.of mine'] }}"),
        ('CREDS["key"]', "{{ var.json.aws_secret.key }}"),
        ('CREDS.get("a", {})["items"][0]["b-c"]', "{{ var.json.aws_secret.a['items'][0]['b-c'] }}"),
        ('LIMITS["auth"]', "{'token': '{{ var.json.limits.auth.token }}', 'empty_token': ''}"),
        ('LIMITS["hosts"][0]', "{'name': 'a', 'password': '{{ var.json.limits.hosts[0].password }}'}"),
        ('LIMITS["rows"] + 1', "4"),
        ('Variable.get("some")', "{{ var.value.some }}"),
        ('Connection.get("api").password', "{{ conn.api.password }}"),
        ('BaseHook.get_connection("api").get_uri()', "{{ conn.api.get_uri() }}"),
        ('Connection.get("api").as_json()', "{{ conn.api.as_json() }}"),
        ('Connection.get("my-db").extra', "{{ conn['my-db'].extra }}"),
        ('Connection.get("my-db").extra_dejson["token"]', "{{ conn['my-db'].extra_dejson.token }}"),
    ],
)
def test_a_template_stands_for_a_secret_and_texts_may_be_made_of_it(load: Load, value: str, text: str) -> None:
    spec = load(command(value))
    assert shown(spec) == text
    assert spec.warnings == ()


@pytest.mark.parametrize(
    ("value", "environment", "text"),
    [
        ('Variable.get("db_password")', {"AIRFLOW_VAR_DB_PASSWORD": CANARY}, "{{ var.value.db_password }}"),
        (
            'Variable.get("x", deserialize_json=True)',
            {"AIRFLOW_VAR_X": '{"token": "hunter2"}'},
            "{'token': '{{ var.json.x.token }}'}",
        ),
        ('Connection.get("x").password', {"AIRFLOW_CONN_X": "http://u:hunter2@h"}, "{{ conn.x.password }}"),
        ('Connection.get("x").extra', {"AIRFLOW_CONN_X": "http://h?token=hunter2"}, "{{ conn.x.extra }}"),
    ],
)
def test_also_for_one_of_the_environment(load: Load, value: str, environment: dict[str, str], text: str) -> None:
    assert shown(load(command(value), **environment)) == text


@pytest.mark.parametrize(
    "body",
    [
        'if TOKEN == "x": pass',
        'if TOKEN != "x": pass',
        'if TOKEN in ("a", "b"): pass',
        'if "a" in TOKEN: pass',
        'if TOKEN > "a": pass',
        'for one in TOKEN.split(","): pass',
        "for one in TOKEN: pass",
        "[*TOKEN]",
        "len(TOKEN)",
        "TOKEN[0]",
        "TOKEN.lower()",
        'TOKEN.startswith("a")',
        "int(TOKEN)",
        "float(TOKEN)",
        "range(TOKEN)",
        "json.loads(TOKEN)",
        "dict(**CREDS)",
        "for name in CREDS: pass",
        "CREDS.items()",
        'if CREDS["a"] == 1: pass',
        "int(CREDS['n'])",
    ],
)
def test_to_decide_by_a_secret_is_refused(refuse: Refuse, body: str) -> None:
    error = refuse(body)
    assert "secret" in error.what
    assert "artifact" in error.why
    assert "read it in the task" in error.remedy


def test_a_library_that_cannot_read_what_stands_for_it_is_explained(refuse: Refuse) -> None:
    error = refuse('json.loads(f"{TOKEN}")')
    assert "JSONDecodeError" in error.what
    assert "{{ var.value.api_token }}" in error.remedy


@pytest.mark.parametrize(
    "value", ["base64.b64encode(TOKEN.encode())", "quote(f'{TOKEN}@')", "hash(f'{TOKEN}')", "f'{TOKEN}'.upper()"]
)
def test_what_is_computed_from_a_secret_is_left_to_the_process(load: Load, value: str) -> None:
    spec = load(command(value))
    assert spec.tasks[0].template_values == {}
    assert ["evaluated again by each try" in warning.remedy for warning in spec.warnings] == [True]


def test_structure_that_is_computed_from_one_is_refused(load: Load) -> None:
    with pytest.raises(DagCompileError, match="two different DAGs") as caught:
        load('BashOperator(task_id="t" * len(f"{TOKEN}"), bash_command="true")')
    assert "secrets" in caught.value.remedy


@pytest.mark.parametrize(
    "arguments",
    [
        'headers={"Authorization": f"Bearer {TOKEN}"}',
        'request_kwargs={"json": {"key": TOKEN}}',
        'headers={"Authorization": "Basic " + base64.b64encode(f"u:{TOKEN}".encode()).decode()}',
        'endpoint="/x?key=" + CREDS["key"]',
    ],
)
def test_a_wait_and_a_call_of_the_daemon_get_their_secrets_from_a_process(load: Load, arguments: str) -> None:
    endpoint = "" if "endpoint" in arguments else ', endpoint="/x"'
    spec = load(
        f'HttpSensor(task_id="t"{endpoint}, {arguments})\n'
        f'HttpOperator(task_id="u"{endpoint}, method="POST", {arguments})'
    )
    wait, call = spec.tasks
    assert (wait.kind, wait.wait, wait.prepare) == ("wait", None, "process")
    assert (call.kind, call.http) == ("python", None)


def test_instances_of_a_mapped_wait_get_theirs_from_processes(load: Load) -> None:
    spec = load('HttpSensor.partial(task_id="t", headers={"k": TOKEN}).expand(endpoint=["/a", "/b"])')
    assert (spec.tasks[0].wait, spec.tasks[0].mapped_values, spec.tasks[0].prepare) == (None, (), "process")


def test_a_trigger_that_the_daemon_would_start_gets_its_secret_from_a_process(load: Load) -> None:
    first = """\
class Waits(BaseOperator):
    start_from_trigger = True
    def __init__(self, path, **kwargs):
        super().__init__(**kwargs)
        from airflow.triggers.base import StartTriggerArgs
        self.start_trigger_args = StartTriggerArgs(trigger_cls="x.Y", trigger_kwargs={"path": path}, next_method="go")
"""
    plain = load(first + 'Waits(task_id="t", path="/p")').tasks[0]
    secret = load(first + 'Waits(task_id="t", path=f"/{TOKEN}")').tasks[0]
    assert (plain.deferral is None, secret.deferral is None) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ('params={"key": TOKEN}', "params"),
        ("email=TOKEN", "email"),
        ("pool=TOKEN", "pool"),
        ("queue=f'q{TOKEN}'", "queue"),
        ("owner=TOKEN", "owner"),
        ('executor_config={"KubernetesExecutor": {"image": TOKEN}}', "executor_config"),
    ],
)
def test_what_the_daemon_acts_on_itself_holds_no_secret(refuse: Refuse, arguments: str, name: str) -> None:
    error = refuse(f'BashOperator(task_id="t", bash_command="true", {arguments})')
    assert f"a secret in its {name}: {{{{ var.value.api_token }}}}" in error.what


def test_nor_does_what_it_acts_on_of_a_dag(project: MakeProject) -> None:
    folder = project(f'{HEAD}with DAG("d", params={{"key": TOKEN}}): BashOperator(task_id="t", bash_command="true")\n')
    with pytest.raises(DagCompileError, match="dag 'd' has a secret in its params"):
        compile_project(folder, loadable=KNOWN)


def test_what_a_dag_shows_of_a_secret_is_its_reference(project: MakeProject) -> None:
    arguments = 'doc_md=f"uses {TOKEN}", default_args={"env": {"KEY": TOKEN}}'
    folder = project(f'{HEAD}with DAG("d", {arguments}): BashOperator(task_id="t", bash_command="true")\n')
    (spec,) = compile_project(folder, loadable=KNOWN)
    assert spec.doc_md == "uses {{ var.value.api_token }}"


def test_the_environment_of_the_loading_process_may_be_given_one(load: Load) -> None:
    assert shown(load('os.environ["KEY"] = TOKEN\n' + command('os.environ["KEY"]'))) == "{{ var.value.api_token }}"


def test_two_spaces_that_the_author_writes_stay(load: Load) -> None:
    assert shown(load(command("'{{ var.value.region  }} ' + TOKEN"))) == (
        "{{ var.value.region  }} {{ var.value.api_token }}"
    )
