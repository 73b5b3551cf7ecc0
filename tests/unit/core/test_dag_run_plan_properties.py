"""Random DAGs with random outcomes, driven through plan and apply to the end.

Invariants: a plan is idempotent and leaves the view alone, planning from what was touched equals planning from
everything, no instance has two live tries, slots are never exceeded, what is finished stays so until cleared, and every
run ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dag_spec import DagSpec, TaskSpec
from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState, TriggerRule
from leoflowd.contract.wait_spec import ProbeSpec, WaitMode, WaitSpec, WaitTerms
from leoflowd.core.dag_run_plan import due_moments, plan_dag_run, plan_expansion, plan_outcome, plan_resume
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.decisions import Decision, Expand, FinishDagRun, Queue, Start, StartDagRun
from leoflowd.core.pool_slots import SlotLedger, SlotRequest
from leoflowd.core.run_view import InstanceFacts, RunView
from leoflowd.core.transitions import MOVES, apply, apply_to_run, clear, clear_run, replaces_try
from tests.unit.core.core_builders import NOW, S

POOLS = {"default_pool": 2, "narrow": 1}
MAX_ACTIVE_TASKS = 2
KINDS = [*OutcomeKind, OutcomeKind.SUCCESS, OutcomeKind.SUCCESS, OutcomeKind.SUCCESS, OutcomeKind.FAILED]
WAIT_ENDS = [None, OutcomeKind.SUCCESS, OutcomeKind.FAILED, OutcomeKind.FAILED_FOR_GOOD, OutcomeKind.SKIPPED]


@st.composite
def dags(draw: st.DrawFn, *, max_tasks: int = 9) -> DagSpec:
    """A DAG in which task i waits for some of the tasks before it, with any rules, setups, teardowns and retries."""
    tasks: list[TaskSpec] = []
    for index in range(draw(st.integers(1, max_tasks))):
        upstream = draw(st.lists(st.integers(0, index - 1), unique=True, max_size=3)) if index else []
        role = draw(st.sampled_from(["work"] * 6 + ["setup", "teardown"]))
        tasks.append(
            TaskSpec(
                task_id=f"t{index}",
                operator="X",
                kind=draw(st.sampled_from(["python", "python", "empty", "wait"])),
                wait=WaitSpec(
                    probe=ProbeSpec(kind="file"), terms=WaitTerms(mode=draw(st.sampled_from(list(WaitMode))))
                ),
                prepare=draw(st.sampled_from(["daemon", "daemon", "process"])),
                upstream_task_ids=tuple(f"t{up}" for up in upstream),
                trigger_rule=draw(st.sampled_from(list(TriggerRule))),
                is_setup=role == "setup",
                is_teardown=role == "teardown",
                on_failure_fail_dagrun=role == "teardown" and draw(st.booleans()),
                retries=draw(st.integers(0, 2)),
                retry_delay_s=draw(st.sampled_from([0.0, 30.0])),
                pool=draw(st.sampled_from(list(POOLS))),
                priority_weight=draw(st.integers(1, 3)),
                end_date=draw(st.sampled_from([None, None, None, NOW - timedelta(days=1)])),
            )
        )
    return DagSpec(dag_id="d", tasks=tuple(tasks), fail_fast=draw(st.sampled_from([False, False, True])))


def view_for(spec: DagSpec) -> RunView:
    shape = shape_of(spec)
    facts = [InstanceFacts(id=f"{n.spec.task_id}-0", node=n.index, max_tries=n.spec.retries) for n in shape.nodes]
    return RunView(
        dag_run_id=1, dag_id="d", run_id="r", shape=shape, state=DagRunState.RUNNING, start_date=NOW, logical_date=NOW,
        max_active_tasks=MAX_ACTIVE_TASKS, facts=facts,
    )  # fmt: skip


class Shell:
    """The scheduler without store and waiting: plans, grants slots, starts tries, takes their outcomes."""

    def __init__(self, spec: DagSpec) -> None:
        self.view = view_for(spec)
        self.now = NOW
        self.ledger = SlotLedger(POOLS)
        self.tries: dict[str, int] = {}
        """try id -> instance, for every try ever handed out"""
        self.archived: dict[str, tuple[int, int]] = {}
        """History by id; an id that is there already is not written again (cleared, skipped, cleared again)."""
        self._ids = itertools.count()
        self.plan(None)

    def plan(self, touched: list[int] | None) -> None:
        view = self.view
        before = list(view.facts)
        whole = plan_dag_run(view, self.now)
        decisions = whole if touched is None else plan_dag_run(view, self.now, touched=touched)
        assert decisions == whole, "planning from what was touched misses nothing"
        assert view.facts == before
        for decision in decisions:
            self.do(decision)
        assert plan_dag_run(view, self.now) == (), "apply(plan(x)) leaves nothing to plan"
        self.grant()

    def do(self, decision: Decision) -> None:
        view = self.view
        if isinstance(decision, StartDagRun | FinishDagRun):
            view.run = apply_to_run(view.run, decision, self.now)
            self.ledger.forget_run(1)
            return
        if isinstance(decision, Expand):
            added = view.expand(decision.node, decision.count)
            assert len(view.instances_of(decision.node)) >= decision.count
            assert all(view.facts[i].state is S.NONE for i in added)
            return
        position = decision.instance
        before = view.facts[position]
        after = apply(before, view.node_of(position), decision, self.now)
        assert after.state in MOVES[before.state] or isinstance(decision, Queue)
        if replaces_try(before, after):
            self.archive(position, before)
        view.put(position, after)
        if after.state is S.SCHEDULED:
            self.ledger.release((1, position))
            self.ledger.request(self.slot_request(position))
        elif after.state not in LIVE:
            self.ledger.withdraw((1, position))
            self.ledger.release((1, position))

    def archive(self, position: int, facts: InstanceFacts) -> None:
        known = self.archived.setdefault(facts.id, (position, facts.try_number))
        assert known == (position, facts.try_number)

    def grant(self) -> None:
        for request in self.ledger.grant():
            try_id = f"try-{next(self._ids)}"
            position = request.key[1]
            self.tries[try_id] = position
            self.do(Queue(instance=position, because="it has its slots", try_id=try_id))

    def slot_request(self, position: int) -> SlotRequest:
        node = self.view.node_of(position)
        return SlotRequest(
            key=(1, position), pool=node.spec.pool, slots=node.spec.pool_slots, priority=node.weight, since=self.now,
            dag_id="d", task_id=node.spec.task_id, run_limit=self.view.max_active_tasks,
        )  # fmt: skip

    def waiting(self) -> list[int]:
        return [i for i, facts in enumerate(self.view.facts) if facts.wait == "waiting"]

    def end_wait(self, position: int, kind: OutcomeKind | None) -> None:
        """What the pool reports: an outcome, or (None) that a deferral goes on."""
        if kind is None:
            self.do(plan_resume(self.view, position, "it fired"))
            self.plan([position])
        else:
            self.end(position, kind)

    def live(self) -> list[int]:
        return [i for i, facts in enumerate(self.view.facts) if facts.state in LIVE]

    def end(self, position: int, kind: OutcomeKind, skips: Sequence[str] = ()) -> None:
        outcome = Outcome(
            kind=kind,
            because="x",
            start_date=self.now,
            end_date=self.now,
            reschedule_at=self.now + timedelta(seconds=5),
            skips=tuple(skips),
        )
        decisions = plan_outcome(self.view, position, outcome, self.now)
        for decision in decisions:
            self.do(decision)
        self.plan([decision.instance for decision in decisions])

    def after(self, position: int) -> list[str]:
        """Task ids directly downstream, which a try may skip."""
        view = self.view
        return [view.shape.nodes[down].spec.task_id for down in view.node_of(position).downstream]

    def can_be_expanded(self) -> list[int]:
        """Nodes that wait for something, whole: lists have their lengths before anything of them runs."""
        view = self.view
        nodes = range(len(view.shape.nodes))
        return [n for n in nodes if all(view.facts[i].is_open for i in view.instances_of(n))]

    def expand(self, node: int, count: int) -> None:
        for decision in plan_expansion(self.view, node, count, "its list has a length"):
            self.do(decision)
        self.plan(list(self.view.instances_of(node)))

    def pass_time(self) -> None:
        """Jump to the next moment at which something is due."""
        due_at = min(due_moments(self.view))
        self.now = max(self.now, due_at)
        due = [i for i, f in enumerate(self.view.facts) if f.due_at is not None and f.due_at <= self.now]
        self.plan(due)

    def check(self) -> None:
        live = self.live()
        assert len(live) <= MAX_ACTIVE_TASKS
        assert all(f.wait == "" for f in self.view.facts if f.state in FINISHED or f.state is S.NONE)
        assert all(f.wait == "waiting" for f in self.view.facts if f.state is S.DEFERRED), (
            "whoever is deferred is waited for"
        )
        for pool, slots in POOLS.items():
            used = sum(self.view.node_of(i).spec.pool_slots for i in live if self.view.node_of(i).spec.pool == pool)
            assert used == self.ledger.used_slots(pool) <= slots
        ids = [self.view.facts[i].id for i in live]
        assert len(ids) == len(set(ids)), "no two instances share a try"
        assert all(self.tries[self.view.facts[i].id] == i for i in live)
        assert len(self.archived) == len(set(self.archived.values())), "no two ids stand for one try"


@settings(max_examples=150)
@given(dags(), st.randoms(use_true_random=False))
def test_every_run_ends_whatever_its_tries_do(spec: DagSpec, random: object) -> None:
    shell = Shell(spec)
    for _ in range(400):
        if shell.view.state is not DagRunState.RUNNING:
            break
        shell.check()
        live, waiting, open_nodes = shell.live(), shell.waiting(), shell.can_be_expanded()
        if open_nodes and random.random() < 0.1:  # type: ignore[attr-defined]
            shell.expand(random.choice(open_nodes), random.choice([0, 1, 2, 5]))  # type: ignore[attr-defined]
        elif waiting and (not live or random.random() < 0.3):  # type: ignore[attr-defined]
            shell.end_wait(random.choice(waiting), random.choice(WAIT_ENDS))  # type: ignore[attr-defined]
        elif live:
            position = random.choice(live)  # type: ignore[attr-defined]
            if random.random() < 0.5 and shell.view.facts[position].state is S.QUEUED:  # type: ignore[attr-defined]
                shell.do(Start(instance=position, because="it said hello", at=shell.now))
            skips = [task_id for task_id in shell.after(position) if random.random() < 0.2]  # type: ignore[attr-defined]
            shell.end(position, random.choice(KINDS), skips)  # type: ignore[attr-defined]
        else:
            shell.pass_time()
    assert shell.view.state in (DagRunState.SUCCESS, DagRunState.FAILED)
    assert not shell.ledger.occupied_count
    assert not shell.ledger.waiting_count


@given(dags())
def test_a_run_in_which_all_goes_well_ends_without_failures(spec: DagSpec) -> None:
    shell = Shell(spec)
    while shell.view.state is DagRunState.RUNNING:
        shell.end([*shell.live(), *shell.waiting()][0], OutcomeKind.SUCCESS)
    assert all(facts.state is not S.FAILED for facts in shell.view.facts)


@given(dags(), st.lists(st.sampled_from(list(TaskInstanceState)), min_size=9, max_size=9))
def test_counters_kept_by_put_equal_counters_from_scratch(spec: DagSpec, states: list[TaskInstanceState]) -> None:
    view = view_for(spec)
    for position, facts in enumerate(view.facts):
        view.put(position, InstanceFacts(id=facts.id, node=facts.node, state=states[position]))
    fresh = RunView(
        dag_run_id=1, dag_id="d", run_id="r", shape=view.shape, state=view.state, logical_date=NOW, facts=view.facts
    )
    for node in view.shape.nodes:
        assert view.upstream_counts(node.index) == fresh.upstream_counts(node.index)
        assert view.rule_verdict(node.index) == fresh.rule_verdict(node.index)
    assert view.unfinished_count == fresh.unfinished_count == len(view.unfinished())


@given(dags(), st.lists(st.sampled_from(list(TaskInstanceState)), min_size=9, max_size=9), st.data())
def test_a_view_that_has_grown_equals_one_that_is_read_anew(
    spec: DagSpec, states: list[TaskInstanceState], data: st.DataObject
) -> None:
    view = view_for(spec)
    for position, facts in enumerate(list(view.facts)):
        view.put(position, InstanceFacts(id=facts.id, node=facts.node, state=states[position]))
        if data.draw(st.booleans()):
            before = list(view.facts)
            added = view.expand(facts.node, data.draw(st.integers(1, 4)))
            assert [(f.id, f.node, f.state) for f in view.facts[: len(before)]] == [
                (f.id, f.node, f.state) for f in before
            ], "positions of what is there stay"
            for i in added:
                view.put(i, msgspec.structs.replace(view.facts[i], state=states[data.draw(st.integers(0, 8))]))
    fresh = RunView(
        dag_run_id=1, dag_id="d", run_id="r", shape=view.shape, state=view.state, logical_date=NOW, facts=view.facts
    )
    for node in view.shape.nodes:
        assert view.upstream_counts(node.index) == fresh.upstream_counts(node.index)
        assert list(view.instances_of(node.index)) == list(fresh.instances_of(node.index))
    assert [view.rule_verdict(i) for i in range(len(view.facts))] == [
        fresh.rule_verdict(i) for i in range(len(view.facts))
    ]
    assert view.unfinished_count == fresh.unfinished_count == len(view.unfinished())
    assert len({(f.node, f.map_index) for f in view.facts}) == len({f.id for f in view.facts}) == len(view.facts)


class ClearsAndOutcomes(RuleBasedStateMachine):
    """A run in which people clear tasks while tries end in any way and in any order."""

    @initialize(spec=dags(max_tasks=6))
    def begin(self, spec: DagSpec) -> None:
        self.shell = Shell(spec)
        self.finished: dict[int, InstanceFacts] = {}

    def note_finished(self) -> None:
        facts = self.shell.view.facts
        self.finished = {i: f for i, f in enumerate(facts) if f.state in FINISHED}

    @precondition(lambda self: self.shell.live())
    @rule(data=st.data(), kind=st.sampled_from(KINDS))
    def a_try_ends(self, data: st.DataObject, kind: OutcomeKind) -> None:
        self.note_finished()
        position = data.draw(st.sampled_from(self.shell.live()))
        skips = data.draw(st.lists(st.sampled_from(self.shell.after(position) or ["t0"]), max_size=2))
        self.shell.end(position, kind, skips)
        self.finished_ones_stayed_so(but=skips)

    @precondition(lambda self: self.shell.waiting())
    @rule(data=st.data(), kind=st.sampled_from(WAIT_ENDS))
    def a_wait_ends(self, data: st.DataObject, kind: OutcomeKind | None) -> None:
        self.note_finished()
        self.shell.end_wait(data.draw(st.sampled_from(self.shell.waiting())), kind)
        self.finished_ones_stayed_so()

    @precondition(lambda self: any(f.state is S.QUEUED for f in self.shell.view.facts))
    @rule(data=st.data())
    def a_try_starts(self, data: st.DataObject) -> None:
        queued = [i for i, f in enumerate(self.shell.view.facts) if f.state is S.QUEUED]
        position = data.draw(st.sampled_from(queued))
        self.shell.do(Start(instance=position, because="it said hello", at=self.shell.now))

    @precondition(
        lambda self: (
            not self.shell.live() and self.shell.view.state is DagRunState.RUNNING and due_moments(self.shell.view)
        )
    )
    @rule()
    def time_passes(self) -> None:
        self.note_finished()
        self.shell.pass_time()
        self.finished_ones_stayed_so()

    @precondition(lambda self: self.shell.view.state is DagRunState.RUNNING and self.shell.can_be_expanded())
    @rule(data=st.data(), count=st.integers(0, 3))
    def a_list_gets_its_length(self, data: st.DataObject, count: int) -> None:
        self.note_finished()
        self.shell.expand(data.draw(st.sampled_from(self.shell.can_be_expanded())), count)
        self.finished_ones_stayed_so()

    @rule(data=st.data())
    def a_person_clears(self, data: st.DataObject) -> None:
        """As the store does it: the revision moves on, so the scheduler loads a new view and plans all of it."""
        view, shell = self.shell.view, self.shell
        position = data.draw(st.integers(0, len(view.facts) - 1))
        before = view.facts[position]
        facts = list(view.facts)
        facts[position] = clear(before, view.node_of(position), because="ann cleared it")
        if replaces_try(before, facts[position]):
            shell.archive(position, before)
        run = clear_run(view.run, because="ann cleared it")
        if run.state is DagRunState.QUEUED:
            run = apply_to_run(run, StartDagRun(because="its turn"), shell.now)
        shell.view = RunView(
            dag_run_id=1, dag_id="d", run_id="r", shape=view.shape, state=run.state, start_date=run.start_date,
            logical_date=NOW, max_active_tasks=MAX_ACTIVE_TASKS, facts=facts,
        )  # fmt: skip
        shell.ledger.forget_run(1)
        for i, now_facts in enumerate(facts):
            if now_facts.state in LIVE:
                shell.ledger.occupy(shell.slot_request(i))
            elif now_facts.state is S.SCHEDULED:
                shell.ledger.request(shell.slot_request(i))
        shell.plan(None)

    def finished_ones_stayed_so(self, but: Sequence[str] = ()) -> None:
        """A branch may skip what had failed upstream."""
        view = self.shell.view
        for position, facts in self.finished.items():
            if facts.state is not S.UPSTREAM_FAILED or view.node_of(position).spec.task_id not in but:
                assert view.facts[position] is facts

    @invariant()
    def slots_and_tries_are_in_order(self) -> None:
        if hasattr(self, "shell"):
            self.shell.check()


ClearsAndOutcomes.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
TestClearsAndOutcomes = ClearsAndOutcomes.TestCase
