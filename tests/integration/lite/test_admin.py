"""The first administrator of a server, and the one who owns a Lite."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from leoflowd.assembly.cluster import _need_admin
from leoflowd.config import ConfigRefused
from leoflowd.lite.maintenance import reset_password
from leoflowd.store import api_users
from leoflowd.store.database import Database

NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def people(database: Database) -> list[tuple[str, list[str], bool]]:
    async with database.api.connection() as conn:
        return [(row["username"], row["roles"], row["is_disabled"]) for row in await api_users.list_users(conn)]


async def test_a_cluster_gets_its_first_user_and_no_second_one(database: Database) -> None:
    with pytest.raises(ConfigRefused, match="no user yet"):
        await _need_admin(database, None)
    await _need_admin(database, "given")
    assert await people(database) == [("admin", ["Admin"], False)]
    async with database.api.transaction() as conn:
        await api_users.insert_user(conn, username="root", password_hash="x", roles=["Admin"], now=NOW)
        await api_users.delete_user(conn, "admin")
    await _need_admin(database, "given")
    await _need_admin(database, None)
    assert await people(database) == [("root", ["Admin"], False)]


async def test_nobody_is_locked_out_of_a_lite_that_is_his(database: Database, tmp_path: Path) -> None:
    async with database.api.transaction() as conn:
        await api_users.ensure_admin(conn, "admin", "forgotten", NOW)
        await api_users.set_roles(conn, "admin", ["Viewer", "User"])
        await api_users.set_disabled(conn, "admin", NOW, disabled=True)
    await reset_password(tmp_path, database.conninfo, "remembered", NOW)
    (admin,) = await people(database)
    assert ("Admin" in admin[1], admin[2]) == (True, False)
