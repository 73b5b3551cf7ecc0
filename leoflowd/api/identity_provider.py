"""The identity provider, over HTTP: what it publishes, the exchange of a code, the signatures of its tokens. ADR 91.

Called by `own.oidc`; `assembly` makes it. It has a lane of its own: a few calls at a time, each with a deadline and a
bounded answer, none of them through the pool's egress, since the operator named the address. What the claims of a token
must be decides `core.oidc`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import msgspec
import trio

from leoflowd import telemetry
from leoflowd.config import ConfigRefused, OidcConfig
from leoflowd.contract.errors import LeoflowError
from leoflowd.core import oidc
from leoflowd.core.oidc import Claims, LogoutOrder, OidcRefused, Person, Rules

log = telemetry.get_logger(__name__)

CALLBACK = "auth/oidc/callback"
LOGGED_OUT = "auth/oidc/logged-out"
"""Below the public URL; the provider must be told both."""
CALLS_AT_ONCE = 8
ANSWER_MAX_BYTES = 1024 * 1024
TOKEN_MAX_CHARACTERS = 100_000
FRESH_FOR = timedelta(hours=1)
"""Of what the provider publishes; longer only while it does not answer."""
KEYS_AGAIN_AFTER = timedelta(seconds=30)
"""At most so often is a key asked for that we do not know: whoever invents key ids must not have us call each time."""
DOWN_FOR = timedelta(seconds=3)
"""A provider that did not answer is not asked for what it publishes before that."""


class ProviderUnavailable(LeoflowError):
    """It does not answer, or not what it should; the message is a sentence for the person."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Of discovery: what is used of it."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Published(msgspec.Struct, frozen=True, kw_only=True):
    metadata: Metadata
    keys: tuple[jwt.PyJWK, ...]
    fetched_at: datetime


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True):
    person: Person
    id_token: str


class IdentityProvider:
    def __init__(self, config: OidcConfig, now: Callable[[], datetime]) -> None:
        """Raises `ConfigRefused`."""
        self.config = config
        self.rules = _rules(config)
        self.public_url = config.public_url.rstrip("/") + "/"
        self._now = now
        self._calls = trio.CapacityLimiter(CALLS_AT_ONCE)
        self._lock = trio.Lock()
        self._published: Published | None = None
        self._asked_for_keys_at: datetime | None = None
        self._down: tuple[datetime, str] | None = None
        self._tls: ssl.SSLContext | None = None

    # --- the person's way there and back ---

    async def authorization_url(self, *, state: str, nonce: str, challenge: str) -> str:
        """Where to send the browser. Raises `ProviderUnavailable`."""
        metadata = (await self._current()).metadata
        asked = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self.public_url + CALLBACK,
            "scope": self.config.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(metadata.authorization_endpoint, asked)

    async def logout_url(self, id_token: str | None) -> str | None:
        """Where the person's session at the provider ends; None: it offers none, or does not answer."""
        try:
            metadata = (await self._current()).metadata
        except ProviderUnavailable:
            return None
        if metadata.end_session_endpoint is None:
            return None
        asked = {"client_id": self.config.client_id, "post_logout_redirect_uri": self.public_url + LOGGED_OUT}
        if id_token is not None:
            asked["id_token_hint"] = id_token
        return _with_query(metadata.end_session_endpoint, asked)

    async def log_in(self, *, code: str, verifier: str, nonce: str, issuer: str | None) -> LoggedIn:
        """Who came back with this code. `issuer`: what the answer said (RFC 9207).

        Raises `OidcRefused` and `ProviderUnavailable`.
        """
        metadata = (await self._current()).metadata
        if issuer != self.config.issuer and (issuer or metadata.authorization_response_iss_parameter_supported):
            raise OidcRefused("The answer is not from the provider that was asked (iss); log in again")
        answer = await self._exchange(metadata, code, verifier)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise OidcRefused("The provider sent no ID token: the scope openid is missing, or it speaks OAuth alone")
        claims = await self._verified(id_token)
        oidc.check_id_token(
            claims, issuer=self.config.issuer, client_id=self.config.client_id, nonce=nonce, now=self._now()
        )
        if oidc.lacks(claims, self.rules) and metadata.userinfo_endpoint and answer.get("access_token"):
            bearer = {"Authorization": f"Bearer {answer['access_token']}"}
            userinfo = await self._json("GET", metadata.userinfo_endpoint, headers=bearer)
            claims = oidc.with_userinfo(claims, userinfo)
        return LoggedIn(person=oidc.person_of(claims, self.rules), id_token=id_token)

    async def logout_order(self, logout_token: str) -> LogoutOrder:
        """Raises `OidcRefused` and `ProviderUnavailable`."""
        claims = await self._verified(logout_token)
        return oidc.logout_order(claims, issuer=self.config.issuer, client_id=self.config.client_id, now=self._now())

    async def _exchange(self, metadata: Metadata, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.public_url + CALLBACK,
            "code_verifier": verifier,
        }
        client_id, secret = self.config.client_id, await trio.to_thread.run_sync(_secret, self.config)
        auth = None
        if not secret:
            form["client_id"] = client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            # RFC 6749 2.3.1: both are form-encoded before they are joined
            auth = httpx.BasicAuth(*(urlencode({"": part})[1:] for part in (client_id, secret)))
        else:
            form |= {"client_id": client_id, "client_secret": secret}
        return await self._json("POST", metadata.token_endpoint, data=form, auth=auth)

    # --- signatures ---

    async def _verified(self, token: str) -> Claims:
        """The claims of a token that one of the provider's keys signed. Raises `OidcRefused`, `ProviderUnavailable`."""
        if len(token) > TOKEN_MAX_CHARACTERS:
            raise OidcRefused("The provider's token is too large")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise OidcRefused("The provider's token cannot be read") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in oidc.ALGORITHMS:
            raise OidcRefused(
                f"The provider signs with {str(algorithm)[:20]}, which is not accepted here; have it sign with RS256"
            )
        key = _key_of(await self._current(), kid, algorithm)
        if key is None:
            key = _key_of(await self._with_new_keys(), kid, algorithm)
        if key is None:
            raise OidcRefused("The provider's token is signed with a key that it does not publish; log in again")
        try:
            # the signature alone: `core.oidc` checks the claims, on the injected clock
            claims: Claims = msgspec.json.decode(
                jwt.PyJWS().decode(token, key, algorithms=[algorithm]), type=dict[str, Any]
            )
        except (jwt.InvalidTokenError, msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            raise OidcRefused("The signature of the provider's token is wrong") from None
        return claims

    # --- what it publishes ---

    async def _current(self) -> Published:
        """Asked for once an hour. Raises `ProviderUnavailable`, unless there is an older one."""
        async with self._lock:
            found, now = self._published, self._now()
            if found is not None and now - found.fetched_at < FRESH_FOR:
                return found
            if self._down is not None and now - self._down[0] < DOWN_FOR:
                if found is not None:
                    return found
                raise ProviderUnavailable(self._down[1])
            try:
                self._published = await self._publish(now)
            except ProviderUnavailable as error:
                self._down = (now, str(error))
                log.warning("identity_provider_unavailable", issuer=self.config.issuer, because=str(error))
                if found is None:
                    raise
                return found
            self._down = None
            return self._published

    async def _with_new_keys(self) -> Published:
        """After a key id that is not known: the provider may have changed its keys."""
        found = await self._current()
        async with self._lock:
            now = self._now()
            if self._asked_for_keys_at is not None and now - self._asked_for_keys_at < KEYS_AGAIN_AFTER:
                return self._published or found
            self._asked_for_keys_at = now
            keys = await self._keys(found.metadata.jwks_uri)
            self._published = msgspec.structs.replace(found, keys=keys)
            return self._published

    async def _publish(self, now: datetime) -> Published:
        issuer = self.config.issuer
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            metadata = msgspec.convert(await self._json("GET", address), Metadata)
        except msgspec.ValidationError as error:
            raise ProviderUnavailable(f"{address} is not what OpenID Connect has there: {error}") from error
        if metadata.issuer != issuer:
            raise ProviderUnavailable(
                f"{address} is of the issuer {metadata.issuer!r}, and LEOFLOW_OIDC_ISSUER is {issuer!r}: they must be "
                "the same, letter by letter"
            )
        try:
            for name in (
                "authorization_endpoint",
                "token_endpoint",
                "jwks_uri",
                "userinfo_endpoint",
                "end_session_endpoint",
            ):
                if getattr(metadata, name) is not None:
                    oidc.check_url(getattr(metadata, name), f"the provider's {name}")
        except ValueError as error:
            raise ProviderUnavailable(str(error)) from error
        return Published(metadata=metadata, keys=await self._keys(metadata.jwks_uri), fetched_at=now)

    async def _keys(self, address: str) -> tuple[jwt.PyJWK, ...]:
        """Those that we can use: of other kinds there may be some as well."""
        document = (await self._json("GET", address)).get("keys")
        found = []
        for key in document if isinstance(document, list) else []:
            if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig":
                try:
                    found.append(jwt.PyJWK.from_dict(key))
                except (jwt.PyJWKError, jwt.InvalidKeyError, TypeError, ValueError, KeyError):
                    continue
        return tuple(found)

    # --- one call ---

    async def _json(self, method: str, url: str, **request: Any) -> dict[str, Any]:
        """The JSON object of a successful answer. Raises `ProviderUnavailable`, and `OidcRefused` for a 4xx."""
        where = httpx.URL(url).host
        try:
            with trio.fail_after(self.config.timeout_s):
                async with self._calls:
                    status, body = await self._read(method, url, request)
        except trio.TooSlowError:
            raise ProviderUnavailable(f"{where} gave no answer within {self.config.timeout_s:g} s; try again") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            because = str(error) or type(error).__name__
            raise ProviderUnavailable(f"{where} cannot be reached: {because}") from error
        try:
            document = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            document = None
        if 400 <= status < 500 and isinstance(document, dict) and isinstance(document.get("error"), str):
            said = document.get("error_description") or document["error"]
            raise OidcRefused(f"{where} refused the login: {str(said)[:300]}")
        if not 200 <= status < 300 or not isinstance(document, dict):
            raise ProviderUnavailable(f"{where} answered {status}, and not what OpenID Connect has there; try again")
        return document

    async def _read(self, method: str, url: str, request: Mapping[str, Any]) -> tuple[int, bytes]:
        if self._tls is None:
            self._tls = await trio.to_thread.run_sync(_tls_context, self.config.ca_file)
        # nothing packed: what a small answer unfolds to has no bound
        request = {**request, "headers": {"Accept-Encoding": "identity", **request.get("headers", {})}}
        # No proxy knows our loopback addresses.
        trust_env = not oidc.is_loopback(url)
        async with (
            httpx.AsyncClient(verify=self._tls, trust_env=trust_env, timeout=None) as client,  # noqa: S113  # `_json`'s
            client.stream(method, url, **request, follow_redirects=False) as answer,
        ):
            body = bytearray()
            # to its end, or to the deadline: httpx leaves generators behind that are not read to theirs
            async for part in answer.aiter_bytes():
                if len(body) <= ANSWER_MAX_BYTES:
                    body += part
            if len(body) > ANSWER_MAX_BYTES:
                raise ValueError(f"its answer is larger than {ANSWER_MAX_BYTES} bytes")
            return answer.status_code, bytes(body)


def _key_of(published: Published, kid: object, algorithm: str) -> jwt.PyJWK | None:
    """The key of this id; without an id, the only one of its kind."""
    fits = [key for key in published.keys if _fits(key, algorithm)]
    if kid is None:
        return fits[0] if len(fits) == 1 else None
    return next((key for key in fits if key.key_id == kid), None)


def _fits(key: jwt.PyJWK, algorithm: str) -> bool:
    kind = {"R": "RSA", "P": "RSA"}.get(algorithm[0], "OKP" if algorithm == "EdDSA" else "EC")
    return key.key_type == kind


def _rules(config: OidcConfig) -> Rules:
    """Raises `ConfigRefused`."""
    missing = [name for name in ("public_url", "client_id") if not getattr(config, name)]
    if missing:
        names = " and ".join(f"LEOFLOW_OIDC_{name.upper()}" for name in missing)
        raise ConfigRefused(f"LEOFLOW_OIDC_ISSUER is set, and {names} is not: a login needs it (docs/access.md)")
    if "openid" not in config.scopes.split():
        raise ConfigRefused("LEOFLOW_OIDC_SCOPES lacks `openid`, without which there is no ID token")
    if config.client_secret and config.client_secret_file is not None:
        raise ConfigRefused("LEOFLOW_OIDC_CLIENT_SECRET and LEOFLOW_OIDC_CLIENT_SECRET_FILE are both set: keep one")
    try:
        _secret(config)
    except (OSError, UnicodeError) as error:
        raise ConfigRefused(f"LEOFLOW_OIDC_CLIENT_SECRET_FILE cannot be read: {error}") from error
    maps = {}
    try:
        for name in ("issuer", "public_url"):
            oidc.check_url(getattr(config, name), f"LEOFLOW_OIDC_{name.upper()}")
        for name in ("group_roles", "group_teams"):
            maps[name] = oidc.parse_group_map(getattr(config, name))
    except ValueError as error:
        raise ConfigRefused(f"LEOFLOW_OIDC: {error}") from error
    if not maps["group_roles"] and not config.default_role:
        raise ConfigRefused(
            "nobody could log in by OpenID Connect: set LEOFLOW_OIDC_GROUP_ROLES (`GROUP=ROLE; ...`), or "
            "LEOFLOW_OIDC_DEFAULT_ROLE"
        )
    return Rules(
        username_claims=config.username_claims,
        groups_claim=config.groups_claim,
        roles=maps["group_roles"],
        teams=maps["group_teams"],
        default_role=config.default_role,
        email_domains=tuple(domain.lower().removeprefix("@") for domain in config.email_domains),
    )


def _secret(config: OidcConfig) -> str:
    """Read anew each time: a Secret that is rotated needs no restart."""
    if config.client_secret_file is None:
        return config.client_secret
    return Path(config.client_secret_file).read_text().strip()


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    return httpx.create_ssl_context() if ca_file is None else ssl.create_default_context(cafile=str(ca_file))


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
