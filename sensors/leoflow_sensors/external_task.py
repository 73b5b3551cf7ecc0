"""Kind `external_task`: tasks, a task group or whole runs of another DAG are in certain states.

Airflow's ExternalTaskSensor (3.2), the waiting half of TriggerDagRunOperator, and WorkflowTrigger. Nothing is polled in
earnest: the scheduler says which DAGs had something finish (`Watcher.dag`), and one statement answers for all who ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from leoflow_sensors.kinds import (
    KindSpec,
    Observation,
    ProbeContext,
    ProbeFailed,
    ProbeThrottled,
    SensorKind,
    Verdict,
    Watcher,
)
from leoflow_sensors.moments import parse_moment
from leoflowd.contract.dag_facts import StatesAnswer, StatesQuestion
from leoflowd.contract.errors import StoreUnavailable

QUESTIONS_MAX = 500
"""In one statement."""
TARGET = "postgres://leoflow"
"""Our own database, whatever DAG is asked for."""


class ExternalTaskSpec(KindSpec, frozen=True, kw_only=True):
    """Whose states, in which runs. Neither `task_ids` nor `task_group_id`: the dag runs themselves."""

    dag_id: str
    task_ids: tuple[str, ...] = ()
    task_group_id: str | None = None
    logical_dates: tuple[str, ...] = ()
    """ISO; or `run_ids`."""
    run_ids: tuple[str, ...] = ()
    minus_s: float = 0.0
    """Airflow's execution_delta: the other runs are so much earlier than `logical_dates`."""

    def __post_init__(self) -> None:
        if bool(self.logical_dates) == bool(self.run_ids):
            raise ValueError("external_task needs either logical_dates or run_ids, to know which runs it waits for")
        if self.task_ids and self.task_group_id is not None:
            raise ValueError("external_task waits for task_ids or for a task_group_id, not for both")
        if len(set(self.task_ids)) != len(self.task_ids):
            raise ValueError("external_task has a task id twice in task_ids; name each once")
        for text in self.logical_dates:
            parse_moment(text)


class ExternalTaskPredicate(KindSpec, frozen=True, kw_only=True):
    """Failed states are looked at first, then skipped ones, then allowed ones."""

    allowed_states: tuple[str, ...] = ("success",)
    failed_states: tuple[str, ...] = ()
    skipped_states: tuple[str, ...] = ()
    check_existence: bool = False
    """A DAG, task or group that does not exist ends the wait."""


class SeenStates(msgspec.Struct, frozen=True, kw_only=True):
    """`Observation.value` of this kind."""

    what: str
    answers: tuple[StatesAnswer, ...]
    """For a group one per run, else one for all."""
    is_group: bool


def questions_of(spec: ExternalTaskSpec) -> tuple[StatesQuestion, ...]:
    """A group is judged run by run, as in Airflow: it is as far as all its tasks in one run."""
    minus = timedelta(seconds=spec.minus_s)
    dates = tuple(dict.fromkeys(parse_moment(text) - minus for text in spec.logical_dates))
    whole = StatesQuestion(
        dag_id=spec.dag_id,
        task_ids=spec.task_ids,
        task_group_id=spec.task_group_id,
        logical_dates=dates,
        run_ids=tuple(dict.fromkeys(spec.run_ids)),
    )
    if spec.task_group_id is None:
        return (whole,)
    by_date = [msgspec.structs.replace(whole, logical_dates=(date,)) for date in dates]
    return (*by_date, *(msgspec.structs.replace(whole, run_ids=(run_id,)) for run_id in whole.run_ids))


async def poke(spec: ExternalTaskSpec, context: ProbeContext) -> Observation:
    (answer,) = await poke_many([spec], context)
    if isinstance(answer, Exception):
        raise answer
    return answer


async def poke_many(specs: Sequence[ExternalTaskSpec], context: ProbeContext) -> Sequence[Observation | Exception]:
    """Raises `ProbeThrottled` while our own Postgres is away: nobody's sensor fails for that."""
    questions = [questions_of(spec) for spec in specs]
    flat = [question for some in questions for question in some]
    answers: list[StatesAnswer] = []
    try:
        for start in range(0, len(flat), QUESTIONS_MAX):
            answers += await context.dag_facts.count_states(flat[start : start + QUESTIONS_MAX])
    except StoreUnavailable as error:
        raise ProbeThrottled(f"the states of other dag runs cannot be read now: {error}") from error
    following = iter(answers)
    return [_observe(spec, tuple(next(following) for _ in some)) for spec, some in zip(specs, questions, strict=True)]


def _observe(spec: ExternalTaskSpec, answers: tuple[StatesAnswer, ...]) -> Observation | Exception:
    if spec.task_group_id is not None and (not answers[0].dag_exists or answers[0].missing_tasks):
        # Airflow's API answers 404 here, and the sensor raises whether it checks for existence or not.
        return ProbeFailed(
            f"dag {spec.dag_id!r} has no task group {spec.task_group_id!r}; correct external_task_group_id, or "
            "register the DAG first"
        )
    return Observation(
        value=SeenStates(what=describe(spec), answers=answers, is_group=spec.task_group_id is not None),
        summary=_summary(answers),
    )


def _summary(answers: Sequence[StatesAnswer]) -> str:
    total: dict[str, int] = {}
    for answer in answers:
        for state, count in answer.counts.items():
            total[state] = total.get(state, 0) + count
    expected = sum(answer.expected for answer in answers)
    seen = ", ".join(f"{count} {state}" for state, count in sorted(total.items())) or "nothing there yet"
    return f"{seen} (of {expected})"


def judge(predicate: ExternalTaskPredicate, observation: Observation) -> Verdict:
    """The order and the counting are ExternalTaskSensor's; the events are WorkflowTrigger's."""
    seen: SeenStates = observation.value
    missing = _missing(seen) if predicate.check_existence else None
    if missing is not None:
        return Verdict(met=False, failure=missing)
    if _how_many(seen, predicate.failed_states):
        failure = f"the wait for {seen.what} is over: it came to one of {', '.join(predicate.failed_states)}"
        return Verdict(met=False, failure=failure, event={"status": "failed"})
    if _how_many(seen, predicate.skipped_states):
        skip = f"{seen.what} came to one of {', '.join(predicate.skipped_states)}, at which this task is skipped"
        return Verdict(met=False, skip=skip, event={"status": "skipped"})
    is_met = _how_many(seen, predicate.allowed_states) == _how_many_wanted(seen)
    return Verdict(met=is_met, event={"status": "success"} if is_met else None)


def _how_many(seen: SeenStates, states: Sequence[str]) -> int:
    """Instances (or runs) in these states; for a group the runs in which all of its instances are."""
    if not seen.is_group:
        return sum(answer.counts.get(state, 0) for answer in seen.answers for state in states)
    return sum(bool(answer.counts) and set(answer.counts) <= set(states) for answer in seen.answers)


def _how_many_wanted(seen: SeenStates) -> int:
    return len(seen.answers) if seen.is_group else sum(answer.expected for answer in seen.answers)


def _missing(seen: SeenStates) -> str | None:
    answer = seen.answers[0]
    if not answer.dag_exists:
        return f"waiting for {seen.what} is pointless: there is no such DAG. Register it, or correct external_dag_id"
    if answer.missing_tasks:
        names = ", ".join(repr(task_id) for task_id in answer.missing_tasks)
        return f"waiting for {seen.what} is pointless: the DAG has no task {names}. Correct external_task_ids"
    return None


def watch(spec: ExternalTaskSpec, watcher: Watcher, wake: Callable[[], None]) -> Callable[[], None]:
    return watcher.dag(spec.dag_id, wake)


def describe(spec: ExternalTaskSpec) -> str:
    if spec.task_group_id is not None:
        return f"task group {spec.task_group_id} of dag {spec.dag_id}"
    if spec.task_ids:
        return f"{', '.join(spec.task_ids)} of dag {spec.dag_id}"
    return f"dag {spec.dag_id}"


KIND: SensorKind[Any, Any] = SensorKind(
    name="external_task",
    spec=ExternalTaskSpec,
    predicate=ExternalTaskPredicate,
    describe=describe,
    poke=poke,
    poke_many=poke_many,
    batch_key=lambda _spec: "",
    judge=judge,
    target=lambda _spec, _connection: TARGET,
    watch=watch,
)
