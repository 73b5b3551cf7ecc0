"""`contract.executors.Executor` without any process: a test takes the tries itself."""

from __future__ import annotations

from collections.abc import Collection

import trio

from leoflowd.contract.agent_messages import OutcomeKind
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch

CAPACITY = 1024


class FakeExecutor:
    """`broken`: environments that cannot be built."""

    def __init__(self, broken: Collection[EnvironmentSpec] = ()) -> None:
        self.refused: list[tuple[str, OutcomeKind, str]] = []
        self._broken = broken
        self._waiting: dict[str, Dispatch] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    def launch(self, dispatch: Dispatch) -> None:
        try_id = dispatch.spec.try_id
        if dispatch.environment in self._broken:
            self.refused.append((try_id, OutcomeKind.FAILED, "its environment cannot be built: it is broken"))
        elif try_id in self._waiting or len(self._waiting) < CAPACITY:
            self._waiting[try_id] = dispatch

    def known_tries(self) -> frozenset[str]:
        return frozenset(self._waiting)

    async def stop(self) -> None:
        await trio.lowlevel.checkpoint()

    def take(self) -> Dispatch:
        """The oldest begins to run."""
        return self._waiting.pop(next(iter(self._waiting)))
