"""What deleted runs leave beside the database goes, whoever deleted them, and whatever is killed or away. ADR 96."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import trio

from leoflowd.config import RedisConfig
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES
from leoflowd.contract.logs import TryLog
from leoflowd.contract.xcoms import XCom
from leoflowd.objects.bucket import Bucket
from leoflowd.objects.logs import ObjectLogs
from leoflowd.objects.values import ObjectValues
from leoflowd.redis.link import RedisLink
from leoflowd.redis.values import PREFIX, RedisValues
from leoflowd.scheduler.deleted_runs import AGAIN_MAX_S, BATCH, STRAGGLERS, WORTH_A_WORD, DeletedRuns
from leoflowd.store import dag_runs, dags
from leoflowd.store.database import Database
from leoflowd.store.log_files import LogFiles
from leoflowd.store.value_places import LARGE, Place, ValuePlaces
from leoflowd.store.xcoms import xcoms_of
from tests.conftest import PATIENCE_S, LinkTo
from tests.fakes import s3_server as s3
from tests.fakes import valkey as valkey_server
from tests.fakes.s3_server import S3Server
from tests.fakes.valkey import Valkey
from tests.integration.scheduler.conftest import World, dag, task, utc_now

LONG, LARGER = '"' + "x" * 200 + '"', '"' + "x" * XCOM_MAX_BYTES + '"'


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    with s3.running() as server:
        yield server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with valkey_server.running(tmp_path) as server:
        yield server


class Installation:
    """A database, a Redis and a bucket; `deleted` is the component, whose clock the test sets."""

    def __init__(self, database: Database, valkey: Valkey, link: RedisLink, s3_server: S3Server, bucket: str) -> None:
        values = [
            Place("redis", 100, RedisValues(link, ttl_s=3600)),
            Place(LARGE, XCOM_MAX_BYTES + 1, ObjectValues(Bucket(f"s3://{bucket}/large", timeout_s=10))),
        ]
        self.db = Database(database.conninfo, values=ValuePlaces(values, max_bytes=2 * XCOM_MAX_BYTES))
        self.logs = ObjectLogs(Bucket(f"s3://{bucket}/logs", timeout_s=10), interval_s=0.1, tails=None)
        self.world = World(self.db)
        self.valkey, self.s3, self.bucket = valkey, s3_server, bucket
        self.at = utc_now()
        self.deleted = self.component()

    def component(self) -> DeletedRuns:
        return DeletedRuns(db=self.db, logs=self.logs, sweep_interval_s=0.01, now=lambda: self.at)

    async def run(self, dag_id: str, run_id: str) -> int:
        """With a log, a value in Redis and a large one."""
        run = await self.world.create(dag(dag_id, task("a"), task("b"), max_active_runs=0), run_id)
        await self.write_log(dag_id, run_id, run)
        async with self.db.api.transaction() as conn:
            values = [
                XCom(dag_run_id=run, task_id=name, map_index=-1, key="return_value", value=value)
                for name, value in (("a", LONG), ("b", LARGER))
            ]
            await xcoms_of(conn).put_all(values, utc_now())
        return run

    async def write_log(self, dag_id: str, run_id: str, run: int) -> None:
        log = TryLog(dag_id=dag_id, run_id=run_id, dag_run_id=run, task_id="a", map_index=-1, try_number=1)
        await self.logs.append(log, 0, b"line\n")
        await self.logs.flush(log)

    def left(self) -> set[str]:
        """What there is of which runs: `<kind> <dag_run_id>`."""
        found = {f"redis {key.removeprefix(PREFIX).split('/')[0]}" for key in self.valkey.keys(PREFIX)}
        for key in self.s3.keys(self.bucket):
            kind, *folders = key.split("/")
            found.add(f"{kind} {folders[1].rpartition('@')[2] if kind == 'logs' else folders[1]}")
        return found

    async def rows(self) -> list[tuple[int, str | None]]:
        async with self.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT dag_run_id, because FROM deleted_run ORDER BY 1")
            return list(await cursor.fetchall())

    async def delete_run(self, run: int) -> None:
        async with self.db.api.transaction() as conn:
            await dag_runs.delete_dag_run(conn, run)

    async def delete_dag(self, dag_id: str) -> None:
        async with self.db.api.transaction() as conn:
            await dags.delete_dag(conn, dag_id)


def everything_of(*runs: int) -> set[str]:
    return {f"{kind} {run}" for run in runs for kind in ("redis", "logs", "large")}


@pytest.fixture
async def site(database: Database, valkey: Valkey, s3_server: S3Server, link_to: LinkTo) -> AsyncIterator[Installation]:
    link = link_to(RedisConfig(url=valkey.url, timeout_s=5))
    site = Installation(database, valkey, link, s3_server, s3_server.new_bucket())
    yield site
    site.db.close()


async def test_logs_and_values_of_a_deleted_dag_and_of_a_deleted_run_go_and_no_others(site: Installation) -> None:
    gone = [await site.run("old", f"r{number}") for number in range(3)]
    alone, stays = await site.run("kept", "r1"), await site.run("kept", "r2")
    assert site.left() == everything_of(*gone, alone, stays)
    await site.delete_dag("old")
    await site.delete_run(alone)
    assert not await site.deleted.look()
    assert site.left() == everything_of(stays)
    assert site.deleted.statistics().cleaned == 4


async def test_whatever_statement_deletes_a_run_it_is_known(site: Installation) -> None:
    """A daemon of the release before, a person with psql."""
    run = await site.run("old", "r1")
    async with site.db.api.connection() as conn:
        await conn.execute(b"DELETE FROM dag")
    await site.deleted.look()
    assert site.left() == set()
    assert await site.rows() == [(run, None)]


async def test_what_a_straggler_writes_goes_too_and_the_row_with_it(site: Installation) -> None:
    run = await site.run("old", "r1")
    await site.delete_run(run)
    await site.deleted.look()
    await site.write_log("old", "r1", run)
    site.at += STRAGGLERS - timedelta(seconds=1)
    await site.deleted.look()
    assert site.left() == {f"logs {run}"}
    site.at += timedelta(seconds=1)
    await site.deleted.look()
    assert site.left() == set()
    assert await site.rows() == []


async def test_a_store_that_is_away_costs_time_and_is_told(site: Installation) -> None:
    run = await site.run("old", "r1")
    site.valkey.kill()
    await site.delete_run(run)
    for _ in range(WORTH_A_WORD + 1):
        assert site.deleted.complaint() is None
        await site.deleted.look()
        site.at += timedelta(seconds=AGAIN_MAX_S)
    assert "logs or results of deleted dag runs are still there" in str(site.deleted.complaint())
    [(_, because)] = await site.rows()
    assert "XCom values cannot be deleted" in str(because)
    site.valkey.start()
    await site.deleted.look()
    assert site.left() == set()
    await site.deleted.look()
    assert site.deleted.complaint() is None


async def test_logs_that_cannot_be_deleted_stay_remembered(site: Installation) -> None:
    run = await site.run("old", "r1")
    site.s3.delete_bucket(site.bucket)
    await site.delete_run(run)
    await site.deleted.look()
    [(_, because)] = await site.rows()
    assert "cannot be deleted" in str(because)
    assert site.deleted.statistics().failures == 1


async def test_one_run_that_cannot_be_cleaned_holds_up_nobody(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    guilty, other = await site.run("old", "guilty"), await site.run("old", "other")
    delete = site.logs.delete_run

    async def broken(dag_id: str, run_id: str, *, dag_run_id: int) -> None:
        if run_id == "guilty":
            raise ValueError("a bug of ours")
        await delete(dag_id, run_id, dag_run_id=dag_run_id)

    monkeypatch.setattr(site.logs, "delete_run", broken)
    await site.delete_dag("old")
    await site.deleted.look()
    assert site.left() == everything_of(guilty)
    assert await site.rows() == [(guilty, "a bug of ours"), (other, None)]


async def test_a_daemon_that_is_killed_in_the_middle_is_followed_by_one_that_goes_on(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await site.run("old", "r1")
    await site.delete_run(run)
    with monkeypatch.context() as patched, trio.CancelScope() as killed:

        async def kill(*_: object) -> None:
            killed.cancel()
            await trio.lowlevel.checkpoint()

        patched.setattr(site.db.values, "delete_run", kill)
        await site.deleted.look()
    assert killed.cancelled_caught
    assert site.left() == everything_of(run) - {f"logs {run}"}
    await site.component().look()
    assert site.left() == set()


async def test_a_deletion_that_is_not_committed_deletes_nothing(site: Installation) -> None:
    run = await site.run("old", "r1")

    class Killed(Exception):
        pass

    with pytest.raises(Killed):
        async with site.db.api.transaction() as conn:
            await dag_runs.delete_dag_run(conn, run)
            raise Killed
    await site.deleted.look()
    assert site.left() == everything_of(run)


async def test_more_than_one_batch_goes_in_one_sweep_from_a_disk(database: Database, tmp_path: Path) -> None:
    world, logs = World(database), LogFiles(tmp_path / "logs")
    spec = dag("old", task("a"), max_active_runs=0)
    for number in range(BATCH + 3):
        run = await world.create(spec, f"r{number}")
        log = TryLog(dag_id="old", run_id=f"r{number}", dag_run_id=run, task_id="a", map_index=-1, try_number=1)
        await logs.append(log, 0, b"line\n")
    async with database.api.transaction() as conn:
        await dags.delete_dag(conn, "old")
    deleted = DeletedRuns(db=database, logs=logs, sweep_interval_s=3600.0, now=utc_now)
    async with trio.open_nursery() as nursery:
        await nursery.start(deleted.run)
        with trio.fail_after(PATIENCE_S):
            while deleted.statistics().cleaned < BATCH + 3:  # noqa: ASYNC110  # in the database and on the disk
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert list((tmp_path / "logs" / "old").iterdir()) == []
