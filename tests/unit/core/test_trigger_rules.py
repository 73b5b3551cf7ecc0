"""Trigger rules: a table to read, Airflow's own answers as an oracle, and setups and teardowns."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from leoflowd.contract.states import FINISHED, TaskInstanceState, TriggerRule
from leoflowd.core.dag_shape import TaskNode
from leoflowd.core.trigger_rules import UpstreamCounts, Verdict, evaluate, evaluate_task
from tests.unit.core.core_builders import S, task

ORACLE = json.loads((Path(__file__).parent / "oracle" / "trigger_rules.json").read_text())
STATES = tuple(TaskInstanceState(state) for state in ORACLE["states"])
LETTERS = {
    "R": Verdict.RUN,
    ".": Verdict.WAIT,
    "S": Verdict.SKIP,
    "U": Verdict.UPSTREAM_FAIL,
    "X": Verdict.REMOVE,
}

WORDS = {"ok": S.SUCCESS, "bad": S.FAILED, "up": S.UPSTREAM_FAILED, "skip": S.SKIPPED, "open": S.RUNNING}


def counts_of(states: Iterable[TaskInstanceState], *, setups: bool = False) -> UpstreamCounts:
    counts = UpstreamCounts()
    for state in states:
        counts.total += 1
        counts.setup_total += setups
        if state in FINISHED:
            counts.add(state, is_setup=setups, by=1)
    return counts


# Each row: what the rule says for each of these upstream states.
COLUMNS = ("ok ok", "ok open", "skip open", "bad open", "up open", "skip skip", "bad bad", "ok skip", "ok bad")
TABLE = {
    TriggerRule.ALL_SUCCESS: "R . S U U S U S U",
    TriggerRule.ALL_FAILED: "S S S . . S R S S",
    TriggerRule.ALL_DONE: "R . . . . R R R R",
    TriggerRule.ALL_DONE_MIN_ONE_SUCCESS: "R . S . . S U S R",
    TriggerRule.ALL_DONE_SETUP_SUCCESS: "R . . . . R R R R",
    TriggerRule.ALL_SKIPPED: "S S . S S R S S S",
    TriggerRule.ONE_SUCCESS: "R R . . . S U R R",
    TriggerRule.ONE_FAILED: "S . . R R S R S R",
    TriggerRule.ONE_DONE: "R R . R . S R R R",
    TriggerRule.NONE_FAILED: "R . . U U R U R U",
    TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: "R . . U U S U R U",
    TriggerRule.NONE_SKIPPED: "R . S . . S R S R",
    TriggerRule.ALWAYS: "R R R R R R R R R",
}


@pytest.mark.parametrize(
    ("rule", "upstream", "letter"),
    [(rule, column, row.split()[at]) for rule, row in TABLE.items() for at, column in enumerate(COLUMNS)],
)
def test_the_rule_says_what_the_table_says(rule: TriggerRule, upstream: str, letter: str) -> None:
    assert evaluate(rule, counts_of(WORDS[word] for word in upstream.split())).verdict is LETTERS[letter]


@pytest.mark.parametrize("rule", TriggerRule)
def test_airflow_gives_the_same_verdict_for_up_to_three_upstream(rule: TriggerRule) -> None:
    combinations = [c for n in range(4) for c in itertools.combinations_with_replacement(STATES, n)]
    answers = ORACLE["direct_0_to_3"][rule.value]
    assert "".join(letter_of(evaluate(rule, counts_of(states)).verdict) for states in combinations) == answers


@pytest.mark.parametrize("rule", TriggerRule)
def test_airflow_gives_the_same_verdict_for_an_instance_of_a_mapped_task(rule: TriggerRule) -> None:
    combinations = [c for n in (2, 3) for c in itertools.combinations_with_replacement(STATES, n)]
    answers = ORACLE["map_index_2_direct_2_to_3"][rule.value]
    said = "".join(letter_of(evaluate(rule, counts_of(states), map_index=2).verdict) for states in combinations)
    assert said == answers


@pytest.mark.parametrize("rule", TriggerRule)
def test_airflow_gives_the_same_verdict_with_a_setup_further_up(rule: TriggerRule) -> None:
    node = TaskNode(index=0, spec=task("t", trigger_rule=rule))
    said = "".join(
        letter_of(evaluate_task(node, counts_of([up]), counts_of([setup], setups=True), 0).verdict)
        for up, setup in itertools.product(STATES, STATES)
    )
    assert said == ORACLE["one_upstream_times_one_indirect_setup"][rule.value]


@pytest.mark.parametrize("rule", TriggerRule)
def test_airflow_gives_the_same_verdict_with_a_setup_among_the_upstream(rule: TriggerRule) -> None:
    def verdict(setup: TaskInstanceState, up: TaskInstanceState) -> Verdict:
        counts = counts_of([up])
        counts.total, counts.setup_total = 2, 1
        if setup in FINISHED:
            counts.add(setup, is_setup=True, by=1)
        return evaluate(rule, counts).verdict

    said = "".join(letter_of(verdict(setup, up)) for setup, up in itertools.product(STATES, STATES))
    assert said == ORACLE["one_direct_setup_times_one_upstream"][rule.value]


@pytest.mark.parametrize("rule", TriggerRule)
def test_a_task_with_nothing_upstream_runs(rule: TriggerRule) -> None:
    assert evaluate(rule, UpstreamCounts()).verdict is Verdict.RUN


def test_a_teardown_waits_for_the_tasks_between_its_setup_and_itself() -> None:
    node = TaskNode(index=0, spec=task("t", is_teardown=True, trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS))
    direct = counts_of([S.SUCCESS], setups=True)
    assert evaluate_task(node, direct, UpstreamCounts(), 1).verdict is Verdict.WAIT
    assert evaluate_task(node, direct, UpstreamCounts(), 0).verdict is Verdict.RUN


def test_the_verdict_names_the_rule_and_the_numbers() -> None:
    ruling = evaluate(TriggerRule.ALL_SUCCESS, counts_of([S.SUCCESS, S.FAILED, S.RUNNING]))
    assert ruling.because == "all_success: 1 of 3 upstream failed"


def letter_of(verdict: Verdict) -> str:
    return next(letter for letter, named in LETTERS.items() if named is verdict)
