"""What a branch or a short circuit chose, as Airflow keeps it: the XCom `skipmixin_key` of the task that decided.

It is written with the success of its task and goes with that task's XComs when it runs again. So whoever is cleared
later still hears that it was left out (Airflow's `NotPreviouslySkippedDep`). `store.run_views` and the scheduler put it
into `RunView.choices`; what is to be skipped at once, of all the DAG, is `Outcome.skips`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from leoflowd.contract.agent_messages import XComItem

CHOICE_KEY = "skipmixin_key"


class Choice(msgspec.Struct, frozen=True):
    """Task ids; it counts for the tasks directly downstream."""

    followed: frozenset[str] | None = None
    """All others are left out. None: none of them is, but for `skipped`."""
    skipped: frozenset[str] = frozenset()

    def leaves_out(self, task_id: str) -> bool:
        return task_id in self.skipped or (self.followed is not None and task_id not in self.followed)


def read_choice(value: str) -> Choice | None:
    """From the XCom's JSON text. Tasks may push what they like under that key: anything else is no choice."""
    try:
        return msgspec.json.decode(value, type=Choice)
    except (msgspec.MsgspecError, RecursionError):
        return None


def choice_among(xcoms: Iterable[XComItem]) -> Choice | None:
    """What a try chose, by the XComs of its outcome."""
    value = next((item.value for item in xcoms if item.key == CHOICE_KEY), None)
    return None if value is None else read_choice(value)
