"""What holds for every trigger rule over any upstream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.states import FINISHED, TaskInstanceState, TriggerRule
from leoflowd.core.trigger_rules import UpstreamCounts, Verdict, evaluate

rules = st.sampled_from(list(TriggerRule))
upstreams = st.lists(st.tuples(st.sampled_from(list(TaskInstanceState)), st.booleans()), max_size=12)
ends = st.sampled_from([state for state in TaskInstanceState if state in FINISHED and state != "removed"])
Upstream = list[tuple[TaskInstanceState, bool]]


def counts_of(upstream: Upstream) -> UpstreamCounts:
    counts = UpstreamCounts(total=len(upstream), setup_total=sum(is_setup for _, is_setup in upstream))
    for state, is_setup in upstream:
        if state in FINISHED:
            counts.add(state, is_setup=is_setup, by=1)
    return counts


@given(rules, st.lists(st.tuples(ends, st.booleans()), max_size=12))
def test_when_all_upstream_is_done_nobody_waits(rule: TriggerRule, upstream: Upstream) -> None:
    assert evaluate(rule, counts_of(upstream)).verdict is not Verdict.WAIT


@given(rules, upstreams, ends)
def test_a_verdict_other_than_wait_taken_early_is_not_turned_into_waiting(
    rule: TriggerRule, upstream: Upstream, end: TaskInstanceState
) -> None:
    """More upstream finishing may change a verdict, but never take back that there is one."""
    open_ones = [at for at, (state, _) in enumerate(upstream) if state not in FINISHED]
    if not open_ones or evaluate(rule, counts_of(upstream)).verdict is Verdict.WAIT:
        return
    later = list(upstream)
    later[open_ones[0]] = (end, later[open_ones[0]][1])
    assert evaluate(rule, counts_of(later)).verdict is not Verdict.WAIT


@given(rules, upstreams)
def test_the_order_of_upstream_does_not_matter(rule: TriggerRule, upstream: Upstream) -> None:
    assert evaluate(rule, counts_of(upstream)) == evaluate(rule, counts_of(list(reversed(upstream))))


@given(upstreams)
def test_counting_in_and_out_again_leaves_nothing(upstream: Upstream) -> None:
    counts = UpstreamCounts()
    for by in (1, -1):
        for state, is_setup in upstream:
            if state in FINISHED:
                counts.add(state, is_setup=is_setup, by=by)
    assert counts == UpstreamCounts()
