"""Attacks with an artifact: it is data from outside, also the parts of it that name files and links."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.contract.dag_spec import DagSpec, decode, is_link
from leoflowd.store import dags
from tests.integration.api.api_client import Client

URL = "/api/v2/leoflow/dags"
SPEC: dict[str, Any] = {
    "dag_id": "pushed",
    "tasks": [{"task_id": "a", "operator": "EmptyOperator", "kind": "empty"}],
    "bundle_digest": "a" * 64,
}
DIGESTS = ("../../evil", "/etc", "a" * 63, "A" * 64, "a" * 64 + "\n", "a" * 64 + "/..", "g" * 64, "a" * 64 + "\u0000")
PATHS = (
    "../dag.py",
    "a/../../dag.py",
    "/etc/passwd",
    "a/./b.py",
    ".",
    "..",
    "",
    "a//b.py",
    "a/",
    "..\\dag.py",
    "C:\\dag.py",
    "dag\u0000.py",
    "x" * 1025,
    "../" * 5000 + "x",
)
LINKS = (
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "\tjavascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "//x",
    "",
)


@pytest.mark.parametrize(
    "wrong",
    [*({"bundle_digest": d} for d in DIGESTS), *({"source_path": p} for p in PATHS)],
    ids=lambda wrong: repr(wrong)[:40],
)
def test_no_entrance_decodes_an_artifact_that_names_files_outside_of_its_bundle(wrong: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(msgspec.json.encode(SPEC | wrong))


@pytest.mark.parametrize("path", ["dag.py", "dags/etl.py", "a.b/..c", "ein name.yaml", "…/ä.py", ".hidden/dag.py"])
def test_files_of_a_bundle_are_named_as_people_do(path: str) -> None:
    assert decode(msgspec.json.encode(SPEC | {"source_path": path})).source_path == path
    assert decode(msgspec.json.encode(SPEC | {"bundle_digest": ""})).bundle_digest == ""


@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_runs_code_is_none(link: str) -> None:
    assert not is_link(link)


async def test_a_push_is_refused_whole_with_the_place(api_context: ApiContext, admin: Client, tmp_path: Path) -> None:
    """Also in Lite, which looks for the folder: one that is there must not be enough."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / ("a" * 64)).mkdir()
    config = msgspec.structs.replace(api_context.config, bundles=tmp_path / "bundles")
    lite = Client(create_app(dataclasses.replace(api_context, config=config)), token=admin.token)
    refused: list[dict[str, Any]] = [
        {"bundle_digest": "../evil"},
        {"source_path": "../../evil/dag.py"},
        {"owner_links": {"ana": "javascript:alert(document.cookie)"}},
        {"tasks": [{**SPEC["tasks"][0], "retries": 10**12}]},
        {"max_active_runs": 2**31},
        {"description": "a\u0000b"},
        {"start_date": "0001-01-01T00:00:00+14:00"},
        {"dag_id": "a/b"},
        {"tasks": [{**SPEC["tasks"][0], "task_id": "../a"}]},
    ]
    for wrong in refused:
        problem = await lite.send("POST", URL, SPEC | wrong, status=422)
        assert problem["detail"], wrong
    assert (await lite.call("GET", "/api/v2/dags/pushed")).status_code == 404
    await lite.send("POST", URL, SPEC, status=201)


async def test_a_pushed_dag_that_is_new_begins_paused_where_that_is_set(api_context: ApiContext, admin: Client) -> None:
    config = msgspec.structs.replace(api_context.config, bundles=None)
    app = create_app(dataclasses.replace(api_context, config=config, paused_at_creation=True))
    await Client(app, token=admin.token).send("POST", URL, SPEC, status=201)
    assert (await admin.get("/api/v2/dags/pushed"))["is_paused"] is True


async def test_a_link_that_is_stored_already_is_not_served(
    api_context: ApiContext, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leoflowd.contract.dag_spec._check_links", lambda spec: None)  # as an earlier release
    spec = msgspec.convert(SPEC, DagSpec)
    links = {"ana": "javascript:alert(1)", "bob": "mailto:bob@example.org"}
    async with api_context.db.api.transaction() as conn:
        stored = msgspec.structs.replace(spec, owner_links=links)
        await dags.register_dag(conn, stored, now=api_context.now(), fileloc="dag.py", relative_fileloc="dag.py")
    details = await admin.get("/api/v2/dags/pushed/details")
    assert details["owner_links"] == {"bob": "mailto:bob@example.org"}
