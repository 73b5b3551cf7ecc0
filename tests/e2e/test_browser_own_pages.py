"""A real browser on our own pages inside the unmodified UI: two runs compared, and the next days of schedules.

The tests of this module are one visit: they share a tab and build on each other, top to bottom.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from loadtests.lite_process import Api, Lite
from tests.e2e.conftest import Complaints, log_in, visit

DAG_ID = "e2e_own_pages"
NOW = datetime.now(UTC)
SLOT = (NOW.hour - 1) % 24
CRON = f"0 {SLOT} * * *"
"""The slot has just passed: none comes while the tests run."""
DAG = f"""\
from datetime import datetime
from airflow.sdk import DAG, task

START = datetime.fromisoformat("{NOW.isoformat()}")  # after the slot, which would have its run at once
with DAG("e2e_own_pages", schedule="{CRON}", start_date=START, params={{"broken": False}}):
    @task
    def load(params=None):
        print("loading")
        if params["broken"]:
            raise KeyError("price")

    @task
    def report():
        print("reported")

    load() >> report()
"""


@pytest.fixture(scope="module")
def runs(lite: Lite, api: Api) -> tuple[str, str]:
    """A run that succeeded, and a later one that failed."""
    project = lite.workspace / DAG_ID
    project.mkdir()
    (project / "dag.py").write_text(DAG)
    api.wait_for_dags(DAG_ID)
    api.unpause(DAG_ID)
    good = api.trigger(DAG_ID)
    assert api.wait_for_run(DAG_ID, good)["state"] == "success"
    bad = api.trigger(DAG_ID, conf={"broken": True})
    assert api.wait_for_run(DAG_ID, bad)["state"] == "failed"
    return good, bad


def row(frame: FrameLocator, table: str, head: str) -> list[str]:
    """The cells of one row, as they are read."""
    found = frame.get_by_role("table", name=table).get_by_role("row").filter(has=frame.locator(f"th:text-is('{head}')"))
    return found.locator("td").all_inner_texts()


def test_the_tab_of_a_run_compares_it_with_the_last_good_one(
    page: Page, complaints: Complaints, runs: tuple[str, str], artifacts: Path
) -> None:
    good, bad = runs
    log_in(page, complaints)
    visit(page, f"/dags/{DAG_ID}/runs/{bad}")
    page.get_by_role("link", name="Compare").click()
    frame = page.frame_locator("iframe[title='Compare']")
    expect(frame.get_by_role("columnheader", name=good)).to_be_visible()
    assert row(frame, "The two runs", "State") == ["success", "failed"]
    assert row(frame, "Params", "broken") == ["false", "true"]
    load = row(frame, "Tasks of both runs", "load")
    assert [load[0].split(), load[1]] == [["success", "→", "to", "failed"], "1"]
    expect(frame.get_by_text("Both runs are of one version.")).to_be_visible()
    page.screenshot(path=artifacts / "run-diff.png")


def test_another_run_is_chosen_with_the_keyboard(page: Page, runs: tuple[str, str]) -> None:
    good, bad = runs
    visit(page, f"/dags/{DAG_ID}/runs/{good}/plugin/leoflow-run-diff")
    frame = page.frame_locator("iframe[title='Compare']")
    expect(frame.get_by_text("No run succeeded before this one")).to_be_visible()
    frame.get_by_label("Compared with").focus()
    page.keyboard.press("ArrowDown")
    expect(frame.get_by_role("columnheader", name=bad)).to_be_visible()
    assert row(frame, "The two runs", "State") == ["failed", "success"]


def test_the_menu_leads_to_the_next_days(page: Page, runs: tuple[str, str], artifacts: Path) -> None:
    visit(page, "/dags")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Schedule what-if").click()
    frame = page.frame_locator("iframe[title='Schedule what-if']")
    expect(frame.get_by_role("link", name=DAG_ID)).to_be_visible()
    frame.get_by_label("DAGs that contain").fill(DAG_ID)  # other files have DAGs on this Lite as well
    frame.get_by_label("DAGs that contain").press("Enter")
    expect(frame.locator("rect.run")).to_have_count(7)
    found = frame.get_by_role("table", name="Runs of each DAG").get_by_role("row", name=DAG_ID)
    assert found.locator("td").all_inner_texts()[:2] == [CRON, "7"]
    expect(frame.get_by_role("img", name=re.compile("Pool default_pool: at most 1 of 128 slots"))).to_be_visible()
    expect(frame.get_by_text("No wait of these runs polls.")).to_be_visible()
    page.screenshot(path=artifacts / "what-if.png")
    frame.get_by_role("link", name=DAG_ID).first.click()
    expect(page).to_have_url(re.compile(f"/dags/{DAG_ID}(/|$)"))


def test_a_change_is_shown_beside_what_is(page: Page, api: Api, artifacts: Path) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto("/plugin/leoflow-what-if")
    frame = page.frame_locator("iframe[title='Schedule what-if']")
    frame.get_by_label("Days").select_option("1")
    frame.get_by_label("What if").fill(DAG_ID)
    frame.get_by_label("had the schedule").fill("*/30 * * * *")
    frame.get_by_label("had the schedule").press("Enter")
    expect(frame.get_by_text("dashed: as it is")).to_be_visible()
    row = frame.get_by_role("table", name="Runs of each DAG").get_by_role("row", name=DAG_ID)
    expect(row.get_by_text("instead of 1")).to_be_visible()
    assert frame.locator("path.before").count() == 1
    page.screenshot(path=artifacts / "what-if-changed.png")
    assert api.call("GET", f"/dags/{DAG_ID}")["timetable_summary"] == CRON


def test_days_begin_in_the_zone_that_the_ui_shows(page: Page) -> None:
    page.goto("/dags")
    page.evaluate("localStorage.setItem('timezone', JSON.stringify('Asia/Tokyo'))")
    page.goto("/plugin/leoflow-what-if")
    frame = page.frame_locator("iframe[title='Schedule what-if']")
    expect(frame.get_by_text("Times are of Asia/Tokyo.")).to_be_visible()
    first = frame.locator("rect.run title").filter(has_text=DAG_ID).first
    expect(first).to_have_text(re.compile(f" {(SLOT + 9) % 24:02}:00:00$"))
    page.evaluate("localStorage.removeItem('timezone')")


def test_a_schedule_that_cannot_be_is_explained(page: Page, complaints: Complaints) -> None:
    page.goto("/plugin/leoflow-what-if")
    frame = page.frame_locator("iframe[title='Schedule what-if']")
    frame.get_by_label("What if").fill(DAG_ID)
    frame.get_by_label("had the schedule").fill("often")
    frame.get_by_role("button", name="Show").click()
    expect(frame.get_by_role("alert")).to_contain_text("this schedule cannot be: cron expression 'often'")
    assert len(complaints.found) == 2, "the refusal, told twice by the browser"
    complaints.found.clear()


def test_logs_are_searched_and_lead_to_their_try(page: Page, runs: tuple[str, str], artifacts: Path) -> None:
    visit(page, "/dags")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Log search").click()
    frame = page.frame_locator("iframe[title='Log search']")
    frame.get_by_label("Text").fill("keyerror: 'pri")
    frame.get_by_label("DAG", exact=True).fill(DAG_ID)
    frame.get_by_role("button", name="Search").click()
    expect(frame.get_by_role("status")).to_contain_text("Everything was looked at: 1 try has it; looked at 3 tries")
    expect(frame.locator("mark")).to_have_text("KeyError: 'pri")
    page.screenshot(path=artifacts / "log-search.png")
    frame.get_by_role("link", name=f"{DAG_ID} · load").click()
    expect(page.get_by_text("KeyError: 'price'").first).to_be_visible()
    assert f"/runs/{quote(runs[1], safe='')}/tasks/load" in page.url


def test_a_search_can_be_kept_and_is_told_when_nothing_has_it(page: Page) -> None:
    page.goto("/leoflow/log-search?text=no+log+has+this&state=failed")
    expect(page.get_by_role("status")).to_contain_text("Everything was looked at: 0 tries have it")
    expect(page.get_by_label("State of the try")).to_have_value("failed")
    page.get_by_label("Text").fill("loading")
    page.get_by_label("State of the try").select_option("success")
    page.get_by_label("Text").press("Enter")
    expect(page.locator("#found > li").first).to_be_visible()
    assert page.url.endswith("/leoflow/log-search?text=loading&state=success")


def test_no_page_is_wider_than_a_phone(page: Page, runs: tuple[str, str]) -> None:
    """What is wide scrolls in a region of its own."""
    page.set_viewport_size({"width": 420, "height": 800})
    for path in (
        f"/leoflow/run-diff?dag_id={DAG_ID}&run_id={quote(runs[1], safe='')}",
        f"/leoflow/what-if?changed={DAG_ID}&schedule=@hourly",
        "/leoflow/log-search?text=loading",
    ):
        page.goto(path)
        expect(page.locator("#answer, #found li").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 420, path
    page.set_viewport_size({"width": 1440, "height": 900})
