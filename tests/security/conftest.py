"""The attacks on what is stored need the same real Postgres and application as the integration tests."""

from __future__ import annotations

from tests.integration.api.conftest import admin, anonymous, api_context, app, clock, seeded
from tests.integration.conftest import cheap_passwords, database, no_connection_stays_open, postgres_conninfo

__all__ = [
    "admin",
    "anonymous",
    "api_context",
    "app",
    "cheap_passwords",
    "clock",
    "database",
    "no_connection_stays_open",
    "postgres_conninfo",
    "seeded",
]
