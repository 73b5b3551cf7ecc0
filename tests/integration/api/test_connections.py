"""The connections of the public API: shapes and errors as Airflow's, and never a secret in answer or audit log."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.store import connections
from leoflowd.store.connections import open_connection
from leoflowd.store.secret_box import SecretBox
from tests.integration.api.api_client import Client
from tests.integration.api.test_conformance import _check

URL = "/api/v2/connections"
BOX = SecretBox(lambda: {"k1": b"1" * 32})
PG: dict[str, Any] = {
    "connection_id": "pg",
    "conn_type": "postgres",
    "description": "The warehouse",
    "host": "db.example",
    "login": "ana",
    "schema": "dwh",
    "port": 5432,
    "password": "hunter2",
    "extra": '{"sslmode": "require", "token": "hunter2-token"}',
}


@pytest.fixture
def tested() -> list[ConnectionFacts]:
    """What was given to the connection test."""
    return []


@pytest.fixture
async def api_context(api_context: ApiContext, tested: list[ConnectionFacts]) -> ApiContext:
    async def test(facts: ConnectionFacts) -> tuple[bool, str]:
        tested.append(facts)
        return True, "it answers"

    return dataclasses.replace(api_context, secrets=BOX, test_connection=test)


@pytest.fixture
async def pg(admin: Client) -> Client:
    """The admin, with one connection stored."""
    await admin.send("POST", URL, PG, status=201)
    return admin


Stored = Callable[[str], Awaitable[ConnectionFacts]]


@pytest.fixture
def stored(api_context: ApiContext) -> Stored:
    async def fetch(connection_id: str) -> ConnectionFacts:
        async with api_context.db.api.connection() as conn:
            row = await connections.fetch_connection(conn, connection_id)
        assert row is not None
        return open_connection(row, BOX)

    return fetch


async def ids(client: Client, query: str = "") -> list[str]:
    return [row["connection_id"] for row in (await client.get(f"{URL}{query}"))["connections"]]


async def test_an_added_connection_is_answered_without_its_secrets(admin: Client) -> None:
    answer = await admin.send("POST", URL, PG, status=201)
    _check("post", URL, 201, answer)
    shown = {"password": "***", "extra": '{"sslmode": "require", "token": "***"}', "team_name": None}
    assert answer == {**PG, **shown}


async def test_the_secrets_are_kept_as_they_were_sent(pg: Client, stored: Stored) -> None:
    facts = await stored("pg")
    assert (facts.password, facts.extra_fields()["token"]) == ("hunter2", "hunter2-token")


async def test_reads_fit_the_document(pg: Client) -> None:
    _check("get", URL, 200, await pg.get(URL))
    _check("get", f"{URL}/{{connection_id}}", 200, await pg.get(f"{URL}/pg"))


async def test_no_read_shows_a_secret(pg: Client) -> None:
    for path in (URL, f"{URL}/pg", "/api/v2/eventLogs"):
        assert "hunter2" not in json.dumps(await pg.get(path))


async def test_a_minimal_connection_has_nulls(admin: Client) -> None:
    answer = await admin.send("POST", URL, {"connection_id": "fs", "conn_type": "fs"}, status=201)
    assert {name for name, value in answer.items() if value is not None} == {"connection_id", "conn_type"}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"connection_id": "a b"}, 422),
        ({"connection_id": ""}, 422),
        ({"connection_id": "a" * 201}, 422),
        ({"connection_id": "line\n"}, 422),
        ({"conn_type": ""}, 422),
        ({"conn_type": None}, 422),
        ({"host": "nul\x00"}, 422),
        ({"port": 65536}, 422),
        ({"port": "http"}, 422),
        ({"extra": "no json"}, 422),
        ({"extra": "[1]"}, 422),
        ({"extra": '{"a":' * 40 + "1" + "}" * 40}, 422),
        ({"password": "***"}, 422),
        ({"extra": '{"token": "***"}'}, 422),
        ({"more": 1}, 422),
        ({"team_name": "a"}, 400),
    ],
)
async def test_a_wrong_connection_is_refused(admin: Client, change: dict[str, Any], status: int) -> None:
    await admin.send("POST", URL, {**PG, **change}, status=status)
    assert await ids(admin) == []


async def test_a_taken_id_is_a_conflict(pg: Client) -> None:
    problem = await pg.send("POST", URL, PG, status=409)
    assert problem["detail"] == "The Connection with connection_id: `pg` already exists"


async def test_without_a_key_a_secret_is_refused_with_the_remedy(api_context: ApiContext, admin: Client) -> None:
    keyless = Client(create_app(dataclasses.replace(api_context, secrets=SecretBox(dict))), token=admin.token)
    problem = await keyless.send("POST", URL, PG, status=409)
    assert "LEOFLOW_SECRETS_KEYS" in problem["detail"]


class TestList:
    @pytest.fixture
    async def three(self, pg: Client) -> Client:
        await pg.send("POST", URL, {"connection_id": "pg_2", "conn_type": "postgres", "host": "a"}, status=201)
        await pg.send("POST", URL, {"connection_id": "api", "conn_type": "http", "port": 80}, status=201)
        return pg

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("?order_by=connection_id", ["api", "pg", "pg_2"]),
            ("?order_by=-connection_id", ["pg_2", "pg", "api"]),
            ("?order_by=conn_type&order_by=-conn_id", ["api", "pg_2", "pg"]),
            ("?order_by=port", ["api", "pg", "pg_2"]),
            ("?order_by=host", ["pg_2", "pg", "api"]),
            ("?order_by=team_name", ["api", "pg", "pg_2"]),
            ("?connection_id_prefix_pattern=pg_", ["pg_2"]),
            ("?connection_id_pattern=PI", ["api"]),
            ("?order_by=connection_id&limit=1&offset=1", ["pg"]),
        ],
    )
    async def test_filters_order_and_pages(self, three: Client, query: str, expected: list[str]) -> None:
        assert await ids(three, query) == expected

    async def test_the_total_counts_all_pages(self, three: Client) -> None:
        assert (await three.get(f"{URL}?limit=1"))["total_entries"] == 3

    async def test_an_unknown_order_is_refused(self, three: Client) -> None:
        await three.send("GET", f"{URL}?order_by=password", status=422)


class TestUpdate:
    async def test_absent_fields_stay(self, pg: Client, stored: Stored) -> None:
        before = await stored("pg")
        await pg.send("PATCH", f"{URL}/pg", {"connection_id": "pg", "conn_type": "postgres", "login": "new"})
        assert await stored("pg") == msgspec.structs.replace(before, login="new")

    async def test_a_form_saved_as_it_was_shown_changes_nothing(self, pg: Client, stored: Stored) -> None:
        before = await stored("pg")
        answer = await pg.send("PATCH", f"{URL}/pg", await pg.get(f"{URL}/pg"))
        _check("patch", f"{URL}/{{connection_id}}", 200, answer)
        assert await stored("pg") == before

    @pytest.mark.parametrize(("sent", "kept"), [(None, "hunter2"), ("***", "hunter2"), ("new", "new"), ("", None)])
    async def test_what_happens_to_the_password(
        self, pg: Client, stored: Stored, sent: str | None, kept: str | None
    ) -> None:
        await pg.send("PATCH", f"{URL}/pg", {**PG, "password": sent})
        assert (await stored("pg")).password == kept

    async def test_the_mask_names_what_changes(self, pg: Client, stored: Stored) -> None:
        body = {**PG, "description": "new", "login": "eve", "password": "no"}
        await pg.send("PATCH", f"{URL}/pg?update_mask=description", body)
        facts = await stored("pg")
        assert (facts.description, facts.login, facts.password) == ("new", "ana", "hunter2")

    async def test_a_field_of_the_mask_that_is_absent_is_cleared(self, pg: Client, stored: Stored) -> None:
        body = {"connection_id": "pg", "conn_type": "postgres"}
        await pg.send("PATCH", f"{URL}/pg?update_mask=extra&update_mask=port", body)
        facts = await stored("pg")
        assert (facts.extra, facts.port, facts.host) == (None, None, "db.example")

    async def test_an_edited_extra_keeps_its_masked_secrets(self, pg: Client, stored: Stored) -> None:
        await pg.send("PATCH", f"{URL}/pg", {**PG, "extra": '{"sslmode": "off", "token": "***"}'})
        assert (await stored("pg")).extra_fields() == {"sslmode": "off", "token": "hunter2-token"}

    async def test_another_id_in_the_body_is_refused(self, pg: Client) -> None:
        await pg.send("PATCH", f"{URL}/pg", {**PG, "connection_id": "other"}, status=400)

    async def test_an_unknown_connection_is_not_found(self, admin: Client) -> None:
        problem = await admin.send("PATCH", f"{URL}/pg", PG, status=404)
        assert problem["detail"] == "The Connection with connection_id: `pg` was not found"


async def test_a_deleted_connection_is_gone(pg: Client) -> None:
    await pg.send("DELETE", f"{URL}/pg", status=204)
    await pg.send("GET", f"{URL}/pg", status=404)
    await pg.send("DELETE", f"{URL}/pg", status=404)


async def test_changes_are_audited_by_field(pg: Client) -> None:
    await pg.send("PATCH", f"{URL}/pg?update_mask=password", {**PG, "password": "hunter3"})
    await pg.send("DELETE", f"{URL}/pg", status=204)
    entries = (await pg.get("/api/v2/eventLogs?order_by=event_log_id"))["event_logs"][1:]  # after the login
    assert [entry["event"] for entry in entries] == ["post_connection", "patch_connection", "delete_connection"]
    assert json.loads(entries[1]["extra"]) == {"connection_id": "pg", "conn_type": "postgres", "fields": ["password"]}
    assert "hunter" not in json.dumps(entries)


class TestWrongKey:
    """The table is there, the key is another one: after a restore, or with a wrong setting."""

    @pytest.fixture
    def lost(self, api_context: ApiContext, pg: Client) -> Client:
        other = SecretBox(lambda: {"k2": b"2" * 32})
        return Client(create_app(dataclasses.replace(api_context, secrets=other)), token=pg.token)

    async def test_the_list_says_so_and_shows_the_rest(self, lost: Client) -> None:
        [row] = (await lost.get(URL))["connections"]
        assert row["host"] == "db.example"
        assert "key 'k1', which this server does not have (it has: 'k2')" in json.loads(row["extra"])["***"]

    async def test_a_change_is_refused(self, lost: Client) -> None:
        problem = await lost.send("PATCH", f"{URL}/pg?update_mask=host", PG, status=409)
        assert "the password of connection 'pg' cannot be read" in problem["detail"]

    async def test_the_sentence_is_never_stored(self, lost: Client, pg: Client) -> None:
        row = await lost.get(f"{URL}/pg")
        await pg.send("PATCH", f"{URL}/pg", row, status=422)

    async def test_deleting_works(self, lost: Client) -> None:
        await lost.send("DELETE", f"{URL}/pg", status=204)


class TestNewKey:
    URL = "/api/v2/leoflow/connections/reseal"

    async def test_all_secrets_move_to_the_first_key(self, api_context: ApiContext, pg: Client) -> None:
        ring = SecretBox(lambda: {"k2": b"2" * 32, "k1": b"1" * 32})
        rotating = Client(create_app(dataclasses.replace(api_context, secrets=ring)), token=pg.token)
        assert await rotating.send("POST", self.URL) == {"key_id": "k2", "connections": 1, "variables": 0}
        only_new = dataclasses.replace(api_context, secrets=SecretBox(lambda: {"k2": b"2" * 32}))
        row = await Client(create_app(only_new), token=pg.token).get(f"{URL}/pg")
        assert json.loads(row["extra"]) == {"sslmode": "require", "token": "***"}

    async def test_operators_may_not(self, api_context: ApiContext, pg: Client) -> None:
        async with api_context.db.api.connection() as conn:
            await conn.execute(b"UPDATE app_user SET role = 'Op'")
        await pg.send("POST", self.URL, status=403)


class TestBulk:
    OTHER = {"connection_id": "other", "conn_type": "http"}

    async def bulk(self, client: Client, *actions: dict[str, Any]) -> Any:
        answer = await client.send("PATCH", URL, {"actions": list(actions)})
        _check("patch", URL, 200, answer)
        return answer

    async def test_each_action_has_its_result(self, pg: Client, stored: Stored) -> None:
        answer = await self.bulk(
            pg,
            {"action": "create", "entities": [self.OTHER]},
            {"action": "update", "entities": [{**PG, "host": "new"}], "update_mask": ["host"]},
            {"action": "delete", "entities": ["other"]},
        )
        assert answer == {
            "create": {"success": ["other"], "errors": []},
            "update": {"success": ["pg"], "errors": []},
            "delete": {"success": ["other"], "errors": []},
        }
        assert (await stored("pg")).host == "new"
        assert await ids(pg) == ["pg"]

    async def test_what_was_not_asked_for_is_null(self, pg: Client) -> None:
        answer = await self.bulk(pg, {"action": "delete", "entities": ["pg"]})
        assert (answer["create"], answer["update"]) == (None, None)

    @pytest.mark.parametrize(
        ("action", "code", "words"),
        [
            ({"action": "create", "entities": [OTHER, PG]}, 409, "{'pg'} already exist."),
            ({"action": "create", "entities": [OTHER, OTHER]}, 409, "already exists"),
            ({"action": "create", "entities": [OTHER, {**OTHER, "connection_id": "x", "password": "***"}]}, 422, "***"),
            ({"action": "update", "entities": [PG, {**OTHER, "connection_id": "b"}]}, 404, "{'b'} were not found."),
            ({"action": "delete", "entities": ["pg", "b"]}, 404, "{'b'} were not found."),
        ],
    )
    async def test_an_action_fails_whole(self, pg: Client, action: dict[str, Any], code: int, words: str) -> None:
        answer = (await self.bulk(pg, action))[action["action"]]
        assert answer["success"] == []
        [error] = answer["errors"]
        assert error["status_code"] == code
        assert words in error["error"]
        assert await ids(pg) == ["pg"]

    async def test_a_failed_action_leaves_the_others(self, pg: Client) -> None:
        create = {"action": "create", "entities": [self.OTHER]}
        answer = await self.bulk(pg, {"action": "delete", "entities": ["b"]}, create)
        assert answer["create"]["success"] == ["other"]

    async def test_existing_ones_are_skipped(self, pg: Client, stored: Stored) -> None:
        action = {"action": "create", "entities": [{**PG, "host": "new"}, self.OTHER], "action_on_existence": "skip"}
        assert (await self.bulk(pg, action))["create"]["success"] == ["other"]
        assert (await stored("pg")).host == "db.example"

    async def test_existing_ones_are_overwritten_without_losing_what_is_masked(
        self, pg: Client, stored: Stored
    ) -> None:
        entity = {**PG, "login": "new", "password": "***"}
        action = {"action": "create", "entities": [entity], "action_on_existence": "overwrite"}
        assert (await self.bulk(pg, action))["create"]["success"] == ["pg"]
        facts = await stored("pg")
        assert (facts.login, facts.password) == ("new", "hunter2")

    @pytest.mark.parametrize("entity", ["b", {**PG, "connection_id": "b"}])
    async def test_missing_ones_are_skipped(self, pg: Client, entity: Any) -> None:
        action = {"action": "delete", "entities": [entity, "pg"], "action_on_non_existence": "skip"}
        assert (await self.bulk(pg, action))["delete"]["success"] == ["pg"]

    async def test_an_unknown_action_is_refused(self, pg: Client) -> None:
        await pg.send("PATCH", URL, {"actions": [{"action": "burn", "entities": ["pg"]}]}, status=422)


class TestTrying:
    async def test_the_form_is_tried(self, admin: Client, tested: list[ConnectionFacts]) -> None:
        answer = await admin.send("POST", f"{URL}/test", {**PG, "port": 0, "extra": "{}"})
        _check("post", f"{URL}/test", 200, answer)
        assert answer == {"status": True, "message": "it answers"}
        assert (tested[0].password, tested[0].port) == ("hunter2", None)

    async def test_a_masked_secret_is_the_stored_one(self, pg: Client, tested: list[ConnectionFacts]) -> None:
        await pg.send("POST", f"{URL}/test", await pg.get(f"{URL}/pg"))
        assert (tested[0].password, tested[0].extra_fields()["token"]) == ("hunter2", "hunter2-token")

    @pytest.mark.parametrize("change", [{"host": "evil.example"}, {"port": 1}, {"conn_type": "http"}, {"schema": "x"}])
    async def test_a_stored_secret_is_never_sent_elsewhere(
        self, pg: Client, tested: list[ConnectionFacts], change: dict[str, Any]
    ) -> None:
        answer = await pg.send("POST", f"{URL}/test", {**await pg.get(f"{URL}/pg"), **change})
        assert answer["status"] is False
        assert "type them in again" in answer["message"]
        assert tested == []

    async def test_a_part_of_a_stored_extra_is_never_sent_elsewhere(
        self, pg: Client, tested: list[ConnectionFacts]
    ) -> None:
        body = {**PG, "host": "evil.example", "password": "mine", "extra": '{"token": "***", "x": 1}'}
        assert (await pg.send("POST", f"{URL}/test", body))["status"] is False
        assert tested == []

    async def test_with_secrets_typed_in_another_host_is_tried(self, pg: Client, tested: list[ConnectionFacts]) -> None:
        body = {**PG, "host": "new.example", "password": "mine", "extra": "{}"}
        assert (await pg.send("POST", f"{URL}/test", body))["status"] is True
        assert tested[0].host == "new.example"

    async def test_nothing_is_stored(self, admin: Client) -> None:
        await admin.send("POST", f"{URL}/test", PG)
        assert await ids(admin) == []

    async def test_it_can_be_switched_off(self, api_context: ApiContext, admin: Client) -> None:
        config = msgspec.structs.replace(api_context.config, test_connection=False)
        off = Client(create_app(dataclasses.replace(api_context, config=config)), token=admin.token)
        problem = await off.send("POST", f"{URL}/test", PG, status=403)
        assert "LEOFLOW_API_TEST_CONNECTION" in problem["detail"]
        assert (await off.get("/ui/config"))["test_connection"] == "Disabled"

    async def test_the_ui_knows_that_it_is_on(self, admin: Client) -> None:
        assert (await admin.get("/ui/config"))["test_connection"] == "Enabled"


async def test_default_connections_are_made_once(pg: Client, stored: Stored) -> None:
    await pg.send("POST", URL, {"connection_id": "http_default", "conn_type": "http", "host": "mine"}, status=201)
    await pg.send("POST", f"{URL}/defaults", status=204)
    await pg.send("POST", f"{URL}/defaults", status=204)
    assert (await stored("http_default")).host == "mine"
    assert (await stored("postgres_default")).password == "airflow"


class TestRights:
    ROUTES = (
        ("GET", URL),
        ("GET", f"{URL}/pg"),
        ("POST", URL),
        ("PATCH", URL),
        ("PATCH", f"{URL}/pg"),
        ("DELETE", f"{URL}/pg"),
        ("POST", f"{URL}/test"),
        ("POST", f"{URL}/defaults"),
        ("GET", "/ui/connections/hook_meta"),
    )

    async def become(self, role: str, api_context: ApiContext) -> None:
        async with api_context.db.api.connection() as conn:
            await conn.execute(b"UPDATE app_user SET role = %(role)s", {"role": role})

    @pytest.mark.parametrize("role", ["Viewer", "User"])
    @pytest.mark.parametrize(("method", "url"), ROUTES)
    async def test_viewers_and_users_see_nothing(
        self, pg: Client, api_context: ApiContext, role: str, method: str, url: str
    ) -> None:
        await self.become(role, api_context)
        await pg.send(method, url, {} if method != "GET" else None, status=403)

    async def test_operators_may(self, pg: Client, api_context: ApiContext) -> None:
        await self.become("Op", api_context)
        assert await ids(pg) == ["pg"]
        await pg.send("DELETE", f"{URL}/pg", status=204)

    @pytest.mark.parametrize(("role", "has"), [("Viewer", False), ("User", False), ("Op", True), ("Admin", True)])
    async def test_the_menu_has_the_page_for_those_who_may(
        self, admin: Client, api_context: ApiContext, role: str, has: bool
    ) -> None:
        await self.become(role, api_context)
        menus = await admin.get("/ui/auth/menus")
        assert [page in menus["authorized_menu_items"] for page in ("Connections", "Variables")] == [has, has]
