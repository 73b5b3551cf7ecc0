"""The attacks on what is stored need the same real Postgres as the integration tests."""

from __future__ import annotations

from tests.integration.conftest import database, postgres_conninfo

__all__ = ["database", "postgres_conninfo"]
