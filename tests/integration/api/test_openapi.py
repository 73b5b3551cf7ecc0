"""The document of the API is made from the routes, says what they read, and is one that programs can use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from quart_trio import QuartTrio
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR
from werkzeug.datastructures import MultiDict

from leoflowd.api import paging
from leoflowd.api.openapi import is_described
from leoflowd.api.rights import NEEDS
from leoflowd.core.rights import Right
from tests.integration.api.addresses import addresses
from tests.integration.api.api_client import Client


@pytest.fixture
async def document(anonymous: Client) -> dict[str, Any]:
    """As anybody gets it."""
    found: dict[str, Any] = await anonymous.get("/openapi.json")
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["operationId"]: one for item in document["paths"].values() for one in item.values()}


async def test_each_route_is_in_the_document_and_nothing_else_is(app: QuartTrio, document: dict[str, Any]) -> None:
    shape = re.compile(r"<[^>]*>|{[^}]*}")
    routes = {
        (shape.sub("*", rule.rule), method)
        for rule in app.url_map.iter_rules()
        if is_described(rule.endpoint)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    told = {(shape.sub("*", path), method.upper()) for path, item in document["paths"].items() for method in item}
    assert told == routes
    left_out = {rule.endpoint for rule in app.url_map.iter_rules() if not is_described(rule.endpoint)}
    assert {endpoint.partition(".")[0] for endpoint in left_out} == {"static_files", "own_docs", "own_files"}
    assert "own_files.editor_page" in left_out
    assert "own_files.save_file" not in left_out


async def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert [error.message for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []


async def test_paths_and_parameters_and_ids_fit_each_other(document: dict[str, Any]) -> None:
    ids = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(ids) == len(set(ids))
    shapes = [re.sub(r"{[^}]*}", "*", path) for path in document["paths"]]
    assert len(shapes) == len(set(shapes))
    for path, item in document["paths"].items():
        for one in item.values():
            named = [parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"]
            assert named == re.findall(r"{(\w+)}", path)


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for inner in value.values() for found in references(inner)]
        return [found for inner in value for found in references(inner)] if isinstance(value, list) else []

    for reference in references(document):
        _, first, kind, name = reference.split("/")
        assert first == "components"
        assert name in document["components"][kind], reference


async def test_words_rights_parameters_and_bodies_come_from_the_code(document: dict[str, Any]) -> None:
    runs = document["paths"]["/api/v2/dags/{dag_id}/dagRuns"]
    assert {"limit", "run_type", "start_date_gte", "dag_id_pattern"} <= {
        one["name"] for one in runs["get"]["parameters"]
    }
    assert runs["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/TriggerBody")
    assert "logical_date" in document["components"]["schemas"]["TriggerBody"]["required"]
    explain = document["paths"]["/api/v2/leoflow/explain/{dag_id}"]["get"]
    assert explain["description"].startswith("Why does this DAG not run?")
    assert explain["description"].endswith("Needs the right `read`.")
    act = document["paths"]["/leoflow/api/waits/{wait_id}/{action}"]["post"]
    assert {"probe", "fire", "fail"} <= set(act["parameters"][1]["schema"]["enum"])
    assert document["paths"]["/leoflow/hooks/{name}"]["post"]["requestBody"]["required"]


async def test_who_needs_no_login_is_said(app: QuartTrio, document: dict[str, Any]) -> None:
    for endpoint, need in NEEDS.items():
        for name, one in operations(document).items():
            if name.startswith(f"{endpoint}."):
                assert (one.get("security") == []) == (need.right is Right.NONE), name


async def test_no_handler_reads_a_parameter_that_is_not_described(
    app: QuartTrio, seeded: Client, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each GET really reads, with ids that do not exist, against what is said of it."""
    read: set[str] = set()

    class Watched(MultiDict[str, str]):
        def get(self, key: str, *args: Any, **options: Any) -> Any:  # type: ignore[override]
            read.add(key)
            return super().get(key, *args, **options)

        def getlist(self, key: str, *args: Any, **options: Any) -> Any:  # type: ignore[override]
            read.add(key)
            return super().getlist(key, *args, **options)

    make = paging.Query.__init__
    monkeypatch.setattr(paging.Query, "__init__", lambda self, given=None: make(self, Watched(given or ())))
    described = operations(document)
    seen = 0
    for endpoint, method, path in addresses(app, {}):
        if method != "GET" or not is_described(endpoint):
            continue
        read.clear()
        await seeded.call("GET", path)
        (one,) = [one for name, one in described.items() if name.startswith(f"{endpoint}.get.")]
        assert read <= {parameter["name"] for parameter in one["parameters"]}, endpoint
        seen += len(read)
    assert seen > 300


def test_handlers_read_the_query_through_one_class() -> None:
    """Which is what makes it known what they read. The others: logins by form and provider, rights, a check of all."""
    folder = Path(paging.__file__).parent
    around = {path.name for path in folder.rglob("*.py") if "request.args" in path.read_text()}
    assert around == {"paging.py", "static.py", "oidc.py", "rights.py", "app.py"}


async def test_the_page_says_what_to_do_when_its_package_is_missing(anonymous: Client) -> None:
    answer = await anonymous.call("GET", "/docs")
    text = await answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert 'data-has-scalar="no"' in text
    assert "leoflow setup" in text
