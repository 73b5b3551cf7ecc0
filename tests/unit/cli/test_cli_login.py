"""Which server and which token a call uses, and how the login is kept."""

from __future__ import annotations

import json
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


# --- logout, status, access tokens -------------------------------------------------------------------------------

ME = {
    "username": "anna",
    "roles": ["Op"],
    "teams": ["sales"],
    "rights": ["act", "read"],
    "kind": "login",
    "token_name": None,
    "issued_at": "2026-11-21T03:00:00Z",
    "expires_at": "2026-11-22T03:00:00Z",
}
PAT = "leoflow_pat_" + "0" * 36


def test_logout_ends_the_login_here_and_there(leoflow, server, home: Path) -> None:
    login.save("http://h:1", "jwt", home / "config.yaml")
    requests = server(lambda _: httpx.Response(204))
    assert leoflow("auth", "logout").code == 0
    assert (requests[0].method, requests[0].url.path) == ("DELETE", "/leoflow/api/session")
    assert requests[0].headers["authorization"] == "Bearer jwt"
    assert yaml.safe_load((home / "config.yaml").read_text()) == {"logins": {}}
    assert leoflow("auth", "logout").code == ExitCode.NOT_FOUND


@pytest.mark.parametrize(("status", "code"), [(401, ExitCode.OK), (500, ExitCode.UNEXPECTED)])
def test_the_saved_login_goes_whatever_the_server_says(leoflow, server, home: Path, status: int, code: int) -> None:
    login.save("http://h:1", "jwt", home / "config.yaml")
    server(lambda _: httpx.Response(status, json={"detail": "Token Expired"}))
    result = leoflow("auth", "logout")
    assert result.code == code
    assert "jwt" not in (home / "config.yaml").read_text()
    assert ("may be valid" in result.err) == (code != ExitCode.OK)


def test_logout_leaves_a_token_of_the_environment_alone(
    leoflow, server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login.save("http://h:1", "jwt", home / "config.yaml")
    monkeypatch.setenv("LEOFLOW_TOKEN", PAT)
    requests = server(lambda _: httpx.Response(204))
    result = leoflow("auth", "logout")
    assert (result.code, requests) == (ExitCode.USAGE, [])
    assert "revoke-token" in result.err
    assert "jwt" in (home / "config.yaml").read_text()


def test_status_says_who_where_and_until_when(leoflow, server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login.save("http://h:1", "jwt", home / "config.yaml")
    server(lambda _: httpx.Response(200, json=ME))
    out = leoflow("auth", "status").out
    for told in ("http://h:1: anna (Op)", "the saved login", "until 2026-11-22 03:00 UTC", "act, read", "teams: sales"):
        assert told in out
    monkeypatch.setenv("LEOFLOW_TOKEN", PAT)
    service = {"username": "service:ci", "roles": [], "teams": [], "kind": "service", "token_name": "ci"}
    server(lambda _: httpx.Response(200, json=ME | service))
    assert "by the service access token 'ci', from LEOFLOW_TOKEN" in leoflow("auth", "status").out


@pytest.mark.parametrize(("expires", "seconds"), [("90d", 7_776_000), ("12h", 43_200), ("30M", 1800)])
def test_a_token_is_the_only_thing_on_stdout(leoflow, server, expires: str, seconds: int) -> None:
    """So `TOKEN=$(leoflow auth create-token ...)` works."""
    made = {"id": "1", "name": "ci", "rights": "deploy", "expires_at": "2026-11-22T03:00:00Z", "token": PAT}
    requests = server(lambda _: httpx.Response(201, json=made))
    result = leoflow("auth", "create-token", "--name", "ci", "--expires", expires, "--rights", "deploy")
    assert (result.code, result.out) == (0, f"{PAT}\n")
    assert "not shown again" in result.err
    sent = {"name": "ci", "rights": "deploy", "expires_in_s": seconds, "service": False}
    assert json.loads(requests[0].content) == sent


@pytest.mark.parametrize("expires", ["", "90", "0d", "-1d", "90w", "1e3d", "9999999d"])
def test_a_time_that_is_none_is_wrong_usage(leoflow, server, expires: str) -> None:
    requests = server(lambda _: httpx.Response(201, json={}))
    assert leoflow("auth", "create-token", "--name", "ci", "--expires", expires).code == ExitCode.USAGE
    assert requests == []


def test_tokens_are_listed_and_revoked_by_name(leoflow, server) -> None:
    row = {"name": "ci", "username": None, "rights": "deploy", "state": "valid", "last_used_at": None}
    row |= {"expires_at": "2026-11-22T03:00:00Z"}
    requests = server(lambda request: httpx.Response(200, json={"tokens": [row]} if request.method == "GET" else row))
    out = leoflow("auth", "tokens").out
    for told in ("ci", "service", "deploy", "valid", "never"):
        assert told in out
    assert leoflow("auth", "revoke-token", "my ci").code == ExitCode.USAGE
    assert leoflow("auth", "revoke-token", "my ci", "--yes").code == 0
    assert requests[-1].url.raw_path == b"/leoflow/api/tokens/my%20ci"


@pytest.mark.parametrize(
    ("token", "status", "detail", "told"),
    [
        ("jwt", 403, "Invalid JWT token", "revoked"),
        ("jwt", 401, "Token Expired", "over"),
        (PAT, 401, "The access token `ci` was revoked", "`ci` was revoked"),
    ],
)
def test_whoever_is_not_let_in_any_more_hears_what_to_do(
    leoflow, server, monkeypatch: pytest.MonkeyPatch, token: str, status: int, detail: str, told: str
) -> None:
    monkeypatch.setenv("LEOFLOW_TOKEN", token)
    server(lambda _: httpx.Response(status, json={"detail": detail}))
    result = leoflow("tree")
    assert result.code == ExitCode.NOT_ALLOWED
    assert told in result.err
    assert "run `leoflow auth login`" in result.err
