"""Whose versions a server takes: signatures are checked, and where they are required nothing else runs. ADR 105."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from leoflowd.api.admission import Admission
from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.contract.dag_spec import DagSpec, TaskSpec, encode_canonical
from leoflowd.contract.signatures import HEADER, Signer, read_signers, sign
from tests.integration.api.api_client import Client

OWN = "/api/v2/leoflow/dags"
KEY, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
FIRST = DagSpec(dag_id="d", tasks=(TaskSpec(task_id="a", operator="EmptyOperator"),), bundle_digest="1" * 64)
SECOND = msgspec.structs.replace(FIRST, tags=("two",), bundle_digest="2" * 64)


def signers() -> tuple[Signer, ...]:
    text = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return read_signers([f"{text} ci"])


SIGNED_BY = str(signers()[0])


def server_that(context: ApiContext, admin: Client, admission: Admission) -> Client:
    """Another daemon on the same database."""
    return dataclasses.replace(admin, app=create_app(dataclasses.replace(context, admission=admission)))


@pytest.fixture
async def strict(api_context: ApiContext, admin: Client) -> Client:
    return server_that(api_context, admin, Admission(signers(), is_required=True))


@pytest.fixture
async def lenient(api_context: ApiContext, admin: Client) -> Client:
    return server_that(api_context, admin, Admission(signers()))


async def push(
    server: Client,
    spec: DagSpec,
    key: Ed25519PrivateKey | None = None,
    query: str = "",
    *,
    as_if: DagSpec | None = None,
) -> tuple[int, Any]:
    """Status and answer. `as_if`: what was signed, where that is something else."""
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers[HEADER] = sign(key, encode_canonical(as_if or spec))
    answer = await server.call("POST", f"{OWN}{query}", data=encode_canonical(spec), headers=headers)
    return answer.status_code, await answer.get_json()


async def signed_by(server: Client) -> dict[int, str | None]:
    rows = (await server.get(f"{OWN}/d/versions"))["versions"]
    return {row["version_number"]: row["signed_by"] for row in rows}


async def test_a_signed_version_is_taken_and_says_whose_it_is(strict: Client) -> None:
    status, answer = await push(strict, FIRST, KEY)
    assert (status, answer["signed_by"]) == (201, SIGNED_BY)
    assert await signed_by(strict) == {1: SIGNED_BY}
    (row,) = (await strict.get("/api/v2/eventLogs?event=register_dag"))["event_logs"]
    assert SIGNED_BY in row["extra"]


@pytest.mark.parametrize("query", ["", "?canary=10"])
async def test_what_is_not_signed_is_refused_and_changes_nothing(strict: Client, query: str) -> None:
    await push(strict, FIRST, KEY)
    for key, as_if, says in (
        (None, None, "is not signed, and this server runs signed versions only"),
        (STRANGER, None, "none of the keys that this server trusts"),
        (KEY, FIRST, "the artifact is not what was signed"),
    ):
        status, answer = await push(strict, SECOND, key, query, as_if=as_if)
        assert (status, says in answer["detail"]) == (403, True), answer
    assert await signed_by(strict) == {1: SIGNED_BY}
    assert (await push(strict, SECOND, KEY, query))[0] == 201


async def test_a_dag_that_nobody_signed_does_not_come_into_being(strict: Client) -> None:
    assert (await push(strict, FIRST))[0] == 403
    await strict.send("GET", "/api/v2/dags/d", status=404)


async def test_an_older_version_that_nobody_signed_is_not_made_current(strict: Client, admin: Client) -> None:
    await push(admin, FIRST)
    await push(strict, SECOND, KEY)
    answer = await strict.send("POST", f"{OWN}/d/rollback", {"version_number": 1}, status=403)
    assert "is not signed" in answer["detail"]
    details = await strict.get("/api/v2/dags/d/details")
    assert details["latest_dag_version"]["version_number"] == 2
    await push(strict, FIRST, KEY)  # the same content, signed now
    assert await signed_by(strict) == {1: SIGNED_BY, 2: SIGNED_BY}
    await strict.send("POST", f"{OWN}/d/rollback", {"version_number": 2})
    await strict.send("POST", f"{OWN}/d/rollback", {"version_number": 1})


async def test_a_canary_that_nobody_signed_is_not_promoted(strict: Client, admin: Client) -> None:
    for spec, query in ((FIRST, ""), (SECOND, "?canary=10")):
        assert (await push(admin, spec, query=query))[0] == 201
    await strict.send("POST", f"{OWN}/d/promote", status=403)
    await admin.send("POST", f"{OWN}/d/promote")


async def test_where_signatures_are_checked_only_a_wrong_one_is_refused(lenient: Client) -> None:
    assert (await push(lenient, FIRST))[1]["signed_by"] is None
    assert (await push(lenient, SECOND, STRANGER))[0] == 403
    assert (await push(lenient, SECOND, KEY))[1]["signed_by"] == SIGNED_BY
    assert await signed_by(lenient) == {1: None, 2: SIGNED_BY}


async def test_where_nobody_checks_signatures_none_is_believed(admin: Client) -> None:
    assert (await push(admin, FIRST, STRANGER))[1]["signed_by"] is None


async def test_a_server_says_beforehand_what_it_does_with_signatures(
    strict: Client, lenient: Client, admin: Client
) -> None:
    for server, word in ((strict, "required"), (lenient, "checked"), (admin, "ignored")):
        answer = await server.send("POST", f"{OWN}/check", msgspec.to_builtins(FIRST))
        assert answer["signatures"] == word
