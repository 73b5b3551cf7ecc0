"""Values that are kept beside the database: what a Redis that is killed, or a bucket that is gone, does to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from leoflowd.config import RedisConfig
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, XComPull
from leoflowd.contract.xcoms import Asker, ValueGone, ValuesUnavailable, XCom
from leoflowd.core.choices import CHOICE_KEY
from leoflowd.objects.bucket import Bucket
from leoflowd.objects.values import ObjectValues
from leoflowd.redis.link import RedisUnavailable
from leoflowd.redis.values import PREFIX, RedisValues
from leoflowd.store.database import Database
from leoflowd.store.value_places import LARGE, Place, ValuePlaces
from tests.conftest import LinkTo
from tests.fakes import valkey as valkey_server
from tests.fakes.s3_server import S3Server
from tests.fakes.valkey import Valkey
from tests.integration.conftest import fresh_database

from .conftest import NOW, InPostgres

TTL_S = 3600
MIN_BYTES = 100
LONG = '["' + "x" * MIN_BYTES + '", 2, 3]'
LARGER = '"' + "x" * XCOM_MAX_BYTES + '"'
KEY = "return_value"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with valkey_server.running(tmp_path) as server:
        yield server


@pytest.fixture
def in_redis(valkey: Valkey, link_to: LinkTo) -> RedisValues:
    return RedisValues(link_to(RedisConfig(url=valkey.url, timeout_s=5)), ttl_s=TTL_S)


@pytest.fixture
async def world(postgres_conninfo: str, in_redis: RedisValues) -> AsyncIterator[InPostgres]:
    async with fresh_database(postgres_conninfo) as database:
        with_redis = Database(database.conninfo, values=ValuePlaces([Place("redis", MIN_BYTES, in_redis)]))
        yield InPostgres(with_redis)
        with_redis.close()


def xcom(run: int, task_id: str, value: str, *, key: str = KEY) -> XCom:
    return XCom(dag_run_id=run, task_id=task_id, map_index=-1, key=key, value=value)


async def put(world: InPostgres, *xcoms: XCom) -> None:
    async with world.transaction() as store:
        await store.put_all(xcoms, NOW)


async def pulled(world: InPostgres, run: int, **ask: object) -> dict[str, str]:
    async with world.transaction() as store:
        found = await store.pull(Asker(run, "d", "r"), XComPull(request_id=1, **ask))  # type: ignore[arg-type]
    return {x.task_id: x.value for x in found}


async def test_only_what_is_long_leaves_the_database(world: InPostgres, valkey: Valkey) -> None:
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", LONG), xcom(run, "b", "1"), xcom(run, "c", LONG, key=CHOICE_KEY))
    (key,) = valkey.keys(PREFIX)
    assert valkey.client.get(key) == LONG.encode()
    assert TTL_S - 60 < int(valkey.client.ttl(key)) <= TTL_S
    assert await pulled(world, run) == {"a": LONG, "b": "1"}


async def test_a_value_that_is_written_again_stands_under_another_name(world: InPostgres, valkey: Valkey) -> None:
    """Whoever reads the older row meanwhile finds the older value, and a rolled back write is nobody's."""
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", LONG))
    with pytest.raises(KeyError):
        async with world.transaction() as store:
            await store.put_all([xcom(run, "a", LONG.replace("x", "y"))], NOW)
            raise KeyError
    assert await pulled(world, run) == {"a": LONG}
    assert len(valkey.keys(PREFIX)) == 2
    assert all(0 < int(valkey.client.ttl(key)) <= TTL_S for key in valkey.keys(PREFIX))


async def test_while_redis_is_gone_values_go_to_the_database(world: InPostgres, valkey: Valkey) -> None:
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", LONG))
    valkey.kill()
    await put(world, xcom(run, "b", LONG))
    assert await pulled(world, run, task_ids=("b",)) == {"b": LONG}
    with pytest.raises(ValuesUnavailable, match="ask again"):
        await pulled(world, run)
    async with world.transaction() as store:  # what the scheduler decides by
        assert await store.lengths([(run, "a"), (run, "b")]) == {(run, "a", -1): 3, (run, "b", -1): 3}
        assert await store.returned([(run, "a")]) == {(run, "a", -1)}
        assert await store.outputs([(run, "a")], key=CHOICE_KEY) == ()
    valkey.start()


async def test_a_value_that_redis_lost_is_said_to_be_gone_and_is_never_another_one(
    world: InPostgres, valkey: Valkey
) -> None:
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", LONG))
    valkey.kill()
    valkey.start()
    with pytest.raises(ValueGone, match=f"not read for {TTL_S} s .LEOFLOW_REDIS_XCOM_TTL_S."):
        await pulled(world, run)
    await put(world, xcom(run, "a", LONG))
    assert await pulled(world, run) == {"a": LONG}


async def test_who_reads_a_value_keeps_it_alive(world: InPostgres, valkey: Valkey) -> None:
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", LONG))
    (key,) = valkey.keys(PREFIX)
    valkey.client.expire(key, 5)
    await pulled(world, run)
    assert int(valkey.client.ttl(key)) > TTL_S - 60


async def test_what_was_kept_ahead_is_not_written_again(valkey: Valkey, in_redis: RedisValues) -> None:
    """The commit that takes an outcome does not wait for Redis."""
    places = ValuePlaces([Place("redis", MIN_BYTES, in_redis)])
    await places.keep_ahead([(1, KEY, LONG), (1, KEY, "1")])
    valkey.kill()
    other, mine, small = await places.keep([(2, KEY, LONG), (1, KEY, LONG), (1, KEY, "1")])
    assert (other.place, other.value) == (None, LONG)
    assert (mine.place or "").startswith("redis:1/")
    assert (mine.value, mine.bytes, mine.items) == (None, len(LONG), 3)
    assert small.value == "1"
    valkey.start()


async def test_a_wrong_password_is_said_in_words_without_it(valkey: Valkey, link_to: LinkTo) -> None:
    url = valkey.url.replace("open%20sesame", "secret-guess")
    link = link_to(RedisConfig(url=url, timeout_s=5))
    with pytest.raises(RedisUnavailable):
        await link.trip(lambda client: client.ping())
    assert "refuses the user or password" in str(link.complaint())
    assert "secret-guess" not in f"{link.complaint()} {RedisConfig(url=url)!r}"


# --- large results ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def large_world(postgres_conninfo: str, s3_server: S3Server) -> AsyncIterator[tuple[InPostgres, Database, str]]:
    name = s3_server.new_bucket()
    values = ObjectValues(Bucket(f"s3://{name}/large", timeout_s=10))
    places = ValuePlaces([Place(LARGE, XCOM_MAX_BYTES + 1, values)], max_bytes=2 * XCOM_MAX_BYTES)
    async with fresh_database(postgres_conninfo) as database:
        with_objects = Database(database.conninfo, values=places)
        yield InPostgres(with_objects), with_objects, name
        with_objects.close()


async def test_a_large_result_is_an_object_that_goes_with_its_run(
    large_world: tuple[InPostgres, Database, str], s3_server: S3Server
) -> None:
    world, db, bucket = large_world
    run, other = await world.create("d", "r", day=1), await world.create("d", "other", day=2)
    try_id = await world.begin((run, "b", -1))
    await put(world, xcom(run, "a", LARGER), xcom(run, "c", "1"), xcom(other, "a", LARGER))
    async with world.transaction() as store:
        assert await store.put(try_id, KEY, LARGER, NOW)
    assert len(s3_server.keys(bucket)) == 3
    assert await pulled(world, run) == {"a": LARGER, "b": LARGER, "c": "1"}
    async with world.transaction() as store:
        assert str(len(LARGER)) in str(await store.fetch("d", "r", "a", -1, KEY))
    await world.delete_run(run)
    await db.values.delete_run(run, ())
    assert [key.split("/")[2] for key in s3_server.keys(bucket)] == [str(other)]


async def test_while_the_bucket_is_gone_large_results_go_to_the_database(
    large_world: tuple[InPostgres, Database, str], s3_server: S3Server
) -> None:
    world, _, bucket = large_world
    run = await world.create("d", "r")
    await put(world, xcom(run, "a", LARGER))
    s3_server.delete_bucket(bucket)
    await put(world, xcom(run, "b", LARGER))
    assert await pulled(world, run, task_ids=("b",)) == {"b": LARGER}
    s3_server.create_bucket(bucket)
    with pytest.raises(ValueGone, match="clear the task that pushed it"):
        await pulled(world, run)
