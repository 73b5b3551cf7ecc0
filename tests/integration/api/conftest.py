"""An application over a fresh database with one admin, and clients that are logged in or not."""

from __future__ import annotations

from pathlib import Path

import pytest
from quart_trio import QuartTrio

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.config import ApiConfig, RedisConfig
from leoflowd.core.rights import ROLES
from leoflowd.store.api_users import ensure_admin
from leoflowd.store.database import Database
from leoflowd.store.log_files import LogFiles
from tests.fakes.workspace_editor import FakeEditor
from tests.integration.api.api_client import PASSWORD, Client, Clock
from tests.integration.api.api_seed import seed
from tests.integration.api.people import logged_in, put_user


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def api_context(database: Database, clock: Clock, tmp_path: Path) -> ApiContext:
    async with database.api.transaction() as conn:
        await ensure_admin(conn, "admin", PASSWORD, clock())
    return ApiContext(
        db=database,
        logs=LogFiles(tmp_path / "logs"),
        config=ApiConfig(),
        now=clock,
        tree=lambda: {"name": "daemon", "children": []},
        version="0.1.0",
        reparse=lambda dag_id: True,
        editor=FakeEditor(tmp_path / "workspace"),
        settings={"redis": RedisConfig(url="redis://ann:canary@cache:6379/0")},
    )


@pytest.fixture
async def app(api_context: ApiContext) -> QuartTrio:
    return create_app(api_context)


@pytest.fixture
async def anonymous(app: QuartTrio) -> Client:
    return Client(app)


@pytest.fixture
async def admin(anonymous: Client) -> Client:
    body = {"username": "admin", "password": PASSWORD}
    granted = await anonymous.send("POST", "/auth/token", body, status=201)
    return Client(anonymous.app, token=granted["access_token"])


@pytest.fixture
async def clients(app: QuartTrio, api_context: ApiContext) -> dict[str, Client]:
    """Role -> a client of a user who has it."""
    async with api_context.db.api.transaction() as conn:
        for role in ROLES.keys() - {"Admin"}:
            await put_user(conn, role, [role])
    return {role: await logged_in(app, "admin" if role == "Admin" else role) for role in ROLES}


@pytest.fixture
async def seeded(api_context: ApiContext, admin: Client) -> Client:
    """The admin, in front of the past that `api_seed` tells."""
    await seed(api_context)
    return admin
