"""`leoflow auth login` at a server with an identity provider: the way through the browser and back to loopback."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest

from leoflowd.api.oidc_flow import challenge_of
from leoflowd.cli import browser_login, login
from leoflowd.cli.failures import ExitCode
from tests.conftest import PATIENCE_S

METHODS = {"passwords": "all", "oidc": {"name": "the house"}}


class House:
    """A server with a provider, and a person's browser: it goes where it is sent and follows the link."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.said: list[tuple[int, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/base")
        if path == "/leoflow/api/login-methods":
            return httpx.Response(200, json=METHODS)
        assert path == "/auth/oidc/cli-token"
        body = msgspec.json.decode(request.read())
        assert body["code"] == "one code"
        assert challenge_of(body["verifier"]) == self.asked["cli_challenge"]
        return httpx.Response(201, json={"access_token": "jwt", "username": "ana"})

    @property
    def asked(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.opened[0]).query).items()}

    def open(self, url: str) -> bool:
        self.opened.append(url)
        Thread(target=self._follow).start()
        return True

    def _follow(self) -> None:
        asked = self.asked
        here = f"http://127.0.0.1:{asked['cli_port']}/"
        right = {"state": asked["cli_state"], "code": "one code"}
        for query in ({}, right | {"state": "x"}, right | {"code": ""}, right):
            answer = httpx.get(here, params=query, timeout=PATIENCE_S, trust_env=False)
            self.said.append((answer.status_code, answer.text))


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    house = House()
    monkeypatch.setattr("webbrowser.open", house.open)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    return house


def test_the_login_of_the_browser_is_saved(leoflow, server, home: Path, house: House) -> None:
    requests = server(house)
    result = leoflow("auth", "login", "--server", "http://h:1/base", "-o", "json")
    assert (result.code, result.document["username"]) == (0, "ana")
    assert "jwt" not in result.out
    assert login.saved_token("http://h:1/base", home / "config.yaml") == "jwt"
    assert house.opened[0].startswith("http://h:1/base/auth/oidc/login?cli_port=")
    assert all("authorization" not in request.headers for request in requests)


def test_only_who_knows_the_state_ends_the_waiting(leoflow, server, house: House) -> None:
    server(house)
    assert leoflow("auth", "login").code == 0
    assert [status for status, _ in house.said[:3]] == [400, 400, 400]


@pytest.mark.parametrize("arguments", [("--username", "admin"), ("--password-stdin",)])
def test_who_says_a_user_or_a_password_means_a_password(
    leoflow, server, house: House, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("leoflowd.cli.auth._password", lambda *_, **__: "pw")
    server(lambda _: httpx.Response(201, json={"access_token": "jwt"}))
    assert leoflow("auth", "login", *arguments).code == 0
    assert house.opened == []


def test_a_program_is_told_about_access_tokens(leoflow, server, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    server(house)
    result = leoflow("auth", "login")
    assert result.code == ExitCode.USAGE
    assert "LEOFLOW_TOKEN" in result.err
    assert house.opened == []


def test_nobody_who_comes_is_said_with_the_way_out(
    leoflow, server, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    monkeypatch.setattr(browser_login.log_in, "__kwdefaults__", {"within_s": 0.01})
    server(house)
    result = leoflow("auth", "login")
    assert result.code == ExitCode.NOT_ALLOWED
    assert "nobody logged in" in result.err


@pytest.mark.parametrize(
    "answer", [httpx.Response(404, json={"detail": "Not Found"}), httpx.Response(200, json={"oidc": None})]
)
def test_without_a_provider_it_is_a_password_as_ever(leoflow, server, house: House, answer: httpx.Response) -> None:
    server(lambda request: answer)
    result = leoflow("auth", "login", "-o", "json")
    assert result.error["exit_code"] == ExitCode.USAGE
    assert "--password-stdin" in result.err
