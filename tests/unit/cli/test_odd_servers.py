"""Whatever a server answers: one line, an exit code, and nothing that the terminal would obey."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from leoflowd.cli import client as cli_client
from leoflowd.cli.failures import ExitCode

COMMANDS = [
    ("dags", "list"),
    ("dags", "show", "d"),
    ("runs", "list", "d"),
    ("runs", "status", "d"),
    ("runs", "logs", "d", "r", "t"),
    ("runs", "trigger", "d"),
    ("connections", "list"),
    ("waits", "list"),
    ("waits", "show", "w"),
    ("waits", "stats"),
    ("explain", "d", "r", "t"),
    ("tree",),
]
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ESCAPES = "a\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\\x9b31m\u202egpj.exe\u2066\r\x08z"


class CutOff(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b'{"dags": ['
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


class Endless(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b" " * 65_536


ANSWERS = {
    "html": httpx.Response(200, text="<html>\x1b[2J</html>"),
    "not utf-8": httpx.Response(200, content=b"\xff\xfe\x00"),
    "nested": httpx.Response(200, content=b"[" * 100_000),
    "500": httpx.Response(500, text=ESCAPES),
    "404 html": httpx.Response(404, text="<html><h1>no such page</h1></html>"),
    "502 html": httpx.Response(502, text="<html>\n\n<h1>bad gateway</h1>" * 1000),
    "redirect": httpx.Response(302, headers={"location": "http://elsewhere/"}),
    "teapot": httpx.Response(418, json={"detail": {"message": ESCAPES}}),
    "detail": httpx.Response(422, json={"detail": [{"loc": 5, "msg": ESCAPES}, "x"]}),
    "list": httpx.Response(200, json=[1]),
    "number": httpx.Response(200, json=5),
    "null rows": httpx.Response(200, json={"dags": None, "dag_runs": 3, "total_entries": "x", "state": {}}),
}


def assert_one_line(result) -> None:
    assert result.code not in (ExitCode.OK, ExitCode.USAGE), result
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1, result.err
    assert not OBEYED.search(result.err), result.err


@pytest.mark.parametrize("answer", [name for name in ANSWERS if name != "null rows"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_odd_answer_is_one_line(leoflow, server, words: tuple[str, ...], answer: str) -> None:
    server(lambda request: ANSWERS[answer])
    if words[0] == "explain" and answer in ("list", "number"):
        return  # it prints any JSON
    assert_one_line(leoflow(*words))


@pytest.mark.parametrize("words", [w for w in COMMANDS if w[0] not in ("explain", "tree", "dags")], ids=" ".join)
def test_rows_of_another_form_are_one_line(leoflow, server, words: tuple[str, ...]) -> None:
    server(lambda request: ANSWERS["null rows"])
    assert_one_line(leoflow(*words))


@pytest.mark.parametrize("stream", [CutOff, Endless])
def test_an_answer_that_is_cut_or_never_ends_is_one_line(
    leoflow, server, stream: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_client, "ANSWER_MAX_BYTES", 1 << 20)
    server(lambda request: httpx.Response(200, stream=stream()))
    for words in (("dags", "list"), ("runs", "logs", "d", "r", "t")):
        assert_one_line(leoflow(*words))


def test_a_compressed_answer_that_cannot_be_decoded_is_one_line(leoflow, server) -> None:
    server(lambda request: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no")))
    assert_one_line(leoflow("dags", "list"))


def test_what_cannot_be_sent_is_wrong_usage(leoflow, server) -> None:
    requests = server(lambda request: httpx.Response(200, json={}))
    for words in (
        ("runs", "trigger", "d", "--conf", '{"a": NaN}'),
        ("runs", "trigger", "d", "--conf", "[" * 10_000),
        ("runs", "trigger", "d", "--note", "\udcff"),
        ("dags", "list", "--token", "a\nb"),
    ):
        result = leoflow(*words)
        assert (result.code, "Traceback" in result.err) == (ExitCode.USAGE, False), result
    assert requests == []


# --- escapes -----------------------------------------------------------------------------------------------------


def poisoned(value: object) -> object:
    """The same answer with escapes in each of its texts."""
    if isinstance(value, dict):
        return {key: poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return value + ESCAPES if isinstance(value, str) else value


DAG = {
    **dict.fromkeys(("dag_id", "timetable_summary", "next_dagrun_run_after", "timetable_description"), "x"),
    "is_paused": False,
    "owners": ["o"],
    "tags": [{"name": "x"}],
}
CONNECTION = {
    **dict.fromkeys(("connection_id", "conn_type", "host", "login", "description"), "x"),
    "port": 1,
    "schema": "s",
    "extra": "{}",
}
RUN = {
    "dag_id": "d",
    "dag_run_id": "r",
    "state": "queued",
    "run_type": "manual",
    "run_after": "now",
    "start_date": None,
    "end_date": None,
    "duration": 1.0,
}
TASK = {
    "task_id": "t",
    "map_index": -1,
    "state": "failed",
    "try_number": 1,
    "start_date": "x",
    "duration": 1,
    "operator": "o",
    "note": "n",
}
WAIT = {
    "id": "w",
    "because": ["because"],
    "explanation": {"probes": [{"at": "x", "duration_s": 1.0, "summary": "s"}]},
    **dict.fromkeys(
        ("dag_id", "dag_run_id", "task_id", "waits_for", "last_observation", "registered_at", "blocked_by"), "x"
    ),
    "map_index": -1,
    "state": "deferred",
    "due_at": None,
    "next_probe_at": None,
    "deadline_at": None,
}
LOG = {
    "timestamp": "2026",
    "level": "info",
    "event": "said",
    "error_detail": [{"exc_type": "E", "exc_value": "v", "frames": [{"filename": "f", "lineno": 1, "name": "n"}]}],
}


def all_answers(request: httpx.Request) -> httpx.Response:
    path = request.url.path
    if "/logs/" in path:
        return httpx.Response(200, text=json.dumps(poisoned(LOG)) + "\n")
    page = {"total_entries": 1, "dags": [DAG], "dag_runs": [RUN], "waits": [WAIT]}
    found: object = page
    if path.endswith("/dagRuns") and request.method == "POST":
        found = RUN
    elif path.endswith("/taskInstances"):
        found = {"task_instances": [TASK], "total_entries": 1}
    elif path.endswith("/t"):
        found = {**TASK, "because": ["why", {"deep": "x"}]}
    elif path.endswith("/waits/w"):
        found = WAIT
    elif path.endswith("/tree"):
        found = {"name": "n", "state": "s", "restarts": 1, "statistics": {"a": "b"}, "children": [{"name": "c"}]}
    elif path.endswith("/connections"):
        found = {"connections": [CONNECTION], "total_entries": 1}
    elif path.endswith("/details"):
        found = {"dag_id": "d", "description": "x"}
    return httpx.Response(200, json=poisoned(found))


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("words", [w for w in COMMANDS if w != ("waits", "stats")], ids=" ".join)
def test_no_text_of_a_server_reaches_the_terminal_with_its_escapes(
    leoflow, server, words: tuple[str, ...], form: str
) -> None:
    server(all_answers)
    result = leoflow(*words, "-o", form)
    assert result.code == ExitCode.OK, result
    assert not OBEYED.search(result.out + result.err), ascii(result.out + result.err)
    if form == "json":  # and yet nothing is lost for who reads the document
        assert json.dumps(ESCAPES)[1:-1] in json.dumps(result.document)


def test_a_page_that_another_server_does_not_have_is_no_dag_that_does_not_exist(leoflow, server) -> None:
    server(lambda request: ANSWERS["404 html"])
    result = leoflow("dags", "show", "d")
    assert result.code == ExitCode.UNEXPECTED
    assert "is this address a Leoflow server?" in result.err
    assert "<" not in result.err


def test_a_page_of_a_proxy_is_told_without_its_tags(leoflow, server) -> None:
    server(lambda request: httpx.Response(502, text="<html>\n<h1>bad gateway</h1></html>"))
    assert leoflow("dags", "list").err.strip().endswith("with 502: bad gateway")
