"""The files of the UI, the login page, our own pages, and the index page for every path that belongs to the UI.

All files are read once, in a thread, before the first request is served, and kept in memory as gzip (4 MB in all): no
request ever reads a disk. A name is looked up in a table made from the folder, so that no name can leave it.
"""

from __future__ import annotations

import gzip
import hashlib
import html
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import trio
from quart import Blueprint, Response, current_app, request

from leoflowd.api import auth
from leoflowd.api.bodies import read_form
from leoflowd.api.compression import accepts_gzip
from leoflowd.api.context import ApiContext, context
from leoflowd.api.oidc_flow import RENEW
from leoflowd.api.problems import NotAuthenticated
from leoflowd.api.public.login import is_safe_next
from leoflowd.config import ApiConfig, Passwords
from leoflowd.contract.errors import LeoflowError, NotFound, TooManyRequests

blueprint = Blueprint("static_files", __name__)

BASE_PLACEHOLDER = "{{ backend_server_base_url }}"
"""Airflow's index page has it exactly once, in `<base href>`; our own pages follow suit."""
MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
"""Python's `mimetypes` asks the system, and a bare system knows neither modules nor wasm."""
HASHED = "assets/"
"""Files below it carry a hash of their content in their name."""
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
UI_PAGES = frozenset(
    (
        *("", "auth", "dags", "dag_runs", "task_instances", "assets", "xcoms", "required_actions", "events", "jobs"),
        *("variables", "pools", "connections", "configs", "providers", "plugins", "plugin", "security", "deadlines"),
    )
)
"""How the paths of the UI's own pages begin, those of its next release included."""
PACK_ABOVE_BYTES = 1024
_KEY = "LEOFLOW_STATIC"


class UiFilesBroken(LeoflowError):
    """The folder of UI files is not what it should be; the message says what to do."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    content: bytes
    is_packed: bool
    """`content` is gzip."""
    media_type: str
    etag: str
    cache_control: str


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is served from files. Keys: `static/assets/x.js`, `auth/static/x.js`, `leoflow/static/x.css`,
    `leoflow/packages/monaco/x.js`."""

    files: Mapping[str, StoredFile]
    pages: Mapping[str, str]
    """Our own pages by name, base path filled in."""
    index: str | None
    """The UI's index page; None without a UI build."""


class SiteLoader:
    """Loads the site on first use; one per application."""

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._site: Site | None = None

    async def site(self, config: ApiConfig) -> Site:
        if self._site is None:
            async with self._lock:
                if self._site is None:
                    self._site = await trio.to_thread.run_sync(load_site, config)
        return self._site


# --- loading -----------------------------------------------------------------------------------------------------


def load_site(config: ApiConfig) -> Site:
    """Read all files. Raises `UiFilesBroken` when the index page is not one that can be served."""
    own = own_folder()
    files = _load_folder(own, "leoflow/static/", immutable=False)
    pages = {
        path.stem: _with_base(path.read_text(encoding="utf-8"), config.base_path, path) for path in own.glob("*.html")
    }
    if config.packages_dir is not None:
        files |= _load_folder(config.packages_dir, "leoflow/packages/", immutable=False)
    index = None
    if config.ui_dir is not None:
        files |= _load_folder(config.ui_dir / "main", "static/", immutable=True)
        files |= _load_folder(config.ui_dir / "login", "auth/static/", immutable=True)
        index = _load_index(config.ui_dir / "main" / "index.html", config.base_path, files)
    return Site(files=files, pages=pages, index=index)


def own_folder() -> Path:
    """`ui_static/` of a checkout, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "ui_static", package / "_data" / "ui_static"):
        if folder.is_dir():
            return folder
    raise UiFilesBroken("the folder ui_static/ is missing; reinstall leoflow")


def _load_index(path: Path, base_path: str, files: Mapping[str, StoredFile]) -> str:
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UiFilesBroken(f"{path}: {error.strerror}; run `leoflow setup` to fetch the UI again") from error
    scripts = [name for name in files if name.startswith("static/assets/index-") and f"./{name}" in page]
    if not scripts:
        raise UiFilesBroken(f"{path} names no script that is there; delete the folder and run `leoflow setup`")
    return _with_base(page, base_path, path)


def _with_base(page: str, base_path: str, path: Path) -> str:
    if page.count(BASE_PLACEHOLDER) != 1:
        raise UiFilesBroken(f"{path} must hold {BASE_PLACEHOLDER} exactly once, in <base href>")
    return page.replace(BASE_PLACEHOLDER, html.escape(base_path))


def _load_folder(folder: Path, prefix: str, *, immutable: bool) -> dict[str, StoredFile]:
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix not in (".gz", ".html") and not name.startswith("."):
            is_hashed = immutable and name.startswith(HASHED)
            files[prefix + name] = _load_file(path, IMMUTABLE if is_hashed else REVALIDATE)
    return files


def _load_file(path: Path, cache_control: str) -> StoredFile:
    packed = path.with_name(path.name + ".gz")
    media_type = MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    if packed.is_file():
        content, is_packed = packed.read_bytes(), True
    else:
        content = path.read_bytes()
        is_packed = len(content) > PACK_ABOVE_BYTES and not media_type.startswith("image/png")
        content = gzip.compress(content, 6, mtime=0) if is_packed else content
    digest = hashlib.blake2b(content, digest_size=12).hexdigest()
    return StoredFile(
        content=content,
        is_packed=is_packed,
        media_type=media_type,
        etag=f'W/"{digest}"',
        cache_control=cache_control,
    )


# --- serving -----------------------------------------------------------------------------------------------------


@blueprint.before_app_serving
async def load_before_serving() -> None:
    """A broken UI folder stops the start with its reason instead of failing every request."""
    await _site(context())


async def _site(ctx: ApiContext) -> Site:
    loader = current_app.config.setdefault(_KEY, SiteLoader())
    assert isinstance(loader, SiteLoader)
    return await loader.site(ctx.config)


@blueprint.get("/static/<path:name>")
async def ui_file(name: str) -> Response:
    return await _file(f"static/{name}")


@blueprint.get("/auth/static/<path:name>")
async def login_file(name: str) -> Response:
    return await _file(f"auth/static/{name}")


@blueprint.get("/leoflow/packages/<path:name>")
async def package_file(name: str) -> Response:
    return await _file(f"leoflow/packages/{name}")


@blueprint.get("/leoflow/static/<path:name>")
async def own_file(name: str) -> Response:
    return await _file(f"leoflow/static/{name}")


async def _file(name: str) -> Response:
    stored = (await _site(context())).files.get(name)
    if stored is None:
        raise NotFound("Not Found")
    headers = {"ETag": stored.etag, "Cache-Control": stored.cache_control}
    if stored.is_packed:
        headers["Vary"] = "Accept-Encoding"
    if stored.etag in request.headers.get("If-None-Match", ""):
        return Response(b"", 304, headers=headers)
    content = stored.content
    if stored.is_packed:
        if accepts_gzip(request.headers.get("Accept-Encoding", "")):
            headers["Content-Encoding"] = "gzip"
        else:
            content = await trio.to_thread.run_sync(gzip.decompress, content)
    return Response(content, headers=headers, content_type=stored.media_type)


async def page_fallback() -> Response | None:
    """What `app` answers to a GET that no route serves: the UI's index page, or None where that would mislead.

    A program that asks for something that is not here (`/swagger.json`, `/metrics.txt`) is told so, in JSON: a page
    with status 200 would be a riddle. Whoever accepts HTML in so many words is a browser, whose pages the UI knows.
    """
    path = request.path
    first = path.split("/", 2)[1]
    if path == "/health" or "." in first or path.startswith(("/leoflow/", "/static/", "/auth/static/")):
        return None
    if first not in UI_PAGES and "text/html" not in request.headers.get("Accept", "").lower():
        return None
    if path.startswith("/auth/"):
        return await login_page()
    index = (await _site(context())).index
    return None if index is None else _html(index)


@blueprint.get("/leoflow/<any(tree, explain, pool, lag, 'log-search', 'run-diff', 'what-if'):name>")
async def own_page(name: str) -> Response:
    """Our pages hold nothing secret: what they show comes from routes that ask for a login."""
    return await page(name)


async def page(name: str, needs: str = "") -> Response:
    """One of our own pages. `needs`: a file of a package, of which the page is told whether it is there."""
    site = await _site(context())
    has = "yes" if f"leoflow/packages/{needs}" in site.files else "no"
    return _html(site.pages[name].replace("{{ has_package }}", has))


def _html(page: str, status: int = 200) -> Response:
    return Response(page, status, content_type=MEDIA_TYPES[".html"], headers={"Cache-Control": REVALIDATE})


# --- login -------------------------------------------------------------------------------------------------------


@blueprint.get("/auth/login")
async def login_page() -> Response:
    """Straight to the identity provider where most have no password, or whose login came from there and is over;
    `?password` shows the form all the same."""
    target, oidc = request.args.get("next", ""), context().oidc
    is_forwarded = oidc is not None and (oidc.config.passwords is not Passwords.ALL or RENEW in request.cookies)
    if is_forwarded and "password" not in request.args:
        there = f"{context().config.base_path}auth/oidc/login?{urlencode({'next': checked_next(target)})}"
        return Response(b"", 303, headers={"Location": there, "Cache-Control": "no-store"})
    return await login_form(target, "", 200)


@blueprint.post("/auth/login")
async def log_in() -> Response:
    """The login form. Right: the token as a cookie that no script can read, and on to `next`. Wrong: the form again."""
    auth.refuse_other_sites()
    form = await read_form()
    target, username, password = form.get("next", ""), form.get("username", ""), form.get("password", "")
    if not username or not password:
        return await login_form(target, "Enter a user name and a password.", 400, username)
    try:
        user = await auth.log_in(username, password)
    except NotAuthenticated:
        return await login_form(target, "Wrong user name or password.", 401, username)
    except TooManyRequests as error:
        answer = await login_form(target, str(error), 429, username)
        answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer
    ctx = context()
    token = await auth.issue_token(user.username, ctx.config.token_ttl_s)
    await auth.record_login(user.username)
    answer = Response(b"", 303, headers={"Location": checked_next(target), "Cache-Control": "no-store"})
    if auth.cookie_path() != "/":
        # one at the root would be sent as well and might be an old one
        answer.delete_cookie(auth.COOKIE, path="/")
    answer.set_cookie(
        auth.COOKIE,
        token,
        path=auth.cookie_path(),
        httponly=True,
        samesite="Lax",
        secure=request.scheme == "https",
    )
    return answer


def checked_next(target: str) -> str:
    """Where to go after the login: a place on this site, else its start page."""
    return target if target and is_safe_next(target, request.host) else context().config.base_path


async def login_form(target: str, message: str, status: int, username: str = "") -> Response:
    """The form; after a refusal with the user name that was given, and never the password."""
    config, oidc, onward = context().config, context().oidc, checked_next(target)
    passwords = Passwords.ALL if oidc is None else oidc.config.passwords
    has_form = passwords is Passwords.ALL or (
        passwords is Passwords.ADMINS and ("password" in request.args or request.method == "POST")
    )
    return await filled_page(
        "login",
        {
            "{{ next }}": onward,
            "{{ message }}": message,
            "{{ kind }}": "bad" if status >= 400 else "",
            "{{ form }}": "" if has_form else "hidden",
            "{{ by_password }}": "hidden" if has_form or passwords is Passwords.NONE else "",
            "{{ provider }}": "hidden" if oidc is None else "",
            "{{ provider_href }}": f"auth/oidc/login?{urlencode({'next': onward})}",
            "{{ provider_name }}": "" if oidc is None else oidc.config.name,
            "{{ instance_name }}": config.instance_name,
            "{{ edition }}": config.edition,
            "{{ username }}": username,  # last: nothing that somebody typed is filled in further
        },
        status,
    )


async def filled_page(name: str, fields: Mapping[str, str], status: int = 200) -> Response:
    """One of our pages, filled in; kept by nobody."""
    text = (await _site(context())).pages[name]
    for placeholder, value in fields.items():
        text = text.replace(placeholder, html.escape(value))
    answer = _html(text, status)
    answer.headers["Cache-Control"] = "no-store"
    return answer
