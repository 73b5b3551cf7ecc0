"""What the UI asks for on every page before anything is painted: configuration, menus, the user, a token."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from quart import Blueprint, Response

from leoflowd.api import auth, oidc_flow
from leoflowd.api.answers import collection, json_answer
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.api.ui.theme import build_theme
from leoflowd.config import ApiConfig
from leoflowd.contract.ui_builds import UI_VERSION, build_in
from leoflowd.core.rights import Right, is_allowed
from leoflowd.store import roles
from leoflowd.store.api_users import list_teams_of

blueprint = Blueprint("ui_auth", __name__, url_prefix="/ui")

FALLBACK_PAGE_LIMIT = 50

MENU = ("Dags", "Assets", "Required Actions", "Audit Log", "XComs", "Pools", "Plugins", "Jobs", "Docs")
"""Airflow's names, all but Providers: that page would always be empty."""
SINCE_3_3_MENU = ("Deadlines",)
SETTINGS_MENU = ("Connections", "Variables")
ADMINS_MENU = ("Config",)
"""Pages whose every route needs SETTINGS, or ADMIN: others would only see that they may not."""


class TokenBody(msgspec.Struct, frozen=True, kw_only=True):
    """As in Airflow, unknown keys are ignored here alone."""

    token_type: Literal["api", "cli"] = "api"  # noqa: S105  # a kind, not a secret


@blueprint.get("/config")
async def config() -> Response:
    """The key `theme` must be there: without it, the UI stays a white page."""
    has_test = context().test_connection is not None
    return json_answer(build_config(context().config, has_connection_test=has_test))


def build_config(api: ApiConfig, *, has_connection_test: bool) -> dict[str, Any]:
    return {
        "fallback_page_limit": FALLBACK_PAGE_LIMIT,
        "auto_refresh_interval": api.auto_refresh_interval_s,
        "hide_paused_dags_by_default": False,
        "instance_name": f"{api.instance_name} {api.edition}".strip(),
        "enable_swagger_ui": True,
        "require_confirmation_dag_change": False,
        "default_wrap": False,
        "test_connection": "Enabled" if has_connection_test and api.test_connection else "Disabled",
        "dashboard_alert": [],
        "show_external_log_redirect": False,
        "external_log_name": None,
        "theme": build_theme(api),
        "multi_team": False,
    }


@blueprint.get("/auth/menus")
async def menus() -> Response:
    menu = MENU if build_in(context().config.ui_dir) == UI_VERSION else MENU + SINCE_3_3_MENU
    menus = ((Right.READ, menu), (Right.SETTINGS, SETTINGS_MENU), (Right.ADMIN, ADMINS_MENU))
    items = [item for right, names in menus if is_allowed(auth.caller(), right, None) for item in names]
    return json_answer({"authorized_menu_items": items, "extra_menu_items": []})


@blueprint.get("/auth/me")
async def me() -> Response:
    username = auth.caller().username
    return json_answer({"id": username, "username": username})


@blueprint.post("/auth/token")
async def create_token() -> Response:
    """A further token for the user who is logged in, e.g. for a script; it ends with the login that asked for it."""
    body = await read_body(TokenBody)
    caller, api = auth.caller(), context().config
    ttl_s = {"api": api.token_ttl_s, "cli": api.cli_token_ttl_s}[body.token_type]
    ttl_s = await oidc_flow.bounded_ttl_s(caller.session, ttl_s)
    token = await auth.issue_token(caller.username, ttl_s, session=caller.session)
    async with lane().transaction() as conn:
        await record(conn, "create_login_token", extra={"token_type": body.token_type})
    return json_answer({"access_token": token, "token_type": body.token_type, "expires_in_seconds": ttl_s})


@blueprint.get("/teams")
async def teams() -> Response:
    """The caller's; all of them for an administrator. Ours bound who may do what to which DAGs; Airflow's multi-team
    mode, of which `config` says that it is off, gives connections, variables and pools to teams as well."""
    who, query = auth.caller(), Query()
    limit, offset = query.page()
    async with lane().connection() as conn:
        names = await (
            roles.list_team_names(conn) if is_allowed(who, Right.ADMIN, None) else list_teams_of(conn, who.username)
        )
    return collection("teams", [{"name": name} for name in names[offset : offset + limit]], len(names))
