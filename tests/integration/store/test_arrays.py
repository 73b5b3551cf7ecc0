"""Lists as parameters: what Postgres reads is what was given, whoever wrote the array."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.array import ListDumper

from leoflowd.store.arrays import Arrays
from leoflowd.store.database import Database

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
TEXT_ARRAY = 1009
HOUR = timezone(timedelta(hours=1))
LISTS: tuple[tuple[str, list[Any]], ...] = (
    (
        "text",
        ["", "a", "NULL", "null", None, " b ", "{c,d}", 'say "e"', "back\\slash", "\\", "new\nline", "é\U0001f600"],
    ),
    ("json", ['{"a": "b\\"c"}', "[1, 2]", None]),
    ("uuid", [UUID(int=7), None]),
    ("bigint", [-(2**63), 0, 2**63 - 1, None]),
    ("timestamptz", [datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=HOUR), None]),
    ("text", [None, None]),
    ("text", []),
    ("boolean", [True, None, False]),
    ("double precision", [0.1, 1e300]),
)


@given(st.lists(st.none() | TEXTS, min_size=1))
def test_any_texts_come_back(texts: list[str | None]) -> None:
    transformer = Transformer()
    written = transformer.get_dumper(texts, PyFormat.AUTO)
    assert isinstance(written, Arrays)
    body = bytes(written.dump(texts) or b"")
    assert transformer.get_loader(TEXT_ARRAY, psycopg.pq.Format.TEXT).load(body) == texts


@pytest.mark.parametrize(("type_", "values"), LISTS)
async def test_postgres_reads_what_was_given(database: Database, type_: str, values: list[Any]) -> None:
    async with database.api.connection() as conn:
        cursor = await conn.execute(f"SELECT %(values)s::{type_}[]::text[]".encode(), {"values": values})
        ours = await cursor.fetchone()
        conn.adapters.register_dumper(list, ListDumper)
        cursor = await conn.execute(f"SELECT %(values)s::{type_}[]::text[]".encode(), {"values": values})
        assert await cursor.fetchone() == ours
    assert ours is not None
    if type_ == "text":
        assert ours[0] == values


async def test_what_postgres_cannot_hold_is_refused_as_ever(database: Database) -> None:
    async with database.api.connection() as conn:
        with pytest.raises(psycopg.DataError, match="NUL"):
            await conn.execute(b"SELECT %(values)s::text[]", {"values": ["a\0b"]})
