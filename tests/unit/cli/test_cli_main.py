"""How every command ends: exit codes, one JSON document, errors where they belong, and a fast start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest

from leoflowd.cli import main as cli_main
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.login import save


def test_exit_codes_are_never_renumbered() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "RUN_FAILED": 1,
        "INVALID": 2,
        "USAGE": 3,
        "NOT_FOUND": 4,
        "NOT_ALLOWED": 5,
        "UNREACHABLE": 6,
        "CONFLICT": 7,
        "TIMED_OUT": 8,
        "NOT_READY": 9,
        "UNEXPECTED": 10,
        "INTERRUPTED": 130,
    }


def test_every_command_of_the_table_exists_and_has_help(leoflow) -> None:
    for name in cli_main.COMMANDS:
        result = leoflow(name, "--help")
        assert result.code == 0, name
        assert "Usage: leoflow" in result.out


def test_no_command_shows_help_and_is_wrong_usage(leoflow) -> None:
    assert leoflow().code == ExitCode.USAGE


@pytest.mark.parametrize(
    "words", [("bogus",), ("dags", "bogus"), ("dags", "show"), ("runs", "list", "x", "--limit", "a")]
)
def test_wrong_usage_exits_3(leoflow, words: tuple[str, ...]) -> None:
    result = leoflow(*words)
    assert result.code == ExitCode.USAGE
    assert result.out == ""
    assert "--help" in result.err


def test_a_usage_error_is_json_when_json_is_asked_for_anywhere(leoflow) -> None:
    for words in (("dags", "show", "-o", "json"), ("-o", "json", "dags", "show"), ("dags", "show", "--output=json")):
        assert leoflow(*words).error["exit_code"] == ExitCode.USAGE


def test_json_may_be_asked_for_before_the_command(leoflow) -> None:
    assert leoflow("-o", "json", "version").document["version"]


def test_a_bug_shows_its_traceback_and_exits_10(leoflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("bug")

    monkeypatch.setattr("leoflowd.cli.version.version", click.Command("version", callback=broken))
    result = leoflow("version")
    assert result.code == ExitCode.UNEXPECTED
    assert "Traceback" in result.err
    assert "a fault of leoflow itself" in result.err


def test_ctrl_c_exits_130(leoflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("leoflowd.cli.version.version", click.Command("version", callback=interrupted))
    assert leoflow("version").code == ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ExitCode.INVALID),
        (401, ExitCode.NOT_ALLOWED),
        (403, ExitCode.NOT_ALLOWED),
        (404, ExitCode.NOT_FOUND),
        (409, ExitCode.CONFLICT),
        (422, ExitCode.INVALID),
        (500, ExitCode.UNEXPECTED),
        (503, ExitCode.UNEXPECTED),
        (302, ExitCode.UNEXPECTED),
    ],
)
def test_each_refusal_has_its_exit_code_and_the_servers_words(leoflow, server, status: int, code: ExitCode) -> None:
    server(lambda _: httpx.Response(status, json={"detail": "the server's words"}))
    result = leoflow("dags", "show", "etl", "-o", "json")
    assert result.code == code
    assert result.out == ""
    assert result.error["status"] == status
    assert ("leoflow auth login" if status == 401 else "the server's words") in result.error["message"]


def test_the_list_of_faults_of_a_422_becomes_one_sentence(leoflow, server) -> None:
    detail = [{"type": "x", "loc": ["body", "conf"], "msg": "must be an object", "input": 3}]
    server(lambda _: httpx.Response(422, json={"detail": detail}))
    assert leoflow("dags", "show", "etl").err == "error: conf: must be an object\n"


def test_a_server_that_is_not_there_exits_6_and_says_how_to_start_one(leoflow, server) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    server(refuse)
    result = leoflow("tree")
    assert result.code == ExitCode.UNREACHABLE
    assert "leoflow lite" in result.err


def test_a_saved_server_that_is_gone_is_said_to_be_the_saved_one(leoflow, server, home: Path) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    server(refuse)
    save("http://127.0.0.1:9", "t", home / "config.yaml")
    assert "of the saved login" in leoflow("tree").err
    assert "saved login" not in leoflow("tree", "--server", "http://127.0.0.1:10").err


def test_an_answer_that_is_no_json_exits_10(leoflow, server) -> None:
    server(lambda _: httpx.Response(200, text="<html>some other server</html>"))
    result = leoflow("dags", "show", "etl")
    assert result.code == ExitCode.UNEXPECTED
    assert "is this address a Leoflow server?" in result.err


def test_a_failure_carries_its_facts_into_json() -> None:
    failure = CommandFailed(ExitCode.CONFLICT, "exists", files=["a"])
    assert failure.document() == {"error": {"kind": "conflict", "exit_code": 7, "message": "exists", "files": ["a"]}}


def test_version_imports_none_of_the_heavy_modules() -> None:
    """The start stays fast because these are absent, on any machine and under any load."""
    heavy = (
        "rich",
        "httpx",
        "yaml",
        "msgspec",
        "trio",
        "asyncio",
        "psycopg",
        "leoflowd.authoring",
        "leoflowd.cli.client",
    )
    program = (
        "import sys; from leoflowd.cli.main import main; main(['version']);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_error() -> None:
    program = "import sys; from leoflowd.cli.main import main; sys.exit(main(['--help']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert b"Traceback" not in done.stderr


def test_a_failure_keeps_its_exit_code_when_nobody_reads_stderr() -> None:
    """`2>&1 | head` made each an exit code of 1, which is a failed run's."""
    program = "import sys; from leoflowd.cli.main import main; sys.exit(main(['validate', '/nowhere']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=write, check=False)
    os.close(write)
    assert done.returncode == ExitCode.USAGE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_and_completes_commands(
    leoflow, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = leoflow("completion", shell, "-o", "json")
    assert "_LEOFLOW_COMPLETE" in result.document["script"]
    monkeypatch.setenv("_LEOFLOW_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "leoflow ru")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert leoflow().out.strip() == "plain,runs"


@pytest.mark.parametrize(
    ("words", "near"),
    [(("dag", "list"), "(did you mean 'dags'?)"), (("dags", "lst"), "(did you mean 'list'?)"), (("zzz",), "")],
)
def test_a_command_that_does_not_exist_names_one_that_is_near(leoflow, words: tuple[str, ...], near: str) -> None:
    result = leoflow(*words)
    assert result.code == ExitCode.USAGE
    assert near in result.err
    assert ("did you mean" in result.err) is bool(near)


@pytest.mark.parametrize("airflows", cli_main.AIRFLOWS)
def test_a_command_of_airflow_names_what_does_it_here(leoflow, airflows: str) -> None:
    result = leoflow(*airflows.split())
    assert result.code == ExitCode.USAGE
    named = cli_main.AIRFLOWS[airflows]
    assert f"`leoflow {named}`" in result.err
    assert leoflow(*named.split(), "--help").code == 0, "it exists"


def test_a_dag_that_does_not_exist_names_one_that_is_near(leoflow, server) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v2/dags":
            return httpx.Response(200, json={"dags": [{"dag_id": "sales_etl"}, {"dag_id": "other"}]})
        return httpx.Response(404, json={"detail": "The Dag with ID: `sale_etl` was not found"})

    server(answer)
    result = leoflow("dags", "show", "sale_etl")
    assert result.code == ExitCode.NOT_FOUND
    assert result.err == "error: The Dag with ID: `sale_etl` was not found (did you mean 'sales_etl'?)\n"


def test_a_server_that_will_not_list_its_dags_still_says_not_found(leoflow, server) -> None:
    server(lambda _: httpx.Response(404, json={"detail": "The Dag with ID: `x` was not found"}))
    assert leoflow("dags", "show", "x").err == "error: The Dag with ID: `x` was not found\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--server", "http://elsewhere", "dags", "list"),
        ("dags", "--server", "http://elsewhere", "list"),
        ("dags", "list", "--server", "http://elsewhere"),
    ],
)
def test_the_server_may_be_named_before_or_after_the_command(leoflow, server, words: tuple[str, ...]) -> None:
    requests = server(lambda _: httpx.Response(200, json={"dags": [], "total_entries": 0}))
    assert leoflow(*words, "-o", "json").code == 0
    assert requests[0].url.host == "elsewhere"
    leoflow("dags", "list")
    assert requests[1].url.host == "127.0.0.1", "it was for that call alone"


def test_json_may_be_asked_for_between_group_and_command(leoflow, server) -> None:
    server(lambda _: httpx.Response(200, json={"dags": [], "total_entries": 0}))
    assert leoflow("dags", "-o", "json", "list").document == {"dags": [], "total_entries": 0}


def test_a_server_for_a_command_that_asks_none_is_refused(leoflow) -> None:
    result = leoflow("--server", "http://x", "version")
    assert (result.code, "asks no server" in result.err) == (ExitCode.USAGE, True)


def test_every_command_that_asks_a_server_takes_its_address_and_every_command_prints_json() -> None:
    """`lite` itself runs until it is ended; everything else that is not local takes --server."""
    for path, command in _leaves(cli_main.root, ()):
        options = {name for parameter in command.params for name in parameter.opts}
        assert "-o" in options or path == ("lite", "run"), path
        assert ("--server" in options) or path[0] in cli_main.LOCAL, path


def _leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from _leaves(child, (*path, name))
