"""The journeys. Each has a stage that is set without faults, one thing that happens, and what must come of it.

In every DAG a task `hold` runs until the end, so that the run is still remembered when views are compared with rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import trio

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, TrySpec, XComItem
from leoflowd.contract.asset_spec import AssetSpec, WatcherSpec
from leoflowd.contract.dag_spec import CronTimetable, DagSpec
from leoflowd.contract.deadline_spec import DeadlineSpec
from leoflowd.contract.partition_spec import AllowedKey, AssetPartitions, CronPartition
from leoflowd.contract.wait_spec import Deferral, ProbeSpec, Resume, TriggerSpec, WaitSpec, WaitTerms
from leoflowd.core.canary import CanaryTerms, gets_canary
from tests.crashes.agent import outcome
from tests.crashes.world import START, World, dag, now, task

RETRY_S = 2.0
DAG = "d"


def script(spec: TrySpec) -> Outcome | None:
    """How a try ends, by the beginning of its task's name."""
    if spec.callback is not None:
        return outcome(OutcomeKind.SUCCESS)
    kind = spec.task_id.split("_")[0]
    if kind == "hold" or (kind == "long" and spec.try_number == 1):
        return None
    if kind == "flaky" and spec.try_number == 1:
        return outcome(OutcomeKind.FAILED)
    if kind == "fails":
        return outcome(OutcomeKind.FAILED)
    if kind == "again" and spec.first_started_at is None:
        return outcome(OutcomeKind.RESCHEDULE, reschedule_at=now() + timedelta(seconds=RETRY_S))
    if kind == "defers" and spec.resume is None:
        moment = (now() + timedelta(seconds=RETRY_S)).isoformat()
        probe = ProbeSpec(kind="time", arguments={"moment": moment})
        wait = WaitSpec(probe=probe, terms=WaitTerms(resume=Resume(next_method="go_on"), poke_interval_s=1.0))
        return outcome(OutcomeKind.DEFERRED, deferral_json=msgspec.json.encode(Deferral(wait=wait)).decode())
    if kind == "asks" and spec.resume is None:
        question = {"subject": "Go on?", "options": ["Yes", "No"]}
        trigger = TriggerSpec(classpath="airflow.providers.standard.triggers.hitl.HITLTrigger", kwargs=question)
        deferral = Deferral(trigger=trigger, next_method="execute_complete")
        return outcome(OutcomeKind.DEFERRED, deferral_json=msgspec.json.encode(deferral).decode())
    if kind == "asks" and '"chosen_options":["Yes"]' not in str(spec.resume):
        return outcome(OutcomeKind.FAILED)
    return outcome(OutcomeKind.SUCCESS, xcoms=(XComItem(key="return_value", value=f'"{spec.try_id}"'),))


async def nothing(_world: World) -> None:
    await trio.lowlevel.checkpoint()


async def create_run(world: World) -> None:
    await world.create_run(DAG)


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    spec: DagSpec
    stage: Callable[[World], Awaitable[None]] = nothing
    act: Callable[[World], Awaitable[None]] = create_run
    comes_to: dict[str, str]
    """Before `hold` is released: task id -> state and number of its try."""
    runs: int = 1
    """That there are in the end."""
    partitions: tuple[str, ...] = ()
    """Of those runs, sorted."""
    heard: int = 0
    """Messages of the source, each of which is one event: but a daemon that is killed may be told again (ADR 56)."""
    fails: int = 0
    """Of those runs."""
    verdicts: tuple[str, ...] = ()
    """On canaries, each given once: outcome and reason."""
    callbacks: tuple[str, ...] = ()
    """Each is called once, and done: as `Agent.called` names them, sorted."""
    begins_with_the_daemon: bool = False
    """Its start is part of the journey."""
    has_standby: bool = False
    """A second daemon with an agent of its own follows, and leads when the first one loses its lock or its life."""


async def a_run_with_long(world: World) -> None:
    await world.create_run(DAG)
    await world.until_states(long="running 1", hold="running 1")


async def clear_live_and_finished(world: World) -> None:
    await world.clear(DAG, "first", "long")


async def a_run_where_first_ended(world: World) -> None:
    await world.create_run(DAG)
    await world.until_states(first="success 1", long="running 1", hold="running 1")


async def mark_a_live_one(world: World) -> None:
    await world.mark(DAG, "long", "success")


async def a_run_that_asks(world: World) -> None:
    await world.create_run(DAG)
    await world.until_states(asks="deferred 1", hold="running 1")


async def answer(world: World) -> None:
    await world.answer(DAG, "asks", "Yes")


NEXT_VERSION = dag(DAG, task("first"), task("new", "first"), task("hold"))


async def a_run_of_the_first_version(world: World) -> None:
    await world.create_run(DAG)
    await world.until_states(first="success 1", hold="running 1")


async def register_and_move_the_run(world: World) -> None:
    await world.register(NEXT_VERSION)
    await world.clear(DAG, "first", run_on_latest_version=True)


ASSET = AssetSpec(name="made", uri="s3://bucket/made")


async def a_dag_that_waits(world: World) -> None:
    await world.register(dag("waits", task("uses"), asset_condition=ASSET))


TRIGGER = WatcherSpec(name="queue", trigger="mine.QueueTrigger", arguments={})
WATCHED = AssetSpec(name="heard", uri="queue://heard", watchers=(TRIGGER,))


async def create_run_and_hear(world: World) -> None:
    await world.create_run(DAG)
    world.source.messages += ["one"]
    await world.register(dag("waits", task("uses"), asset_condition=WATCHED))


HOURS = CronTimetable(
    expression="0 * * * *", data_interval=False, partition=CronPartition(offset=-1, key_format="%Y-%m-%dT%H")
)
FIRST_HOUR = START.replace(minute=0, second=0) - timedelta(days=9)
KEYS = tuple((FIRST_HOUR + timedelta(hours=hour)).strftime("%Y-%m-%dT%H") for hour in (-1, 0))


async def a_dag_that_waits_for_partitions(world: World) -> None:
    of_days = AssetPartitions(default=AllowedKey(keys=KEYS))
    await world.register(dag("waits", task("uses"), asset_condition=ASSET, partitions=of_days))


async def create_run_and_run_partitions(world: World) -> None:
    await world.create_run(DAG)
    await world.register(
        dag(
            "hours",
            task("makes", outlets=(ASSET,)),
            timetable=HOURS,
            start_date=FIRST_HOUR,
            end_date=FIRST_HOUR + timedelta(hours=1),
            catchup=True,
        )
    )


DEADLINES = (
    DeadlineSpec(reference="queued_at", interval_s=0.0),
    DeadlineSpec(reference="fixed", interval_s=0.0, at=START + timedelta(days=365)),
)
"""One that every run misses, and one that every success meets."""
FIRST_DAY = START.replace(hour=0) - timedelta(days=9)


async def a_dag_of_the_past(world: World) -> None:
    days = CronTimetable(expression="0 0 * * *")
    await world.register(
        dag("past", task("back"), timetable=days, start_date=FIRST_DAY, end_date=FIRST_DAY + timedelta(days=1))
    )


async def create_run_and_fill_back(world: World) -> None:
    await world.create_run(DAG)
    await world.backfill("past", FIRST_DAY, FIRST_DAY + timedelta(days=1))


RISKY, JUDGED, AFTERWARDS = "risky", "r1", "r3"
TERMS = CanaryTerms(share=99, rollback_above=0, after=1)
assert all(gets_canary(RISKY, run_id, TERMS.share) for run_id in (JUDGED, AFTERWARDS))


async def a_canary(world: World) -> None:
    await world.register(dag(RISKY, task("fine")))
    await world.register(dag(RISKY, task("fails")), canary=TERMS)


async def create_run_and_fail_the_canary(world: World) -> None:
    """The sweep judges it; the run after that would have been of the canary too."""
    await world.create_run(DAG)
    await world.create_run(RISKY, JUDGED)
    await world.until(world.has_judged)
    await world.create_run(RISKY, AFTERWARDS)


async def another_term(world: World) -> None:
    """The leader loses its session, and its lock with it, in the middle of a chain; the standby leads on."""
    await world.create_run(DAG)
    await world.until_states(first="success 1")
    await world.rows(
        b"SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        b" WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    )
    await world.until_states(long="running 1")
    await world.mark(DAG, "long", "success")


JOURNEYS = {
    "create run": Journey(spec=dag(DAG, task("hold")), comes_to={"hold": "running 1"}),
    "launch": Journey(
        spec=dag(DAG, task("hold", priority_weight=9), task("one"), task("two"), max_active_tasks=2),
        comes_to={"one": "success 1", "two": "success 1", "hold": "running 1"},
    ),
    "outcome with downstream": Journey(
        spec=dag(
            DAG,
            task("first"),
            task("left", "first"),
            task("right", "first"),
            task("last", "left", "right"),
            task("hold"),
        ),
        comes_to=dict.fromkeys(("first", "left", "right", "last"), "success 1"),
    ),
    "retry": Journey(
        spec=dag(DAG, task("flaky", retries=1, retry_delay_s=RETRY_S), task("after", "flaky"), task("hold")),
        comes_to={"flaky": "success 2", "after": "success 1"},
    ),
    "a failure with a callback": Journey(
        spec=dag(
            DAG,
            task("flaky", retries=1, retry_delay_s=RETRY_S, callbacks=("retry", "success", "failure")),
            task("hold"),
            callbacks=("success", "failure"),
        ),
        comes_to={"flaky": "success 2"},
        callbacks=("flaky retry", "flaky success", "the run success"),
    ),
    "a missed deadline": Journey(
        spec=dag(DAG, task("hold"), deadlines=DEADLINES),
        comes_to={"hold": "running 1"},
        callbacks=("the run deadline",),
    ),
    "backfill": Journey(
        spec=dag(DAG, task("hold")),
        stage=a_dag_of_the_past,
        act=create_run_and_fill_back,
        comes_to={"hold": "running 1", "back": "success 1"},
        runs=3,
    ),
    "defer and fire": Journey(
        spec=dag(DAG, task("defers"), task("after", "defers"), task("hold")),
        comes_to={"defers": "success 1", "after": "success 1"},
    ),
    "answer": Journey(
        spec=dag(DAG, task("asks"), task("after", "asks"), task("hold")),
        stage=a_run_that_asks,
        act=answer,
        comes_to={"asks": "success 1", "after": "success 1"},
    ),
    "event": Journey(
        spec=dag(DAG, task("makes", outlets=(ASSET,)), task("hold")),
        stage=a_dag_that_waits,
        comes_to={"makes": "success 1", "uses": "success 1"},
        runs=2,
    ),
    "event of a watcher": Journey(
        spec=dag(DAG, task("hold")),
        act=create_run_and_hear,
        comes_to={"hold": "running 1", "uses": "success 1"},
        runs=2,
        heard=1,
    ),
    "partitions": Journey(
        spec=dag(DAG, task("hold")),
        stage=a_dag_that_waits_for_partitions,
        act=create_run_and_run_partitions,
        comes_to={"hold": "running 1", "makes": "success 1", "uses": "success 1"},
        runs=5,
        partitions=tuple(sorted(KEYS * 2)),
    ),
    "canary": Journey(
        spec=dag(DAG, task("hold")),
        stage=a_canary,
        act=create_run_and_fail_the_canary,
        comes_to={"hold": "running 1", "fails": "failed 1", "fine": "success 1"},
        runs=3,
        fails=1,
        verdicts=("rolled_back: 1 of its 1 ended runs failed (100 %), more than 0 %",),
    ),
    "clear": Journey(
        spec=dag(DAG, task("first"), task("long"), task("hold")),
        stage=a_run_where_first_ended,
        act=clear_live_and_finished,
        comes_to={"first": "success 2", "long": "success 2"},
    ),
    "mark": Journey(
        spec=dag(DAG, task("long"), task("after", "long"), task("hold")),
        stage=a_run_with_long,
        act=mark_a_live_one,
        comes_to={"long": "success 1", "after": "success 1"},
    ),
    "register version": Journey(
        spec=dag(DAG, task("first"), task("hold")),
        stage=a_run_of_the_first_version,
        act=register_and_move_the_run,
        comes_to={"first": "success 2", "new": "success 1"},
    ),
    "reschedule": Journey(
        spec=dag(DAG, task("again"), task("after", "again"), task("hold")),
        comes_to={"again": "success 1", "after": "success 1"},
    ),
    "leader change": Journey(
        spec=dag(DAG, task("first"), task("long", "first"), task("after", "long"), task("hold")),
        act=another_term,
        comes_to={"first": "success 1", "long": "success 1", "after": "success 1"},
        begins_with_the_daemon=True,
        has_standby=True,
    ),
}
