"""What an identity provider publishes and answers, when it is odd, slow, large or gone; and settings that cannot be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio

from leoflowd.api.identity_provider import (
    ANSWER_MAX_BYTES,
    DOWN_FOR,
    FRESH_FOR,
    IdentityProvider,
    ProviderUnavailable,
)
from leoflowd.assembly import foundation
from leoflowd.config import ApiConfig, Config, ConfigRefused, OidcConfig, from_environment
from leoflowd.core.oidc import Rules
from tests.conftest import PATIENCE_S
from tests.fakes.scripted_server import ScriptedServer, scripted_server
from tests.integration.api.api_client import Clock

GOOD = OidcConfig(
    issuer="https://id.example.com",
    public_url="https://leo.example.com/",
    client_id="leoflow",
    default_role="Viewer",
    timeout_s=PATIENCE_S,
)
ASKED = {"state": "s", "nonce": "n", "challenge": "c"}


# --- settings ----------------------------------------------------------------------------------------------------


def test_settings_become_the_rules_that_claims_are_read_by(clock: Clock) -> None:
    config = msgspec.structs.replace(
        GOOD,
        username_claims=("login",),
        groups_claim="realm_access.roles",
        group_roles="staff=User; staff=Op",
        group_teams="cn=a,dc=b=sales",
        email_domains=("@Example.com",),
    )
    assert IdentityProvider(config, clock).rules == Rules(
        username_claims=("login",),
        groups_claim="realm_access.roles",
        roles={"staff": ("User", "Op")},
        teams={"cn=a,dc=b": ("sales",)},
        default_role="Viewer",
        email_domains=("example.com",),
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"public_url": "", "client_id": ""}, "LEOFLOW_OIDC_PUBLIC_URL and LEOFLOW_OIDC_CLIENT_ID is not"),
        (
            {"issuer": "http://id.example.com"},
            "LEOFLOW_OIDC_ISSUER is 'http://id.example.com': it must begin with https",
        ),
        ({"public_url": "leo.example.com"}, "LEOFLOW_OIDC_PUBLIC_URL is 'leo.example.com'"),
        ({"scopes": "profile"}, "lacks `openid`"),
        ({"default_role": ""}, "nobody could log in"),
        ({"group_roles": "staff"}, "'staff' is not GROUP=NAME"),
        ({"group_teams": "=sales"}, "'=sales' is not GROUP=NAME"),
        ({"client_secret": "x", "client_secret_file": Path("/x")}, "are both set"),
        ({"client_secret_file": Path("/nonexistent/x")}, "CLIENT_SECRET_FILE cannot be read"),
    ],
)
def test_settings_that_let_nobody_in_are_refused_at_the_start(clock: Clock, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigRefused) as refused:
        IdentityProvider(msgspec.structs.replace(GOOD, **changes), clock)
    assert said in str(refused.value)


def test_the_environment_says_it_all(clock: Clock) -> None:
    config = from_environment(
        {
            "LEOFLOW_OIDC_ISSUER": "https://id.example.com",
            "LEOFLOW_OIDC_PUBLIC_URL": "https://leo.example.com",
            "LEOFLOW_OIDC_CLIENT_ID": "leoflow",
            "LEOFLOW_OIDC_GROUP_ROLES": "a=Admin; b=User",
            "LEOFLOW_OIDC_EMAIL_DOMAINS": "Example.com, @example.org",
            "LEOFLOW_OIDC_USERNAME_CLAIMS": "email",
            "LEOFLOW_OIDC_PASSWORDS": "admins",
        }
    ).oidc
    rules = IdentityProvider(config, clock).rules
    assert rules.roles == {"a": ("Admin",), "b": ("User",)}
    assert (rules.email_domains, rules.username_claims) == (("example.com", "example.org"), ("email",))
    assert config.passwords.value == "admins"
    with pytest.raises(ConfigRefused, match="passwords"):
        from_environment({"LEOFLOW_OIDC_PASSWORDS": "some"})


def test_the_public_url_has_the_base_path(clock: Clock) -> None:
    def built(base_path: str) -> IdentityProvider | None:
        config = Config(oidc=GOOD, api=ApiConfig(base_path=base_path))
        return foundation._identity_provider(SimpleNamespace(config=config, now=clock))

    assert built("/") is not None
    with pytest.raises(ConfigRefused, match="LEOFLOW_API_BASE_PATH is /leo/"):
        built("/leo/")


# --- what it publishes -------------------------------------------------------------------------------------------


def _answer(document: Any, status: str = "200 OK") -> bytes:
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _metadata(url: str, **changes: Any) -> dict[str, Any]:
    return {
        "issuer": url,
        "authorization_endpoint": f"{url}/auth?tenant=1",
        "token_endpoint": f"{url}/token",
        "jwks_uri": f"{url}/jwks",
        **changes,
    }


def _provider(server: ScriptedServer, clock: Clock, **changes: Any) -> IdentityProvider:
    return IdentityProvider(msgspec.structs.replace(GOOD, issuer=server.url, **changes), clock)


async def test_it_is_asked_once_an_hour_and_an_older_answer_serves_while_it_is_down(clock: Clock) -> None:
    async with scripted_server(b"") as server:
        down = _answer({"error": "x"}, "503 Service Unavailable")
        server.answers = [_answer(_metadata(server.url)), _answer({"keys": []}), down]
        provider = _provider(server, clock)
        for _ in range(2):
            url = await provider.authorization_url(**ASKED)
        assert url.startswith(f"{server.url}/auth?tenant=1&response_type=code&client_id=leoflow&")
        assert "code_challenge=c&code_challenge_method=S256" in url
        assert len(server.requests) == 2
        clock.advance(FRESH_FOR.total_seconds())
        assert await provider.authorization_url(**ASKED) == url
        assert await provider.authorization_url(**ASKED) == url  # and is left alone for a moment
        assert len(server.requests) == 3
        clock.advance(DOWN_FOR.total_seconds())
        await provider.authorization_url(**ASKED)
        assert len(server.requests) == 4


async def test_many_who_come_at_once_ask_once(clock: Clock) -> None:
    async with scripted_server(b"") as server:
        server.answers = [_answer(_metadata(server.url)), _answer({"keys": []})]
        provider = _provider(server, clock)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(lambda: provider.authorization_url(**ASKED))
        assert len(server.requests) == 2


ODD: dict[str, tuple[Any, str]] = {
    "another issuer": ({"issuer": "https://evil.example"}, "they must be the same, letter by letter"),
    "no token endpoint": ({"token_endpoint": None}, "is not what OpenID Connect has there"),
    "a token endpoint without TLS": ({"token_endpoint": "http://id.example.com/t"}, "must begin with https://"),
    "keys without TLS": ({"jwks_uri": "http://id.example.com/t"}, "must begin with https://"),
    "a login without TLS": ({"authorization_endpoint": "http://id.example.com/t"}, "must begin with https://"),
    "a logout that is script": ({"end_session_endpoint": "javascript:alert(1)"}, "must be https://host/"),
}


@pytest.mark.parametrize(("changes", "said"), ODD.values(), ids=ODD)
async def test_what_it_publishes_must_be_of_itself_and_over_tls(
    clock: Clock, changes: dict[str, Any], said: str
) -> None:
    async with scripted_server(b"") as server:
        server.answers = [_answer(_metadata(server.url, **changes)), _answer({"keys": []})]
        with pytest.raises(ProviderUnavailable) as refused:
            await _provider(server, clock).authorization_url(**ASKED)
    assert said in str(refused.value)


REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_answer(b"<html>"), "answered 200, and not what"),
        (_answer([]), "answered 200, and not what"),
        (_answer({}, "500 Oops"), "answered 500"),
        (_answer(b"[" * 100_000), "answered 200, and not what"),
        (_answer(b" " * (ANSWER_MAX_BYTES + 1)), "its answer is larger than"),
        (REDIRECT, "answered 302"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "cannot be reached"),
    ],
)
async def test_an_answer_that_is_none_is_a_sentence(clock: Clock, answer: bytes, said: str) -> None:
    async with scripted_server(answer) as server:
        with pytest.raises(ProviderUnavailable) as refused:
            await _provider(server, clock).authorization_url(**ASKED)
        assert said in str(refused.value)
        assert len(server.requests) == 1


async def test_an_answer_that_never_comes_ends_at_its_deadline(clock: Clock) -> None:
    async def silence(_: object) -> None:
        await trio.sleep_forever()

    async with scripted_server(silence) as server:
        with trio.fail_after(PATIENCE_S), pytest.raises(ProviderUnavailable, match=r"no answer within 0\.2 s"):
            await _provider(server, clock, timeout_s=0.2).authorization_url(**ASKED)


async def test_a_logout_goes_on_without_a_provider(clock: Clock) -> None:
    async with scripted_server(_answer({}, "500 Oops")) as server:
        assert await _provider(server, clock).logout_url("hint") is None
