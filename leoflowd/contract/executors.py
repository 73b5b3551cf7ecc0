"""Executors as a port: who turns dispatches into running tries (ADR 33).

`executors.process` has the host's agent fork them; pods come later. Whoever implements it runs the tests of
`tests/conformance/executors/`. What becomes of a try that began is reported by its agent, never by the executor.
"""

from __future__ import annotations

from typing import Protocol

from leoflowd.contract.dispatch import Dispatch


class Executor(Protocol):
    """The tree starts and cancels it, like any component; what runs goes on then, and the next daemon finds it."""

    def launch(self, dispatch: Dispatch) -> None:
        """Start this try. Never waits, and never fails: one that cannot be started is refused with its reason.

        A try that is known already is not started twice; the newer dispatch takes the place of the older. One for which
        there is no room is dropped: it is still queued in Postgres, and the scheduler's sweep launches it again.
        """

    def known_tries(self) -> frozenset[str]:
        """Ids of the tries that it was given and nobody has begun to run yet."""

    async def stop(self) -> None:
        """On purpose, for good: nothing of it stays behind. Twice is once."""
