"""Who is calling: logins, access tokens, the `_token` cookie, passwords, and the check that runs before every route.

A valid cookie wins over the Authorization header, as in Airflow 3.2; a cookie that we refuse is deleted in the answer,
or a browser would bounce between the login and the page for ever. What a route needs is in `rights.py`, the decision in
`core.rights`.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import jwt
import msgspec
import trio
from quart import Response, current_app, g, request

from leoflowd.api.context import ApiContext, context
from leoflowd.api.login_limits import LoginLimits
from leoflowd.api.problems import NotAuthenticated
from leoflowd.api.rights import LOGIN_ONLY, NEEDS, SAFE_METHODS
from leoflowd.config import Passwords
from leoflowd.contract.access_token import claims_to_be_one, hash_of, is_access_token
from leoflowd.contract.errors import Invalid, NotAllowed, NotFound
from leoflowd.contract.values import shown
from leoflowd.core.rights import ADMIN, TOKEN_RIGHTS, Dags, Right, User, dags_for, grants_of, is_allowed, narrowed
from leoflowd.store import access_tokens, api_users
from leoflowd.store.access_tokens import TokenRow
from leoflowd.store.database import Connection
from leoflowd.store.event_log import insert_event
from leoflowd.store.settings import fetch_or_create_secret

COOKIE = "_token"
ALGORITHM = "HS512"
AUDIENCE = "leoflow"
ISSUER = "leoflow"
LEEWAY = timedelta(seconds=10)
LOOK_AGAIN_S = 5.0
"""How long an open stream may outlive the session that opened it."""
SERVICE_PREFIX = "service:"
"""Of the names of services in the audit log: no user is called so."""
_STATE = "LEOFLOW_AUTH"


class Caller(User, frozen=True, kw_only=True):
    session: str
    """The login that this token goes back to: a token that was made with another one ends with it."""
    issued_at: datetime
    expires_at: datetime
    access_token: TokenRow | None = None
    """With which it was called; None: with a login."""


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
        self.limits = LoginLimits()
        # argon2 takes 64 MiB and a core per hash: two at a time leave the daemon alive under a login flood.
        self.hashing = trio.CapacityLimiter(2)


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


async def issue_token(username: str, ttl_s: int, *, session: str | None = None) -> str:
    """`session`: of the caller who asks for a further token; None begins one."""
    now = context().now()
    jti = uuid.uuid4().hex
    claims = {
        "sub": username,
        "jti": jti,
        "sid": session or jti,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now.timestamp(),
        "nbf": int(now.timestamp()),
        "exp": int(now.timestamp()) + ttl_s,
    }
    return jwt.encode(claims, await _key(context()), algorithm=ALGORITHM)


async def read_token(token: str) -> Caller:
    """Raises `TokenExpired` or `InvalidToken`. The token names the user; the roles are those of this moment."""
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
        # tokens of earlier releases have no session of their own
        username, session = str(claims["sub"]), str(claims.get("sid", claims["jti"]))
    except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError, RecursionError):
        raise InvalidToken from None
    if now - LEEWAY > expires_at:
        raise TokenExpired
    if now + LEEWAY < not_before:
        raise InvalidToken
    user = await _fetch_user(context(), username, session, issued_at)
    if user is None:
        raise InvalidToken
    return Caller(
        username=username,
        roles=user.roles,
        grants=user.grants,
        session=session,
        issued_at=issued_at,
        expires_at=expires_at,
    )


async def _fetch_user(ctx: ApiContext, username: str, session: str, issued_at: datetime) -> User | None:
    """With the present rights; None when the session was ended: by logout, a new password, the user's end."""
    async with ctx.db.api.connection() as conn:
        found = await api_users.fetch_session(conn, username=username, session=session)
    if found is None or found.is_revoked or found.is_disabled:
        return None
    if issued_at < found.sessions_valid_from - timedelta(milliseconds=1):
        return None
    return User(username=username, roles=tuple(found.roles), grants=api_users.held_grants(found.roles, found.grants))


async def _fetch_user_now(ctx: ApiContext, who: Caller) -> User | None:
    """The caller with the rights of this moment; None when the login or the access token is over."""
    if who.access_token is None:
        return await _fetch_user(ctx, who.username, who.session, who.issued_at)
    async with ctx.db.api.connection() as conn:
        row = await access_tokens.fetch_token_by_id(conn, who.access_token.id)
    return None if row is None or _why_over(row, ctx.now()) else _user_of(row)


# --- access tokens: ADR 80 ---------------------------------------------------------------------------------------


async def read_access_token(token: str) -> Caller:
    """Raises `NotAuthenticated`, which says why: whoever has the token may know."""
    if not is_access_token(token):
        raise NotAuthenticated("The access token is not complete: it was cut or mistyped")
    ctx, now = context(), context().now()
    async with ctx.db.api.connection() as conn:
        row = await access_tokens.fetch_token(conn, hash_of(token))
        if row is None:
            raise NotAuthenticated("The access token is not one of this server's, or it was removed with its user")
        because = _why_over(row, now)
        if because is not None:
            raise NotAuthenticated(because)
        if row.last_used_at is None or row.last_used_at < now - access_tokens.USED_AGAIN_AFTER:
            await access_tokens.mark_used(conn, row.id, now)
    user = _user_of(row)
    return Caller(
        username=user.username,
        roles=user.roles,
        grants=user.grants,
        session=f"access token {row.id}",
        issued_at=row.created_at,
        expires_at=row.expires_at,
        access_token=row,
    )


def _why_over(row: TokenRow, now: datetime) -> str | None:
    """None: it is good."""
    if row.revoked_at is not None:
        return f"The access token `{row.name}` was revoked"
    if row.expires_at <= now:
        return f"The access token `{row.name}` expired at {row.expires_at:%Y-%m-%d %H:%M} UTC"
    if row.is_disabled:
        return f"The user of the access token `{row.name}` is disabled"
    if row.sessions_valid_from is not None and row.created_at < row.sessions_valid_from:
        because = "which was changed, or while he was disabled"
        return f"The access token `{row.name}` ended with the password of its user, {because}"
    return None


def _user_of(row: TokenRow) -> User:
    """A person's token has what it was made for and the person has now; a service's, what it was made for."""
    rights = TOKEN_RIGHTS.get(row.rights, frozenset())
    if row.username is None:
        return User(username=f"{SERVICE_PREFIX}{row.name}", roles=(), grants=narrowed(grants_of((ADMIN,), ()), rights))
    grants = api_users.held_grants(row.roles or (), row.grants or ())
    return User(username=row.username, roles=tuple(row.roles or ()), grants=narrowed(grants, rights))


class SessionWatch:
    """May whoever opened a stream still read it? Every answer that goes on for longer asks this between its parts."""

    def __init__(self) -> None:
        """Inside the request."""
        self._ctx = context()
        self._caller = caller()
        """With the rights of the last look."""
        self._right, self._dag = g.right, g.dag
        self._looked_at = trio.current_time()

    async def is_valid(self) -> bool:
        """Asks Postgres every LOOK_AGAIN_S."""
        if trio.current_time() < self._looked_at + LOOK_AGAIN_S:
            return True
        self._looked_at = trio.current_time()
        who = self._caller
        if self._ctx.now() > who.expires_at + LEEWAY:
            return False
        now = await _fetch_user_now(self._ctx, who)
        if now is None or not is_allowed(now, self._right, self._dag):
            return False
        self._caller = msgspec.structs.replace(who, roles=now.roles, grants=now.grants)
        return True

    def bind(self) -> None:
        """In a copied context of the request: who calls, with the rights of the last look."""
        g.caller, g.right, g.dag = self._caller, self._right, self._dag

    async def sleep(self, seconds: float) -> bool:
        """Sleep, however long, as long as the session is valid; whether it is at the end."""
        until = trio.current_time() + seconds
        while trio.current_time() < until:
            await trio.sleep(min(until - trio.current_time(), LOOK_AGAIN_S))
            if not await self.is_valid():
                return False
        return await self.is_valid()


async def revoke_token(token: str) -> None:
    """End the session of this token, with all tokens that were made in it; an invalid one needs no ending."""
    try:
        ended = await read_token(token)
    except (InvalidToken, TokenExpired):
        return
    await end_session(ended)


async def end_session(ended: Caller) -> None:
    """Of a login, with all tokens that were made in it."""
    ctx = context()
    longest = timedelta(seconds=max(ctx.config.token_ttl_s, ctx.config.cli_token_ttl_s))
    last = max(ended.expires_at, ctx.now() + longest) + LEEWAY
    async with ctx.db.api.transaction() as conn:
        await api_users.insert_revoked_session(conn, session=ended.session, expires_at=last, now=ctx.now())
        await _record(conn, "logout", ended.username)


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
    state, ctx = _state(), context()
    allowed = Passwords.ALL if ctx.oidc is None else ctx.oidc.config.passwords
    if allowed is Passwords.NONE:
        raise NotAllowed("This server takes no passwords: log in through its identity provider")
    if len(password) > api_users.PASSWORD_MAX_LENGTH:
        raise Invalid("the password is too long", location=("body", "password"))
    async with ctx.db.api.connection() as conn:
        user = await api_users.fetch_user(conn, username)
    # an unknown user costs as much time as a wrong password, so that names cannot be told apart
    if user is not None and not _has_password(user, allowed):
        user = None
    password_hash = user.password_hash if user is not None else api_users.DUMMY_HASH
    with state.limits.attempt(client_address(), username, ctx.now()):
        right = await trio.to_thread.run_sync(api_users.verify_password, password_hash, password, limiter=state.hashing)
        if user is None or not right or user.disabled_at is not None:
            await _record_refusal(user, is_right=right)
            raise NotAuthenticated("Invalid credentials")
    return user


async def record_login(username: str) -> None:
    async with context().db.api.transaction() as conn:
        await _record(conn, "login", username)


async def _record_refusal(user: api_users.UserRow | None, *, is_right: bool) -> None:
    """A name that nobody has is not kept: people type their password into the wrong field."""
    because = "no such user" if user is None else "the user is disabled" if is_right else "wrong password"
    async with context().db.api.transaction() as conn:
        await _record(conn, "login_failed", None if user is None else user.username, {"because": because})


async def _record(conn: Connection, event: str, username: str | None, extra: dict[str, str] | None = None) -> None:
    """Where nobody is the caller of the request; else `api.audit`."""
    now = context().now()
    await insert_event(conn, now=now, event=event, owner=username, extra=extra, client=client_address())


def _has_password(user: api_users.UserRow, allowed: Passwords) -> bool:
    return not user.is_federated and (allowed is Passwords.ALL or user.is_admin)


async def check_own_password(password: str) -> None:
    """Of the caller; guesses count as those at the login do. Raises `NotAllowed`, `TooManyRequests`."""
    try:
        await log_in(caller().username, password)
    except NotAuthenticated:
        raise NotAllowed("This is not your current password") from None


async def hash_password(password: str) -> str:
    """In a thread, and no more of them at a time than logins. Raises `Invalid`."""
    return await trio.to_thread.run_sync(api_users.hash_password, password, limiter=_state().hashing)


def client_address() -> str:
    """Address of the TCP peer. Headers are not asked: whoever guesses passwords writes them too."""
    peer = (request.scope or {}).get("client")
    return str(peer[0]) if peer else "local"


# --- the check before every route --------------------------------------------------------------------------------


async def authenticate_request() -> None:
    """`before_request` of the application: sets `g.caller`, or raises 401, 403, or 404 for a DAG that is hidden."""
    g.caller = None
    g.clear_cookie = False
    if request.url_rule is None:
        return
    need = NEEDS.get(request.endpoint or "")
    if need is None:
        raise NotAllowed("Forbidden")
    if need.right is Right.NONE:
        return
    g.caller = await _identify()
    g.right, g.dag = need.right, need.dag_of(request)
    check_dag(g.dag)
    if request.endpoint in LOGIN_ONLY and g.caller.access_token is not None:
        raise NotAllowed(
            "An access token cannot do this, since what it makes or changes here would outlive it: "
            "log in with a password for that"
        )


def check_dag(dag_id: str | None) -> None:
    """May the caller do to this DAG what the route does? For routes that find the DAG in their body.

    Raises `NotFound` where even knowing of it is not allowed, whether there is such a DAG or not; else `NotAllowed`.
    """
    who, right = caller(), g.right
    if not is_allowed(who, right, None):
        raise NotAllowed("Forbidden")
    if dag_id is not None and not is_allowed(who, Right.READ, dag_id):
        raise NotFound(f"The Dag with ID: `{shown(dag_id)}` was not found")
    if not is_allowed(who, right, dag_id):
        raise NotAllowed("Forbidden")


def dags() -> Dags:
    """The DAGs that the current request may touch, for the store to filter by."""
    return dags_for(caller(), g.right)


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
    token = token.strip()
    return await (read_access_token(token) if claims_to_be_one(token) else read_token(token))


def refuse_cross_site() -> None:
    """An unsafe request that a cookie authenticates must come from our own pages (CSRF). Raises `NotAllowed`.

    SameSite=Lax does not stop a sibling port of the same host, and the login page of Airflow's UI sets the cookie
    without SameSite; so the browser's own words decide: Sec-Fetch-Site, or Origin where it is not sent.
    """
    if request.method in SAFE_METHODS:
        return
    if not _is_from_here(without_word=False):
        raise NotAllowed(
            "Cross-site request refused: a request with the login cookie must come from this server's own pages; "
            "other clients send an Authorization header"
        )
    if request.mimetype and not request.is_json:
        raise NotAllowed("Cross-site request refused: send the body as Content-Type: application/json")


def refuse_other_sites() -> None:
    """For logins: another site must neither log its visitor in under a name of its choice, nor guess with his browser.

    Programs, which say nothing of sites, are let through. Raises `NotAllowed`.
    """
    if not _is_from_here(without_word=True):
        raise NotAllowed("Cross-site request refused: log in on the login page of this server")


def _is_from_here(*, without_word: bool) -> bool:
    """Does the browser say that our own page sent this? `without_word`: the answer when nothing is said."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site == "same-origin"
    if origin is None:
        return without_word
    try:
        return urlsplit(origin).netloc.lower() == request.host.lower()
    except ValueError:
        return False


def cookie_path() -> str:
    return context().config.base_path


def clear_stale_cookie(answer: Response) -> Response:
    """`after_request`: delete a cookie that was refused."""
    if g.get("clear_cookie"):
        answer.set_cookie(COOKIE, "", max_age=0, httponly=True, samesite="Lax", path=cookie_path())
    return answer
