"""Who is calling: tokens, the `_token` cookie, passwords, and the check that runs before every route.

A valid cookie wins over the Authorization header, as in Airflow 3.2; a cookie that we refuse is deleted in the answer,
or a browser would bounce between the login and the page for ever. Rights are in `rights.py`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import jwt
import msgspec
import trio
from quart import Response, current_app, g, request

from leoflowd.api.context import ApiContext, context
from leoflowd.api.problems import NotAuthenticated, TooManyRequests
from leoflowd.api.rights import SAFE_METHODS, Right, is_allowed, required_right
from leoflowd.contract.errors import Invalid, NotAllowed
from leoflowd.store import api_users
from leoflowd.store.settings import fetch_or_create_secret

COOKIE = "_token"
ALGORITHM = "HS512"
AUDIENCE = "leoflow"
ISSUER = "leoflow"
LEEWAY = timedelta(seconds=10)
FAILURES_MAX = 10
FAILURE_WINDOW_S = 60
"""Ten wrong passwords a minute and client: more than a person mistypes, far too few to guess with."""
CLIENTS_MAX = 10_000
"""Clients remembered; the oldest is forgotten first, so that a flood cannot fill the memory."""
_STATE = "LEOFLOW_AUTH"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    username: str
    role: str
    jti: str
    expires_at: datetime


class InvalidToken(NotAllowed):
    """403 with the text that makes the UI log in again."""

    def __init__(self) -> None:
        super().__init__("Invalid JWT token")


class TokenExpired(NotAuthenticated):
    def __init__(self) -> None:
        super().__init__("Token Expired")


class AuthState:
    """What one application remembers: the signing key once it was read, failed logins, the hashing limit."""

    def __init__(self) -> None:
        self.key: bytes | None = None
        self.failures = FailedLogins()
        # argon2 takes 64 MiB and a core per hash: two at a time leave the daemon alive under a login flood.
        self.hashing = trio.CapacityLimiter(2)


class FailedLogins:
    """Recent wrong passwords per client address."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[datetime]] = OrderedDict()

    def check(self, client: str, now: datetime) -> None:
        """Raises `TooManyRequests` while the client has used up its attempts."""
        recent = self._recent(client, now)
        if len(recent) >= FAILURES_MAX:
            wait_s = FAILURE_WINDOW_S - int((now - recent[0]).total_seconds())
            raise TooManyRequests(
                f"Too many failed logins from {client}; try again in {max(1, wait_s)} s", retry_after_s=max(1, wait_s)
            )

    def add(self, client: str, now: datetime) -> None:
        self._failures[client] = [*self._recent(client, now), now]
        self._failures.move_to_end(client)
        while len(self._failures) > CLIENTS_MAX:
            self._failures.popitem(last=False)

    def _recent(self, client: str, now: datetime) -> list[datetime]:
        since = now - timedelta(seconds=FAILURE_WINDOW_S)
        return [at for at in self._failures.get(client, ()) if at > since]


def bind_auth_state(config: dict[str, object]) -> None:
    """Called by `create_app` alone."""
    config[_STATE] = AuthState()


def _state() -> AuthState:
    found = current_app.config[_STATE]
    assert isinstance(found, AuthState)
    return found


def caller() -> Caller:
    """Who sent the current request; only routes that need a right may ask."""
    found = g.caller
    assert isinstance(found, Caller)
    return found


# --- tokens ------------------------------------------------------------------------------------------------------


async def issue_token(username: str, role: str, ttl_s: int) -> str:
    now = context().now()
    claims = {
        "sub": username,
        "role": role,
        "jti": uuid.uuid4().hex,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now.timestamp(),
        "nbf": int(now.timestamp()),
        "exp": int(now.timestamp()) + ttl_s,
    }
    return jwt.encode(claims, await _key(context()), algorithm=ALGORITHM)


async def read_token(token: str) -> Caller:
    """Raises `TokenExpired` or `InvalidToken`. The role is the user's present one, not the one in the token."""
    now = context().now()
    try:
        claims = jwt.decode(
            token,
            await _key(context()),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            # times are checked below, on the injected clock
            options={
                "require": ["sub", "jti", "iat", "nbf", "exp"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        issued_at, not_before, expires_at = (
            datetime.fromtimestamp(claims[name], UTC) for name in ("iat", "nbf", "exp")
        )
        username, jti = str(claims["sub"]), str(claims["jti"])
    except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError):
        raise InvalidToken from None
    if now - LEEWAY > expires_at:
        raise TokenExpired
    if now + LEEWAY < not_before:
        raise InvalidToken
    async with context().db.api.connection() as conn:
        session = await api_users.fetch_session(conn, username=username, jti=jti)
    if session is None or session.is_revoked or issued_at < session.sessions_valid_from - timedelta(milliseconds=1):
        raise InvalidToken
    return Caller(username=username, role=session.role, jti=jti, expires_at=expires_at)


async def revoke_token(token: str) -> None:
    """End the session of this token; one that is not valid any more needs no ending."""
    try:
        ended = await read_token(token)
    except (InvalidToken, TokenExpired):
        return
    async with context().db.api.transaction() as conn:
        await api_users.insert_revoked_token(
            conn, jti=ended.jti, expires_at=ended.expires_at + LEEWAY, now=context().now()
        )


async def _key(ctx: ApiContext) -> bytes:
    state = _state()
    if state.key is None:
        async with ctx.db.api.transaction() as conn:
            secret = await fetch_or_create_secret(conn, "jwt_secret")
        # HS512 wants 64 bytes of key whatever the length of the stored secret
        state.key = hashlib.sha512(b"leoflow jwt\0" + secret).digest()
    return state.key


# --- passwords ---------------------------------------------------------------------------------------------------


async def log_in(username: str, password: str) -> api_users.UserRow:
    """The user with this password. Raises `NotAuthenticated`, or `TooManyRequests` for a client that guesses."""
    state, ctx, client = _state(), context(), client_address()
    state.failures.check(client, ctx.now())
    async with ctx.db.api.connection() as conn:
        user = await api_users.fetch_user(conn, username)
    # an unknown user costs as much time as a wrong password, so that names cannot be told apart
    password_hash = user.password_hash if user is not None else api_users.DUMMY_HASH
    if len(password) > api_users.PASSWORD_MAX_LENGTH:
        raise Invalid("the password is too long", location=("body", "password"))
    right = await trio.to_thread.run_sync(api_users.verify_password, password_hash, password, limiter=state.hashing)
    if user is None or not right:
        state.failures.add(client, ctx.now())
        raise NotAuthenticated("Invalid credentials")
    return user


def client_address() -> str:
    """Address of the TCP peer. Headers are not asked: whoever guesses passwords writes them too."""
    peer = (request.scope or {}).get("client")
    return str(peer[0]) if peer else "local"


# --- the check before every route --------------------------------------------------------------------------------


async def authenticate_request() -> None:
    """`before_request` of the application: sets `g.caller` or raises 401 or 403."""
    g.caller = None
    g.clear_cookie = False
    if request.url_rule is None:
        return
    right = required_right(request.endpoint or "", request.method)
    if right is Right.NONE:
        return
    g.caller = await _identify()
    if not is_allowed(g.caller.role, right):
        raise NotAllowed("Forbidden")


async def _identify() -> Caller:
    cookie = request.cookies.get(COOKIE)
    if cookie:
        try:
            found = await read_token(cookie)
        except (InvalidToken, TokenExpired):
            g.clear_cookie = True
        else:
            refuse_cross_site()
            return found
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("Not authenticated")
    return await read_token(token.strip())


def refuse_cross_site() -> None:
    """An unsafe request that a cookie authenticates must come from our own pages (CSRF). Raises `NotAllowed`.

    SameSite=Lax does not stop a sibling port of the same host, and the login page of Airflow's UI sets the cookie
    without SameSite; so the browser's own words decide: Sec-Fetch-Site, or Origin where it is not sent.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        origin = request.headers.get("Origin")
        same = origin is not None and urlsplit(origin).netloc.lower() == request.host.lower()
    else:
        same = site == "same-origin"
    if not same:
        raise NotAllowed(
            "Cross-site request refused: a request with the login cookie must come from this server's own pages; "
            "other clients send an Authorization header"
        )
    if request.mimetype and not request.is_json:
        raise NotAllowed("Cross-site request refused: send the body as Content-Type: application/json")


def cookie_path() -> str:
    return context().config.base_path


def clear_stale_cookie(answer: Response) -> Response:
    """`after_request`: delete a cookie that was refused."""
    if g.get("clear_cookie"):
        answer.set_cookie(COOKIE, "", max_age=0, httponly=True, samesite="Lax", path=cookie_path())
    return answer
