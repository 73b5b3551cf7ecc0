"""The application with the real UI build in front of a seeded database, and Airflow's own document to check answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quart_trio import QuartTrio

from leoflowd.api import auth
from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.config import ApiConfig
from leoflowd.store.database import Database
from leoflowd.store.log_files import LogFiles
from tests.integration.api.api_client import Client
from tests.integration.api_ui.ui_seed import NOW, Seeded, seed
from tests.integration.ui_documents import fits_the_ui

Check = Callable[[str, Any], None]


@pytest.fixture
def check() -> Check:
    """check("ConfigResponse", answer)"""
    return fits_the_ui


@pytest.fixture
def config(ui_dir: Path) -> ApiConfig:
    return ApiConfig(ui_dir=ui_dir, edition="LITE")


@pytest.fixture
async def app(database: Database, tmp_path: Path, config: ApiConfig) -> QuartTrio:
    return create_app(
        ApiContext(
            db=database,
            logs=LogFiles(tmp_path / "logs"),
            config=config,
            now=lambda: NOW,
            tree=lambda: {"name": "daemon", "children": []},
            version="0.1.0",
        )
    )


@pytest.fixture
async def anonymous(app: QuartTrio) -> Client:
    return Client(app)


@pytest.fixture
async def seeded(database: Database) -> Seeded:
    return await seed(database)


@pytest.fixture
async def admin(app: QuartTrio, seeded: Seeded) -> Client:
    """Logged in without the cost of a password; the database is seeded."""
    async with app.app_context():
        return Client(app, token=await auth.issue_token("admin", 3600))
