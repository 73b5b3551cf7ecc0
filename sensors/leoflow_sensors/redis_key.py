"""Kind `redis_key`: a key exists in Redis or Valkey. Airflow's RedisKeySensor.

redis-py runs in a thread: one connection and one pipeline for all keys of a batch, closed then. The connection goes to
an address that the egress policy has checked (ADR 24); TLS still asks for the name.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from leoflow_sensors.blocking import run_blocking, time_left_s
from leoflow_sensors.egress_policy import endpoint
from leoflow_sensors.kinds import (
    KindSpec,
    NoPredicate,
    Observation,
    ProbeContext,
    ProbeFailed,
    SensorKind,
    TargetDown,
)
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.overriding import override

if TYPE_CHECKING:
    from redis import ConnectionPool, Redis
    from redis.connection import AbstractConnection

LIMITER = trio.CapacityLimiter(16)
TIME_MAX_S = 20.0
"""For connecting, and again for the answer, where the pool sets no deadline that is nearer."""
PORT = 6379
SSL_EXTRAS = ("ssl", "ssl_cert_reqs", "ssl_ca_certs", "ssl_keyfile", "ssl_certfile", "ssl_check_hostname")
"""What RedisHook takes from the connection's extra besides `db`."""


class RedisKeySpec(KindSpec, frozen=True, kw_only=True):
    key: str


async def poke(spec: RedisKeySpec, context: ProbeContext) -> Observation:
    (answer,) = await poke_many([spec], context)
    if isinstance(answer, Exception):
        raise answer
    return answer


async def poke_many(specs: Sequence[RedisKeySpec], context: ProbeContext) -> Sequence[Observation | Exception]:
    """Raises `TargetDown` when Redis does not answer, `ProbeFailed` when it refuses us."""
    options = options_of(context.connection)
    where = endpoint("redis", options["host"], options["port"])
    addresses = await context.http.addresses(where)
    left_s = time_left_s(TIME_MAX_S)
    found = await run_blocking(lambda: _exist(options, addresses, [spec.key for spec in specs], left_s), LIMITER)
    return [_observe(answer) for answer in found]


def options_of(connection: ConnectionFacts | None) -> dict[str, Any]:
    """Arguments of `redis.Redis`, as RedisHook makes them. Raises `ProbeFailed`."""
    if connection is None:
        raise ProbeFailed(
            "a Redis sensor needs a connection, and this one does not exist; create it, or correct redis_conn_id"
        )
    extra = connection.extra_fields()
    return {
        "host": connection.host or "localhost",
        "port": connection.port or PORT,
        "username": connection.login,
        # Airflow's connection forms have stored these words for "none".
        "password": None if str(connection.password).lower() in ("none", "false", "") else connection.password,
        "db": extra.get("db") or 0,
        **{name: extra[name] for name in SSL_EXTRAS if name in extra},
    }


def _exist(options: dict[str, Any], addresses: Sequence[str], keys: Sequence[str], left_s: float) -> list[Any]:
    """Blocking. For each key 1, 0, or the error that Redis gave for it."""
    import redis  # 26 MB: only for daemons that have such sensors
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        secure = _truth(options.pop("ssl", False))
        pool: ConnectionPool = redis.ConnectionPool(
            connection_class=_connection_class(addresses, secure=secure),
            **(options if secure else {name: value for name, value in options.items() if not name.startswith("ssl_")}),
            socket_connect_timeout=left_s / 2,
            socket_timeout=left_s / 2,
            protocol=2,  # all that EXISTS needs, and known to servers before 6.0
            retry=Retry(NoBackoff(), 0),  # the pool decides when to ask again
        )
        client: Redis = redis.Redis.from_pool(pool)  # closes the pool
        with client, client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.exists(key)
            return list(pipeline.execute(raise_on_error=False))
    except redis.AuthenticationError as error:
        raise ProbeFailed(f"Redis refuses login or password of the connection: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise TargetDown(f"Redis does not answer: {error}") from error
    except (redis.RedisError, TypeError, ValueError) as error:  # the last two: values in extra that make no sense
        raise ProbeFailed(f"Redis cannot be asked: {error}") from error


def _connection_class(addresses: Sequence[str], *, secure: bool) -> type[AbstractConnection]:
    """redis-py's own, but for the look at DNS."""
    from redis.connection import Connection, SSLConnection

    class Pinned(Connection):
        @override
        def _connect(self) -> socket.socket:
            failure: OSError = OSError("the name has no address")
            for address in addresses:
                try:
                    connected = socket.create_connection((address, self.port), timeout=self.socket_connect_timeout)
                except OSError as error:
                    failure = error
                else:
                    connected.settimeout(self.socket_timeout)
                    return connected
            raise failure

    class PinnedTls(SSLConnection, Pinned):
        """`SSLConnection` wraps what the class behind it opens."""

    return PinnedTls if secure else Pinned


def _truth(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "1", "yes", "on")


def _observe(answer: Any) -> Observation | Exception:
    if isinstance(answer, Exception):
        return ProbeFailed(f"Redis refuses to say whether the key exists: {answer}")
    return Observation(value=bool(answer), summary="the key exists" if answer else "no such key")


def target(_spec: RedisKeySpec, connection: ConnectionFacts | None) -> str:
    if connection is None:
        return "redis://"
    return f"redis://{connection.host or 'localhost'}:{connection.port or PORT}"


KIND: SensorKind[Any, Any] = SensorKind(
    name="redis_key",
    spec=RedisKeySpec,
    predicate=NoPredicate,
    describe=lambda spec: f"Redis key {spec.key}",
    poke=poke,
    poke_many=poke_many,
    batch_key=lambda _spec: "",
    target=target,
)
