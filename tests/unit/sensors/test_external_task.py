"""Waiting for other dag runs: which questions are asked, and what their answers mean (as in Airflow 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from leoflow_sensors.external_task import (
    KIND,
    QUESTIONS_MAX,
    ExternalTaskPredicate,
    ExternalTaskSpec,
    judge,
    poke,
    poke_many,
    questions_of,
    watch,
)
from leoflow_sensors.kinds import Observation, ProbeFailed, ProbeThrottled, Verdict
from leoflowd.contract.dag_facts import StatesAnswer, StatesQuestion
from leoflowd.contract.errors import StoreUnavailable
from tests.fakes.probe_context import Context

DATE = "2026-11-21T03:00:00+00:00"
OTHER_DATE = "2026-11-20T03:00:00+00:00"


def spec(**fields: Any) -> ExternalTaskSpec:
    return msgspec.convert({"dag_id": "etl", "logical_dates": [DATE], **fields}, ExternalTaskSpec)


def answer(expected: int = 1, **counts: int) -> StatesAnswer:
    return StatesAnswer(counts=counts, expected=expected)


@dataclass
class Facts:
    """Answers in their order; what was asked, statement by statement."""

    answers: list[StatesAnswer]
    asked: list[Sequence[StatesQuestion]] = field(default_factory=list)

    async def count_states(self, questions: Sequence[StatesQuestion]) -> Sequence[StatesAnswer]:
        self.asked.append(questions)
        return [self.answers.pop(0) for _ in questions]


async def see(asked: ExternalTaskSpec, *answers: StatesAnswer) -> Observation:
    return await poke(asked, Context(dag_facts=Facts(list(answers))))


async def verdict(asked: ExternalTaskSpec, *answers: StatesAnswer, **predicate: Any) -> Verdict:
    return judge(msgspec.convert(predicate, ExternalTaskPredicate), await see(asked, *answers))


# --- questions ---------------------------------------------------------------------------------------------------


def test_the_delta_leads_to_earlier_runs() -> None:
    (question,) = questions_of(spec(minus_s=86400))
    assert [date.isoformat() for date in question.logical_dates] == ["2026-11-20T03:00:00+00:00"]


def test_a_date_that_is_named_twice_is_one_run() -> None:
    (question,) = questions_of(spec(logical_dates=[DATE, "2026-11-21T04:00:00+01:00"]))
    assert len(question.logical_dates) == 1


def test_tasks_of_several_runs_are_one_question() -> None:
    (question,) = questions_of(spec(task_ids=["a", "b"], logical_dates=[DATE, OTHER_DATE]))
    assert (question.task_ids, len(question.logical_dates)) == (("a", "b"), 2)


def test_a_group_is_a_question_per_run() -> None:
    asked = questions_of(spec(task_group_id="g", logical_dates=[DATE, OTHER_DATE]))
    assert [len(question.logical_dates) for question in asked] == [1, 1]


def test_a_group_in_runs_by_id_is_a_question_per_run() -> None:
    asked = questions_of(spec(task_group_id="g", logical_dates=[], run_ids=["r1", "r2"]))
    assert [question.run_ids for question in asked] == [("r1",), ("r2",)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"logical_dates": []}, "either logical_dates or run_ids"),
        ({"run_ids": ["r"]}, "either logical_dates or run_ids"),
        ({"task_ids": ["a"], "task_group_id": "g"}, "not for both"),
        ({"task_ids": ["a", "a"]}, "twice"),
        ({"logical_dates": ["yesterday"]}, "no moment"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_when_the_spec_is_read(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        spec(**fields)


async def test_many_waits_are_one_statement() -> None:
    facts = Facts([answer(success=1) for _ in range(30)])
    found = await poke_many([spec(dag_id=f"d{n}") for n in range(30)], Context(dag_facts=facts))
    assert (len(facts.asked), len(found)) == (1, 30)


async def test_a_statement_has_a_largest_size() -> None:
    facts = Facts([answer() for _ in range(QUESTIONS_MAX + 1)])
    await poke_many([spec() for _ in range(QUESTIONS_MAX + 1)], Context(dag_facts=facts))
    assert [len(asked) for asked in facts.asked] == [QUESTIONS_MAX, 1]


async def test_each_wait_gets_the_answers_to_its_own_questions() -> None:
    specs = [spec(), spec(task_group_id="g", logical_dates=[DATE, OTHER_DATE]), spec(task_ids=["a"])]
    facts = Facts([answer(queued=1), answer(success=1), answer(failed=2), answer(running=1)])
    found = await poke_many(specs, Context(dag_facts=facts))
    seen = [one.value.answers for one in found if isinstance(one, Observation)]
    assert [[a.counts for a in some] for some in seen] == [
        [{"queued": 1}],
        [{"success": 1}, {"failed": 2}],
        [{"running": 1}],
    ]


async def test_while_our_own_database_is_away_nobody_fails() -> None:
    class Away(Facts):
        async def count_states(self, questions: Sequence[StatesQuestion]) -> Sequence[StatesAnswer]:
            raise StoreUnavailable("gone")

    with pytest.raises(ProbeThrottled, match="cannot be read now: gone"):
        await poke(spec(), Context(dag_facts=Away([])))


# --- runs and tasks ----------------------------------------------------------------------------------------------


async def test_a_run_is_met_in_an_allowed_state() -> None:
    assert (await verdict(spec(), answer(success=1))).met


async def test_success_is_allowed_by_default_and_nothing_else() -> None:
    assert not (await verdict(spec(), answer(failed=1))).met


async def test_a_run_that_does_not_exist_yet_is_waited_for() -> None:
    assert await verdict(spec(), answer()) == Verdict(met=False)


async def test_all_tasks_in_all_runs_must_be_allowed() -> None:
    asked = spec(task_ids=["a", "b"], logical_dates=[DATE, OTHER_DATE])
    assert not (await verdict(asked, answer(4, success=3, running=1))).met
    assert (await verdict(asked, answer(4, success=4))).met


async def test_any_allowed_state_counts() -> None:
    asked = spec(task_ids=["a", "b"])
    assert (await verdict(asked, answer(2, success=1, skipped=1), allowed_states=["success", "skipped"])).met


async def test_one_failed_instance_ends_the_wait() -> None:
    found = await verdict(spec(task_ids=["a", "b"]), answer(2, success=1, failed=1), failed_states=["failed"])
    assert (found.met, found.failure) == (False, "the wait for a, b of dag etl is over: it came to one of failed")


async def test_one_instance_in_a_skipped_state_skips() -> None:
    found = await verdict(spec(task_ids=["a", "b"]), answer(2, skipped=1), skipped_states=["skipped"])
    assert (found.met, found.failure) == (False, None)
    assert found.skip == "a, b of dag etl came to one of skipped, at which this task is skipped"


async def test_failed_goes_before_skipped() -> None:
    found = await verdict(
        spec(task_ids=["a", "b"]), answer(2, skipped=1, failed=1), failed_states=["failed"], skipped_states=["skipped"]
    )
    assert (found.failure is not None, found.skip) == (True, None)


async def test_failed_goes_before_allowed() -> None:
    found = await verdict(spec(), answer(failed=1), allowed_states=["failed"], failed_states=["failed"])
    assert found.failure is not None


@pytest.mark.parametrize(("state", "status"), [("success", "success"), ("failed", "failed"), ("skipped", "skipped")])
async def test_the_event_is_workflow_triggers(state: str, status: str) -> None:
    found = await verdict(
        spec(task_ids=["a"]), answer(**{state: 1}), failed_states=["failed"], skipped_states=["skipped"]
    )
    assert found.event == {"status": status}


# --- groups ------------------------------------------------------------------------------------------------------


async def test_a_group_is_met_when_all_its_instances_are() -> None:
    asked = spec(task_group_id="g")
    assert not (await verdict(asked, answer(3, success=2, running=1))).met
    assert (await verdict(asked, answer(3, success=3))).met


async def test_a_group_in_several_runs_must_be_done_in_each() -> None:
    asked = spec(task_group_id="g", logical_dates=[DATE, OTHER_DATE])
    assert await verdict(asked, answer(1, success=1), answer(1)) == Verdict(met=False)
    assert (await verdict(asked, answer(1, success=1), answer(1, success=1))).met


async def test_a_group_in_a_run_that_does_not_exist_yet_is_waited_for() -> None:
    found = await verdict(spec(task_group_id="g"), answer(2), failed_states=["failed"], skipped_states=["skipped"])
    assert found == Verdict(met=False)


async def test_a_group_has_failed_only_when_all_of_it_has() -> None:
    asked = spec(task_group_id="g")
    partly = await verdict(asked, answer(2, failed=1, success=1), failed_states=["failed"])
    wholly = await verdict(asked, answer(2, failed=1, upstream_failed=1), failed_states=["failed", "upstream_failed"])
    assert (partly.failure is None, wholly.failure is not None) == (True, True)


async def test_a_group_that_does_not_exist_is_an_error_even_unchecked() -> None:
    missing = StatesAnswer(counts={}, expected=0, missing_tasks=("g",))
    with pytest.raises(ProbeFailed, match="dag 'etl' has no task group 'g'"):
        await see(spec(task_group_id="g"), missing)


# --- existence ---------------------------------------------------------------------------------------------------

NO_DAG = StatesAnswer(counts={}, expected=1, dag_exists=False)
NO_TASK = StatesAnswer(counts={}, expected=2, missing_tasks=("b",))


async def test_what_does_not_exist_is_waited_for() -> None:
    assert await verdict(spec(), NO_DAG) == Verdict(met=False)
    assert await verdict(spec(task_ids=["a", "b"]), NO_TASK) == Verdict(met=False)


async def test_a_missing_dag_fails_when_existence_is_checked() -> None:
    found = await verdict(spec(), NO_DAG, check_existence=True)
    assert found.failure is not None
    assert "there is no such DAG" in found.failure


async def test_a_missing_task_fails_when_existence_is_checked() -> None:
    found = await verdict(spec(task_ids=["a", "b"]), NO_TASK, check_existence=True)
    assert found.failure is not None
    assert "the DAG has no task 'b'" in found.failure


async def test_what_exists_is_waited_for_when_existence_is_checked() -> None:
    assert await verdict(spec(), answer(running=1), check_existence=True) == Verdict(met=False)


# --- for people, and push ----------------------------------------------------------------------------------------


async def test_a_look_says_how_far_the_others_are() -> None:
    assert (await see(spec(task_ids=["a", "b"]), answer(2, success=1, running=1))).summary == (
        "1 running, 1 success (of 2)"
    )
    assert (await see(spec(), answer())).summary == "nothing there yet (of 1)"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "dag etl"),
        ({"task_ids": ["a", "b"]}, "a, b of dag etl"),
        ({"task_group_id": "g"}, "task group g of dag etl"),
    ],
)
def test_a_wait_says_what_it_waits_for(fields: dict[str, Any], text: str) -> None:
    assert KIND.describe(spec(**fields)) == text


def test_whatever_finishes_in_the_dag_wakes_the_wait() -> None:
    subscribed: list[tuple[str, Callable[[], None]]] = []

    class Watcher:
        def dag(self, dag_id: str, wake: Callable[[], None]) -> Callable[[], None]:
            subscribed.append((dag_id, wake))
            return subscribed.clear

    def wake() -> None:
        """The pool's."""

    end = watch(spec(), Watcher(), wake)  # type: ignore[arg-type]  # the one source that it uses
    assert subscribed == [("etl", wake)]
    end()
    assert subscribed == []
