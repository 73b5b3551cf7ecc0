"""All SQL about XCom values: `contract.xcoms.XComStore` in Postgres, within the caller's transaction.

Values that are kept beside the database are found through `value_places`. `xcoms_of` is the one place that knows which
store keeps them. Lists for the API, which carry no values, are in `api_xcoms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import asdict

from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, XComInput, XComPull
from leoflowd.contract.xcoms import PULL_MAX, RETURN_KEY, Asker, Instance, XCom, XComStore
from leoflowd.store.database import Connection, execute, fetch_all, fetch_one, fetch_value, statements
from leoflowd.store.value_places import LARGE, length_of

_SQL = statements("xcoms")


def xcoms_of(conn: Connection) -> XComStore:
    """XComs as this connection sees them, and writes them."""
    return _PostgresXComs(conn)


class _Row(msgspec.Struct, frozen=True):
    """A value, or where it is."""

    dag_run_id: int
    task_id: str
    map_index: int
    key: str
    value: str | None
    place: str | None


class _ShownRow(msgspec.Struct, frozen=True):
    dag_run_id: int
    task_id: str
    map_index: int
    key: str
    value: str | None
    place: str | None
    bytes: int | None


class _PostgresXComs:
    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._places = conn.values

    async def put(self, try_id: str, key: str, value: str, now: datetime) -> bool:
        run: int | None = None
        if len(value.encode()) > XCOM_MAX_BYTES:
            run = await fetch_value(self._conn, _SQL.fetch_run_of_try, try_id=try_id)
        (kept,) = await self._places.keep([(run or 0, key, value)])
        written = await execute(self._conn, _SQL.put_xcom, try_id=try_id, key=key, **asdict(kept), now=now)
        return bool(written)

    async def put_all(self, xcoms: Sequence[XCom], now: datetime) -> None:
        """Reads no answer: the scheduler's transactions are pipelined."""
        kept = await self._places.keep([(x.dag_run_id, x.key, x.value) for x in xcoms])
        await self._conn.execute(
            _SQL.upsert_xcoms,
            {
                "runs": [x.dag_run_id for x in xcoms],
                "task_ids": [x.task_id for x in xcoms],
                "map_indexes": [x.map_index for x in xcoms],
                "keys": [x.key for x in xcoms],
                "values": [one.value for one in kept],
                "places": [one.place for one in kept],
                "sizes": [one.bytes for one in kept],
                "items": [one.items for one in kept],
                "now": now,
            },
        )

    async def delete_of_tries(self, try_ids: Sequence[str]) -> None:
        """Reads no answer either."""
        await self._conn.execute(_SQL.delete_xcoms_of_tries, {"ids": list(try_ids)})

    async def delete(self, instances: Sequence[Instance], *, key: str | None = None) -> int:
        return await execute(
            self._conn,
            _SQL.delete_xcoms,
            runs=[run for run, _, _ in instances],
            task_ids=[task_id for _, task_id, _ in instances],
            map_indexes=[map_index for _, _, map_index in instances],
            key=key,
        )

    async def pull(self, asker: Asker, ask: XComPull) -> tuple[XComInput, ...]:
        rows = await fetch_all(
            self._conn,
            _SQL.pull_values + b" " + _SQL.pulled + b" " + _SQL.pull_page,
            _Row,
            **_filters(asker, ask),
            offset=ask.offset or 0,
            at_most=PULL_MAX if ask.limit is msgspec.UNSET else min(ask.limit, PULL_MAX),
        )
        return tuple(
            XComInput(task_id=x.task_id, key=x.key, map_index=x.map_index, value=x.value)
            for x in await self._filled(rows)
        )

    async def count(self, asker: Asker, ask: XComPull) -> int:
        count: int = await fetch_value(self._conn, _SQL.pull_count + b" " + _SQL.pulled, **_filters(asker, ask))
        return count

    async def outputs(self, tasks: Sequence[tuple[int, str]], *, key: str | None = None) -> tuple[XCom, ...]:
        rows = await fetch_all(
            self._conn,
            _SQL.list_outputs,
            _Row,
            runs=[run for run, _ in tasks],
            task_ids=[task_id for _, task_id in tasks],
            key=key,
        )
        return await self._filled(rows)

    async def outputs_of(self, instances: Sequence[Instance]) -> tuple[XCom, ...]:
        rows = await fetch_all(
            self._conn,
            _SQL.list_outputs_of,
            _Row,
            runs=[run for run, _, _ in instances],
            task_ids=[task_id for _, task_id, _ in instances],
            map_indexes=[map_index for _, _, map_index in instances],
        )
        return await self._filled(rows)

    async def returned(self, tasks: Sequence[tuple[int, str]]) -> frozenset[Instance]:
        cursor = await self._conn.execute(
            _SQL.list_returned,
            {
                "runs": [run for run, _ in tasks],
                "task_ids": [task_id for _, task_id in tasks],
                "key": RETURN_KEY,
            },
        )
        return frozenset((row[0], row[1], row[2]) for row in await cursor.fetchall())

    async def lengths(self, tasks: Sequence[tuple[int, str]]) -> dict[Instance, int]:
        cursor = await self._conn.execute(
            _SQL.list_lengths,
            {"runs": [run for run, _ in tasks], "task_ids": [task_id for _, task_id in tasks], "key": RETURN_KEY},
        )
        found = {}
        for run, task_id, map_index, value, items in await cursor.fetchall():
            length = items if value is None else length_of(value)
            if length is not None:
                found[run, task_id, map_index] = length
        return found

    async def fetch(self, dag_id: str, run_id: str, task_id: str, map_index: int, key: str) -> str | None:
        row = await fetch_one(
            self._conn,
            _SQL.fetch_value,
            _ShownRow,
            dag_id=dag_id,
            run_id=run_id,
            task_id=task_id,
            map_index=map_index,
            key=key,
        )
        if row is None:
            return None
        if row.place is not None and row.place.startswith(f"{LARGE}:"):
            return f'"a large result of {row.bytes} bytes: tasks can pull it, and it is not shown here"'
        return (await self._filled([row]))[0].value

    async def insert(self, xcom: XCom, now: datetime) -> bool:
        return await self._write(_SQL.insert_xcom, xcom, now)

    async def replace(self, xcom: XCom, now: datetime) -> bool:
        return await self._write(_SQL.replace_xcom, xcom, now)

    async def _write(self, statement: bytes, xcom: XCom, now: datetime) -> bool:
        (kept,) = await self._places.keep([(xcom.dag_run_id, xcom.key, xcom.value)])
        return bool(await execute(self._conn, statement, **asdict(xcom) | asdict(kept), now=now))

    async def _filled(self, rows: Sequence[_Row | _ShownRow]) -> tuple[XCom, ...]:
        """With the values that stand elsewhere, in one trip to each place."""
        places = [row.place for row in rows if row.place is not None]
        values = await self._places.get(places) if places else {}
        return tuple(
            XCom(
                dag_run_id=row.dag_run_id,
                task_id=row.task_id,
                map_index=row.map_index,
                key=row.key,
                value=values[row.place] if row.place is not None else row.value or "null",
            )
            for row in rows
        )


def _filters(asker: Asker, ask: XComPull) -> dict[str, Any]:
    return {
        "own_id": asker.dag_run_id,
        "dag_id": ask.dag_id or asker.dag_id,
        "run_id": ask.run_id or asker.run_id,
        "key": ask.key,
        "task_ids": None if ask.task_ids is None else list(ask.task_ids),
        "map_indexes": None if ask.map_indexes is None else list(ask.map_indexes),
        "prior": ask.include_prior_dates,
    }
