"""A cluster in memory that creates a pod when the test says that the one before it has begun."""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from leoflowd.kube.objects import Pod, Unreadable
from leoflowd.kube.pod_spec import TRY_ID


class OnePodAtATime:
    def __init__(self) -> None:
        self._waiting: list[tuple[str, trio.Event]] = []

    async def create_pod(self, pod: bytes) -> None:
        found: dict[str, Any] = msgspec.json.decode(pod)
        begun = trio.Event()
        self._waiting.append((found["metadata"]["labels"][TRY_ID], begun))
        await begun.wait()

    def begin(self) -> str:
        """The oldest pod; its try's id."""
        try_id, begun = self._waiting.pop(0)
        begun.set()
        return try_id

    async def fetch_pod(self, name: str) -> Pod | Unreadable | None:
        await trio.lowlevel.checkpoint()
        return None

    async def delete_pod(self, name: str, *, uid: str, grace_s: int | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        return False
