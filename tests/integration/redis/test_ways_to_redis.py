"""The ways to a Redis that `LEOFLOW_REDIS_...` names, against real servers: TLS and sentinels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from leoflowd.config import ConfigRefused, RedisConfig
from leoflowd.contract.xcoms import ValuesUnavailable
from leoflowd.redis.link import RedisLink, RedisUnavailable
from leoflowd.redis.live_logs import RedisTails
from leoflowd.redis.values import RedisValues
from tests.conftest import PATIENCE_S, LinkTo
from tests.fakes.redis_servers import (
    IN_URL,
    MASTER,
    PASSWORD,
    Server,
    running,
    tls_lines,
    watched,
    with_tls,
)
from tests.fakes.valkey import free_port, program

LOGIN = f":{IN_URL}@"
TTL_S = 3600


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[int]:
    """The port of a server that speaks TLS alone; its CA is `ca.pem`."""
    port = free_port()
    with running(Server(with_tls(), tmp_path / "server", [*tls_lines(tmp_path, port), f'requirepass "{PASSWORD}"'])):
        yield port


@pytest.fixture(params=["tls", "sentinel", "sentinel over tls"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisConfig]:
    match request.param:
        case "tls":
            port = request.getfixturevalue("tls")
            url = f"rediss://{LOGIN}127.0.0.1:{port}/3?ssl_ca_certs={tmp_path}/ca.pem"
            yield RedisConfig(url=url, timeout_s=PATIENCE_S)
        case "sentinel":
            with watched(program(), tmp_path) as (port, _):
                yield of_sentinel(f"redis://{LOGIN}nobody/3", port)
        case _:
            with watched(with_tls(), tmp_path, speaks_tls=True) as (port, _):
                yield of_sentinel(f"rediss://{LOGIN}nobody/3?ssl_ca_certs={tmp_path}/ca.pem", port)


def of_sentinel(url: str, port: int) -> RedisConfig:
    return RedisConfig(url=url, sentinels=f"127.0.0.1:{port}", master=MASTER, timeout_s=PATIENCE_S)


async def test_values_and_live_logs_come_and_go_on_each_way(config: RedisConfig, link_to: LinkTo) -> None:
    link = link_to(config)
    values = {f"1/{number}": f'"{number}"' * 100 for number in range(20)}
    await RedisValues(link, ttl_s=TTL_S).put(values)
    assert await RedisValues(link, ttl_s=TTL_S).get([*values, "1/none"]) == values
    await RedisTails(link).tell({"log one": (7, b"a\nb"), "log two": (0, b"")})
    assert await RedisTails(link).ask("log one") == (7, b"a\nb")
    assert await RedisTails(link).ask("log two") == (0, b"")
    assert link.complaint() is None


async def test_sockets_end_with_their_link(config: RedisConfig) -> None:
    link, before = RedisLink(config), sockets()
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        await link.trip(lambda client: client.ping())
        assert sockets() > before
        while link._threads.borrowed_tokens:  # noqa: ASYNC110  # what was abandoned opens sockets still
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert sockets() == before


def sockets() -> int:
    """Of this process."""
    return sum("socket:" in os.path.realpath(one) for one in Path("/proc/self/fd").iterdir())


async def test_a_database_of_the_url_is_the_one_that_is_written(tls: int, tmp_path: Path, link_to: LinkTo) -> None:
    way = f"rediss://{LOGIN}127.0.0.1:{tls}/{{}}?ssl_ca_certs={tmp_path}/ca.pem"
    third, fourth = (link_to(RedisConfig(url=way.format(n), timeout_s=PATIENCE_S)) for n in (3, 4))
    await RedisValues(third, ttl_s=TTL_S).put({"1/a": "1"})
    assert await RedisValues(fourth, ttl_s=TTL_S).get(["1/a"]) == {}
    assert await RedisValues(third, ttl_s=TTL_S).get(["1/a"]) == {"1/a": "1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_that_nobody_vouches_for_gets_no_password(
    tls: int, tmp_path: Path, host: str, link_to: LinkTo
) -> None:
    """Of an unknown CA, or with a certificate for another name."""
    ca = f"?ssl_ca_certs={tmp_path}/ca.pem" if host == "localhost" else ""
    link = link_to(RedisConfig(url=f"rediss://{LOGIN}{host}:{tls}/0{ca}", timeout_s=PATIENCE_S))
    with pytest.raises(RedisUnavailable, match="is not one to be trusted"):
        await link.trip(lambda client: client.ping())


async def test_plain_text_does_not_get_through_to_a_server_of_tls(tls: int, link_to: LinkTo) -> None:
    link = link_to(RedisConfig(url=f"redis://{LOGIN}127.0.0.1:{tls}/0", timeout_s=PATIENCE_S))
    with pytest.raises(RedisUnavailable):
        await link.trip(lambda client: client.ping())


async def test_after_a_failover_the_replica_is_the_one(tmp_path: Path, link_to: LinkTo) -> None:
    with watched(program(), tmp_path) as (port, (master, _, _)):
        link = link_to(of_sentinel(f"redis://{LOGIN}nobody/0", port))
        values = RedisValues(link, ttl_s=TTL_S)
        await values.put({"1/a": "1"})
        with trio.fail_after(PATIENCE_S):
            while not await link.trip(lambda client: client.wait(1, 1000)):
                pass  # until the replica has it
            master.kill()
            while True:
                try:
                    await values.put({"1/b": "2"})
                    break
                except ValuesUnavailable:
                    assert link.complaint()
                    await trio.sleep(0.05)
        assert await values.get(["1/a", "1/b"]) == {"1/a": "1", "1/b": "2"}
        assert link.complaint() is None


async def test_a_master_that_no_sentinel_knows_is_said(tmp_path: Path, link_to: LinkTo) -> None:
    with watched(program(), tmp_path) as (port, _):
        link = link_to(RedisConfig(url="redis://nobody/0", sentinels=f"127.0.0.1:{port}", master="another"))
        with pytest.raises(RedisUnavailable, match="LEOFLOW_REDIS_MASTER"):
            await link.trip(lambda client: client.ping())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "http://host/0"}, "must specify one of the following schemes"),
        ({"url": "redis://host/0?colour=red"}, "colour"),
        ({"url": "redis://host/0?ssl_ca_certs=/ca.pem"}, "ssl_ca_certs"),
        ({"url": "rediss://host/0?ssl_ca_certs=/not/there.pem"}, "there is no such file"),
        ({"url": "redis://:pa/ss@host"}, "its port is no port"),
        ({"url": "redis://leo/secret@host"}, "its database is no number"),
        ({"url": "redis://host/1", "cluster": True}, "has none but 0"),
        ({"url": "unix:///run/redis.sock", "cluster": True}, "over TCP"),
        ({"url": "unix:///run/redis.sock", "sentinels": "a:1"}, "names a socket"),
        ({"url": "redis://host/0", "cluster": True, "sentinels": "a:1"}, "set one"),
        ({"url": "redis://host/0", "sentinels": "a:1, b"}, "'b' is none"),
        ({"url": "redis://host/0", "sentinels": ":secret@b"}, "'b' is none"),
        ({"url": "redis://host/0", "sentinels": ":x@a:1,:y@b:2"}, "several users or passwords"),
    ],
)
def test_what_no_client_could_do_is_refused_at_the_start(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigRefused) as refused:
        RedisLink(RedisConfig(**fields))  # type: ignore[arg-type]
    assert said in str(refused.value)
    assert "pa/ss" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_passwords_of_sentinels_are_in_no_repr() -> None:
    assert "secret" not in repr(RedisConfig(url="redis://h", sentinels=":secret@a:1"))
