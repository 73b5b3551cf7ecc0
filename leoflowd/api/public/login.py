"""Tokens and the two redirects of a browser's login and logout (contract section 3 of the UI).

Blueprint `login`. The login page itself is in `static.py`; it posts here and sets the cookie.
"""

from __future__ import annotations

import posixpath
from urllib.parse import unquote, urlencode, urlsplit

import msgspec
from quart import Blueprint, Response, request
from typing_extensions import override

from leoflowd.api import auth, oidc_flow
from leoflowd.api.answers import json_answer
from leoflowd.api.bodies import FORM, LOGIN_MAX_BYTES, read_body, read_form
from leoflowd.api.context import context
from leoflowd.api.paging import Query
from leoflowd.api.problems import BadRequest, FieldError, Unprocessable, UnsupportedMediaType
from leoflowd.contract.errors import NotAllowed

blueprint = Blueprint("login", __name__)


class LoginBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    username: str
    password: str

    @override
    def __repr__(self) -> str:
        return f"LoginBody(username={self.username!r})"


@blueprint.post("/auth/token")
async def create_token() -> Response:
    """201 with a token; JSON or form."""
    auth.refuse_other_sites()
    if request.mimetype == FORM:
        body = _form_body(await read_form())
    elif request.is_json:
        body = await read_body(LoginBody, LOGIN_MAX_BYTES)
    else:
        raise UnsupportedMediaType(f"Unsupported Media Type: send the login as application/json or {FORM}")
    return await _token_answer(body, context().config.token_ttl_s)


@blueprint.post("/auth/token/cli")
async def create_token_cli() -> Response:
    """As above for command line clients, JSON only."""
    auth.refuse_other_sites()
    body = await read_body(LoginBody, LOGIN_MAX_BYTES)
    return await _token_answer(body, context().config.cli_token_ttl_s)


@blueprint.get("/auth/token")
async def token_without_login() -> Response:
    raise NotAllowed("This method is only allowed if ``[core] simple_auth_manager_all_admins`` is True")


@blueprint.get("/auth/token/login")
async def login_without_password() -> Response:
    raise NotAllowed("This method is only allowed if ``[core] simple_auth_manager_all_admins`` is True")


@blueprint.get("/api/v2/auth/login")
async def redirect_to_login() -> Response:
    """The UI sends the browser here after a 401."""
    target = Query().text("next")
    query = ""
    if target:
        if not is_safe_next(target, request.host):
            raise BadRequest("Invalid or unsafe next URL")
        query = "?" + urlencode({"next": target})
    return Response(b"", 307, headers={"Location": f"{context().config.base_path}auth/login{query}"})


@blueprint.get("/api/v2/auth/logout")
async def logout() -> Response:
    """End the cookie's session, delete the cookie, go to the login page; by way of the provider that it came from."""
    token = request.cookies.get(auth.COOKIE)
    target = await oidc_flow.logout_target(token)
    if token:
        await auth.revoke_token(token)
    answer = Response(b"", 307, headers={"Location": target})
    for name in (auth.COOKIE, oidc_flow.RENEW):
        answer.delete_cookie(name, path=auth.cookie_path())
    return answer


def _form_body(form: dict[str, str]) -> LoginBody:
    try:
        return msgspec.convert(form, LoginBody)
    except msgspec.ValidationError as error:
        raise Unprocessable(FieldError(type="missing", loc=("body",), msg=str(error))) from None


async def _token_answer(body: LoginBody, ttl_s: int) -> Response:
    if not body.username or not body.password:
        raise BadRequest("Username and password must be provided")
    user = await auth.log_in(body.username, body.password)
    await auth.record_login(user.username)
    return json_answer({"access_token": await auth.issue_token(user.username, ttl_s)}, 201)


def is_safe_next(target: str, host: str) -> bool:
    """Does this URL stay on our site, whatever way a browser reads it?

    Browsers treat a backslash as a slash, drop control characters, and take `//x` as a host; so each of these is
    refused, also percent-encoded once more.
    """
    for text in (target, unquote(target), unquote(unquote(target))):
        if "\\" in text or any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
            return False
        if text.startswith(("//", "/\\")) or text[:1].isspace():
            return False
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    if parts.scheme or parts.netloc:
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower() and _is_plain_path(parts.path)
    return _is_plain_path(parts.path)


def _is_plain_path(path: str) -> bool:
    decoded = unquote(path)
    if not decoded or not decoded.startswith("/"):
        return not decoded or ":" not in decoded.split("/", 1)[0]
    return "//" not in decoded and posixpath.normpath(decoded).rstrip("/") == decoded.rstrip("/")
