"""All SQL about XCom values: `contract.xcoms.XComStore` in Postgres, within the caller's transaction.

`xcoms_of` is the one place that knows which store keeps them. Lists for the API, which carry no values, are in
`api_xcoms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.agent_messages import XComInput, XComPull
from leoflowd.contract.xcoms import PULL_MAX, RETURN_KEY, Asker, Instance, XCom, XComStore
from leoflowd.store.database import Connection, execute, fetch_all, fetch_value, statements

_SQL = statements("xcoms")


def xcoms_of(conn: Connection) -> XComStore:
    """XComs as this connection sees them, and writes them."""
    return _PostgresXComs(conn)


class _PulledRow(msgspec.Struct, frozen=True):
    task_id: str
    key: str
    map_index: int
    value: str


class _PostgresXComs:
    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    async def put(self, try_id: str, key: str, value: str, now: datetime) -> bool:
        return bool(await execute(self._conn, _SQL.put_xcom, try_id=try_id, key=key, value=value, now=now))

    async def put_all(self, xcoms: Sequence[XCom], now: datetime) -> None:
        """Reads no answer: the scheduler's transactions are pipelined."""
        await self._conn.execute(
            _SQL.upsert_xcoms,
            {
                "runs": [x.dag_run_id for x in xcoms],
                "task_ids": [x.task_id for x in xcoms],
                "map_indexes": [x.map_index for x in xcoms],
                "keys": [x.key for x in xcoms],
                "values": [x.value for x in xcoms],
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
            _PulledRow,
            **_filters(asker, ask),
            offset=ask.offset or 0,
            at_most=PULL_MAX if ask.limit is msgspec.UNSET else min(ask.limit, PULL_MAX),
        )
        return tuple(XComInput(task_id=r.task_id, key=r.key, map_index=r.map_index, value=r.value) for r in rows)

    async def count(self, asker: Asker, ask: XComPull) -> int:
        count: int = await fetch_value(self._conn, _SQL.pull_count + b" " + _SQL.pulled, **_filters(asker, ask))
        return count

    async def outputs(self, tasks: Sequence[tuple[int, str]]) -> tuple[XCom, ...]:
        return await fetch_all(
            self._conn,
            _SQL.list_outputs,
            XCom,
            runs=[run for run, _ in tasks],
            task_ids=[task_id for _, task_id in tasks],
        )

    async def outputs_of(self, instances: Sequence[Instance]) -> tuple[XCom, ...]:
        return await fetch_all(
            self._conn,
            _SQL.list_outputs_of,
            XCom,
            runs=[run for run, _, _ in instances],
            task_ids=[task_id for _, task_id, _ in instances],
            map_indexes=[map_index for _, _, map_index in instances],
        )

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

    async def fetch(self, dag_id: str, run_id: str, task_id: str, map_index: int, key: str) -> str | None:
        value: str | None = await fetch_value(
            self._conn, _SQL.fetch_value, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index, key=key
        )
        return value

    async def insert(self, xcom: XCom, now: datetime) -> bool:
        return bool(await execute(self._conn, _SQL.insert_xcom, **msgspec.structs.asdict(xcom), now=now))

    async def replace(self, xcom: XCom, now: datetime) -> bool:
        return bool(await execute(self._conn, _SQL.replace_xcom, **msgspec.structs.asdict(xcom), now=now))


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
