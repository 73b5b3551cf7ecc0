"""One Redis, as Trio sees it: the synchronous client of `redis` in threads, a deadline for each trip, faults in words.

Threads and not the asyncio island: values are wanted where there is no island (scheduler, API), a trip is one pipeline
however many values it carries, and a client that hangs holds a thread and nothing else (ADR 60).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis
import trio
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from leoflowd import telemetry
from leoflowd.config import ConfigRefused, RedisConfig

log = telemetry.get_logger(__name__)

THREADS = 16
PING_S = 5.0
T = TypeVar("T")


class RedisUnavailable(Exception):
    """It does not answer, or refuses; the text is a sentence without addresses."""


class RedisLink:
    """`run` asks whether it is there; whoever uses it need not wait for that."""

    def __init__(self, config: RedisConfig) -> None:
        self._timeout_s = config.timeout_s
        self._client = _client(config)
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
        while True:
            with suppress(RedisUnavailable):  # `complaint` says it
                await self.trip(lambda client: client.ping())
            await trio.sleep(PING_S)

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
        case _:
            return "Redis does not answer"


def _client(config: RedisConfig) -> Any:
    """Raises `ConfigRefused`. Connects to nothing yet, except for a cluster, which is asked for its parts."""
    options: dict[str, Any] = {
        "socket_timeout": config.timeout_s,
        "socket_connect_timeout": config.timeout_s,
        "health_check_interval": 30,
    }
    once_more = Retry(NoBackoff(), 1)
    try:
        if config.cluster:
            return _Lazy(lambda: RedisCluster.from_url(config.url, **options))
        if config.sentinels:
            return _of_sentinels(config, {**options, "retry": once_more})
        return redis.Redis.from_url(config.url, retry=once_more, **options)
    except ValueError as error:
        raise ConfigRefused(f"LEOFLOW_REDIS_URL cannot be used: {error}") from error


def _of_sentinels(config: RedisConfig, options: dict[str, Any]) -> Any:
    """Database, user and password are those of the URL; its host is nobody's."""
    places = []
    for place in config.sentinels.split(","):
        host, _, port = place.strip().rpartition(":")
        if not host or not port.isdigit():
            raise ConfigRefused(f"LEOFLOW_REDIS_SENTINELS is a list of host:port; {place!r} is none")
        places.append((host, int(port)))
    url = urlsplit(config.url)
    database = url.path.strip("/") or "0"
    if not database.isdigit():
        raise ConfigRefused(f"LEOFLOW_REDIS_URL names the database {database!r}, which is no number")
    sentinel: Any = Sentinel
    return sentinel(places, sentinel_kwargs=options, **options).master_for(
        config.master,
        db=int(database),
        username=url.username,
        password=url.password,
        ssl=url.scheme == "rediss",
    )


class _Lazy:
    """A client whose making asks the network: made in the thread of its first trip."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)
