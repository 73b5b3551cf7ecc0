"""The Connections page of the unmodified Airflow UI: add, look, edit, delete. One visit, top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from loadtests.lite_process import Api, Lite
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, confirm_deletion, log_in

CONNECTION_ID = "e2e_warehouse"
PAINTS_MS = 1000 * PATIENCE_S


@pytest.fixture(scope="module")
def page(page: Page, lite: Lite, complaints: Complaints) -> Page:
    """The shared tab, logged in."""
    log_in(page, complaints)
    return page


def row(page: Page) -> Locator:
    return page.get_by_role("row").filter(has_text=CONNECTION_ID)


def stored(api: Api) -> dict[str, object]:
    found: dict[str, object] = api.call("GET", f"/connections/{CONNECTION_ID}")
    return found


def test_the_menu_leads_to_the_page(page: Page, artifacts: Path) -> None:
    page.get_by_role("button", name="Admin").click()
    page.get_by_role("menuitem", name="Connections").click()
    page.wait_for_url(re.compile("/connections"))
    expect(page.get_by_role("button", name="Add Connection")).to_be_visible(timeout=PAINTS_MS)
    page.screenshot(path=artifacts / "connections-1-empty.png")


def test_a_connection_is_added_through_the_form(page: Page, api: Api, artifacts: Path) -> None:
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.locator("input[name=connection_id]").fill(CONNECTION_ID)
    form.get_by_role("combobox").first.click()
    page.get_by_role("option", name="Postgres", exact=True).click()
    form.locator("input[name=host]").fill("db.example")
    form.locator("input[name=login]").fill("ana")
    form.locator("input[name=password]").fill("hunter2")
    page.screenshot(path=artifacts / "connections-2-form.png")
    form.get_by_role("button", name="Save").click()
    expect(row(page)).to_be_visible(timeout=PAINTS_MS)
    assert (stored(api)["conn_type"], stored(api)["host"], stored(api)["password"]) == ("postgres", "db.example", "***")
    page.screenshot(path=artifacts / "connections-3-added.png")


def test_an_edit_changes_one_field_and_keeps_the_password(page: Page, api: Api, artifacts: Path) -> None:
    row(page).get_by_label("Edit Connection").click()
    form = page.get_by_role("dialog")
    form.locator("[name=description]").fill("the warehouse")
    page.screenshot(path=artifacts / "connections-4-edit.png")
    form.get_by_role("button", name="Save").click()
    expect(row(page).get_by_text("the warehouse")).to_be_visible(timeout=PAINTS_MS)
    assert (stored(api)["host"], stored(api)["login"], stored(api)["password"]) == ("db.example", "ana", "***")


def test_a_deleted_connection_leaves_the_list(page: Page, api: Api, artifacts: Path) -> None:
    row(page).get_by_label("Delete Connection").click()
    confirm_deletion(page)
    expect(row(page)).to_have_count(0, timeout=PAINTS_MS)
    left = api.call("GET", "/connections")["connections"]
    assert CONNECTION_ID not in {connection["connection_id"] for connection in left}
    page.screenshot(path=artifacts / "connections-5-deleted.png")
