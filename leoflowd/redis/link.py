"""One Redis, as Trio sees it: the synchronous client of `redis` in threads, a deadline for each trip, faults in words.

Threads and not the asyncio island: values are wanted where there is no island (scheduler, API), a trip is one pipeline
however many values it carries, and a client that hangs holds a thread and nothing else (ADR 60).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
import trio
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from leoflowd import telemetry
from leoflowd.config import ConfigRefused, RedisConfig

log = telemetry.get_logger(__name__)

THREADS = 16
PING_S = 5.0
T = TypeVar("T")


class RedisUnavailable(Exception):
    """It does not answer, or refuses; the text is a sentence without addresses."""


class RedisLink:
    """`run` asks whether it is there, and closes it at its end; whoever uses it need not wait for that."""

    def __init__(self, config: RedisConfig) -> None:
        self._timeout_s = config.timeout_s
        self._client, self._guides = _client(config)
        self._threads = trio.CapacityLimiter(THREADS)
        self._fault: str | None = None
        self._trips = self._failures = 0

    def statistics(self) -> dict[str, int]:
        return {"trips": self._trips, "failures": self._failures}

    def complaint(self) -> str | None:
        if self._fault is None:
            return None
        return f"{self._fault}; XCom values are kept in the database meanwhile, and live logs come later"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            while True:
                with suppress(RedisUnavailable):  # `complaint` says it
                    await self.trip(lambda client: client.ping())
                await trio.sleep(PING_S)
        finally:
            self.close()

    def close(self) -> None:
        """Its sockets; a trip that comes later opens one again."""
        for client in (self._client, *self._guides):
            client.close()

    async def trip(self, work: Callable[[Any], T]) -> T:
        """`work` gets the client, in a thread. Raises `RedisUnavailable`."""
        self._trips += 1
        try:
            with trio.fail_after(self._timeout_s):
                result = await trio.to_thread.run_sync(
                    work, self._client, abandon_on_cancel=True, limiter=self._threads
                )
        except (trio.TooSlowError, RedisError, OSError) as error:
            self._failures += 1
            if self._fault is None:
                log.error("redis_unavailable", error=f"{type(error).__name__}: {error}"[:500])  # noqa: TRY400  # no bug of ours
            self._fault = _words(error)
            raise RedisUnavailable(self._fault) from error
        if self._fault is not None:
            log.info("redis_answers_again")
            self._fault = None
        return result


def _words(error: Exception) -> str:
    match error:
        case AuthenticationError() | NoPermissionError():
            return "Redis refuses the user or password of LEOFLOW_REDIS_URL"
        case OutOfMemoryError():
            return "Redis has no memory left"
        case MasterNotFoundError():
            return "no sentinel of LEOFLOW_REDIS_SENTINELS answers with a master of the name LEOFLOW_REDIS_MASTER"
        case _ if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return "the certificate of Redis is not one to be trusted (ssl_ca_certs in LEOFLOW_REDIS_URL names the CA)"
        case _:
            return "Redis does not answer"


def _client(config: RedisConfig) -> tuple[Any, Sequence[Any]]:
    """And those that are asked where it is. Connects to nothing yet. Raises `ConfigRefused`."""
    if config.cluster and config.sentinels:
        raise ConfigRefused("LEOFLOW_REDIS_CLUSTER and LEOFLOW_REDIS_SENTINELS are two ways to find a node: set one")
    given = _options(config.url)
    options: dict[str, Any] = {
        "socket_timeout": config.timeout_s,
        "socket_connect_timeout": config.timeout_s,
        "health_check_interval": 30,
    }
    once_more = Retry(NoBackoff(), 1)
    if config.cluster:
        return _of_cluster(given, options), ()
    if config.sentinels:
        return _of_sentinels(config, given, {**options, "retry": once_more})
    return redis.Redis.from_url(config.url, retry=once_more, **options), ()


def _options(url: str) -> dict[str, Any]:
    """What the URL says, in the client's words. What it does not know, and files that are not there, are refused now:
    at the first trip they would look like a Redis that does not answer."""
    try:
        given = _parts(url)
        connection = given.get("connection_class", Connection)
        connection(**{name: value for name, value in given.items() if name not in (*_OF_POOLS, "connection_class")})
    except (ValueError, TypeError, RedisError) as error:
        raise ConfigRefused(f"LEOFLOW_REDIS_URL cannot be used: {error}") from error
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in given and not Path(given[name]).is_file():
            raise ConfigRefused(f"LEOFLOW_REDIS_URL says {name}={given[name]}, and there is no such file")
    return given


def _of_cluster(given: dict[str, Any], options: dict[str, Any]) -> _Lazy:
    """It is asked for its parts when it is made."""
    if given.pop("db", 0) != 0:
        raise ConfigRefused("LEOFLOW_REDIS_URL names a database, and a Redis cluster has none but 0")
    connection = given.pop("connection_class", Connection)
    if issubclass(connection, UnixDomainSocketConnection):
        raise ConfigRefused("LEOFLOW_REDIS_URL names a socket, and the nodes of a Redis cluster are reached over TCP")
    is_tls = issubclass(connection, SSLConnection)
    return _Lazy(lambda: RedisCluster(**{"ssl": is_tls, **given, **options}))


def _of_sentinels(config: RedisConfig, given: dict[str, Any], options: dict[str, Any]) -> tuple[Any, Sequence[Any]]:
    """The host of the URL is nobody's. TLS, with all that the URL says of it, is spoken with the sentinels too."""
    connection = given.pop("connection_class", Connection)
    if issubclass(connection, UnixDomainSocketConnection):
        raise ConfigRefused("LEOFLOW_REDIS_URL names a socket, and sentinels answer with host and port")
    given = {name: value for name, value in given.items() if name not in ("host", "port")}
    if issubclass(connection, SSLConnection):
        given["ssl"] = True
    tls = {name: value for name, value in given.items() if name.startswith("ssl")}
    places, logins = zip(*map(_sentinel, config.sentinels.split(",")), strict=True)
    if len({*map(str, logins)}) > 1:
        raise ConfigRefused("LEOFLOW_REDIS_SENTINELS has several users or passwords: all sentinels are asked as one")
    sentinel: Any = Sentinel
    found = sentinel(places, sentinel_kwargs={**options, **tls, **logins[0]}, **options, **given)
    return found.master_for(config.master), found.sentinels


def _sentinel(place: str) -> tuple[tuple[str, int], dict[str, Any]]:
    """Where it is, and its user and password, if it wants them."""
    try:
        match _parts(f"redis://{place.strip()}"):
            case {"host": str(host), "port": int(port), **login} if not login.keys() - {"username", "password"}:
                return (host, port), login
            case _:
                pass
    except ValueError:
        pass
    shown = place.strip().rpartition("@")[2]
    raise ConfigRefused(
        f"LEOFLOW_REDIS_SENTINELS is a list of host:port, or user:password@host:port; {shown!r} is none"
    )


def _parts(url: str) -> dict[str, Any]:
    """Of a URL. Raises `ValueError`, whose text is not of the URL's: that may be a password."""
    parse: Any = parse_url
    try:
        found: dict[str, Any] = parse(url)
    except ValueError as error:
        if "cast to integer" not in str(error) and "out of range" not in str(error):
            raise
        raise ValueError("its port is no port; does its password hold a character that has to be encoded?") from None
    database = "" if "path" in found else urlsplit(url).path.strip("/")
    if database and not database.isdecimal():  # which the client takes for none
        raise ValueError("its database is no number; does its password hold a character that has to be encoded?")
    return found


_OF_POOLS = ("max_connections", "timeout")
"""Names in a URL that a pool takes, and no connection."""


class _Lazy:
    """A client whose making asks the network: made in the thread of its first trip."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)
