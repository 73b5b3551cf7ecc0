"""HttpOperator and HttpSensor: data is the daemon's; functions of the author's run in a process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from leoflowd.contract.dag_spec import TaskSpec
from leoflowd.contract.wait_spec import HttpCall

from .conftest import Compile, StartProcess

HEAD = """
from datetime import datetime
from airflow.sdk import DAG, PokeReturnValue, task
from airflow.providers.http.operators.http import HttpOperator, SimpleHttpOperator
from airflow.providers.http.sensors.http import HttpSensor
with DAG("d", %s) as dag:
    %s
"""


def body(*lines: str, dag: str = "") -> str:
    return HEAD % (dag, "\n    ".join(lines))


def only_task(compiled: Compile, *lines: str, dag: str = "", **files: Any) -> TaskSpec:
    return next(task for task in compiled(body(*lines, dag=dag), **files).tasks if task.task_id == "h")


def test_a_plain_call_is_data(compiled: Compile) -> None:
    found = only_task(
        compiled,
        "SimpleHttpOperator(task_id='h', endpoint='x/{{ ds }}', data={'n': 1}, headers={'A': 'b'},"
        " http_conn_id='api', extra_options={'timeout': 5}, tcp_keep_alive=False)",
    )
    assert (found.kind, found.operator) == ("http", "HttpOperator")
    assert found.http == HttpCall(
        endpoint="x/{{ ds }}", data={"n": 1}, headers={"A": "b"}, connection_id="api", timeout_s=5
    )


@pytest.mark.parametrize(
    "lines",
    [
        ["HttpOperator(task_id='h', endpoint='x', response_check=lambda r: True)"],
        ["HttpOperator(task_id='h', endpoint='x', response_filter=lambda r: r.json())"],
        ["HttpOperator(task_id='h', endpoint='x', log_response=True)"],
        ["HttpOperator(task_id='h', endpoint='x', extra_options={'check_response': False})"],
        ["HttpOperator(task_id='h', endpoint='x', pre_execute=print)"],
        ["HttpOperator(task_id='h', endpoint='{{ macros.ds_add(ds, 1) }}')"],
        ["HttpOperator(task_id='h', endpoint='x', data={'at': datetime(2024, 1, 1)})"],
        ["HttpOperator(task_id='h', endpoint='x', method='{{ ds }}')"],
        ["import time", "HttpOperator(task_id='h', endpoint=str(time.perf_counter_ns()))"],
        ["@task", "def f(): ...", "HttpOperator(task_id='h', endpoint=f())"],
        ["class Mine(HttpOperator):", "    def execute(self, context): ...", "Mine(task_id='h', endpoint='x')"],
    ],
)
def test_a_call_that_needs_code_is_made_in_a_process(compiled: Compile, lines: list[str]) -> None:
    found = only_task(compiled, *lines)
    assert (found.kind, found.http) == ("python", None)


@pytest.mark.parametrize(
    "argument", ["response_check=bool", "deferrable=True", "pagination_function=print", "auth_type=int"]
)
def test_with_the_connector_the_real_operator_does_what_needs_code(compiled: Compile, argument: str) -> None:
    text = f"HttpOperator(task_id='h', endpoint='x', {argument})"
    assert only_task(compiled, text, yaml="connectors: [http]\n").kind == "operator"
    assert only_task(compiled, "HttpOperator(task_id='h', endpoint='x')", yaml="connectors: [http]\n").kind == "http"


@pytest.mark.parametrize(
    "argument", ["deferrable=True", "pagination_function=print", "auth_type=int", "retry_args={'a': 1}"]
)
def test_without_it_what_only_the_real_operator_does_takes_it_in(compiled: Compile, argument: str) -> None:
    spec = compiled(body(f"HttpOperator(task_id='h', endpoint='x', {argument})"))
    assert (spec.environment.connectors, spec.tasks[0].kind) == (("http",), "operator")


# --- in the process ----------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Says what it was asked; `/status/<code>` answers with that code."""

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        said = {
            "method": self.command,
            "path": self.path,
            "body": self.rfile.read(length).decode(),
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        is_status = self.path.startswith("/status/")
        self.send_response(int(self.path.rpartition("/")[2]) if is_status else 200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Location", "/moved")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    do_GET = do_POST = do_PUT = answer  # noqa: N815 - the library's names

    def log_message(self, *_: Any) -> None:
        """Tests read answers, not the server's log."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server on a free port, as the connection `http_default` with a login, a header and an option."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        connection = {
            "conn_type": "http",
            "host": "127.0.0.1",
            "port": server.server_port,
            "login": "me",
            "password": "p",
            "extra": {"X-From": "connection", "timeout": 30},
        }
        monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", json.dumps(connection))
        yield
        server.shutdown()
        thread.join()


def call(process: StartProcess, arguments: str) -> Any:
    text = body(f"HttpOperator(task_id='h', response_filter=lambda r: r.json(), {arguments})")
    return process(text).run("h")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("arguments", "method", "path", "sent"),
    [
        ("endpoint='a', method='GET', data={'q': [1, 2]}", "GET", "/a?q=1&q=2", ""),
        ("endpoint='/a?x=1', method='get', data='q=2'", "GET", "/a?x=1&q=2", ""),
        ("endpoint='a', data={'q': 'a b'}", "POST", "/a", "q=a+b"),
        ("endpoint='a', data='raw'", "POST", "/a", "raw"),
        ("endpoint='a', method='PUT', request_kwargs={'json': {'n': 1}}", "PUT", "/a", '{"n": 1}'),
        ("endpoint=None, method='GET'", "GET", "/", ""),
    ],
)
def test_data_is_sent_as_airflow_s_hook_sends_it(
    process: StartProcess, arguments: str, method: str, path: str, sent: str
) -> None:
    answer = call(process, arguments)
    assert (answer["method"], answer["path"], answer["body"]) == (method, path, sent)


@pytest.mark.usefixtures("server")
def test_login_and_headers_come_from_the_connection_and_the_task(process: StartProcess) -> None:
    headers = call(process, "endpoint='a', headers={'X-Own': 1}")["headers"]
    assert (headers["authorization"], headers["x-from"], headers["x-own"]) == ("Basic bWU6cA==", "connection", "1")
    assert "timeout" not in headers


@pytest.mark.usefixtures("server")
def test_the_output_is_the_text_of_the_answer(process: StartProcess) -> None:
    text = process(body("HttpOperator(task_id='h', endpoint='a', log_response=True)")).run("h")
    assert json.loads(text)["path"] == "/a"


@pytest.mark.usefixtures("server")
def test_an_error_status_fails_the_task_unless_it_says_otherwise(process: StartProcess) -> None:
    text = "HttpOperator(task_id='h', endpoint='status/500', log_response=True, extra_options={%s})"
    started = process(body(text % ""))
    import airflow.exceptions

    with pytest.raises(airflow.exceptions.AirflowException, match="500:Internal Server Error"):
        started.run("h")
    assert "status/500" in process(body(text % "'check_response': False")).run("h")


@pytest.mark.usefixtures("server")
def test_a_redirect_is_followed_unless_the_task_says_otherwise(process: StartProcess) -> None:
    assert call(process, "endpoint='status/302', method='GET'")["path"] == "/moved"
    stay = call(process, "endpoint='status/302', method='GET', extra_options={'allow_redirects': False}")
    assert stay["path"] == "/status/302"


@pytest.mark.usefixtures("server")
def test_a_response_check_that_is_false_fails_the_task(process: StartProcess) -> None:
    text = "HttpOperator(task_id='h', endpoint='a', response_check=lambda r, ds: r.ok and ds != '2024-03-01')"
    started = process(body(text))
    import airflow.exceptions

    with pytest.raises(airflow.exceptions.AirflowException, match="Response check returned False"):
        started.run("h")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("endpoint", "arguments", "answer"),
    [
        ("a", "response_check=lambda r, ds: r.status_code == 200 and r.json()['path'] == '/a' and ds", "2024-03-01"),
        ("a", "response_check=lambda r: False", False),
        ("status/404", "response_check=lambda r: True", False),
        ("status/503", "response_check=lambda r: True, response_error_codes_allowlist=['503']", False),
        ("status/500", "extra_options={'check_response': False}", True),
    ],
)
def test_a_poke_of_an_http_sensor_is_one_call(
    process: StartProcess, endpoint: str, arguments: str, answer: Any
) -> None:
    started = process(body(f"HttpSensor(task_id='h', endpoint='{endpoint}', {arguments})"))
    assert started.task("h").poke(started.context) == answer


@pytest.mark.usefixtures("server")
def test_another_error_status_fails_the_sensor(process: StartProcess) -> None:
    started = process(body("HttpSensor(task_id='h', endpoint='status/403', response_check=lambda r: True)"))
    import airflow.exceptions

    with pytest.raises(airflow.exceptions.AirflowException, match="403"):
        started.run("h")
