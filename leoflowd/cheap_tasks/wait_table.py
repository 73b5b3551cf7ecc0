"""The table `wait` as the pool reads it: `store.waits` on one lane, a connection for each statement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol
from uuid import UUID

from leoflowd.store import waits
from leoflowd.store.database import Lane
from leoflowd.store.waits import ArmPage, ArmRow, IdPage, InstanceKey


class WaitTable(Protocol):
    """Everything raises `StoreUnavailable`. Rows and ids are of waits that are current, in DAGs that are not paused."""

    async def list_to_arm(self, shards: Collection[int], *, after: InstanceKey, limit: int) -> ArmPage: ...

    async def list_of_dag(self, dag_id: str) -> Sequence[ArmRow]: ...

    async def list_of_run(self, dag_run_id: int) -> Sequence[ArmRow]: ...

    async def list_by_ids(self, ids: Sequence[UUID]) -> Sequence[ArmRow]: ...

    async def list_current_ids(self, ids: Sequence[UUID]) -> frozenset[UUID]: ...

    async def list_current_ids_page(self, shards: Collection[int], *, after: InstanceKey, limit: int) -> IdPage: ...

    async def set_poke_interval(self, wait_id: str, seconds: float) -> bool: ...


class StoredWaits:
    """`WaitTable`."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def list_to_arm(self, shards: Collection[int], *, after: InstanceKey, limit: int) -> ArmPage:
        async with self._lane.connection() as conn:
            return await waits.list_waits_to_arm(conn, shards, after=after, limit=limit)

    async def list_of_dag(self, dag_id: str) -> Sequence[ArmRow]:
        async with self._lane.connection() as conn:
            return await waits.list_waits_of_dag(conn, dag_id)

    async def list_of_run(self, dag_run_id: int) -> Sequence[ArmRow]:
        async with self._lane.connection() as conn:
            return await waits.list_waits_of_run(conn, dag_run_id)

    async def list_by_ids(self, ids: Sequence[UUID]) -> Sequence[ArmRow]:
        async with self._lane.connection() as conn:
            return await waits.list_waits_by_ids(conn, ids)

    async def list_current_ids(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        async with self._lane.connection() as conn:
            return await waits.list_current_ids(conn, ids)

    async def list_current_ids_page(self, shards: Collection[int], *, after: InstanceKey, limit: int) -> IdPage:
        async with self._lane.connection() as conn:
            return await waits.list_current_ids_page(conn, shards, after=after, limit=limit)

    async def set_poke_interval(self, wait_id: str, seconds: float) -> bool:
        async with self._lane.transaction() as conn:
            return await waits.set_poke_interval(conn, wait_id, seconds)
