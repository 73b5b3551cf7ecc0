"""The unstored ends of logs, from the daemon that received them to all others: `objects.logs.Tails` in Redis.

A key for each log, not a channel: whoever comes later finds it as well, and nobody has to listen. It says at which
offset it begins, so that a reader lays it on what is stored without a gap. It is a hint and is allowed to be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leoflowd.redis.link import RedisLink, RedisUnavailable

PREFIX = "leoflow:log:"
FORGOTTEN_S = 60
"""Long after it is stored."""
TAIL_MAX_BYTES = 1024 * 1024
"""A longer one is stored within moments, and would cost more than it is worth."""


class RedisTails:
    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def tell(self, tails: Mapping[str, tuple[int, bytes]]) -> None:
        def write(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            for name, (offset, content) in tails.items():
                if len(content) <= TAIL_MAX_BYTES:
                    pipeline.set(PREFIX + name, b"%d\n" % offset + content, ex=FORGOTTEN_S)
            pipeline.execute()

        try:
            await self._link.trip(write)
        except RedisUnavailable:
            return

    async def ask(self, name: str) -> tuple[int, bytes] | None:
        try:
            found: bytes | None = await self._link.trip(lambda client: client.get(PREFIX + name))
        except RedisUnavailable:
            return None
        offset, _, content = (found or b"").partition(b"\n")
        return (int(offset), content) if offset.isdigit() else None
