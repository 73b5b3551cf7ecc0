"""The variables of the public API: shapes and errors as Airflow's, and never a secret in answer or audit log."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.contract.variable import VALUE_MAX_BYTES, VariableFacts
from leoflowd.store import variables
from leoflowd.store.secret_box import SecretBox
from leoflowd.store.variables import open_variable
from tests.integration.api.api_client import Client
from tests.integration.api.test_conformance import _check

URL = "/api/v2/variables"
BOX = SecretBox(lambda: {"k1": b"1" * 32})
REGION: dict[str, Any] = {"key": "region", "value": "eu", "description": "where"}
TOKEN: dict[str, Any] = {"key": "api_token", "value": "hunter2"}
SETTINGS: dict[str, Any] = {"key": "settings", "value": {"rows": 10, "auth": {"password": "hunter2"}}}


@pytest.fixture
async def api_context(api_context: ApiContext) -> ApiContext:
    return dataclasses.replace(api_context, secrets=BOX)


@pytest.fixture
async def three(admin: Client) -> Client:
    """The admin, with three variables stored in this order."""
    for body in (REGION, TOKEN, SETTINGS):
        await admin.send("POST", URL, body, status=201)
    return admin


Stored = Callable[[str], Awaitable[VariableFacts | None]]


@pytest.fixture
def stored(api_context: ApiContext) -> Stored:
    async def fetch(key: str) -> VariableFacts | None:
        async with api_context.db.api.connection() as conn:
            row = await variables.fetch_variable(conn, key)
        return None if row is None else open_variable(row, BOX)

    return fetch


async def keys(client: Client, query: str = "") -> list[str]:
    return [row["key"] for row in (await client.get(f"{URL}{query}"))["variables"]]


async def test_an_added_variable_is_answered_as_airflow_does(admin: Client) -> None:
    answer = await admin.send("POST", URL, REGION, status=201)
    _check("post", URL, 201, answer)
    assert answer == {**REGION, "is_encrypted": True, "team_name": None}


async def test_reads_fit_the_document(three: Client) -> None:
    _check("get", URL, 200, await three.get(URL))
    _check("get", f"{URL}/{{variable_key}}", 200, await three.get(f"{URL}/region"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ('{"a": 1}', '{"a": 1}'),
        ({"a": [1]}, '{\n  "a": [\n    1\n  ]\n}'),
        (12345678901234567890, "12345678901234567890"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
    ],
)
async def test_what_is_no_text_is_stored_as_json(admin: Client, stored: Stored, value: Any, text: str) -> None:
    await admin.send("POST", URL, {"key": "x", "value": value}, status=201)
    assert await stored("x") == VariableFacts(key="x", value=text)


async def test_no_read_shows_a_secret(three: Client) -> None:
    for path in (URL, f"{URL}/api_token", f"{URL}/settings", "/api/v2/eventLogs"):
        assert "hunter2" not in json.dumps(await three.get(path))
    assert (await three.get(f"{URL}/api_token"))["value"] == "***"
    assert json.loads((await three.get(f"{URL}/settings"))["value"]) == {"rows": 10, "auth": {"password": "***"}}


async def test_secrets_are_kept_as_they_were_sent(three: Client, stored: Stored) -> None:
    assert await stored("api_token") == VariableFacts(key="api_token", value="hunter2")


async def test_a_key_may_hold_what_a_path_does_not(admin: Client) -> None:
    await admin.send("POST", URL, {"key": "team/a b", "value": "x"}, status=201)
    assert (await admin.get(f"{URL}/team/a%20b"))["value"] == "x"
    await admin.send("DELETE", f"{URL}/team/a%20b", status=204)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"key": ""}, 422),
        ({"key": "k" * 251}, 422),
        ({"key": "nul\x00"}, 422),
        ({"key": None}, 422),
        ({"value": "nul\x00"}, 422),
        ({"value": {"deep": "nul\x00"}}, 201),
        ({"value": "x" * (VALUE_MAX_BYTES + 1)}, 422),
        ({"description": 1}, 422),
        ({"more": 1}, 422),
        ({"team_name": "a"}, 400),
        ({"team_name": ""}, 201),
        ({"key": "a_password", "value": "***"}, 422),
        ({"value": {"token": "***"}}, 422),
    ],
)
async def test_what_can_be_stored(admin: Client, change: dict[str, Any], status: int) -> None:
    await admin.send("POST", URL, {**REGION, **change}, status=status)
    assert len(await keys(admin)) == (status == 201)


async def test_a_variable_without_a_value_is_refused(admin: Client) -> None:
    problem = await admin.send("POST", URL, {"key": "x"}, status=422)
    assert problem["detail"][0]["loc"] == ["body", "value"]


async def test_a_taken_key_is_a_conflict(three: Client) -> None:
    problem = await three.send("POST", URL, REGION, status=409)
    assert problem["detail"] == "The Variable with key: `region` already exists"


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_an_unknown_key_is_not_found(three: Client, method: str) -> None:
    body = {"key": "nope", "value": "x"} if method == "PATCH" else None
    problem = await three.send(method, f"{URL}/nope", body, status=404)
    assert problem["detail"] == "The Variable with key: `nope` was not found"


async def test_without_a_key_to_encrypt_with_it_is_refused_with_the_remedy(
    api_context: ApiContext, admin: Client
) -> None:
    keyless = Client(create_app(dataclasses.replace(api_context, secrets=SecretBox(dict))), token=admin.token)
    problem = await keyless.send("POST", URL, REGION, status=409)
    assert "LEOFLOW_SECRETS_KEYS" in problem["detail"]


async def test_a_value_that_does_not_open_is_said_and_can_be_deleted(api_context: ApiContext, three: Client) -> None:
    lost = Client(create_app(dataclasses.replace(api_context, secrets=SecretBox(dict))), token=three.token)
    row = await lost.get(f"{URL}/region")
    assert "k1" in json.loads(row["value"])["***"]
    await lost.send("PATCH", f"{URL}/region", {**REGION, "description": "new"}, status=409)
    await lost.send("DELETE", f"{URL}/region", status=204)


class TestList:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", ["region", "api_token", "settings"]),
            ("?order_by=key", ["api_token", "region", "settings"]),
            ("?order_by=-key", ["settings", "region", "api_token"]),
            ("?order_by=description&order_by=-key", ["region", "settings", "api_token"]),
            ("?order_by=is_encrypted", ["api_token", "region", "settings"]),
            ("?variable_key_prefix_pattern=re", ["region"]),
            ("?variable_key_pattern=ET", ["settings"]),
            ("?order_by=key&limit=1&offset=1", ["region"]),
        ],
    )
    async def test_filters_order_and_pages(self, clock: Any, admin: Client, query: str, expected: list[str]) -> None:
        for body in (REGION, TOKEN, SETTINGS):
            await admin.send("POST", URL, body, status=201)
            clock.advance(1)
        assert await keys(admin, query) == expected

    async def test_the_total_counts_all_pages(self, three: Client) -> None:
        assert (await three.get(f"{URL}?limit=1"))["total_entries"] == 3

    async def test_an_unknown_order_is_refused(self, three: Client) -> None:
        await three.send("GET", f"{URL}?order_by=value", status=422)


class TestUpdate:
    async def change(self, client: Client, key: str, query: str = "", **fields: Any) -> Any:
        answer = await client.send("PATCH", f"{URL}/{key}{query}", {"key": key, **fields})
        _check("patch", f"{URL}/{{variable_key}}", 200, answer)
        return answer

    async def test_absent_fields_stay(self, three: Client, stored: Stored) -> None:
        await self.change(three, "region", value="us")
        assert await stored("region") == VariableFacts(key="region", value="us", description="where")

    @pytest.mark.parametrize("key", ["region", "api_token", "settings"])
    async def test_a_form_saved_as_it_was_shown_changes_nothing(self, three: Client, stored: Stored, key: str) -> None:
        before = await stored(key)
        shown = await three.get(f"{URL}/{key}")
        await self.change(three, key, value=shown["value"], description=shown["description"], team_name="")
        after = await stored(key)
        assert before is not None
        assert after is not None
        assert (after.description, _parsed(after.value)) == (before.description, _parsed(before.value))

    async def test_one_field_of_json_changes_and_its_secret_stays(self, three: Client, stored: Stored) -> None:
        await self.change(three, "settings", value='{"rows": 20, "auth": {"password": "***"}}')
        found = await stored("settings")
        assert found is not None
        assert json.loads(found.value) == {"rows": 20, "auth": {"password": "hunter2"}}

    async def test_null_leaves_the_value(self, three: Client, stored: Stored) -> None:
        await self.change(three, "region", value=None, description=None)
        assert await stored("region") == VariableFacts(key="region", value="eu")

    async def test_the_mask_names_what_changes(self, three: Client, stored: Stored) -> None:
        await self.change(three, "region", "?update_mask=description", value="no", description="new")
        assert await stored("region") == VariableFacts(key="region", value="eu", description="new")
        await self.change(three, "region", "?update_mask=value", value="us", description="no")
        assert await stored("region") == VariableFacts(key="region", value="us", description="new")

    async def test_a_description_of_the_mask_that_is_absent_is_cleared(self, three: Client, stored: Stored) -> None:
        await self.change(three, "region", "?update_mask=description", value="no")
        assert await stored("region") == VariableFacts(key="region", value="eu")

    async def test_another_key_than_the_address_is_refused(self, three: Client) -> None:
        problem = await three.send("PATCH", f"{URL}/region", {"key": "other", "value": "x"}, status=400)
        assert problem["detail"] == "Invalid body, key from request body doesn't match uri parameter"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class TestBulk:
    async def bulk(self, client: Client, *actions: dict[str, Any]) -> Any:
        answer = await client.send("PATCH", URL, {"actions": list(actions)})
        _check("patch", URL, 200, answer)
        return answer

    async def test_an_import_writes_new_and_known_ones(self, three: Client, stored: Stored) -> None:
        entities = [{"key": "region", "value": "us"}, {"key": "limits", "value": {"rows": 1}, "description": "d"}]
        answer = await self.bulk(three, {"action": "create", "entities": entities, "action_on_existence": "overwrite"})
        assert answer["create"] == {"success": ["region", "limits"], "errors": []}
        assert await stored("region") == VariableFacts(key="region", value="us", description="where")
        assert await stored("limits") == VariableFacts(key="limits", value='{\n  "rows": 1\n}', description="d")

    async def test_an_import_may_skip_known_ones(self, three: Client, stored: Stored) -> None:
        entities = [{"key": "region", "value": "us"}, {"key": "new", "value": "1"}]
        answer = await self.bulk(three, {"action": "create", "entities": entities, "action_on_existence": "skip"})
        assert answer["create"]["success"] == ["new"]
        assert await stored("region") == VariableFacts(key="region", value="eu", description="where")

    async def test_an_import_that_fails_writes_nothing(self, three: Client, stored: Stored) -> None:
        entities = [{"key": "new", "value": "1"}, {"key": "region", "value": "us"}]
        answer = await self.bulk(three, {"action": "create", "entities": entities})
        assert answer["create"]["errors"] == [
            {"error": "The variables with these keys: {'region'} already exist.", "status_code": 409}
        ]
        assert await stored("new") is None

    async def test_many_are_deleted_at_once(self, three: Client) -> None:
        answer = await self.bulk(three, {"action": "delete", "entities": ["region", "settings"]})
        assert answer == {"create": None, "update": None, "delete": {"success": ["region", "settings"], "errors": []}}
        assert await keys(three) == ["api_token"]

    async def test_what_does_not_exist_fails_or_is_skipped(self, three: Client) -> None:
        entities = [{"key": "nope", "value": "1"}, {"key": "region", "value": "us"}]
        failed = await self.bulk(three, {"action": "update", "entities": entities})
        assert failed["update"]["errors"][0]["status_code"] == 404
        skipped = await self.bulk(three, {"action": "update", "entities": entities, "action_on_non_existence": "skip"})
        assert skipped["update"] == {"success": ["region"], "errors": []}


class TestRights:
    @pytest.mark.parametrize(("role", "may"), [("Viewer", False), ("User", False), ("Op", True), ("Admin", True)])
    async def test_who_may_read_and_write(self, clients: dict[str, Client], role: str, may: bool) -> None:
        await clients[role].send("POST", URL, REGION, status=201 if may else 403)
        for method, path, body in (
            ("GET", URL, None),
            ("GET", f"{URL}/region", None),
            ("PATCH", f"{URL}/region", REGION),
            ("PATCH", URL, {"actions": []}),
        ):
            await clients[role].send(method, path, body, status=200 if may else 403)
        await clients[role].send("DELETE", f"{URL}/region", status=204 if may else 403)

    async def test_the_audit_log_says_which_fields_and_never_their_values(self, three: Client) -> None:
        await three.send("PATCH", f"{URL}/region?update_mask=value", {**REGION, "value": "us-secret"})
        await three.send("DELETE", f"{URL}/region", status=204)
        log = (await three.get("/api/v2/eventLogs?order_by=-event_log_id"))["event_logs"]
        assert [(row["event"], row["owner"]) for row in log[:2]] == [
            ("delete_variable", "admin"),
            ("patch_variable", "admin"),
        ]
        assert json.loads(log[1]["extra"]) == {"key": "region", "fields": ["value"]}
        assert "us-secret" not in json.dumps(log)
