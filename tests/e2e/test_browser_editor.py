"""A real browser and the editor: open, edit, break, see the marker, mend; the list of DAGs has what was saved.

The tests of this module are one visit: they share a tab and build on each other, top to bottom.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, Route, expect

from loadtests.lite_process import Lite, wait_until
from tests.e2e.conftest import Complaints, log_in

DAG = """\
from airflow.sdk import DAG, task

with DAG("edited", schedule=None):

    @task
    def first():
        return 1

    first()
"""


@pytest.fixture(scope="module")
def lite(lite_with_packages: Lite) -> Lite:
    project = lite_with_packages.workspace / "etl"
    project.mkdir()
    (project / "dag.py").write_text(DAG)
    return lite_with_packages


def editor(page: Page) -> FrameLocator:
    """Our page inside the UI's frame, opened anew."""
    page.goto("/plugin/leoflow-editor")
    return page.frame_locator("iframe[title='Editor']")


def frame_of(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[title='Editor']")


def open_dag(frame: FrameLocator) -> None:
    frame.get_by_role("button", name="etl", exact=True).click()
    frame.get_by_role("button", name="dag.py", exact=True).click()
    expect(frame.get_by_role("heading", name="etl/dag.py")).to_be_visible()
    expect(frame.locator(".view-line").first).to_be_visible()


def replace_text(frame: FrameLocator, text: str) -> None:
    """At once: what is typed key by key is indented and its brackets are closed on the way."""
    editor = frame.locator("#text").evaluate_handle("() => monaco.editor.getEditors()[0]")
    editor.evaluate(
        "(editor, text) => {"
        " editor.executeEdits('test', [{ range: editor.getModel().getFullModelRange(), text }]);"
        " editor.setPosition(editor.getModel().getPositionAt(text.length)); editor.focus(); }",
        text,
    )


def test_a_user_logs_in(page: Page, complaints: Complaints) -> None:
    log_in(page, complaints)


def test_the_browse_menu_leads_to_the_editor(page: Page) -> None:
    page.goto("/dags")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Editor").click()
    expect(frame_of(page).get_by_role("button", name="etl", exact=True)).to_be_visible()


def test_a_broken_save_is_marked_where_it_is_broken(page: Page, artifacts: Path) -> None:
    frame = editor(page)
    open_dag(frame)
    replace_text(frame, DAG.replace("return 1", "return ("))
    expect(frame.get_by_role("button", name="Save", exact=True)).to_be_enabled()
    page.keyboard.press("Control+s")
    expect(frame.get_by_role("button", name=re.compile(r"dag\.py:\d"))).to_be_visible()
    expect(frame.locator(".squiggly-error").first).to_be_visible()
    expect(frame.get_by_role("status")).to_have_text("Saved; 1 problem")
    page.screenshot(path=artifacts / "editor-1-broken.png")


def test_a_mended_save_is_compiled_and_the_list_of_dags_changes(page: Page, lite: Lite) -> None:
    frame = frame_of(page)
    replace_text(frame, DAG.replace('"edited"', '"mended"'))
    page.keyboard.press("Control+s")
    expect(frame.get_by_role("status")).to_have_text("Saved and compiled: mended")
    expect(frame.locator(".squiggly-error")).to_have_count(0)
    assert (lite.workspace / "etl" / "dag.py").read_text() == DAG.replace('"edited"', '"mended"')
    page.goto("/dags")
    expect(page.get_by_role("link", name="mended", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="edited", exact=True)).to_have_count(0)


def test_names_and_arguments_are_completed(page: Page, artifacts: Path) -> None:
    frame = editor(page)
    expect(frame.locator(".view-line").first).to_be_visible()  # what was open last is open again
    replace_text(frame, DAG + "\nfrom airflow.providers.standard.operators.bash import BashOperator\n\nBashOperator(")
    page.keyboard.type("bash_c")
    offered = frame.locator(".suggest-widget .monaco-list-row")
    expect(offered.filter(has_text="bash_command=").first).to_be_visible()
    page.screenshot(path=artifacts / "editor-2-completion.png")
    page.keyboard.press("Escape")


def test_what_was_not_saved_is_there_again_with_the_caret(page: Page) -> None:
    frame = editor(page)
    expect(frame.locator(".view-lines")).to_contain_text("bash_c")
    expect(frame.get_by_role("button", name="Save", exact=True)).to_be_enabled()
    expect(frame.locator(".line-numbers.active-line-number")).to_have_text(str(DAG.count("\n") + 4))


def test_somebody_elses_save_is_shown_beside_mine(
    page: Page, lite: Lite, complaints: Complaints, artifacts: Path
) -> None:
    frame = frame_of(page)
    (lite.workspace / "etl" / "dag.py").write_text(DAG.replace("first", "theirs"))
    replace_text(frame, DAG.replace("first", "mine"))
    page.keyboard.press("Control+s")
    expect(frame.get_by_role("group", name="Two versions")).to_be_visible()
    expect(frame.locator(".editor.original")).to_contain_text("theirs")
    expect(frame.locator(".editor.modified")).to_contain_text("mine")
    page.screenshot(path=artifacts / "editor-3-conflict.png")
    assert "theirs" in (lite.workspace / "etl" / "dag.py").read_text()
    frame.get_by_role("button", name="Save mine over it").click()
    expect(frame.get_by_role("status")).to_have_text("Saved and compiled: edited")
    assert "mine" in (lite.workspace / "etl" / "dag.py").read_text()
    # the refusal itself, which a browser logs as well
    complaints.found = [text for text in complaints.found if "409" not in text]


def test_a_new_file_goes_where_the_chip_says(page: Page, lite: Lite) -> None:
    frame = frame_of(page)
    expect(frame.locator("#target")).to_have_text("etl")
    frame.get_by_role("button", name="New file", exact=True).click()
    frame.get_by_label("Name of the new file in etl").fill("query.sql")
    page.keyboard.press("Enter")
    expect(frame.get_by_role("heading", name="etl/query.sql")).to_be_visible()
    assert (lite.workspace / "etl" / "query.sql").read_text() == ""
    frame.get_by_role("button", name="Rename").click()
    frame.get_by_label("New name of etl/query.sql").fill("etl/daily.sql")
    page.keyboard.press("Enter")
    expect(frame.get_by_role("heading", name="etl/daily.sql")).to_be_visible()
    assert not (lite.workspace / "etl" / "query.sql").exists()


def test_examples_come_and_a_folder_goes_when_its_name_is_typed(page: Page, lite: Lite) -> None:
    frame = frame_of(page)
    frame.get_by_role("button", name="Download examples").click()
    expect(frame.get_by_role("status")).to_have_text(re.compile(r"\d examples are in examples/"))
    frame.get_by_role("button", name="examples", exact=True).click()
    frame.get_by_role("button", name="Delete", exact=True).click()
    dialog = frame.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"all that is in it: \d+ files, hidden ones included"))
    yes = dialog.get_by_role("button", name=re.compile(r"Delete \d+ files"))
    expect(yes).to_be_disabled()
    dialog.get_by_label("Type its name, examples").fill("examples")
    yes.click()
    expect(frame.get_by_role("button", name="examples", exact=True)).to_have_count(0)
    wait_until(lambda: not (lite.workspace / "examples").exists(), within_s=5, what="the folder to be gone")


def test_without_monaco_a_plain_field_edits_and_saves(page: Page, lite: Lite) -> None:
    def without(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('data-has-monaco="yes"', 'data-has-monaco="no"'))

    page.route("**/leoflow/editor", without)
    frame = editor(page)
    expect(frame.get_by_text("so this is a plain text field")).to_be_visible()
    expect(frame.get_by_role("heading", name="etl/daily.sql")).to_be_visible()  # the last one is open again
    frame.get_by_role("button", name="dag.py", exact=True).click()
    expect(frame.get_by_role("heading", name="etl/dag.py")).to_be_visible()
    frame.get_by_role("textbox", name="Text of the file").fill(DAG.replace('"edited"', '"plain"'))
    page.keyboard.press("Control+s")
    expect(frame.get_by_role("status")).to_have_text("Saved and compiled: plain")
    assert (lite.workspace / "etl" / "dag.py").read_text() == DAG.replace('"edited"', '"plain"')
    page.unroute("**/leoflow/editor")
