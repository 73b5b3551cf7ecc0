"""Variables and connections that a file reads while it is loaded: given, noted, and never a secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leoflowd.authoring.compiler import compile_project
from leoflowd.authoring.errors import DagCompileError
from leoflowd.contract import dag_spec
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.loading import Loadable, Read, are_current
from leoflowd.core.loadable import loadable_of, told_of

from .conftest import MakeProject

HEAD = """\
from airflow.sdk import DAG, Variable, Connection, BaseHook, task
from airflow.providers.standard.operators.bash import BashOperator

"""
API = ConnectionFacts(
    connection_id="api", conn_type="http", host="h.example", port=80, password="hunter2", extra='{"region": "eu"}'
)
KNOWN = loadable_of(
    {"env": "prod", "limits": '{"rows": 3, "auth": {"token": "***"}, "proxy": "***"}', "api_token": "***"},
    {"api": told_of(API), "open": told_of(ConnectionFacts(connection_id="open", extra='{"a": 1, "token": "hunter2"}'))},
)

Load = Callable[..., DagSpec]
Refuse = Callable[..., DagCompileError]


@pytest.fixture
def load(project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Compile a DAG whose one task runs `value`, an expression; what it became is in the artifact."""

    def run(value: str, known: Loadable = KNOWN, **environment: str) -> DagSpec:
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        folder = project(f'{HEAD}with DAG("d"):\n    BashOperator(task_id="t", bash_command=str({value}))\n')
        (spec,) = compile_project(folder, loadable=known)
        return spec

    return run


@pytest.fixture
def refuse(load: Load) -> Refuse:
    def run(value: str, known: Loadable = KNOWN, **environment: str) -> DagCompileError:
        with pytest.raises(DagCompileError) as caught:
            load(value, known, **environment)
        assert (caught.value.path, caught.value.line) == ("dag.py", 5)
        assert "hunter2" not in str(caught.value)
        return caught.value

    return run


def became(spec: DagSpec) -> Any:
    return spec.tasks[0].template_values["bash_command"]


def read(spec: DagSpec) -> list[tuple[str, str]]:
    return [(read.kind, read.key) for read in spec.reads]


def test_a_stored_variable_is_found_and_noted(load: Load) -> None:
    spec = load('Variable.get("env")')
    assert (became(spec), read(spec)) == ("prod", [("variable", "env")])


def test_the_environment_comes_first_and_that_it_counted_is_noted(load: Load) -> None:
    spec = load('Variable.get("env")', AIRFLOW_VAR_ENV="dev")
    assert (became(spec), read(spec)) == ("dev", [("environment", "AIRFLOW_VAR_ENV")])


def test_a_default_is_taken_and_the_read_is_noted(load: Load) -> None:
    spec = load('Variable.get("nope", "fallback")')
    assert (became(spec), spec.reads) == ("fallback", (Read(kind="variable", key="nope"),))


def test_each_thing_is_noted_once(load: Load) -> None:
    spec = load(
        'Variable.get("env") + Variable.get("env") + Variable.get("nope", default_var="") + Connection.get("api").host'
    )
    assert read(spec) == [("connection", "api"), ("variable", "env"), ("variable", "nope")]


def test_json_is_read_without_its_secrets(load: Load) -> None:
    assert became(load('Variable.get("limits", deserialize_json=True)["rows"]')) == "3"


def test_the_rest_of_a_connection_may_be_read(load: Load) -> None:
    value = '(lambda c: f"{c.conn_type} {c.host}:{c.port} {c.extra_dejson}")(Connection.get("api"))'
    assert became(load(value)) == "http h.example:80 {'region': 'eu'}"


def test_a_variable_that_is_missing_says_how_to_set_it_and_is_noted(refuse: Refuse) -> None:
    error = refuse('Variable.get("nope")')
    assert "`leoflow variables set nope VALUE`" in error.remedy
    assert "AIRFLOW_VAR_NOPE" in error.remedy
    assert error.reads == (Read(kind="variable", key="nope"),)


def test_a_connection_that_is_missing_says_how_to_add_it_and_is_noted(refuse: Refuse) -> None:
    error = refuse('Connection.get("nope")')
    assert "`leoflow connections add nope`" in error.remedy
    assert error.reads == (Read(kind="connection", key="nope"),)


def test_a_file_may_catch_that_a_variable_is_missing(project: MakeProject) -> None:
    folder = project(
        HEAD
        + 'try:\n    value = Variable.get("nope")\nexcept KeyError:\n    value = "caught"\n'
        + 'with DAG("d"):\n    BashOperator(task_id="t", bash_command=value)\n'
    )
    (spec,) = compile_project(folder, loadable=KNOWN)
    assert (became(spec), read(spec)) == ("caught", [("variable", "nope")])


def test_what_was_read_counts_for_an_error_that_comes_later(refuse: Refuse) -> None:
    error = refuse('[Variable.get("env"), 1 / 0]')
    assert [read.key for read in error.reads] == ["env"]


@pytest.mark.parametrize("call", ['Variable.set("a", "b")', 'Variable.delete("a")', 'Variable.setdefault("a", 1)'])
def test_a_file_that_is_loaded_writes_nothing(refuse: Refuse, call: str) -> None:
    error = refuse(call)
    assert "while the file is loaded" in error.what
    assert error.remedy == "move the call into a task"


@pytest.mark.parametrize("call", ['Variable.get("env")', 'Variable.get("nope", "x")', 'Connection.get("api")'])
def test_a_secrets_backend_that_nobody_here_can_ask_is_refused(refuse: Refuse, call: str) -> None:
    error = refuse(call, AIRFLOW__SECRETS__BACKEND="airflow.providers.hashicorp.secrets.vault.VaultBackend")
    assert "AIRFLOW__SECRETS__BACKEND" in error.what


def test_the_environment_is_read_before_a_backend_would_be(load: Load) -> None:
    assert became(load('Variable.get("env")', AIRFLOW__SECRETS__BACKEND="x.Y", AIRFLOW_VAR_ENV="dev")) == "dev"


def test_what_was_read_is_in_the_artifact_and_not_in_its_digest(load: Load) -> None:
    spec = load('Variable.get("env")')
    assert dag_spec.decode(dag_spec.encode_canonical(spec)) == spec
    assert dag_spec.digest(spec) == dag_spec.digest(msgspec.structs.replace(spec, reads=()))


def test_reads_are_current_until_what_they_gave_changes(load: Load) -> None:
    reads = load('Variable.get("env") + Variable.get("nope", "") + Connection.get("api").host').reads
    others = loadable_of({**KNOWN.variables, "other": "x", "api_token": "***"}, KNOWN.connections)
    changed = loadable_of({"env": "test"}, KNOWN.connections)
    appeared = loadable_of({**KNOWN.variables, "nope": ""}, KNOWN.connections)
    gone = loadable_of({}, KNOWN.connections)
    moved = loadable_of(KNOWN.variables, {"api": told_of(msgspec.structs.replace(API, host="h2"))})
    assert [are_current(reads, known, {}) for known in (KNOWN, others, changed, appeared, gone, moved)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_value_that_ends_in_the_artifact_makes_another_version(load: Load) -> None:
    digests = {dag_spec.digest(load('Variable.get("env")', loadable_of({"env": env}, {}))) for env in ("a", "b")}
    assert len(digests) == 2


def test_one_that_does_not_end_there_makes_none(load: Load) -> None:
    value = 'Variable.get("env") and "same"'
    digests = {dag_spec.digest(load(value, loadable_of({"env": env}, {}))) for env in ("a", "b")}
    assert len(digests) == 1


def test_a_project_compiles_without_any(project: MakeProject, tmp_path: Path) -> None:
    (spec,) = compile_project(project(f'{HEAD}with DAG("d"):\n    BashOperator(task_id="t", bash_command="true")\n'))
    assert spec.reads == ()
