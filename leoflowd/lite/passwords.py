"""The admin of Lite: one user, its password made once at first start, or given by the environment.

`daemon.py` calls `set_up_admin` and prints what it returns, exactly once; Postgres keeps only the hash.
"""

from __future__ import annotations

from datetime import datetime

import trio

from leoflowd.contract.passwords import generate_password
from leoflowd.store import api_users
from leoflowd.store.database import Connection, Database

ADMIN = "admin"


async def set_up_admin(db: Database, given: str | None, now: datetime) -> str | None:
    """Make the admin at first start, or give it the password of LEOFLOW_ADMIN_PASSWORD.

    Returns a generated password, to be shown once; None when there is nothing to show.
    """
    password = given or generate_password()
    async with db.api.transaction() as conn:
        created = await api_users.ensure_admin(conn, ADMIN, password, now)
        if not created and given is not None:
            await _change(conn, given, now)
    return password if created and given is None else None


async def _change(conn: Connection, given: str, now: datetime) -> None:
    """Only when it differs: a new password ends all sessions."""
    user = await api_users.fetch_user(conn, ADMIN)
    same = user is not None and await trio.to_thread.run_sync(api_users.verify_password, user.password_hash, given)
    if not same:
        await api_users.reset_password(conn, ADMIN, given, now)
