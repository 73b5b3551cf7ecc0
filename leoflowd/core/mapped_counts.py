"""What a view knows for its mappings: how long each is, and whom an instance inside of a mapped group waits for.

`RunView` owns one if its DAG maps anything, and tells it of every change. Behaviour as Airflow 3.2's `TriggerRuleDep`
and `MappedTaskUpstreamDep`: a mapping needs the success of what it maps over, whatever the trigger rule says; an
unexpanded instance is judged by its rule first and expanded then; inside of a mapped group an instance waits for those
with its own map index. One change costs no more than its node: nothing here walks over the instances of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from leoflowd.contract.states import FINISHED, TaskInstanceState
from leoflowd.core.dag_shape import DagShape, TaskNode
from leoflowd.core.expansion import total_length
from leoflowd.core.trigger_rules import FAST_RULES, RuleVerdict, UpstreamCounts, Verdict, evaluate_task

if TYPE_CHECKING:
    from leoflowd.core.run_view import InstanceFacts

_S = TaskInstanceState

INSTANCES_MAX = 100_000
"""Of one mapped task in one run: more is a mistake, and would take the memory of all others."""


class MappedCounts:
    """`facts` and `instances` are the view's own lists, which grow with it; `absent`: nodes that are no part of it."""

    def __init__(
        self,
        shape: DagShape,
        facts: Sequence[InstanceFacts],
        instances: Sequence[Sequence[int]],
        absent: frozenset[int],
    ) -> None:
        self._shape = shape
        self._facts = facts
        self._instances = instances
        self._absent = absent
        self._own = {node: UpstreamCounts() for node in shape.counted}
        self._returned = dict.fromkeys(shape.counted, 0)
        """Of each node, the instances whose output counts."""

    # --- what the view tells ---

    def count(self, facts: InstanceFacts, *, by: int) -> None:
        """There is one more of these, or one less."""
        own = self._own.get(facts.node)
        if own is None:
            return
        own.total += by
        if facts.state in FINISHED:
            own.add(facts.state, is_setup=False, by=by)
        if facts.length is not None:
            self._returned[facts.node] += by

    # --- lengths ---

    def length(self, node: TaskNode) -> int | None:
        """How many instances the node has once it is expanded; None while that is not known."""
        assert node.mapped is not None
        return total_length(node.mapped, lambda task_id: self._output_length(self._shape.index_of[task_id]))

    def _output_length(self, source: int) -> int | None:
        if self._shape.nodes[source].mapped is not None:
            return self._returned[source] if self._is_done(source) else None
        instances = self._instances[source]
        return self._facts[instances[0]].length if instances else None

    def _is_done(self, node: int) -> bool:
        own = self._own[node]
        return own.done >= own.total

    # --- verdicts ---

    def verdict(self, node: TaskNode, facts: InstanceFacts, plain: RuleVerdict) -> RuleVerdict:
        """Of an instance of a node with a mapping. `plain`: what its rule says of all instances upstream."""
        ruling = self._of_sources(node) or (self._inside(node, facts) if node.mapped_group else plain)
        if facts.map_index >= 0 or ruling.verdict is not Verdict.RUN:
            return ruling
        return self._of_length(node, ruling)

    def _of_sources(self, node: TaskNode) -> RuleVerdict | None:
        """What a source that has ended otherwise than with success means; None if there is none. One that is mapped
        itself and was expanded counts for nothing: those of its instances that returned something are mapped over."""
        states = [self._facts[i].state for source in node.sources for i in self._unexpanded(source)]
        if _S.FAILED in states or _S.UPSTREAM_FAILED in states:
            return RuleVerdict(Verdict.UPSTREAM_FAIL, "something that it maps over failed")
        if _S.SKIPPED in states:
            return RuleVerdict(Verdict.SKIP, "something that it maps over was skipped")
        if _S.REMOVED in states:
            return RuleVerdict(Verdict.WAIT, "something that it maps over was removed")
        return None

    def _of_length(self, node: TaskNode, ruling: RuleVerdict) -> RuleVerdict:
        length = self.length(node)
        if length is not None and length > INSTANCES_MAX:
            because = f"its mapping has {length} instances, and at most {INSTANCES_MAX} are possible: map over less"
            return RuleVerdict(Verdict.UPSTREAM_FAIL, because)
        if length is not None:
            return ruling
        names = ", ".join(repr(self._shape.nodes[source].spec.task_id) for source in node.sources)
        if all(self._is_done(source) for source in node.sources):
            return RuleVerdict(Verdict.UPSTREAM_FAIL, f"{names} returned nothing that could be mapped over")
        return RuleVerdict(Verdict.WAIT, f"its number of instances is not known before {names} ended")

    def _inside(self, node: TaskNode, facts: InstanceFacts) -> RuleVerdict:
        """As `evaluate_task`, over what has the same map index, or is outside of the group."""
        counts = [self._relevant(nodes, node, facts) for nodes in (node.upstream, node.indirect_setups, node.scope)]
        direct, setups, scope = counts
        return evaluate_task(node, direct, setups, scope.total - scope.done, map_index=facts.map_index)

    def _relevant(self, awaited: Iterable[int], node: TaskNode, facts: InstanceFacts) -> UpstreamCounts:
        counts = UpstreamCounts()
        for up in awaited:
            if up in self._absent:
                continue
            is_setup = self._shape.nodes[up].spec.is_setup
            if not self._instances[up]:
                counts.total += 1  # its row was deleted: who waits for it waits for ever
            elif self._is_apart(up, node):
                counts.include(self._own[up], is_setup=is_setup)
            else:
                for i in self.alike(up, facts.map_index):
                    counts.total += 1
                    counts.setup_total += is_setup
                    if self._facts[i].state in FINISHED:
                        counts.add(self._facts[i].state, is_setup=is_setup, by=1)
        return counts

    def _is_apart(self, up: int, node: TaskNode) -> bool:
        """Does it wait for all instances of `up`? As in Airflow also inside of the group, for rules that need one."""
        return self._shape.nodes[up].mapped_group != node.mapped_group or node.spec.trigger_rule in FAST_RULES

    def waits_alike(self, up: TaskNode, down: TaskNode) -> bool:
        """Do instances of `down` wait for one of `up` only if they have its map index?"""
        return bool(up.mapped_group) and not self._is_apart(up.index, down)

    def alike(self, node: int, map_index: int) -> Sequence[int]:
        """The instance of this node with this map index, or the one that is not expanded yet."""
        instances, unexpanded = self._instances[node], self._unexpanded(node)
        if map_index < 0 or unexpanded:
            return unexpanded
        if map_index < len(instances) and self._facts[instances[map_index]].map_index == map_index:
            return (instances[map_index],)
        return [i for i in instances if self._facts[i].map_index == map_index]  # rows of it were deleted

    def _unexpanded(self, node: int) -> Sequence[int]:
        instances = self._instances[node]
        return instances[:1] if instances and self._facts[instances[0]].map_index < 0 else ()
