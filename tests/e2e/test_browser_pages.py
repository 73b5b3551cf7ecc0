"""Our own pages in a real browser, light and dark: nothing that axe calls a fault, no console error, no failed request.

axe-core comes from npm, pinned, when the test runs.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from loadtests.lite_process import Lite, wait_until
from tests.conftest import PATIENCE_S, npm_tarball
from tests.e2e.conftest import Complaints, log_in

AXE = ("axe-core", "4.14.1", "axe-core-4.14.1.tgz")
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
DAG = """\
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG

with DAG("shown", schedule=None, is_paused_upon_creation=False):
    FileSensor(task_id="waits", filepath="/nowhere/at/all", poke_interval=600)
"""
HELD = """\
from datetime import datetime

from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG

at = {"schedule": "@daily", "start_date": datetime(2026, 1, 1), "catchup": True, "max_active_runs": 1}
with DAG("held", is_paused_upon_creation=False, **at):
    FileSensor(task_id="waits", filepath="/nowhere/at/all", poke_interval=600)
"""
BROKEN = "from airflow.sdk import DAG\n1 / 0\n"
FINDINGS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations.map(
    (one) => `${one.impact} ${one.id}: ${one.nodes.map((node) => node.html.slice(0, 150)).join("; ")}`)"""


@pytest.fixture(scope="module")
def axe() -> str:
    tarball = npm_tarball(*AXE)
    digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    assert digest == AXE_SHA512, f"{tarball} is not the pinned file; remove it"
    with tarfile.open(tarball) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture(scope="module")
def lite(lite_with_packages: Lite) -> Lite:
    """A DAG whose sensor waits, one whose next run waits for that, and a file with a fault."""
    for name, text in (("shown", DAG), ("held", HELD), ("broken", BROKEN)):
        (lite_with_packages.workspace / name).mkdir()
        (lite_with_packages.workspace / name / "dag.py").write_text(text)
    return lite_with_packages


@pytest.fixture(scope="module")
def run_id(lite: Lite) -> str:
    with lite.api() as api:
        api.wait_for_dags("shown", "held")
        run_id = api.trigger("shown")
        wait_until(
            lambda: api.states("shown", run_id) == {"waits": "deferred"}, within_s=30, what="a sensor that waits"
        )
        return run_id


@pytest.fixture(scope="module", params=["light", "dark"])
def page(
    request: pytest.FixtureRequest, browser: Browser, lite: Lite, run_id: str, complaints: Complaints
) -> Iterator[Page]:
    """A tab of somebody who is logged in and has this scheme."""
    context = browser.new_context(
        base_url=lite.url, viewport={"width": 1280, "height": 900}, color_scheme=request.param
    )
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    complaints.watch(page)
    log_in(page, complaints)
    yield page
    context.close()


@pytest.fixture
def findings(page: Page, axe: str) -> Callable[[], list[str]]:
    """What axe says of the page that is shown now."""

    def look() -> list[str]:
        page.evaluate(axe)
        found: list[str] = page.evaluate(FINDINGS)
        return found

    return look


def test_the_login_page(page: Page, findings: Callable[[], list[str]]) -> None:
    page.goto("/auth/login")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert findings() == []


def test_the_waits_with_one_of_them_opened(page: Page, findings: Callable[[], list[str]]) -> None:
    page.goto("/leoflow/pool")
    page.get_by_role("link", name="shown / waits").click()
    expect(page.locator("#because li").first).to_be_visible()
    assert findings() == []


def test_the_tree_of_the_daemon(page: Page, findings: Callable[[], list[str]]) -> None:
    page.goto("/leoflow/tree")
    expect(page.locator(".node").first).to_be_visible()
    assert findings() == []


def test_the_explanation_of_a_task_instance(page: Page, run_id: str, findings: Callable[[], list[str]]) -> None:
    page.goto(f"/leoflow/explain?dag_id=shown&run_id={quote(run_id)}&task_id=waits&map_index=-1")
    expect(page.get_by_role("button", name="Fire")).to_be_visible()
    assert findings() == []


def test_the_lag_of_the_schedule(page: Page, findings: Callable[[], list[str]], artifacts: Path) -> None:
    page.goto("/leoflow/lag")
    held = page.get_by_role("row", name="held")
    expect(held.get_by_text("1 run is active, as many as it may have")).to_be_visible()
    expect(page.get_by_text("runs late, median")).to_be_visible()
    page.screenshot(path=artifacts / "lag.png")
    assert findings() == []


def test_a_search_of_logs(page: Page, findings: Callable[[], list[str]]) -> None:
    """What it finds is of our making: only waits are here, which have no log."""
    levels = ("error", "warning", "info", None)
    lines = [{"timestamp": "2026-11-30T10:00:00Z", "level": level, "text": "no space left"} for level in levels]
    one = {"dag_id": "shown", "dag_run_id": "r", "task_id": "t", "map_index": 2, "try_number": 1, "state": "failed"}
    answer = {"tries": [{**one, "lines": lines, "has_more": True}], "looked_at": {"tries": 1}, "reached": None}
    page.route("**/leoflow/api/logSearch?*", lambda route: route.fulfill(json={**answer, "cursor": None}))
    page.goto("/leoflow/log-search?text=space")
    expect(page.locator("mark")).to_have_count(len(levels))
    assert findings() == []
    page.unroute("**/leoflow/api/logSearch?*")


def test_the_card_on_the_home_page_of_the_ui(
    page: Page, complaints: Complaints, findings: Callable[[], list[str]], artifacts: Path
) -> None:
    page.goto("/")
    frame = page.frame_locator("iframe[title='Schedule lag']")
    expect(frame.get_by_text("waits armed")).to_be_visible()
    page.screenshot(path=artifacts / "home-card.png")
    assert page.locator("iframe[title='Schedule lag']").evaluate(
        "(frame) => frame.contentDocument.documentElement.scrollHeight <= frame.clientHeight"
    )
    link = frame.get_by_role("link", name="held")
    link.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/dags/held(/|$)"))
    page.goto("/leoflow/lag?card")
    expect(page.get_by_role("row", name="held")).to_be_visible()
    assert findings() == []
    assert complaints.found == []


@pytest.mark.parametrize(
    ("shown", "followed"),
    [
        ("/leoflow/pool", "/leoflow/api/overview"),
        ("/leoflow/tree", "/api/v2/leoflow/tree"),
        ("/leoflow/lag", "/leoflow/api/lag"),
    ],
)
def test_a_page_asks_once_and_follows_the_answer(page: Page, shown: str, followed: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(shown)
    page.wait_for_function("() => document.querySelector('main').innerText.length > 300")
    if shown != "/leoflow/lag":  # its numbers stay while nothing happens
        before = page.locator("#updated").inner_text()
        page.wait_for_function("(before) => document.querySelector('#updated').innerText !== before", arg=before)
    api = [url for url in asked if "/api/" in url]
    assert len(api) == 1
    assert followed in api[0]


def test_the_editor_with_a_fault_and_with_a_question(page: Page, findings: Callable[[], list[str]]) -> None:
    page.goto("/leoflow/editor")
    page.get_by_role("button", name=re.compile(r"broken.dag\.py:2")).click()
    expect(page.locator(".squiggly-error").first).to_be_visible()
    assert findings() == []
    page.get_by_role("button", name="broken", exact=True).click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert findings() == []
    page.get_by_role("button", name="No, leave it").click()


def test_the_pages_of_the_api(page: Page, lite: Lite, findings: Callable[[], list[str]], artifacts: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/docs")
    expect(page.get_by_role("heading", name="Leoflow", exact=True)).to_be_visible()
    expect(page.get_by_text("/api/v2/assets", exact=True).first).to_be_visible()
    page.screenshot(path=artifacts / "docs.png")
    assert findings() == []
    assert [url for url in asked if not url.startswith((lite.url, "data:", "blob:"))] == []


def test_the_api_without_its_pages(page: Page, findings: Callable[[], list[str]]) -> None:
    def without(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('data-has-scalar="yes"', 'data-has-scalar="no"'))

    page.route("**/docs", without)
    page.goto("/docs")
    expect(page.get_by_text("leoflow setup")).to_be_visible()
    assert findings() == []
    page.unroute("**/docs")


def test_the_docs_menu_of_the_ui_leads_to_the_api(page: Page, lite: Lite) -> None:
    page.goto("/dags")
    page.get_by_role("button", name="Docs").click()
    assert page.get_by_role("menuitem", name="REST API Reference").get_attribute("href") == f"{lite.url}/docs"
