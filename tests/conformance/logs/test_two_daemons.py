"""A log that one daemon receives is read on another one, live, also while the first one cannot store it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from leoflowd.config import RedisConfig
from leoflowd.contract.logs import LogLeg
from leoflowd.objects.logs import ObjectLogs
from leoflowd.redis.link import RedisLink
from leoflowd.redis.live_logs import RedisTails
from tests.conftest import LinkTo
from tests.fakes import valkey as valkey_server
from tests.fakes.s3_server import S3Server
from tests.fakes.valkey import Valkey

from .conftest import LOG
from .test_object_logs import PATIENCE_S, SlowBucket, running, store_of


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with valkey_server.running(tmp_path) as server:
        yield server


def daemon(name: str, link: RedisLink) -> tuple[ObjectLogs, SlowBucket]:
    bucket = SlowBucket(f"s3://{name}/logs")
    return ObjectLogs(bucket, interval_s=3600, tails=RedisTails(link)), bucket


async def until_it_reads(logs: ObjectLogs, text: bytes) -> None:
    with trio.fail_after(PATIENCE_S):
        while await logs.read(LOG, 0, 1_000_000) != text:  # noqa: ASYNC110  # another daemon writes it
            await trio.sleep(0.05)
    assert await logs.size(LOG) == len(text)


async def test_a_reader_follows_a_log_through_daemons_that_come_and_go(
    s3_server: S3Server, valkey: Valkey, link_to: LinkTo
) -> None:
    name, config = s3_server.new_bucket(), RedisConfig(url=valkey.url, timeout_s=5)
    reader, _ = daemon(name, link_to(config))
    first, slow = daemon(name, link_to(config))
    async with running(reader):
        async with trio.open_nursery() as life_of_first:
            await life_of_first.start(first.run)
            await first.append(LOG, 0, b"stored\n")
            await first.flush(LOG)
            slow.gate = trio.Event()
            await first.append(LOG, 7, b"received\n")
            await until_it_reads(reader, b"stored\nreceived\n")  # nothing but Redis has it
            first._open.clear()  # as kill -9 does: it stores nothing more
            life_of_first.cancel_scope.cancel()
        async with running(daemon(name, link_to(config))[0]) as second:
            assert await second.begin(LOG, "try", goes_on=False) == LogLeg(0, 7)
            await second.append(LOG, 7, b"received\nand more\n")
            await until_it_reads(reader, b"stored\nreceived\nand more\n")
            valkey.kill()
            await second.flush(LOG)
            await until_it_reads(reader, b"stored\nreceived\nand more\n")
            valkey.start()


async def test_without_redis_a_reader_sees_what_is_stored(s3_server: S3Server) -> None:
    name = s3_server.new_bucket()
    reader = store_of(name)
    async with running(store_of(name, interval_s=0.05)) as writer:
        for number in range(5):
            await writer.append(LOG, 2 * number, b"%d\n" % number)
            await until_it_reads(reader, b"".join(b"%d\n" % n for n in range(number + 1)))
