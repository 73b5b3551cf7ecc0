"""Variables as a task on the shim sees them: environment, then daemon; what promises a secret is hidden first."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from leoflow_agent.runner import context
from leoflowd.authoring.compiler import SHIM


@pytest.fixture
def shim(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SHIM))
    import airflow._leoflow.variables as module
    from airflow._leoflow import supervisor

    yield module
    supervisor.set_supervisor(None)


class Daemon:
    """Keeps variables, and notes what it was told to hide and when."""

    def __init__(self, **stored: str) -> None:
        self.stored = stored
        self.descriptions: dict[str, Any] = {}
        self.refused: str | None = None
        self.said: list[str] = []

    def __call__(self, kind: str, question: dict[str, Any]) -> dict[str, Any]:
        if kind == "mask":
            self.said += [f"hide {text}" for text in question["values"]]
            return {}
        key = question["key"]
        self.said.append(f"{kind} {key}")
        if self.refused:
            return {"refused": self.refused}
        if kind == "write_variable":
            self.stored.pop(key, None)
            if question["value"] is not None:
                self.stored[key] = question["value"]
                self.descriptions[key] = question["description"]
        return {"value": self.stored.get(key)}


@pytest.fixture
def daemon(shim: ModuleType) -> Daemon:
    from airflow._leoflow import supervisor

    daemon = Daemon(region="eu", limits='{"rows": 3}', none="null")
    supervisor.set_supervisor(daemon)
    return daemon


def test_a_stored_variable_is_asked_of_the_daemon(shim: ModuleType, daemon: Daemon) -> None:
    assert shim.Variable.get("region") == "eu"
    assert shim.Variable.get("limits", deserialize_json=True) == {"rows": 3}
    assert shim.Variable.get("none", "default", deserialize_json=True) is None
    assert daemon.said == ["variable region", "variable limits", "variable none"]


def test_what_is_in_the_environment_is_not_asked_of_the_daemon(
    shim: ModuleType, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_REGION", "us")
    assert shim.Variable.get("region") == "us"
    assert daemon.said == []


def test_one_that_does_not_exist_is_an_error_that_names_the_ways_to_add_it(shim: ModuleType, daemon: Daemon) -> None:
    from airflow.exceptions import AirflowNotFoundException

    for kind in (KeyError, AirflowNotFoundException):
        with pytest.raises(kind, match=r"Variable nope does not exist; add it .*AIRFLOW_VAR_NOPE"):
            shim.Variable.get("nope")
    assert shim.Variable.get("nope", default=None) is None
    assert shim.Variable.get("nope", default_var="old") == "old"


def test_one_that_cannot_be_read_is_not_taken_for_missing(shim: ModuleType, daemon: Daemon) -> None:
    daemon.refused = "its key is gone"
    with pytest.raises(Exception, match="'region' cannot be read: its key is gone"):
        shim.Variable.get("region", "default")


def test_a_write_is_asked_of_the_daemon(shim: ModuleType, daemon: Daemon) -> None:
    shim.Variable.set("a", "text", description="d")
    shim.Variable.set("b", {"n": 1}, serialize_json=True)
    shim.Variable.set("c", 5)
    shim.Variable.delete("region")
    assert daemon.stored == {
        "limits": '{"rows": 3}',
        "none": "null",
        "a": "text",
        "b": '{\n  "n": 1\n}',
        "c": "5",
    }
    assert daemon.descriptions == {"a": "d", "b": None, "c": None}


def test_a_write_that_is_refused_is_an_error(shim: ModuleType, daemon: Daemon) -> None:
    daemon.refused = "no key"
    with pytest.raises(Exception, match="'a' cannot be written: no key"):
        shim.Variable.set("a", "1")


def test_a_write_that_the_environment_shadows_is_warned_about(
    shim: ModuleType, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_REGION", "us")
    shim.Variable.set("region", "ap")
    assert daemon.stored["region"] == "ap"
    assert "AIRFLOW_VAR_REGION is set here and is read first" in caplog.text


def test_a_default_is_stored_once(shim: ModuleType, daemon: Daemon) -> None:
    assert shim.Variable.setdefault("new", [1], deserialize_json=True) == [1]
    assert shim.Variable.setdefault("new", [2], deserialize_json=True) == [1]
    assert shim.Variable.setdefault("region", "us") == "eu"


def test_secrets_are_hidden_before_user_code_has_them(shim: ModuleType, daemon: Daemon) -> None:
    daemon.stored |= {"api_token": "t0ken", "db_secret": '{"user": "ana"}', "settings": '{"auth": {"password": "pw"}}'}
    for key in ("api_token", "db_secret", "settings", "region"):
        shim.Variable.get(key)
    hidden = [said.removeprefix("hide ") for said in daemon.said if said.startswith("hide ")]
    assert hidden == ["t0ken", '{"user": "ana"}', "ana", "pw"]


def test_outside_a_task_there_is_the_environment_only(shim: ModuleType) -> None:
    with pytest.raises(KeyError, match="Variable region does not exist"):
        shim.Variable.get("region")
    assert shim.Variable.get("region", "default") == "default"
    with pytest.raises(RuntimeError, match="move the call into the task"):
        shim.Variable.set("region", "us")


def test_a_secrets_backend_that_the_shim_cannot_ask_is_refused(
    shim: ModuleType, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "airflow.providers.hashicorp.secrets.vault.VaultBackend")
    for call in (shim.Variable.get, _connection().get):
        with pytest.raises(Exception, match="secrets backend of AIRFLOW__SECRETS__BACKEND"):
            call("region")
    monkeypatch.setenv("AIRFLOW_VAR_REGION", "us")
    assert shim.Variable.get("region") == "us"


def _connection() -> Any:
    from airflow.sdk import Connection

    return Connection


class TestTemplates:
    """`var.value` and `var.json` of the context."""

    def test_attributes_items_and_get(self, shim: ModuleType, daemon: Daemon) -> None:
        value, json_ = (context.VariableAccessor(is_json=is_json) for is_json in (False, True))
        assert (value.region, value["region"], value.get("nope", "d"), value.get("nope")) == ("eu", "eu", "d", None)
        assert (json_.limits["rows"], json_.get("limits"), json_.get("nope", 1)) == (3, {"rows": 3}, 1)

    def test_one_that_does_not_exist_is_an_error(self, shim: ModuleType, daemon: Daemon) -> None:
        with pytest.raises(KeyError, match="Variable nope does not exist"):
            context.VariableAccessor(is_json=False).nope  # noqa: B018

    def test_python_s_own_names_are_not_asked_for(self, shim: ModuleType, daemon: Daemon) -> None:
        copy.copy(context.VariableAccessor(is_json=False))
        copy.copy(context.ConnectionAccessor())
        assert daemon.said == []
