"""The newest build of Airflow's UI that can be chosen, in a real browser: every page paints, and a run is made by hand.

The tests of this module share a tab and a Lite of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from leoflowd.contract.ui_builds import BUILDS
from leoflowd.lite.ui_assets import WHEEL_VARIABLE
from loadtests.lite_process import Api, Lite, temporary_folder
from tests.conftest import pinned_wheel
from tests.e2e.conftest import Complaints, log_in, paints, visit

NEWEST = max(BUILDS, key=lambda version: [int(part) for part in version.split(".")])
DAG_ID = "next_ui"
DAG = """\
from datetime import datetime, timedelta

from airflow.sdk import DAG, Asset, Param, TaskGroup, task
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference


def late(**kwargs):
    pass


with DAG(
    "next_ui",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"n": Param(3, type="integer", minimum=1)},
    deadline=DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=timedelta(hours=1),
        callback=SyncCallback(late)),
    tags=["next"],
):

    @task(outlets=[Asset("next_table")])
    def load(params=None):
        print("loading", params["n"])
        return list(range(params["n"]))

    loaded = load()
    with TaskGroup("group"):

        @task
        def double(value):
            print("doubling", value)
            return value * 2

        double.expand(value=loaded)

with DAG("next_reader", schedule=Asset("next_table")):

    @task
    def read():
        print("read")

    read()
"""


@pytest.fixture(scope="module")
def lite(artifacts: Path) -> Iterator[Lite]:
    with temporary_folder("leoflow-next-ui-") as root:
        (root / "workspace" / "next").mkdir(parents=True)
        (root / "workspace" / "next" / "dag.py").write_text(DAG)
        environment = {"LEOFLOW_UI_VERSION": NEWEST, WHEEL_VARIABLE: str(pinned_wheel(NEWEST))}
        lite = Lite(workspace=root / "workspace", data_dir=root / "data", env=environment)
        try:
            with lite:
                yield lite
        finally:
            (artifacts / f"lite-next-ui{os.environ.get('PYTEST_XDIST_WORKER', '')}.txt").write_text(lite.output())


@pytest.fixture(scope="module")
def api(lite: Lite) -> Iterator[Api]:
    with lite.api() as client:
        client.wait_for_dags(DAG_ID, "next_reader")
        client.unpause(DAG_ID, "next_reader")
        yield client


@pytest.fixture(scope="module")
def run_id(api: Api) -> str:
    """Of a run that is over, by which the reader has run too."""
    run_id = api.trigger(DAG_ID)
    assert api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    return run_id


def test_it_is_that_build_that_is_served(page: Page, complaints: Complaints, artifacts: Path) -> None:
    log_in(page, complaints)
    page.screenshot(path=artifacts / "next-home.png")


def test_a_run_is_made_by_its_dialog_and_turns_green(page: Page, api: Api, artifacts: Path) -> None:
    page.goto(f"/dags/{DAG_ID}")
    page.get_by_test_id("trigger-dag-button").click()
    page.screenshot(path=artifacts / "next-trigger.png")
    page.get_by_test_id("trigger-dag-submit").click()
    page.wait_for_url(re.compile(f"/dags/{DAG_ID}/runs/"))
    run_id = api.call("GET", f"/dags/{DAG_ID}/dagRuns", params={"order_by": "-run_after", "limit": 1})["dag_runs"][0]
    assert api.wait_for_run(DAG_ID, run_id["dag_run_id"])["state"] == "success"
    visit(page, f"/dags/{DAG_ID}/runs/{run_id['dag_run_id']}/tasks/load")
    expect(page.get_by_text("loading 3")).to_be_visible()
    page.screenshot(path=artifacts / "next-log.png")


@pytest.mark.parametrize("tab", ["", "/runs", "/tasks", "/code", "/details", "/backfills", "/calendar"])
def test_the_tabs_of_the_dag_paint(page: Page, run_id: str, tab: str) -> None:
    paints(page, f"/dags/{DAG_ID}{tab}")


@pytest.mark.parametrize("tab", ["", "/details", "/asset_events"])
def test_the_tabs_of_the_run_paint(page: Page, run_id: str, tab: str) -> None:
    paints(page, f"/dags/{DAG_ID}/runs/{run_id}{tab}")


@pytest.mark.parametrize("tab", ["", "/xcom", "/details", "/task-state-store"])
def test_the_tabs_of_the_task_paint(page: Page, run_id: str, tab: str) -> None:
    paints(page, f"/dags/{DAG_ID}/runs/{run_id}/tasks/load{tab}")


@pytest.mark.parametrize("path", ["tasks/group.double/mapped", "tasks/group/group", "tasks/group.double/mapped/1"])
def test_mapped_instances_and_groups_paint(page: Page, run_id: str, path: str) -> None:
    paints(page, f"/dags/{DAG_ID}/runs/{run_id}/{path}")


@pytest.mark.parametrize(
    "path",
    ["/", "/dags", "/dag_runs", "/task_instances", "/assets", "/events", "/xcoms", "/pools", "/configs", "/deadlines"],
)
def test_the_pages_of_the_shell_paint(page: Page, run_id: str, artifacts: Path, path: str) -> None:
    paints(page, path)
    page.screenshot(path=artifacts / f"next-page{path.replace('/', '-')}.png")
