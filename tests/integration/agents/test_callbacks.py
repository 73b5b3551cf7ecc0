"""The process of a callback at the agents' service: its rows, its log, and agents that know no callbacks."""

from __future__ import annotations

from leoflowd.contract import agent_messages as m
from leoflowd.contract.logs import TryLog
from leoflowd.store import callbacks
from leoflowd.store.log_files import LogFiles
from tests.integration.scheduler.conftest import dag, task, utc_now

from .conftest import HOST_TOKEN, Service, outcome


async def a_failure(service: Service) -> tuple[int, list[str]]:
    """The try of task `a` ended with a line in its log; the ids of its callback and of its run's."""
    world = service.world
    run = await world.create(dag("d", task("a", callbacks=("failure",)), callbacks=("failure",)))
    try_id = (await world.launched_ids(1))["a"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.LogChunk(offset=0, content=b'{"event":"task"}\n'))
        await agent.say(outcome(kind=m.OutcomeKind.FAILED))
        await agent.hear()
    async with world.db.api.connection() as conn:
        return run, [str(row.try_id) for row in await callbacks.list_open(conn, at_most=9)]


async def log_of(service: Service, run: int, task_id: str, number: int) -> bytes:
    log = TryLog(dag_id="d", run_id="r1", dag_run_id=run, task_id=task_id, map_index=-1, try_number=number)
    return await LogFiles(service.logs).read(log, 0, 999)


async def say_all(service: Service, try_id: str, line: bytes, kind: m.OutcomeKind = m.OutcomeKind.SUCCESS) -> None:
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        welcome = await agent.hear()
        assert welcome.log_offset == 0, "it writes a part of its own"
        await agent.say(m.LogChunk(offset=0, content=line))
        await agent.say(m.XComPush(key="k", value="1"))
        await agent.say(outcome(kind=kind))
        assert isinstance(await agent.hear(), m.OutcomeStored)


async def states(service: Service) -> list[tuple[str, int, bool]]:
    async with service.world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT state, starts, started_at IS NOT NULL FROM callback ORDER BY id")
        return list(await cursor.fetchall())


async def test_what_a_callback_writes_stands_behind_the_try_that_it_is_about(service: Service) -> None:
    run, (of_task, of_dag) = await a_failure(service)
    await say_all(service, of_task, b'{"event":"callback"}\n')
    await say_all(service, of_dag, b'{"event":"dag"}\n')
    assert await log_of(service, run, "a", 1) == b'{"event":"task"}\n{"event":"callback"}\n'
    assert await log_of(service, run, callbacks.OF_DAG, 2) == b'{"event":"dag"}\n'
    assert await states(service) == [("success", 1, True), ("success", 1, True)]
    async with service.world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT count(*) FROM xcom")
        assert await cursor.fetchone() == (0,), "its task has ended, and pushes nothing any more"


async def test_a_process_that_was_lost_is_followed_in_the_same_log(service: Service) -> None:
    run, (_, of_dag) = await a_failure(service)
    await say_all(service, of_dag, b'{"event":"one"}\n', m.OutcomeKind.LOST)
    async with service.world.db.api.connection() as conn:
        again = [str(row.try_id) for row in await callbacks.list_open(conn, at_most=9)][-1]
    assert again != of_dag
    await say_all(service, again, b'{"event":"two"}\n')
    assert await log_of(service, run, callbacks.OF_DAG, 2) == b'{"event":"one"}\n{"event":"two"}\n'
    async with service.a_try(of_dag) as agent:
        assert await agent.hear() == m.Terminate(reason="this try is no longer current", stale=True)


async def test_a_callback_that_runs_is_not_taken_for_a_try_that_is_gone(service: Service) -> None:
    _, (of_task, _) = await a_failure(service)
    async with service.a_try(of_task, started_at=utc_now()) as agent:
        await agent.hear()
        await service.service._compare(dict(service.service._sessions))
        await agent.say(m.VariableAsk(request_id=1, key="nothing"))
        assert await agent.hear() == m.VariableAnswer(request_id=1), "no Terminate came before it"


async def test_a_pod_is_told_what_the_callback_is(service: Service) -> None:
    _, (of_task, of_dag) = await a_failure(service)
    for try_id, is_of_dag in ((of_task, False), (of_dag, True)):
        async with service.a_try(try_id, wants_spec=True) as agent:
            spec = (await agent.hear()).spec
            assert (spec.kind, spec.task_id, spec.callback.event) == ("callback", "a", "failure")
            assert spec.callback.of_dag is is_of_dag


async def test_an_agent_that_knows_no_callbacks_is_given_none(service: Service) -> None:
    """It would run the task again."""
    spec = m.TrySpec(
        try_id="one",
        dag_run=m.DagRunFacts(dag_id="d", run_id="r", run_type="manual", run_after=utc_now()),
        task_id="a",
        try_number=1,
        max_tries=0,
        kind="callback",
        operator="X",
        bundle_digest="0" * 64,
        callback=m.CallbackCall(event="failure", state="failed"),
    )
    service.launches.put(m.Launch(spec=spec, token="t"))
    service.launches.put(m.Launch(spec=m.TrySpec(**{**_fields(spec), "try_id": "two", "callback": None}), token="t"))
    async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as agent:
        hello = m.HostHello(host_token=HOST_TOKEN, boot_id="b", hostname="h", pid=1, protocol=m.CALLBACKS_SINCE - 1)
        await agent.say(hello)
        await agent.hear()
        launch = await agent.hear()
        assert launch.spec.try_id == "two"
    assert [(try_id, kind) for try_id, kind, _ in service.refused] == [("one", m.OutcomeKind.FAILED)]


def _fields(spec: m.TrySpec) -> dict[str, object]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}
