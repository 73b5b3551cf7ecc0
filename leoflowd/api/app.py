"""The Quart-Trio application: which modules serve routes, and what happens around every request.

`daemon.py` runs it through `server.ApiServer`; tests use its test client. A route module exposes `blueprint`; to add
one, name it in MODULES and, unless it only reads, its routes in `rights.RIGHTS`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from importlib import import_module
from ipaddress import ip_address
from typing import Any, cast

import trio
from quart import Response, g, request
from quart.routing import QuartRule
from quart_trio import QuartTrio
from typing_extensions import override
from werkzeug.exceptions import HTTPException

from leoflowd.api import auth, problems
from leoflowd.api.bodies import LOGIN_MAX_BYTES, AskedRequest
from leoflowd.api.compression import compress
from leoflowd.api.context import ApiContext, bind_context, context
from leoflowd.api.front_door import HttpConnection, RefusedWebsocket
from leoflowd.api.live import bind_streams
from leoflowd.config import LOOPBACK
from leoflowd.contract.errors import Invalid, LeoflowError
from leoflowd.contract.values import checked_text, shown

MODULES: tuple[str, ...] = (
    "public.login",
    "public.monitor",
    "public.settings",
    "public.dags",
    "public.dag_versions",
    "public.dag_runs",
    "public.dag_runs_bulk",
    "public.tasks",
    "public.task_instances",
    "public.task_instance_changes",
    "public.task_instances_bulk",
    "public.hitl_details",
    "public.logs",
    "public.xcoms",
    "public.state_stores",
    "public.records",
    "public.pools",
    "public.connections",
    "public.variables",
    "public.plugins",
    "public.assets",
    "public.backfills",
    "public.leoflow",
    "own.versions",
    "own.run_diff",
    "own.tokens",
    "own.users",
    "own.oidc",
    "own.roles",
    "own.audit",
    "own.retention",
    "own.waits",
    "own.watchers",
    "own.callbacks",
    "own.forecast",
    "own.lag",
    "own.log_search",
    "own.metrics",
    "own.probes",
    "own.hooks",
    "own.docs",
    "ui.shell",
    "ui.backfills",
    "ui.connections",
    "ui.dags",
    "ui.deadlines",
    "ui.assets",
    "ui.grid",
    "ui.structure",
    "ui.calendar",
    "static",
)
"""Modules of `leoflowd.api` that have a `blueprint`; `ui.*`, `own.*` and `static` are named here too."""
WITH_WORKSPACE = ("own.files",)
"""Those of a server that has the author's files, which is Lite's."""

ADDRESS_MAX = 16 * 1024
"""Characters of one part of path or query; the whole head of a request has no more."""

SECURITY_HEADERS = {
    # worker-src blob: the graph layout runs in a worker; img-src data:, style inline: the UI's own build
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self' data:; worker-src 'self' blob:; base-uri 'self'; frame-ancestors 'self'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class MatchedRule(QuartRule):
    """A rule that is compiled for matching alone. Werkzeug compiles two functions for each that build its address: for
    two hundred rules nine tenths of the time in `create_app`, and nothing here asks for `url_for`."""

    @override
    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_now = super()._compile_builder
        return lambda _, **values: compile_now(append_unknown)(self, **values)


Fallback = Callable[[], Awaitable[Response | None]]


def create_app(value: ApiContext) -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    app.request_class = AskedRequest
    app.url_rule_class = MatchedRule
    app.asgi_http_class = HttpConnection
    app.asgi_websocket_class = cast(Any, RefusedWebsocket)
    app.config["MAX_CONTENT_LENGTH"] = LOGIN_MAX_BYTES  # of a body that no route asked for
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    bind_context(cast(dict[str, object], app.config), value)
    auth.bind_auth_state(cast(dict[str, object], app.config))
    bind_streams(cast(dict[str, object], app.config))

    app.before_request(start_request)
    app.before_request(auth.authenticate_request)
    app.before_request(check_address)
    app.after_request(auth.clear_stale_cookie)
    app.after_request(finish_answer)
    app.register_error_handler(LeoflowError, problems.leoflow_problem)
    app.register_error_handler(HTTPException, cast(Any, _http_problem(_fallback())))
    app.register_error_handler(Exception, problems.unexpected)
    for module in MODULES if value.editor is None else (*MODULES, *WITH_WORKSPACE):
        app.register_blueprint(import_module(f"leoflowd.api.{module}").blueprint)
    return app


def _fallback() -> Fallback:
    """`static.page_fallback`: the UI's index page for a GET that no route serves, or None for a plain 404."""
    if "static" not in MODULES:
        return _no_page
    return cast(Fallback, import_module("leoflowd.api.static").page_fallback)


async def _no_page() -> Response | None:
    return None


def _http_problem(fallback: Fallback) -> Callable[[HTTPException], Awaitable[Response]]:
    async def http_problem(error: HTTPException) -> Response:
        is_page = request.method in ("GET", "HEAD") and not request.path.startswith(("/api/", "/ui/"))
        if error.code == 404 and is_page:
            page = await fallback()
            if page is not None:
                return page
        return problems.http_problem(error)

    return http_problem


async def start_request() -> None:
    """Runs before the authentication: an id for the log, and the Host header (DNS rebinding)."""
    given = request.headers.get("X-Request-Id", "")
    g.began = trio.current_time()
    g.request_id = given if given.isascii() and given.isprintable() and 0 < len(given) <= 64 else uuid.uuid4().hex
    if not is_allowed_host(request.host, context().config.host, context().config.allowed_hosts):
        raise problems.BadRequest(
            "This server does not answer for the host name of the request; add it to allowed_hosts in the configuration"
        )


async def check_address() -> None:
    """After the authentication: nothing in path and query that no column, file name or codec can carry."""
    for place, pairs in (("path", (request.view_args or {}).items()), ("query", request.args.items(multi=True))):
        for name, text in pairs:
            try:
                checked_text(text, name, max_length=ADDRESS_MAX, allow_empty=True)
                checked_text(name, f"a name in the {place}", max_length=ADDRESS_MAX, allow_empty=True)
            except Invalid as error:
                raise Invalid(str(error), location=(place, shown(name, 100))) from error


def is_allowed_host(header: str, bound_host: str, allowed_hosts: tuple[str, ...]) -> bool:
    """Loopback names, the address we listen on, what the configuration names (`*` = any); and addresses, as probes and
    scrapers of a cluster ask: only a name can be made to mean another machine."""
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    name = name.strip("[]").lower()
    if _is_address(name):
        return True
    allowed = {*LOOPBACK, bound_host.lower(), *(host.lower() for host in allowed_hosts)}
    return "*" in allowed or name in allowed


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def finish_answer(answer: Response) -> Response:
    answer.headers["X-Request-Id"] = g.get("request_id", "")
    for name, text in SECURITY_HEADERS.items():
        answer.headers.setdefault(name, text)
    if answer.mimetype in ("application/json", "application/x-ndjson"):
        answer.headers.setdefault("Cache-Control", "no-store")
    return await compress(answer, request.headers.get("Accept-Encoding", ""))
