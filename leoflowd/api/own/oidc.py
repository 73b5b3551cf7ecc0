"""Logins by OpenID Connect: to the provider and back, for browsers and for the command line; its logouts. ADR 91.

Blueprint `own_oidc`. The routes need no right: each asks for a proof of its own. Whatever goes wrong on the way is a
sentence on the login page.
"""

from __future__ import annotations

import hmac
import uuid
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode, urlsplit

import msgspec
from quart import Blueprint, Response, request
from typing_extensions import override

from leoflowd import telemetry
from leoflowd.api import auth, oidc_flow, static
from leoflowd.api.answers import json_answer
from leoflowd.api.bodies import read_body, read_form
from leoflowd.api.context import context
from leoflowd.api.identity_provider import LoggedIn, ProviderUnavailable
from leoflowd.api.oidc_flow import Code, CommandLine, Flow, provider
from leoflowd.api.own.users import check_username
from leoflowd.api.problems import BadRequest, NotAuthenticated
from leoflowd.api.public.login import is_safe_next
from leoflowd.contract.errors import Conflict, Invalid, LeoflowError, NotAllowed
from leoflowd.core.oidc import OidcRefused
from leoflowd.store import api_users, oidc
from leoflowd.store.event_log import insert_event

blueprint = Blueprint("own_oidc", __name__)
log = telemetry.get_logger(__name__)

LOGOUT_MAX_BYTES = 64 * 1024
"""Of a logout token in its form."""
Port = Annotated[int, msgspec.Meta(ge=1024, le=65_535)]
Random = Annotated[str, msgspec.Meta(min_length=16, max_length=128, pattern="^[A-Za-z0-9_-]+$")]


class CommandLineQuery(msgspec.Struct, frozen=True, kw_only=True):
    cli_port: Port
    cli_challenge: Random
    cli_state: Random


class CodeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    code: str
    verifier: str

    @override
    def __repr__(self) -> str:
        return "CodeBody()"


@blueprint.get("/leoflow/api/login-methods")
async def login_methods() -> Response:
    """What a client may log in with: who may use passwords (`all`, `admins`, `none`), and the provider's name."""
    found = context().oidc
    if found is None:
        return json_answer({"passwords": "all", "oidc": None})
    return json_answer({"passwords": found.config.passwords.value, "oidc": {"name": found.config.name}})


# --- there and back ----------------------------------------------------------------------------------------------


@blueprint.get("/auth/oidc/login")
async def begin() -> Response:
    """Send the browser to the provider; `next` is where it goes afterwards."""
    found, cli = provider(), _command_line()
    target = own_path(request.args.get("next", ""))
    public = urlsplit(found.public_url)
    if request.host.lower() != public.netloc.lower() and "here" not in request.args:
        # the provider sends everybody to the public name: the cookie must be there, too
        asked = {**request.args, "next": target, "here": "1"}
        return _redirect(f"{found.public_url}auth/oidc/login?{urlencode(asked)}")
    flow, proofs = await oidc_flow.begin(target, cli)
    try:
        url = await found.authorization_url(
            state=proofs.state, nonce=proofs.nonce, challenge=oidc_flow.challenge_of(proofs.verifier)
        )
    except ProviderUnavailable as error:
        return await static.login_form(target, str(error), 503)
    answer = _redirect(url)
    await oidc_flow.set_flow_cookie(answer, flow, proofs)
    return answer


@blueprint.get("/auth/oidc/callback")
async def callback() -> Response:
    """The browser comes back: the code is exchanged, the user made or refreshed, and the login begins."""
    found, back = provider(), await oidc_flow.come_back(request.args.get("state", ""))
    if back is None:
        because = "This login was begun in another browser, or it took longer than ten minutes: log in again."
        return await static.login_form("", because, 400)
    flow, proofs = back
    try:
        logged_in = await found.log_in(
            code=_code(), verifier=proofs.verifier, nonce=proofs.nonce, issuer=request.args.get("iss")
        )
        answer = await _enter(logged_in, flow)
    except (OidcRefused, NotAllowed, Conflict, Invalid) as error:
        answer = await _refuse(flow, error, 403)
    except ProviderUnavailable as error:
        answer = await _refuse(flow, error, 503)
    oidc_flow.forget_flow(answer, proofs)
    return answer


def _code() -> str:
    """Raises `OidcRefused` with what the provider says instead."""
    code, error = request.args.get("code"), request.args.get("error")
    if error or not code:
        said = request.args.get("error_description") or error or "it sent no code"
        raise OidcRefused(f"The provider did not let you in: {said[:300]}")
    return code


async def _refuse(flow: Flow, error: LeoflowError, status: int) -> Response:
    log.warning("oidc_login_refused", because=str(error))
    return await static.login_form(flow.next, str(error), status)


async def _enter(logged_in: LoggedIn, flow: Flow) -> Response:
    """The user and his login are written; a browser gets its cookie, a command line a code."""
    ctx, found, person = context(), provider(), logged_in.person
    check_username(person.username)
    ttl_s = found.config.session_ttl_s if flow.cli is None else ctx.config.cli_token_ttl_s
    session, now, rules = uuid.uuid4().hex, ctx.now(), found.rules
    given_teams = sorted({team for teams in rules.teams.values() for team in teams})
    async with ctx.db.api.transaction() as conn:
        username, is_new = await oidc.admit(
            conn, person, roles_follow=bool(rules.roles), given_teams=given_teams, now=now
        )
        expires_at = now + timedelta(seconds=ttl_s)
        await oidc.insert_session(
            conn, session, person, logged_in.id_token, ctx.secrets, now=now, expires_at=expires_at
        )
        extra = {"by": "oidc", "subject": person.subject, "roles": list(person.roles), "is_new": is_new}
        await insert_event(conn, now=now, event="login", owner=username, extra=extra, client=auth.client_address())
    if flow.cli is not None:
        return await _hand_over(flow.cli, username, session)
    answer = _redirect(flow.next)
    if auth.cookie_path() != "/":
        answer.delete_cookie(auth.COOKIE, path="/")
    token = await auth.issue_token(username, ttl_s, session=session)
    oidc_flow.set_cookie(answer, auth.COOKIE, token, path=auth.cookie_path())
    oidc_flow.set_cookie(answer, oidc_flow.RENEW, "1", path=auth.cookie_path(), max_age=oidc_flow.RENEW_S)
    return answer


# --- the command line: RFC 8252 ----------------------------------------------------------------------------------


def _command_line() -> CommandLine | None:
    """Raises `BadRequest`."""
    if "cli_port" not in request.args:
        return None
    try:
        asked = msgspec.convert(dict(request.args), CommandLineQuery, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"No command line asks like this: {error}") from None
    return CommandLine(port=asked.cli_port, challenge=asked.cli_challenge, state=asked.cli_state)


async def _hand_over(cli: CommandLine, username: str, session: str) -> Response:
    """A page with a link, not a redirect: whoever was lured here by somebody else's link must see what it would do."""
    code = Code(id=uuid.uuid4().hex, username=username, session=session, challenge=cli.challenge)
    query = urlencode({"code": await oidc_flow.sign_code(code), "state": cli.state})
    return await static.filled_page(
        "cli-login",
        {
            "{{ href }}": f"http://127.0.0.1:{cli.port}/?{query}",
            "{{ port }}": str(cli.port),
            "{{ username }}": username,
        },
    )


@blueprint.post("/auth/oidc/cli-token")
async def cli_token() -> Response:
    """201 with a token for a code of the page above, once, for who has the verifier of its challenge."""
    auth.refuse_other_sites()
    provider()
    ctx, body = context(), await read_body(CodeBody, LOGOUT_MAX_BYTES)
    code = await oidc_flow.read_code(body.code)
    challenge = oidc_flow.challenge_of(body.verifier)
    if code is None or not hmac.compare_digest(code.challenge.encode(), challenge.encode()):
        raise NotAuthenticated(
            "The code of this login is over, or another command line's: run leoflow auth login again"
        )
    over_at = ctx.now() + timedelta(seconds=oidc_flow.CODE_S) + auth.LEEWAY
    async with ctx.db.api.transaction() as conn:
        if not await api_users.insert_used_code(conn, code.id, over_at):
            raise NotAuthenticated("The code of this login was used already: run leoflow auth login again")
    ttl_s = await oidc_flow.bounded_ttl_s(code.session, ctx.config.cli_token_ttl_s)
    token = await auth.issue_token(code.username, ttl_s, session=code.session)
    return json_answer({"access_token": token, "username": code.username}, 201)


# --- logouts -----------------------------------------------------------------------------------------------------


@blueprint.get("/auth/oidc/logged-out")
async def logged_out() -> Response:
    provider()
    return await static.login_form("", "You are logged out.", 200)


@blueprint.post("/auth/oidc/backchannel-logout")
async def backchannel_logout() -> Response:
    """The provider says that somebody's session is over: OpenID Connect Back-Channel Logout 1.0, section 2."""
    found, ctx = provider(), context()
    form = await read_form(LOGOUT_MAX_BYTES)
    try:
        order = await found.logout_order(form.get("logout_token", ""))
    except OidcRefused as error:
        return _no_store(json_answer({"error": "invalid_request", "error_description": str(error)}, 400))
    except ProviderUnavailable as error:
        return _no_store(json_answer({"error": "temporarily_unavailable", "error_description": str(error)}, 503))
    longest = max(ctx.config.cli_token_ttl_s, found.config.session_ttl_s)
    refused_until = ctx.now() + timedelta(seconds=longest) + auth.LEEWAY
    async with ctx.db.api.transaction() as conn:
        count = await oidc.end_sessions(conn, found.config.issuer, order, refused_until=refused_until)
        if count:
            extra = {"by": "oidc", "subject": order.subject, "count": count}
            await insert_event(
                conn, now=ctx.now(), event="logout", owner=None, extra=extra, client=auth.client_address()
            )
    return _no_store(Response(b"", 200))


# --- addresses ---------------------------------------------------------------------------------------------------


def own_path(target: str) -> str:
    """A path of this server, else its start page: never another site, whatever a link says."""
    base_path = context().config.base_path
    if not target or not is_safe_next(target, request.host):
        return base_path
    parts = urlsplit(target)
    path = parts.path if parts.path.startswith("/") else base_path + parts.path
    return path + (f"?{parts.query}" if parts.query else "")


def _redirect(url: str) -> Response:
    return _no_store(Response(b"", 303, headers={"Location": url}))


def _no_store(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
