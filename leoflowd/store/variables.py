"""Variables, encrypted whole (ADR 14, ADR 39), and the book that tasks look them up in.

The API lists sealed rows and changes them; agents ask `VariableBook`; `store.loadable` opens them for DAG files that
are loaded. Every write sends the hint `variables:`, for whoever compiled a file with the old value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.errors import Conflict, NotFound
from leoflowd.contract.values import shown
from leoflowd.contract.variable import VariableFacts, from_environment
from leoflowd.store.api_lists import Column, Listing, list_page
from leoflowd.store.database import Connection, Lane, execute, fetch_all, fetch_one, statements
from leoflowd.store.hints import send_hint
from leoflowd.store.secret_box import CannotOpen, Sealed, SecretBox

_SQL = statements("variables")

LISTING = Listing(
    file="variables",
    key=("key",),
    sortable={
        "key": Column("v.key", "text"),
        "id": Column("v.created_at", "timestamptz"),
        "description": Column("v.description", "text", nullable=True),
        "is_encrypted": Column("v.value IS NOT NULL", "bool"),
        "team_name": Column("NULL::text", "text", nullable=True),
        "_val": Column("v.value", "bytea"),  # the UI's column of values; sealed, as they are to Airflow's database
    },
)
NO_FILTERS: dict[str, Any] = {"variable_key_ilike": None, "variable_key_like": None}


class SealedVariable(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `open_variable` makes `VariableFacts` of it."""

    key: str
    value: bytes
    key_id: str
    description: str | None


def open_variable(row: SealedVariable, box: SecretBox) -> VariableFacts:
    """Raises `CannotOpen` with the variable's key, and why."""
    try:
        value = box.open(Sealed(row.key_id, row.value), _place(row.key))
    except CannotOpen as error:
        raise CannotOpen(f"the value of variable {row.key!r} cannot be read: {error}") from error
    return VariableFacts(key=row.key, value=value, description=row.description)


def _sealed(facts: VariableFacts, box: SecretBox, now: datetime) -> dict[str, Any]:
    """The parameters of insert, update and put."""
    key_id = box.sealing_key_id()
    content = box.seal(facts.value, _place(facts.key), key_id).content
    return {"key": facts.key, "value": content, "key_id": key_id, "description": facts.description, "now": now}


def _place(key: str) -> str:
    """What a ciphertext is bound to; no key holds a NUL, so that no two places read alike."""
    return f"variable\0{key}\0value"


async def list_page_of_variables(
    conn: Connection, filters: dict[str, Any], *, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[SealedVariable], int]:
    """(rows, total). Raises `Invalid` for an unknown order."""
    rows, total = await list_page(conn, LISTING, NO_FILTERS | filters, order_by=order_by, limit=limit, offset=offset)
    return [SealedVariable(**row) for row in rows], total


async def list_variables(conn: Connection) -> tuple[SealedVariable, ...]:
    """All, by key."""
    return await fetch_all(conn, _SQL.list_variables, SealedVariable)


async def fetch_variable(conn: Connection, key: str) -> SealedVariable | None:
    return await fetch_one(conn, _SQL.fetch_variable, SealedVariable, key=shown(key))


async def lock_variable(conn: Connection, key: str) -> SealedVariable | None:
    """The row, locked until the transaction ends."""
    return await fetch_one(conn, _SQL.lock_variable, SealedVariable, key=key)


async def insert_variable(conn: Connection, box: SecretBox, facts: VariableFacts, now: datetime) -> None:
    """Raises `Conflict` when there is one of this key, or no key to seal with."""
    if not await execute(conn, _SQL.insert_variable, **_sealed(facts, box, now)):
        raise Conflict(f"The Variable with key: `{facts.key}` already exists")
    await send_hint(conn, "variables")


async def update_variable(conn: Connection, box: SecretBox, facts: VariableFacts, now: datetime) -> None:
    """Write value and description. Raises `NotFound`, and `Conflict` without a key to seal with."""
    if not await execute(conn, _SQL.update_variable, **_sealed(facts, box, now)):
        raise not_found(facts.key)
    await send_hint(conn, "variables")


async def put_variable(conn: Connection, box: SecretBox, facts: VariableFacts, now: datetime) -> None:
    """Insert or write over, as a task does; a description that is not given stays. Raises `Conflict` without a key."""
    await execute(conn, _SQL.put_variable, **_sealed(facts, box, now))
    await send_hint(conn, "variables")


async def delete_variable(conn: Connection, key: str) -> None:
    """Raises `NotFound`."""
    if not await execute(conn, _SQL.delete_variable, key=key):
        raise not_found(key)
    await send_hint(conn, "variables")


async def reseal_variables(conn: Connection, box: SecretBox, now: datetime) -> int:
    """Seal all values anew under the ring's first key, after it changed; how many.

    One transaction of the caller's: all rows or none. Raises `CannotOpen` for a row whose old key is gone.
    """
    rows = await fetch_all(conn, _SQL.lock_variables, SealedVariable)
    for row in rows:
        await execute(conn, _SQL.update_variable, **_sealed(open_variable(row, box), box, now))
    return len(rows)


def not_found(key: str) -> NotFound:
    return NotFound(f"The Variable with key: `{key}` was not found")


class VariableBook:
    """Where a task's variable is looked up: `AIRFLOW_VAR_<KEY>` of the daemon's environment first, then the table."""

    def __init__(self, lane: Lane, box: SecretBox, environment: Mapping[str, str]) -> None:
        self._lane = lane
        self._box = box
        self._environment = environment

    async def fetch(self, key: str) -> str | None:
        """None: there is no such variable. Raises ValueError with a sentence when there is one, but unreadable."""
        found = from_environment(key, self._environment)
        if found is not None:
            return found
        async with self._lane.connection() as conn:
            row = await fetch_variable(conn, key)
        return None if row is None else open_variable(row, self._box).value

    async def write(self, conn: Connection, facts: VariableFacts, now: datetime) -> None:
        """In the caller's transaction. Raises `Conflict` without a key to seal with."""
        await put_variable(conn, self._box, facts, now)

    async def delete(self, conn: Connection, key: str) -> None:
        """In the caller's transaction; one that is not there is gone already, as in Airflow."""
        with contextlib.suppress(NotFound):
            await delete_variable(conn, key)
