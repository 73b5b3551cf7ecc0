"""Random DAGs with mapped tasks and groups, with random outcomes and lengths, driven through plan and apply to the end.

The invariants are those of `test_dag_run_plan_properties`, whose shell drives them: planning from what was touched is
planning from everything, a plan leaves the view alone and leaves nothing to plan, and every run ends.
"""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, XComItem
from leoflowd.contract.dag_spec import DagSpec, MapInput, MappedSpec, TaskGroupSpec, TaskSpec
from leoflowd.contract.states import DagRunState, TriggerRule
from leoflowd.core.dag_run_plan import plan_outcome
from leoflowd.core.run_view import RunView
from tests.unit.core.core_builders import S
from tests.unit.core.test_dag_run_plan_properties import KINDS, Shell

RETURNED = [[], [1], [1, 2], [1, 2, 3], {"a": 1}, 7, None]


@st.composite
def dags(draw: st.DrawFn) -> DagSpec:
    """Each task waits for some before it, and may be mapped over them or over a literal, alone or with a group."""
    tasks: list[TaskSpec] = []
    groups: list[TaskGroupSpec] = []
    for index in range(draw(st.integers(1, 7))):
        chosen = draw(st.lists(st.integers(0, index - 1), unique=True, max_size=3)) if index else []
        upstream = [f"t{up}" for up in chosen]
        how = draw(st.sampled_from(["plain", "plain", "mapped", "group", "inside"]))
        over = draw(st.sampled_from([*upstream, ""]))
        made = MapInput(task_id=over) if over else MapInput(length=draw(st.integers(0, 3)))
        mapping = MappedSpec(inputs=(made,), needs=(over,) if over else ())
        group_id = None
        if how == "group" or (how == "inside" and not groups):
            group_id = f"g{index}"
            groups.append(TaskGroupSpec(group_id=group_id, label=group_id, mapped=mapping))
        elif how == "inside":
            group = groups[-1]
            group_id = group.group_id
            assert group.mapped is not None
            upstream = sorted({*upstream, *group.mapped.needs})
        tasks.append(
            TaskSpec(
                task_id=f"t{index}",
                operator="X",
                kind=draw(st.sampled_from(["python", "python", "python", "empty"])),
                upstream_task_ids=tuple(upstream),
                trigger_rule=draw(st.sampled_from(list(TriggerRule))),
                group_id=group_id,
                mapped=mapping if how == "mapped" else None,
                retries=draw(st.integers(0, 1)),
                retry_delay_s=0.0,
                is_setup=draw(st.sampled_from([False, False, False, True])),
            )
        )
    return DagSpec(dag_id="d", tasks=tuple(tasks), groups=tuple(groups))


class Mapping(Shell):
    """Tries also return something."""

    def end_with(self, position: int, kind: OutcomeKind, returned: object) -> None:
        xcoms = () if returned is None else (XComItem(key="return_value", value=json.dumps(returned)),)
        outcome = Outcome(
            kind=kind, because="x", start_date=self.now, end_date=self.now, reschedule_at=self.now, xcoms=xcoms
        )
        for decision in plan_outcome(self.view, position, outcome, self.now):
            self.do(decision)
        self.plan([position])


@settings(max_examples=200)
@given(dags(), st.randoms(use_true_random=False))
def test_every_run_ends_whatever_its_lengths_are(spec: DagSpec, random: object) -> None:
    shell = Mapping(spec)
    for _ in range(400):
        if shell.view.state is not DagRunState.RUNNING:
            break
        shell.check()
        live, waiting = shell.live(), shell.waiting()
        if live:
            position = random.choice(live)  # type: ignore[attr-defined]
            shell.end_with(position, random.choice(KINDS), random.choice(RETURNED))  # type: ignore[attr-defined]
        elif waiting:
            shell.end_wait(waiting[0], OutcomeKind.SUCCESS)
        else:
            shell.pass_time()
    assert shell.view.state in (DagRunState.SUCCESS, DagRunState.FAILED)


@given(dags(), st.randoms(use_true_random=False))
def test_a_view_that_was_expanded_equals_one_that_is_read_anew(spec: DagSpec, random: object) -> None:
    shell = Mapping(spec)
    for _ in range(30):
        live = shell.live()
        if not live or shell.view.state is not DagRunState.RUNNING:
            break
        shell.end_with(random.choice(live), OutcomeKind.SUCCESS, random.choice(RETURNED))  # type: ignore[attr-defined]
        view = shell.view
        fresh = RunView(
            dag_run_id=1, dag_id="d", run_id="r", shape=view.shape, state=view.state, facts=view.facts,
            logical_date=view.logical_date,
        )  # fmt: skip
        assert [view.rule_verdict(i) for i in range(len(view.facts))] == [
            fresh.rule_verdict(i) for i in range(len(view.facts))
        ]
        for node in view.shape.nodes:
            assert list(view.instances_of(node.index)) == list(fresh.instances_of(node.index))
            assert view.upstream_counts(node.index) == fresh.upstream_counts(node.index)
            if node.mapped is not None:
                assert view.length_of(node.index) == fresh.length_of(node.index)
            assert view.open_of(node.index) == fresh.open_of(node.index)
        assert view.count(S.NONE) == fresh.count(S.NONE)
