"""The attacks on what is stored need the same real Postgres as the integration tests."""

from __future__ import annotations

from tests.integration.conftest import cheap_passwords, database, no_connection_stays_open, postgres_conninfo

__all__ = ["cheap_passwords", "database", "no_connection_stays_open", "postgres_conninfo"]
