"""A real browser and a sensor that waits: the Waits page, its actions, the explain tab, the log made from facts.

The tests of this module are one visit: they share a tab and build on each other, top to bottom.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from loadtests.lite_process import Api, Lite, wait_until
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, log_in, visit

DAG_ID = "e2e_pool"
DAG = """\
from airflow.providers.standard.sensors.filesystem import FileSensor
from airflow.sdk import DAG

with DAG("e2e_pool", schedule=None):
    for name in ("fired", "failed", "found"):
        FileSensor(task_id=name, filepath=f"{folder}/{name}", poke_interval=600)
"""
SEEN_MS = 1000 * PATIENCE_S


@pytest.fixture(scope="module")
def folder(lite: Lite) -> Path:
    """Where the sensors look; nothing is in it."""
    looked_at = lite.data_dir.parent / "browser-pool"
    looked_at.mkdir()
    return looked_at


@pytest.fixture(scope="module")
def run_id(lite: Lite, api: Api, folder: Path) -> str:
    """A run whose three sensors wait."""
    project = lite.workspace / DAG_ID
    project.mkdir()
    (project / "dag.py").write_text(DAG.replace("{folder}", str(folder)))
    api.wait_for_dags(DAG_ID)
    api.unpause(DAG_ID)
    run_id = api.trigger(DAG_ID)
    wait_until(
        lambda: set(api.states(DAG_ID, run_id).values()) == {"deferred"}, within_s=30, what="three sensors that wait"
    )
    return run_id


def waits_page(page: Page) -> FrameLocator:
    """Our page inside the UI's frame."""
    page.goto("/plugin/leoflow-waits")
    return page.frame_locator("iframe[title='Waits']")


def open_wait(page: Page, task_id: str) -> FrameLocator:
    frame = waits_page(page)
    frame.get_by_label("Task", exact=True).fill(task_id)
    frame.get_by_role("link", name=f"{DAG_ID} / {task_id}").click()
    expect(frame.locator("#panel")).to_be_visible()
    return frame


def wait_for_state(api: Api, run_id: str, task_id: str, state: str) -> None:
    wait_until(lambda: api.states(DAG_ID, run_id)[task_id] == state, within_s=30, what=f"{task_id} to be {state}")


def test_a_user_logs_in(page: Page, complaints: Complaints) -> None:
    log_in(page, complaints)


def test_the_navigation_leads_to_the_waits(page: Page, run_id: str, artifacts: Path) -> None:
    visit(page, "/dags")
    page.get_by_role("link", name="Waits", exact=True).click()
    frame = page.frame_locator("iframe[title='Waits']")
    expect(frame.get_by_role("row", name=f"{DAG_ID} / found")).to_be_visible(timeout=SEEN_MS)
    expect(frame.get_by_role("progressbar", name=re.compile("^file: "))).to_be_visible()
    page.screenshot(path=artifacts / "pool-1-waits.png")


def test_a_wait_is_explained_and_probed(page: Page, run_id: str, artifacts: Path) -> None:
    frame = open_wait(page, "found")
    expect(frame.locator("#because")).to_contain_text("found")
    frame.get_by_role("button", name="Probe now").click()
    expect(frame.get_by_role("status")).to_have_text("A probe was asked for.")
    page.screenshot(path=artifacts / "pool-2-explained.png")


def test_the_keyboard_alone_fires_a_wait(page: Page, api: Api, run_id: str) -> None:
    frame = open_wait(page, "fired")
    frame.get_by_role("button", name="Fire").press("Enter")
    expect(frame.get_by_role("button", name="No, leave it")).to_be_focused()
    frame.get_by_role("button", name="Yes").press("Enter")
    wait_for_state(api, run_id, "fired", "success")


def test_a_change_of_mind_leaves_the_wait_alone(page: Page, api: Api, run_id: str) -> None:
    frame = open_wait(page, "failed")
    frame.get_by_role("button", name="Fail").click()
    frame.get_by_role("button", name="No, leave it").click()
    expect(frame.get_by_role("dialog")).to_have_count(0)
    assert api.states(DAG_ID, run_id)["failed"] == "deferred"


def test_a_new_poke_interval_is_shown(page: Page, run_id: str) -> None:
    frame = open_wait(page, "failed")
    frame.get_by_label(re.compile("Poke every")).fill("300")
    frame.get_by_role("button", name="Set").click()
    expect(frame.get_by_role("status")).to_have_text("It is probed every 300 s from now on.")
    expect(frame.locator("#stored")).to_contain_text('"poke_interval_s": 300')


def test_the_explain_tab_acts_too(page: Page, api: Api, run_id: str, artifacts: Path) -> None:
    visit(page, f"/dags/{DAG_ID}/runs/{run_id}/tasks/failed/plugin/leoflow-explain")
    frame = page.frame_locator("iframe[title='Explain']")
    expect(frame.get_by_text("it waits for")).to_be_visible(timeout=SEEN_MS)
    page.screenshot(path=artifacts / "pool-3-explain.png")
    frame.get_by_role("button", name="Fail").click()
    frame.get_by_role("button", name="Yes").click()
    wait_for_state(api, run_id, "failed", "failed")


def test_the_log_of_a_wait_is_read_while_it_waits(page: Page, api: Api, run_id: str, folder: Path) -> None:
    visit(page, f"/dags/{DAG_ID}/runs/{run_id}/tasks/found")
    expect(page.get_by_text("it waits for")).to_be_visible(timeout=SEEN_MS)
    (folder / "found").touch()
    wait_for_state(api, run_id, "found", "success")
    assert "state success: " in api.log(DAG_ID, run_id, "found")


def test_nothing_waits_in_the_end(page: Page, run_id: str) -> None:
    frame = waits_page(page)
    frame.get_by_label("DAG", exact=True).fill(DAG_ID)
    expect(frame.get_by_text("Nothing waits here.")).to_be_visible(timeout=SEEN_MS)
