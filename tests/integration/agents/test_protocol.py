"""Agents of the neighbouring releases, as the service meets them: what an old one knows, and what a new one adds."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from leoflowd.contract import agent_messages as m
from leoflowd.core.try_tokens import try_token
from tests.integration.agents.conftest import HOST_TOKEN, REFUSED, SECRET, Service, outcome
from tests.integration.scheduler.conftest import World, dag, task, utc_now

BEFORE, NEWER = m.PROTOCOL - 1, m.PROTOCOL + 1


async def new_try(world: World) -> tuple[int, str]:
    run = await world.create(dag("d", task("a")))
    return run, (await world.launched_ids(1))["a"]


def host_hello(**fields: Any) -> dict[str, Any]:
    hello = {"type": "HostHello", "host_token": HOST_TOKEN, "boot_id": "b", "hostname": "h", "pid": 1}
    return {**hello, "known_try_ids": [], "protocol": m.PROTOCOL, **fields}


def try_hello(try_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "TryHello",
        "try_id": try_id,
        "token": try_token(SECRET, try_id),
        "hostname": "h",
        "protocol": m.PROTOCOL,
        **fields,
    }


async def test_an_agent_of_the_release_before_is_told_nothing_that_it_does_not_know(service: Service) -> None:
    """It refuses a message with a field more, so these are all the fields."""
    async with service.stream(m.ATTACH, Any, Any) as agent:
        await agent.say(host_hello(protocol=BEFORE))
        assert await agent.hear() == {"type": "HostWelcome", "protocol": BEFORE}
    run, try_id = await new_try(service.world)
    async with service.stream(m.TRY, Any, Any) as agent:
        await agent.say(try_hello(try_id, pid=7, started_at=utc_now(), wants_spec=False, protocol=BEFORE))
        assert await agent.hear() == {"type": "Welcome", "log_offset": 0, "protocol": BEFORE}
        await agent.say(outcome())
        assert await agent.hear() == {"type": "OutcomeStored"}
    assert await service.world.states(run) == {"a": "success"}


async def test_what_a_newer_agent_says_besides_is_ignored(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run, try_id = await new_try(service.world)
    async with service.stream(m.TRY, Any, Any) as agent:
        await agent.say(try_hello(try_id, started_at=utc_now(), protocol=NEWER, mood="good"))
        assert await agent.hear() == {"type": "Welcome", "log_offset": 0, "protocol": m.PROTOCOL}
        for _ in range(3):
            await agent.say({"type": "Telemetry", "cpu": 0.5})
        await agent.say({"type": "LogChunk", "offset": 0, "content": b"one\n", "stream": "stderr"})
        await agent.say(outcome())
        assert await agent.hear() == {"type": "OutcomeStored"}
    assert await service.world.states(run) == {"a": "success"}
    assert [log.read_bytes() for log in service.logs.rglob("*.ndjson")] == [b"one\n"]
    assert service.refused == []
    assert len([record for record in caplog.records if "agent_message_unknown" in record.getMessage()]) == 1


async def test_a_question_that_only_newer_daemons_know_is_refused_with_a_sentence(service: Service) -> None:
    _, try_id = await new_try(service.world)
    async with service.a_try(try_id, started_at=utc_now(), protocol=NEWER) as agent:
        await agent.hear()
        await agent.say({"type": "MoodAsk", "request_id": 5, "key": "k"})
        answer = await agent.hear()
        assert isinstance(answer, m.Refused)
        assert answer.request_id == 5
        assert "does not know the question MoodAsk" in answer.refused
        await agent.say(m.XComPull(request_id=6))
        assert await agent.hear() == m.XComValues(request_id=6)


async def test_an_older_agent_is_never_sent_what_is_newer(service: Service) -> None:
    _, try_id = await new_try(service.world)
    async with service.a_try(try_id, started_at=utc_now(), protocol=BEFORE) as agent:
        await agent.hear()
        await agent.say({"type": "DagAsk", "request_id": 5, "dag_id": "d"})
        await agent.say(m.XComPull(request_id=6))
        assert await agent.hear() == m.XComValues(request_id=6)


async def test_a_newer_host_attaches_and_is_launched_to(service: Service) -> None:
    async with service.stream(m.ATTACH, Any, Any) as agent:
        await agent.say(host_hello(protocol=NEWER, zone="eu"))
        assert await agent.hear() == {"type": "HostWelcome", "protocol": m.PROTOCOL}
        await agent.say({"type": "HostLoad", "cpus": 2})
        await service.world.create(dag("d", task("a")))
        [launched], _ = await service.world.dispatched()
        service.launches.put(m.Launch(spec=launched.spec, token="t"))
        assert (await agent.hear())["spec"]["try_id"] == launched.spec.try_id


@pytest.mark.parametrize("protocol", [m.PROTOCOL + 2, m.PROTOCOL - 2])
async def test_an_agent_that_is_too_far_away_is_refused(service: Service, protocol: int) -> None:
    _, try_id = await new_try(service.world)
    for method, hello in ((m.ATTACH, host_hello(protocol=protocol)), (m.TRY, try_hello(try_id, protocol=protocol))):
        async with service.stream(method, Any, Any) as agent:
            await agent.say(hello)
            with pytest.raises(REFUSED):
                await agent.hear()
    assert not service.service.host_attached
    assert service.refused == [], "the try is not to blame"


async def test_a_pod_is_given_the_spec_that_a_launch_would_bring(service: Service) -> None:
    await service.world.create(dag("d", task("a", env={"x": "y"})))
    [launched], _ = await service.world.dispatched()
    async with service.a_try(launched.spec.try_id, wants_spec=True, protocol=m.PROTOCOL) as agent:
        assert await agent.hear() == m.Welcome(log_offset=0, spec=launched.spec, protocol=m.PROTOCOL)


async def test_a_spec_that_no_message_holds_ends_its_try(service: Service) -> None:
    await service.world.create(dag("d", task("a", env={"A": "x" * 17 * 1024 * 1024})))
    try_id = (await service.world.launched_ids(1))["a"]
    async with service.a_try(try_id, wants_spec=True) as agent:
        with pytest.raises(REFUSED):
            await agent.hear()
    [(refused, kind, because)] = service.refused
    assert (refused, kind) == (try_id, m.OutcomeKind.FAILED)
    assert because.startswith("the try cannot be launched: what it needs to know is too much")
