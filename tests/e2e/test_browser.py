"""A real browser and the unmodified Airflow UI: log in, trigger, watch it turn green, read the log, clear, run again.

The tests of this module are one visit: they share a tab and build on each other, top to bottom.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from loadtests.lite_process import PASSWORD, USERNAME, Api, Lite, wait_until
from tests.conftest import PATIENCE_S
from tests.e2e.conftest import Complaints, paints, visit

DAG_ID = "e2e_browser"
DAG = '''\
import time
from pathlib import Path

from airflow.sdk import DAG, task


@task
def first():
    print("first says hello")
    return 42


@task
def talk(number, dag_run=None):
    """Say one line, then wait until the test has seen it."""
    print(f"line before the wait, got {number}", flush=True)
    until = time.monotonic() + 60
    while not Path(dag_run.conf["go"]).exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    print("line after the wait")


@task.bash
def last(_):
    return "echo the end"


with DAG("e2e_browser", schedule=None, tags=["e2e"], description="For the browser test"):
    last(talk(first()))
'''
TURNS_GREEN_MS = 1000 * PATIENCE_S

COLOUR_OF = """(element) => {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(element).backgroundColor;
    context.fillRect(0, 0, 1, 1);
    return Array.from(context.getImageData(0, 0, 1, 1).data);
}"""


@pytest.fixture(scope="module")
def go(lite: Lite, api: Api) -> Path:
    """The project under test; answers with the file that lets its middle task end."""
    folder = lite.workspace / DAG_ID
    folder.mkdir()
    (folder / "dag.py").write_text(DAG)
    api.wait_for_dags(DAG_ID)
    api.unpause(DAG_ID)
    return lite.data_dir.parent / "browser-go"


def is_green(element: Locator) -> bool:
    red, green, blue, opacity = element.evaluate(COLOUR_OF)
    return bool(opacity > 0 and green > red + 20 and green > blue + 20)


def wait_for_green(page: Page, element: Locator, what: str) -> None:
    expect(element).to_be_visible(timeout=TURNS_GREEN_MS)

    def look() -> bool:
        page.wait_for_timeout(100)
        return is_green(element)

    wait_until(look, within_s=30, what=f"{what} to turn green")


def square(page: Page, run_id: str, task_id: str) -> Locator:
    """A task's square in the grid."""
    return page.get_by_test_id(f"grid-{run_id}-{task_id}").get_by_test_id("task-state-badge")


def newest_run(api: Api) -> str:
    runs = api.call("GET", f"/dags/{DAG_ID}/dagRuns", params={"order_by": "-run_after", "limit": 1})["dag_runs"]
    return str(runs[0]["dag_run_id"])


def test_a_user_logs_in_through_the_form(page: Page, complaints: Complaints, artifacts: Path) -> None:
    complaints.is_logging_in = True
    page.goto("/dags")
    page.wait_for_url(re.compile("/auth/login"))
    page.locator("input[name=username]").fill(USERNAME)
    page.locator("input[name=password]").fill(PASSWORD)
    page.screenshot(path=artifacts / "1-login.png")
    page.locator("button[type=submit]").click()
    page.wait_for_url(re.compile(r"/dags/?$"))
    complaints.is_logging_in = False
    expect(page.get_by_test_id("nav-dags-link")).to_be_visible()


def test_the_dag_list_shows_the_project(go: Path, page: Page, artifacts: Path) -> None:
    page.goto("/dags")
    expect(page.get_by_role("link", name=DAG_ID, exact=True)).to_be_visible(timeout=TURNS_GREEN_MS)
    page.screenshot(path=artifacts / "2-dag-list.png")


def test_the_trigger_dialog_starts_a_run(go: Path, page: Page, artifacts: Path) -> None:
    page.goto(f"/dags/{DAG_ID}")
    page.get_by_test_id("trigger-dag-button").click()
    page.get_by_text("Advanced Options").click()
    page.locator(".monaco-editor .view-lines").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(f'{{"go": "{go}')  # the editor closes quote and brace by itself
    page.get_by_text("Dag Run Note").click()  # the form reads the editor when it loses the focus
    expect(page.get_by_text("Run Parameters")).to_be_visible()
    page.screenshot(path=artifacts / "3-trigger-dialog.png")
    page.get_by_test_id("trigger-dag-submit").click()
    page.wait_for_url(re.compile(f"/dags/{DAG_ID}/runs/"))


def test_the_log_is_read_while_the_task_runs(page: Page, api: Api, go: Path, artifacts: Path) -> None:
    run_id = newest_run(api)
    wait_for_green(page, square(page, run_id, "first"), "the square of task first")
    visit(page, f"/dags/{DAG_ID}/runs/{run_id}/tasks/talk")
    expect(page.get_by_text("line before the wait, got 42")).to_be_visible(timeout=TURNS_GREEN_MS)
    page.screenshot(path=artifacts / "4-live-log.png")
    assert api.states(DAG_ID, run_id)["talk"] == "running"
    go.touch()
    expect(page.get_by_text("line after the wait")).to_be_visible(timeout=TURNS_GREEN_MS)


def test_grid_and_graph_turn_green(page: Page, api: Api, artifacts: Path) -> None:
    run_id = newest_run(api)
    visit(page, f"/dags/{DAG_ID}/runs/{run_id}")
    for task_id in ("first", "talk", "last"):
        wait_for_green(page, square(page, run_id, task_id), f"the square of task {task_id}")
    page.screenshot(path=artifacts / "5-grid.png")
    page.get_by_label("Show Graph (Press g)").click()
    for task_id in ("first", "talk", "last"):
        node = page.get_by_test_id(f"rf__node-{task_id}")
        expect(node.get_by_text("success")).to_be_visible(timeout=TURNS_GREEN_MS)
        wait_for_green(page, node.get_by_test_id("state-badge"), f"the node of task {task_id}")
    page.screenshot(path=artifacts / "6-graph.png")
    page.get_by_label("Show Grid (Press g)").click()


def test_a_cleared_task_runs_again(page: Page, api: Api, artifacts: Path) -> None:
    run_id = newest_run(api)
    page.goto(f"/dags/{DAG_ID}/runs/{run_id}/tasks/last")
    page.get_by_label("Clear Task Instance").click()
    page.get_by_role("button", name="Confirm").click()
    page.screenshot(path=artifacts / "7-cleared.png")
    wait_until(
        lambda: api.task_instances(DAG_ID, run_id)["last"]["try_number"] == 2,
        within_s=30,
        what="the second try of last",
    )
    assert api.wait_for_run(DAG_ID, run_id)["state"] == "success"
    page.goto(f"/dags/{DAG_ID}/runs/{run_id}")
    wait_for_green(page, square(page, run_id, "last"), "the square of the cleared task")
    page.screenshot(path=artifacts / "8-green-again.png")


@pytest.mark.parametrize("tab", ["", "/runs", "/tasks", "/code", "/details", "/events", "/backfills", "/calendar"])
def test_the_tabs_of_the_dag_page_paint(page: Page, go: Path, artifacts: Path, tab: str) -> None:
    paints(page, f"/dags/{DAG_ID}{tab}", markup=8_000)
    page.screenshot(path=artifacts / f"dag{tab.replace('/', '-')}.png")


@pytest.mark.parametrize("tab", ["", "/xcom", "/rendered_templates", "/details", "/events", "/code"])
def test_the_tabs_of_the_task_page_paint(page: Page, api: Api, artifacts: Path, tab: str) -> None:
    paints(page, f"/dags/{DAG_ID}/runs/{newest_run(api)}/tasks/last{tab}", markup=8_000)
    page.screenshot(path=artifacts / f"task{tab.replace('/', '-')}.png")


def test_the_button_has_the_file_compiled_again(page: Page, api: Api, artifacts: Path) -> None:
    asked = {"event": "reparse_dag_file", "dag_id": DAG_ID}
    assert api.call("GET", "/eventLogs", params=asked)["total_entries"] == 0
    page.goto(f"/dags/{DAG_ID}")
    page.get_by_role("button", name="Reparse Dag").click()
    expect(page.get_by_text("Dag should reparse soon.")).to_be_visible()
    page.screenshot(path=artifacts / "9-reparsed.png")
    assert api.call("GET", "/eventLogs", params=asked)["total_entries"] == 1


def test_dag_run_and_task_explain_themselves(page: Page, api: Api, artifacts: Path) -> None:
    run = f"/dags/{DAG_ID}/runs/{newest_run(api)}"
    for path, said in (
        (f"/dags/{DAG_ID}/plugin/leoflow-explain-dag", "has no schedule"),
        (f"{run}/plugin/leoflow-explain-run", "is success"),
        (f"{run}/tasks/last/plugin/leoflow-explain", "is in state success"),
    ):
        visit(page, path)
        expect(page.frame_locator("iframe").get_by_text(said).first).to_be_visible()
        page.screenshot(path=artifacts / f"explain-{path.rpartition('-')[2]}.png")


def test_the_jobs_are_the_daemons(page: Page, artifacts: Path) -> None:
    paints(page, "/jobs")
    expect(page.get_by_text("SchedulerJob").first).to_be_visible()
    page.screenshot(path=artifacts / "jobs.png")


def test_the_settings_are_shown_by_section(page: Page, artifacts: Path) -> None:
    paints(page, "/configs")
    expect(page.get_by_text("paused_at_creation").first).to_be_visible()
    page.screenshot(path=artifacts / "configs.png")


@pytest.mark.parametrize("path", ["/", "/dags", "/dag_runs", "/task_instances", "/pools", "/plugins", "/providers"])
def test_the_pages_of_the_shell_paint(page: Page, path: str) -> None:
    paints(page, path, markup=8_000)
