"""The agent service as an agent meets it: over its socket, with the real scheduler and Postgres behind it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from leoflowd.contract import agent_messages as m
from leoflowd.core.try_tokens import try_token
from leoflowd.scheduler.inbox import Inbox, RunChanged
from leoflowd.store import dag_runs, task_instances
from leoflowd.store.hints import Hint
from tests.integration.agents.conftest import HOST_TOKEN, REFUSED, SECRET, Service, outcome
from tests.integration.scheduler.conftest import dag, task, utc_now


async def test_a_try_reports_from_hello_to_stored_outcome(service: Service) -> None:
    run = await service.world.create(dag("d", task("a"), task("b", "a")))
    try_id = (await service.world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        assert await agent.hear() == m.Welcome(log_offset=0, protocol=m.PROTOCOL)
        await agent.say(m.LogChunk(offset=0, content=b'{"event":"one"}\n'))
        await agent.say(m.XComPush(key="k", value='{"x": 1}'))
        await agent.say(m.RenderedFields(fields='{"op_args": [1]}'))
        await agent.say(outcome(xcoms=(m.XComItem(key="return_value", value="42"),)))
        assert await agent.hear() == m.OutcomeStored()
    assert (await service.world.states(run)) == {"a": "success", "b": "queued"}
    [log] = service.logs.rglob("*.ndjson")
    assert log.read_bytes() == b'{"event":"one"}\n'
    async with service.world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT key, value FROM xcom ORDER BY key")
        assert await cursor.fetchall() == [("k", {"x": 1}), ("return_value", 42)]
        cursor = await conn.execute(b"SELECT hostname, pid, rendered_fields FROM task_instance WHERE task_id = 'a'")
        assert await cursor.fetchone() == ("host", 7, {"op_args": [1]})


async def test_a_returning_agent_goes_on_where_its_log_stopped(service: Service) -> None:
    await service.world.create(dag("d", task("a")))
    try_id = (await service.world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.LogChunk(offset=0, content=b"one\ntwo\n"))
        await agent.say(m.XComPull(request_id=1, key="none"))
        await agent.hear()
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        assert await agent.hear() == m.Welcome(log_offset=8, protocol=m.PROTOCOL)
        await agent.say(m.LogChunk(offset=4, content=b"two\nthree\n"))
        await agent.say(outcome())
        await agent.hear()
    [log] = service.logs.rglob("*.ndjson")
    assert log.read_bytes() == b"one\ntwo\nthree\n"


async def test_an_outcome_told_twice_is_stored_once(service: Service) -> None:
    await service.world.create(dag("d", task("a", retries=3, retry_delay_s=0)))
    try_id = (await service.world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(outcome(kind=m.OutcomeKind.FAILED))
        await agent.hear()
    await service.world.launched_ids(1)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        answer = await agent.hear()
    assert isinstance(answer, m.Terminate)
    assert answer.stale


@pytest.mark.parametrize("token", ["", "0" * 64])
async def test_a_wrong_token_is_refused(service: Service, token: str) -> None:
    await service.world.create(dag("d", task("a")))
    try_id = (await service.world.launched_ids(1))["a"]
    async with service.a_try(try_id, token=token or "x") as agent:
        with pytest.raises(REFUSED):
            await agent.hear()


async def test_the_token_of_one_try_opens_no_other(service: Service) -> None:
    await service.world.create(dag("d", task("a"), task("b")))
    ids = await service.world.launched_ids(2)
    async with service.a_try(ids["a"], token=try_token(SECRET, ids["b"])) as agent:
        with pytest.raises(REFUSED):
            await agent.hear()


async def test_an_xcom_of_another_run_is_pulled_by_its_run_id(service: Service) -> None:
    spec = dag("d", task("a"))
    await service.world.create(spec, "r1")
    await service.world.end((await service.world.launched_ids(1))["a"], return_value='"from r1"')
    await service.world.create(spec, "r2")
    try_id = (await service.world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.XComPull(request_id=5, task_ids=("a",), run_id="r1"))
        answer = await agent.hear()
        await agent.say(m.XComPull(request_id=6, task_ids=("a",)))
        nothing = await agent.hear()
    assert answer == m.XComValues(
        request_id=5, values=(m.XComInput(task_id="a", key="return_value", value='"from r1"'),)
    )
    assert nothing == m.XComValues(request_id=6, values=())


async def test_a_question_is_answered_on_the_stream_of_its_try(service: Service) -> None:
    await service.world.create(dag("d", task("a")))
    try_id = (await service.world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.ConnectionAsk(request_id=1, connection_id="pg"))
        assert await agent.hear() == m.ConnectionAnswer(request_id=1)
        await agent.say(m.DagRunAsk(request_id=2, dag_id="d", run_id="new"))
        assert await agent.hear() == m.DagRunAnswer(request_id=2, run_id="new")
        await agent.say(m.CountsAsk(request_id=3, dag_id="d"))
        assert await agent.hear() == m.CountsAnswer(request_id=3, count=2)


async def test_clearing_a_running_task_tells_its_agent_to_stop(service: Service) -> None:
    world = service.world
    run = await world.create(dag("d", task("a")))
    try_id = (await world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        async with world.db.api.transaction() as conn:
            await dag_runs.lock_dag_run(conn, "d", "r1")
            await task_instances.clear_instances(
                conn, run, [("a", -1)], now=utc_now(), because="cleared", reset_dag_run=True
            )
        await service.hints.send(Hint("run", str(run)))
        await world.inbox.put(RunChanged(run))
        answer = await agent.hear()
        assert isinstance(answer, m.Terminate)
        assert not answer.stale
        await agent.say(outcome(kind=m.OutcomeKind.TERMINATED, because="told to stop"))
        assert await agent.hear() == m.OutcomeStored()
    assert (await world.launched_ids(1))["a"] != try_id


async def test_deleting_the_run_stops_the_try_for_good(service: Service) -> None:
    world = service.world
    run = await world.create(dag("d", task("a")))
    try_id = (await world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        async with world.db.api.connection() as conn:
            await conn.execute(b"DELETE FROM dag_run")
        await service.hints.send(Hint("run", str(run)))
        answer = await agent.hear()
    assert isinstance(answer, m.Terminate)
    assert answer.stale


async def test_a_host_with_a_foreign_token_gets_no_work(service: Service) -> None:
    async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as host:
        await host.say(m.HostHello(host_token="guess", boot_id="b", hostname="h", pid=1, protocol=m.PROTOCOL))
        with pytest.raises(REFUSED):
            await host.hear()


async def test_a_host_gets_each_launch_once(service: Service) -> None:
    spec = m.TrySpec(
        try_id="t1",
        dag_run=m.DagRunFacts(dag_id="d", run_id="r", run_type="manual", run_after=utc_now()),
        task_id="a",
        try_number=1,
        max_tries=0,
        kind="python",
        operator="PythonOperator",
        bundle_digest="x",
    )
    other = m.Launch(spec=m.TrySpec(**{**_fields(spec), "try_id": "t2"}), token="t")
    async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as host:
        await host.say(m.HostHello(host_token=HOST_TOKEN, boot_id="b", hostname="h", pid=1, protocol=m.PROTOCOL))
        assert isinstance(await host.hear(), m.HostWelcome)
        service.launches.put(m.Launch(spec=spec, token="t"))
        service.launches.put(m.Launch(spec=spec, token="t"))
        service.launches.put(other)
        heard = [await host.hear(), await host.hear()]
    assert [launch.spec.try_id for launch in heard] == ["t1", "t2"]


async def test_a_broken_message_costs_its_own_stream_only(service: Service) -> None:
    await service.world.create(dag("d", task("a")))
    try_id = (await service.world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.LogChunk(offset=999, content=b"gap\n"))
        with pytest.raises(REFUSED):
            await agent.hear()
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        assert await agent.hear() == m.Welcome(log_offset=0, protocol=m.PROTOCOL)


def _fields(spec: m.TrySpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


async def test_a_start_that_was_not_committed_is_told_again(service: Service) -> None:
    """Nobody acknowledges a start: the step that it was in may have failed."""
    run = await service.world.create(dag("d", task("a")))
    try_id = (await service.world.launched_ids(1))["a"]

    async def is_running() -> bool:
        return await service.world.states(run) == {"a": "running"}

    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await service.world.until(is_running)
        async with service.world.db.api.transaction() as conn:
            await conn.execute(b"UPDATE task_instance SET state = 'queued'")
            await dag_runs.touch_dag_run(conn, run, utc_now())
        await service.world.inbox.put(RunChanged(run))
        await service.world.settled()
        assert not await is_running()
        await service.hints.send(Hint("run", str(run)))
        await service.world.until(is_running)


async def test_what_the_agent_was_given_or_spoke_of_is_held_and_so_is_what_waits_for_it(service: Service) -> None:
    heard: list[tuple[frozenset[str], str]] = []

    class Heard(Inbox):
        async def term_ended(
            self, *, hostname: str, known_try_ids: frozenset[str], launcher: str, at: datetime
        ) -> None:
            heard.append((known_try_ids, hostname))

    service.service._reports = Heard()
    await service.service.tell_held(frozenset({"waits"}), utc_now())
    assert heard == [], "nobody is attached, and its arrival tells"
    service.service._reports = service.world.inbox
    await service.world.create(dag("d", task("given"), task("spoke"), task("never")))
    ids = await service.world.launched_ids(3)
    hello = m.HostHello(
        host_token=HOST_TOKEN, boot_id="b", hostname="there", pid=7, known_try_ids=("old",), protocol=m.PROTOCOL
    )
    async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as agent, service.a_try(ids["spoke"]) as speaking:
        await agent.say(hello)
        assert isinstance(await agent.hear(), m.HostWelcome)
        await speaking.hear()
        spec = next(iter((await service.world.dispatched())[0]), None)
        assert spec is not None
        service.launches.put(m.Launch(spec=spec.spec, token="t"))
        given = await agent.hear()
        service.service._reports = Heard()
        await service.service.tell_held(frozenset({"waits"}), utc_now())
        assert heard == [(frozenset({"waits", "old", given.spec.try_id, ids["spoke"]}), "there")]
