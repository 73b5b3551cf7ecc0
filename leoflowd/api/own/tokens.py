"""Who I am here, the end of a login, and access tokens. Blueprint `own_tokens`, below `/leoflow/api`. ADR 80.

A token is in one answer, that of its making; what is stored is a hash. Everybody sees and ends his own; those of others
and of services, whoever has ADMIN.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Annotated, Literal

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.contract.access_token import ALPHABET, PERSONAL, RANDOM_LENGTH, SERVICE, compose, hash_of
from leoflowd.contract.errors import Conflict, NotAllowed, NotFound
from leoflowd.contract.values import checked_name, shown
from leoflowd.core.rights import TOKEN_RIGHTS, Right, is_allowed
from leoflowd.store import access_tokens
from leoflowd.store.api_users import list_teams_of

blueprint = Blueprint("own_tokens", __name__)

TOKENS = "/leoflow/api/tokens"
NAME_MAX = 100
SHORTEST_S, LONGEST_S = 60, 366 * 86_400
"""No token lives for ever: whoever forgets one has forgotten it for a year."""


class TokenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    rights: Literal["read", "run", "deploy", "operate", "admin"]
    expires_in_s: Annotated[int, msgspec.Meta(ge=SHORTEST_S, le=LONGEST_S)]
    service: bool = False


@blueprint.get("/leoflow/api/me")
async def whoami() -> Response:
    """By what the request was let in, until when, and with which rights."""
    who = auth.caller()
    token = who.access_token
    async with lane().connection() as conn:
        teams = await list_teams_of(conn, who.username)
    return json_answer(
        {
            "username": who.username,
            "roles": who.roles,
            "teams": teams,
            "rights": sorted(right.name.lower() for right in who.grants),
            "kind": "login" if token is None else "personal" if token.username is not None else "service",
            "token_name": None if token is None else token.name,
            "issued_at": who.issued_at,
            "expires_at": who.expires_at,
        }
    )


@blueprint.delete("/leoflow/api/session")
async def end_session() -> Response:
    """The login of this request, or its access token, is good for nothing from now on."""
    who = auth.caller()
    if who.access_token is None:
        await auth.end_session(who)
    else:
        await _revoke(str(who.access_token.id), who.access_token.username)
    return no_content()


@blueprint.get(TOKENS)
async def list_tokens() -> Response:
    """His own; for an administrator everybody's. Never what they are, only what they are called."""
    async with lane().connection() as conn:
        rows = await access_tokens.list_tokens(conn, username=_whose(), now=context().now())
    return collection("tokens", rows, len(rows))


@blueprint.post(TOKENS)
async def create_token() -> Response:
    """201, and the only answer that holds the token."""
    body = await read_body(TokenBody)
    checked_name(body.name, "the name", max_length=NAME_MAX, location=("body", "name"))
    who, now = auth.caller(), context().now()
    if body.service and not is_allowed(who, Right.ADMIN, None):
        raise NotAllowed("Only an administrator makes tokens of services; a personal one needs no such right")
    missing = sorted(right.name.lower() for right in TOKEN_RIGHTS[body.rights] - who.grants.keys())
    if missing:
        raise NotAllowed(f"A token with the rights `{body.rights}` would have more than you: {', '.join(missing)}")
    randomness = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    token = compose(SERVICE if body.service else PERSONAL, randomness)
    expires_at = now + timedelta(seconds=body.expires_in_s)
    async with lane().transaction() as conn:
        token_id = await access_tokens.insert_token(
            conn,
            name=body.name,
            username=None if body.service else who.username,
            secret_hash=hash_of(token),
            rights=body.rights,
            created_by=who.username,
            expires_at=expires_at,
            now=now,
        )
        facts = {"id": token_id, "name": body.name, "rights": body.rights, "service": body.service}
        facts |= {"expires_at": expires_at}
        await record(conn, "create_token", extra=msgspec.to_builtins(facts))
    return json_answer({**facts, "token": token}, 201)


@blueprint.delete(f"{TOKENS}/<token>")
async def revoke_token(token: str) -> Response:
    """By id or name; from the next request on it is refused."""
    if auth.caller().access_token is not None and not is_allowed(auth.caller(), Right.ADMIN, None):
        raise NotAllowed("An access token cannot revoke others; it ends itself with DELETE /leoflow/api/session")
    return json_answer(await _revoke(token, _whose()))


async def _revoke(token: str, username: str | None) -> dict[str, object]:
    async with lane().transaction() as conn:
        found = await access_tokens.revoke(conn, token, username=username, now=context().now())
        if not found:
            raise NotFound(f"There is no valid access token `{shown(token, NAME_MAX)}` that you could revoke")
        if len(found) > 1:
            whose = ", ".join(f"{row['id']} of {row['username'] or 'a service'}" for row in found)
            raise Conflict(
                f"{len(found)} access tokens are called `{shown(token, NAME_MAX)}`: name one by its id: {whose}"
            )
        (revoked,) = found
        facts = {"id": str(revoked["id"]), "name": revoked["name"], "username": revoked["username"]}
        await record(conn, "revoke_token", extra=facts)
    return facts


def _whose() -> str | None:
    """Whose tokens the caller may see and end; None: everybody's."""
    who = auth.caller()
    return None if is_allowed(who, Right.ADMIN, None) else who.username
