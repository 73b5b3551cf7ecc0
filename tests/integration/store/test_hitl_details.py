"""Questions to people on a real Postgres: asked with the move, answered once, over with their task (ADR 41)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import trio

from leoflowd.api import auth
from leoflowd.api.context import ApiContext
from leoflowd.cheap_tasks.human_answers import StoredQuestions
from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.human import Answer
from leoflowd.contract.wait_spec import Deferral, TriggerSpec
from leoflowd.contract.waits import NewWait, ResumeWith, WaitEnd
from leoflowd.core.human import event_of
from leoflowd.scheduler.inbox import RunChanged
from leoflowd.store import hitl_details
from leoflowd.store.hitl_details import Settled
from tests.conftest import PATIENCE_S
from tests.integration.api.api_client import START, Client, Clock
from tests.integration.scheduler.conftest import World, dag, task, utc_now

RUN = "/api/v2/dags/d/dagRuns/r1"
DETAIL = f"{RUN}/taskInstances/ask/-1/hitlDetails"
TASK = f"{RUN}/taskInstances/ask"
ASKED: dict[str, Any] = {
    "subject": "Deploy 50%?",
    "body": "**now**\x00",
    "options": ["Yes", "No"],
    "params": {
        "zone": {"value": "eu", "schema": {"type": "string"}, "description": None, "source": "task"},
        "age": {"value": 3, "schema": {"type": "integer"}, "description": "years", "source": "task"},
    },
}
YES = {"chosen_options": ["Yes"], "params_input": {}}


def moment(at: datetime) -> dict[str, Any]:
    data = {"timestamp": at.timestamp(), "tz": "UTC"}
    return {"__classname__": "datetime.datetime", "__version__": 2, "__data__": data}


async def asked(world: World, run: int | None = None, **changes: Any) -> NewWait:
    """Run a task until it asks."""
    if run is None:
        await world.create(dag("d", task("ask", retries=1, retry_delay_s=0.0), task("after", "ask")))
    before = len(world.pool.registered)
    (try_id,) = (await world.launched_ids(1)).values()
    await world.start(try_id)
    trigger = TriggerSpec(classpath="airflow.providers.standard.triggers.hitl.HITLTrigger", kwargs={**ASKED, **changes})
    outcome = Outcome(
        kind=OutcomeKind.DEFERRED,
        because="it asks",
        start_date=utc_now(),
        end_date=utc_now(),
        deferral=Deferral(trigger=trigger, next_method="execute_complete"),
    )
    with trio.fail_after(PATIENCE_S):
        await world.inbox.try_ended(await world.row(try_id), outcome, rendered=None)
    await world.until(lambda: _registered(world, before + 1))
    return world.pool.registered[-1]


async def _registered(world: World, count: int) -> bool:
    return len(world.pool.registered) >= count


async def settled(world: World, now: datetime = START) -> dict[str, Answer | None]:
    return {one.wait_id: one.answer for one in await StoredQuestions(world.db.pool).settle(now)}


async def end(world: World, wait: NewWait, answer: Answer) -> None:
    """As the pool does."""
    told = WaitEnd(id=str(wait.id), dag_run_id=wait.dag_run_id, resume=ResumeWith(event=event_of(answer)))
    with trio.fail_after(PATIENCE_S):
        await world.inbox.waits_ended([told])


async def detail(client: Client, status: int, body: Any = YES, path: str = DETAIL) -> Any:
    return (await client.send("PATCH", path, body, status=status))["detail"]


# --- asking and answering ----------------------------------------------------------------------------------------


async def test_the_question_and_the_move_are_one_commit_and_all_of_it_is_shown(world: World, admin: Client) -> None:
    async with world.leading():
        wait = await asked(world, assigned_users=[{"id": "admin", "name": "Admin"}])
        found = await admin.get(DETAIL)
    instance = found.pop("task_instance")
    assert (instance["task_id"], instance["state"], instance["id"]) == ("ask", "deferred", str(wait.id))
    assert instance["trigger"]["classpath"] == "airflow.providers.standard.triggers.hitl.HITLTrigger"
    params = found.pop("params")
    assert list(params) == ["zone", "age"]
    assert params == ASKED["params"]
    created_at = found.pop("created_at")
    assert datetime.fromisoformat(created_at) == wait.registered_at
    assert found == {
        "subject": "Deploy 50%?",
        "body": "**now**\\x00",
        "options": ["Yes", "No"],
        "defaults": None,
        "multiple": False,
        "assigned_users": [{"id": "admin", "name": "Admin"}],
        "responded_by_user": None,
        "responded_at": None,
        "chosen_options": None,
        "params_input": {},
        "response_received": False,
    }


async def test_an_answer_is_what_the_wait_is_told(world: World, admin: Client) -> None:
    async with world.leading():
        wait = await asked(world)
        assert await settled(world) == {}
        answer = await admin.send(
            "PATCH", DETAIL, {"chosen_options": ["Yes"], "params_input": {"age": 4, "zone": "us"}}
        )
        assert answer == {
            "responded_by": {"id": "admin", "name": "admin"},
            "responded_at": "2026-11-21T03:00:00Z",
            "chosen_options": ["Yes"],
            "params_input": {"age": 4, "zone": "us"},
        }
        found = await settled(world)
        (given,) = found.values()
        assert given is not None
        assert (list(found), msgspec.to_builtins(given)["responded_by"]["id"]) == ([str(wait.id)], "admin")
        await end(world, wait, given)
        assert await settled(world) == {}
        sent, _ = await world.dispatched()
        resume = sent[0].spec.resume
        assert resume is not None
        assert msgspec.json.decode(resume.event or "")["params_input"] == {"age": 4, "zone": "us"}
        shown = await admin.get(DETAIL)
        assert (shown["response_received"], shown["responded_by_user"]) == (True, {"id": "admin", "name": "admin"})


async def test_of_two_answers_at_once_one_counts(world: World, admin: Client) -> None:
    statuses: list[int] = []

    async def one(option: str) -> None:
        answer = await admin.call("PATCH", DETAIL, json={"chosen_options": [option]})
        statuses.append(answer.status_code)

    async with world.leading():
        await asked(world)
        async with trio.open_nursery() as nursery:
            for option in ("Yes", "No", "Yes", "No"):
                nursery.start_soon(one, option)
        assert sorted(statuses) == [200, 409, 409, 409]
        assert len(await settled(world)) == 1
        assert "already been updated" in await detail(admin, 409)


async def test_only_those_who_are_named_may_answer(world: World, admin: Client, api_context: ApiContext) -> None:
    async with world.leading():
        await asked(world, assigned_users=[{"id": "anna", "name": "Anna"}])
        assert "not a respondent" in await detail(admin, 403)
        async with world.db.api.transaction() as conn:
            for name, role in (("anna", "User"), ("vera", "Viewer")):
                await conn.execute(
                    b"INSERT INTO app_user VALUES (%(name)s, 'x', %(role)s, %(now)s, %(now)s)",
                    {"name": name, "role": role, "now": START},
                )
        async with admin.app.app_context():
            anna = Client(admin.app, token=await auth.issue_token("anna", 3600))
            vera = Client(admin.app, token=await auth.issue_token("vera", 3600))
        await detail(vera, 403)
        await anna.send("PATCH", DETAIL, YES)


async def test_answers_that_do_not_fit_are_refused_and_the_question_stays_open(world: World, admin: Client) -> None:
    async with world.leading():
        await asked(world)
        for body, where in (
            ({"chosen_options": []}, "chosen_options"),
            ({}, "chosen_options"),
            ({"chosen_options": ["Maybe"]}, "chosen_options"),
            ({"chosen_options": ["Yes", "No"]}, "chosen_options"),
            ({"chosen_options": ["Yes"], "params_input": {"zone": "us"}}, "params_input"),
            ({"chosen_options": ["Yes"], "params_input": {"zone": "us", "age": "old"}}, "params_input"),
            ({"chosen_options": ["Yes"], "params_input": {"zone": "x" * 200_000, "age": 1}}, "params_input"),
        ):
            (fault,) = await detail(admin, 422, body)
            assert where in (*fault["loc"], *fault["msg"].split()), fault
        await detail(admin, 404, path=f"{RUN}/taskInstances/nobody/-1/hitlDetails")
        assert "does not exist" in await detail(admin, 404, path=f"{RUN}/taskInstances/after/-1/hitlDetails")
        await admin.send("PATCH", DETAIL, {**YES, "unknown": 1})


# --- how a question ends otherwise -------------------------------------------------------------------------------


async def test_when_its_time_has_passed_the_defaults_are_the_answer(world: World, admin: Client) -> None:
    async with world.leading():
        wait = await asked(world, defaults=["No"], timeout_datetime=moment(START + timedelta(hours=1)))
        assert wait.deadline_at == START + timedelta(hours=1)
        questions = StoredQuestions(world.db.pool)
        assert await questions.next_deadline() == wait.deadline_at
        assert await settled(world, START) == {}
        later = START + timedelta(hours=2)
        found = await settled(world, later)
        given = found[str(wait.id)]
        assert given == Answer(chosen_options=("No",), params_input={"zone": "eu", "age": 3}, responded_at=later)
        assert await questions.next_deadline() is None
        await detail(admin, 409)
        shown = await admin.get(DETAIL)
        assert (shown["response_received"], shown["responded_by_user"]) == (True, None)


async def test_without_defaults_it_is_closed(world: World, admin: Client) -> None:
    async with world.leading():
        wait = await asked(world, timeout_datetime=moment(START))
        assert await settled(world, START) == {str(wait.id): None}
        assert "no longer waits" in await detail(admin, 409)
        assert (await admin.get(DETAIL))["response_received"] is False


async def test_an_answer_that_came_first_stays_when_the_time_passes(world: World, admin: Client) -> None:
    async with world.leading():
        wait = await asked(world, defaults=["No"], timeout_datetime=moment(START))
        await admin.send("PATCH", DETAIL, YES)
        given = (await settled(world, START + timedelta(hours=1)))[str(wait.id)]
        assert given is not None
        assert given.chosen_options == ("Yes",)


async def test_an_answer_that_is_being_written_is_waited_for_by_the_deadline(world: World) -> None:
    async with world.leading():
        wait = await asked(world, defaults=["No"], timeout_datetime=moment(START))
        found: list[dict[str, Answer | None]] = []

        async def look() -> None:
            found.append(await settled(world, START))

        async with trio.open_nursery() as nursery, world.db.api.transaction() as conn:
            question = await hitl_details.lock_question(conn, dag_id="d", run_id="r1", task_id="ask", map_index=-1)
            assert question is not None
            assert question.is_open
            given = Answer(chosen_options=("Yes",), responded_at=START)
            assert await hitl_details.answer(conn, question.wait_id, given)
            nursery.start_soon(look)
            await world.until(lambda: _is_somebody_blocked(world))
            assert found == []
        assert found == [{str(wait.id): given}]


async def _is_somebody_blocked(world: World) -> bool:
    async with world.db.scheduler.connection() as conn:
        cursor = await conn.execute(b"SELECT count(*) FROM pg_locks WHERE NOT granted")
        row = await cursor.fetchone()
        return row is not None and row[0] > 0


async def test_a_task_that_was_marked_takes_no_answer(world: World, admin: Client) -> None:
    async with world.leading():
        await asked(world)
        await admin.send("PATCH", TASK, {"new_state": "failed"})
        assert "no longer waits" in await detail(admin, 409)
        assert await settled(world) == {}


async def test_a_clear_asks_anew_and_the_old_question_is_history(world: World, admin: Client) -> None:
    async with world.leading():
        first = await asked(world)
        await admin.send("PATCH", DETAIL, YES)
        body = {"dry_run": False, "dag_run_id": "r1", "task_ids": ["ask"], "only_failed": False}
        await admin.send("POST", "/api/v2/dags/d/clearTaskInstances", body)
        await world.inbox.put(RunChanged(first.dag_run_id))
        assert await settled(world) == {}
        second = await asked(world, run=first.dag_run_id, subject="Again?")
        assert second.id != first.id
        shown = await admin.get(DETAIL)
        assert (shown["subject"], shown["response_received"]) == ("Again?", False)
        old = await admin.get(f"{DETAIL}/tries/1")
        assert (old["subject"], old["chosen_options"]) == ("Deploy 50%?", ["Yes"])
        assert old["task_instance"]["try_number"] == 1
        assert (await admin.get(f"{DETAIL}/tries/2"))["subject"] == "Again?"
        await admin.send("GET", f"{DETAIL}/tries/3", status=404)
        await admin.send("PATCH", DETAIL, YES)
        assert list(await settled(world)) == [str(second.id)]


async def test_a_try_that_asks_twice_is_answered_twice(world: World, admin: Client) -> None:
    async with world.leading():
        first = await asked(world)
        await admin.send("PATCH", DETAIL, YES)
        (given,) = (await settled(world)).values()
        assert given is not None
        await end(world, first, given)
        second = await asked(world, run=first.dag_run_id, subject="Sure?")
        shown = await admin.get(DETAIL)
        assert (shown["subject"], shown["response_received"], shown["chosen_options"]) == ("Sure?", False, None)
        assert await settled(world) == {}
        await admin.send("PATCH", DETAIL, YES)
        assert list(await settled(world)) == [str(second.id)]


async def test_an_answer_is_kept_while_the_dag_is_paused(world: World, admin: Client) -> None:
    async with world.leading():
        wait = await asked(world, defaults=["No"], timeout_datetime=moment(START))
        await admin.send("PATCH", "/api/v2/dags/d", {"is_paused": True})
        assert await settled(world, START) == {}
        await admin.send("PATCH", DETAIL, YES)
        found: tuple[Settled, ...] = tuple(await StoredQuestions(world.db.pool).settle(START))
        assert [one.wait_id for one in found] == [str(wait.id)]


# --- lists -------------------------------------------------------------------------------------------------------


async def test_the_list_is_filtered_and_sorted(world: World, admin: Client, clock: Clock) -> None:
    async with world.leading():
        await asked(world)
        listed = f"{RUN}/hitlDetails"
        for query, count in (
            ("", 1),
            ("?state=deferred&response_received=false", 1),
            ("?state=awaiting_input", 0),
            ("?response_received=true", 0),
            ("?subject_search=ploy", 1),
            ("?subject_search=nothing", 0),
            ("?body_search=now", 1),
            ("?task_id=ask", 1),
            ("?task_id=after", 0),
            ("?task_id_pattern=as", 1),
            ("?dag_id_prefix_pattern=x", 0),
            ("?map_index=-1", 1),
            ("?map_index=0", 0),
            ("?responded_by_user_name=admin", 0),
            ("?created_at_gte=2100-01-01T00:00:00Z", 0),
            ("?order_by=-subject&order_by=responded_at", 1),
        ):
            page = await admin.get(listed + query)
            assert (len(page["hitl_details"]), page["total_entries"]) == (count, count), query
        assert (await admin.get("/api/v2/dags/~/dagRuns/~/hitlDetails"))["total_entries"] == 1
        await admin.send("GET", f"{listed}?order_by=body", status=422)
        assert (await admin.get("/api/v2/dags/d/dagRuns/none/hitlDetails"))["total_entries"] == 0
        await admin.send("PATCH", DETAIL, YES)
        page = await admin.get(f"{listed}?responded_by_user_name=admin&responded_by_user_id=admin")
        assert page["hitl_details"][0]["task_instance"]["task_id"] == "ask"


async def test_the_dag_list_counts_what_is_asked_now(world: World, admin: Client) -> None:
    async def pending(query: str = "") -> list[list[str]]:
        found = (await admin.get(f"/ui/dags{query}"))["dags"]
        return [[one["task_instance"]["task_id"] for one in row["pending_actions"]] for row in found]

    async with world.leading():
        await asked(world)
        assert await pending() == [["ask"]]
        assert await pending("?has_pending_actions=true") == [["ask"]]
        assert await pending("?has_pending_actions=false") == []
        await admin.send("PATCH", DETAIL, YES)
        assert await pending() == [[]]
        assert await pending("?has_pending_actions=true") == []
