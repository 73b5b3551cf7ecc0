"""Did a run of the system keep its promises? Judged from what was committed, in order, and from what tries did.

The crash suite, the chaos run and the load tests call `check_history`. The changes come from a log that Postgres itself
wrote (`loadtests.history_log`), so that no line of the code under judgement has a say in them; starts come from whoever
ran the tries. Two steps within one transaction are one change here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache

import msgspec

from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.core.run_view import InstanceFacts
from leoflowd.core.transitions import MOVES, PERSON_MOVES, PERSON_RUN_MOVES, RUN_MOVES

_S = TaskInstanceState
UNLIMITED = -1
OVER = FINISHED | {_S.UP_FOR_RETRY}
"""Where an outcome leads: a try that got here is over."""
ENDED_RUN = frozenset({DagRunState.SUCCESS, DagRunState.FAILED})
Key = tuple[int, str, int]
"""(dag_run_id, task_id, map_index)"""


class Rule(StrEnum):
    ONE_OWNER = "each try has one owner"
    TWICE = "nothing happens twice"
    LOST = "nothing is lost"
    LIMIT = "limits are never exceeded"
    MOVE = "legal moves only"
    XCOM = "an XCom comes from a try that may write"
    VIEW = "views are equal to the rows"


class Violation(msgspec.Struct, frozen=True):
    rule: Rule
    what: str


class InstanceRow(msgspec.Struct, frozen=True, kw_only=True):
    dag_run_id: int
    task_id: str
    map_index: int = -1
    id: str
    state: TaskInstanceState = _S.NONE
    try_number: int = 0
    pool: str = "default_pool"
    pool_slots: int = 1

    @property
    def key(self) -> Key:
        return self.dag_run_id, self.task_id, self.map_index


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    dag_id: str
    state: DagRunState
    revision: int = 0


class InstanceChange(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `task_instance`; None before: inserted, None after: deleted."""

    transaction: int
    before: InstanceRow | None = None
    after: InstanceRow | None = None


class RunChange(msgspec.Struct, frozen=True, kw_only=True):
    transaction: int
    before: RunRow | None = None
    after: RunRow | None = None


class XComWritten(msgspec.Struct, frozen=True, kw_only=True):
    transaction: int
    key: Key
    name: str


Change = InstanceChange | RunChange | XComWritten


class Started(msgspec.Struct, frozen=True):
    """User code of this try began, at this owner: an agent, or the inline calls."""

    try_id: str
    owner: str


class PoolLimit(msgspec.Struct, frozen=True):
    slots: int
    """-1 = no limit."""
    include_deferred: bool = False


class DagLimit(msgspec.Struct, frozen=True):
    """0 = no limit."""

    max_active_runs: int = 0
    max_active_tasks: int = 0


class History(msgspec.Struct, frozen=True, kw_only=True):
    changes: Sequence[Change]
    """As they were written; each transaction's are found together by its number."""
    started: Sequence[Started] = ()
    pools: Mapping[str, PoolLimit] = {}
    dags: Mapping[str, DagLimit] = {}
    unfinished: Collection[int] = ()
    """Dag runs of which nobody expects that they have ended."""


def check_history(history: History) -> tuple[Violation, ...]:
    """Everything that is wrong with it; empty when all promises were kept. The system has come to rest."""
    replay = _Replay(history)
    for transaction in _transactions(history.changes):
        replay.commit(transaction)
    return (*replay.found, *_started_faults(history, replay), *_lost(history, replay))


def check_view(
    dag_run_id: int, remembered: Iterable[InstanceFacts], stored: Iterable[InstanceFacts]
) -> Iterator[Violation]:
    """What a scheduler remembers of one run, and what its rows say at the same moment."""
    rows = {(facts.node, facts.map_index): facts for facts in stored}
    views = {(facts.node, facts.map_index): facts for facts in remembered}
    for place in sorted(rows.keys() | views.keys()):
        if rows.get(place) != views.get(place):
            yield Violation(
                Rule.VIEW, f"dag run {dag_run_id}, instance {place}: {views.get(place)} is not {rows.get(place)}"
            )


def _transactions(changes: Sequence[Change]) -> list[list[Change]]:
    """In an order in which they may have committed: whoever changes a row after another wrote its last line later."""
    gathered: dict[int, list[Change]] = defaultdict(list)
    last: dict[int, int] = {}
    for position, change in enumerate(changes):
        gathered[change.transaction].append(change)
        last[change.transaction] = position
    return [gathered[transaction] for transaction in sorted(gathered, key=lambda one: last[one])]


class _Replay:
    """The rows as they were after each commit, and what was wrong with getting there."""

    def __init__(self, history: History) -> None:
        self.found: list[Violation] = []
        self.instances: dict[Key, InstanceRow] = {}
        self.runs: dict[int, RunRow] = {}
        self.owner_of: dict[str, Key] = {}
        """Try id -> its instance."""
        self.queued: set[str] = set()
        """Tries that were ever to be launched."""
        self._over: set[str] = set()
        self._replaced: set[str] = set()
        self._history = history
        self._slots: Counter[str] = Counter()
        """Held now, by pool."""
        self._live: Counter[int] = Counter()
        """Live tries now, by dag run."""
        self._running: Counter[str] = Counter()
        """Running dag runs now, by DAG."""

    def commit(self, changes: Sequence[Change]) -> None:
        instances: dict[Key, InstanceRow | None] = {}
        runs: dict[int, RunRow | None] = {}
        for change in changes:
            match change:
                case InstanceChange():
                    instances.setdefault(_key_of(change), self.instances.get(_key_of(change)))
                    self._put_instance(change)
                case RunChange():
                    runs.setdefault(_run_of(change), self.runs.get(_run_of(change)))
                    self._put_run(change)
                case XComWritten():
                    pass
        by_hand = {
            i for i, run in runs.items() if run is not None and i in self.runs and _is_by_hand(run, self.runs[i])
        }
        for dag_run_id, run in runs.items():
            self._run_moved(run, self.runs.get(dag_run_id), by_hand)
        for key, row in instances.items():
            self._instance_moved(row, self.instances.get(key), by_hand)
        for change in changes:
            if isinstance(change, XComWritten):
                now = self.instances.get(change.key)
                self._xcom_written(change, instances.get(change.key, now), now)
        self._check_limits(instances, runs)

    def _put_instance(self, change: InstanceChange) -> None:
        old = self.instances.pop(_key_of(change), None)
        if change.after is not None:
            self.instances[change.after.key] = change.after
        for row, by in ((old, -1), (change.after, 1)):
            if row is not None and row.state in LIVE:
                self._live[row.dag_run_id] += by
            if row is not None and self._holds_slots(row):
                self._slots[row.pool] += by * row.pool_slots

    def _put_run(self, change: RunChange) -> None:
        old = self.runs.pop(_run_of(change), None)
        if change.after is not None:
            self.runs[change.after.id] = change.after
        for run, by in ((old, -1), (change.after, 1)):
            if run is not None and run.state is DagRunState.RUNNING:
                self._running[run.dag_id] += by

    def _holds_slots(self, row: InstanceRow) -> bool:
        limit = self._history.pools.get(row.pool)
        return row.state in LIVE or (limit is not None and limit.include_deferred and row.state is _S.DEFERRED)

    def _say(self, rule: Rule, what: str) -> None:
        self.found.append(Violation(rule, what))

    def _run_moved(self, before: RunRow | None, after: RunRow | None, by_hand: Collection[int]) -> None:
        if before is None or after is None or before.state == after.state:
            return
        allowed = _run_reach(before.state)
        if after.id in by_hand:
            allowed |= PERSON_RUN_MOVES[before.state]
        if after.state not in allowed:
            self._say(Rule.MOVE, f"dag run {after.id} went from {before.state} to {after.state}")

    def _instance_moved(self, before: InstanceRow | None, after: InstanceRow | None, by_hand: Collection[int]) -> None:
        if after is None:
            return
        self._note_owner(before, after)
        if before is None:
            if after.state is not _S.NONE:
                self._say(Rule.MOVE, f"{_name(after)} began as {after.state}")
            return
        is_other = before.id != after.id
        allowed = _reach(before.state, is_other)
        if after.dag_run_id in by_hand:
            allowed |= PERSON_MOVES[before.state]
        if before.state is not after.state and after.state not in allowed:
            self._say(Rule.MOVE, f"{_name(after)} went from {before.state} to {after.state}, as try {after.id}")
        if after.try_number < before.try_number:
            self._say(Rule.MOVE, f"{_name(after)} went back from try {before.try_number} to {after.try_number}")
        self._note_end(before, after)

    def _note_owner(self, before: InstanceRow | None, after: InstanceRow) -> None:
        owner = self.owner_of.setdefault(after.id, after.key)
        if owner != after.key:
            self._say(Rule.ONE_OWNER, f"try {after.id} belongs to {owner} and to {after.key}")
        if after.state is _S.QUEUED:
            self.queued.add(after.id)
        if before is not None and before.id != after.id:
            self._replaced.add(before.id)
            if after.id in self._replaced:
                self._say(Rule.TWICE, f"{_name(after)}: try {after.id} came back after another had followed it")

    def _note_end(self, before: InstanceRow, after: InstanceRow) -> None:
        if before.state in LIVE and after.id == before.id and after.state in OVER:
            if after.id in self._over:
                self._say(Rule.TWICE, f"{_name(after)}: try {after.id} ended twice")
            self._over.add(after.id)

    def _xcom_written(self, written: XComWritten, before: InstanceRow | None, after: InstanceRow | None) -> None:
        may_write = {_S.QUEUED, _S.RUNNING}
        if after is not None and (
            after.state in may_write
            or (before is not None and before.state in may_write)
            or (before != after and after.state is _S.SUCCESS)
        ):
            return
        state = "no instance" if after is None else f"state {after.state}"
        self._say(Rule.XCOM, f"XCom {written.name!r} of {written.key} was written at {state}")

    def _check_limits(self, instances: Mapping[Key, InstanceRow | None], runs: Mapping[int, RunRow | None]) -> None:
        """Asked of whoever takes: a limit that was lowered throws nobody out."""
        history = self._history
        moved = [(row, self.instances[key]) for key, row in instances.items() if key in self.instances]
        began = [row for before, row in moved if row.state in LIVE and (before is None or before.state not in LIVE)]
        for pool in {row.pool for row in began}:
            limit, used = history.pools.get(pool), self._slots[pool]
            if limit is not None and limit.slots != UNLIMITED and used > limit.slots:
                self._say(Rule.LIMIT, f"pool {pool!r} holds {used} of {limit.slots} slots")
        for dag_run_id in {row.dag_run_id for row in began} & self.runs.keys():
            most = self._limits_of(self.runs[dag_run_id]).max_active_tasks
            if most and self._live[dag_run_id] > most:
                self._say(Rule.LIMIT, f"dag run {dag_run_id} has {self._live[dag_run_id]} live tasks of at most {most}")
        for run in [self.runs[i] for i in runs if i in self.runs]:
            most = self._limits_of(run).max_active_runs
            if run.state is DagRunState.RUNNING and most and self._running[run.dag_id] > most:
                self._say(
                    Rule.LIMIT, f"dag {run.dag_id!r} has {self._running[run.dag_id]} runs running of at most {most}"
                )

    def _limits_of(self, run: RunRow) -> DagLimit:
        return self._history.dags.get(run.dag_id, DagLimit())


def _started_faults(history: History, replay: _Replay) -> Iterator[Violation]:
    owners: dict[str, set[str]] = defaultdict(set)
    for start in history.started:
        owners[start.try_id].add(start.owner)
    counts = Counter(start.try_id for start in history.started)
    for try_id, count in counts.items():
        if try_id not in replay.queued:
            yield Violation(Rule.ONE_OWNER, f"try {try_id} was started and never queued")
        if len(owners[try_id]) > 1:
            yield Violation(Rule.ONE_OWNER, f"try {try_id} was started by {sorted(owners[try_id])}")
        if count > 1:
            yield Violation(Rule.TWICE, f"try {try_id} was started {count} times")


def _lost(history: History, replay: _Replay) -> Iterator[Violation]:
    for run in replay.runs.values():
        if run.state not in ENDED_RUN and run.id not in history.unfinished:
            yield Violation(Rule.LOST, f"dag run {run.id} of {run.dag_id!r} is still {run.state}")
    started = {start.try_id for start in history.started}
    for row in replay.instances.values():
        if row.state is _S.QUEUED and row.id not in started:
            yield Violation(Rule.LOST, f"{_name(row)}: try {row.id} is queued and was never launched")
        its_run = replay.runs.get(row.dag_run_id)
        if its_run is not None and its_run.state in ENDED_RUN and row.state in LIVE:
            yield Violation(Rule.LOST, f"{_name(row)} is {row.state} in a run that has ended")


def _key_of(change: InstanceChange) -> Key:
    row = change.after or change.before
    assert row is not None, "a change of nothing"
    return row.key


def _run_of(change: RunChange) -> int:
    run = change.after or change.before
    assert run is not None, "a change of nothing"
    return run.id


def _is_by_hand(before: RunRow, after: RunRow) -> bool:
    """Every write that is not the scheduler's raises the revision."""
    return before.revision != after.revision


def _name(row: InstanceRow) -> str:
    return f"{row.task_id!r} [{row.map_index}] of dag run {row.dag_run_id}"


@cache
def _reach(state: TaskInstanceState, is_other: bool) -> frozenset[TaskInstanceState]:
    """Where one commit may lead: several moves at once, but only a new try's id passes `queued`."""
    found: set[TaskInstanceState] = set()
    todo = [state]
    while todo:
        for after in MOVES[todo.pop()] - found:
            if after is _S.QUEUED and not is_other:
                continue
            found.add(after)
            todo.append(after)
    return frozenset(found)


def _run_reach(state: DagRunState) -> frozenset[DagRunState]:
    """A run of which nothing is to be done starts and ends in one commit."""
    direct = RUN_MOVES[state]
    return direct.union(*(RUN_MOVES[after] for after in direct))
