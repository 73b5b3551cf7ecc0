"""Two homes of XCom values with the same runs and tries; every test of this folder runs in each of them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from leoflowd.config import RedisConfig
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.contract.xcoms import Instance, XComStore
from leoflowd.redis.link import RedisLink
from leoflowd.redis.values import RedisValues
from leoflowd.store import dag_runs, dags
from leoflowd.store.database import Database, execute
from leoflowd.store.value_places import Place, ValuePlaces
from leoflowd.store.xcoms import xcoms_of
from tests.fakes import valkey
from tests.fakes.memory_xcoms import MemoryXComs, Run
from tests.integration.conftest import fresh_database

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


class World(Protocol):
    def transaction(self) -> AbstractAsyncContextManager[XComStore]:
        """Commits at its end, rolls back what raises."""

    async def create(self, dag_id: str, run_id: str, *, day: int = 1) -> int:
        """A run with the tasks a, b and c; `day` is the day of November of its logical date."""

    async def delete_run(self, dag_run_id: int) -> None: ...

    async def begin(self, instance: Instance, state: str = "running") -> str:
        """A new try is the current one of this instance; its id."""


class InPostgres:
    def __init__(self, db: Database) -> None:
        self._db = db

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[XComStore]:
        async with self._db.api.transaction() as conn:
            yield xcoms_of(conn)

    async def create(self, dag_id: str, run_id: str, *, day: int = 1) -> int:
        spec = DagSpec(
            dag_id=dag_id,
            tasks=tuple(TaskSpec(task_id=name, operator="PythonOperator") for name in "abc"),
        )
        date = datetime(2026, 11, day, tzinfo=UTC)
        async with self._db.api.transaction() as conn:
            version = await dags.register_dag(
                conn, spec, now=NOW, fileloc="", relative_fileloc="dag.py", bundle_name="workspace"
            )
            return await dag_runs.insert_dag_run(
                conn,
                version=await dags.fetch_version(conn, dag_id, version.version_number),
                run_id=run_id,
                run_type=DagRunType.MANUAL,
                logical_date=date,
                data_interval_start=date,
                data_interval_end=date,
                run_after=date,
                conf={},
                triggered_by=TriggeredBy.REST_API,
                triggering_user_name=None,
                note=None,
                now=NOW,
            )

    async def delete_run(self, dag_run_id: int) -> None:
        async with self._db.api.transaction() as conn:
            await dag_runs.delete_dag_run(conn, dag_run_id)

    async def begin(self, instance: Instance, state: str = "running") -> str:
        try_id = str(uuid.uuid4())
        async with self._db.api.transaction() as conn:
            await execute(conn, _SPLIT, run=instance[0], task_id=instance[1], map_index=instance[2])
            await execute(
                conn, _BEGIN, id=try_id, state=state, run=instance[0], task_id=instance[1], map_index=instance[2]
            )
        return try_id


_SPLIT = b"""INSERT INTO task_instance SELECT (jsonb_populate_record(t, jsonb_build_object(
    'id', gen_random_uuid(), 'map_index', %(map_index)s::int))).* FROM task_instance t
    WHERE dag_run_id = %(run)s AND task_id = %(task_id)s AND map_index = -1 ON CONFLICT DO NOTHING"""
_BEGIN = b"""UPDATE task_instance SET id = %(id)s::uuid, state = %(state)s, try_number = 1, queued_at = now(),
    start_date = now(), end_date = CASE WHEN %(state)s = 'success' THEN now() END
    WHERE dag_run_id = %(run)s AND task_id = %(task_id)s AND map_index = %(map_index)s"""


class InMemory:
    def __init__(self) -> None:
        self._memory = MemoryXComs()
        self._numbers = itertools.count(1)

    def transaction(self) -> AbstractAsyncContextManager[XComStore]:
        return self._memory.transaction()

    async def create(self, dag_id: str, run_id: str, *, day: int = 1) -> int:
        number, date = next(self._numbers), datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=day - 1)
        self._memory.runs[number] = Run(dag_id, run_id, date)
        return number

    async def delete_run(self, dag_run_id: int) -> None:
        del self._memory.runs[dag_run_id]
        gone = [place for place in self._memory.values if place[0] == dag_run_id]
        for place in gone:
            del self._memory.values[place]

    async def begin(self, instance: Instance, state: str = "running") -> str:
        tries = self._memory.tries
        for old in [try_id for try_id, (owner, _) in tries.items() if owner == instance]:
            del tries[old]
        tries[try_id := str(uuid.uuid4())] = (instance, state)
        return try_id


@pytest.fixture(scope="module")
def redis_values(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValuePlaces]:
    """Every value, however short."""
    with (
        valkey.running(tmp_path_factory.mktemp("valkey")) as server,
        closing(RedisLink(RedisConfig(url=server.url, timeout_s=5))) as link,
    ):
        yield ValuePlaces([Place("redis", 0, RedisValues(link, ttl_s=3600))])


@pytest.fixture(params=["postgres", "redis", "memory"])
async def world(request: pytest.FixtureRequest, postgres_conninfo: str) -> AsyncIterator[World]:
    if request.param == "memory":
        yield InMemory()
        return
    async with fresh_database(postgres_conninfo) as database:
        if request.param == "postgres":
            yield InPostgres(database)
            return
        with_redis = Database(database.conninfo, values=request.getfixturevalue("redis_values"))
        yield InPostgres(with_redis)
        with_redis.close()
