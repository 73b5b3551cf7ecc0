"""`leoflow variables`, and `--variables` and `--server` of commands that compile. The server is a function."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from leoflowd.cli.failures import ExitCode
from leoflowd.contract import dag_spec

REGION: dict[str, Any] = {
    "key": "region",
    "value": "eu",
    "description": "where",
    "is_encrypted": True,
    "team_name": None,
}
ROWS = {**REGION, "key": "rows", "value": "3", "description": None}
TOKEN = {**REGION, "key": "token", "value": "***", "description": None}
SETTINGS = {**REGION, "key": "settings", "value": '{"password": "***"}', "description": None}
API = {
    "connection_id": "api",
    "conn_type": "http",
    "description": None,
    "host": "h.example",
    "login": None,
    "schema": None,
    "port": None,
    "password": "***",
    "extra": None,
    "team_name": None,
}


def answer(request: httpx.Request) -> httpx.Response:
    """A server with four variables and a connection; bulk requests write all that they are sent."""
    path = request.url.path
    if request.method == "DELETE":
        return httpx.Response(204)
    if request.method == "PATCH":
        [action] = json.loads(request.read())["actions"]
        keys = [entity["key"] for entity in action["entities"]]
        return httpx.Response(200, json={"create": {"success": keys, "errors": []}, "update": None, "delete": None})
    if path.endswith("/connections"):
        return httpx.Response(200, json={"connections": [API], "total_entries": 1})
    if path.endswith("/variables"):
        return httpx.Response(200, json={"variables": [REGION, ROWS, SETTINGS, TOKEN], "total_entries": 4})
    if path.endswith("/nope"):
        return httpx.Response(404, json={"detail": "The Variable with key: `nope` was not found"})
    return httpx.Response(200, json=REGION)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def action(request: httpx.Request) -> Any:
    [found] = json.loads(request.read())["actions"]
    return found


def test_a_variable_is_set_whether_it_exists_or_not(leoflow, server) -> None:
    requests = server(answer)
    result = leoflow("variables", "set", "region", "eu", "--description", "where")
    assert (result.code, result.out, result.err) == (0, "set region\n", "")
    assert action(requests[0]) == {
        "action": "create",
        "entities": [{"key": "region", "value": "eu", "description": "where"}],
        "action_on_existence": "overwrite",
    }


@pytest.mark.parametrize("words", [(), ("-",)])
def test_a_value_comes_from_stdin(leoflow, server, stdin, words: tuple[str, ...]) -> None:
    requests = server(answer)
    stdin('{"rows": 1}\n')
    assert leoflow("variables", "set", "limits", *words).code == 0
    assert action(requests[0])["entities"] == [{"key": "limits", "value": '{"rows": 1}'}]


def test_a_secret_on_the_command_line_is_warned_about(leoflow, server, stdin) -> None:
    server(answer)
    result = leoflow("variables", "set", "api_token", "hunter2")
    assert "let it come from stdin" in result.err
    assert "hunter2" not in result.err
    stdin("hunter2")
    assert leoflow("variables", "set", "api_token").err == ""


def test_what_the_server_refuses_is_an_error(leoflow, server) -> None:
    refused = {"create": {"success": [], "errors": [{"error": "no key to encrypt with", "status_code": 409}]}}
    server(lambda _: httpx.Response(200, json=refused))
    result = leoflow("variables", "set", "a", "b")
    assert (result.code, result.err) == (ExitCode.CONFLICT, "error: no key to encrypt with\n")


def test_the_value_of_one_is_printed_alone(leoflow, server) -> None:
    server(answer)
    assert leoflow("variables", "get", "region").out == "eu\n"
    assert leoflow("variables", "get", "region", "-o", "json").document == REGION
    assert leoflow("variables", "get", "nope").code == ExitCode.NOT_FOUND


def test_a_key_is_one_part_of_the_address(leoflow, server) -> None:
    requests = server(answer)
    leoflow("variables", "get", "team/a b")
    assert requests[0].url.raw_path == b"/api/v2/variables/team%2Fa%20b"


def test_the_list_is_a_table_or_json(leoflow, server) -> None:
    server(answer)
    assert "eu" in leoflow("variables", "list").out
    assert leoflow("variables", "list", "-o", "json").document["total_entries"] == 4


def test_deleting_asks_first(leoflow, server) -> None:
    requests = server(answer)
    assert leoflow("variables", "delete", "region").code == ExitCode.USAGE
    assert requests == []
    assert leoflow("variables", "delete", "region", "--yes").out == "deleted region\n"


def test_a_file_is_imported_at_once(leoflow, server, tmp_path: Path) -> None:
    requests = server(answer)
    (tmp_path / "v.yaml").write_text("region: eu\nlimits: {value: {rows: 3}, description: d}\n")
    result = leoflow("variables", "import", str(tmp_path / "v.yaml"), "--on-existing", "skip")
    assert (result.code, result.out) == (0, "imported 2 variables\n")
    [request] = requests
    assert action(request) == {
        "action": "create",
        "entities": [
            {"key": "region", "value": "eu"},
            {"key": "limits", "value": '{\n  "rows": 3\n}', "description": "d"},
        ],
        "action_on_existence": "skip",
    }


def test_a_file_that_is_none_sends_nothing(leoflow, server, tmp_path: Path) -> None:
    requests = server(answer)
    (tmp_path / "v.json").write_text("[1]")
    result = leoflow("variables", "import", str(tmp_path / "v.json"))
    assert result.code == ExitCode.INVALID
    assert f"{tmp_path}/v.json:1: " in result.err
    assert requests == []


def test_an_export_is_a_file_that_can_be_imported_without_secrets(leoflow, server, tmp_path: Path) -> None:
    requests = server(answer)
    file = tmp_path / "v.json"
    result = leoflow("variables", "export", str(file))
    assert (result.code, result.out) == (0, f"{file}: 2 variables\n")
    assert "settings, token" in result.err
    assert json.loads(file.read_text()) == {"region": {"value": "eu", "description": "where"}, "rows": "3"}
    leoflow("variables", "import", str(file))
    assert [entity["key"] for entity in action(requests[-1])["entities"]] == ["region", "rows"]


def test_an_export_goes_to_stdout(leoflow, server) -> None:
    server(answer)
    assert json.loads(leoflow("variables", "export").out)["rows"] == "3"


# --- compiling ---------------------------------------------------------------------------------------------------

READS = """
from airflow.sdk import DAG, Connection, Variable
from airflow.providers.standard.operators.bash import BashOperator
with DAG("d", tags=[Variable.get("region"){more}]):
    BashOperator(task_id="t", bash_command="true")
"""


@pytest.fixture
def reads(tmp_path: Path) -> Any:
    def make(more: str = "") -> str:
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / "dag.py").write_text(READS.format(more=more))
        return str(tmp_path / "p")

    return make


def test_compile_reads_a_file_of_variables(leoflow, reads, tmp_path: Path) -> None:
    folder = reads()
    assert "`leoflow variables set region VALUE`" in leoflow("compile", folder, "-o", "-").err
    (tmp_path / "v.env").write_text("region=eu\n")
    result = leoflow("compile", folder, "-o", "-", "--variables", str(tmp_path / "v.env"))
    spec = dag_spec.decode(result.out)
    assert (spec.tags, [read.key for read in spec.reads]) == (("eu",), ["region"])


def test_validate_reads_it_too(leoflow, reads, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"region": "eu"}')
    assert leoflow("validate", reads()).code == ExitCode.INVALID
    assert leoflow("validate", reads(), "--variables", str(tmp_path / "v.json")).code == 0


def test_a_server_is_asked_for_variables_and_connections(leoflow, server, reads, tmp_path: Path) -> None:
    server(answer)
    (tmp_path / "v.json").write_text('{"rows": 5}')
    words = ("-o", "-", "--server", "http://localhost:1", "--variables", str(tmp_path / "v.json"))
    result = leoflow("compile", reads(', Connection.get("api").host, Variable.get("rows")'), *words)
    assert dag_spec.decode(result.out).tags == ("5", "eu", "h.example")


@pytest.mark.parametrize("more", [', Variable.get("token")', ', Connection.get("api").password'])
def test_a_secret_of_the_server_is_not_read(leoflow, server, reads, more: str) -> None:
    server(answer)
    result = leoflow("compile", reads(more), "-o", "-", "--server", "http://localhost:1")
    assert result.code == ExitCode.INVALID
    assert "artifact" in result.err


def test_a_token_without_a_server_is_refused(leoflow, reads) -> None:
    assert leoflow("compile", reads(), "--token", "t").code == ExitCode.USAGE


def test_a_local_run_finds_variables_in_its_file_and_keeps_what_tasks_write(leoflow, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "dag.py").write_text(
        "from airflow.sdk import DAG, Variable, task\n"
        "with DAG(Variable.get('region')):\n"
        "    @task\n"
        "    def write():\n"
        "        Variable.set('rows', Variable.get('api_token') + '!')\n"
        "    @task\n"
        "    def read():\n"
        "        return Variable.get('rows')\n"
        "    write() >> read()\n"
    )
    (tmp_path / "v.json").write_text('{"region": "eu", "api_token": "hunter2"}')
    words = ("--variables", str(tmp_path / "v.json"), "-o", "json", "--data-dir", str(tmp_path / "data"))
    document = leoflow("test", str(folder), *words, "--python", sys.executable).document
    assert (document["dag_id"], document["state"]) == ("eu", "success")
    assert document["task_instances"][1]["xcoms"] == {"return_value": "hunter2!"}
