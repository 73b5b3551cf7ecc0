"""Files, fallback and login page as a browser meets them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from quart import Response
from quart_trio import QuartTrio

from leoflowd.api.own.plugins import plugins
from leoflowd.config import ApiConfig
from leoflowd.store.api_users import ensure_admin
from leoflowd.store.database import Database
from tests.integration.api.api_client import PASSWORD, Client
from tests.integration.api_ui.ui_seed import NOW


async def text(answer: Response) -> str:
    return await answer.get_data(as_text=True)


def main_script(ui_dir: Path) -> str:
    found = re.search(r'src="\./(static/assets/index-[^"]+\.js)"', (ui_dir / "main" / "index.html").read_text())
    assert found
    return found[1]


class TestFiles:
    async def test_the_main_script_arrives_packed_and_stays_for_ever(self, anonymous: Client, ui_dir: Path) -> None:
        answer = await anonymous.call("GET", f"/{main_script(ui_dir)}", headers={"Accept-Encoding": "gzip, br"})
        assert answer.status_code == 200
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Vary"] == "Accept-Encoding"

    async def test_a_client_without_gzip_gets_the_same_bytes(self, anonymous: Client, ui_dir: Path) -> None:
        script = main_script(ui_dir)
        answer = await anonymous.call("GET", f"/{script}")
        assert "Content-Encoding" not in answer.headers
        file = ui_dir / "main" / script.removeprefix("static/")
        assert await answer.get_data(as_text=False) == file.read_bytes()

    async def test_a_known_etag_needs_no_body(self, anonymous: Client) -> None:
        path = "/static/i18n/locales/en/common.json"
        first = await anonymous.call("GET", path)
        again = await anonymous.call("GET", path, headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304
        assert await again.get_data(as_text=False) == b""

    @pytest.mark.parametrize(
        "path",
        [
            "/static/assets/none.js",
            "/static/../openapi/_private_ui.yaml",
            "/static/%2e%2e/openapi/_private_ui.yaml",
            "/static/..%2fopenapi/_private_ui.yaml",
            "/static/%2fetc/passwd",
            "/static//etc/passwd",
            "/leoflow/static/../login.html",
            "/leoflow/static/login.html",
            "/static/index.html",
            "/leoflow/none",
        ],
    )
    async def test_unknown_names_and_ways_out_are_404(self, anonymous: Client, path: str) -> None:
        answer = await anonymous.call("GET", path)
        assert (answer.status_code, answer.content_type) == (404, "application/json")

    @pytest.mark.parametrize(
        "path", ["/", "/dags", "/dags/x/runs/manual__2026-11-21T12%3A00%3A00%2B00%3A00", "/plugin/y"]
    )
    async def test_every_page_of_the_ui_is_its_index(self, anonymous: Client, path: str) -> None:
        answer = await anonymous.call("GET", path)
        assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
        assert answer.headers["Cache-Control"] == "no-cache"
        assert '<base href="/" />' in await text(answer)

    @pytest.mark.parametrize(
        ("path", "accept", "is_page"),
        [
            ("/swagger.json", "text/html", False),
            ("/robots.txt", "*/*", False),
            ("/graphql", "*/*", False),
            ("/graphql", "text/html,*/*;q=0.8", True),
            ("/dags/with.dots/runs/a.json", "*/*", True),
        ],
    )
    async def test_a_program_that_asks_for_what_is_not_here_gets_no_page(
        self, anonymous: Client, path: str, accept: str, is_page: bool
    ) -> None:
        answer = await anonymous.call("GET", path, headers={"Accept": accept})
        expected = (200, "text/html; charset=utf-8") if is_page else (404, "application/json")
        assert (answer.status_code, answer.content_type) == expected

    @pytest.mark.parametrize("path", ["/api/v2/none", "/api/v1/dags", "/ui/none", "/health"])
    async def test_what_looks_like_an_api_is_never_the_index(self, anonymous: Client, path: str) -> None:
        answer = await anonymous.call("GET", path)
        assert (answer.status_code, answer.content_type) == (404, "application/json")

    @pytest.mark.parametrize("page", ["tree", "explain", "pool"])
    async def test_our_own_pages(self, anonymous: Client, page: str) -> None:
        answer = await anonymous.call("GET", f"/leoflow/{page}")
        assert answer.status_code == 200
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        for name in re.findall(r'(?:src|href)="(leoflow/static/[^"]+)"', await text(answer)):
            assert (await anonymous.call("GET", f"/{name}")).status_code == 200


class TestLogin:
    @pytest.fixture
    async def browser(self, app: QuartTrio, database: Database) -> Client:
        async with database.api.transaction() as conn:
            await ensure_admin(conn, "admin", PASSWORD, NOW)
        return Client(app, headers={"Sec-Fetch-Site": "same-origin"})

    async def post(self, browser: Client, **form: Any) -> Response:
        return await browser.call("POST", "/auth/login", form=form)

    async def test_right_password_sets_a_cookie_that_opens_the_ui(self, browser: Client) -> None:
        answer = await self.post(browser, username="admin", password=PASSWORD, next="/dags/etl_daily")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/dags/etl_daily")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie
        assert "Secure" not in cookie
        token = cookie.partition("_token=")[2].partition(";")[0]
        assert (await Client(browser.app, cookie=token).get("/ui/auth/me"))["username"] == "admin"

    async def test_over_https_the_cookie_is_secure(self, browser: Client) -> None:
        form = {"username": "admin", "password": PASSWORD}
        answer = await browser.call("POST", "/auth/login", form=form, scheme="https")
        assert "Secure" in answer.headers["Set-Cookie"]

    async def test_wrong_password_shows_the_form_again(self, browser: Client) -> None:
        answer = await self.post(browser, username="admin", password="wrong", next="/dags")
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers
        page = await text(answer)
        assert "Wrong user name or password." in page
        assert 'name="next" value="/dags"' in page

    async def test_a_refused_login_keeps_the_user_name_and_not_the_password(self, browser: Client) -> None:
        for password in ("wrong-password", ""):
            page = await text(await self.post(browser, username='an"na', password=password))
            assert 'value="an&quot;na"' in page
            assert "wrong-password" not in page

    async def test_empty_fields(self, browser: Client) -> None:
        assert (await self.post(browser, username="admin", password="")).status_code == 400

    @pytest.mark.parametrize(
        "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
    )
    async def test_next_never_leaves_the_site(self, browser: Client, target: str) -> None:
        answer = await self.post(browser, username="admin", password=PASSWORD, next=target)
        assert answer.headers["Location"] == "/"

    async def test_markup_in_next_is_text(self, browser: Client) -> None:
        page = await text(await browser.call("GET", "/auth/login?next=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E"))
        assert "<script>alert" not in page

    @pytest.mark.parametrize(
        "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "", "Origin": "http://evil.example"}]
    )
    async def test_another_site_cannot_log_its_visitor_in(self, browser: Client, headers: dict[str, str]) -> None:
        form = {"username": "admin", "password": PASSWORD}
        answer = await browser.call("POST", "/auth/login", form=form, headers=headers)
        assert answer.status_code == 403

    async def test_the_page_names_the_edition_and_its_fields(self, browser: Client) -> None:
        for path in ("/auth/login", "/auth/anything"):
            page = await text(await browser.call("GET", path))
            assert ">LITE</span>" in page
            for part in ('name="username"', 'name="password"', 'type="submit"', 'role="alert"'):
                assert part in page
            assert "{{" not in page


class TestBasePath:
    @pytest.fixture
    def config(self, ui_dir: Path) -> ApiConfig:
        return ApiConfig(ui_dir=ui_dir, base_path="/leo/")

    async def test_pages_point_below_the_prefix(self, anonymous: Client) -> None:
        for path in ("/dags", "/auth/login", "/leoflow/tree"):
            assert '<base href="/leo/" />' in await text(await anonymous.call("GET", path))

    async def test_without_next_the_login_goes_to_the_prefix(self, anonymous: Client) -> None:
        assert 'name="next" value="/leo/"' in await text(await anonymous.call("GET", "/auth/login"))

    async def test_theme_and_views_point_below_the_prefix(self, admin: Client) -> None:
        assert (await admin.get("/ui/config"))["theme"]["icon"] == "/leo/leoflow/static/mark.svg"


async def test_our_pages_join_the_ui_as_external_views(app: QuartTrio) -> None:
    (plugin,) = plugins(app.config["LEOFLOW_CONTEXT"])
    views = {view["url_route"]: view for view in plugin["external_views"]}
    assert views["leoflow-tree"]["destination"] == "nav"
    assert (views["leoflow-waits"]["destination"], views["leoflow-waits"]["category"]) == ("nav", None)
    assert views["leoflow-explain-run"]["href"] == "/leoflow/explain?dag_id={DAG_ID}&run_id={RUN_ID}"
    assert (views["leoflow-explain-run"]["destination"], views["leoflow-explain-dag"]["destination"]) == (
        "dag_run",
        "dag",
    )
    assert views["leoflow-run-diff"]["href"] == "/leoflow/run-diff?dag_id={DAG_ID}&run_id={RUN_ID}"
    assert views["leoflow-explain"]["href"].startswith("/leoflow/explain?dag_id={DAG_ID}&")
    assert all(value is not None for view in views.values() for key, value in view.items() if key != "category")
