"""Which server and which token a call uses, and how the login is kept."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest
import yaml

from leoflowd.cli import login
from leoflowd.cli.failures import CommandFailed, ExitCode


def test_flag_beats_environment_beats_saved_login_beats_default(home: Path) -> None:
    environ = {"LEOFLOW_CONFIG": str(home / "config.yaml")}
    assert login.resolve(None, None, environ) == login.Login("http://127.0.0.1:8088", None)
    login.save("http://saved:1", "saved-token", home / "config.yaml")
    assert login.resolve(None, None, environ) == login.Login("http://saved:1", "saved-token")
    environ |= {"LEOFLOW_SERVER": "http://env:2/", "LEOFLOW_TOKEN": "env-token"}
    assert login.resolve(None, None, environ) == login.Login("http://env:2", "env-token")
    assert login.resolve("http://flag:3", "flag-token", environ) == login.Login("http://flag:3", "flag-token")


def test_a_saved_token_is_never_sent_to_another_server(home: Path) -> None:
    login.save("http://saved:1", "saved-token", home / "config.yaml")
    environ = {"LEOFLOW_CONFIG": str(home / "config.yaml")}
    assert login.resolve("http://other:1", None, environ).token is None


def test_logins_of_several_servers_are_kept_and_foreign_keys_too(home: Path) -> None:
    home.mkdir()
    path = home / "config.yaml"
    path.write_text("theme: dark\n")
    login.save("http://a:1", "ta", path)
    login.save("http://b:1", "tb", path)
    assert yaml.safe_load(path.read_text()) == {
        "theme": "dark",
        "server": "http://b:1",
        "logins": {"http://a:1": "ta", "http://b:1": "tb"},
    }


def test_the_saved_login_is_readable_by_its_owner_only(home: Path) -> None:
    login.save("http://a:1", "ta", home / "config.yaml")
    assert stat.S_IMODE((home / "config.yaml").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["config.yaml"]


def test_a_token_is_not_in_the_representation() -> None:
    assert "secret" not in repr(login.Login("http://a:1", "secret"))


@pytest.mark.parametrize("text", ["[", "- a\n", "logins: 3\n"])
def test_a_broken_file_is_named_with_the_remedy(home: Path, text: str) -> None:
    home.mkdir()
    (home / "config.yaml").write_text(text)
    with pytest.raises(CommandFailed, match=r"config\.yaml") as caught:
        login.resolve(None, None, {"LEOFLOW_CONFIG": str(home / "config.yaml")})
    assert caught.value.code is ExitCode.USAGE


def test_a_server_without_scheme_is_wrong_usage() -> None:
    with pytest.raises(CommandFailed, match="http://host:port"):
        login.resolve("localhost:8088", None, {"LEOFLOW_CONFIG": "/nonexistent"})


def test_login_saves_the_token_and_later_calls_send_it(leoflow, server, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "jwt"})
        return httpx.Response(200, json={"name": "leoflowd"})

    requests = server(answer)
    monkeypatch.setenv("LEOFLOW_PASSWORD", "pw")
    result = leoflow("auth", "login", "--server", "http://h:1", "-o", "json")
    assert result.code == 0
    assert "jwt" not in result.out
    assert requests[0].read() == b'{"username":"admin","password":"pw"}'
    leoflow("tree")
    assert str(requests[1].url) == "http://h:1/api/v2/leoflow/tree"
    assert requests[1].headers["authorization"] == "Bearer jwt"


def test_login_sends_no_old_token(leoflow, server, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = server(lambda _: httpx.Response(201, json={"access_token": "jwt"}))
    monkeypatch.setenv("LEOFLOW_PASSWORD", "pw")
    monkeypatch.setenv("LEOFLOW_TOKEN", "expired")
    assert leoflow("auth", "login").code == 0
    assert "authorization" not in requests[0].headers


def test_a_wrong_password_exits_5_and_names_the_reset(leoflow, server, monkeypatch: pytest.MonkeyPatch) -> None:
    server(lambda _: httpx.Response(401, json={"detail": "Invalid credentials"}))
    monkeypatch.setenv("LEOFLOW_PASSWORD", "pw")
    result = leoflow("auth", "login")
    assert result.code == ExitCode.NOT_ALLOWED
    assert "reset-password" in result.err


def test_login_without_a_person_and_without_a_password_is_wrong_usage(leoflow, server) -> None:
    server(lambda _: httpx.Response(500))
    assert leoflow("auth", "login", "-o", "json").error["exit_code"] == ExitCode.USAGE
