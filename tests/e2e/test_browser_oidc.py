"""A real browser, the unmodified UI, and a login at a real identity provider; and the command line by way of both.

The tests of this module are one visit: they share a tab and build on each other, top to bottom.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest
import trio
from playwright.sync_api import Browser, Page, expect

from leoflowd import telemetry
from leoflowd.api.context import ApiContext
from leoflowd.api.identity_provider import IdentityProvider
from leoflowd.api.server import ApiServer
from leoflowd.config import ApiConfig
from leoflowd.store.api_users import ensure_admin
from leoflowd.store.log_files import LogFiles
from leoflowd.store.secret_box import SecretBox
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints
from tests.fakes.identity_provider import Provider, config_of, free_port, running_provider
from tests.integration.conftest import fresh_database, postgres_conninfo  # noqa: F401  # a fixture

PEOPLE = {"7": {"preferred_username": "ana", "groups": ["staff", "sales"]}, "8": {"preferred_username": "bob"}}


class Server:
    """The API server of a cluster, in a thread of its own: Playwright has this one."""

    def __init__(self, conninfo: str, ui_dir: Path, provider: Provider, url: str, logs: Path) -> None:
        self._conninfo, self._ui_dir, self._provider, self._url, self._logs = conninfo, ui_dir, provider, url, logs
        self._is_up = Event()
        self._thread = Thread(target=trio.run, args=(self._serve,))

    def __enter__(self) -> None:
        self._thread.start()
        assert self._is_up.wait(PATIENCE_S)

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._stop, self._token = trio.Event(), trio.lowlevel.current_trio_token()
        async with fresh_database(self._conninfo) as db:
            async with db.api.transaction() as conn:
                await ensure_admin(conn, "admin", "a password for the day", telemetry.utc_now())
            context = ApiContext(
                db=db,
                logs=LogFiles(self._logs),
                config=ApiConfig(port=urlsplit(self._url).port or 0, ui_dir=self._ui_dir),
                now=telemetry.utc_now,
                tree=lambda: {"name": "daemon", "children": []},
                version="0.1.0",
                secrets=SecretBox(lambda: {"1": b"k" * 32}),
                oidc=IdentityProvider(config_of(self._provider, self._url), telemetry.utc_now),
            )
            async with trio.open_nursery() as nursery:
                await nursery.start(ApiServer(context, shutdown=self._stop.wait).run)
                self._is_up.set()


@pytest.fixture(scope="module")
def url(postgres_conninfo: str, ui_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: F811
    url = f"http://127.0.0.1:{free_port()}/"
    logs = tmp_path_factory.mktemp("logs")
    with running_provider(url) as provider:
        provider.tell("people", PEOPLE)
        with Server(postgres_conninfo, ui_dir, provider, url, logs):
            yield url


@pytest.fixture(scope="module")
def page(browser: Browser, url: str, complaints: Complaints) -> Iterator[Page]:
    context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900}, locale="en-US")
    context.set_default_timeout(1000 * PATIENCE_S)
    # the provider's form wants a font from elsewhere
    context.route(lambda asked: urlsplit(asked).hostname != "127.0.0.1", lambda route: route.fulfill(body=""))
    page = context.new_page()
    complaints.is_logging_in = True
    complaints.watch(page)
    yield page
    context.close()


def sign_in(page: Page, login: str) -> None:
    """In the provider's own form."""
    page.locator("input[name=login]").fill(login)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()


def test_the_button_leads_through_the_providers_form_to_where_one_wanted(page: Page, artifacts: Path) -> None:
    page.goto("/dags")
    page.wait_for_url(re.compile("/auth/login"))
    page.screenshot(path=artifacts / "oidc-1-login.png")
    page.get_by_role("link", name="Log in with the house").click()
    sign_in(page, "7")
    page.wait_for_url(re.compile(r"/dags/?$"))
    expect(page.get_by_test_id("nav-dags-link")).to_be_visible()
    page.screenshot(path=artifacts / "oidc-2-dags.png")
    me = page.request.get("/leoflow/api/me").json()
    assert (me["username"], me["roles"], me["teams"]) == ("ana", ["Viewer"], ["sales"])


def test_a_login_that_is_over_comes_back_by_itself(page: Page) -> None:
    page.context.clear_cookies(name="_token")
    page.goto("/dags")
    expect(page.get_by_test_id("nav-dags-link")).to_be_visible()
    assert page.request.get("/leoflow/api/me").json()["username"] == "ana"


def test_the_command_line_logs_in_through_the_browser(page: Page, url: str, tmp_path: Path, artifacts: Path) -> None:
    environment = {**os.environ, "LEOFLOW_CONFIG": str(tmp_path / "config.yaml"), "LEOFLOW_SERVER": url}
    leoflow = [sys.executable, "-m", "leoflowd.cli.main", "auth"]
    with subprocess.Popen(
        [*leoflow, "login", "--no-browser"], env=environment, stderr=subprocess.PIPE, text=True
    ) as cli:
        assert cli.stderr is not None
        said = cli.stderr.readline()
        page.goto(said.partition("in your browser: ")[2].strip())
        expect(page.get_by_text("asks to log in as ana")).to_be_visible()
        page.screenshot(path=artifacts / "oidc-3-command-line.png")
        page.get_by_role("link", name="Log in as ana").click()
        expect(page.get_by_text("You are logged in on the command line.")).to_be_visible()
        assert cli.wait(PATIENCE_S) == 0, cli.stderr.read()
    status = subprocess.run([*leoflow, "status"], env=environment, capture_output=True, text=True, check=True)
    assert "ana (Viewer)" in status.stdout
    assert "teams: sales" in status.stdout


def test_logging_out_ends_the_session_at_the_provider_and_says_so(page: Page, artifacts: Path) -> None:
    page.goto("/api/v2/auth/logout")
    page.get_by_role("button", name=re.compile("sign me out|logout", re.IGNORECASE)).first.click()
    expect(page.get_by_text("You are logged out.")).to_be_visible()
    page.screenshot(path=artifacts / "oidc-4-logged-out.png")
    page.goto("/dags")
    page.wait_for_url(re.compile("/auth/login"))
    page.get_by_role("link", name="Log in with the house").click()
    expect(page.locator("input[name=login]")).to_be_visible()  # the provider forgot him, too


def test_who_has_no_group_reads_why_on_the_login_page(page: Page, complaints: Complaints, artifacts: Path) -> None:
    sign_in(page, "8")
    expect(page.get_by_text("bob is in no group that gives a role here")).to_be_visible()
    expect(page.get_by_role("link", name="Log in with the house")).to_be_visible()
    page.screenshot(path=artifacts / "oidc-5-refused.png")
    (refused,) = complaints.found
    assert "403 GET" in refused
    complaints.found.clear()
