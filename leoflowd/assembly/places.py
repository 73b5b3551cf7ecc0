"""Where things are kept: the one place that knows which store serves logs and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from leoflowd.config import Config, ConfigRefused
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES
from leoflowd.contract.logs import LogStore
from leoflowd.store.log_files import LogFiles
from leoflowd.store.value_places import LARGE, Place, ValuePlaces

if TYPE_CHECKING:
    from leoflowd.objects.bucket import Bucket
    from leoflowd.redis.link import RedisLink
    from leoflowd.redis.live_logs import RedisTails


class LogPart(LogStore, Protocol):
    """A log store as a component of the tree."""

    def statistics(self) -> object: ...

    def complaint(self) -> str | None: ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Where this daemon keeps things beside its database."""

    logs: LogPart
    values: ValuePlaces
    redis: RedisLink | None
    large: Callable[[], str | None] | None
    """Why large results cannot be kept; None where none are."""


def places_of(config: Config) -> Kept:
    """As it is configured; nothing is connected yet. Raises `ConfigRefused`."""
    link, tails = _redis(config)
    large = _bucket("LEOFLOW_XCOMS_LARGE_URL", config.xcoms.large_url, config.xcoms.timeout_s)
    return Kept(
        logs=log_store(config, tails),
        values=_value_places(config, link, large),
        redis=link,
        large=None if large is None else lambda: large.fault and f"large results stay in the database: {large.fault}",
    )


def _redis(config: Config) -> tuple[RedisLink | None, RedisTails | None]:
    """Its client is loaded for those who have one."""
    if not config.redis.url:
        return None, None
    from leoflowd.redis.link import RedisLink
    from leoflowd.redis.live_logs import RedisTails

    link = RedisLink(config.redis)
    return link, RedisTails(link)


def log_store(config: Config, tails: RedisTails | None = None) -> LogPart:
    bucket = _bucket("LEOFLOW_LOGS_URL", config.logs.url, config.logs.timeout_s)
    if bucket is None:
        return LogFiles(config.agents.log_dir)
    from leoflowd.objects.logs import ObjectLogs

    return ObjectLogs(bucket, interval_s=config.logs.interval_s, tails=tails)


def _value_places(config: Config, link: RedisLink | None, large: Bucket | None) -> ValuePlaces:
    places = []
    if link is not None:
        from leoflowd.redis.values import RedisValues

        values = RedisValues(link, ttl_s=config.redis.xcom_ttl_s)
        places.append(Place("redis", config.redis.xcom_min_bytes, values))
    if large is not None:
        from leoflowd.objects.values import ObjectValues

        places.append(Place(LARGE, XCOM_MAX_BYTES + 1, ObjectValues(large)))
    return ValuePlaces(places, max_bytes=XCOM_MAX_BYTES if large is None else config.xcoms.large_max_bytes)


def _bucket(setting: str, url: str, timeout_s: float) -> Bucket | None:
    """The package is not part of Lite: it is looked for where someone asks for it."""
    if not url:
        return None
    try:
        from leoflowd.objects.bucket import Bucket

        return Bucket(url, timeout_s=timeout_s)
    except (ImportError, ValueError) as error:
        raise ConfigRefused(f"{setting} cannot be used: {error}") from error
