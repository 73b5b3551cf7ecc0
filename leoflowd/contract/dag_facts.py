"""What waits for other dag runs may ask: how many of them, or of their task instances, are in which state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec


class DagFacts(Protocol):
    """What Postgres knows of other dag runs; `store.external_facts` in the daemon."""

    async def count_states(self, questions: Sequence[StatesQuestion]) -> Sequence[StatesAnswer]:
        """One statement for all questions; answers in the same order."""


class StatesQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Instances of these tasks (or the dag runs themselves) at these logical dates or run ids."""

    dag_id: str
    task_ids: tuple[str, ...] = ()
    task_group_id: str | None = None
    logical_dates: tuple[datetime, ...] = ()
    run_ids: tuple[str, ...] = ()


class StatesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    counts: dict[str, int]
    """State -> how many; `none` for none. A group counts each of its tasks' instances."""
    expected: int
    """How many there are in all once every run exists: dates times tasks; for runs, dates."""
    dag_exists: bool = True
    missing_tasks: tuple[str, ...] = ()
