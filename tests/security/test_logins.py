"""Attacks on logins and sessions: guessing in parallel, locking the owner out, another site, what outlives a logout."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import trio
from quart_trio import QuartTrio

from leoflowd.api import auth
from leoflowd.api.context import ApiContext
from leoflowd.api.login_limits import FAILURES_MAX, HASHES_MAX, HASHES_OF_ONE_MAX, LoginLimits
from leoflowd.api.problems import TooManyRequests
from leoflowd.store import roles
from leoflowd.store.api_users import reset_password
from tests.integration.api.api_client import PASSWORD, START, Client, Clock
from tests.integration.api.api_seed import DAG, OPEN
from tests.integration.api.people import grants_of, somebody_with
from tests.security.door import end_of_answer, head, listening

LOGIN = {"username": "admin", "password": PASSWORD}
WRONG = LOGIN | {"password": "x"}
WAIT = f"/api/v2/dags/{DAG}/dagRuns/{OPEN}/wait?interval=0.5"


async def test_fifty_parallel_guesses_are_no_more_than_ten(app: QuartTrio, api_context: ApiContext) -> None:
    statuses: list[int] = []

    async def guess() -> None:
        statuses.append((await Client(app).call("POST", "/auth/token", json=WRONG)).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(guess)
    assert statuses.count(401) + statuses.count(429) == 50
    assert statuses.count(401) <= FAILURES_MAX


def test_an_attempt_counts_before_its_hash_is_known() -> None:
    limits = LoginLimits()
    for _ in range(FAILURES_MAX):
        with pytest.raises(ZeroDivisionError), limits.attempt("a", "ana", START):
            raise ZeroDivisionError  # whatever ends it, also a client that leaves
    with pytest.raises(TooManyRequests), limits.attempt("a", "ana", START):
        pass
    with limits.attempt("a", "ana", START + timedelta(seconds=61)):
        pass


def test_guesses_from_another_address_or_at_another_name_do_not_lock_the_owner_out() -> None:
    limits = LoginLimits()
    for _ in range(FAILURES_MAX):
        with pytest.raises(ZeroDivisionError), limits.attempt("evil", "ana", START):
            raise ZeroDivisionError
    for address, name in (("home", "ana"), ("evil", "bob")):
        with limits.attempt(address, name, START):
            pass


def test_hashes_at_the_same_time_are_few_of_one_address_and_bounded_in_all() -> None:
    limits = LoginLimits()
    open_ = [limits.attempt("a", f"n{i}", START) for i in range(HASHES_OF_ONE_MAX)]
    for attempt in open_:
        attempt.__enter__()
    with pytest.raises(TooManyRequests), limits.attempt("a", "one more", START):
        pass
    others = [limits.attempt(f"address {i}", "n", START) for i in range(HASHES_MAX - HASHES_OF_ONE_MAX)]
    for attempt in others:
        attempt.__enter__()
    with pytest.raises(TooManyRequests), limits.attempt("b", "n", START):
        pass
    for attempt in (*open_, *others):
        attempt.__exit__(None, None, None)
    with limits.attempt("a", "one more", START):
        pass


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}],
)
async def test_another_site_cannot_guess_with_its_visitors_browser(app: QuartTrio, headers: dict[str, str]) -> None:
    for path in ("/auth/token", "/auth/token/cli"):
        for _ in range(FAILURES_MAX + 1):
            answer = await Client(app).call("POST", path, json=WRONG, headers=headers)
            assert answer.status_code == 403
    await Client(app).send("POST", "/auth/token", LOGIN, status=201)  # and has locked nobody out


# --- what outlives its session -----------------------------------------------------------------------------------


async def _log_out(admin: Client, api_context: ApiContext) -> None:
    answer = await Client(admin.app, cookie=admin.token).call("GET", "/api/v2/auth/logout")
    assert answer.status_code == 307


async def _new_password(admin: Client, api_context: ApiContext) -> None:
    async with api_context.db.api.transaction() as conn:
        await reset_password(conn, "admin", "another one", api_context.now() + timedelta(seconds=1))


async def test_a_token_made_for_a_script_ends_with_its_login(admin: Client, clock: Clock) -> None:
    made = await admin.send("POST", "/ui/auth/token", {"token_type": "cli"})
    script = Client(admin.app, token=made["access_token"])
    again = Client(admin.app, token=(await script.send("POST", "/ui/auth/token", {}))["access_token"])
    await again.get("/ui/auth/me")
    clock.advance(86_000)  # shortly before the first one would end by itself
    later = Client(admin.app, token=(await admin.send("POST", "/ui/auth/token", {}))["access_token"])
    await Client(admin.app, cookie=admin.token).call("GET", "/api/v2/auth/logout")
    for client in (script, again, later):
        assert (await client.call("GET", "/ui/auth/me")).status_code == 403
    clock.advance(3_600)  # the first one is over by now, the last one is not
    other = await Client(admin.app).send("POST", "/auth/token", LOGIN, status=201)
    await Client(admin.app, cookie=other["access_token"]).call("GET", "/api/v2/auth/logout")  # forgets old revocations
    assert (await later.call("GET", "/ui/auth/me")).status_code == 403


async def test_a_token_of_an_earlier_release_is_a_session_of_its_own(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = auth.jwt.encode
    without = lambda claims, *a, **k: encode({n: v for n, v in claims.items() if n != "sid"}, *a, **k)  # noqa: E731
    monkeypatch.setattr(auth.jwt, "encode", without)
    old = Client(admin.app, token=(await admin.send("POST", "/auth/token", LOGIN, status=201))["access_token"])
    await old.get("/ui/auth/me")
    await Client(admin.app, cookie=old.token).call("GET", "/api/v2/auth/logout")
    assert (await old.call("GET", "/ui/auth/me")).status_code == 403
    await admin.get("/ui/auth/me")


@pytest.mark.parametrize("end", [_log_out, _new_password])
async def test_an_open_stream_ends_with_its_session(
    seeded: Client, api_context: ApiContext, monkeypatch: pytest.MonkeyPatch, end: Callable[..., object]
) -> None:
    monkeypatch.setattr(auth, "LOOK_AGAIN_S", 0.1)
    async with listening(api_context) as door, await door.open() as stream:
        await stream.send_all(head("GET", WAIT, Authorization=f"Bearer {seeded.token}"))
        first = await stream.receive_some()
        while b'"state"' not in first:
            first += await stream.receive_some()
        await end(seeded, api_context)  # type: ignore[misc]
        await end_of_answer(stream)


async def test_a_stream_that_looks_once_a_day_ends_with_its_session(
    seeded: Client, api_context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "LOOK_AGAIN_S", 0.1)
    async with listening(api_context) as door, await door.open() as stream:
        await stream.send_all(head("GET", WAIT.replace("0.5", "86400"), Authorization=f"Bearer {seeded.token}"))
        await stream.receive_some()
        await _log_out(seeded, api_context)
        await end_of_answer(stream)


async def test_an_open_stream_ends_when_its_dag_is_hidden(
    seeded: Client, api_context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "LOOK_AGAIN_S", 0.1)
    ana = await somebody_with(seeded.app, api_context.db, {"read": f"dag:{DAG}"})
    async with listening(api_context) as door, await door.open() as stream:
        await stream.send_all(head("GET", WAIT, Authorization=f"Bearer {ana.token}"))
        first = await stream.receive_some()
        while b'"state"' not in first:
            first += await stream.receive_some()
        async with api_context.db.api.transaction() as conn:
            await roles.replace_role(conn, name="role of ana", description="", grants=grants_of({"read": "dag:other"}))
        await end_of_answer(stream)
