"""The routes of the web editor: what they answer, whom they refuse, and that a server without a workspace has none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import trio
from quart_trio import QuartTrio

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.api.own.plugins import external_views
from leoflowd.contract.workspace_files import Finding, ProjectState
from leoflowd.core.rights import ROLES, Right
from tests.conftest import PATIENCE_S
from tests.fakes.workspace_editor import FakeEditor
from tests.integration.api.api_client import Client

FILES = "/leoflow/api/files"


@pytest.fixture
def editor(api_context: ApiContext) -> FakeEditor:
    assert isinstance(api_context.editor, FakeEditor)
    return api_context.editor


async def audited(admin: Client) -> list[tuple[str, Any]]:
    rows = (await admin.get("/api/v2/eventLogs?order_by=event_log_id"))["event_logs"]
    return [(row["event"], msgspec.json.decode(row["extra"])) for row in rows if row["extra"]]


async def test_a_file_is_made_read_saved_renamed_and_removed(admin: Client, editor: FakeEditor) -> None:
    await admin.send("POST", "/leoflow/api/folders/etl", status=201)
    made = await admin.send("PUT", f"{FILES}/etl/dag.py", {"text": "a = 1\n", "etag": None}, status=201)
    assert await admin.get(f"{FILES}/etl/dag.py") == {"path": "etl/dag.py", "text": "a = 1\n", "etag": made["etag"]}
    saved = await admin.send("PUT", f"{FILES}/etl/dag.py", {"text": "a = 2\n", "etag": made["etag"]})
    assert saved["version"] > made["version"]
    await admin.send("PATCH", f"{FILES}/etl", {"to": "sales"})
    assert (editor.root / "sales" / "dag.py").read_text() == "a = 2\n"
    listing = await admin.get(FILES)
    assert [entry["path"] for entry in listing["entries"]] == ["sales", "sales/dag.py"]
    assert (await admin.get("/leoflow/api/file-counts/sales"))["files"] == 1
    await admin.send("DELETE", f"{FILES}/sales?files=1&name=sales")
    assert list(editor.root.iterdir()) == []


async def test_each_change_is_in_the_audit_log_and_a_refused_one_is_not(admin: Client) -> None:
    await admin.send("PUT", f"{FILES}/dag.py", {"text": "", "etag": None}, status=201)
    await admin.send("PUT", f"{FILES}/dag.py", {"text": "", "etag": None}, status=409)
    await admin.send("DELETE", f"{FILES}/dag.py?files=1&name=dag.py")
    assert await audited(admin) == [
        ("save_file", {"path": "dag.py", "is_new": True}),
        ("remove_file", {"path": "dag.py", "files": 1}),
    ]


async def test_a_save_over_another_answers_both_texts(admin: Client, editor: FakeEditor) -> None:
    made = await admin.send("PUT", f"{FILES}/dag.py", {"text": "mine", "etag": None}, status=201)
    (editor.root / "dag.py").write_text("theirs")
    answer = await admin.send("PUT", f"{FILES}/dag.py", {"text": "mine too", "etag": made["etag"]}, status=409)
    assert answer["current"]["text"] == "theirs"
    assert "was changed since it was opened" in answer["detail"]
    (editor.root / "dag.py").unlink()
    answer = await admin.send("PUT", f"{FILES}/dag.py", {"text": "mine", "etag": made["etag"]}, status=409)
    assert answer["current"] is None


@pytest.mark.parametrize("query", ["", "?files=1", "?files=1&name=other", "?name=etl"])
async def test_a_folder_is_not_removed_unless_its_name_and_count_are_said(
    admin: Client, editor: FakeEditor, query: str
) -> None:
    (editor.root / "etl").mkdir()
    (editor.root / "etl" / "dag.py").write_text("")
    await admin.send("DELETE", f"{FILES}/etl{query}", status=400)
    await admin.send("DELETE", f"{FILES}/etl?files=2&name=etl", status=409)
    assert (editor.root / "etl" / "dag.py").exists()


@pytest.mark.parametrize(
    "path", ["../secret", "a/../../secret", "/etc/passwd", "a//b", ".env", "a\\b", "a\0b", "x" * 300, "a/", "."]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_no_address_leads_outside_or_to_what_is_hidden(
    admin: Client, editor: FakeEditor, tmp_path: Path, method: str, path: str
) -> None:
    (tmp_path / "secret").write_text("canary")
    (editor.root / ".env").write_text("canary")
    bodies = {"PUT": {"text": "x", "etag": None}, "PATCH": {"to": "taken"}}
    answer = await admin.call(method, f"{FILES}/{quote(path, safe='')}?files=1&name=x", json=bodies.get(method))
    assert answer.status_code in (400, 404, 405, 422)
    assert "canary" not in await answer.get_data(as_text=True)
    assert (tmp_path / "secret").read_text() == (editor.root / ".env").read_text() == "canary"


async def test_the_end_of_a_move_is_checked_like_its_beginning(admin: Client, editor: FakeEditor) -> None:
    (editor.root / "dag.py").write_text("")
    for to in ("../dag.py", "/dag.py", ".env", "a\0b"):
        await admin.send("PATCH", f"{FILES}/dag.py", {"to": to}, status=422)
    assert (editor.root / "dag.py").exists()


async def test_hidden_files_are_there_for_those_who_ask(admin: Client, editor: FakeEditor) -> None:
    (editor.root / ".env").write_text("A=1")
    assert (await admin.get(FILES))["entries"] == []
    assert [entry["path"] for entry in (await admin.get(f"{FILES}?hidden=true"))["entries"]] == [".env"]
    assert (await admin.get(f"{FILES}/.env?hidden=true"))["text"] == "A=1"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}, 201),
    ],
)
async def test_another_site_cannot_write_with_the_cookie_of_its_visitor(
    app: QuartTrio, admin: Client, editor: FakeEditor, headers: dict[str, str], status: int
) -> None:
    visitor = Client(app, cookie=admin.token)
    body = b'{"text":"import os","etag":null}'
    answer = await visitor.call("PUT", f"{FILES}/dag.py", data=body, headers=headers)
    assert answer.status_code == status
    assert (editor.root / "dag.py").exists() == (status == 201)


async def test_the_page_allows_workers_of_its_own_and_no_eval(anonymous: Client) -> None:
    answer = await anonymous.call("GET", "/leoflow/editor")
    policy = answer.headers["Content-Security-Policy"]
    assert answer.status_code == 200
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert 'data-has-monaco="no"' in await answer.get_data(as_text=True)


async def test_only_an_admin_reaches_the_files(clients: dict[str, Client], anonymous: Client) -> None:
    for role, client in clients.items():
        answer = await client.call("GET", FILES)
        assert answer.status_code == (200 if Right.ADMIN in ROLES[role] else 403)
    for path in (FILES, "/leoflow/api/workspace", "/leoflow/api/completions"):
        assert (await anonymous.call("GET", path)).status_code == 401


async def test_the_state_is_answered_and_streamed_as_it_changes(admin: Client, editor: FakeEditor) -> None:
    finding = Finding(path="dag.py", line=3, message="not valid", remedy="correct it")
    editor.projects = (ProjectState(source="dag.py", is_compiling=False, dag_ids=(), findings=(finding,)),)
    assert (await admin.get("/leoflow/api/workspace"))["projects"][0]["findings"][0]["line"] == 3
    headers = {"Host": "localhost", "Authorization": f"Bearer {admin.token}", "Accept": "text/event-stream"}
    with trio.fail_after(PATIENCE_S), trio.CancelScope() as visit:
        async with admin.app.test_client().request("/leoflow/api/workspace", headers=headers) as stream:
            await stream.send_complete()
            first = await stream.receive()
            assert stream.headers["Content-Type"] == "text/event-stream"
            editor.projects = ()
            editor.look()
            second = await stream.receive()
            visit.cancel()
    one, two = (msgspec.json.decode(event.removeprefix(b"data: ")) for event in (first, second))
    assert one["projects"][0]["findings"][0]["message"] == "not valid"
    assert (two["projects"], two["version"]) == ([], one["version"] + 1)


async def test_names_to_complete_are_answered(admin: Client) -> None:
    assert (await admin.get("/leoflow/api/completions"))["modules"]["airflow.sdk"] == {"DAG": "DAG"}


async def test_a_server_without_a_workspace_has_no_editor_at_all(api_context: ApiContext) -> None:
    without = dataclasses.replace(api_context, editor=None)
    app = create_app(without)
    assert not [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("own_files.")]
    assert (await Client(app).call("GET", "/leoflow/editor")).status_code == 404
    assert "leoflow-editor" not in [view["url_route"] for view in external_views(without)]
    assert "leoflow-editor" in [view["url_route"] for view in external_views(api_context)]
