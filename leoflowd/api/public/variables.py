"""Variables: list, add, change, delete, import. Blueprint `public_variables`.

No answer and no audit entry holds a secret: `core.masking` shows `***` in the place of a value whose key promises one,
and of such fields inside JSON. A `***` that comes back stands for what is stored, so that a form may be saved, and a
list imported, as it was shown.
"""

from __future__ import annotations

import json
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
from leoflowd.contract.values import checked_json, parsed_json
from leoflowd.contract.variable import VariableFacts, checked_variable, text_of
from leoflowd.core.masking import masked_text, unmasked_text
from leoflowd.core.secret_names import MASK
from leoflowd.store import variables
from leoflowd.store.database import Connection as Conn
from leoflowd.store.secret_box import CannotOpen, KeysRefused
from leoflowd.store.variables import SealedVariable, open_variable

blueprint = Blueprint("public_variables", __name__)

Key = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]{1,250}\Z")]
Unset = msgspec.UnsetType
ABSENT = msgspec.Raw(b"")


class VariableBody(StrictBody, frozen=True, kw_only=True):
    """Add and change. What is absent stays as it is."""

    key: Key
    value: msgspec.Raw = msgspec.field(default_factory=lambda: ABSENT)  # a default would be part of its JSON schema
    """Any JSON: a text is stored as it is, everything else as JSON text. In a change, null leaves it as it is."""
    description: str | Unset | None = msgspec.UNSET
    team_name: str | None = None


# --- reading ---------------------------------------------------------------------------------------------------------


@blueprint.get("/api/v2/variables")
async def list_variables() -> Response:
    query = Query()
    filters = query.patterns("variable_key")
    limit, offset = query.page()
    async with lane().connection() as conn:
        rows, total = await variables.list_page_of_variables(
            conn, filters, order_by=query.order_by() or ["id"], limit=limit, offset=offset
        )
    return collection("variables", [_answer(row) for row in rows], total)


@blueprint.get("/api/v2/variables/<path:variable_key>")
async def get_variable(variable_key: str) -> Response:
    async with lane().connection() as conn:
        return json_answer(_answer(await _fetched(conn, variable_key)))


def _answer(row: SealedVariable) -> dict[str, Any]:
    """One VariableResponse. A value that does not open is said in its place: the row must stay deletable."""
    try:
        value = masked_text(open_variable(row, context().secrets).value, row.key)
    except (CannotOpen, KeysRefused) as error:
        value = json.dumps({MASK: str(error)})
    return {
        "key": row.key,
        "value": value,
        "description": row.description,
        "is_encrypted": True,
        "team_name": None,
    }


# --- changing --------------------------------------------------------------------------------------------------------


@blueprint.post("/api/v2/variables")
async def post_variable() -> Response:
    body = await read_body(VariableBody)
    async with lane().transaction() as conn:
        await _insert(conn, body)
        await record(conn, "post_variable", extra=_audited(body))
        return json_answer(_answer(await _fetched(conn, body.key)), 201)


@blueprint.patch("/api/v2/variables/<path:variable_key>")
async def patch_variable(variable_key: str) -> Response:
    mask = Query().mask("update_mask", VariableBody)
    body = await read_body(VariableBody)
    if body.key != variable_key:
        raise BadRequest("Invalid body, key from request body doesn't match uri parameter")
    async with lane().transaction() as conn:
        await _update(conn, body, mask)
        await record(conn, "patch_variable", extra=_audited(body, mask))
        return json_answer(_answer(await _fetched(conn, variable_key)))


@blueprint.delete("/api/v2/variables/<path:variable_key>")
async def delete_variable(variable_key: str) -> Response:
    async with lane().transaction() as conn:
        await variables.delete_variable(conn, variable_key)
        await record(conn, "delete_variable", extra={"key": variable_key})
    return no_content()


@blueprint.patch("/api/v2/variables")
async def bulk_variables() -> Response:
    """The UI's import and its bulk delete."""
    body = await read_body(BulkBody[VariableBody], bulk.BODY_MAX_BYTES)
    return await bulk.carry_out(
        body,
        Things(
            plural="variables",
            key="key",
            lock=variables.lock_variable,
            insert=_insert,
            update=_update,
            delete=variables.delete_variable,
        ),
    )


async def _insert(conn: Conn, body: VariableBody) -> None:
    await variables.insert_variable(conn, context().secrets, changed(None, body, None), context().now())


async def _update(conn: Conn, body: VariableBody, mask: Collection[str] | None) -> None:
    row = await variables.lock_variable(conn, body.key)
    if row is None:
        raise variables.not_found(body.key)
    old = open_variable(row, context().secrets)
    await variables.update_variable(conn, context().secrets, changed(old, body, mask), context().now())


def changed(old: VariableFacts | None, body: VariableBody, mask: Collection[str] | None) -> VariableFacts:
    """`old` with what the body says. Raises `Unprocessable`, `Invalid`.

    Without a mask, absent fields stay. With one, only its fields change; a description that is absent is cleared then.
    """
    refuse_team(body.team_name)
    raw = bytes(body.value) if mask is None or "value" in mask else b""
    if old is None and not raw:
        raise Unprocessable(FieldError(type="missing", loc=("body", "value"), msg="Field required"))
    if old is not None and raw in (b"", b"null"):
        value = old.value
    else:
        value = _unmasked(text_of(checked_json(parsed_json(raw, "value"), "value")), old, body.key)
    description = old.description if old is not None else None
    if (mask is None and body.description is not msgspec.UNSET) or (mask is not None and "description" in mask):
        description = None if body.description is msgspec.UNSET else body.description
    return checked_variable(VariableFacts(key=body.key, value=value, description=description))


def _unmasked(text: str, old: VariableFacts | None, key: str) -> str:
    try:
        return unmasked_text(text, None if old is None else old.value, key)
    except ValueError as error:
        raise Unprocessable(
            FieldError(type="value_error", loc=("body", "value"), msg=f"Value error, {error}")
        ) from error


async def _fetched(conn: Conn, key: str) -> SealedVariable:
    row = await variables.fetch_variable(conn, key)
    if row is None:
        raise variables.not_found(key)
    return row


def _audited(body: VariableBody, mask: Collection[str] | None = None) -> dict[str, Any]:
    """Which fields, never their values."""
    given = {
        "value": bool(bytes(body.value)),
        "description": body.description not in (msgspec.UNSET, None),
    }
    fields = (
        sorted(set(given) & set(mask)) if mask is not None else [name for name, is_given in given.items() if is_given]
    )
    return {"key": body.key, "fields": sorted(fields)}
