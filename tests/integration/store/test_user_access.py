"""What a user may do at this moment is one row, read with one statement, whatever his roles and however many DAGs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from leoflowd.core.rights import Right, matches
from leoflowd.store import api_users, roles
from leoflowd.store.database import Connection, Database, statements
from tests.integration.api.api_client import START
from tests.integration.api.people import put_role, put_user

DAG = b"""
    INSERT INTO dag (dag_id, dag_display_name, created_at, tags)
    SELECT dag_id, dag_id, now(), CASE WHEN dag_id LIKE '%%7' THEN '{seven}'::text[] ELSE '{}' END
    FROM unnest(%(ids)s::text[]) dag_id
"""


@pytest.fixture
async def many(database: Database) -> Database:
    async with database.api.transaction() as conn:
        await conn.execute(DAG, {"ids": [f"{team}_{i}" for team in "abcde" for i in range(2000)]})
        await roles.insert_team(conn, "c", START)
        await put_role(conn, "patterns", {"run": "dag:a_1*", "read": "dag:b*"})
        await put_role(conn, "tags", {"run": "tag:seven"})
        await put_role(conn, "teams", {"deploy": "my-teams"})
        await put_role(conn, "named", {"operate": "dag:a_1"})
        for name in ("patterns", "tags", "teams", "named", "Viewer"):
            await put_user(conn, f"has {name}", [name])
        await roles.add_to_team(conn, "c", usernames=["has teams"], patterns=["c_*", "new"])
    async with database.api.connection() as conn:
        await conn.execute(b"ANALYZE dag")
    return database


async def granted(conn: Connection, username: str, right: Right) -> list[str] | None:
    found = await api_users.fetch_session(conn, username=username, session="s")
    assert found is not None
    return api_users.held_grants(found.roles, found.grants)[right].parameter()


@pytest.mark.parametrize("name", ["patterns", "tags", "teams", "named", "Viewer"])
async def test_no_table_of_dags_is_walked_through(many: Database, name: str) -> None:
    async with many.api.connection() as conn:
        cursor = await conn.execute(
            b"EXPLAIN (ANALYZE, COSTS off, TIMING off) " + statements("api_users").fetch_session,
            {"username": f"has {name}", "jti": "s"},
        )
        plan = "\n".join(line for (line,) in await cursor.fetchall())
    walked = [line for line in plan.splitlines() if "Seq Scan on dag" in line and "never executed" not in line]
    assert not walked, plan


async def test_what_is_called_so_is_granted(many: Database) -> None:
    async with many.api.connection() as conn:
        assert len(await granted(conn, "has patterns", Right.ACT) or ()) == 1111
        assert len(await granted(conn, "has patterns", Right.READ) or ()) == 3111
        assert len(await granted(conn, "has tags", Right.ACT) or ()) == 1000
        assert await granted(conn, "has named", Right.OPERATE) == ["a_1"]
        assert await granted(conn, "has Viewer", Right.READ) is None
        team = await granted(conn, "has teams", Right.DEPLOY) or []
        assert len(team) == 2001
        assert "new" in team


async def test_a_new_dag_and_a_new_tag_count_at_once(many: Database) -> None:
    async with many.api.connection() as conn:
        await conn.execute(DAG, {"ids": ["c_new"]})
        await conn.execute(b"UPDATE dag SET tags = '{seven}' WHERE dag_id = 'a_0'")
        assert "c_new" in (await granted(conn, "has teams", Right.READ) or ())
        assert "a_0" in (await granted(conn, "has tags", Right.READ) or ())


IDS = ("a", "ab", "a.b", "a_b", "axb", "b", "ba", "A", "é", "éa", "a-b", "a" * 20)
PATTERNS = ("a*", "*a", "*", "a_*", "a.*", "*b", "a*b", "A*", "é*", "**a", "a*a*a")


def _pairs() -> Iterator[tuple[str, str]]:
    yield from product(PATTERNS, IDS)


async def test_postgres_and_we_mean_the_same_by_a_pattern(database: Database) -> None:
    async with database.api.transaction() as conn:
        await conn.execute(DAG, {"ids": list(IDS)})
        for number, pattern in enumerate(PATTERNS):
            await put_role(conn, f"role {number}", {"read": f"dag:{pattern}"})
            await put_user(conn, f"user {number}", [f"role {number}"])
            found = await granted(conn, f"user {number}", Right.READ)
            assert found == sorted(each for each in IDS if matches(pattern, each)), pattern
