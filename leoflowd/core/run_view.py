"""What the leader remembers of one active dag run, so that deciding needs no query.

A cache, never a truth: the scheduler fills it from the store, `put`s what it has committed, and drops it when a
compare-and-set matches no row or `revision` moved on. Counters of upstream states are kept per node, so that one change
costs the out-degree of its node. One task owns a view; nobody else touches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Literal
from uuid import NAMESPACE_OID, uuid5

import msgspec

from leoflowd.contract.states import FINISHED, LIVE, DagRunState, DagRunType, TaskInstanceState
from leoflowd.core.choices import Choice
from leoflowd.core.dag_shape import DagShape, TaskNode
from leoflowd.core.expansion import kept_items, places_of_items, plain_item
from leoflowd.core.mapped_counts import MappedCounts
from leoflowd.core.trigger_rules import RuleVerdict, UpstreamCounts, Verdict, evaluate_task

WAITING = frozenset({TaskInstanceState.NONE, TaskInstanceState.UP_FOR_RETRY, TaskInstanceState.UP_FOR_RESCHEDULE})
"""States whose next move is decided by looking at upstream, the past and the clock, unless the pool waits."""

SET_ASIDE = "set aside by the scheduler, clear or mark it to try again"
"""How `because` of a dag run begins that the scheduler cannot go on with."""

WaitStatus = Literal["", "waiting", "fired"]


class InstanceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One task instance, as far as decisions need it. Within its run it is (`node`, `map_index`).

    `node` is the index in `DagShape.nodes`. `map_index` is -1 unless the node is mapped and has been expanded.
    """

    id: str
    node: int
    map_index: int = -1
    state: TaskInstanceState = TaskInstanceState.NONE
    try_number: int = 0
    max_tries: int = 0
    infra_faults: int = 0
    scheduled_at: datetime | None = None
    queued_at: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    due_at: datetime | None = None
    because: str = ""
    launcher: str = ""
    """Who was given the try: the replica whose executor launches it. Empty: a release that knew only one did."""
    wait: WaitStatus = ""
    """Its row in `wait`: `waiting` in the pool, `fired` until the resumed try has ended; empty = none."""
    length: int | None = None
    """Of a success that a mapping counts: how many items its output has (see `Succeed`)."""

    @property
    def is_open(self) -> bool:
        """Is its next move decided by looking at upstream, the past and the clock? Not while the pool waits for it."""
        return self.state in WAITING and not self.wait


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The dag run itself."""

    state: DagRunState
    start_date: datetime | None = None
    end_date: datetime | None = None
    because: str = ""


class RunView:
    """One dag run and its instances; `facts[i]` is read freely, and changed through `put(i, ...)` only."""

    __slots__ = (
        "_direct",
        "_instances",
        "_items",
        "_mapped",
        "_open",
        "_scope_open",
        "_setups",
        "_state_counts",
        "absent",
        "choices",
        "dag_id",
        "dag_run_id",
        "dagrun_timeout_s",
        "facts",
        "logical_date",
        "max_active_tasks",
        "past_ok",
        "revision",
        "run",
        "run_id",
        "shape",
    )

    def __init__(
        self,
        *,
        dag_run_id: int,
        dag_id: str,
        run_id: str,
        shape: DagShape,
        state: DagRunState,
        start_date: datetime | None = None,
        logical_date: datetime | None = None,
        run_type: DagRunType = DagRunType.MANUAL,
        because: str = "",
        revision: int = 0,
        max_active_tasks: int = 0,
        dagrun_timeout_s: float | None = None,
        facts: Iterable[InstanceFacts],
        past_ok: dict[int, bool] | None = None,
        choices: Mapping[tuple[int, int], Choice] | None = None,
        returned: Mapping[int, str] | None = None,
    ) -> None:
        self.dag_run_id = dag_run_id
        self.dag_id = dag_id
        self.run_id = run_id
        self.shape = shape
        self.run = RunFacts(state=state, start_date=start_date, because=because)
        self.logical_date = logical_date
        self.revision = revision
        self.max_active_tasks = max_active_tasks
        self.dagrun_timeout_s = dagrun_timeout_s
        self.facts = list(facts)
        self.past_ok: dict[int, bool] = {} if past_ok is None else past_ok
        """Node -> do `depends_on_past` and `wait_for_downstream` allow it now? The store fills it; absent means no.

        By node and not by instance, as in Airflow: an instance asks for all instances of its task in the run before.
        """
        self.choices = dict(choices or {})
        """What deciders that succeeded chose, by (node, map_index). It is asked for who waits for them only."""
        self._items = {node: kept_items(value) for node, value in (returned or {}).items()}
        """Of nodes that give items (`TaskNode.gives_items`), what they returned last."""
        self.absent = _absent_nodes(shape, run_type, logical_date)
        """Nodes whose own start and end dates leave this logical date out; nobody waits for them."""
        self._count()

    @property
    def state(self) -> DagRunState:
        return self.run.state

    @property
    def start_date(self) -> datetime | None:
        return self.run.start_date

    def put(self, instance: int, facts: InstanceFacts) -> None:
        """Replace the facts of one instance and correct the counters of those who wait for it."""
        old = self.facts[instance]
        self.facts[instance] = facts
        self._note_open(instance, facts)
        if self._mapped is not None:
            self._mapped.count(old, by=-1)
            self._mapped.count(facts, by=1)
        if old.state is facts.state:
            return
        self._state_counts[old.state] -= 1
        self._state_counts[facts.state] += 1
        if old.state in FINISHED:
            self._tell_waiting(old, by=-1)
        if facts.state in FINISHED:
            self._tell_waiting(facts, by=1)

    def expand(self, node: int, count: int) -> tuple[int, ...]:
        """Give the node the map indexes 0 to `count` - 1; returns the positions of those that it did not have yet.

        As Airflow's `expand_mapped_task`: the unexpanded instance becomes map index 0, and stays where it stands;
        others are appended, in state none. Those beyond `count`, of an earlier expansion, stay: see `plan_expansion`.
        """
        known = self._instances[node]
        assert known, f"node {node} has no instance that could be expanded"
        assert count >= 1, f"node {node} is to have {count} instances"
        for position in known:
            if self.facts[position].map_index < 0:
                self.facts[position] = msgspec.structs.replace(self.facts[position], map_index=0)
        missing = sorted(set(range(count)) - {self.facts[i].map_index for i in known})
        # The ids fence nobody, since a try that is queued gets its own; so they may follow from what is there.
        root, max_tries = self.facts[known[0]].id, self.shape.nodes[node].spec.retries
        return tuple(
            self._append(
                InstanceFacts(
                    id=str(uuid5(NAMESPACE_OID, f"{root}[{index}]")), node=node, map_index=index, max_tries=max_tries
                )
            )
            for index in missing
        )

    def shrink(self, added: Sequence[int]) -> None:
        """Take back what `expand` has just appended: the last positions, in state none again."""
        for position in reversed(added):
            facts = self.facts.pop()
            assert len(self.facts) == position, "only what was appended last can be taken back"
            self._instances[facts.node].pop()
            self._count_out(position, facts)

    def instances_of(self, node: int) -> Sequence[int]:
        """Positions of the node's instances: one, or one per map index."""
        return self._instances[node]

    def node_of(self, instance: int) -> TaskNode:
        return self.shape.nodes[self.facts[instance].node]

    def is_node_done(self, node: int) -> bool:
        """A node is done when all its instances are."""
        return all(self.facts[i].state in FINISHED for i in self._instances[node])

    def count(self, state: TaskInstanceState) -> int:
        """Instances in this state now."""
        return self._state_counts[state]

    @property
    def unfinished_count(self) -> int:
        return len(self.facts) - sum(self._state_counts[state] for state in FINISHED)

    @property
    def live_count(self) -> int:
        return sum(self._state_counts[state] for state in LIVE)

    def unfinished(self) -> list[int]:
        """Positions of all instances that are not finished; looks at every instance."""
        return [i for i, facts in enumerate(self.facts) if facts.state not in FINISHED]

    def choose(self, instance: int, choice: Choice) -> None:
        """This decider succeeded, and chose."""
        facts = self.facts[instance]
        self.choices[facts.node, facts.map_index] = choice

    def keep_items(self, instance: int, value: str | None) -> None:
        """This source succeeded, and returned this (JSON text)."""
        node = self.node_of(instance)
        if node.gives_items:
            self._items[node.index] = kept_items(value)

    def items_of(self, instance: int) -> dict[str, Any] | None:
        """Argument -> what this instance of a task with `mapped_items` is mapped over; None: a process has to see."""
        facts, node = self.facts[instance], self.node_of(instance)
        if not node.spec.mapped_items or node.mapped is None or facts.map_index < 0:
            return None
        lists = {self.shape.nodes[source].spec.task_id: self._items.get(source, ()) for source in node.sources}
        places = places_of_items(node.mapped, lambda task_id: len(lists[task_id]), facts.map_index)
        if places is None:
            return None
        found: dict[str, Any] = {}
        for takes in node.spec.mapped_items:
            task_id, item = places[takes.name]
            found[takes.name] = plain_item(lists[task_id][item], takes)
        return None if None in found.values() else found

    def rule_verdict(self, instance: int) -> RuleVerdict:
        """May this instance run, as far as what is upstream of it is concerned?"""
        facts = self.facts[instance]
        node = self.shape.nodes[facts.node]
        decider = self._left_out_by(node, facts.map_index) if self.choices else None
        if decider is not None:
            return RuleVerdict(Verdict.SKIP, f"task {decider!r} chose to leave it out")
        ruling = evaluate_task(
            node,
            self._direct[node.index],
            self._setups[node.index],
            self._scope_open[node.index],
            map_index=facts.map_index,
        )
        return ruling if self._mapped is None or node.mapped is None else self._mapped.verdict(node, facts, ruling)

    def _left_out_by(self, node: TaskNode, map_index: int) -> str | None:
        """Task id of a decider; of one that is mapped too, its instance of the same map index speaks."""
        for up in node.deciders:
            choice = self.choices.get((up, map_index)) or self.choices.get((up, -1))
            if choice is not None and choice.leaves_out(node.spec.task_id):
                return self.shape.nodes[up].spec.task_id
        return None

    def upstream_counts(self, node: int) -> UpstreamCounts:
        """Counters over the node's direct upstream; read only."""
        return self._direct[node]

    def length_of(self, node: int) -> int | None:
        """How many instances a node with a mapping has once it is expanded; None while that is not known."""
        return None if self._mapped is None else self._mapped.length(self.shape.nodes[node])

    def who_waits_for(self, instance: int, node: int) -> Sequence[int] | None:
        """Which instances of `node`, which it feeds, look at this one; None = all of them."""
        facts = self.facts[instance]
        if self._mapped is None or facts.map_index < 0:
            return None
        if not self._mapped.waits_alike(self.shape.nodes[facts.node], self.shape.nodes[node]):
            return None
        return self._mapped.alike(node, facts.map_index)

    def open_of(self, node: int) -> AbstractSet[int]:
        """Positions of the node's instances that are open; costs as much as there are instances only once."""
        if node not in self._open:
            self._open[node] = {i for i in self._instances[node] if self.facts[i].is_open}
        return self._open[node]

    def is_judged_alike(self, node: int) -> bool:
        """Does one verdict hold for all of the node's instances? Not where each waits for its own map index, nor where
        upstream instances were removed or may leave out single ones."""
        removed = self._direct[node].removed or self._setups[node].removed
        return not self.shape.nodes[node].mapped_group and not self.shape.nodes[node].deciders and not removed

    def is_past_ok(self, node: int) -> bool:
        """Does the previous dag run allow this node to run?"""
        spec = self.shape.nodes[node].spec
        return not (spec.depends_on_past or spec.wait_for_downstream) or self.past_ok.get(node, False)

    def _count(self) -> None:
        nodes = self.shape.nodes
        self._instances: list[list[int]] = [[] for _ in nodes]
        self._direct = [UpstreamCounts() for _ in nodes]
        self._setups = [UpstreamCounts() for _ in nodes]
        self._scope_open = [0 for _ in nodes]
        self._open: dict[int, set[int]] = {}
        """Of nodes with several instances, once somebody asked: those that are open."""
        self._mapped = (
            MappedCounts(self.shape, self.facts, self._instances, self.absent)
            if any(node.mapped is not None for node in nodes)
            else None
        )
        self._state_counts = dict.fromkeys(TaskInstanceState, 0)
        for position, facts in enumerate(self.facts):
            self._count_in(position, facts)
        for node in nodes:
            if not self._instances[node.index] and node.index not in self.absent:
                # Its row was deleted: whoever waits for it waits for ever, and never runs early.
                self._announce(node, by=1)

    def _append(self, facts: InstanceFacts) -> int:
        self.facts.append(facts)
        position = len(self.facts) - 1
        self._count_in(position, facts)
        return position

    def _count_in(self, position: int, facts: InstanceFacts) -> None:
        self._instances[facts.node].append(position)
        self._state_counts[facts.state] += 1
        if facts.node not in self.absent:
            self._announce(self.shape.nodes[facts.node], by=1)
        if facts.state in FINISHED:
            self._tell_waiting(facts, by=1)
        if self._mapped is not None:
            self._mapped.count(facts, by=1)
        self._note_open(position, facts)

    def _count_out(self, position: int, facts: InstanceFacts) -> None:
        """Of an instance that never moved."""
        self._state_counts[facts.state] -= 1
        if facts.node not in self.absent:
            self._announce(self.shape.nodes[facts.node], by=-1)
        if self._mapped is not None:
            self._mapped.count(facts, by=-1)
        if facts.node in self._open:
            self._open[facts.node].discard(position)

    def _note_open(self, position: int, facts: InstanceFacts) -> None:
        known = self._open.get(facts.node)
        if known is not None:
            (known.add if facts.is_open else known.discard)(position)

    def _announce(self, node: TaskNode, *, by: int) -> None:
        is_setup = by if node.spec.is_setup else 0
        for down in node.downstream:
            self._direct[down].total += by
            self._direct[down].setup_total += is_setup
        for down in node.setup_for:
            self._setups[down].total += by
        for teardown in node.scope_of:
            self._scope_open[teardown] += by

    def _tell_waiting(self, facts: InstanceFacts, *, by: int) -> None:
        if facts.node in self.absent:
            return
        node = self.shape.nodes[facts.node]
        for down in node.downstream:
            self._direct[down].add(facts.state, is_setup=node.spec.is_setup, by=by)
        for down in node.setup_for:
            self._setups[down].add(facts.state, is_setup=True, by=by)
        for teardown in node.scope_of:
            self._scope_open[teardown] -= by


def _absent_nodes(shape: DagShape, run_type: DagRunType, logical_date: datetime | None) -> frozenset[int]:
    """As Airflow's `task_filter`: a backfill ignores the tasks' own dates, and so does a run without logical date."""
    if run_type is DagRunType.BACKFILL or logical_date is None:
        return frozenset()
    return frozenset(
        node.index
        for node in shape.nodes
        if (node.spec.start_date is not None and logical_date < node.spec.start_date)
        or (node.spec.end_date is not None and logical_date > node.spec.end_date)
    )
