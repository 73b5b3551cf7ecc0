"""Connections: list, add, change, delete, try out. Blueprint `public_connections`.

No answer and no audit entry holds a secret: a password is `***`, and so is what `core.masking` finds in an extra. A
`***` that comes back stands for what is stored, so that a form may be saved as it was shown. A stored secret goes only
where it went before: a change of the destination drops it unless it is sent again, or whoever may edit could read it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from typing import Annotated, Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api import bulk
from leoflowd.api.answers import collection, json_answer, no_content
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.bulk import BulkBody, StrictBody, Things, refuse_team
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.api.problems import BadRequest, FieldError, Unprocessable
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.errors import NotAllowed
from leoflowd.contract.values import shown
from leoflowd.core.masking import (
    DEPTH_MAX,
    is_deeper_than,
    masked,
    places,
    stands_for_secrets,
    unmasked,
    without_secrets,
)
from leoflowd.core.secret_names import MASK
from leoflowd.store import connections, variables
from leoflowd.store.connections import SealedConnection, open_connection
from leoflowd.store.database import Connection as Conn
from leoflowd.store.secret_box import CannotOpen, KeysRefused

blueprint = Blueprint("public_connections", __name__)
logger = logging.getLogger(__name__)

Text = Annotated[str, msgspec.Meta(max_length=10_000, pattern=r"^[^\x00]*\Z")]
"""Postgres holds no NUL."""
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,200}\Z")]
"""Airflow's rule, in ASCII: an id is also the name of an environment variable."""
ConnType = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]{1,500}\Z")]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
"""0 is none: the UI's test button sends it for an empty field."""
Unset = msgspec.UnsetType
DESTINATION = ("conn_type", "host", "port", "schema")
"""Where a secret would be sent, beside what `core.masking.places` finds in an extra."""
MOVED = (
    f"`{MASK}` stands for the stored secret, which is kept only while the connection goes to the same place (type, "
    "host, port, schema and such fields of the extra); send the secret itself, or empty to remove it"
)


class ConnectionBody(StrictBody, frozen=True, kw_only=True):
    """Add and change. What is absent stays as it is."""

    connection_id: Id
    conn_type: ConnType
    description: Text | Unset | None = msgspec.UNSET
    host: Text | Unset | None = msgspec.UNSET
    login: Text | Unset | None = msgspec.UNSET
    schema: Text | Unset | None = msgspec.UNSET
    port: Port | Unset | None = msgspec.UNSET
    password: Text | Unset | None = msgspec.UNSET
    extra: Text | Unset | None = msgspec.UNSET
    team_name: str | None = None


# --- reading ---------------------------------------------------------------------------------------------------------


@blueprint.get("/api/v2/connections")
async def list_connections() -> Response:
    query = Query()
    filters = query.patterns("connection_id")
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await connections.list_connections(
            conn, filters, order_by=query.order_by() or ["id"], limit=limit, offset=offset
        )
    return collection("connections", [_answer(row) for row in rows], total)


@blueprint.get("/api/v2/connections/<connection_id>")
async def get_connection(connection_id: str) -> Response:
    async with lane().connection() as conn:
        row = await connections.fetch_connection(conn, connection_id)
    return json_answer(_answer(_found(row, connection_id)))


def _answer(row: SealedConnection) -> dict[str, Any]:
    """One ConnectionResponse. A secret that does not open is said in its place: the row must stay deletable."""
    try:
        extra = _shown_extra(open_connection(row, context().secrets).extra)
    except (CannotOpen, KeysRefused) as error:
        extra = json.dumps({MASK: str(error)})
    return {
        "connection_id": row.connection_id,
        "conn_type": row.conn_type,
        "description": row.description,
        "host": row.host,
        "login": row.login,
        "schema": row.schema,
        "port": row.port,
        "password": None if row.password is None else MASK,
        "extra": extra,
        "team_name": None,
    }


def _shown_extra(extra: str | None) -> str | None:
    return None if extra is None else json.dumps(masked(msgspec.json.decode(extra)))


# --- changing --------------------------------------------------------------------------------------------------------


@blueprint.post("/api/v2/connections")
async def post_connection() -> Response:
    body = await read_body(ConnectionBody)
    async with lane().transaction() as conn:
        await _insert(conn, body)
        await record(conn, "post_connection", extra=_audited(body))
        return json_answer(_answer(await _fetched(conn, body.connection_id)), 201)


@blueprint.patch("/api/v2/connections/<connection_id>")
async def patch_connection(connection_id: str) -> Response:
    mask = Query().mask("update_mask", ConnectionBody)
    body = await read_body(ConnectionBody)
    if body.connection_id != connection_id:
        raise BadRequest("The connection_id in the request body does not match the URL parameter")
    async with lane().transaction() as conn:
        await _update(conn, body, mask)
        await record(conn, "patch_connection", extra=_audited(body, mask))
        return json_answer(_answer(await _fetched(conn, connection_id)))


@blueprint.delete("/api/v2/connections/<connection_id>")
async def delete_connection(connection_id: str) -> Response:
    async with lane().transaction() as conn:
        await connections.delete_connection(conn, connection_id)
        await record(conn, "delete_connection", extra={"connection_id": connection_id})
    return no_content()


@blueprint.post("/api/v2/connections/defaults")
async def create_default_connections() -> Response:
    """Airflow's connections of these names, for the types that sensors here read; what exists is left alone."""
    async with lane().transaction() as conn:
        for facts in DEFAULTS:
            if await connections.fetch_connection(conn, facts.connection_id) is None:
                await connections.insert_connection(conn, context().secrets, facts, context().now())
        await record(conn, "create_default_connections")
    return no_content()


@blueprint.post("/api/v2/leoflow/connections/reseal")
async def reseal_connections() -> Response:
    """Encrypt all secrets anew, those of variables too, with the first key of the ring, after it was put there."""
    box, now = context().secrets, context().now()
    async with lane().transaction() as conn:
        answer = {
            "key_id": box.sealing_key_id(),
            "connections": await connections.reseal_connections(conn, box, now),
            "variables": await variables.reseal_variables(conn, box, now),
        }
        await record(conn, "reseal_connections", extra=answer)
    return json_answer(answer)


async def _insert(conn: Conn, body: ConnectionBody) -> None:
    blank = ConnectionFacts(connection_id=body.connection_id)
    await connections.insert_connection(conn, context().secrets, changed(blank, body, None), context().now())


async def _update(conn: Conn, body: ConnectionBody, mask: Collection[str] | None) -> None:
    row = _found(await connections.lock_connection(conn, body.connection_id), body.connection_id)
    old = open_connection(row, context().secrets)
    await connections.update_connection(conn, context().secrets, changed(old, body, mask), context().now())


def changed(old: ConnectionFacts, body: ConnectionBody, mask: Collection[str] | None) -> ConnectionFacts:
    """`old` with what the body says; without its secrets when it goes somewhere else now. Raises `Unprocessable`.

    A `***` asks to keep a secret, so that it is refused when that cannot be; a secret that is not mentioned is dropped.
    """
    new = _merged(old, body, mask)
    if destination(old) == destination(new):
        return new

    def is_untouched(name: str) -> bool:
        return getattr(body, name) is msgspec.UNSET if mask is None else name not in mask

    if old.password is not None and body.password == MASK:
        raise _fault("password", MOVED)
    if old.extra is not None and isinstance(body.extra, str) and stands_for_secrets(_fields(body.extra)):
        raise _fault("extra", MOVED)
    if is_untouched("password") or body.password in (msgspec.UNSET, None):
        new = msgspec.structs.replace(new, password=None)
    if is_untouched("extra") and old.extra is not None:
        new = msgspec.structs.replace(new, extra=json.dumps(without_secrets(_fields(old.extra))))
    return new


def destination(facts: ConnectionFacts) -> tuple[Any, ...]:
    """Where the secrets of this connection are sent."""
    return (*(getattr(facts, name) or None for name in DESTINATION), places(_fields(facts.extra)))


def _fields(extra: str | None) -> Any:
    """An extra as JSON; one that is none has no fields."""
    try:
        return msgspec.json.decode(extra or "{}")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return {}


def _merged(old: ConnectionFacts, body: ConnectionBody, mask: Collection[str] | None) -> ConnectionFacts:
    """`old` with what the body says. Raises `Unprocessable`.

    Without a mask, absent fields stay. With one, only its fields change, and one that is absent is cleared, which is
    how the UI empties a field. Password: null and `***` keep it, empty text removes it.
    """
    refuse_team(body.team_name)
    given = {
        name: None if value is msgspec.UNSET else value
        for name, value in msgspec.structs.asdict(body).items()
        if name not in ("connection_id", "team_name") and (value is not msgspec.UNSET if mask is None else name in mask)
    }
    if "password" in given:
        given["password"] = _password(given["password"], old.password)
    if "extra" in given:
        given["extra"] = _extra(given["extra"], old.extra)
    if given.get("port") == 0:
        given["port"] = None
    return msgspec.structs.replace(old, **given)


def _password(given: str | None, stored: str | None) -> str | None:
    if given is None:
        return stored
    if given == MASK and stored is None:
        raise _fault("password", f"`{MASK}` stands for a stored password, and there is none; send the password itself")
    return stored if given == MASK else given or None


def _extra(given: str | None, stored: str | None) -> str | None:
    if given is None:
        return None
    try:
        fields = msgspec.json.decode(given or "{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        fields = None
    if not isinstance(fields, dict):
        raise _fault("extra", 'The `extra` field must be a valid JSON object (e.g., {"key": "value"})')
    if is_deeper_than(fields, DEPTH_MAX):
        raise _fault("extra", f"The `extra` field is nested deeper than {DEPTH_MAX} levels")
    if MASK in fields:
        raise _fault("extra", f"The `extra` field has the name `{MASK}`, which shows a secret that could not be read")
    try:
        return json.dumps(unmasked(fields, msgspec.json.decode(stored or "{}")))
    except ValueError as error:
        raise _fault("extra", str(error)) from error


def _fault(name: str, message: str) -> Unprocessable:
    return Unprocessable(FieldError(type="value_error", loc=("body", name), msg=f"Value error, {message}"))


def _found(row: SealedConnection | None, connection_id: str) -> SealedConnection:
    if row is None:
        raise connections.not_found(connection_id)
    return row


async def _fetched(conn: Conn, connection_id: str) -> SealedConnection:
    return _found(await connections.fetch_connection(conn, connection_id), connection_id)


def _audited(body: ConnectionBody, mask: Collection[str] | None = None) -> dict[str, Any]:
    """Which fields, never their values: a password typed into `host` must not end up in the log either."""
    given = (name for name, value in msgspec.structs.asdict(body).items() if value not in (msgspec.UNSET, None))
    fields = sorted(set(given if mask is None else mask) - {"connection_id"})
    return {"connection_id": body.connection_id, "conn_type": body.conn_type, "fields": fields}


# --- many at once ----------------------------------------------------------------------------------------------------


@blueprint.patch("/api/v2/connections")
async def bulk_connections() -> Response:
    body = await read_body(BulkBody[ConnectionBody], bulk.BODY_MAX_BYTES)
    return await bulk.carry_out(
        body,
        Things(
            plural="connections",
            key="connection_id",
            lock=connections.lock_connection,
            insert=_insert,
            update=_update,
            delete=connections.delete_connection,
        ),
    )


# --- trying out ------------------------------------------------------------------------------------------------------


@blueprint.post("/api/v2/connections/test")
async def test_connection() -> Response:
    """Try what the form says; what it leaves out or masks comes from the stored connection of the same id."""
    body = await read_body(ConnectionBody)
    test = context().test_connection
    if test is None or not context().config.test_connection:
        raise NotAllowed(
            "Testing connections is disabled: this server does not offer it, or LEOFLOW_API_TEST_CONNECTION is false"
        )
    async with lane().connection() as conn:
        row = await connections.fetch_connection(conn, body.connection_id)
    stored = None if row is None else open_connection(row, context().secrets)
    facts = _merged(stored or ConnectionFacts(connection_id=body.connection_id), body, None)
    if stored is not None and _would_leak(stored, facts, body):
        message = (
            "the stored secrets are only sent where the stored connection goes; type them in again to test another "
            "type, host, port or schema, or save first"
        )
        return json_answer({"status": False, "message": message})
    try:
        works, message = await test(facts)
    except Exception as error:  # one try of what one person typed: whatever its client says is the answer
        logger.warning("connection_test_failed", exc_info=error, extra={"connection_id": body.connection_id})
        works, message = False, shown(f"it cannot be tried: {error}")
    return json_answer({"status": works, "message": message})


def _would_leak(stored: ConnectionFacts, facts: ConnectionFacts, body: ConnectionBody) -> bool:
    """Who may test but not read a password must not be able to have it sent to a host of their own."""
    is_elsewhere = destination(stored) != destination(facts)
    keeps_password = stored.password is not None and body.password in (msgspec.UNSET, None, MASK)
    keeps_extra = stored.extra is not None and (body.extra is msgspec.UNSET or MASK in (body.extra or ""))
    return is_elsewhere and (keeps_password or keeps_extra)


DEFAULTS = (
    ConnectionFacts(connection_id="aws_default", conn_type="aws"),
    ConnectionFacts(connection_id="fs_default", conn_type="fs", extra='{"path": "/"}'),
    ConnectionFacts(connection_id="google_cloud_default", conn_type="google_cloud_platform", schema="default"),
    ConnectionFacts(connection_id="http_default", conn_type="http", host="https://www.httpbin.org/"),
    ConnectionFacts(connection_id="kubernetes_default", conn_type="kubernetes"),
    ConnectionFacts(
        connection_id="postgres_default",
        conn_type="postgres",
        host="postgres",
        schema="airflow",
        login="postgres",
        password="airflow",  # noqa: S106  # Airflow's published default, no secret
    ),
    ConnectionFacts(connection_id="redis_default", conn_type="redis", host="redis", port=6379, extra='{"db": 0}'),
)
