"""`compile`, `validate`, `push` and `init`: bytes, error format, and files that are never overwritten."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from leoflowd.cli import init as init_module
from leoflowd.cli.failures import ExitCode
from leoflowd.contract import dag_spec
from leoflowd.contract.signatures import HEADER, sign

TWO_DAGS = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
for name in ("one", "two"):
    with DAG(name, tags=["b", "a"]):
        EmptyOperator(task_id="t")
"""


@pytest.fixture
def project(tmp_path: Path, leoflow) -> Path:
    folder = tmp_path / "hello"
    assert leoflow("init", str(folder)).code == 0
    return folder


def test_compiling_twice_gives_identical_canonical_bytes(leoflow, project: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    assert leoflow("compile", str(project), "-o", str(first)).code == 0
    assert leoflow("compile", str(project), "-o", str(second)).code == 0
    assert first.read_bytes() == second.read_bytes()
    spec = dag_spec.decode(first.read_bytes())
    assert dag_spec.encode_canonical(spec) == first.read_bytes()
    assert [task.task_id for task in spec.tasks] == ["greet", "count"]


@pytest.mark.parametrize("name", ["dag.json", "of-the-project.txt"])
def test_an_artifact_that_lies_in_its_project_does_not_change_it(leoflow, project: Path, name: str) -> None:
    target = project / name
    assert leoflow("compile", str(project), "-o", str(target)).code == 0
    first = target.read_bytes()
    assert leoflow("compile", str(project), "-o", str(target)).code == 0
    assert target.read_bytes() == first


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_where_a_command_prints_is_no_part_of_the_project_that_it_lies_in(
    project: Path, tmp_path: Path, stream: str
) -> None:
    """`leoflow compile -o - > dag.json` was another artifact than `leoflow compile` wrote."""
    compiled = []
    for file in (tmp_path / "beside", project / "inside"):
        with file.open("wb") as sink:
            command = [sys.executable, "-m", "leoflowd.cli.main", "compile", str(project), "-o", "-"]
            out, err = (sink, subprocess.PIPE) if stream == "stdout" else (subprocess.PIPE, sink)
            done = subprocess.run(command, check=True, stdout=out, stderr=err)
        compiled.append(file.read_bytes() if stream == "stdout" else done.stdout)
        file.unlink()
    assert compiled[0] == compiled[1] != b""


def test_the_artifacts_of_a_folder_do_not_change_it(leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "several.py").write_text(TWO_DAGS)
    monkeypatch.chdir(tmp_path)
    assert leoflow("compile", ".").code == 0
    first = {file.name: file.read_bytes() for file in (tmp_path / "artifacts").iterdir()}
    assert leoflow("compile", ".").code == 0
    assert {file.name: file.read_bytes() for file in (tmp_path / "artifacts").iterdir()} == first
    assert len(first) == 2


def test_the_artifact_does_not_depend_on_where_the_project_lies(leoflow, project: Path, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere" / "deeper" / "hello"
    there.parent.mkdir(parents=True)
    here = tmp_path / "here.json"
    assert leoflow("compile", str(project), "-o", str(here)).code == 0
    project.rename(there)
    assert leoflow("compile", str(there), "-o", str(tmp_path / "there.json")).code == 0
    assert here.read_bytes() == (tmp_path / "there.json").read_bytes()


def test_dash_writes_the_artifact_and_nothing_else(leoflow, project: Path) -> None:
    result = leoflow("compile", str(project), "-o", "-")
    assert dag_spec.encode_canonical(dag_spec.decode(result.out)) == result.out.encode()
    assert (result.code, result.err) == (0, "")


def test_a_report_as_json_names_the_digest(leoflow, project: Path, tmp_path: Path) -> None:
    target = tmp_path / "dag.json"
    document = leoflow("-o", "json", "compile", str(project), "-o", str(target)).document
    assert document["digest"] == dag_spec.digest(dag_spec.decode(target.read_bytes()))


def test_a_fault_exits_2_and_begins_with_path_and_line(leoflow, project: Path, tmp_path: Path) -> None:
    (project / "dag.py").write_text("from airflow.sdk import DAG\n\nraise ValueError('no')\n")
    result = leoflow("compile", str(project), "-o", str(tmp_path / "dag.json"))
    assert result.code == ExitCode.INVALID
    assert result.out == ""
    assert result.err.startswith(f"{project / 'dag.py'}:3: ")
    what, why, remedy = result.err.removeprefix(f"{project / 'dag.py'}:3: ").strip().split("; ", 2)
    assert "ValueError: no" in what
    assert why
    assert remedy
    assert not (tmp_path / "dag.json").exists()


def test_a_fault_as_json_has_its_parts(leoflow, project: Path) -> None:
    (project / "leoflow.yaml").write_text("dag_id: hello\nimagge: x\n")
    result = leoflow("-o", "json", "compile", str(project))
    (fault,) = result.error["compile_errors"]
    assert (fault["path"], fault["line"]) == (str(project / "leoflow.yaml"), 2)
    assert fault["what"]
    assert fault["why"]
    assert fault["what_to_do"]


@pytest.mark.parametrize("named", [".", "dag.py"])
@pytest.mark.parametrize(("options", "folder"), [((), "artifacts"), (("-o", "made"), "made")])
def test_several_dags_are_written_as_those_of_a_folder_are(
    leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, options: tuple[str, ...], folder: str
) -> None:
    (tmp_path / "leoflow.yaml").touch()
    (tmp_path / "dag.py").write_text(TWO_DAGS)
    monkeypatch.chdir(tmp_path)
    assert leoflow("compile", named, *options).code == 0
    assert sorted(file.name for file in (tmp_path / folder).iterdir()) == ["one.json", "two.json"]


def test_of_several_dags_one_is_chosen_for_a_file(leoflow, tmp_path: Path) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    (folder / "dag.py").write_text(TWO_DAGS)
    target = tmp_path / "dag.json"
    result = leoflow("compile", str(folder), "-o", str(target))
    assert (result.code, "one, two" in result.err) == (ExitCode.USAGE, True)
    assert leoflow("compile", str(folder), "-o", "-").code == ExitCode.USAGE
    assert leoflow("compile", str(folder), "-o", str(target), "--dag-id", "two").code == 0
    assert dag_spec.decode(target.read_bytes()).dag_id == "two"


def test_a_target_that_cannot_be_written_is_named(leoflow, project: Path, tmp_path: Path) -> None:
    result = leoflow("compile", str(project), "-o", str(tmp_path / "no" / "dag.json"))
    assert result.code == ExitCode.USAGE
    assert "cannot write" in result.err


def test_validate_reports_every_project_of_a_folder(leoflow, project: Path) -> None:
    bad = project.parent / "bad"
    bad.mkdir()
    (bad / "dag.py").write_text("1/0\n")
    result = leoflow("validate", str(project.parent), "-o", "json")
    assert result.code == ExitCode.INVALID
    assert [(Path(p["project"]).name, bool(p["errors"])) for p in result.document["projects"]] == [
        ("bad", True),
        ("hello", False),
    ]
    assert leoflow("validate", str(project)).code == 0


NO_POOL = "pool 'gpu' does not exist, and these tasks wait for it: a; create it"


def registry(request: httpx.Request) -> httpx.Response:
    """A server without pools, variables and connections."""
    if request.url.path in ("/api/v2/variables", "/api/v2/connections"):
        kind = request.url.path.rsplit("/", 1)[-1]
        return httpx.Response(200, json={kind: [], "total_entries": 0})
    dag_id = json.loads(request.content)["dag_id"]
    return httpx.Response(200, json={"dag_id": dag_id, "version_number": 1, "created": True, "warnings": [NO_POOL]})


def test_push_says_which_pools_the_server_lacks(leoflow, server, project: Path) -> None:
    server(registry)
    result = leoflow("push", str(project))
    assert result.code == 0
    assert f"hello: {NO_POOL}" in result.err


def test_validate_asks_the_server_that_it_is_given(leoflow, server, project: Path) -> None:
    requests = server(registry)
    (report,) = leoflow("validate", str(project), "-o", "json").document["projects"]
    assert report["warnings"] == []
    assert requests == []
    result = leoflow("validate", str(project), "--server", "http://127.0.0.1:1", "--token", "t", "-o", "json")
    assert result.code == 0
    assert result.document["projects"][0]["warnings"] == [f"hello: {NO_POOL}"]
    assert requests[-1].url.path == "/api/v2/leoflow/dags/check"


@pytest.mark.parametrize("command", ["validate", "compile"])
def test_a_server_that_is_named_before_the_command_is_asked_as_well(
    leoflow, server, project: Path, tmp_path: Path, command: str
) -> None:
    """It was taken and never looked at."""
    requests = server(registry)
    to = ("-o", str(tmp_path / "out.json")) if command == "compile" else ()
    assert leoflow("--server", "http://127.0.0.1:1", command, str(project), *to).code == 0
    assert requests[0].url.path == "/api/v2/variables"


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(403, 0, "warnings"), (404, 0, "warnings"), (409, 2, "errors"), (422, 2, "errors")]
)
def test_validate_tells_what_the_server_refuses(
    leoflow, server, project: Path, status: int, code: int, kind: str
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        is_read = request.method == "GET"
        return registry(request) if is_read else httpx.Response(status, json={"detail": "not like this"})

    server(refuse)
    result = leoflow("validate", str(project), "--server", "http://127.0.0.1:1", "--token", "t", "-o", "json")
    assert result.code == code
    (told,) = result.document["projects"][0][kind]
    assert "not like this" in str(told)


def test_validate_ends_when_the_server_breaks(leoflow, server, project: Path) -> None:
    server(lambda request: registry(request) if request.method == "GET" else httpx.Response(200, json=[]))
    result = leoflow("validate", str(project), "--server", "http://127.0.0.1:1", "--token", "t")
    assert result.code == ExitCode.UNEXPECTED


@pytest.mark.parametrize("words", [("validate",), ("compile",), ("test",), ("push",), ("deploy", "--dry-run")])
def test_a_folder_without_projects_exits_4_and_every_command_says_what_would_be_one(
    leoflow, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    result = leoflow(*words, str(tmp_path / "empty"))
    assert result.code == ExitCode.NOT_FOUND
    assert "has no project: no dag.py, dag.yaml, leoflow.yaml or DAG file in it" in result.err
    assert "leoflow init" in result.err


@pytest.mark.parametrize("words", [("validate",), ("compile",), ("test",), ("deploy", "--dry-run")])
@pytest.mark.parametrize("name", ["dag.json", "notes.txt", "README"])
def test_a_file_that_is_no_dag_file_is_not_loaded_as_python(
    leoflow, project: Path, words: tuple[str, ...], name: str
) -> None:
    """An artifact was: "NameError: name 'false' is not defined", and all of it behind that."""
    (project / name).write_text('{"a": false}')
    result = leoflow(*words, str(project / name))
    assert result.code == ExitCode.USAGE
    assert "is no DAG file" in result.err


def test_a_long_line_is_cut_where_a_finding_shows_it(leoflow, tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(f"from airflow.sdk import DAG\nX = ({'1 + ' * 5000} None)\n")
    result = leoflow("validate", str(tmp_path))
    assert result.code == ExitCode.INVALID
    assert max(map(len, result.err.splitlines())) < 1000


def test_push_and_test_take_the_folder_that_one_is_in(
    leoflow, server, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    server(registry)
    assert leoflow("push").code == 0
    assert leoflow("test", "--python", sys.executable).code == 0


@pytest.mark.parametrize("word", ["json", "table"])
def test_the_o_of_compile_that_was_meant_for_a_report_makes_no_file(
    leoflow, project: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(project)
    result = leoflow("compile", "-o", word)
    assert result.code == ExitCode.USAGE
    assert f"leoflow -o {word} compile" in result.err
    assert not (project / word).exists()


def test_push_of_a_project_sends_its_canonical_artifact(leoflow, server, project: Path, tmp_path: Path) -> None:
    requests = server(lambda _: httpx.Response(201, json={"dag_id": "hello", "version_number": 3, "created": True}))
    leoflow("compile", str(project), "-o", str(tmp_path / "dag.json"))
    for source in (project, tmp_path / "dag.json"):
        assert leoflow("push", str(source), "-o", "json").document["dags"][0]["version_number"] == 3
    assert [request.read() for request in requests] == [(tmp_path / "dag.json").read_bytes()] * 2
    assert requests[0].url.path == "/api/v2/leoflow/dags"
    assert HEADER not in requests[0].headers


def test_push_signs_what_it_sends(leoflow, server, project: Path, tmp_path: Path, monkeypatch) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    monkeypatch.setenv("LEOFLOW_SIGN_KEY", str(tmp_path / "key"))
    answer = {"dag_id": "hello", "version_number": 3, "created": True, "signed_by": "ci"}
    requests = server(lambda _: httpx.Response(201, json=answer))
    assert leoflow("push", str(project)).code == 0
    (request,) = requests
    assert request.headers[HEADER] == sign(key, request.content)


def test_push_of_something_else_sends_nothing(leoflow, server, tmp_path: Path) -> None:
    requests = server(lambda _: httpx.Response(500))
    for number, text in enumerate(("{}", "no json", json.dumps({"dag_id": "x", "tasks": [], "surprise": 1}))):
        file = tmp_path / f"{number}.json"
        file.write_text(text)
        assert leoflow("push", str(file)).code == ExitCode.INVALID
    assert requests == []


def test_init_never_overwrites_and_then_writes_nothing(leoflow, tmp_path: Path) -> None:
    (tmp_path / "leoflow.yaml").write_text("owner: me")
    (tmp_path / "dag.py").write_text("mine")
    result = leoflow("init", str(tmp_path), "-o", "json")
    assert result.code == ExitCode.CONFLICT
    assert result.error["files"] == ["leoflow.yaml", "dag.py"]
    assert (tmp_path / "dag.py").read_text() == "mine"
    assert (tmp_path / "leoflow.yaml").read_text() == "owner: me"


def test_init_makes_an_id_of_any_folder_name(leoflow, tmp_path: Path) -> None:
    folder = tmp_path / "Ünser täglich DAG!"
    assert leoflow("init", str(folder)).code == 0
    assert leoflow("validate", str(folder)).code == 0


def test_the_next_step_of_init_can_be_pasted_into_a_shell(leoflow, tmp_path: Path) -> None:
    folder = tmp_path / "my first dag"
    step = leoflow("init", str(folder)).out.splitlines()[-1].removeprefix("next: ")
    assert shlex.split(step) == ["leoflow", "test", str(folder)]


def test_init_copies_an_example(leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = tmp_path / "examples"
    (examples / "pi" / "lib").mkdir(parents=True)
    (examples / "pi" / "dag.py").write_text("x")
    (examples / "pi" / "lib" / "helper.py").write_text("y")
    monkeypatch.setattr(init_module, "EXAMPLES", examples)
    assert leoflow("init", "--example", "list", "-o", "json").document == {"examples": ["pi"]}
    assert leoflow("init", str(tmp_path / "new"), "--example", "pi").code == 0
    assert (tmp_path / "new" / "lib" / "helper.py").read_text() == "y"
    assert leoflow("init", str(tmp_path / "new2"), "--example", "tau").code == ExitCode.NOT_FOUND


OLD = TWO_DAGS.replace("standard.operators.empty import EmptyOperator", "x").replace(
    "from airflow.providers.x", "from airflow.operators.dummy import DummyOperator as EmptyOperator"
)


@pytest.mark.parametrize("words", [("validate",), ("compile", "-o", "-", "--dag-id", "one")])
def test_old_spelling_is_a_warning_with_its_place_once(leoflow, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "dag.py").write_text(OLD)
    result = leoflow(*words, str(tmp_path))
    assert result.code == 0
    assert result.err.count("DummyOperator has moved") == 1
    assert f"{tmp_path / 'dag.py'}:3: warning: " in result.err


def test_with_a_report_as_json_stderr_holds_json_alone(leoflow, tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(OLD)
    (tmp_path / "bad.py").write_text("from airflow.sdk import DAG\n1 / 0\n")
    (fault,) = leoflow("-o", "json", "compile", str(tmp_path)).error["compile_errors"]
    assert fault["path"] == str(tmp_path / "bad.py")


def test_a_dag_whose_task_functions_are_never_called_is_told_so(leoflow, tmp_path: Path) -> None:
    source = "from airflow.sdk import DAG, task\nwith DAG('d'):\n    @task\n    def a(): ...\n"
    (tmp_path / "dag.py").write_text(source)
    result = leoflow("validate", str(tmp_path))
    assert (result.code, "dag 'd' has no task" in result.err) == (0, True)
    (tmp_path / "dag.py").write_text(source + "    a()\n")
    assert "has no task" not in leoflow("validate", str(tmp_path)).err
