"""The browser of the end-to-end tests, watched for everything a user would call broken."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, Response, expect, sync_playwright

from leoflowd.lite.npm_packages import TARBALLS_VARIABLE
from loadtests.lite_process import PASSWORD, USERNAME, Lite, temporary_folder
from tests.conftest import PATIENCE_S, missing

expect.set_options(timeout=1000 * PATIENCE_S)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HARMLESS_CONSOLE = ("signal is aborted without reason",)
"""The UI's own aborted stream; Airflow's server shows it too."""
HARMLESS_PATH = "/static/wasm/sqlparser_rs_wasm.js"
"""The published UI looks for it where it is not; 404 on Airflow's server too."""


@dataclass
class Complaints:
    """What went wrong in a page, in order; empty at the end of a good test."""

    found: list[str] = field(default_factory=list)
    is_logging_in: bool = False
    """Before the login every call is rightly answered 401."""

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", self._page_error)
        page.on("response", self._response)
        page.on("requestfailed", self._request_failed)

    def _console(self, message: ConsoleMessage) -> None:
        is_noise = self.is_logging_in or any(text in message.text for text in HARMLESS_CONSOLE)
        at = message.location["url"]
        is_noise = is_noise or at.endswith(HARMLESS_PATH)
        if message.type == "error" and not is_noise:
            self.found.append(f"console error: {message.text}")

    def _page_error(self, error: Error) -> None:
        if not any(text in error.message for text in HARMLESS_CONSOLE):
            self.found.append(f"page error: {error.message}")

    def _response(self, response: Response) -> None:
        is_expected = response.url.endswith(HARMLESS_PATH) or (self.is_logging_in and response.status == 401)
        if response.status >= 400 and not is_expected:
            self.found.append(f"{response.status} {response.request.method} {response.url}")

    def _request_failed(self, request: Request) -> None:
        # A page that is left aborts its own requests.
        if request.failure != "net::ERR_ABORTED":
            self.found.append(f"failed request: {request.failure} {request.method} {request.url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium. Module scope: while it is open, this thread belongs to Playwright's own event loop."""
    chromium = shutil.which(os.environ.get("LEOFLOW_CHROMIUM", "chromium"))
    if chromium is None:
        missing("chromium; run tests/e2e/install-programs.sh or name one in LEOFLOW_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lite_with_packages(lite_environment: dict[str, str], npm_tarballs: Path, artifacts: Path) -> Iterator[Lite]:
    """A Lite whose own pages have what they use of npm."""
    with temporary_folder("leoflow-pages-") as root:
        (root / "workspace").mkdir()
        environment = lite_environment | {TARBALLS_VARIABLE: str(npm_tarballs)}
        lite = Lite(workspace=root / "workspace", data_dir=root / "data", env=environment)
        try:
            with lite:
                yield lite
        finally:
            (artifacts / "lite-with-packages.txt").write_text(lite.output())


def log_in(page: Page, complaints: Complaints, username: str = USERNAME, password: str = PASSWORD) -> None:
    """Through the form, to the start page."""
    complaints.is_logging_in = True
    page.goto("/auth/login")
    page.locator("input[name=username]").fill(username)
    page.locator("input[name=password]").fill(password)
    page.locator("button[type=submit]").click()
    expect(page.get_by_test_id("nav-dags-link")).to_be_visible()
    complaints.is_logging_in = False


def visit(page: Page, path: str) -> None:
    """Of a tab that shows the UI: go on inside of it, as by a link. Starting all of it again for a page takes seconds.

    Load a page instead where the one before has the same buttons, which are there for a moment yet, or where the UI may
    show what it asked for already and what has changed meanwhile.
    """
    page.evaluate("(to) => { history.pushState({}, '', to); dispatchEvent(new PopStateEvent('popstate')); }", path)


def paints(page: Page, path: str, *, markup: int = 6_000) -> None:
    """The page at `path` of the UI is no error page, and holds so much markup."""
    visit(page, path)
    expect(page.get_by_test_id("nav-dags-link")).to_be_visible()
    page.wait_for_timeout(500)  # pages poll for ever: there is no idle network to wait for
    assert page.get_by_role("heading", name="Error", exact=True).count() == 0
    assert page.get_by_text("Page Not Found").count() == 0
    page.wait_for_function("(least) => document.getElementById('root').innerHTML.length > least", arg=markup)


@pytest.fixture(scope="module")
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture(scope="module")
def page(browser: Browser, lite: Lite, complaints: Complaints) -> Iterator[Page]:
    """One tab for the whole module; each test fails on what went wrong in it since the test before."""
    context = browser.new_context(base_url=lite.url, viewport={"width": 1440, "height": 900}, locale="en-US")
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    complaints.watch(page)
    yield page
    context.close()


@pytest.fixture(autouse=True)
def no_complaints(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each browser test: nothing may have gone wrong in the page."""
    yield
    if "page" in request.fixturenames:
        complaints: Complaints = request.getfixturevalue("complaints")
        found, complaints.found = complaints.found, []
        assert found == []


def confirm_deletion(page: Page) -> None:
    """Returns when the dialog is gone: while it is there, the page behind it has no rows for anybody."""
    page.get_by_role("button", name="Yes, Delete").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
