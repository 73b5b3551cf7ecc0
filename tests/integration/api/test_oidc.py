"""Logins by OpenID Connect, over real sockets, at a real provider: what lets somebody in, and what does not."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import jwt
import msgspec
import pytest
import trio

from leoflowd import telemetry
from leoflowd.api import oidc_flow
from leoflowd.api.context import ApiContext
from leoflowd.api.identity_provider import IdentityProvider
from leoflowd.api.server import ApiServer
from leoflowd.store import api_users, roles
from leoflowd.store.secret_box import SecretBox
from tests.conftest import PATIENCE_S
from tests.fakes.identity_provider import CLIENT_ID, Provider, config_of, free_port, pass_the_form, running_provider
from tests.integration.api.api_client import PASSWORD, Clock
from tests.integration.api.people import put_user

ANA = {"preferred_username": "ana", "email": "ana@example.com", "email_verified": True, "groups": ["staff", "sales"]}
PEOPLE = {
    "7": ANA,
    "8": {"preferred_username": "bob", "groups": ["nobody"]},
    "9": {"preferred_username": "admin", "groups": ["staff"]},
}
KEYS = {"1": secrets.token_bytes(32)}
EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture
def clock() -> Clock:
    """The provider has no other one than the machine's."""
    return Clock(telemetry.utc_now())


@pytest.fixture(scope="module")
def app_url() -> str:
    return f"http://127.0.0.1:{free_port()}/"


@pytest.fixture(scope="module")
def started(app_url: str) -> Iterator[Provider]:
    with running_provider(app_url) as provider:
        yield provider


@pytest.fixture
def provider(started: Provider) -> Provider:
    started.tell("people", PEOPLE)
    started.tell("fault", None)
    return started


class App:
    """The listening server, and people in front of it."""

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S, trust_env=False) as browser:
            yield browser

    async def come_back(self, browser: httpx.AsyncClient, login: str = "7", target: str = "/dags") -> str:
        """The address that the provider sends this person to, with a code."""
        begun = await browser.get("auth/oidc/login", params={"next": target})
        assert begun.status_code == 303, begun.text
        return (await pass_the_form(browser, begun.headers["location"], login)).headers["location"]

    async def log_in(self, browser: httpx.AsyncClient, login: str = "7", target: str = "/dags") -> httpx.Response:
        return await browser.get(await self.come_back(browser, login, target))

    async def refusal(self, login: str = "7", status: int = 403) -> str:
        """What the login page says to this person, who gets no login."""
        async with self.browser() as browser:
            answer = await self.log_in(browser, login)
            assert answer.status_code == status, answer.text
            assert "_token" not in browser.cookies
            return answer.text


@asynccontextmanager
async def serving(context: ApiContext, provider: Provider, app_url: str, **changes: Any) -> AsyncIterator[App]:
    config = config_of(provider, app_url, **changes)
    api = msgspec.structs.replace(context.config, port=urlsplit(app_url).port)
    context = replace(context, config=api, oidc=IdentityProvider(config, context.now), secrets=SecretBox(lambda: KEYS))
    with trio.fail_after(PATIENCE_S * 4):
        async with trio.open_nursery() as nursery:
            await nursery.start(ApiServer(context).run)
            yield App(app_url)
            nursery.cancel_scope.cancel()


@pytest.fixture
async def app_at(api_context: ApiContext, provider: Provider, app_url: str) -> AsyncIterator[App]:
    async with serving(api_context, provider, app_url) as app:
        yield app


async def me(browser: httpx.AsyncClient) -> dict[str, Any]:
    answer = await browser.get("leoflow/api/me")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# --- who gets in -------------------------------------------------------------------------------------------------


async def test_a_person_logs_in_and_has_the_roles_and_teams_of_his_groups(app_at: App) -> None:
    async with app_at.browser() as browser:
        answer = await app_at.log_in(browser)
        assert (answer.status_code, answer.headers["location"]) == (303, "/dags")
        assert answer.headers["cache-control"] == "no-store"
        who = await me(browser)
        assert (who["username"], who["roles"], who["teams"], who["kind"]) == ("ana", ["Viewer"], ["sales"], "login")


async def test_the_login_is_in_the_audit_log_and_names_who_vouched(app_at: App, api_context: ApiContext) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
    async with api_context.db.api.connection() as conn:
        cursor = await conn.execute("SELECT owner, extra FROM event_log WHERE event = 'login'")
        ((owner, extra),) = await cursor.fetchall()
    assert (owner, extra["by"], extra["subject"], extra["roles"]) == ("ana", "oidc", "7", ["Viewer"])


async def test_roles_and_teams_follow_the_groups_at_the_next_login(app_at: App, provider: Provider) -> None:
    async with app_at.browser() as browser, app_at.browser() as again:
        await app_at.log_in(browser)
        provider.tell("people", PEOPLE | {"7": ANA | {"groups": ["ops"]}})
        await app_at.log_in(again)
        for each in (browser, again):  # the earlier login, too: rights are those of this moment
            who = await me(each)
            assert (who["roles"], who["teams"]) == (["Op"], [])


async def test_a_membership_that_an_administrator_gave_stays(app_at: App, api_context: ApiContext) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
        async with api_context.db.api.transaction() as conn:
            await roles.insert_team(conn, "by hand", api_context.now())
            await roles.add_to_team(conn, "by hand", usernames=["ana"], patterns=[])
        await app_at.log_in(browser)
        assert (await me(browser))["teams"] == ["by hand", "sales"]


async def test_who_is_in_no_group_any_more_is_refused_with_a_sentence(app_at: App, provider: Provider) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
    provider.tell("people", PEOPLE | {"7": ANA | {"groups": []}})
    assert "ana is in no group that gives a role here" in await app_at.refusal()
    assert "bob is in no group" in await app_at.refusal("8")


async def test_a_new_name_is_still_the_same_user(app_at: App, provider: Provider) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
        provider.tell("people", PEOPLE | {"7": ANA | {"preferred_username": "ana2"}})
        await app_at.log_in(browser)
        assert (await me(browser))["username"] == "ana"


async def test_the_name_of_another_user_is_never_taken_over(app_at: App, provider: Provider) -> None:
    assert "There is another user admin on this server" in await app_at.refusal("9")
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
    provider.tell("people", PEOPLE | {"70": ANA})  # the provider gave the name to somebody else
    assert "There is another user ana" in await app_at.refusal("70")


async def test_without_a_map_the_roles_are_the_administrators_after_the_first_login(
    api_context: ApiContext, provider: Provider, app_url: str
) -> None:
    changes = {"group_roles": "", "default_role": "Viewer"}
    async with serving(api_context, provider, app_url, **changes) as app, app.browser() as browser:
        await app.log_in(browser)
        assert (await me(browser))["roles"] == ["Viewer"]
        async with api_context.db.api.transaction() as conn:
            await api_users.set_roles(conn, "ana", ["Op"])
        await app.log_in(browser)
        assert (await me(browser))["roles"] == ["Op"]


async def test_a_disabled_user_stays_out(app_at: App, api_context: ApiContext) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
        async with api_context.db.api.transaction() as conn:
            await api_users.set_disabled(conn, "ana", api_context.now(), disabled=True)
        assert (await browser.get("/leoflow/api/me")).status_code == 401
    assert "The user ana is disabled on this server" in await app_at.refusal()


async def test_a_role_that_there_is_not_is_said(api_context: ApiContext, provider: Provider, app_url: str) -> None:
    async with serving(api_context, provider, app_url, group_roles="staff=Nope") as app:
        assert "Not all of these are roles: `Nope`" in await app.refusal()


async def test_a_public_client_needs_no_secret(api_context: ApiContext, app_url: str) -> None:
    with running_provider(app_url, secret="") as provider:
        provider.tell("people", PEOPLE)
        async with serving(api_context, provider, app_url, client_secret="") as app, app.browser() as browser:
            assert (await app.log_in(browser)).status_code == 303


# --- what is refused ---------------------------------------------------------------------------------------------

FAULTS = {
    "nonce": ({"claims": {"nonce": "of another login"}}, "belongs to another login (nonce)"),
    "aud": ({"claims": {"aud": "another application"}}, "another application (aud)"),
    "azp": ({"claims": {"aud": [CLIENT_ID, "b"], "azp": "b"}}, "another application (azp)"),
    "iss": ({"claims": {"iss": "https://evil.example"}}, "was issued by https://evil.example"),
    "expired": ({"claims": {"exp": 1_000_000_000}}, "has expired"),
    "old": ({"claims": {"iat": 1_000_000_000}}, "is not of this moment (iat)"),
    "no exp": ({"claims": {"exp": "never"}}, "has no time in exp"),
    "sub": ({"claims": {"sub": "8"}}, "tells of another person"),
    "alg none": ({"alg": "none"}, "signs with none"),
    "the secret as a key": ({"alg": "HS256"}, "signs with HS256"),
    "key": ({"key": "foreign"}, "signature of the provider&#x27;s token is wrong"),
    "kid": ({"kid": "nobody knows it"}, "a key that it does not publish"),
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
async def test_a_token_that_is_wrong_lets_nobody_in(
    app_at: App, provider: Provider, fault: dict[str, Any], said: str
) -> None:
    provider.tell("fault", fault)
    assert said in await app_at.refusal()


async def test_an_unknown_key_is_asked_for_rarely(app_at: App, provider: Provider) -> None:
    before = provider.count("/jwks")
    provider.tell("fault", {"kid": "nobody knows it"})
    for _ in range(3):
        await app_at.refusal()
    assert provider.count("/jwks") == before + 2  # at the first login, and for the first unknown one


async def test_new_keys_of_the_provider_are_taken_up(app_at: App, provider: Provider) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
    provider.stop()
    provider.start()
    provider.tell("people", PEOPLE)
    async with app_at.browser() as browser:
        assert (await app_at.log_in(browser)).status_code == 303


async def test_a_code_is_good_for_one_login(app_at: App) -> None:
    async with app_at.browser() as browser:
        back = await app_at.come_back(browser)
        cookies = dict(browser.cookies)
        assert (await browser.get(back)).status_code == 303
        again = await browser.get(back)  # its cookie is gone
        assert again.status_code == 400
        assert "begun in another browser" in again.text
    async with app_at.browser() as thief:
        for name, value in cookies.items():
            thief.cookies.set(name, value)
        answer = await thief.get(back)  # the provider knows it, too
        assert answer.status_code == 403
        assert "refused the login: grant request is invalid" in answer.text


async def test_a_login_belongs_to_the_browser_that_began_it(app_at: App) -> None:
    """Or a link would log its reader in as somebody else."""
    async with app_at.browser() as attacker, app_at.browser() as victim:
        back = await app_at.come_back(attacker)
        assert (await victim.get(back)).status_code == 400
        await victim.get("/auth/oidc/login")  # he has a login under way himself
        assert (await victim.get(back)).status_code == 400
        assert "_token" not in victim.cookies


async def test_another_state_is_refused(app_at: App) -> None:
    async with app_at.browser() as browser:
        back = await app_at.come_back(browser)
        state = parse_qs(urlsplit(back).query)["state"][0]
        assert (await browser.get(back.replace(state, state[:-1] + "_"))).status_code == 400


async def test_an_answer_of_another_issuer_is_refused(app_at: App) -> None:
    async with app_at.browser() as browser:
        parts = parse_qs(urlsplit(await app_at.come_back(browser)).query)
        for issuer in ("https://evil.example", None):
            asked = {name: values[0] for name, values in parts.items() if name != "iss"}
            answer = await browser.get("/auth/oidc/callback", params=asked | ({"iss": issuer} if issuer else {}))
            assert answer.status_code in (400, 403)
            assert "_token" not in browser.cookies


async def test_several_tabs_come_back_in_any_order(app_at: App) -> None:
    async with app_at.browser() as browser:
        first = await app_at.come_back(browser, target="/dags")
        second = await app_at.come_back(browser, target="/assets")
        assert (await browser.get(second)).headers["location"] == "/assets"
        assert (await browser.get(first)).headers["location"] == "/dags"


async def test_what_the_provider_says_instead_is_shown_as_text(app_at: App) -> None:
    async with app_at.browser() as browser:
        begun = await browser.get("/auth/oidc/login")
        state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
        asked = {"state": state, "error": "access_denied", "error_description": "<b>not you</b>"}
        answer = await browser.get("/auth/oidc/callback", params=asked)
        assert answer.status_code == 403
        assert "did not let you in: &lt;b&gt;not you&lt;/b&gt;" in answer.text


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "https:evil.example"],
)
async def test_nobody_is_sent_to_another_site(app_at: App, target: str) -> None:
    async with app_at.browser() as browser:
        assert (await app_at.log_in(browser, target=target)).headers["location"] == "/"


async def test_a_provider_that_is_down_is_a_sentence_and_passwords_go_on(api_context: ApiContext, app_url: str) -> None:
    nobody = Provider(free_port(), app_url, "x")
    async with serving(api_context, nobody, app_url) as app, app.browser() as browser:
        answer = await browser.get("/auth/oidc/login")
        assert answer.status_code == 503
        assert "127.0.0.1 cannot be reached" in answer.text
        login = await browser.post("/auth/token", json={"username": "admin", "password": PASSWORD})
        assert login.status_code == 201


# --- passwords beside it -----------------------------------------------------------------------------------------


async def test_the_login_page_shows_the_button_beside_the_form(app_at: App) -> None:
    async with app_at.browser() as browser:
        page = (await browser.get("/auth/login", params={"next": "/dags"})).text
        assert 'href="auth/oidc/login?next=%2Fdags" >Log in with the house</a>' in page
        assert '<form method="post" action="auth/login" >' in page


async def test_whoever_came_by_the_provider_goes_straight_there_again_until_he_logs_out(app_at: App) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
        answer = await browser.get("/auth/login", params={"next": "/dags"})
        assert answer.headers["location"] == "/auth/oidc/login?next=%2Fdags"
        await browser.get("/api/v2/auth/logout")
        assert (await browser.get("/auth/login")).status_code == 200


async def test_with_passwords_for_admins_alone_others_go_to_the_provider(
    api_context: ApiContext, provider: Provider, app_url: str
) -> None:
    async with api_context.db.api.transaction() as conn:
        await put_user(conn, "eve", ["Op"])
        await api_users.set_password(conn, "eve", api_users.hash_password(PASSWORD), api_context.now())
    async with serving(api_context, provider, app_url, passwords="admins") as app, app.browser() as browser:
        assert (await browser.get("/auth/login")).headers["location"] == "/auth/oidc/login?next=%2F"
        assert '<form method="post" action="auth/login" >' in (await browser.get("/auth/login?password")).text
        for username, status in (("admin", 201), ("eve", 401)):
            login = await browser.post("/auth/token", json={"username": username, "password": PASSWORD})
            assert login.status_code == status


async def test_without_passwords_nobody_has_one(api_context: ApiContext, provider: Provider, app_url: str) -> None:
    async with serving(api_context, provider, app_url, passwords="none") as app, app.browser() as browser:
        login = await browser.post("/auth/token", json={"username": "admin", "password": PASSWORD})
        assert (login.status_code, "takes no passwords" in login.text) == (403, True)
        assert 'action="auth/login" hidden>' in (await browser.get("/auth/login?password")).text


async def test_a_user_of_the_provider_has_no_password_and_gets_none(app_at: App, provider: Provider) -> None:
    provider.tell("people", PEOPLE | {"1": {"preferred_username": "root", "groups": ["admins"]}})
    async with app_at.browser() as browser:
        await app_at.log_in(browser, "1")
        for username in ("root", "admin"):
            answer = await browser.patch(f"/leoflow/api/users/{username}", json={"password": PASSWORD}, headers=OWN)
            assert answer.status_code == (409 if username == "root" else 200), answer.text
        for password in (PASSWORD, "!", "no user has this hash"):
            login = await browser.post("/auth/token", json={"username": "root", "password": password})
            assert login.status_code == 401


OWN = {"Sec-Fetch-Site": "same-origin"}


# --- the end of a login ------------------------------------------------------------------------------------------


async def test_a_login_is_short_and_no_token_made_with_it_is_longer(app_at: App, clock: Clock) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
        clock.advance(1800)
        made = (await browser.post("/ui/auth/token", json={"token_type": "cli"}, headers=OWN)).json()
        assert made["expires_in_seconds"] <= 1800
        clock.advance(1900)
        assert (await browser.get("/leoflow/api/me")).status_code == 401
        bearer = {"Authorization": f"Bearer {made['access_token']}"}
        async with app_at.browser() as script:
            assert (await script.get("/leoflow/api/me", headers=bearer)).status_code == 401


async def test_logging_out_ends_the_session_at_the_provider_too(app_at: App, provider: Provider) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
        token = browser.cookies["_token"]
        answer = await browser.get("/api/v2/auth/logout")
        target = urlsplit(answer.headers["location"])
        asked = parse_qs(target.query)
        assert f"{target.scheme}://{target.netloc}" == provider.issuer
        assert asked["post_logout_redirect_uri"] == [f"{app_at.url}auth/oidc/logged-out"]
        hint = jwt.decode(asked["id_token_hint"][0], options={"verify_signature": False})
        assert (hint["sub"], hint["aud"]) == ("7", CLIENT_ID)
        assert (await browser.get("/leoflow/api/me", headers={"Authorization": f"Bearer {token}"})).status_code == 403
        page = await browser.get("/auth/oidc/logged-out")
        assert "You are logged out." in page.text


async def test_the_session_at_the_provider_goes_on_where_it_is_to(
    api_context: ApiContext, provider: Provider, app_url: str
) -> None:
    async with serving(api_context, provider, app_url, end_session=False) as app, app.browser() as browser:
        await app.log_in(browser)
        answer = await browser.get("/api/v2/auth/logout")
        assert not answer.headers["location"].startswith(provider.issuer)
        assert (await browser.get("/leoflow/api/me")).status_code == 401


async def test_a_login_lasts_as_long_as_is_configured(
    api_context: ApiContext, provider: Provider, app_url: str, clock: Clock
) -> None:
    async with serving(api_context, provider, app_url, session_ttl_s=90) as app, app.browser() as browser:
        await app.log_in(browser)
        bearer = {"Authorization": f"Bearer {browser.cookies['_token']}"}
        browser.cookies.clear()
        clock.advance(80)
        assert (await browser.get("/leoflow/api/me", headers=bearer)).status_code == 200
        clock.advance(30)
        assert (await browser.get("/leoflow/api/me", headers=bearer)).status_code == 401


async def _end_at_the_provider(browser: httpx.AsyncClient, provider: Provider) -> None:
    """As its own logout page does: it posts its form, and the provider tells all applications."""
    page = await browser.get(f"{provider.issuer}/session/end")
    secret = page.text.partition('name="xsrf" value="')[2].partition('"')[0]
    confirmed = await browser.post(f"{provider.issuer}/session/end/confirm", data={"xsrf": secret, "logout": "yes"})
    assert confirmed.status_code == 303, confirmed.text


async def test_a_logout_at_the_provider_ends_the_logins_of_its_session(app_at: App, provider: Provider) -> None:
    async with app_at.browser() as browser, app_at.browser() as elsewhere:
        await app_at.log_in(browser)
        await app_at.log_in(elsewhere)
        await _end_at_the_provider(browser, provider)
        assert (await browser.get("/leoflow/api/me")).status_code == 401
        assert (await me(elsewhere))["username"] == "ana"  # another session of the same person


def logout_claims(provider: Provider, clock: Clock, **changes: Any) -> dict[str, Any]:
    now = int(clock().timestamp())
    claims = {
        "iss": provider.issuer,
        "aud": CLIENT_ID,
        "iat": now,
        "exp": now + 120,
        "jti": secrets.token_hex(),
        "events": {EVENT: {}},
        "sub": "7",
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


async def _tell_logout(browser: httpx.AsyncClient, token: str) -> httpx.Response:
    return await browser.post("/auth/oidc/backchannel-logout", data={"logout_token": token})


async def test_a_logout_of_a_person_ends_all_logins_that_began_before(
    app_at: App, provider: Provider, clock: Clock
) -> None:
    async with app_at.browser() as browser, app_at.browser() as later:
        await app_at.log_in(browser)
        token = provider.tell("sign", logout_claims(provider, clock))["token"]
        told = await _tell_logout(browser, token)
        assert (told.status_code, told.headers["cache-control"]) == (200, "no-store")
        assert (await browser.get("/leoflow/api/me")).status_code == 401
        clock.advance(70)
        await app_at.log_in(later)
        assert (await _tell_logout(browser, token)).status_code == 200  # somebody sends it once more
        assert (await me(later))["username"] == "ana"


WRONG_LOGOUTS: dict[str, dict[str, Any]] = {
    "of another issuer": {"iss": "https://evil.example"},
    "for another application": {"aud": "b"},
    "an ID token": {"events": None, "nonce": "n"},
    "without the event": {"events": {"http://example.com": {}}},
    "with a nonce": {"nonce": "n"},
    "of nobody": {"sub": None},
    "over": {"iat": 1_000_000_000, "exp": 1_000_000_100},
    "without jti": {"jti": None},
}


@pytest.mark.parametrize("changes", WRONG_LOGOUTS.values(), ids=WRONG_LOGOUTS)
async def test_a_logout_token_that_is_wrong_ends_nothing(
    app_at: App, provider: Provider, clock: Clock, changes: dict[str, Any]
) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
        answer = await _tell_logout(browser, provider.tell("sign", logout_claims(provider, clock, **changes))["token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        await me(browser)


async def test_a_logout_that_the_provider_did_not_sign_ends_nothing(
    app_at: App, provider: Provider, clock: Clock
) -> None:
    async with app_at.browser() as browser:
        await app_at.log_in(browser)
        for token in (
            jwt.encode(logout_claims(provider, clock), "s" * 32),
            jwt.encode({}, None, algorithm="none"),
            "x",
        ):
            assert (await _tell_logout(browser, token)).status_code == 400
        await me(browser)


# --- the command line --------------------------------------------------------------------------------------------

VERIFIER = "v" * 43
CLI = {"cli_port": "45678", "cli_challenge": oidc_flow.challenge_of(VERIFIER), "cli_state": "s" * 20}


async def _code(app: App, browser: httpx.AsyncClient) -> str:
    begun = await browser.get("/auth/oidc/login", params=CLI)
    back = (await pass_the_form(browser, begun.headers["location"], "7")).headers["location"]
    page = await browser.get(back)
    assert page.status_code == 200, page.text
    link = page.text.partition('id="hand-over" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert link.startswith("http://127.0.0.1:45678/?")
    asked = parse_qs(urlsplit(link).query)
    assert asked["state"] == ["s" * 20]
    return asked["code"][0]


async def test_a_command_line_gets_a_login_for_its_code_once(app_at: App) -> None:
    async with app_at.browser() as browser:
        code = await _code(app_at, browser)
        assert "_token" not in browser.cookies  # the browser was not asked for
        wrong = await browser.post("/auth/oidc/cli-token", json={"code": code, "verifier": "w" * 43})
        assert wrong.status_code == 401
        made = await browser.post("/auth/oidc/cli-token", json={"code": code, "verifier": VERIFIER})
        assert (made.status_code, made.json()["username"]) == (201, "ana")
        bearer = {"Authorization": f"Bearer {made.json()['access_token']}"}
        assert (await browser.get("/leoflow/api/me", headers=bearer)).json()["username"] == "ana"
        again = await browser.post("/auth/oidc/cli-token", json={"code": code, "verifier": VERIFIER})
        assert (again.status_code, "used already" in again.text) == (401, True)


async def test_a_code_is_over_after_a_while_and_no_cookie_is_one(app_at: App, clock: Clock) -> None:
    async with app_at.browser() as browser:
        code = await _code(app_at, browser)
        clock.advance(oidc_flow.CODE_S + 1)
        late = await browser.post("/auth/oidc/cli-token", json={"code": code, "verifier": VERIFIER})
        assert (late.status_code, "is over" in late.text) == (401, True)
        await browser.get("/auth/oidc/login")
        (flow,) = (value for name, value in browser.cookies.items() if name.startswith(oidc_flow.PREFIX))
        other = await browser.post("/auth/oidc/cli-token", json={"code": flow, "verifier": VERIFIER})
        assert other.status_code == 401


@pytest.mark.parametrize(
    "changes", [{"cli_port": "80"}, {"cli_port": "x"}, {"cli_challenge": "<b>"}, {"cli_state": ""}]
)
async def test_nobody_but_a_command_line_asks_like_one(app_at: App, changes: dict[str, str]) -> None:
    async with app_at.browser() as browser:
        assert (await browser.get("/auth/oidc/login", params=CLI | changes)).status_code == 400


# --- other names of the server -----------------------------------------------------------------------------------


async def test_a_browser_at_another_name_goes_to_the_public_one_first(app_at: App) -> None:
    async with app_at.browser() as browser:
        begun = await browser.get("/auth/oidc/login", params={"next": "/dags"}, headers={"Host": "localhost:1"})
        assert begun.headers["location"] == f"{app_at.url}auth/oidc/login?next=%2Fdags&here=1"


async def test_a_server_without_a_provider_has_none_of_it(admin: Any) -> None:
    assert await admin.get("/leoflow/api/login-methods") == {"passwords": "all", "oidc": None}
    for method, path in (("GET", "login"), ("GET", "callback"), ("GET", "logged-out"), ("POST", "cli-token")):
        answer = await admin.call(method, f"/auth/oidc/{path}")
        assert answer.status_code == 404


async def test_it_works_below_a_base_path(api_context: ApiContext) -> None:
    app_url = f"http://127.0.0.1:{free_port()}/leo/"
    context = replace(api_context, config=msgspec.structs.replace(api_context.config, base_path="/leo/"))
    with running_provider(app_url) as provider:
        provider.tell("people", PEOPLE)
        async with serving(context, provider, app_url) as app, app.browser() as browser:
            assert (await app.log_in(browser, target="/leo/dags")).headers["location"] == "/leo/dags"
            assert (await me(browser))["username"] == "ana"
            assert {cookie.path for cookie in browser.cookies.jar if cookie.domain == "127.0.0.1"} >= {"/leo/"}
            out = await browser.get("api/v2/auth/logout")
            assert (
                f"post_logout_redirect_uri={quote(app_url, safe='')}auth%2Foidc%2Flogged-out" in out.headers["location"]
            )
