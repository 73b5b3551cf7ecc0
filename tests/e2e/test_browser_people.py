"""Three people with different roles in three browsers at once: what each sees, and what each is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from loadtests.lite_process import PASSWORD, USERNAME, Api, Lite
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, log_in, paints, visit

PAINTS_MS = 1000 * PATIENCE_S
SOURCE = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

with DAG("people_sales", schedule=None):
    EmptyOperator(task_id="a")
with DAG("people_hr", schedule=None):
    EmptyOperator(task_id="a")
"""
SECRET = "ana's own password"
DAGS = ("people_hr", "people_sales")
SEEN = {USERNAME: DAGS, "people_vic": DAGS, "people_ana": DAGS[1:]}
MENU = {USERNAME: (True, True), "people_vic": (False, False), "people_ana": (False, False)}
"""Who has Variables and Config in the menu."""


@pytest.fixture(scope="module")
def shared(lite: Lite, api: Api) -> Iterator[None]:
    """A server that a team shares: a viewer of everything, and somebody of the team sales."""

    def own(method: str, path: str, body: Any = None) -> None:
        api.http.request(method, f"{lite.url}/leoflow/api{path}", json=body).raise_for_status()

    (lite.workspace / "people.py").write_text(SOURCE)
    api.wait_for_dags(*DAGS)
    own("POST", "/teams", {"name": "sales"})
    own("POST", "/roles", {"name": "developer", "grants": [{"rights": "deploy", "dags": "my-teams"}]})
    for username, role in (("people_vic", "Viewer"), ("people_ana", "developer")):
        own("POST", "/users", {"username": username, "password": SECRET, "roles": [role]})
    own("PATCH", "/teams/sales", {"add_members": ["people_ana"], "add_dags": ["people_sal*"]})
    yield
    for username in ("people_vic", "people_ana"):
        own("DELETE", f"/users/{username}")
    own("DELETE", "/roles/developer")
    own("DELETE", "/teams/sales")
    (lite.workspace / "people.py").unlink()


@pytest.fixture(scope="module")
def tabs(browser: Browser, lite: Lite, shared: None, complaints: Complaints) -> Iterator[dict[str, Page]]:
    """User -> a tab of a browser of his own, logged in."""
    contexts = {username: browser.new_context(base_url=lite.url, locale="en-US") for username in SEEN}
    tabs = {}
    for username, context in contexts.items():
        context.set_default_timeout(PAINTS_MS)
        tabs[username] = page = context.new_page()
        complaints.watch(page)
        log_in(page, complaints, username, PASSWORD if username == USERNAME else SECRET)
    yield tabs
    for context in contexts.values():
        context.close()


@pytest.fixture(autouse=True)
def nothing_went_wrong(complaints: Complaints) -> Iterator[None]:
    """In none of the tabs."""
    yield
    found, complaints.found = complaints.found, []
    assert found == []


@pytest.mark.parametrize("username", SEEN)
def test_the_list_has_the_dags_that_he_may_see(tabs: dict[str, Page], artifacts: Path, username: str) -> None:
    page = tabs[username]
    visit(page, "/dags?name_pattern=people_")
    for dag_id in reversed(DAGS):  # the one that all of them see first
        link = page.get_by_role("link", name=dag_id, exact=True)
        expect(link).to_have_count(int(dag_id in SEEN[username]), timeout=PAINTS_MS)
    page.screenshot(path=artifacts / f"people-{username}.png")


@pytest.mark.parametrize("username", SEEN)
def test_the_menu_has_the_pages_that_open(tabs: dict[str, Page], username: str) -> None:
    page = tabs[username]
    page.get_by_role("button", name="Admin").click()
    expect(page.get_by_role("menuitem", name="Pools")).to_be_visible(timeout=PAINTS_MS)
    for name, is_there in zip(("Variables", "Config"), MENU[username], strict=True):
        expect(page.get_by_role("menuitem", name=name)).to_have_count(int(is_there))
    page.keyboard.press("Escape")


@pytest.mark.parametrize("username", SEEN)
@pytest.mark.parametrize("path", ["/", "/dag_runs", "/task_instances", "/events", "/assets", "/pools", "/jobs"])
def test_the_pages_for_everybody_paint_without_a_refusal(tabs: dict[str, Page], path: str, username: str) -> None:
    paints(tabs[username], path)


def test_one_triggers_and_the_others_see_it_as_far_as_they_may(tabs: dict[str, Page], api: Api) -> None:
    page = tabs["people_ana"]
    page.goto("/dags/people_sales")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    expect(page.get_by_role("dialog")).to_have_count(0, timeout=PAINTS_MS)
    (run,) = api.call("GET", "/dags/people_sales/dagRuns")["dag_runs"]
    assert run["triggering_user_name"] == "people_ana"
    visit(tabs["people_vic"], f"/dags/people_sales/runs/{run['dag_run_id']}")
    expect(tabs["people_vic"].get_by_text("people_sales").first).to_be_visible(timeout=PAINTS_MS)


def test_a_hidden_dag_is_not_found(tabs: dict[str, Page]) -> None:
    page = tabs["people_ana"]
    answer = page.request.get("/api/v2/dags/people_hr")
    assert (answer.status, "was not found" in answer.text()) == (404, True)
