"""What DAG files may read while they are loaded, as it is stored now. ADR 39."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leoflowd.contract.loading import Loadable
from leoflowd.core.loadable import UNREADABLE, loadable_of, told_of
from leoflowd.core.masking import masked_text
from leoflowd.core.secret_names import MASK
from leoflowd.store.connections import SealedConnection, list_all_connections, open_connection
from leoflowd.store.database import Database
from leoflowd.store.secret_box import CannotOpen, SecretBox
from leoflowd.store.variables import SealedVariable, list_variables, open_variable


async def fetch_loadable(db: Database, box: SecretBox) -> Loadable:
    """A row that does not open counts as a secret: a file that reads it gets an error, all others load."""
    async with db.api.connection() as conn:
        variables = await list_variables(conn)
        connections = await list_all_connections(conn)
    return loadable_of(
        {row.key: _shown(row, box) for row in variables}, {row.connection_id: _told(row, box) for row in connections}
    )


def _shown(row: SealedVariable, box: SecretBox) -> str:
    try:
        return masked_text(open_variable(row, box).value, row.key)
    except CannotOpen:
        return MASK


def _told(row: SealedConnection, box: SecretBox) -> Mapping[str, Any]:
    try:
        return told_of(open_connection(row, box))
    except CannotOpen:
        return {"conn_type": row.conn_type, **UNREADABLE}
