"""Who may log in: made, changed, disabled, deleted by an administrator; one's own password by oneself. ADR 85.

Blueprint `own_users`, below `/leoflow/api`. An access token changes none of this: what it made would outlive it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from quart import Blueprint, Response
from typing_extensions import override

from leoflowd.api import auth
from leoflowd.api.answers import collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.bodies import LOGIN_MAX_BYTES, read_body
from leoflowd.api.context import context, lane
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import checked_name
from leoflowd.store import api_users

blueprint = Blueprint("own_users", __name__)

USERS = "/leoflow/api/users"
USERNAME_MAX = 250
PASSWORD_MIN_LENGTH = 8
"""Of those that are chosen here; whoever guesses has ten attempts a minute."""
Roles = Annotated[list[str], msgspec.Meta(min_length=1, max_length=100)]


class UserBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    username: str
    password: str
    roles: Roles

    @override
    def __repr__(self) -> str:
        return f"UserBody(username={self.username!r}, roles={self.roles!r})"


class UserPatchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays."""

    roles: Roles | msgspec.UnsetType = msgspec.UNSET
    password: str | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET

    @override
    def __repr__(self) -> str:
        return f"UserPatchBody(roles={self.roles!r}, disabled={self.disabled!r})"


class PasswordBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    current_password: str
    new_password: str

    @override
    def __repr__(self) -> str:
        return "PasswordBody()"


@blueprint.get(USERS)
async def list_users() -> Response:
    async with lane().connection() as conn:
        rows = await api_users.list_users(conn)
    return collection("users", rows, len(rows))


@blueprint.get(f"{USERS}/<username>")
async def get_user(username: str) -> Response:
    async with lane().connection() as conn:
        return json_answer(await api_users.fetch_shown_user(conn, username))


@blueprint.post(USERS)
async def create_user() -> Response:
    body = await read_body(UserBody, LOGIN_MAX_BYTES)
    check_username(body.username)
    roles = list(dict.fromkeys(body.roles))
    password_hash = await _hash(body.password, "password")
    async with lane().transaction() as conn:
        await api_users.insert_user(
            conn, username=body.username, password_hash=password_hash, roles=roles, now=context().now()
        )
        await record(conn, "create_user", extra={"username": body.username, "after": {"roles": roles}})
        return json_answer(await api_users.fetch_shown_user(conn, body.username), 201)


@blueprint.patch(f"{USERS}/<username>")
async def patch_user(username: str) -> Response:
    """A new password and disabling end the user's logins and personal tokens from the next request on."""
    body = await read_body(UserPatchBody, LOGIN_MAX_BYTES)
    password_hash = None if body.password is msgspec.UNSET else await _hash(body.password, "password")
    now = context().now()
    async with lane().transaction() as conn:
        await api_users.lock_users(conn)
        before = await api_users.fetch_shown_user(conn, username)
        if body.roles is not msgspec.UNSET:
            await api_users.set_roles(conn, username, list(dict.fromkeys(body.roles)))
        if body.disabled is not msgspec.UNSET:
            await api_users.set_disabled(conn, username, now, disabled=body.disabled)
        if password_hash is not None:
            await api_users.set_password(conn, username, password_hash, now)
        await api_users.need_admin(conn)
        after = await api_users.fetch_shown_user(conn, username)
        changed = {name: after[name] for name in ("roles", "is_disabled") if after[name] != before[name]}
        extra = {"username": username, "before": {name: before[name] for name in changed}, "after": changed}
        await record(conn, "patch_user", extra=extra | ({"password": "new"} if password_hash is not None else {}))
    return json_answer(after)


@blueprint.delete(f"{USERS}/<username>")
async def delete_user(username: str) -> Response:
    """With personal tokens and memberships. What he did stays in the audit log under his name."""
    async with lane().transaction() as conn:
        await api_users.lock_users(conn)
        before = await api_users.fetch_shown_user(conn, username)
        await api_users.delete_user(conn, username)
        await api_users.need_admin(conn)
        extra = {"username": username, "before": {"roles": before["roles"], "teams": before["teams"]}}
        await record(conn, "delete_user", extra=extra)
    return no_content()


@blueprint.post("/leoflow/api/me/password")
async def change_own_password() -> Response:
    """204. Ends all logins and personal tokens of the caller, this one too: whoever had the old password had them."""
    body = await read_body(PasswordBody, LOGIN_MAX_BYTES)
    username = auth.caller().username
    password_hash = await _hash(body.new_password, "new_password")
    await auth.check_own_password(body.current_password)
    async with lane().transaction() as conn:
        await api_users.set_password(conn, username, password_hash, context().now())
        await record(conn, "change_password")
    return no_content()


async def _hash(password: str, field: str) -> str:
    if len(password) < PASSWORD_MIN_LENGTH:
        raise Invalid(f"a password has at least {PASSWORD_MIN_LENGTH} characters", location=("body", field))
    return await auth.hash_password(password)


def check_username(username: str) -> None:
    checked_name(username, "the user name", max_length=USERNAME_MAX, location=("body", "username"))
    if username.lower().startswith(auth.SERVICE_PREFIX):
        raise Invalid(
            f"a user is not called `{auth.SERVICE_PREFIX}...`: in the audit log that is a service's access token",
            location=("body", "username"),
        )
