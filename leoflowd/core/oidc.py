"""What an identity provider says of a person, and what that makes of him here: OpenID Connect without the network.

`api.identity_provider` fetches and checks signatures; here is decided what the claims must be, and which name, roles
and teams follow from them. Everything that is wrong is `OidcRefused` with a sentence for the login page. ADR 91.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from leoflowd.contract.errors import LeoflowError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Of signatures. Neither `none`, nor HS256, whose key every client has that was told the secret."""
LEEWAY = timedelta(seconds=60)
"""Between two machines' clocks."""
TOKEN_AGE_MAX = timedelta(minutes=10)
"""Of a token that is fetched, or sent, at the moment it is used."""
SUBJECT_MAX = 255
"""Characters, as OpenID Connect Core has it."""
BACKCHANNEL_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Claims = Mapping[str, Any]
GroupMap = Mapping[str, tuple[str, ...]]
"""Group -> names of roles, or of teams."""


class OidcRefused(LeoflowError):
    """This login is none; the message is a sentence for the person."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration makes of claims."""

    username_claims: tuple[str, ...] = ("preferred_username", "email")
    groups_claim: str = "groups"
    roles: GroupMap = {}
    teams: GroupMap = {}
    default_role: str = ""
    """Of whom no group gives one; empty: he may not log in."""
    email_domains: tuple[str, ...] = ()

    @property
    def needs_groups(self) -> bool:
        return bool(self.roles or self.teams)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who logs in. `issuer` and `subject` are who he is; the name is what he is called at his first login."""

    issuer: str
    subject: str
    sid: str | None
    """The provider's session, which its logout names."""
    username: str
    email: str | None
    roles: tuple[str, ...]
    """At least one. Without a map of groups they are for his first login alone."""
    teams: tuple[str, ...]


class LogoutOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Whose logins end: those of `sid`, or all of `subject`, that began before `issued_at`."""

    subject: str | None
    sid: str | None
    issued_at: datetime


# --- configuration -----------------------------------------------------------------------------------------------


def parse_group_map(text: str) -> GroupMap:
    """`GROUP=NAME; GROUP=NAME`: a group may occur again, and hold `=` and `,` as LDAP's do. Raises ValueError."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in filter(None, map(str.strip, text.split(";"))):
        group, _, name = map(str.strip, entry.rpartition("="))
        if not group or not name:
            raise ValueError(f"{entry!r} is not GROUP=NAME; several are separated by semicolons")
        found[group] = (*found.get(group, ()), name)
    return found


def check_url(url: Any, what: str) -> str:
    """The URL. Raises ValueError: it must be https, or http to this very machine."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host = parts.hostname or ""
    except ValueError:
        raise ValueError(f"{what} is no URL") from None
    if not host or parts.username is not None or parts.fragment:
        raise ValueError(f"{what} is {url!r}, and must be https://host/...")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise ValueError(f"{what} is {url!r}: it must begin with https://, for what is sent there must stay secret")
    return str(url)


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


# --- tokens, their signature being checked ------------------------------------------------------------------------


def check_id_token(claims: Claims, *, issuer: str, client_id: str, nonce: str, now: datetime) -> None:
    """OpenID Connect Core 3.1.3.7. Raises `OidcRefused`."""
    _check_common(claims, issuer=issuer, client_id=client_id, now=now)
    given = claims.get("nonce")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
        raise OidcRefused("The provider's answer belongs to another login (nonce); log in again")
    _subject(claims)


def logout_order(claims: Claims, *, issuer: str, client_id: str, now: datetime) -> LogoutOrder:
    """OpenID Connect Back-Channel Logout 2.6. Raises `OidcRefused`."""
    issued_at = _check_common(claims, issuer=issuer, client_id=client_id, now=now)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(BACKCHANNEL_EVENT), dict):
        raise OidcRefused(f"This is no logout token: it lacks the event {BACKCHANNEL_EVENT}")
    if "nonce" in claims:
        raise OidcRefused("This is no logout token: it has a nonce, as ID tokens have")
    if not isinstance(claims.get("jti"), str):
        raise OidcRefused("The logout token has no jti")
    sid = _sid(claims)
    if sid is None and "sub" not in claims:
        raise OidcRefused("The logout token names neither a session (sid) nor a person (sub)")
    return LogoutOrder(subject=_subject(claims) if "sub" in claims else None, sid=sid, issued_at=issued_at)


def _check_common(claims: Claims, *, issuer: str, client_id: str, now: datetime) -> datetime:
    """`iat`."""
    if claims.get("iss") != issuer:
        raise OidcRefused(f"The token was issued by {_short(claims.get('iss'))}, and not by {issuer}")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in audiences:
        raise OidcRefused("The token was issued for another application (aud)")
    if claims.get("azp", client_id) != client_id or (len(audiences) > 1 and "azp" not in claims):
        raise OidcRefused("The token was issued to another application (azp)")
    issued_at, expires_at = _moment(claims, "iat"), _moment(claims, "exp")
    if expires_at + LEEWAY <= now:
        raise OidcRefused("The provider's token has expired; log in again, and compare the clocks if it persists")
    if issued_at - LEEWAY > now or now - issued_at > TOKEN_AGE_MAX or expires_at < issued_at:
        raise OidcRefused("The provider's token is not of this moment (iat): its clock and this server's differ")
    if "nbf" in claims and _moment(claims, "nbf") - LEEWAY > now:
        raise OidcRefused("The provider's token is not valid yet (nbf): its clock and this server's differ")
    return issued_at


def _moment(claims: Claims, name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OidcRefused(f"The provider's token has no time in {name}")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise OidcRefused(f"The provider's token has no time in {name}") from None


def _subject(claims: Claims) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or not subject.isprintable():
        raise OidcRefused("The provider does not say who it is (sub)")
    return subject


def _sid(claims: Claims) -> str | None:
    sid = claims.get("sid")
    return sid if isinstance(sid, str) and 0 < len(sid) <= SUBJECT_MAX and sid.isprintable() else None


# --- who it is, and what he may -----------------------------------------------------------------------------------


def lacks(claims: Claims, rules: Rules) -> bool:
    """Is there something that the provider may tell when it is asked for more (userinfo)?"""
    groups_missing = rules.needs_groups and _at(claims, rules.groups_claim) is None
    return groups_missing or _username(claims, rules) is None or (bool(rules.email_domains) and "email" not in claims)


def with_userinfo(claims: Claims, userinfo: Claims) -> Claims:
    """What the ID token says counts. Raises `OidcRefused` when the answer is about somebody else."""
    if userinfo.get("sub") != claims.get("sub"):
        raise OidcRefused("The provider tells of another person than the one who logs in (userinfo)")
    return {**userinfo, **claims}


def person_of(claims: Claims, rules: Rules) -> Person:
    """Raises `OidcRefused`: without a name, from another domain, or in no group that gives a role."""
    email = claims.get("email")
    email = email if isinstance(email, str) and email else None
    _check_domain(claims, email, rules)
    username = _username(claims, rules)
    if username is None:
        raise OidcRefused(f"The provider gives no name: it should be in {' or '.join(rules.username_claims)}")
    groups = _groups(claims, rules)
    roles = tuple(dict.fromkeys(role for group in groups for role in rules.roles.get(group, ())))
    if not roles and rules.default_role:
        roles = (rules.default_role,)
    if not roles:
        raise OidcRefused(
            f"{username} is in no group that gives a role here; whoever keeps the groups at the provider can change it"
        )
    return Person(
        issuer=str(claims["iss"]),
        subject=_subject(claims),
        sid=_sid(claims),
        username=username,
        email=email,
        roles=roles,
        teams=tuple(dict.fromkeys(team for group in groups for team in rules.teams.get(group, ()))),
    )


def _username(claims: Claims, rules: Rules) -> str | None:
    for name in rules.username_claims:
        found = claims.get(name)
        # an address that nobody proved to have is no name
        if isinstance(found, str) and found.strip() and not (name == "email" and _is_unproved(claims)):
            return found.strip()
    return None


def _check_domain(claims: Claims, email: str | None, rules: Rules) -> None:
    if not rules.email_domains:
        return
    name, _, domain = ("" if email is None else email.lower()).rpartition("@")
    if claims.get("email_verified") not in (True, "true") or not name:
        raise OidcRefused("The provider does not vouch for an email address (email, email_verified)")
    if domain not in rules.email_domains:
        raise OidcRefused(f"Addresses of {domain} may not log in here")


def _is_unproved(claims: Claims) -> bool:
    return claims.get("email_verified") in (False, "false")


def _groups(claims: Claims, rules: Rules) -> tuple[str, ...]:
    """Raises `OidcRefused` where the provider says that there are groups, and not which."""
    if not rules.needs_groups:
        return ()
    found = _at(claims, rules.groups_claim)
    elsewhere = claims.get("_claim_names")
    if found is None and isinstance(elsewhere, dict) and rules.groups_claim in elsewhere:
        raise OidcRefused(
            "There are too many groups for the provider's token: have it send only those that are assigned to this "
            "application (docs/access.md)"
        )
    if isinstance(found, str):
        return (found,)
    return tuple(group for group in found if isinstance(group, str)) if isinstance(found, list) else ()


def _at(claims: Claims, path: str) -> Any:
    """A claim of this name, or inside others: `realm_access.roles`."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _short(value: Any) -> str:
    return str(value)[:100] if value else "nobody"
