"""Ports run the same tests against their fake and the real part; for that the integration tests' Postgres is here."""

from __future__ import annotations

from tests.integration.conftest import no_connection_stays_open, postgres_conninfo

__all__ = ["no_connection_stays_open", "postgres_conninfo"]
