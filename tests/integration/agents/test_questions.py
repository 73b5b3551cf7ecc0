"""What a running task asks the daemon for, on the real Postgres: connections, dag runs, counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from leoflowd.agents.questions import STALE, NoConnections, NoVariables, Questions
from leoflowd.contract import agent_messages as m
from leoflowd.contract.callback_spec import CallbackCall, NewCallback
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_spec import CronTimetable, TaskGroupSpec
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.contract.variable import VALUE_MAX_BYTES, VariableFacts
from leoflowd.store import callbacks, connections, dags, variables
from leoflowd.store.connections import ConnectionBook
from leoflowd.store.dag_runs import insert_dag_run
from leoflowd.store.database import Database
from leoflowd.store.secret_box import SecretBox
from leoflowd.store.tries import TryRow
from leoflowd.store.variables import VariableBook, open_variable
from tests.integration.scheduler.conftest import World, dag, task, utc_now

DAY = datetime(2026, 11, 20, tzinfo=UTC)
BOX = SecretBox(lambda: {"k1": b"1" * 32})
RUN: dict[str, Any] = {
    "run_type": DagRunType.MANUAL,
    "logical_date": None,
    "data_interval_start": None,
    "data_interval_end": None,
    "run_after": DAY,
    "conf": {},
    "triggered_by": TriggeredBy.TEST,
    "triggering_user_name": None,
    "note": None,
    "now": DAY,
}
PG = ConnectionFacts(connection_id="pg", conn_type="postgres", host="db", password="hunter2")


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def questions(database: Database) -> Questions:
    return Questions(
        database, ConnectionBook(database.agents, BOX, {}), VariableBook(database.agents, BOX, {}), utc_now
    )


@pytest.fixture
async def asker(world: World) -> TryRow:
    """A live try of task `ask` in DAG `parent`; the DAG `child` can be started."""
    await world.register(
        dag("child", task("a"), task("b", "a"), params={"n": {"value": 1, "schema": {"type": "integer"}}})
    )
    async with world.leading():
        await world.create(dag("parent", task("ask")))
        try_id = (await world.launched_ids(1))["ask"]
    return await world.row(try_id)


async def runs(world: World, dag_id: str = "child") -> list[dict[str, Any]]:
    async with world.db.api.connection() as conn:
        cursor = await conn.execute(
            b"SELECT json_build_object('run_id', run_id, 'type', run_type, 'by', triggered_by, 'conf', conf,"
            b" 'note', note, 'logical_date', logical_date, 'user', triggering_user_name, 'state', state)"
            b" FROM dag_run WHERE dag_id = %(dag_id)s ORDER BY id",
            {"dag_id": dag_id},
        )
        return [row[0] for row in await cursor.fetchall()]


async def forget(world: World, row: TryRow) -> None:
    async with world.db.api.connection() as conn:
        await conn.execute(b"UPDATE task_instance SET state = 'success' WHERE id = %(id)s", {"id": row.id})


def ask(**fields: Any) -> m.DagRunAsk:
    return m.DagRunAsk(**{"request_id": 1, "dag_id": "child", **fields})


class TestConnections:
    async def store(self, world: World) -> None:
        async with world.db.api.transaction() as conn:
            await connections.insert_connection(conn, BOX, PG, utc_now())

    async def test_a_stored_one_is_given_in_the_clear(self, world: World, questions: Questions, asker: TryRow) -> None:
        await self.store(world)
        answer = await questions.answer(asker, m.ConnectionAsk(request_id=7, connection_id="pg"))
        assert answer == m.ConnectionAnswer(request_id=7, connection=PG)

    async def test_an_unknown_one_is_none(self, questions: Questions, asker: TryRow) -> None:
        answer = await questions.answer(asker, m.ConnectionAsk(request_id=7, connection_id="pg"))
        assert answer == m.ConnectionAnswer(request_id=7)

    async def test_one_that_cannot_be_read_is_refused_with_the_reason(
        self, world: World, database: Database, asker: TryRow
    ) -> None:
        await self.store(world)
        keyless = Questions(database, ConnectionBook(database.agents, SecretBox(dict), {}), NoVariables(), utc_now)
        answer = await keyless.answer(asker, m.ConnectionAsk(request_id=7, connection_id="pg"))
        assert isinstance(answer, m.ConnectionAnswer)
        assert "key 'k1', which this server does not have" in (answer.refused or "")

    async def test_a_try_that_is_over_gets_none(self, world: World, questions: Questions, asker: TryRow) -> None:
        await self.store(world)
        await forget(world, asker)
        answer = await questions.answer(asker, m.ConnectionAsk(request_id=7, connection_id="pg"))
        assert answer == m.ConnectionAnswer(request_id=7, refused=STALE)

    async def test_a_daemon_without_connections_knows_none(self, database: Database, asker: TryRow) -> None:
        answer = await Questions(database, NoConnections(), NoVariables(), utc_now).answer(
            asker, m.ConnectionAsk(request_id=7, connection_id="pg")
        )
        assert answer == m.ConnectionAnswer(request_id=7)


class TestVariables:
    async def put(self, world: World, key: str, value: str) -> None:
        async with world.db.api.transaction() as conn:
            facts = VariableFacts(key=key, value=value, description="d")
            await variables.insert_variable(conn, BOX, facts, utc_now())

    async def stored(self, world: World, key: str) -> VariableFacts | None:
        async with world.db.api.connection() as conn:
            row = await variables.fetch_variable(conn, key)
        return None if row is None else open_variable(row, BOX)

    async def test_a_stored_one_is_given_in_the_clear(self, world: World, questions: Questions, asker: TryRow) -> None:
        await self.put(world, "token", "hunter2")
        answer = await questions.answer(asker, m.VariableAsk(request_id=7, key="token"))
        assert answer == m.VariableAnswer(request_id=7, value="hunter2")
        assert "hunter2" not in repr(answer)

    async def test_an_unknown_one_is_none(self, questions: Questions, asker: TryRow) -> None:
        answer = await questions.answer(asker, m.VariableAsk(request_id=7, key="nope"))
        assert answer == m.VariableAnswer(request_id=7)

    async def test_one_that_cannot_be_read_is_refused_with_the_reason(
        self, world: World, database: Database, asker: TryRow
    ) -> None:
        await self.put(world, "token", "hunter2")
        book = VariableBook(database.agents, SecretBox(dict), {})
        answer = await Questions(database, NoConnections(), book, utc_now).answer(
            asker, m.VariableAsk(request_id=7, key="token")
        )
        assert isinstance(answer, m.VariableAnswer)
        assert "key 'k1', which this server does not have" in (answer.refused or "")

    async def test_a_write_is_committed_before_its_answer(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        write = m.VariableWrite(request_id=7, key="a", value="1", description="d")
        for _ in range(2):  # an answer that got lost is asked for again
            assert await questions.answer(asker, write) == m.VariableAnswer(request_id=7, value="1")
        assert await self.stored(world, "a") == VariableFacts(key="a", value="1", description="d")

    async def test_a_delete_too_whether_it_is_there_or_not(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        await self.put(world, "a", "1")
        for _ in range(2):
            answer = await questions.answer(asker, m.VariableWrite(request_id=7, key="a"))
            assert answer == m.VariableAnswer(request_id=7)
        assert await self.stored(world, "a") is None

    async def test_the_audit_log_says_which_task_wrote_and_not_what(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        await questions.answer(asker, m.VariableWrite(request_id=7, key="a", value="hunter2"))
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(
                b"SELECT event, dag_id, task_id, extra FROM event_log WHERE event LIKE '%variable'"
            )
            assert await cursor.fetchall() == [("put_variable", "parent", "ask", {"key": "a"})]

    async def test_a_value_that_is_too_large_is_refused(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        write = m.VariableWrite(request_id=7, key="a", value="x" * (VALUE_MAX_BYTES + 1))
        answer = await questions.answer(asker, write)
        assert isinstance(answer, m.VariableAnswer)
        assert "the value of variable 'a'" in (answer.refused or "")
        assert await self.stored(world, "a") is None

    async def test_a_try_that_is_over_reads_and_writes_none(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        await self.put(world, "a", "1")
        await forget(world, asker)
        for question in (m.VariableAsk(request_id=7, key="a"), m.VariableWrite(request_id=7, key="a", value="2")):
            assert await questions.answer(asker, question) == m.VariableAnswer(request_id=7, refused=STALE)
        found = await self.stored(world, "a")
        assert found is not None
        assert found.value == "1"


class TestDagRuns:
    async def test_a_run_is_made_as_airflow_makes_it(self, world: World, questions: Questions, asker: TryRow) -> None:
        answer = await questions.answer(asker, ask(logical_date=DAY, conf='{"n": 2}', note="hi"))
        assert answer == m.DagRunAnswer(request_id=1, run_id="manual__2026-11-20T00:00:00+00:00")
        [run] = await runs(world)
        assert (run["type"], run["by"], run["state"]) == ("manual", "operator", "queued")
        assert (run["conf"], run["note"], run["user"]) == ({"n": 2}, "hi", None)

    async def test_a_given_run_id_is_kept(self, world: World, questions: Questions, asker: TryRow) -> None:
        answer = await questions.answer(asker, ask(run_id="mine"))
        assert answer == m.DagRunAnswer(request_id=1, run_id="mine")
        assert [run["logical_date"] for run in await runs(world)] == [None]

    async def test_a_run_may_be_asked_for_later(self, world: World, questions: Questions, asker: TryRow) -> None:
        later = DAY + timedelta(days=365 * 70)
        await questions.answer(asker, ask(run_id="mine", run_after=later))
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT run_after, logical_date FROM dag_run WHERE run_id = 'mine'")
            assert await cursor.fetchall() == [(later, None)]

    async def test_the_user_who_triggered_the_parent_is_inherited(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        async with world.db.api.connection() as conn:
            await conn.execute(b"UPDATE dag_run SET triggering_user_name = 'ana'")
        await questions.answer(asker, ask(run_id="mine"))
        assert (await runs(world))[0]["user"] == "ana"

    async def test_a_paused_dag_gets_its_run(self, world: World, questions: Questions, asker: TryRow) -> None:
        async with world.db.api.transaction() as conn:
            await dags.set_paused(conn, "child", True, utc_now())
        assert await questions.answer(asker, ask(run_id="mine")) == m.DagRunAnswer(request_id=1, run_id="mine")

    @pytest.mark.parametrize("question", [ask(run_id="mine"), ask(logical_date=DAY), ask()])
    async def test_the_same_question_twice_is_one_run(
        self, world: World, questions: Questions, asker: TryRow, question: m.DagRunAsk
    ) -> None:
        first = await questions.answer(asker, question)
        assert await questions.answer(asker, question) == first
        assert isinstance(first, m.DagRunAnswer)
        assert [run["run_id"] for run in await runs(world)] == [first.run_id]

    async def test_two_questions_without_a_name_are_two_runs(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        await questions.answer(asker, ask())
        await questions.answer(asker, ask(request_id=2))
        assert len({run["run_id"] for run in await runs(world)}) == 2

    async def test_a_run_of_somebody_else_exists(self, world: World, questions: Questions, asker: TryRow) -> None:
        await world.create(dag("child", task("a")), "taken", logical_date=DAY)
        exists = m.DagRunAnswer(request_id=1, run_id="taken", exists=True)
        assert await questions.answer(asker, ask(run_id="taken")) == exists
        assert await questions.answer(asker, ask(run_id="new", logical_date=DAY)) == exists

    async def test_a_run_that_somebody_makes_at_the_same_moment_exists(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        answers: list[Any] = []

        async def put_question() -> None:
            answers.append(await questions.answer(asker, ask(run_id="taken")))

        async def is_blocked() -> bool:
            async with world.db.agents.connection() as conn:
                cursor = await conn.execute(b"SELECT count(*) FROM pg_locks WHERE NOT granted")
                row = await cursor.fetchone()
            return row is not None and row[0] == 1

        async with trio.open_nursery() as nursery, world.db.api.transaction() as conn:
            version = await dags.fetch_version(conn, "child")
            await insert_dag_run(conn, version=version, run_id="taken", **RUN)
            nursery.start_soon(put_question)
            await world.until(is_blocked)
        assert answers == [m.DagRunAnswer(request_id=1, run_id="taken", exists=True)]

    async def test_a_reset_clears_the_run_that_exists(self, world: World, questions: Questions, asker: TryRow) -> None:
        run = await world.create(dag("child", task("a")), "taken")
        async with world.db.api.connection() as conn:
            for table, key in ((b"task_instance", b"dag_run_id"), (b"dag_run", b"id")):
                await conn.execute(
                    b"UPDATE %b SET state = 'failed', start_date = now(), end_date = now() WHERE %b = %%(id)s"
                    % (table, key),
                    {"id": run},
                )
        answer = await questions.answer(asker, ask(run_id="taken", reset=True))
        assert answer == m.DagRunAnswer(request_id=1, run_id="taken")
        assert (await world.run_state(run), await world.states(run)) == ("queued", {"a": None})

    async def test_a_reset_asked_twice_clears_once(self, world: World, questions: Questions, asker: TryRow) -> None:
        run = await world.create(dag("child", task("a")), "taken")
        await questions.answer(asker, ask(run_id="taken", reset=True))
        async with world.db.api.connection() as conn:
            await conn.execute(
                b"UPDATE task_instance SET state = 'skipped', end_date = now() WHERE dag_run_id = %(id)s", {"id": run}
            )
        await questions.answer(asker, ask(run_id="taken", reset=True))
        assert await world.states(run) == {"a": "skipped"}

    async def test_a_run_that_was_deleted_since_is_made_again(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        await questions.answer(asker, ask(run_id="mine"))
        async with world.db.api.connection() as conn:
            await conn.execute(b"DELETE FROM dag_run WHERE run_id = 'mine'")
        await questions.answer(asker, ask(run_id="mine"))
        assert [run["run_id"] for run in await runs(world)] == ["mine"]

    @pytest.mark.parametrize(
        ("question", "words"),
        [
            (ask(dag_id="nope"), "`nope` was not found"),
            (ask(conf='{"n": "x"}'), "Invalid input for param n"),
            (ask(run_id="a/b"), "is not possible"),
            (ask(run_id="r", logical_date=DAY.replace(tzinfo=None)), "has no time zone"),
        ],
    )
    async def test_what_cannot_be_is_refused_with_a_sentence(
        self, world: World, questions: Questions, asker: TryRow, question: m.DagRunAsk, words: str
    ) -> None:
        answer = await questions.answer(asker, question)
        assert isinstance(answer, m.DagRunAnswer)
        assert words in (answer.refused or "")
        assert await runs(world) == []

    async def test_a_dag_whose_project_is_gone_is_refused(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        async with world.db.api.transaction() as conn:
            await dags.mark_stale(conn, ["child"], utc_now())
        answer = await questions.answer(asker, ask(run_id="mine"))
        assert answer == m.DagRunAnswer(request_id=1, refused="Dag with dag_id: 'child' not found")

    async def test_a_try_that_is_over_makes_no_run(self, world: World, questions: Questions, asker: TryRow) -> None:
        await forget(world, asker)
        assert await questions.answer(asker, ask()) == m.DagRunAnswer(request_id=1, refused=STALE)
        assert await runs(world) == []

    async def test_the_audit_log_names_the_task_that_asked(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        await questions.answer(asker, ask(run_id="mine"))
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(b"SELECT run_id, extra FROM event_log WHERE event = 'trigger_dag_run'")
            [(run_id, extra)] = await cursor.fetchall()
        assert run_id == "mine"
        assert extra["asked_by"] == {"dag_id": "parent", "run_id": "r1", "task_id": "ask", "map_index": -1}

    async def test_the_interval_is_the_timetables_for_the_logical_date(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        spec = dag("daily", task("a"), timetable=CronTimetable(expression="0 0 * * *", data_interval=True))
        await world.register(spec)
        await questions.answer(asker, ask(dag_id="daily", logical_date=DAY))
        async with world.db.api.connection() as conn:
            cursor = await conn.execute(
                b"SELECT data_interval_start, data_interval_end FROM dag_run WHERE dag_id = 'daily'"
            )
            assert await cursor.fetchone() == (DAY - timedelta(days=1), DAY)


class TestCallbacks:
    """Their try has ended, which is what they are about: mails and notifiers could read no connection."""

    @pytest.fixture(params=[False, True], ids=["of a try", "of a dag run"])
    async def caller(self, world: World, asker: TryRow, request: pytest.FixtureRequest) -> TryRow:
        await forget(world, asker)
        new = NewCallback(
            dag_run_id=asker.dag_run_id,
            task_id=None if request.param else asker.task_id,
            of_try=None if request.param else str(asker.id),
            try_number=0 if request.param else 1,
            call=CallbackCall(event="success", of_dag=request.param, state="success"),
        )
        async with world.db.api.transaction() as conn:
            await callbacks.insert_callbacks(conn, [new], utc_now())
            [row] = await callbacks.list_open(conn, at_most=9)
            found = await callbacks.fetch_any_try(conn, str(row.try_id))
        assert found is not None
        return found

    async def test_a_callback_reads_connections_and_variables(
        self, world: World, questions: Questions, caller: TryRow
    ) -> None:
        async with world.db.api.transaction() as conn:
            await connections.insert_connection(conn, BOX, PG, utc_now())
            await variables.insert_variable(conn, BOX, VariableFacts(key="a", value="1"), utc_now())
        answer = await questions.answer(caller, m.ConnectionAsk(request_id=7, connection_id="pg"))
        assert answer == m.ConnectionAnswer(request_id=7, connection=PG)
        assert await questions.answer(caller, m.VariableAsk(request_id=7, key="a")) == m.VariableAnswer(
            request_id=7, value="1"
        )

    async def test_a_callback_writes_variables(self, questions: Questions, caller: TryRow) -> None:
        write = m.VariableWrite(request_id=7, key="a", value="2")
        assert await questions.answer(caller, write) == m.VariableAnswer(request_id=7, value="2")
        assert await questions.answer(caller, m.VariableAsk(request_id=8, key="a")) == m.VariableAnswer(
            request_id=8, value="2"
        )

    @pytest.mark.parametrize("question", [ask(run_id="mine"), ask(logical_date=DAY), ask()])
    async def test_a_callback_that_asks_twice_for_a_run_has_one(
        self, world: World, questions: Questions, caller: TryRow, question: m.DagRunAsk
    ) -> None:
        first = await questions.answer(caller, question)
        assert await questions.answer(caller, question) == first
        assert isinstance(first, m.DagRunAnswer)
        assert [run["run_id"] for run in await runs(world)] == [first.run_id]

    async def test_a_callback_that_is_over_is_told_nothing(
        self, world: World, questions: Questions, caller: TryRow
    ) -> None:
        async with world.db.api.transaction() as conn:
            await callbacks.mark_ended(
                conn, str(caller.id), is_success=True, because="done", started_at=utc_now(), now=utc_now()
            )
        answer = await questions.answer(caller, m.ConnectionAsk(request_id=7, connection_id="pg"))
        assert answer == m.ConnectionAnswer(request_id=7, refused=STALE)


class TestCounts:
    SPEC = dag(
        "child",
        task("a"),
        task("g.b", group_id="g"),
        task("g.inner.c", group_id="g.inner"),
        groups=(
            TaskGroupSpec(group_id="g", label="g"),
            TaskGroupSpec(group_id="g.inner", label="i", parent_group_id="g"),
        ),
    )

    @pytest.fixture
    async def past(self, world: World, asker: TryRow) -> TryRow:
        """Two runs of `child`: r1 of DAY, where `a` succeeded, and r2."""
        run = await world.create(self.SPEC, "r1", logical_date=DAY)
        await world.create(self.SPEC, "r2", logical_date=DAY + timedelta(days=1))
        async with world.db.api.connection() as conn:
            await conn.execute(
                b"UPDATE task_instance SET state = 'success' WHERE dag_run_id = %(id)s AND task_id = 'a'", {"id": run}
            )
        return asker

    @pytest.mark.parametrize(
        ("filters", "count"),
        [
            ({}, 2),
            ({"states": ("queued",)}, 2),
            ({"states": ("success",)}, 0),
            ({"run_ids": ("r1", "nope")}, 1),
            ({"logical_dates": (DAY,)}, 1),
            ({"dag_id": "nope"}, 0),
            ({"task_ids": ("a", "g.b")}, 4),
            ({"task_ids": ("a",), "states": ("success",)}, 1),
            ({"task_ids": ("a",), "states": ("null", "failed")}, 1),
            ({"task_ids": ("a",), "logical_dates": (DAY,)}, 1),
            ({"task_group_id": "g", "run_ids": ("r1",)}, 2),
            ({"task_group_id": "g.inner"}, 2),
            ({"task_group_id": "a"}, 2),
            ({"task_group_id": "g", "dag_id": "nope"}, 0),
        ],
        ids=str,
    )
    async def test_what_the_filters_leave_is_counted(
        self, questions: Questions, past: TryRow, filters: dict[str, Any], count: int
    ) -> None:
        question = m.CountsAsk(**{"request_id": 3, "dag_id": "child", **filters})
        assert await questions.answer(past, question) == m.CountsAnswer(request_id=3, count=count)

    @pytest.mark.parametrize(
        ("filters", "states"),
        [
            ({"run_ids": ("r1",)}, {"r1": {"a": "success", "g.b": None, "g.inner.c": None}}),
            ({"task_ids": ("a",)}, {"r1": {"a": "success"}, "r2": {"a": None}}),
            ({"task_group_id": "g.inner", "logical_dates": (DAY,)}, {"r1": {"g.inner.c": None}}),
            ({"map_index": 0}, {}),
            ({"dag_id": "nope"}, {}),
        ],
        ids=str,
    )
    async def test_what_the_filters_leave_is_told(
        self, questions: Questions, past: TryRow, filters: dict[str, Any], states: dict[str, Any]
    ) -> None:
        question = m.StatesAsk(**{"request_id": 3, "dag_id": "child", **filters})
        assert await questions.answer(past, question) == m.StatesAnswer(request_id=3, states=states)

    async def test_a_mapped_instance_is_named_after_its_index(
        self, world: World, questions: Questions, past: TryRow
    ) -> None:
        async with world.db.api.connection() as conn:
            await conn.execute(b"UPDATE task_instance SET map_index = 7 WHERE task_id = 'g.b'")
        question = m.StatesAsk(request_id=3, dag_id="child", map_index=7, run_ids=("r1",))
        assert await questions.answer(past, question) == m.StatesAnswer(request_id=3, states={"r1": {"g.b_7": None}})

    async def test_too_many_states_are_refused_with_what_to_do(
        self, questions: Questions, past: TryRow, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("leoflowd.agents.questions.STATES_MAX", 5)
        answer = await questions.answer(past, m.StatesAsk(request_id=3, dag_id="child"))
        assert isinstance(answer, m.StatesAnswer)
        assert answer.refused == "these are more than 5 task instances; name runs, tasks or a map index"
        assert (await questions.answer(past, m.StatesAsk(request_id=4, dag_id="child", run_ids=("r1",)))).states

    @pytest.mark.parametrize(
        ("filters", "run_id"),
        [
            ({}, "r2"),
            ({"logical_date": DAY + timedelta(days=1)}, "r1"),
            ({"logical_date": DAY}, None),
            ({"state": "success"}, "r1"),
            ({"map_index": 0}, None),
            ({"dag_id": "nope"}, None),
            ({"dag_id": "parent", "task_id": "ask"}, None),
        ],
        ids=str,
    )
    async def test_the_instance_of_the_newest_run_before(
        self, questions: Questions, past: TryRow, filters: dict[str, Any], run_id: str | None
    ) -> None:
        question = m.PreviousInstanceAsk(**{"request_id": 3, "dag_id": "child", "task_id": "a", **filters})
        answer = await questions.answer(past, question)
        assert isinstance(answer, m.PreviousInstance)
        assert (answer.instance and answer.instance.run_id) == run_id
        if run_id == "r1":
            assert (answer.instance.state, answer.instance.logical_date) == ("success", DAY)


class TestDags:
    async def test_whether_it_is_paused_and_whose_it_is(
        self, world: World, questions: Questions, asker: TryRow
    ) -> None:
        await world.register(dag("other", task("a", owner="ann"), tags=("t1", "t2")))
        for is_paused in (True, False):
            async with world.db.api.connection() as conn:
                await conn.execute(b"UPDATE dag SET is_paused = %(paused)s", {"paused": is_paused})
            answer = await questions.answer(asker, m.DagAsk(request_id=4, dag_id="other"))
            assert answer == m.DagAnswer(request_id=4, is_paused=is_paused, owners=("ann",), tags=("t1", "t2"))

    async def test_one_that_does_not_exist_is_refused(self, questions: Questions, asker: TryRow) -> None:
        answer = await questions.answer(asker, m.DagAsk(request_id=4, dag_id="nope"))
        assert answer == m.DagAnswer(request_id=4, refused="The Dag with ID: `nope` was not found")
