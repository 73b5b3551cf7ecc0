"""A login that is under way at the identity provider, and the marks of one that came through. ADR 91.

Nothing is stored for a login that is under way: a signed cookie binds it to its browser, and `state`, `nonce` and the
PKCE verifier are derived from the random id in it, with a key that every daemon of the installation has. Each login has
a cookie of its own, since several tabs come back from the provider at the same time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any, TypeVar

import jwt
import msgspec
from quart import Response, current_app, request

from leoflowd.api import auth
from leoflowd.api.context import context
from leoflowd.api.identity_provider import CALLBACK, IdentityProvider
from leoflowd.contract.errors import NotFound
from leoflowd.store import oidc
from leoflowd.store.settings import fetch_or_create_secret

FLOW_S = 600
"""How long somebody may take at the provider."""
CODE_S = 300
"""How long somebody may look at the page that hands a login to the command line."""
PREFIX = "_oidc_"
FLOWS_MAX = 8
"""Cookies of logins that never came back; then all of them are forgotten."""
RENEW = "_oidc"
"""Whoever has this cookie logged in through the provider, and is sent there at once when his login is over."""
RENEW_S = 30 * 86_400
ALGORITHM = "HS512"
_KEY = "LEOFLOW_OIDC_KEY"

Signed = TypeVar("Signed", bound=msgspec.Struct)


class CommandLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command line that waits for the login: RFC 8252."""

    port: int
    """Of its listener on loopback."""
    challenge: str
    state: str


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    next: str
    """A path of ours."""
    cli: CommandLine | None = None


class Code(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the command line gets a token for, once."""

    id: str
    username: str
    session: str
    challenge: str


class Proofs(msgspec.Struct, frozen=True, kw_only=True):
    """Of one flow."""

    state: str
    nonce: str
    verifier: str

    @property
    def cookie(self) -> str:
        return PREFIX + self.state[:12]


def provider() -> IdentityProvider:
    """Raises `NotFound`."""
    found = context().oidc
    if found is None:
        raise NotFound("This server has no login by OpenID Connect; docs/access.md says how it gets one")
    return found


# --- under way ---------------------------------------------------------------------------------------------------


async def begin(target: str, cli: CommandLine | None) -> tuple[Flow, Proofs]:
    flow = Flow(id=secrets.token_urlsafe(24), next=target, cli=cli)
    return flow, await _proofs(flow)


async def _proofs(flow: Flow) -> Proofs:
    key = await _key()
    derived = {
        name: _text(hmac.digest(key, f"{name} {flow.id}".encode(), "sha256")) for name in Proofs.__struct_fields__
    }
    return Proofs(**derived)


async def set_flow_cookie(answer: Response, flow: Flow, proofs: Proofs) -> None:
    begun = [name for name in request.cookies if name.startswith(PREFIX)]
    for name in begun if len(begun) >= FLOWS_MAX else ():
        answer.delete_cookie(name, path=_flow_path())
    set_cookie(answer, proofs.cookie, await _sign(flow, "flow", FLOW_S), path=_flow_path(), max_age=FLOW_S)


async def come_back(state: str) -> tuple[Flow, Proofs] | None:
    """The login with this state that this browser began; None: it began none, or long ago."""
    cookie = request.cookies.get(PREFIX + state[:12], "")
    flow = await _unsign(cookie, Flow, "flow")
    if flow is None:
        return None
    proofs = await _proofs(flow)
    return (flow, proofs) if hmac.compare_digest(proofs.state.encode(), state.encode()) else None


def forget_flow(answer: Response, proofs: Proofs) -> None:
    answer.delete_cookie(proofs.cookie, path=_flow_path())


def _flow_path() -> str:
    return auth.cookie_path() + CALLBACK.rpartition("/")[0]


# --- come through ------------------------------------------------------------------------------------------------


def set_cookie(answer: Response, name: str, value: str, *, path: str, max_age: int | None = None) -> None:
    is_https = provider().public_url.startswith("https:")
    answer.set_cookie(name, value, max_age=max_age, path=path, httponly=True, samesite="Lax", secure=is_https)


def challenge_of(verifier: str) -> str:
    """S256 of RFC 7636."""
    return _text(hashlib.sha256(verifier.encode()).digest())


async def sign_code(code: Code) -> str:
    return await _sign(code, "code", CODE_S)


async def read_code(text: str) -> Code | None:
    return await _unsign(text, Code, "code")


async def logout_target(token: str | None) -> str:
    """Where a browser goes that logs out with this cookie: to the provider's logout, if its login came from there.

    Called before the login is ended, which tells who it was.
    """
    ctx = context()
    if ctx.oidc is None:
        return f"{ctx.config.base_path}auth/login"
    here = f"{ctx.config.base_path}auth/oidc/logged-out"
    if not token or not ctx.oidc.config.end_session:
        return here
    try:
        session = (await auth.read_token(token)).session
    except (auth.InvalidToken, auth.TokenExpired):
        return here
    async with ctx.db.api.connection() as conn:
        row = await oidc.fetch_session(conn, session)
    return here if row is None else await ctx.oidc.logout_url(oidc.id_token_of(row, ctx.secrets)) or here


async def bounded_ttl_s(session: str, ttl_s: int) -> int:
    """Of a further token: none outlives the login that it was made with, if a provider vouches for that."""
    ctx = context()
    if ctx.oidc is None:
        return ttl_s
    async with ctx.db.api.connection() as conn:
        row = await oidc.fetch_session(conn, session)
    return ttl_s if row is None else max(1, min(ttl_s, int((row.expires_at - ctx.now()).total_seconds())))


# --- signing -----------------------------------------------------------------------------------------------------


async def _sign(value: msgspec.Struct, kind: str, within_s: int) -> str:
    expires_at = context().now() + timedelta(seconds=within_s)
    claims = {"aud": f"leoflow oidc {kind}", "exp": expires_at.timestamp(), "of": msgspec.to_builtins(value)}
    return jwt.encode(claims, await _key(), algorithm=ALGORITHM)


async def _unsign(text: str, kind: type[Signed], name: str) -> Signed | None:
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            await _key(),
            algorithms=[ALGORITHM],
            audience=f"leoflow oidc {name}",
            options={"require": ["exp", "of"], "verify_exp": False},  # on the injected clock
        )
        value = msgspec.convert(claims["of"], kind)
        return value if context().now().timestamp() < claims["exp"] else None
    except (jwt.InvalidTokenError, msgspec.ValidationError, TypeError, ValueError, RecursionError):
        return None


async def _key() -> bytes:
    key = current_app.config.get(_KEY)
    if key is None:
        async with context().db.api.transaction() as conn:
            secret = await fetch_or_create_secret(conn, "oidc_secret")
        key = current_app.config[_KEY] = hashlib.sha512(b"leoflow oidc\0" + secret).digest()
    assert isinstance(key, bytes)
    return key


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
