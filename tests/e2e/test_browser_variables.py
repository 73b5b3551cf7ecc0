"""The Variables page of the unmodified Airflow UI: add, edit, import, delete, delete many. One visit, top to bottom."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from loadtests.lite_process import Api, Lite
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, confirm_deletion, log_in

PAINTS_MS = 1000 * PATIENCE_S


@pytest.fixture(scope="module")
def page(page: Page, lite: Lite, complaints: Complaints) -> Page:
    """The shared tab, logged in."""
    log_in(page, complaints)
    return page


def row(page: Page, key: str) -> Locator:
    return page.get_by_role("row").filter(has_text=key)


def stored(api: Api) -> dict[str, Any]:
    """Key -> (value as it is shown, description)."""
    rows = api.call("GET", "/variables?limit=100")["variables"]
    return {row["key"]: (row["value"], row["description"]) for row in rows}


def test_the_menu_leads_to_the_page(page: Page, artifacts: Path) -> None:
    page.get_by_role("button", name="Admin").click()
    page.get_by_role("menuitem", name="Variables").click()
    page.wait_for_url(re.compile("/variables"))
    expect(page.get_by_role("button", name="Add Variable")).to_be_visible(timeout=PAINTS_MS)
    page.screenshot(path=artifacts / "variables-1-empty.png")


def test_a_variable_is_added_through_the_form(page: Page, api: Api, artifacts: Path) -> None:
    page.get_by_role("button", name="Add Variable").click()
    form = page.get_by_role("dialog")
    form.locator("[name=key]").fill("e2e_region")
    form.locator("[name=value]").fill("eu")
    form.locator("[name=description]").fill("where")
    page.screenshot(path=artifacts / "variables-2-form.png")
    form.get_by_role("button", name="Save").click()
    expect(row(page, "e2e_region")).to_be_visible(timeout=PAINTS_MS)
    assert stored(api)["e2e_region"] == ("eu", "where")


def test_a_secret_is_added_and_not_shown(page: Page, api: Api) -> None:
    page.get_by_role("button", name="Add Variable").click()
    form = page.get_by_role("dialog")
    form.locator("[name=key]").fill("e2e_token")
    form.locator("[name=value]").fill("hunter2")
    form.get_by_role("button", name="Save").click()
    expect(row(page, "e2e_token").get_by_text("***")).to_be_visible(timeout=PAINTS_MS)
    assert stored(api)["e2e_token"][0] == "***"


def test_an_edit_changes_the_value(page: Page, api: Api, artifacts: Path) -> None:
    row(page, "e2e_region").get_by_label("Edit Variable").click()
    form = page.get_by_role("dialog")
    form.locator("[name=value]").fill("us")
    form.get_by_role("button", name="Save").click()
    expect(row(page, "e2e_region").get_by_text("us", exact=True)).to_be_visible(timeout=PAINTS_MS)
    assert stored(api)["e2e_region"] == ("us", "where")
    page.screenshot(path=artifacts / "variables-3-edited.png")


def test_a_file_is_imported(page: Page, api: Api, artifacts: Path, tmp_path: Path) -> None:
    file = tmp_path / "variables.json"
    file.write_text(json.dumps({"e2e_region": "ap", "e2e_limits": {"rows": 3}}))
    page.get_by_role("button", name="Import Variables").click()
    form = page.get_by_role("dialog")
    form.locator("input[type=file]").set_input_files(file)
    form.get_by_text("Overwrite", exact=True).click()
    page.screenshot(path=artifacts / "variables-4-import.png")
    form.get_by_role("button", name="Import", exact=True).click()
    expect(row(page, "e2e_limits")).to_be_visible(timeout=PAINTS_MS)
    found = stored(api)
    assert found["e2e_region"][0] == "ap"
    assert json.loads(found["e2e_limits"][0]) == {"rows": 3}


def test_a_deleted_variable_leaves_the_list(page: Page, api: Api) -> None:
    row(page, "e2e_limits").get_by_label("Delete Variable").click()
    confirm_deletion(page)
    expect(row(page, "e2e_limits")).to_have_count(0, timeout=PAINTS_MS)
    assert set(stored(api)) == {"e2e_region", "e2e_token"}


def test_many_are_deleted_at_once(page: Page, api: Api, artifacts: Path) -> None:
    for key in ("e2e_region", "e2e_token"):
        row(page, key).get_by_role("checkbox").locator("..").click()
    page.screenshot(path=artifacts / "variables-5-chosen.png")
    page.get_by_role("button", name="Delete", exact=True).click()
    confirm_deletion(page)
    expect(row(page, "e2e_region")).to_have_count(0, timeout=PAINTS_MS)
    assert stored(api) == {}
    page.screenshot(path=artifacts / "variables-6-deleted.png")
