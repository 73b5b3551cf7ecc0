"""What only an object store has to prove: several daemons, trips that fail, objects that become many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from typing_extensions import override

from leoflowd.contract.logs import LogLeg, LogNotStored
from leoflowd.objects.bucket import Bucket, BucketUnavailable
from leoflowd.objects.logs import JOIN_COUNT, SEGMENT_MAX_BYTES, ObjectLogs
from leoflowd.objects.names import log_folder
from tests.fakes.s3_server import S3Server

from .conftest import LOG

PATIENCE_S = 20


def store_of(name: str, *, interval_s: float = 3600.0) -> ObjectLogs:
    return ObjectLogs(Bucket(f"s3://{name}/logs", timeout_s=10), interval_s=interval_s)


@asynccontextmanager
async def running(logs: ObjectLogs) -> AsyncIterator[ObjectLogs]:
    async with trio.open_nursery() as nursery:
        await nursery.start(logs.run)
        yield logs
        nursery.cancel_scope.cancel()


class SlowBucket(Bucket):
    """What it is to store waits for `gate`."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_s=10)
        self.gate = trio.Event()
        self.gate.set()

    @override
    async def create(self, name: str, content: bytes) -> bool:
        await self.gate.wait()
        return await super().create(name, content)


async def whole(logs: ObjectLogs) -> bytes:
    return await logs.read(LOG, 0, 100_000_000)


async def stored(name: str) -> bytes:
    """As a daemon sees it that was not there before."""
    return await whole(store_of(name))


async def test_an_agent_that_changes_daemons_leaves_no_gap_and_no_byte_twice(s3_server: S3Server) -> None:
    """The first daemon was only slow: what it stores late is what the second one has stored meanwhile."""
    name = s3_server.new_bucket()
    text = b"".join(b"%04d\n" % number for number in range(100))
    slow = SlowBucket(f"s3://{name}/logs")
    async with running(ObjectLogs(slow, interval_s=3600)) as first, running(store_of(name)) as second:
        await first.begin(LOG, "try", goes_on=False)
        await first.append(LOG, 0, text[:100])
        await first.flush(LOG)
        slow.gate = trio.Event()
        await first.append(LOG, 100, text[100:250])
        assert await second.begin(LOG, "try", goes_on=False) == LogLeg(0, 100)
        await second.append(LOG, 100, text[100:200])
        await second.flush(LOG)
        slow.gate.set()
        await first.flush(LOG)
        assert await second.begin(LOG, "try", goes_on=False) == LogLeg(0, 250)
        await second.append(LOG, 250, text[250:])
        await second.flush(LOG)
        assert await first.begin(LOG, "try", goes_on=False) == LogLeg(0, 500)
    assert await stored(name) == text


async def test_lines_of_two_daemons_stand_behind_each_other(s3_server: S3Server) -> None:
    name = s3_server.new_bucket()
    async with running(store_of(name)) as first, running(store_of(name)) as second:
        for logs, line in ((first, b"from the first\n"), (second, b"second\n"), (first, b"and again\n")):
            logs.write_line(LOG, line)
            await logs.flush(LOG)
    assert await stored(name) == b"from the first\nsecond\nand again\n"


async def test_what_was_not_flushed_is_the_only_thing_that_a_killed_daemon_loses(s3_server: S3Server) -> None:
    name = s3_server.new_bucket()
    slow = SlowBucket(f"s3://{name}/logs")
    async with running(ObjectLogs(slow, interval_s=3600)) as logs:
        await logs.append(LOG, 0, b"kept\n")
        await logs.flush(LOG)
        slow.gate = trio.Event()
        await logs.append(LOG, 5, b"in memory\n")
        assert await whole(logs) == b"kept\nin memory\n"
        assert await store_of(name).begin(LOG, "try", goes_on=False) == LogLeg(0, 5)
        slow.gate.set()
    assert await stored(name) == b"kept\nin memory\n"  # a daemon that stops stores it


async def test_a_log_that_trickles_becomes_few_objects(s3_server: S3Server) -> None:
    name, logs = s3_server.new_bucket(), None
    text = b"".join(b"%04d\n" % number for number in range(JOIN_COUNT + 8))
    logs = store_of(name, interval_s=0.001)
    async with running(logs):
        for at in range(0, len(text), 5):
            await logs.append(LOG, at, text[at : at + 5])
            await logs.flush(LOG)
            assert await whole(logs) == text[: at + 5]
        with trio.fail_after(PATIENCE_S):
            while len(s3_server.keys(name)) > JOIN_COUNT + 1:
                logs.write_line(LOG, text[:5])
                await logs.flush(LOG)
                await trio.sleep(0.01)
    assert (await stored(name)).startswith(text)
    assert logs.statistics().joined


async def test_what_is_large_is_stored_before_more_is_taken(s3_server: S3Server) -> None:
    async with running(store_of(s3_server.new_bucket())) as logs:
        await logs.append(LOG, 0, b"x" * 10)
        await logs.append(LOG, 10, b"y" * SEGMENT_MAX_BYTES)
        assert logs.statistics().held_bytes == 0
        assert await logs.read(LOG, 9, 2) == b"xy"


async def test_while_the_store_is_gone_logs_are_refused_and_nothing_is_mixed_up(s3_server: S3Server) -> None:
    """A later process of a try cannot be told where its part begins, and may not write anywhere else."""
    name = s3_server.new_bucket()
    async with running(store_of(name)) as logs:
        await logs.append(LOG, 0, b"first\n")
        await logs.flush(LOG)
        text = b"first\n"
        s3_server.delete_bucket(name)
        assert await logs.begin(LOG, "second process", goes_on=True) == LogLeg(0, 0)
        for _ in range(2):
            with pytest.raises(LogNotStored, match="there is no such bucket"):
                await logs.append(LOG, 0, b"second\n")
        assert "there is no such bucket" in str(logs.complaint())
        s3_server.create_bucket(name)
        s3_server.put(name, f"logs/{log_folder(LOG)}/{0:016d}", text)
        assert await logs.begin(LOG, "second process", goes_on=True) == LogLeg(6, 0)
        await logs.append(LOG, 6, b"second\n")
        assert logs.complaint() is None
        assert await whole(logs) == b"first\nsecond\n"


async def test_after_a_failure_only_what_is_stored_is_taken(s3_server: S3Server) -> None:
    """The agents' service counts how long a log could not be stored; a buffer would hide it."""
    name = s3_server.new_bucket()
    async with running(store_of(name)) as logs:
        await logs.begin(LOG, "try", goes_on=False)
        await logs.append(LOG, 0, b"one\n")
        await logs.flush(LOG)
        s3_server.delete_bucket(name)
        await logs.append(LOG, 4, b"two\n")
        with pytest.raises(LogNotStored):
            await logs.flush(LOG)
        s3_server.create_bucket(name)
        assert await logs.begin(LOG, "try", goes_on=False) == LogLeg(0, 0)
        await logs.append(LOG, 0, b"one\ntwo\n")
        assert logs.statistics().held_bytes == 0
    assert await stored(name) == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "it does not answer"),
        ("AWS_ENDPOINT_URL", None, "there is no such bucket"),
    ],
)
async def test_what_is_configured_wrongly_is_said_in_words(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, words: str
) -> None:
    if value is not None:
        monkeypatch.setenv(variable, value)
    logs = store_of("nobody-made-this")
    async with running(logs):
        with trio.fail_after(PATIENCE_S):
            while logs.complaint() is None:  # noqa: ASYNC110  # a fact of the world, not an event of ours
                await trio.sleep(0.01)
    assert words in str(logs.complaint())


async def test_wrong_credentials_are_said_in_words(s3_server: S3Server) -> None:
    name = s3_server.new_bucket()
    with s3_server.asking_for_credentials(), pytest.raises(BucketUnavailable, match="credentials"):
        await Bucket(f"s3://{name}/logs", timeout_s=10).probe()
    await Bucket(f"s3://{name}/logs", timeout_s=10).probe()


def test_a_url_that_names_no_store_is_refused() -> None:
    with pytest.raises(ValueError, match="names no object store"):
        Bucket("what://is/this", timeout_s=1)
