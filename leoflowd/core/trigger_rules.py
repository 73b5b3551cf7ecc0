"""The thirteen trigger rules of Airflow 3: given the states upstream, may a task run?

Pure and total: `evaluate` is the table, `evaluate_task` adds what setups and teardowns demand. Behaviour as Airflow
3.2's `TriggerRuleDep`; in particular a skip or failure upstream decides `all_success` at once, without waiting for the
rest, and `one_success`, `one_failed`, `one_done` run at once. A failed task with retries left is up_for_retry: not
finished, so not counted here. Called by `RunView` for `dag_run_plan` and `explain`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import msgspec

from leoflowd.contract.states import TaskInstanceState, TriggerRule
from leoflowd.core.dag_shape import TaskNode


class Verdict(Enum):
    RUN = "run"
    WAIT = "wait"
    SKIP = "skip"
    UPSTREAM_FAIL = "upstream_fail"
    REMOVE = "remove"


class RuleVerdict(msgspec.Struct, frozen=True):
    verdict: Verdict
    because: str


class UpstreamCounts(msgspec.Struct):
    """How many upstream instances there are and how they ended. Mutable: `RunView` keeps one per task up to date."""

    total: int = 0
    success: int = 0
    skipped: int = 0
    failed: int = 0
    upstream_failed: int = 0
    removed: int = 0
    setup_total: int = 0
    setup_success: int = 0
    setup_skipped: int = 0

    @property
    def done(self) -> int:
        return self.success + self.skipped + self.failed + self.upstream_failed + self.removed

    @property
    def bad(self) -> int:
        return self.failed + self.upstream_failed

    def include(self, others: UpstreamCounts, *, is_setup: bool) -> None:
        """Count all instances of one more upstream node."""
        for name in ("total", "success", "skipped", "failed", "upstream_failed", "removed"):
            setattr(self, name, getattr(self, name) + getattr(others, name))
        if is_setup:
            self.setup_total += others.total
            self.setup_success += others.success
            self.setup_skipped += others.skipped

    def add(self, state: TaskInstanceState, *, is_setup: bool, by: int) -> None:
        """Count an upstream instance that reached (`by=1`) or left (`by=-1`) a finished state."""
        match state:
            case TaskInstanceState.SUCCESS:
                self.success += by
                self.setup_success += by if is_setup else 0
            case TaskInstanceState.SKIPPED:
                self.skipped += by
                self.setup_skipped += by if is_setup else 0
            case TaskInstanceState.FAILED:
                self.failed += by
            case TaskInstanceState.UPSTREAM_FAILED:
                self.upstream_failed += by
            case TaskInstanceState.REMOVED:
                self.removed += by
            case _:
                raise AssertionError(f"{state} is not a finished state")


FAST_RULES = frozenset({TriggerRule.ONE_SUCCESS, TriggerRule.ONE_FAILED, TriggerRule.ONE_DONE})
"""They run as soon as one upstream instance allows it."""

NO_UPSTREAM = RuleVerdict(Verdict.RUN, "nothing is upstream of it")


def evaluate_task(
    node: TaskNode, direct: UpstreamCounts, setups: UpstreamCounts, scope_open: int, *, map_index: int = -1
) -> RuleVerdict:
    """Trigger rule, setups above and a teardown's scope together. `scope_open`: in-scope instances not finished."""
    if direct.total == 0:
        return NO_UPSTREAM
    rule = node.spec.trigger_rule
    if rule is TriggerRule.ALWAYS:
        return evaluate(rule, direct)
    setup_verdict = _setups_above(setups, map_index)
    if setup_verdict is not None and setup_verdict.verdict is not Verdict.WAIT:
        return setup_verdict
    verdict = evaluate(rule, direct, map_index=map_index)
    if verdict.verdict is not Verdict.RUN:
        return verdict
    if setup_verdict is not None:
        return setup_verdict
    if scope_open > 0:
        return _wait(f"teardown waits for {scope_open} task(s) between its setups and itself")
    return verdict


def evaluate(rule: TriggerRule, counts: UpstreamCounts, *, map_index: int = -1) -> RuleVerdict:
    """The verdict of one rule over its direct upstream; `map_index` >= 0 for an instance of a mapped task."""
    if counts.total == 0:
        return NO_UPSTREAM
    return _RULES[rule](counts, map_index)


def _all_success(counts: UpstreamCounts, map_index: int) -> RuleVerdict:
    if counts.bad:
        return _upstream_fail(f"all_success: {counts.bad} of {counts.total} upstream failed")
    if counts.skipped:
        return _skip(f"all_success: {counts.skipped} of {counts.total} upstream were skipped")
    if map_index >= counts.success and counts.removed and counts.success:
        return RuleVerdict(Verdict.REMOVE, f"all_success: its upstream has only {counts.success} instance(s)")
    if counts.success + _ignorable(counts, map_index) >= counts.total:
        return _run(f"all_success: all {counts.total} upstream succeeded")
    return _wait(f"all_success: {counts.total - counts.success} of {counts.total} upstream have not succeeded")


def _all_failed(counts: UpstreamCounts, map_index: int) -> RuleVerdict:
    if counts.success or counts.skipped:
        return _skip(f"all_failed: {counts.success + counts.skipped} of {counts.total} upstream did not fail")
    if counts.bad + _ignorable(counts, map_index) >= counts.total:
        return _run(f"all_failed: all {counts.total} upstream failed")
    return _wait(f"all_failed: {counts.total - counts.bad} of {counts.total} upstream have not failed")


def _all_done(counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    if counts.done >= counts.total:
        return _run(f"all_done: all {counts.total} upstream are done")
    return _wait_done("all_done", counts)


def _all_done_min_one_success(counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    if counts.skipped:
        return _skip(f"all_done_min_one_success: {counts.skipped} of {counts.total} upstream were skipped")
    if counts.done < counts.total:
        return _wait_done("all_done_min_one_success", counts)
    if not counts.success:
        return _upstream_fail(f"all_done_min_one_success: none of {counts.total} upstream succeeded")
    return _run(f"all_done_min_one_success: all {counts.total} upstream are done, {counts.success} with success")


def _all_done_setup_success(counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    if counts.done < counts.total:
        return _wait_done("all_done_setup_success", counts)
    if counts.setup_total and counts.setup_skipped >= counts.setup_total:
        return _skip(f"all_done_setup_success: all {counts.setup_total} setup(s) were skipped")
    if counts.setup_total and not counts.setup_success:
        return _upstream_fail(f"all_done_setup_success: none of {counts.setup_total} setup(s) succeeded")
    return _run(f"all_done_setup_success: all {counts.total} upstream are done")


def _all_skipped(counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    if counts.success or counts.bad:
        return _skip(f"all_skipped: {counts.success + counts.bad} of {counts.total} upstream were not skipped")
    if counts.skipped >= counts.total:
        return _run(f"all_skipped: all {counts.total} upstream were skipped")
    return _wait(f"all_skipped: {counts.total - counts.skipped} of {counts.total} upstream are not skipped")


def _one_success(counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    if counts.success:
        return _run(f"one_success: {counts.success} of {counts.total} upstream succeeded")
    if counts.done < counts.total:
        return _wait(f"one_success: none of {counts.total} upstream has succeeded yet")
    if counts.skipped == counts.done:
        return _skip(f"one_success: all {counts.total} upstream were skipped")
    return _upstream_fail(f"one_success: none of {counts.total} upstream succeeded")


def _one_failed(counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    if counts.bad:
        return _run(f"one_failed: {counts.bad} of {counts.total} upstream failed")
    if counts.done >= counts.total:
        return _skip(f"one_failed: none of {counts.total} upstream failed")
    return _wait(f"one_failed: none of {counts.total} upstream has failed yet")


def _one_done(counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    if counts.success or counts.failed:
        return _run(f"one_done: {counts.success + counts.failed} of {counts.total} upstream ran to an end")
    if counts.done >= counts.total:
        return _skip(f"one_done: none of {counts.total} upstream ran")
    return _wait(f"one_done: none of {counts.total} upstream has ended yet")


def _none_failed(counts: UpstreamCounts, map_index: int) -> RuleVerdict:
    if counts.bad:
        return _upstream_fail(f"none_failed: {counts.bad} of {counts.total} upstream failed")
    if counts.success + counts.skipped + _ignorable(counts, map_index) >= counts.total:
        return _run(f"none_failed: all {counts.total} upstream succeeded or were skipped")
    return _wait_done("none_failed", counts)


def _none_failed_min_one_success(counts: UpstreamCounts, map_index: int) -> RuleVerdict:
    if counts.bad:
        return _upstream_fail(f"none_failed_min_one_success: {counts.bad} of {counts.total} upstream failed")
    if counts.skipped == counts.total:
        return _skip(f"none_failed_min_one_success: all {counts.total} upstream were skipped")
    if counts.success + counts.skipped + _ignorable(counts, map_index) >= counts.total:
        return _run(f"none_failed_min_one_success: none of {counts.total} upstream failed, {counts.success} succeeded")
    return _wait_done("none_failed_min_one_success", counts)


def _none_skipped(counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    if counts.skipped:
        return _skip(f"none_skipped: {counts.skipped} of {counts.total} upstream were skipped")
    if counts.done >= counts.total:
        return _run(f"none_skipped: all {counts.total} upstream are done, none was skipped")
    return _wait_done("none_skipped", counts)


def _always(_counts: UpstreamCounts, _map_index: int) -> RuleVerdict:
    return _run("always: it waits for nobody")


_RULES: dict[TriggerRule, Callable[[UpstreamCounts, int], RuleVerdict]] = {
    TriggerRule.ALL_SUCCESS: _all_success,
    TriggerRule.ALL_FAILED: _all_failed,
    TriggerRule.ALL_DONE: _all_done,
    TriggerRule.ALL_DONE_MIN_ONE_SUCCESS: _all_done_min_one_success,
    TriggerRule.ALL_DONE_SETUP_SUCCESS: _all_done_setup_success,
    TriggerRule.ALL_SKIPPED: _all_skipped,
    TriggerRule.ONE_SUCCESS: _one_success,
    TriggerRule.ONE_FAILED: _one_failed,
    TriggerRule.ONE_DONE: _one_done,
    TriggerRule.NONE_FAILED: _none_failed,
    TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: _none_failed_min_one_success,
    TriggerRule.NONE_SKIPPED: _none_skipped,
    TriggerRule.ALWAYS: _always,
}


def _setups_above(setups: UpstreamCounts, map_index: int) -> RuleVerdict | None:
    """What the setups above the direct upstream demand; None when they are content or there are none."""
    if setups.bad:
        return _upstream_fail(f"{setups.bad} of the setups it needs failed")
    if setups.skipped:
        return _skip(f"{setups.skipped} of the setups it needs were skipped")
    if map_index >= setups.success and setups.removed and setups.success:
        return RuleVerdict(Verdict.REMOVE, f"its setup has only {setups.success} instance(s)")
    if setups.success + _ignorable(setups, map_index) < setups.total:
        return _wait(f"{setups.total - setups.success} of {setups.total} setups it needs have not succeeded")
    return None


def _ignorable(counts: UpstreamCounts, map_index: int) -> int:
    """Removed upstream instances stand in nobody's way only where the waiting task is itself mapped."""
    return counts.removed if map_index >= 0 else 0


def _wait_done(rule: str, counts: UpstreamCounts) -> RuleVerdict:
    if counts.done >= counts.total:
        return _wait(f"{rule}: {counts.removed} of {counts.total} upstream were removed")
    return _wait(f"{rule}: {counts.total - counts.done} of {counts.total} upstream are not done")


def _run(because: str) -> RuleVerdict:
    return RuleVerdict(Verdict.RUN, because)


def _wait(because: str) -> RuleVerdict:
    return RuleVerdict(Verdict.WAIT, because)


def _skip(because: str) -> RuleVerdict:
    return RuleVerdict(Verdict.SKIP, because)


def _upstream_fail(because: str) -> RuleVerdict:
    return RuleVerdict(Verdict.UPSTREAM_FAIL, because)
