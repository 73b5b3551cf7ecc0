"""A queue of messages, and the trigger that watches it for an asset: it outlives daemons, as queues do.

A message leaves the queue when the trigger is asked for the next one: what is killed before that gets it again.
"""

from __future__ import annotations

from collections.abc import Callable

from leoflowd.contract.waits import TriggerCall


class Source:
    def __init__(self) -> None:
        self.messages: list[str] = []


class SourceHosts:
    """In the place of one daemon's trigger hosts: every trigger reads the source."""

    def __init__(self, source: Source, *, fired: Callable[[str, str], None]) -> None:
        self._source = source
        self._fired = fired

    def start(self, wait_id: str, call: TriggerCall) -> None:
        assert call.repeats
        self._next(wait_id)

    def go_on(self, wait_id: str) -> None:
        del self._source.messages[0]
        self._next(wait_id)

    def cancel(self, wait_id: str) -> None:
        """It reads nothing of its own accord."""

    def _next(self, wait_id: str) -> None:
        if self._source.messages:
            self._fired(wait_id, self._source.messages[0])
