"""What the core decides: one small struct per kind of move, each with the sentence that explains it.

`dag_run_plan` makes them, `transitions.apply` says what they mean, the scheduler's shell writes them to Postgres by
compare-and-set. `because` goes to audit, log and UI unchanged. `instance` is the position in `RunView.facts`, which
stands for one (node, map_index) as long as the view lives.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from leoflowd.contract.callback_spec import Reason
from leoflowd.contract.states import DagRunState, TaskInstanceState


class DecisionBase(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What all decisions share."""

    because: str


class Schedule(DecisionBase, frozen=True, kw_only=True):
    """Its dependencies are met: it may compete for slots."""

    instance: int


class Queue(DecisionBase, frozen=True, kw_only=True):
    """It holds its slots: a try with this id (the fencing token) is handed to an executor."""

    instance: int
    try_id: str
    launcher: str = ""
    """The replica whose executor is given the try."""


class Defer(DecisionBase, frozen=True, kw_only=True):
    """It only waits from now on, as a wait of the cheap-task pool: without a process, and without its slots.

    From a live try: the same try goes on when the wait ends. Else a try begins with the wait.
    """

    instance: int
    state: TaskInstanceState = TaskInstanceState.DEFERRED
    """How the UI shows it: DEFERRED, or UP_FOR_RESCHEDULE for a sensor of that mode."""


class Resume(DecisionBase, frozen=True, kw_only=True):
    """What it deferred for has happened: the same try competes for slots again."""

    instance: int


class Start(DecisionBase, frozen=True, kw_only=True):
    """Its try runs since `at`."""

    instance: int
    at: datetime


class Ending(DecisionBase, frozen=True, kw_only=True):
    """Base of decisions that may end a try. None: no try ended, or the moment of the decision is its end."""

    instance: int
    started_at: datetime | None = None
    ended_at: datetime | None = None


class Succeed(Ending, frozen=True, kw_only=True):
    """The try succeeded, or an empty operator was decided in place."""

    length: int | None = None
    """What a mapping over its output counts: items; of an instance of a mapped task 1, if it returned something."""


class Fail(Ending, frozen=True, kw_only=True):
    """It failed for good."""


class Skip(Ending, frozen=True, kw_only=True):
    """It is not to run in this dag run."""


class UpstreamFail(DecisionBase, frozen=True, kw_only=True):
    """It cannot run, since something it needs failed."""

    instance: int


class RetryAt(Ending, frozen=True, kw_only=True):
    """The try failed; the next one may be scheduled from `at` on."""

    at: datetime


class RescheduleAt(Ending, frozen=True, kw_only=True):
    """The try gave its slot back and goes on, as the same try, from `at` on."""

    at: datetime


class Requeue(Ending, frozen=True, kw_only=True):
    """An infrastructure fault ended the try: again, at no cost to the user's retries."""

    at: datetime | None = None
    """Not before this moment: what failed a second time needs a while. None = at once."""


class Restart(DecisionBase, frozen=True, kw_only=True):
    """The try of a cleared instance is gone: the instance starts from nothing."""

    instance: int


class Remove(DecisionBase, frozen=True, kw_only=True):
    """It is not part of this dag run."""

    instance: int


class Expand(DecisionBase, frozen=True, kw_only=True):
    """The length of a mapped node is known: it gets the map indexes 0 to `count` - 1, `count` being at least 1."""

    node: int
    count: int


class StartDagRun(DecisionBase, frozen=True, kw_only=True):
    """The dag run may begin."""


class FinishDagRun(DecisionBase, frozen=True, kw_only=True):
    """The dag run ends as SUCCESS or FAILED."""

    state: DagRunState
    reason: Reason
    """In Airflow's word, for callbacks."""


InstanceDecision = (
    Schedule
    | Queue
    | Defer
    | Resume
    | Start
    | Succeed
    | Fail
    | Skip
    | UpstreamFail
    | RetryAt
    | RescheduleAt
    | Requeue
    | Restart
    | Remove
)
RunDecision = StartDagRun | FinishDagRun
Decision = InstanceDecision | Expand | RunDecision
