"""What people do is in the audit log, with who, what and from where; and nobody changes it unnoticed. ADR 86."""

from __future__ import annotations

import base64
import dataclasses
from datetime import timedelta
from typing import Any

import pytest
import trio
from quart_trio import QuartTrio

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.api.rights import NEEDS, SAFE_METHODS, Object
from leoflowd.config import ConfigRefused, RetentionConfig, from_environment
from leoflowd.core.rights import Right
from leoflowd.scheduler.audit_seals import AuditSeals
from leoflowd.scheduler.retention import Retention
from leoflowd.store import audit_seals
from leoflowd.store.database import Database
from leoflowd.store.secret_box import SecretBox, parse_keys
from tests.integration.api.api_client import PASSWORD, Client
from tests.integration.api.people import somebody_with

AUDIT, VERIFY = "/leoflow/api/audit", "/leoflow/api/audit/verify"
KEYS = {"ring": f"k1:{base64.b64encode(bytes(32)).decode()}"}
LOGIN = {"username": "admin", "password": PASSWORD}


@pytest.fixture
def keys() -> dict[str, str]:
    return dict(KEYS)


@pytest.fixture
async def api_context(api_context: ApiContext, keys: dict[str, str]) -> ApiContext:
    return dataclasses.replace(api_context, secrets=SecretBox(lambda: parse_keys(keys["ring"], "the test")))


@pytest.fixture
def seals(api_context: ApiContext) -> AuditSeals:
    return AuditSeals(db=api_context.db, secrets=api_context.secrets)


async def change(db: Database, statement: bytes) -> None:
    async with db.api.connection() as conn:
        await conn.execute(statement)


async def events(client: Client, **query: str) -> list[dict[str, Any]]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    found: list[dict[str, Any]] = (await client.get(f"{AUDIT}?{asked}"))["events"]
    return found


# --- what is in it -------------------------------------------------------------------------------------------------


async def test_logins_and_refusals_say_who_and_from_where(admin: Client) -> None:
    for body in (LOGIN | {"password": "wrong"}, {"username": "my pa55word", "password": "x"}):
        await Client(admin.app).send("POST", "/auth/token", body, status=401)
    await Client(admin.app, cookie=admin.token).call("GET", "/api/v2/auth/logout")
    admin = Client(
        admin.app, token=(await Client(admin.app).send("POST", "/auth/token", LOGIN, status=201))["access_token"]
    )
    found = await events(admin)
    assert [(row["event"], row["owner"], row["extra"]) for row in reversed(found)] == [
        ("login", "admin", None),
        ("login_failed", "admin", {"because": "wrong password"}),
        ("login_failed", None, {"because": "no such user"}),
        ("logout", "admin", None),
        ("login", "admin", None),
    ]
    assert {row["client"] for row in found} == {"local"}
    assert await events(admin, event="logout", owner="admin") == [found[1]]


async def test_a_change_of_a_user_says_what_was_before(admin: Client) -> None:
    ana = {"username": "ana", "password": "long enough", "roles": ["User"]}
    await admin.send("POST", "/leoflow/api/users", ana, status=201)
    await admin.send("PATCH", "/leoflow/api/users/ana", {"roles": ["Op"], "disabled": True, "password": "as long as"})
    extra = (await events(admin, event="patch_user"))[0]["extra"]
    assert extra == {
        "username": "ana",
        "before": {"roles": ["User"], "is_disabled": False},
        "after": {"roles": ["Op"], "is_disabled": True},
        "password": "new",
    }


async def test_a_change_of_a_pool_says_what_was_before(admin: Client) -> None:
    await admin.send("POST", "/api/v2/pools", {"name": "p", "slots": 1}, status=201)
    await admin.send("PATCH", "/api/v2/pools/p", {"slots": 2})
    await admin.send("DELETE", "/api/v2/pools/p", status=204)
    changed, deleted = await events(admin, event="patch_pool"), await events(admin, event="delete_pool")
    assert changed[0]["extra"] == {"name": "p", "before": {"slots": 1}, "after": {"slots": 2}}
    assert deleted[0]["extra"]["before"]["slots"] == 2


WRITES: list[tuple[str, str, str, Any]] = [
    ("public_pools.create_pool", "POST", "/api/v2/pools", {"name": "p", "slots": 1}),
    ("public_pools.update_pool", "PATCH", "/api/v2/pools/p", {"slots": 2}),
    ("public_pools.bulk_pools", "PATCH", "/api/v2/pools", {"actions": []}),
    ("public_pools.delete_pool", "DELETE", "/api/v2/pools/p", None),
    ("public_connections.create_default_connections", "POST", "/api/v2/connections/defaults", None),
    ("public_connections.post_connection", "POST", "/api/v2/connections", {"connection_id": "c", "conn_type": "http"}),
    (
        "public_connections.patch_connection",
        "PATCH",
        "/api/v2/connections/c",
        {"connection_id": "c", "conn_type": "http", "host": "h"},
    ),
    ("public_connections.bulk_connections", "PATCH", "/api/v2/connections", {"actions": []}),
    ("public_connections.delete_connection", "DELETE", "/api/v2/connections/c", None),
    ("public_connections.reseal_connections", "POST", "/api/v2/leoflow/connections/reseal", None),
    ("public_variables.post_variable", "POST", "/api/v2/variables", {"key": "v", "value": "1"}),
    ("public_variables.patch_variable", "PATCH", "/api/v2/variables/v", {"key": "v", "value": "2"}),
    ("public_variables.bulk_variables", "PATCH", "/api/v2/variables", {"actions": []}),
    ("public_variables.delete_variable", "DELETE", "/api/v2/variables/v", None),
    (
        "own_users.create_user",
        "POST",
        "/leoflow/api/users",
        {"username": "ana", "password": "long enough", "roles": ["User"]},
    ),
    ("own_users.patch_user", "PATCH", "/leoflow/api/users/ana", {"disabled": True}),
    ("own_users.delete_user", "DELETE", "/leoflow/api/users/ana", None),
    ("own_roles.create_role", "POST", "/leoflow/api/roles", {"name": "r", "grants": []}),
    ("own_roles.put_role", "PUT", "/leoflow/api/roles/r", {"grants": [{"rights": "settings"}]}),
    ("own_roles.delete_role", "DELETE", "/leoflow/api/roles/r", None),
    ("own_roles.create_team", "POST", "/leoflow/api/teams", {"name": "t"}),
    ("own_roles.patch_team", "PATCH", "/leoflow/api/teams/t", {"add_dags": ["a_*"]}),
    ("own_roles.delete_team", "DELETE", "/leoflow/api/teams/t", None),
    (
        "own_tokens.create_token",
        "POST",
        "/leoflow/api/tokens",
        {"name": "ci", "rights": "read", "expires_in_s": 3600},
    ),
    ("own_tokens.revoke_token", "DELETE", "/leoflow/api/tokens/ci", None),
    ("own_files.make_folder", "POST", "/leoflow/api/folders/d", None),
    ("own_files.save_file", "PUT", "/leoflow/api/files/d/f.py", {"text": "", "etag": None}),
    ("own_files.move_file", "PATCH", "/leoflow/api/files/d/f.py", {"to": "f.py"}),
    ("own_files.remove_file", "DELETE", "/leoflow/api/files/f.py?files=1&name=f.py", None),
    ("own_files.add_examples", "POST", "/leoflow/api/examples", None),
    ("ui_auth.create_token", "POST", "/ui/auth/token", {}),
    ("own_tokens.end_session", "DELETE", "/leoflow/api/session", None),
    (
        "own_users.change_own_password",
        "POST",
        "/leoflow/api/me/password",
        {"current_password": PASSWORD, "new_password": "correct horses"},
    ),
]
CHANGES_NOTHING = frozenset({"public_connections.test_connection", "own_retention.clean"})
"""Where there is no history (else: `test_retention_routes`). And what touches DAGs is tried in `test_hidden_dags`."""


async def test_the_list_of_writes_to_what_belongs_to_no_dag_is_whole(app: QuartTrio) -> None:
    writes = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if (rule.methods or set()) - SAFE_METHODS
        and NEEDS[rule.endpoint].object is Object.NONE
        and NEEDS[rule.endpoint].right is not Right.NONE
    }
    assert {endpoint for endpoint, *_ in WRITES} == writes - CHANGES_NOTHING


async def test_each_write_is_one_row_of_the_log(admin: Client, app: QuartTrio, api_context: ApiContext) -> None:
    for endpoint, method, path, body in WRITES:
        fresh = await Client(app).send("POST", "/auth/token", LOGIN, status=201)
        before = await _newest(api_context)
        answer = await Client(app, token=fresh["access_token"]).call(method, path, json=body)
        assert answer.status_code < 300, (endpoint, await answer.get_data(as_text=True))
        assert await _newest(api_context) == before + 1, endpoint


async def _newest(api_context: ApiContext) -> int:
    async with api_context.db.api.connection() as conn:
        cursor = await conn.execute(
            b"SELECT count(*) FROM audit_seal JOIN event_log ON id = event_id WHERE client <> ''"
        )
        ((count,),) = await cursor.fetchall()
    return int(count)


async def test_who_is_no_administrator_sees_what_he_did_himself_and_what_was_done_to_dags(
    seeded: Client, api_context: ApiContext
) -> None:
    ana = await somebody_with(seeded.app, api_context.db, {"run": "dag:etl"})
    await ana.send("POST", "/leoflow/api/tokens", {"name": "x", "rights": "read", "expires_in_s": 60}, status=201)
    await seeded.send("PATCH", "/api/v2/dags/etl", {"is_paused": True})
    seen = (await ana.get("/api/v2/eventLogs?order_by=-event_log_id"))["event_logs"]
    assert {(row["event"], row["owner"]) for row in seen} >= {("patch_dag", "admin"), ("create_token", "ana")}
    assert all(row["dag_id"] == "etl" or row["owner"] == "ana" for row in seen)
    login = next(row for row in (await seeded.get("/api/v2/eventLogs"))["event_logs"] if row["event"] == "login")
    await ana.send("GET", f"/api/v2/eventLogs/{login['event_log_id']}", status=404)
    await ana.send("GET", AUDIT, status=403)


# --- whether it is what it was ---------------------------------------------------------------------------------------


@pytest.fixture
async def log(admin: Client, seals: AuditSeals) -> Client:
    """Six rows: the admin's login, and five more, sealed."""
    for number in range(5):
        await admin.send("POST", "/leoflow/api/teams", {"name": f"team {number}"}, status=201)
    await seals.look()
    return admin


async def test_a_log_that_nobody_touched_is_whole(log: Client, seals: AuditSeals) -> None:
    report = await log.get(VERIFY)
    assert (report["is_intact"], report["checked"], report["not_sealed_yet"], report["sealed_without_key"]) == (
        True,
        6,
        0,
        0,
    )
    await log.send("POST", "/leoflow/api/teams", {"name": "one more"}, status=201)
    assert (await log.get(VERIFY))["not_sealed_yet"] == 1
    await seals.look()
    later = await log.get(f"{VERIFY}?expect={report['head']}")
    assert (later["is_intact"], later["checked"], later["broken"]) == (True, 7, None)
    assert [row["position"] for row in await events(log)] == [7, 6, 5, 4, 3, 2, 1]


OPEN_AGAIN = b"UPDATE audit_seal SET position = NULL, seal = NULL, key_id = NULL WHERE position "
THIRD = b"(SELECT event_id FROM audit_seal WHERE position = 3)"


@pytest.mark.parametrize(
    ("statement", "position", "said"),
    [
        (b"UPDATE event_log SET owner = 'bob' WHERE id = " + THIRD, 3, "changed"),
        (b"UPDATE event_log SET client = NULL WHERE id = " + THIRD, 3, "changed"),
        (b"UPDATE event_log SET extra = '{}' WHERE id = " + THIRD, 3, "changed"),
        (b"DELETE FROM event_log WHERE id = " + THIRD, 3, "removed"),
        (b"DELETE FROM audit_seal WHERE position = 3", 3, "seal was removed"),
        (b"UPDATE audit_seal SET seal = '\\x00' WHERE position = 3", 3, "changed"),
        (
            b"UPDATE audit_seal SET position = NULL, seal = NULL, key_id = NULL WHERE position = 3",
            3,
            "seal was removed",
        ),
        (b"DELETE FROM audit_seal WHERE position = 6", 6, "has no seal"),
        (
            b"INSERT INTO event_log (occurred_at, event, owner, client) VALUES (now(), 'login', 'bob', '10.0.0.1')",
            7,
            "put there",
        ),
    ],
)
async def test_what_was_done_to_it_behind_our_back_is_named(
    log: Client, api_context: ApiContext, statement: bytes, position: int, said: str
) -> None:
    await change(api_context.db, statement)
    report = await log.get(VERIFY)
    assert (report["is_intact"], report["broken"]["position"]) == (False, position)
    assert said in report["broken"]["because"]


async def test_what_was_sealed_anew_after_it_was_changed_is_found_too(
    log: Client, api_context: ApiContext, seals: AuditSeals
) -> None:
    """By somebody who has the database and our code, but not the key."""
    await change(api_context.db, b"UPDATE event_log SET owner = 'bob' WHERE id = " + THIRD)
    await change(api_context.db, OPEN_AGAIN + b">= 3")
    await AuditSeals(db=api_context.db, secrets=SecretBox(dict)).look()
    assert (await log.get(VERIFY))["broken"]["position"] == 3


async def test_a_long_log_is_checked_in_parts(
    log: Client, api_context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_seals, "BATCH", 2)
    monkeypatch.setattr(audit_seals, "ROWS_MAX", 4)
    first = await log.get(VERIFY)
    assert (first["is_intact"], first["is_complete"], first["checked"]) == (True, False, 4)
    rest = await log.get(f"{VERIFY}?after={first['head']}")
    assert (rest["is_intact"], rest["checked"]) == (True, 6)
    await change(api_context.db, b"UPDATE event_log SET owner = 'bob' WHERE id = (SELECT max(id) FROM event_log)")
    assert (await log.get(VERIFY))["is_intact"]
    assert (await log.get(f"{VERIFY}?after={first['head']}"))["broken"]["position"] == 6
    await change(api_context.db, OPEN_AGAIN + b"= 4")
    assert (await log.get(f"{VERIFY}?after={first['head']}"))["broken"]["position"] == 4


async def test_an_end_that_was_cut_off_is_found_by_whoever_kept_it(log: Client, api_context: ApiContext) -> None:
    head = (await log.get(VERIFY))["head"]
    await change(
        api_context.db, b"DELETE FROM event_log WHERE id IN (SELECT event_id FROM audit_seal WHERE position > 4)"
    )
    await change(api_context.db, b"DELETE FROM audit_seal WHERE position > 4")
    assert (await log.get(VERIFY))["is_intact"]
    report = await log.get(f"{VERIFY}?expect={head}")
    assert (report["is_intact"], report["broken"]["position"]) == (False, 6)
    await log.send("GET", f"{VERIFY}?expect=6", status=422)


async def test_a_row_that_is_removed_before_its_seal_is_missed(log: Client, api_context: ApiContext) -> None:
    await log.send("POST", "/leoflow/api/teams", {"name": "gone"}, status=201)
    await change(api_context.db, b"DELETE FROM event_log WHERE id = (SELECT max(id) FROM event_log)")
    assert "before it was sealed" in (await log.get(VERIFY))["broken"]["because"]


async def test_a_new_key_goes_on_where_the_old_one_stopped(
    log: Client, seals: AuditSeals, keys: dict[str, str]
) -> None:
    keys["ring"] = f"k2:{base64.b64encode(bytes([1] * 32)).decode()},{keys['ring']}"
    await log.send("POST", "/leoflow/api/teams", {"name": "later"}, status=201)
    await seals.look()
    assert (await log.get(VERIFY))["checked"] == 7
    keys["ring"] = keys["ring"].split(",")[0]
    broken = (await log.get(VERIFY))["broken"]
    assert (broken["position"], "'k1'" in broken["because"]) == (1, True)


async def test_without_a_key_the_report_says_so(admin: Client, api_context: ApiContext) -> None:
    bare = dataclasses.replace(api_context, secrets=SecretBox(dict))
    await AuditSeals(db=api_context.db, secrets=bare.secrets).look()
    report = await Client(create_app(bare), token=admin.token).get(VERIFY)
    assert (report["is_intact"], report["sealed_without_key"]) == (True, 1)


async def test_two_who_seal_at_once_make_one_chain(admin: Client, api_context: ApiContext) -> None:
    """A leader that was paused, and the next one."""
    for number in range(20):
        await admin.send("POST", "/leoflow/api/teams", {"name": f"team {number}"}, status=201)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(AuditSeals(db=api_context.db, secrets=api_context.secrets).look)
    report = await admin.get(VERIFY)
    assert (report["is_intact"], report["checked"], report["not_sealed_yet"]) == (True, 21, 0)


async def test_a_key_file_that_cannot_be_read_is_a_complaint_until_it_can(
    admin: Client, seals: AuditSeals, keys: dict[str, str]
) -> None:
    good, keys["ring"] = keys["ring"], "nonsense"
    await seals.look()
    assert "not sealed" in (seals.complaint() or "")
    keys["ring"] = good
    await seals.look()
    assert seals.complaint() is None
    assert (await admin.get(VERIFY))["checked"] == 1


# --- rows that are too old -------------------------------------------------------------------------------------------


@pytest.fixture
async def aged(log: Client, api_context: ApiContext, seals: AuditSeals) -> Client:
    """The six rows, of which the first four are as if they had been written and sealed a year ago."""
    await change(
        api_context.db,
        b"UPDATE event_log SET occurred_at = occurred_at - interval '1 year' WHERE id IN "
        b"(SELECT event_id FROM audit_seal WHERE position <= 4)",
    )
    await change(api_context.db, OPEN_AGAIN + b">= 1")
    await seals.look()
    assert (await log.get(VERIFY))["is_intact"]
    return log


def retention(api_context: ApiContext, days: float = 90) -> Retention:
    config = RetentionConfig(audit_days=days, pause_s=0.001)
    return Retention(db=api_context.db, config=config, secrets=api_context.secrets, now=api_context.now)


async def test_what_is_too_old_goes_and_the_rest_is_verified_from_there(
    aged: Client, api_context: ApiContext, seals: AuditSeals
) -> None:
    remover = retention(api_context)
    await remover.look_at_audit_log()
    await seals.look()
    report = await aged.get(VERIFY)
    assert (report["is_intact"], report["removed"], report["checked"]) == (True, 4, 3)
    assert report["removed_before"] is not None
    newest = (await events(aged))[0]
    assert (newest["event"], newest["client"], newest["owner"]) == ("remove_audit_rows", "leoflowd", None)
    assert (newest["extra"]["rows"], newest["extra"]["up_to"]) == (4, 4)
    assert remover.statistics().removed_audit_rows == 4
    await remover.look_at_audit_log()
    assert (await aged.get(VERIFY))["removed"] == 4


async def test_nothing_goes_where_nothing_is_set(aged: Client, api_context: ApiContext) -> None:
    await retention(api_context, days=0).look_at_audit_log()
    assert (await aged.get(VERIFY))["checked"] == 6


@pytest.mark.parametrize("days", ["29", "-1", "nan"])
def test_a_limit_that_a_task_could_meet_is_refused(days: str) -> None:
    with pytest.raises(ConfigRefused, match="at least 30, or 0"):
        from_environment({"LEOFLOW_RETENTION_AUDIT_DAYS": days})


async def test_the_newest_row_stays_for_the_next_to_follow(
    aged: Client, api_context: ApiContext, seals: AuditSeals
) -> None:
    later = dataclasses.replace(api_context, now=lambda: api_context.now() + timedelta(days=400))
    await retention(later).look_at_audit_log()
    await seals.look()
    report = await aged.get(VERIFY)
    assert (report["is_intact"], report["removed"], report["checked"]) == (True, 5, 2)


async def test_many_go_in_batches(
    aged: Client, api_context: ApiContext, seals: AuditSeals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_seals, "BATCH", 2)
    await retention(api_context).look_at_audit_log()
    await seals.look()
    report = await aged.get(VERIFY)
    assert (report["is_intact"], report["removed"], report["checked"]) == (True, 4, 4)
    assert len(await events(aged, event="remove_audit_rows")) == 2


async def test_rows_from_before_there_was_a_key_go_when_there_is_one(
    admin: Client, api_context: ApiContext, seals: AuditSeals
) -> None:
    for number in range(3):
        await admin.send("POST", "/leoflow/api/teams", {"name": f"team {number}"}, status=201)
    first_two = b"WHERE id <= (SELECT min(id) + 1 FROM event_log)"
    await change(api_context.db, b"UPDATE event_log SET occurred_at = occurred_at - interval '1 year' " + first_two)
    await AuditSeals(db=api_context.db, secrets=SecretBox(dict)).look()
    await retention(api_context).look_at_audit_log()
    await seals.look()
    report = await admin.get(VERIFY)
    assert (report["broken"], report["removed"], report["checked"], report["sealed_without_key"]) == (None, 2, 3, 2)


async def test_what_was_changed_stays_as_evidence_with_all_that_follows(aged: Client, api_context: ApiContext) -> None:
    await change(api_context.db, b"UPDATE event_log SET owner = 'bob' WHERE id = " + THIRD)
    remover = retention(api_context)
    await remover.look_at_audit_log()
    report = await aged.get(VERIFY)
    assert (report["removed"], report["broken"]["position"]) == (2, 3)
    assert "position 3" in (remover.complaint() or "")


FORGED = (
    b"INSERT INTO audit_checkpoint SELECT true, position, seal, true, now(), %s, '\\x00' "
    b"FROM audit_seal WHERE position = 2"
)


@pytest.mark.parametrize(
    ("key_id", "said"), [(b"'k1'", "does not have the key"), (b"'k9'", "'k9'"), (b"''", "does not have the key")]
)
async def test_who_has_no_key_cannot_cut_the_log_off(
    log: Client, api_context: ApiContext, key_id: bytes, said: str
) -> None:
    await change(api_context.db, FORGED.replace(b"%s", key_id))
    await change(api_context.db, b"DELETE FROM audit_seal WHERE position <= 2")
    await change(api_context.db, b"DELETE FROM event_log WHERE id NOT IN (SELECT event_id FROM audit_seal)")
    broken = (await log.get(VERIFY))["broken"]
    assert broken["position"] == 3
    assert said in broken["because"]


async def test_a_checkpoint_that_is_taken_away_is_missed(aged: Client, api_context: ApiContext) -> None:
    await retention(api_context).look_at_audit_log()
    await change(api_context.db, b"DELETE FROM audit_checkpoint")
    assert (await aged.get(VERIFY))["broken"]["position"] == 1


async def test_a_row_that_is_put_among_the_removed_is_found(aged: Client, api_context: ApiContext) -> None:
    await retention(api_context).look_at_audit_log()
    await change(
        api_context.db,
        b"WITH e AS (INSERT INTO event_log (occurred_at, event, owner, client) "
        b"VALUES (now(), 'login', 'bob', '10.0.0.1') RETURNING id) "
        b"INSERT INTO audit_seal SELECT id, 2, 'k1', '\\x00' FROM e",
    )
    assert "place in the chain that was removed" in (await aged.get(VERIFY))["broken"]["because"]


async def test_a_head_that_was_kept_is_looked_for_where_rows_were_removed(
    aged: Client, api_context: ApiContext, seals: AuditSeals, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (await aged.get(VERIFY))["head"]
    monkeypatch.setattr(audit_seals, "BATCH", 2)
    monkeypatch.setattr(audit_seals, "ROWS_MAX", 2)
    second = (await aged.get(VERIFY))["head"]
    fourth = (await aged.get(f"{VERIFY}?after={second}"))["head"]
    await retention(api_context).look_at_audit_log()
    assert (await aged.get(f"{VERIFY}?expect={whole}"))["is_intact"]
    assert (await aged.get(f"{VERIFY}?expect={fourth}"))["is_intact"]
    wrong = "4:" + "0" * 64
    assert (await aged.get(f"{VERIFY}?expect={wrong}"))["broken"]["position"] == 4
    refused = await aged.send("GET", f"{VERIFY}?expect={second}", status=422)
    assert "removed for its age" in str(refused)
    going_on = await aged.get(f"{VERIFY}?after={second}")
    assert (going_on["is_intact"], going_on["checked"]) == (True, 2)


async def test_the_schedulers_old_rows_go_too(aged: Client, api_context: ApiContext) -> None:
    await change(
        api_context.db,
        b"INSERT INTO event_log (occurred_at, event) VALUES (now() - interval '1 year', 'failed'), (now(), 'failed')",
    )
    await retention(api_context).look_at_audit_log()
    async with api_context.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT count(*) FROM event_log WHERE client IS NULL")
        assert await cursor.fetchone() == (1,)
