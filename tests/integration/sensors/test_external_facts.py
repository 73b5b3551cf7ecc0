"""What external_task waits learn of other dag runs, from a real Postgres."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from leoflow_sensors import external_task
from leoflowd.contract.dag_facts import StatesAnswer, StatesQuestion
from leoflowd.contract.dag_spec import DagSpec, TaskGroupSpec, TaskSpec
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.store import dag_runs, dags
from leoflowd.store.database import Database, fetch_value, statements
from leoflowd.store.external_facts import ExternalFacts
from tests.fakes.probe_context import Context

DAY = datetime(2026, 11, 21, tzinfo=UTC)
DAY_BEFORE = DAY - timedelta(days=1)


def _task(task_id: str, group_id: str | None = None) -> TaskSpec:
    return TaskSpec(task_id=task_id, operator="PythonOperator", group_id=group_id)


ETL = DagSpec(
    dag_id="etl",
    tasks=(_task("a"), _task("b"), _task("g.x", "g"), _task("y", "inner")),
    # `inner` has no prefix: that it is in `g` shows in its parent alone.
    groups=(
        TaskGroupSpec(group_id="g", label="g"),
        TaskGroupSpec(group_id="inner", label="inner", parent_group_id="g", prefix_group_id=False),
        TaskGroupSpec(group_id="empty", label="empty"),
    ),
)


class World:
    """One DAG and its runs; states are written as they are wanted."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.facts = ExternalFacts(db.api)

    async def register(self, spec: DagSpec = ETL) -> dags.VersionRow:
        async with self.db.api.transaction() as conn:
            await dags.register_dag(conn, spec, now=DAY, fileloc="dag.py", relative_fileloc="dag.py")
            return await dags.fetch_version(conn, spec.dag_id)

    async def run(
        self, logical_date: datetime | None, state: str = "running", *, run_id: str = "", **tasks: str
    ) -> None:
        version = await self.register()
        async with self.db.api.transaction() as conn:
            dag_run_id = await dag_runs.insert_dag_run(
                conn,
                version=version,
                run_id=run_id or f"at {logical_date}",
                run_type=DagRunType.MANUAL,
                logical_date=logical_date,
                data_interval_start=None,
                data_interval_end=None,
                run_after=DAY,
                conf={},
                triggered_by=TriggeredBy.TEST,
                triggering_user_name=None,
                note=None,
                now=DAY,
            )
            await conn.execute(
                b"UPDATE dag_run SET state = %(state)s, end_date = now() WHERE id = %(id)s",
                {"state": state, "id": dag_run_id},
            )
            await self._mark(conn, dag_run_id, tasks)

    async def _mark(self, conn: Any, dag_run_id: int, tasks: Mapping[str, str]) -> None:
        for task_id, state in tasks.items():
            await conn.execute(
                b"UPDATE task_instance SET state = %(state)s, start_date = now(), try_number = 1"
                b" WHERE dag_run_id = %(id)s AND task_id = %(task_id)s",
                {"state": state, "id": dag_run_id, "task_id": task_id.replace("__", ".")},
            )

    async def ask(self, **question: Any) -> StatesAnswer:
        (answer,) = await self.facts.count_states([StatesQuestion(**{"dag_id": "etl", **question})])
        return answer


@pytest.fixture
async def world(database: Database) -> World:
    return World(database)


# --- runs --------------------------------------------------------------------------------------------------------


async def test_runs_are_found_by_logical_date(world: World) -> None:
    await world.run(DAY, "success")
    await world.run(DAY_BEFORE, "failed")
    answer = await world.ask(logical_dates=(DAY, DAY_BEFORE))
    assert (answer.counts, answer.expected) == ({"success": 1, "failed": 1}, 2)


async def test_runs_are_found_by_id(world: World) -> None:
    await world.run(None, "success", run_id="manual__1")
    answer = await world.ask(run_ids=("manual__1", "manual__2"))
    assert (answer.counts, answer.expected) == ({"success": 1}, 2)


async def test_other_runs_do_not_count(world: World) -> None:
    await world.run(DAY_BEFORE, "success")
    assert (await world.ask(logical_dates=(DAY,))).counts == {}


# --- tasks -------------------------------------------------------------------------------------------------------


async def test_tasks_are_counted_by_state(world: World) -> None:
    await world.run(DAY, a="success", b="running")
    answer = await world.ask(task_ids=("a", "b"), logical_dates=(DAY,))
    assert (answer.counts, answer.expected) == ({"success": 1, "running": 1}, 2)


async def test_an_instance_without_a_state_counts_as_none(world: World) -> None:
    await world.run(DAY)
    assert (await world.ask(task_ids=("a",), logical_dates=(DAY,))).counts == {"none": 1}


async def test_tasks_of_several_runs_are_expected_in_each(world: World) -> None:
    await world.run(DAY, a="success")
    answer = await world.ask(task_ids=("a", "b"), logical_dates=(DAY, DAY_BEFORE))
    assert (answer.counts, answer.expected) == ({"success": 1, "none": 1}, 4)


async def test_all_instances_of_a_mapped_task_are_expected(world: World) -> None:
    await world.run(DAY, a="success")
    async with world.db.api.transaction() as conn:
        await conn.execute(b"UPDATE task_instance SET map_index = 0 WHERE task_id = 'a'")
        await conn.execute(
            b"INSERT INTO task_instance (dag_run_id, task_id, map_index, id, dag_version_id, state, operator,"
            b" operator_name, task_display_name, updated_at)"
            b" SELECT dag_run_id, task_id, 1, gen_random_uuid(), dag_version_id, 'failed', operator, operator_name,"
            b" task_display_name, updated_at FROM task_instance WHERE task_id = 'a'"
        )
    answer = await world.ask(task_ids=("a",), logical_dates=(DAY, DAY_BEFORE))
    assert (answer.counts, answer.expected) == ({"success": 1, "failed": 1}, 3)


# --- groups ------------------------------------------------------------------------------------------------------


async def test_a_group_counts_its_tasks_and_those_of_groups_in_it(world: World) -> None:
    await world.run(DAY, a="failed", g__x="success", y="running")
    answer = await world.ask(task_group_id="g", logical_dates=(DAY,))
    assert (answer.counts, answer.expected) == ({"success": 1, "running": 1}, 2)


async def test_an_inner_group_counts_its_own_tasks(world: World) -> None:
    await world.run(DAY, g__x="failed", y="success")
    assert (await world.ask(task_group_id="inner", logical_dates=(DAY,))).counts == {"success": 1}


async def test_the_tasks_of_a_group_are_those_of_the_current_version(world: World) -> None:
    await world.run(DAY, g__x="success")
    await world.register(msgspec.structs.replace(ETL, tasks=(_task("a"), _task("g.x", "g"))))
    answer = await world.ask(task_group_id="g", logical_dates=(DAY,))
    assert (answer.counts, answer.expected) == ({"success": 1}, 1)


async def test_an_empty_group_exists(world: World) -> None:
    await world.run(DAY)
    answer = await world.ask(task_group_id="empty", logical_dates=(DAY,))
    assert (answer.counts, answer.missing_tasks) == ({}, ())


# --- existence ---------------------------------------------------------------------------------------------------


async def test_a_dag_nobody_registered_does_not_exist(world: World) -> None:
    assert not (await world.ask(logical_dates=(DAY,))).dag_exists


async def test_a_dag_whose_project_is_gone_does_not_exist(world: World) -> None:
    await world.run(DAY, "success")
    async with world.db.api.transaction() as conn:
        await dags.mark_stale(conn, ["etl"], DAY)
    answer = await world.ask(logical_dates=(DAY,))
    assert (answer.dag_exists, answer.counts) == (False, {"success": 1})


async def test_missing_tasks_are_named_in_the_order_of_the_question(world: World) -> None:
    await world.register()
    answer = await world.ask(task_ids=("z", "a", "c"), logical_dates=(DAY,))
    assert (answer.dag_exists, answer.missing_tasks) == (True, ("z", "c"))


async def test_a_missing_group_is_named(world: World) -> None:
    await world.register()
    assert (await world.ask(task_group_id="nope", logical_dates=(DAY,))).missing_tasks == ("nope",)


# --- many questions ----------------------------------------------------------------------------------------------


async def test_answers_come_in_the_order_of_the_questions(world: World) -> None:
    await world.run(DAY, "success", a="success", g__x="failed")
    asked = [
        StatesQuestion(dag_id="nope", logical_dates=(DAY,)),
        StatesQuestion(dag_id="etl", logical_dates=(DAY,)),
        StatesQuestion(dag_id="etl", task_group_id="g", logical_dates=(DAY,)),
        StatesQuestion(dag_id="etl", task_ids=("a",), logical_dates=(DAY,)),
        StatesQuestion(dag_id="etl", logical_dates=(DAY,)),
    ]
    answers = await world.facts.count_states(asked)
    assert [answer.counts for answer in answers] == [
        {},
        {"success": 1},
        {"failed": 1, "none": 1},
        {"success": 1},
        {"success": 1},
    ]


async def test_no_question_has_no_answer(world: World) -> None:
    assert await world.facts.count_states([]) == ()


async def test_a_database_that_is_gone_is_unavailable(world: World) -> None:
    away = ExternalFacts(Database(world.db.conninfo.replace("dbname=", "dbname=no_")).api)
    with pytest.raises(StoreUnavailable):
        await away.count_states([StatesQuestion(dag_id="etl", logical_dates=(DAY,))])


async def test_among_many_runs_the_indexes_find_the_few(world: World) -> None:
    await world.run(DAY, a="success")
    async with world.db.api.transaction() as conn:
        await conn.execute(
            b"INSERT INTO dag_run (dag_id, run_id, dag_version_id, run_type, state, logical_date, run_after,"
            b" updated_at)"
            b" SELECT dag_id, 'many ' || n, dag_version_id, run_type, state, logical_date - n * interval '1 hour',"
            b" run_after, updated_at FROM dag_run, generate_series(1, 20000) n"
        )
        await conn.execute(
            b"INSERT INTO task_instance (dag_run_id, task_id, id, dag_version_id, operator, operator_name,"
            b" task_display_name, updated_at) SELECT r.id, 'a', gen_random_uuid(), r.dag_version_id, 'O', 'O', 'a',"
            b" r.updated_at FROM dag_run r WHERE r.run_id LIKE 'many %%'",
            {},
        )
    async with world.db.api.connection() as conn:
        await conn.execute(b"ANALYZE dag_run, task_instance")
        days = [[DAY - timedelta(hours=hours)] for hours in range(500)]
        common = {"dag_id": "etl", "task_ids": ["a"], "run_ids": []}
        asked = [common | {"number": number, "logical_dates": dates} for number, dates in enumerate(days)]
        questions = msgspec.json.encode(asked).decode()
        explained = await fetch_value(
            conn, b"EXPLAIN (FORMAT JSON) " + statements("external_facts").count_states, questions=questions
        )
    assert _scans(explained, "Seq Scan") & {"dag_run", "task_instance"} == set()


def _scans(plan: Any, kind: str) -> set[str]:
    """Tables that the plan reads so."""
    if isinstance(plan, list):
        return {table for one in plan for table in _scans(one, kind)}
    if not isinstance(plan, dict):
        return set()
    own = {plan["Relation Name"]} if plan.get("Node Type") == kind else set()
    return own.union(*(_scans(value, kind) for value in plan.values()))


# --- the kind and its facts together -----------------------------------------------------------------------------


async def test_a_wait_for_a_group_is_met_when_the_group_is_done(world: World) -> None:
    await world.run(DAY, g__x="success", y="success")
    spec = msgspec.convert(
        {"dag_id": "etl", "task_group_id": "g", "logical_dates": [DAY.isoformat()]}, external_task.ExternalTaskSpec
    )
    seen = await external_task.poke(spec, Context(dag_facts=world.facts))
    assert external_task.judge(external_task.ExternalTaskPredicate(), seen).met
