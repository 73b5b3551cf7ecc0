"""A backfill by clicking, in a real Lite and the unmodified UI: preview, create, pause, cancel; seen in Postgres.

The tests of this module are one visit: they share a DAG and a tab, top to bottom.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Page, expect

from loadtests.lite_process import Api, Lite, wait_until
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, log_in, visit

DAG_ID = "e2e_backfill"
DAG = """\
from datetime import datetime

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG

with DAG("e2e_backfill", schedule="@daily", start_date=datetime(2020, 1, 1), catchup=False):
    ApprovalOperator(task_id="wait", subject="Go on?")
"""
SEEN_MS = 1000 * PATIENCE_S


@pytest.fixture(scope="module")
def dag(lite: Lite, api: Api) -> str:
    project = lite.workspace / DAG_ID
    project.mkdir()
    (project / "dag.py").write_text(DAG)
    api.wait_for_dags(DAG_ID)
    return DAG_ID


def facts(lite: Lite) -> dict[str, Any]:
    """The newest backfill of the DAG as Postgres has it, and its runs by state."""
    conninfo = (lite.data_dir / "postgres.conninfo").read_text().strip()
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(
            "SELECT id, is_paused, completed_at IS NOT NULL, reprocess_behavior, max_active_runs FROM backfill"
            " WHERE dag_id = %s ORDER BY id DESC LIMIT 1",
            (DAG_ID,),
        ).fetchone()
        if row is None:
            return {}
        runs = connection.execute(
            "SELECT state, count(*) FROM dag_run WHERE backfill_id = %s GROUP BY state", (row[0],)
        ).fetchall()
    return {"paused": row[1], "over": row[2], "reprocess": row[3], "at_once": row[4], "runs": dict(runs)}


def become(lite: Lite, **expected: Any) -> None:
    wait_until(lambda: expected.items() <= facts(lite).items(), within_s=60, what=f"a backfill that is {expected}")


def test_a_user_logs_in(page: Page, complaints: Complaints) -> None:
    log_in(page, complaints)


def test_the_dialog_says_how_many_runs_there_will_be_and_makes_them(
    page: Page, dag: str, lite: Lite, artifacts: Path
) -> None:
    page.goto(f"/dags/{dag}")
    page.get_by_test_id("trigger-dag-button").click()
    page.get_by_text("Run this Dag for a range of dates").click()
    since, until = page.locator("input[type=datetime-local]").all()[:2]
    since.fill("2026-01-01T00:00")
    until.fill("2026-01-05T00:00")
    expect(page.get_by_text("5 runs will be triggered.")).to_be_visible(timeout=SEEN_MS)
    page.get_by_text("Missing and Errored Runs").click()
    page.locator("input[type=number]").fill("2")  # what is typed is sent as text
    expect(page.get_by_text("5 runs will be triggered.")).to_be_visible(timeout=SEEN_MS)
    page.screenshot(path=artifacts / "backfill-1-dialog.png")
    page.get_by_role("button", name="Run Backfill").click()
    become(lite, reprocess="failed", at_once=2, runs={"running": 2, "queued": 3})


def test_the_banner_pauses_and_goes_on(page: Page, dag: str, lite: Lite, artifacts: Path) -> None:
    page.goto(f"/dags/{dag}")
    expect(page.get_by_text("Backfill in progress").first).to_be_visible(timeout=SEEN_MS)
    page.screenshot(path=artifacts / "backfill-2-banner.png")
    page.get_by_role("button", name="Pause backfill").click()
    become(lite, paused=True)
    page.get_by_role("button", name="Unpause backfill").click()
    become(lite, paused=False)


def test_cancelled_what_is_queued_fails_and_the_banner_goes(page: Page, dag: str, lite: Lite, artifacts: Path) -> None:
    page.get_by_role("button", name="Cancel backfill").click()
    become(lite, over=True, runs={"running": 2, "failed": 3})
    visit(page, f"/dags/{dag}/backfills")
    expect(page.get_by_text("2026-01-05").first).to_be_visible(timeout=SEEN_MS)
    expect(page.get_by_text("Backfill in progress")).to_have_count(0)
    page.screenshot(path=artifacts / "backfill-3-tab.png")
