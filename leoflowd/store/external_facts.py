"""What other dag runs have come to, for external_task waits; the daemon hands it to the cheap-task pool.

The sensors ask through a protocol (`contract.dag_facts`), because they import nothing of the daemon but its contract.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from leoflowd.contract.dag_facts import StatesAnswer, StatesQuestion
from leoflowd.contract.values import shown_json
from leoflowd.store.database import Lane, fetch_all, statements

_SQL = statements("external_facts")


class _AnswerRow(msgspec.Struct, frozen=True):
    counts: dict[str, int]
    expected: int
    dag_exists: bool
    missing: list[str]


class ExternalFacts:
    """`DagFacts` on a lane of its owner's choice."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def count_states(self, questions: Sequence[StatesQuestion]) -> Sequence[StatesAnswer]:
        """One statement for all of them, answers in their order. Raises `StoreUnavailable`."""
        async with self._lane.connection() as conn:
            rows = await fetch_all(conn, _SQL.count_states, _AnswerRow, questions=_as_json(questions))
        return tuple(
            StatesAnswer(
                counts=row.counts,
                expected=row.expected,
                dag_exists=row.dag_exists,
                missing_tasks=tuple(row.missing),
            )
            for row in rows
        )


def _as_json(questions: Sequence[StatesQuestion]) -> str:
    """Ids as they are shown: one with a NUL names nothing that there is, and must not fail the others."""
    asked = [{"number": number, **msgspec.structs.asdict(question)} for number, question in enumerate(questions)]
    return shown_json(asked)
