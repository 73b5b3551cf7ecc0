"""A task can write its own control socket and outcome: whatever it makes its agent say harms no one but itself, and no
try stays running because the daemon will not take what it says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from leoflowd.contract import agent_messages as m
from leoflowd.contract.values import KEY_MAX
from tests.integration.agents.conftest import Service, outcome
from tests.integration.scheduler.conftest import dag, task, utc_now

LAST = datetime(9999, 12, 31, 12, tzinfo=UTC)


async def running(service: Service) -> tuple[int, str]:
    run = await service.world.create(dag("d", task("a"), task("b", "a")))
    return run, (await service.world.launched_ids(1))["a"]


async def because(service: Service) -> str:
    async with service.world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT because FROM task_instance WHERE task_id = 'a'")
        [[text]] = await cursor.fetchall()
    return str(text)


def xcom(key: str = "k", value: str = "1") -> m.Outcome:
    return outcome(xcoms=(m.XComItem(key=key, value=value),))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (xcom(key=""), "the key of an XCom is empty"),
        (xcom(key="k" * 600), f"the key of an XCom has 600 characters; at most {KEY_MAX} are possible"),
        (xcom(key="a\0b"), r"the key of an XCom holds \x00"),
        (xcom(value="no JSON"), "XCom 'k' is not JSON that can be stored"),
        (xcom(value='"\\ud800"'), "XCom 'k' is not JSON that can be stored"),
        (xcom(value="[" * 300 + "]" * 300), "is nested more than 256 levels deep"),
        (xcom(value='"' + "x" * m.XCOM_MAX_BYTES + '"'), "is larger than 262144 bytes"),
        (outcome(start_date=LAST), "its start is not between 0001-01-02 and 9999-12-30"),
        (outcome(end_date=datetime(2026, 1, 1)), "its end has no time zone"),  # noqa: DTZ001
        (outcome(kind=m.OutcomeKind.RESCHEDULE, reschedule_at=LAST), "the moment it wants to run again at is not"),
        (outcome(kind=m.OutcomeKind.RESCHEDULE), "it does not say when to run again"),
        (outcome(kind=m.OutcomeKind.DEFERRED), "what it waits for cannot be read"),
        (outcome(kind=m.OutcomeKind.DEFERRED, deferral_json="{}"), "it must wait for a trigger or for a sensor's"),
        (
            outcome(kind=m.OutcomeKind.DEFERRED, deferral_json='{"wait": {"probe": {"kind": "a\\u0000"}}}'),
            r"the kind of what it waits for holds \x00",
        ),
    ],
)
async def test_an_outcome_that_cannot_be_stored_fails_its_try_for_good(
    service: Service,
    said: m.Outcome,
    words: str,
) -> None:
    run, try_id = await running(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(said)
        assert await agent.hear() == m.OutcomeStored()
    assert await service.world.states(run) == {"a": "failed", "b": "upstream_failed"}
    assert words in await because(service)


@pytest.mark.parametrize(
    "push", [m.XComPush(key="a\0b", value="1"), m.XComPush(key="", value="1"), m.XComPush(key="k", value="{")]
)
async def test_a_push_that_is_refused_fails_the_try_at_its_end(service: Service, push: m.XComPush) -> None:
    run, try_id = await running(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(push)
        await agent.say(outcome())
        assert await agent.hear() == m.OutcomeStored()
    assert (await service.world.states(run))["a"] == "failed"
    assert (await because(service)).startswith("an XCom that the task pushed is refused: ")


async def test_texts_about_a_fault_are_stored_as_they_can_be(service: Service) -> None:
    run, try_id = await running(service)
    async with service.a_try(try_id, started_at=LAST) as agent:
        await agent.hear()
        await agent.say(
            m.TryHello(
                try_id=try_id,
                token="",
                hostname="h\0st" * 200,
                pid=2**40,
                started_at=utc_now(),
                protocol=m.PROTOCOL,
            )
        )
        await agent.say(m.RenderedFields(fields='{"command\\u0000": "echo \\u0000", "n": 1e400}'))
        await agent.say(m.RenderedFields(fields='{"command\\u0000": "echo \\u0000"}'))
        await agent.say(m.RenderedFields(fields="[]"))
        await agent.say(outcome(kind=m.OutcomeKind.FAILED, because="ValueError: a\0b" + "x" * 5000))
        assert await agent.hear() == m.OutcomeStored()
    assert (await service.world.states(run))["a"] == "failed"
    assert (await because(service)).startswith(r"ValueError: a\x00bxxx")
    async with service.world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT pid, rendered_fields FROM task_instance WHERE task_id = 'a'")
        assert await cursor.fetchone() == (7, {r"command\x00": r"echo \x00"})


async def test_a_process_id_and_a_host_name_that_no_column_holds(service: Service) -> None:
    _, try_id = await running(service)
    async with service.a_try(try_id, started_at=LAST, pid=2**40, hostname="h\0st" * 200) as agent:
        await agent.hear()
        await agent.say(outcome())
        assert await agent.hear() == m.OutcomeStored()
    async with service.world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT pid, length(hostname), state FROM task_instance WHERE task_id = 'a'")
        assert await cursor.fetchone() == (None, 255, "success")


@pytest.mark.parametrize("value", ['"a\\u0000b"', str(2**70), "1e20", "[" * 256 + "]" * 256])
async def test_what_json_carries_is_given_back_as_it_came(service: Service, value: str) -> None:
    _, try_id = await running(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.XComPush(key="k", value=value))
        await agent.say(m.XComPull(request_id=1, key="k"))
        answer = await agent.hear()
    assert answer == m.XComValues(request_id=1, values=(m.XComInput(task_id="a", key="k", value=value),))


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (m.XComPull(request_id=1, key="a\0b"), r"the key of an XCom holds \x00"),
        (m.XComPull(request_id=1, task_ids=("a\0",)), r"an id in task_ids holds \x00"),
        (m.XComPull(request_id=1, run_id="r\0"), r"an id in run_id and dag_id holds \x00"),
        (m.XComPull(request_id=1, map_indexes=(2**31,)), "a map index is 2147483648"),
        (m.XComPull(request_id=2**63), "the number of the question is 9223372036854775808"),
        (m.ConnectionAsk(request_id=1, connection_id="c\0"), r"the id of a connection holds \x00"),
        (m.DagRunAsk(request_id=1, dag_id="d\0"), r"an id in dag_id holds \x00"),
        (m.DagRunAsk(request_id=1, dag_id="d", run_id="r\0"), r"run_id holds \x00"),
        (m.DagRunAsk(request_id=1, dag_id="d", run_id="r", note="n\0"), r"note holds \x00"),
        (m.DagRunAsk(request_id=1, dag_id="d", run_id="r", note="n" * 1001), "note has 1001 characters"),
        (m.DagRunAsk(request_id=1, dag_id="d", run_id="r", logical_date=LAST), "logical_date is not between"),
        (m.DagRunAsk(request_id=1, dag_id="d", run_id="r", conf="[]"), "conf is no JSON object"),
        (m.DagRunAsk(request_id=1, dag_id="d", run_id="r", conf='{"a": 1e999}'), "conf is not JSON that can be"),
        (m.DagRunAsk(request_id=1, dag_id="d", conf='{"a": "' + "x" * 300_000 + '"}'), "conf is larger than 262144"),
        (m.DagRunAsk(request_id=1, dag_id="d", run_id="r", run_after=LAST), "run_after is not between"),
        (m.DagAsk(request_id=1, dag_id="d\0"), r"an id in dag_id holds \x00"),
        (m.CountsAsk(request_id=1, dag_id="d", states=("s\0",)), r"an id in states holds \x00"),
        (m.CountsAsk(request_id=1, dag_id="d", logical_dates=(LAST,)), "a logical date is not between"),
    ],
)
async def test_a_question_that_cannot_be_asked_is_answered_with_a_sentence(
    service: Service,
    ask: Any,
    words: str,
) -> None:
    _, try_id = await running(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(ask)
        answer = await agent.hear()
        assert answer.request_id == ask.request_id
        assert words in answer.refused
        await agent.say(m.PreviousRunAsk(request_id=3, only_success=False))
        assert await agent.hear() == m.PreviousRun(request_id=3)


async def test_an_answer_that_no_message_holds_is_refused(service: Service) -> None:
    _, try_id = await running(service)
    value = '"' + "x" * (m.XCOM_MAX_BYTES - 2) + '"'
    async with service.world.db.api.connection() as conn:
        await conn.execute(
            b"INSERT INTO xcom (dag_run_id, task_id, map_index, key, value, created_at)"
            b" SELECT dag_run_id, task_id, n, 'k', %(value)s::json, now() FROM task_instance, generate_series(0, 70) n"
            b" WHERE task_id = 'a'",
            {"value": value},
        )
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.XComPull(request_id=1, key="k"))
        answer = await agent.hear()
    assert "the answer is too much: it takes 186" in answer.refused
