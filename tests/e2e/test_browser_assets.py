"""The Assets pages of the unmodified Airflow UI: list, graph, events and queued events, an event that starts a
run, the calendar.

One visit, top to bottom; what was clicked is then looked for in the database.
The DAGs come as artifacts and have empty tasks, so that no environment is made for them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from playwright.sync_api import Page, expect

from leoflowd.contract.asset_spec import AllOf, AssetSpec
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from loadtests.lite_process import Api, Lite, wait_until
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, log_in, visit

PAINTS_MS = 1000 * PATIENCE_S
RAW, CLEAN = AssetSpec(name="e2e_raw", uri="s3://e2e/raw"), AssetSpec(name="e2e_clean", uri="s3://e2e/clean")
NEVER = AssetSpec(name="e2e_never", uri="s3://e2e/never")


def dag(dag_id: str, **fields: Any) -> DagSpec:
    outlets = fields.pop("outlets", ())
    task = TaskSpec(task_id="only", operator="EmptyOperator", kind="empty", outlets=outlets)
    return DagSpec(dag_id=dag_id, tasks=(task,), **fields)


@pytest.fixture(scope="module")
def rows(lite: Lite) -> Any:
    conninfo = (lite.data_dir / "postgres.conninfo").read_text().strip()

    def ask(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    return ask


@pytest.fixture(scope="module")
def page(page: Page, api: Api, complaints: Complaints) -> Page:
    """The shared tab, logged in, with three DAGs: one makes `e2e_raw`, one waits for it and makes `e2e_clean`, and one
    waits for it and for what nobody makes."""
    for spec in (
        dag("e2e_makes_raw", outlets=(RAW,)),
        dag("e2e_waits", outlets=(CLEAN,), asset_condition=AllOf(of=(RAW,)), timetable_summary="Asset"),
        dag("e2e_patient", asset_condition=AllOf(of=(RAW, NEVER)), timetable_summary="Asset"),
    ):
        api.call("POST", "/leoflow/dags", json=msgspec.to_builtins(spec))
    log_in(page, complaints)
    return page


def test_the_menu_leads_to_the_list(page: Page, artifacts: Path) -> None:
    page.get_by_role("link", name="Assets", exact=True).click()
    page.wait_for_url(re.compile("/assets"))
    expect(page.get_by_role("link", name=RAW.name, exact=True)).to_be_visible(timeout=PAINTS_MS)
    expect(page.get_by_role("link", name=CLEAN.name, exact=True)).to_be_visible(timeout=PAINTS_MS)
    page.screenshot(path=artifacts / "assets-1-list.png")


def test_an_asset_has_a_graph(page: Page, artifacts: Path) -> None:
    page.get_by_role("link", name=RAW.name, exact=True).click()
    page.wait_for_url(re.compile(r"/assets/\d+"))
    graph = page.locator(".react-flow")
    expect(graph.get_by_text("e2e_makes_raw")).to_be_visible(timeout=PAINTS_MS)
    expect(graph.get_by_text("e2e_waits")).to_be_visible(timeout=PAINTS_MS)
    page.screenshot(path=artifacts / "assets-2-graph.png")


def test_an_event_by_hand_starts_the_dag_that_waits(page: Page, rows: Any, artifacts: Path) -> None:
    page.get_by_role("button", name="Create Event").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Manual", exact=True).click()
    page.screenshot(path=artifacts / "assets-3-event.png")
    dialog.get_by_role("button", name="Create Event").click()
    expect(dialog).to_have_count(0, timeout=PAINTS_MS)
    wait_until(
        lambda: rows("SELECT 1 FROM dag_run WHERE dag_id = 'e2e_waits' AND state = 'success'") or None,
        within_s=PATIENCE_S,
        what="the run that the event starts",
    )
    assert rows("SELECT run_type, triggered_by FROM dag_run WHERE dag_id = 'e2e_waits'") == [
        ("asset_triggered", "asset")
    ]
    taken = rows("SELECT e.extra ->> 'from_rest_api' FROM asset_event_run t JOIN asset_event e ON e.id = t.event_id")
    assert ("true",) in taken
    page.reload()  # as in Airflow the page reads its list when the event is made, which may be before the run is
    started = page.get_by_test_id("card-list").get_by_role("link", name="e2e_waits")
    expect(started).to_have_attribute("href", re.compile("/runs/asset_triggered__"), timeout=PAINTS_MS)
    page.screenshot(path=artifacts / "assets-4-events.png")


def test_materializing_runs_the_dag_that_makes_it(page: Page, rows: Any) -> None:
    page.get_by_role("button", name="Create Event").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Materialize", exact=True).click()
    dialog.get_by_role("button", name="Trigger", exact=True).click()
    expect(dialog).to_have_count(0, timeout=PAINTS_MS)
    wait_until(
        lambda: rows("SELECT 1 FROM dag_run WHERE dag_id = 'e2e_waits' AND state = 'success' OFFSET 1") or None,
        within_s=PATIENCE_S,
        what="the run that the materialized asset starts",
    )
    assert rows("SELECT run_type FROM dag_run WHERE dag_id = 'e2e_makes_raw'") == [("asset_materialization",)]


def test_the_graph_of_the_dag_shows_what_starts_it(page: Page, artifacts: Path) -> None:
    page.goto("/dags/e2e_waits")
    page.get_by_role("button", name=re.compile("Graph")).first.click()
    expect(page.locator(".react-flow").get_by_text("only")).to_be_visible(timeout=PAINTS_MS)
    page.screenshot(path=artifacts / "assets-5-dag.png")


def test_what_is_queued_is_shown_to_whom_it_waits_for(page: Page, rows: Any, artifacts: Path) -> None:
    of_it = "SELECT DISTINCT a.name FROM asset_queue q JOIN asset a ON a.id = q.asset_id WHERE q.dag_id = 'e2e_patient'"
    queued = rows(of_it)
    assert queued == [(RAW.name,)]
    visit(page, "/dags/e2e_patient")
    page.get_by_role("button", name="1 of 2 assets updated").click()
    waiting = page.get_by_role("dialog")
    expect(waiting.get_by_text(RAW.name)).to_be_visible(timeout=PAINTS_MS)
    expect(waiting.get_by_text(NEVER.name)).to_be_visible(timeout=PAINTS_MS)
    page.screenshot(path=artifacts / "assets-6-queued.png")


def test_the_calendar_counts_runs_by_day_and_hour(page: Page, rows: Any, artifacts: Path) -> None:
    ours = "dag_id IN ('e2e_makes_raw', 'e2e_waits', 'e2e_patient')"
    dated = rows(f"SELECT dag_id FROM dag_run WHERE logical_date IS NOT NULL AND {ours}")
    assert dated == [("e2e_makes_raw",)], "what an asset starts has no date, and no place in a calendar"
    visit(page, "/dags/e2e_makes_raw/calendar")
    with_runs = page.locator("[data-testid=calendar-cell][data-has-data=true]")
    for granularity in ("Daily", "Hourly"):
        page.get_by_role("button", name=granularity, exact=True).click()
        expect(with_runs).to_have_count(1, timeout=PAINTS_MS)
        with_runs.hover()
        expect(page.get_by_test_id("calendar-tooltip")).to_contain_text(
            re.compile("1.*success|success.*1", re.IGNORECASE)
        )
        page.screenshot(path=artifacts / f"assets-7-calendar-{granularity.lower()}.png")
