"""Ports run the same tests against their fake and the real part; for that the integration tests' Postgres is here, and
an S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes import s3_server as s3
from tests.integration.conftest import no_connection_stays_open, postgres_conninfo

__all__ = ["no_connection_stays_open", "postgres_conninfo"]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.S3Server]:
    with s3.running() as server:
        yield server
