"""Connections as a task on the shim sees them. The tables are what Airflow 3.2.2 answers."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from leoflowd.authoring.compiler import SHIM


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SHIM))
    import airflow._leoflow.services as module
    from airflow._leoflow import supervisor

    yield module
    supervisor.set_supervisor(None)


class Daemon:
    """Answers, and notes what it was asked and told to hide."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.hidden: list[str] = []

    def __call__(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        if kind == "mask":
            self.hidden += question["values"]
            return {}
        self.asked.append(f"{kind} {question['connection_id']}")
        return self.answer


@pytest.fixture
def daemon(services: ModuleType) -> Daemon:
    from airflow._leoflow import supervisor

    daemon = Daemon(connection={"connection_id": "api", "conn_type": "http", "host": "h", "password": "from-daemon"})
    supervisor.set_supervisor(daemon)
    return daemon


def facts(connection: Any) -> tuple[Any, ...]:
    names = ("conn_type", "host", "login", "password", "schema", "port", "extra")
    return tuple(getattr(connection, name) for name in names)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "postgresql://me:p%40ss@db.example:5432/sales?sslmode=require",
            ("postgres", "db.example", "me", "p@ss", "sales", 5432, '{"sslmode": "require"}'),
        ),
        ("http://https%3A%2F%2Fapi.example%2Fv1", ("http", "https://api.example/v1", None, None, "", None, None)),
        (
            "http://https://user:pw@api.example:8443/v1?a=b&c=",
            ("http", "https://api.example", "user", "pw", "v1", 8443, '{"a": "b", "c": ""}'),
        ),
        (
            "google-cloud-platform://?extra__x=1",
            ("google_cloud_platform", "", None, None, "", None, '{"extra__x": "1"}'),
        ),
        ("redis://:pw@h", ("redis", "h", "", "pw", "", None, None)),
        ("postgres://u@%2Fvar%2Frun:5433/db", ("postgres", "/var/run", "u", None, "db", 5433, None)),
        ("HTTP://Host.Example/", ("http", "host.example", None, None, "", None, None)),
        ("sqlite:///tmp/x.db", ("sqlite", "", None, None, "tmp/x.db", None, None)),
        ("fs://?__extra__=%7B%22path%22%3A%20%22%2Fdata%22%7D", ("fs", "", None, None, "", None, '{"path": "/data"}')),
        (
            '{"conn_type":"postgresql","host":"h","port":"5","extra":{"a":1}}',
            ("postgres", "h", None, None, None, 5, '{"a": 1}'),
        ),
        ('{"conn_type":"my-type","extra":"{\\"a\\": 1}"}', ("my_type", None, None, None, None, None, '{"a": 1}')),
    ],
)
def test_a_connection_of_the_environment_reads_as_in_airflow(
    services: ModuleType, monkeypatch: pytest.MonkeyPatch, uri: str, expected: tuple[Any, ...]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_API", uri)
    assert facts(services.Connection.get("api")) == expected


@pytest.mark.parametrize("text", ["hunter2", "a:b://c://d", "http://me:hunter2/x@h", '{"pass": "hunter2"}', "{hunter2"])
def test_a_connection_that_cannot_be_read_is_named_and_not_quoted(
    services: ModuleType, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_API", text)
    with pytest.raises(Exception, match="AIRFLOW_CONN_API is neither a connection URI") as refused:
        services.Connection.get("api")
    assert "hunter2" not in str(refused.value)


def test_what_is_in_the_environment_is_not_asked_of_the_daemon(
    services: ModuleType, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_API", "ftp://h")
    assert services.BaseHook.get_connection("api").conn_type == "ftp"
    assert daemon.asked == []


def test_a_stored_connection_is_asked_of_the_daemon(services: ModuleType, daemon: Daemon) -> None:
    assert facts(services.BaseHook.get_connection("api")) == ("http", "h", None, "from-daemon", None, None, None)
    assert daemon.asked == ["connection api"]


def test_password_and_secret_extra_fields_are_hidden_before_user_code_has_them(
    services: ModuleType, daemon: Daemon
) -> None:
    daemon.answer["connection"]["extra"] = '{"api_key": "k-1", "region": "eu", "private_key_id": 3}'
    services.Connection.get("api")
    assert daemon.hidden == ["from-daemon", "k-1"]


def test_an_extra_that_is_no_json_object_is_hidden_as_a_whole(services: ModuleType, daemon: Daemon) -> None:
    daemon.answer["connection"]["extra"] = "token=abc"
    services.Connection.get("api")
    assert daemon.hidden == ["from-daemon", "token=abc"]


def test_outside_a_task_only_the_environment_is_there(services: ModuleType) -> None:
    with pytest.raises(services.AirflowNotFoundException, match=r"`api` isn't defined.*move the call into the task"):
        services.Connection.get("api")
