"""`contract.xcoms.ValuePlace` in Redis (ADR 60): values under names of their own, which Redis forgets by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leoflowd.contract.xcoms import ValuesUnavailable
from leoflowd.redis.link import RedisLink, RedisUnavailable

PREFIX = "leoflow:xcom:"


class RedisValues:
    def __init__(self, link: RedisLink, *, ttl_s: int) -> None:
        self._link = link
        self._ttl_s = ttl_s

    async def put(self, values: Mapping[str, str]) -> None:
        def write(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for name, value in values.items():
                pipeline.set(PREFIX + name, value.encode(), ex=self._ttl_s)
            pipeline.execute()

        try:
            await self._link.trip(write)
        except RedisUnavailable as error:
            raise ValuesUnavailable(f"{len(values)} XCom value(s) cannot be written: {error}") from error

    async def get(self, names: Sequence[str]) -> Mapping[str, str]:
        """Whoever reads a value keeps it alive for another TTL."""

        def read(client: Any) -> list[bytes | None]:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.getex(PREFIX + name, ex=self._ttl_s)
            found: list[bytes | None] = pipeline.execute()
            return found

        try:
            found = await self._link.trip(read)
        except RedisUnavailable as error:
            raise ValuesUnavailable(f"XCom values cannot be read: {error}; ask again") from error
        return {name: value.decode() for name, value in zip(names, found, strict=True) if value is not None}

    async def delete_run(self, dag_run_id: int, names: Sequence[str]) -> None:
        """What no row came to name expires."""

        def unlink(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for name in names:
                pipeline.unlink(PREFIX + name)
            pipeline.execute()

        if not names:
            return
        try:
            await self._link.trip(unlink)
        except RedisUnavailable as error:
            raise ValuesUnavailable(f"XCom values cannot be deleted: {error}") from error

    def gone(self, name: str) -> str:
        return (
            f"an XCom value is not in Redis any more: it was not read for {self._ttl_s} s (LEOFLOW_REDIS_XCOM_TTL_S), "
            "or Redis lost it (restarted without persistence, or evicted it); clear the task that pushed it"
        )
