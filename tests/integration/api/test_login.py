"""Login, tokens, the cookie, logout, roles, cross-site requests: what is granted and what is refused."""

from __future__ import annotations

import jwt
import msgspec
import pytest

from leoflowd.api.context import ApiContext
from leoflowd.api.login_limits import FAILURES_MAX
from leoflowd.store.api_users import reset_password
from tests.integration.api.api_client import PASSWORD, Client, Clock

DAGS = "/api/v2/dags"
LOGIN = {"username": "admin", "password": PASSWORD}


async def _problem(client: Client, method: str, path: str, **options: object) -> tuple[int, str]:
    answer = await client.call(method, path, **options)
    return answer.status_code, msgspec.json.decode(await answer.get_data(as_text=False))["detail"]


async def test_a_password_buys_a_token_as_json_and_as_form(anonymous: Client) -> None:
    granted = await anonymous.send("POST", "/auth/token", LOGIN, status=201)
    assert granted.keys() == {"access_token"}
    answer = await anonymous.call("POST", "/auth/token", form=LOGIN)
    assert answer.status_code == 201
    await anonymous.send("POST", "/auth/token/cli", LOGIN, status=201)


async def test_wrong_logins_are_told_apart_by_status_only(anonymous: Client) -> None:
    for body in ({"username": "admin", "password": "x"}, {"username": "nobody", "password": PASSWORD}):
        assert await _problem(anonymous, "POST", "/auth/token", json=body) == (401, "Invalid credentials")
    await anonymous.send("POST", "/auth/token", {"username": "", "password": ""}, status=400)
    await anonymous.send("POST", "/auth/token", {"username": "admin"}, status=422)
    await anonymous.send("POST", "/auth/token", LOGIN | {"more": 1}, status=422)
    answer = await anonymous.call("POST", "/auth/token", data=b"x", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


async def test_guessing_is_slowed_down_and_forgiven_after_a_minute(anonymous: Client, clock: Clock) -> None:
    for _ in range(FAILURES_MAX):
        await anonymous.send("POST", "/auth/token", LOGIN | {"password": "x"}, status=401)
    answer = await anonymous.call("POST", "/auth/token", json=LOGIN)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    clock.advance(61)
    await anonymous.send("POST", "/auth/token", LOGIN, status=201)


async def test_the_texts_of_401_and_403_are_airflows(anonymous: Client, admin: Client, clock: Clock) -> None:
    assert await _problem(anonymous, "GET", DAGS) == (401, "Not authenticated")
    assert await _problem(Client(anonymous.app, token="bad"), "GET", DAGS) == (403, "Invalid JWT token")
    clock.advance(86_400 + 60)
    assert await _problem(admin, "GET", DAGS) == (401, "Token Expired")


async def test_a_token_signed_with_another_algorithm_or_key_is_refused(anonymous: Client, admin: Client) -> None:
    claims = jwt.decode(admin.token or "", options={"verify_signature": False})
    none = jwt.encode(claims, None, algorithm="none")
    other = jwt.encode(claims, b"k" * 64, algorithm="HS512")
    for token in (none, other):
        assert await _problem(Client(anonymous.app, token=token), "GET", DAGS) == (403, "Invalid JWT token")


async def test_authentication_comes_before_validation(anonymous: Client) -> None:
    assert (await _problem(anonymous, "GET", f"{DAGS}?limit=x"))[0] == 401


async def test_a_valid_cookie_wins_over_the_header(admin: Client) -> None:
    both = Client(admin.app, token="bad", cookie=admin.token)
    await both.get(DAGS)


async def test_a_stale_cookie_is_deleted_and_the_header_counts(admin: Client) -> None:
    answer = await Client(admin.app, token=admin.token, cookie="stale").call("GET", DAGS)
    assert answer.status_code == 200
    assert answer.headers["Set-Cookie"].startswith("_token=;")
    answer = await Client(admin.app, cookie="stale").call("GET", DAGS)
    assert answer.status_code == 401
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


async def test_logout_ends_the_session_everywhere(admin: Client) -> None:
    answer = await Client(admin.app, cookie=admin.token).call("GET", "/api/v2/auth/logout")
    assert (answer.status_code, answer.headers["Location"]) == (307, "/auth/login")
    assert await _problem(admin, "GET", DAGS) == (403, "Invalid JWT token")


async def test_a_new_password_ends_all_sessions(admin: Client, api_context: ApiContext, clock: Clock) -> None:
    clock.advance(1)
    async with api_context.db.api.transaction() as conn:
        await reset_password(conn, "admin", "another one", clock())
    assert (await _problem(admin, "GET", DAGS))[0] == 403
    await admin.send("POST", "/auth/token", {"username": "admin", "password": "another one"}, status=201)


@pytest.mark.parametrize("role", ["Viewer", "User"])
async def test_a_role_may_do_what_its_row_says(seeded: Client, api_context: ApiContext, role: str) -> None:
    async with api_context.db.api.transaction() as conn:
        await conn.execute(b"UPDATE app_user SET role = %(role)s", {"role": role})
    await seeded.get(DAGS)
    answer = await seeded.call("PATCH", f"{DAGS}/etl", json={"is_paused": True})
    assert answer.status_code == (403 if role == "Viewer" else 200)
    assert await _problem(seeded, "POST", "/api/v2/pools", json={"name": "x", "slots": 1}) == (403, "Forbidden")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://localhost"}, 200),
    ],
)
async def test_a_cookie_write_must_come_from_our_own_pages(
    seeded: Client, headers: dict[str, str], status: int
) -> None:
    browser = Client(seeded.app, cookie=seeded.token)
    answer = await browser.call("PATCH", f"{DAGS}/etl", json={"is_paused": True}, headers=headers)
    assert answer.status_code == status


async def test_a_cookie_write_must_be_json(seeded: Client) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"}
    browser = Client(seeded.app, cookie=seeded.token)
    answer = await browser.call("PATCH", f"{DAGS}/etl", data=b'{"is_paused": true}', headers=headers)
    assert answer.status_code == 403


async def test_a_foreign_host_name_is_refused(anonymous: Client) -> None:
    answer = await anonymous.call("GET", "/api/v2/version", headers={"Host": "evil.example"})
    assert answer.status_code == 400


@pytest.mark.parametrize("target", ["/dags?x=1#y", "/", "/dags/a%20b", "dags"])
async def test_a_login_leads_back_to_our_own_pages(anonymous: Client, target: str) -> None:
    answer = await anonymous.call("GET", "/api/v2/auth/login", query_string={"next": target})
    assert answer.status_code == 307
    assert answer.headers["Location"].startswith("/auth/login?next=")


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "http://evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        "/\\evil.example",
        "\\\\evil.example",
        "/%2f/evil.example",
        "/%5cevil.example",
        "/dags/../../x",
        " //evil.example",
        "/\t/evil.example",
        "http://localhost@evil.example/",
        "/%252f%252fevil.example",
    ],
)
async def test_a_login_never_leads_elsewhere(anonymous: Client, target: str) -> None:
    answer = await anonymous.call("GET", "/api/v2/auth/login", query_string={"next": target})
    assert answer.status_code == 400


async def test_every_answer_carries_the_security_headers(anonymous: Client) -> None:
    for path in ("/api/v2/version", "/api/v2/nope", DAGS):
        headers = (await anonymous.call("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Request-Id"]
