"""What an agent may send, keep, or not say: it costs its own stream or its own try, and nothing else."""

from __future__ import annotations

import errno
import logging
import math
import socket
from typing import Any

import msgspec
import pytest
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection

from leoflowd.agents import log_faults
from leoflowd.agents import service as service_module
from leoflowd.agents.questions import Questions
from leoflowd.agents.try_session import TrySession
from leoflowd.contract import agent_messages as m
from leoflowd.contract.agent_wire import MAX_MESSAGE_BYTES
from leoflowd.contract.errors import Invalid, StoreUnavailable
from leoflowd.contract.logs import LogNotStored, TryLog
from leoflowd.core.try_tokens import try_token
from leoflowd.store.log_files import LogFiles
from tests.conftest import PATIENCE_S
from tests.integration.agents.conftest import HOST_TOKEN, REFUSED, SECRET, Agent, Service, outcome
from tests.integration.scheduler.conftest import dag, task, utc_now
from tests.unit.executors.builders import try_spec


async def a_live_try(service: Service) -> str:
    await service.world.create(dag("d", task("a")))
    return (await service.world.launched_ids(1))["a"]


def launch(try_id: str, **fields: Any) -> m.Launch:
    return m.Launch(spec=msgspec.structs.replace(try_spec(try_id), **fields), token="t")


async def until(met: Any) -> None:
    with trio.fail_after(PATIENCE_S):
        while not met():  # noqa: ASYNC110  # what is waited for happens on the asyncio side
            await trio.sleep(0.01)


# --- what is no message ------------------------------------------------------------------------------------------

FRAMES = {
    "no MessagePack": b"\0\0\0\0\x04\xc1\xc1\xc1\xc1",
    "another type": b"\0\0\0\0\x01\x01",
    "nothing": b"\0\0\0\0\0",
    "compressed": b"\1\0\0\0\x01\x01",
    "larger than allowed": b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big") + b"x",
    "nested deeply": b"\0" + (100_000).to_bytes(4, "big") + b"\x91" * 100_000,
    "no UTF-8": b"\0\0\0\0\x07\x81\xa4type\xa1\xff",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
async def test_what_is_no_message_ends_its_stream_with_a_status_and_no_traceback(
    service: Service, frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say_bytes(frame)
        with pytest.raises(REFUSED):
            await agent.hear()
    assert [refused[:2] for refused in service.refused] == [(try_id, m.OutcomeKind.LOST)]
    assert [record for record in caplog.records if record.exc_info] == []
    await _another_try_is_served(service)


@pytest.mark.parametrize("method", [m.TRY, m.ATTACH])
async def test_a_stream_that_begins_with_the_wrong_message_is_ended(service: Service, method: str) -> None:
    async with service.stream(method, m.FromTry | m.HostBeat, m.ToTry) as agent:
        await agent.say(m.Beat() if method == m.TRY else m.HostBeat(running=0))
        with pytest.raises(REFUSED):
            await agent.hear()
    await _another_try_is_served(service)


async def test_a_frame_that_http2_does_not_know_costs_its_connection_only(service: Service) -> None:
    """grpclib raises out of its protocol for it, which trio-asyncio would raise in the daemon's own loop."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.setblocking(False)
        connection = trio.SocketStream(trio.socket.from_stdlib_socket(raw.dup()))
        await connection.socket.connect(str(service.socket))
        speaker = H2Connection(H2Configuration(client_side=True))
        speaker.initiate_connection()
        await connection.send_all(speaker.data_to_send() + b"\0\0\0\xee\0\0\0\0\0")
        with trio.fail_after(PATIENCE_S):
            while await connection.receive_some():
                pass
        await connection.aclose()
    assert service.service.statistics().broken_streams == 1
    await _another_try_is_served(service)


@pytest.mark.parametrize(
    ("failure", "kind", "told"),
    [
        (Invalid("XCom 'k' holds what cannot be stored"), m.OutcomeKind.FAILED, "XCom 'k' holds"),
        (ZeroDivisionError("a bug"), m.OutcomeKind.LOST, "(ZeroDivisionError); the daemon's log has the cause"),
    ],
    ids=["content", "a bug"],
)
async def test_a_report_that_can_never_be_stored_ends_its_try(
    service: Service, monkeypatch: pytest.MonkeyPatch, failure: Exception, kind: m.OutcomeKind, told: str
) -> None:
    """Its agent would offer it again and again, and the task would run for ever."""

    async def refuse(self: Any, message: Any) -> Any:
        raise failure

    monkeypatch.setattr(TrySession, "handle", refuse)
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.XComPush(key="k", value="1"))
        with pytest.raises(REFUSED):
            await agent.hear()
    [(refused, refused_as, because)] = service.refused
    assert (refused, refused_as) == (try_id, kind)
    assert told in because


async def test_an_outage_of_the_store_ends_the_stream_only(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(self: Any, message: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(TrySession, "handle", away)
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(outcome())
        with pytest.raises(REFUSED):
            await agent.hear()
    assert service.refused == []


async def _another_try_is_served(service: Service) -> None:
    await service.world.create(dag("other", task("o")))
    try_id = (await service.world.launched_ids(1))["o"]
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        assert await agent.hear() == m.Welcome(log_offset=0, protocol=m.PROTOCOL)
        await agent.say(outcome())
        assert await agent.hear() == m.OutcomeStored()


# --- questions ---------------------------------------------------------------------------------------------------


async def test_sixty_questions_at_once_are_all_answered(service: Service) -> None:
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        for number in range(60):
            await agent.say(m.ConnectionAsk(request_id=number, connection_id="none"))
        first = await agent.hear()
        heard = [await agent.hear() for _ in range(60)]
    assert isinstance(first, m.Welcome)
    assert sorted(answer.request_id for answer in heard) == list(range(60))


async def test_a_slow_question_holds_up_neither_the_log_nor_the_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: Any, row: Any, question: Any) -> Any:
        await trio.sleep(math.inf)

    monkeypatch.setattr(Questions, "answer", never)
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.ConnectionAsk(request_id=1, connection_id="slow"))
        await agent.say(m.LogChunk(offset=0, content=b"line\n"))
        await agent.say(outcome())
        assert await agent.hear() == m.OutcomeStored()
    [log] = service.logs.rglob("*.ndjson")
    assert log.read_bytes() == b"line\n"


async def test_a_question_that_takes_too_long_is_refused_with_a_sentence(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: Any, row: Any, question: Any) -> Any:
        await trio.sleep(math.inf)

    monkeypatch.setattr(Questions, "answer", never)
    monkeypatch.setattr(service_module, "ANSWER_WITHIN_S", 0.05)
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.CountsAsk(request_id=7, dag_id="d"))
        answer = await agent.hear()
    assert answer == m.CountsAnswer(request_id=7, refused="the daemon did not answer within 0.05 s; ask again")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (m.XComPull(request_id=1), m.XComValues),
        (m.PreviousRunAsk(request_id=1, only_success=False), m.PreviousRun),
        (m.ConnectionAsk(request_id=1, connection_id="c"), m.ConnectionAnswer),
        (m.DagRunAsk(request_id=1, dag_id="d"), m.DagRunAnswer),
        (m.CountsAsk(request_id=1, dag_id="d"), m.CountsAnswer),
        (m.DagAsk(request_id=1, dag_id="d"), m.DagAnswer),
        (m.StatesAsk(request_id=1, dag_id="d"), m.StatesAnswer),
        (m.PreviousInstanceAsk(request_id=1, dag_id="d", task_id="t"), m.PreviousInstance),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_question_over_which_we_fail_is_refused_with_a_sentence(
    service: Service, monkeypatch: pytest.MonkeyPatch, question: Any, answer: Any
) -> None:
    async def broken(self: Any, message: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(TrySession, "handle", broken)
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(question)
        assert await agent.hear() == answer(request_id=1, refused="the daemon failed over this question: a bug")


async def test_an_answer_that_cannot_be_sent_is_a_refusal(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unsendable(self: Any, message: Any) -> Any:
        return m.CountsAnswer(request_id=1, count=2**70)

    monkeypatch.setattr(TrySession, "handle", unsendable)
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.CountsAsk(request_id=1, dag_id="d"))
        answer = await agent.hear()
    assert "the answer cannot be sent" in answer.refused


# --- launches ----------------------------------------------------------------------------------------------------


async def attach(service: Service, host: Agent, boot_id: str = "b") -> None:
    await host.say(m.HostHello(host_token=HOST_TOKEN, boot_id=boot_id, hostname="h", pid=1, protocol=m.PROTOCOL))
    assert isinstance(await host.hear(), m.HostWelcome)


async def test_a_launch_that_cannot_be_encoded_is_refused_and_the_next_one_goes(service: Service) -> None:
    """`1e20` in a conf once came back as an integer, ended the sender, and nothing was launched any more."""
    async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as host:
        await attach(service, host)
        service.launches.put(launch("too big a number", try_number=2**70))
        service.launches.put(launch("too long", env={"A": "x" * MAX_MESSAGE_BYTES}))
        service.launches.put(launch("a lone surrogate", task_id="\ud800"))
        service.launches.put(launch("good"))
        assert (await host.hear()).spec.try_id == "good"
    assert [(try_id, kind) for try_id, kind, _ in service.refused] == [
        ("too big a number", m.OutcomeKind.FAILED),
        ("too long", m.OutcomeKind.FAILED),
        ("a lone surrogate", m.OutcomeKind.FAILED),
    ]


async def test_a_launch_that_the_host_cannot_take_costs_no_retry(service: Service) -> None:
    async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as host:
        await attach(service, host)
        await host.say(m.LaunchRefused(try_id="t", because="no space left on device"))
        await until(lambda: service.refused)
    assert service.refused == [("t", m.OutcomeKind.LOST, "its agent could not take it: no space left on device")]


# --- stopping tries ----------------------------------------------------------------------------------------------


async def test_a_try_is_stopped_although_the_hint_was_dropped(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        async with service.world.db.api.connection() as conn:
            await conn.execute(b"DELETE FROM dag_run")
        answer = await agent.hear()  # nobody sent a hint
    assert isinstance(answer, m.Terminate)
    assert answer.stale


# --- silence -----------------------------------------------------------------------------------------------------


async def test_silence_counts_from_the_last_message(service: Service) -> None:
    try_id = await a_live_try(service)
    assert service.service.signs(try_id).silent_s is None
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await until(lambda: (service.service.signs(try_id).silent_s or 0.0) > 0.05)
        await agent.say(m.Beat())
        await until(lambda: service.service.signs(try_id).silent_s < 0.05)
        await until(lambda: service.service.signs(try_id).silent_s > 0.05)
    assert service.service.signs(try_id).silent_s is not None


async def test_a_host_that_says_nothing_is_given_no_more_work(service: Service) -> None:
    """A frozen process keeps its sockets open."""
    service.service._silence_max_s = 0.1
    async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as host:
        await attach(service, host)
        with pytest.raises(REFUSED):
            await host.hear()
        await until(lambda: not service.service.host_attached)


async def test_the_launch_of_a_try_is_a_sign_of_its_own(service: Service) -> None:
    assert service.service.signs("t").launched_s is None
    for boot in ("one", "two"):
        async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as host:
            await attach(service, host, boot)
            service.launches.put(launch("t"))
            await host.hear()
    signs = service.service.signs("t")
    assert (signs.silent_s, signs.launches) == (None, 2)
    assert signs.launched_s is not None


# --- logs that cannot be written ---------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Full for as long as the list is not empty."""
    full = [True]
    append = LogFiles.append

    async def appending(self: LogFiles, log: TryLog, offset: int, content: bytes) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return await append(self, log, offset, content)

    monkeypatch.setattr(LogFiles, "append", appending)
    monkeypatch.setattr(log_faults, "AGAIN_S", 0.05)
    return full


async def test_a_log_that_cannot_be_written_is_kept_by_the_agent_and_comes_again(
    service: Service, full_disk: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    try_id = await a_live_try(service)
    async with service.stream(m.ATTACH, m.FromHost, m.ToHost) as host:
        await attach(service, host)
        for _ in range(3):
            async with service.a_try(try_id, started_at=utc_now()) as agent:
                assert await agent.hear() == m.Welcome(log_offset=0, protocol=m.PROTOCOL)
                await agent.say(m.LogChunk(offset=0, content=b"one\n"))
                await agent.say(m.LogChunk(offset=4, content=b"two\n"))
                await agent.say(m.ConnectionAsk(request_id=1, connection_id="c"))
                assert await agent.hear() == m.ConnectionAnswer(request_id=1)  # the conversation goes on
                await agent.say(outcome())
                with pytest.raises(REFUSED):
                    await agent.hear()
        assert "No space left on device" in (service.service.complaint() or "")
        full_disk.clear()
        async with service.a_try(try_id, started_at=utc_now()) as agent:
            assert await agent.hear() == m.Welcome(log_offset=0, protocol=m.PROTOCOL)
            await agent.say(m.LogChunk(offset=0, content=b"one\ntwo\n"))
            await agent.say(outcome())
            assert await agent.hear() == m.OutcomeStored()
        assert service.service.complaint() is None
    [log] = service.logs.rglob("*.ndjson")
    assert log.read_bytes() == b"one\ntwo\n"
    told = [record.message for record in caplog.records if record.message.startswith("task_log")]
    assert told == ["task_logs_cannot_be_written", "task_logs_can_be_written_again"]


async def test_an_outcome_is_taken_when_all_of_its_log_outlives_the_daemon(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores that gather what comes say so at `flush`; the agent forgets its log with the outcome."""
    monkeypatch.setattr(log_faults, "AGAIN_S", 0.05)
    flushed: list[TryLog] = []

    async def flush(self: LogFiles, log: TryLog) -> None:
        flushed.append(log)
        if len(flushed) == 1:
            raise LogNotStored(errno.EIO, "the bucket is gone")

    monkeypatch.setattr(LogFiles, "flush", flush)
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.LogChunk(offset=0, content=b"one\n"))
        await agent.say(outcome())
        with pytest.raises(REFUSED):
            await agent.hear()
    assert service.service.statistics().logs_unwritten == 1
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(outcome())
        assert await agent.hear() == m.OutcomeStored()
    assert len(flushed) == 2
    assert service.service.statistics().logs_unwritten == 0


async def test_an_outcome_waits_for_its_log_only_for_a_while(
    service: Service, full_disk: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log may lie on the disk that it filled; the end of its try is what makes room."""
    monkeypatch.setattr(log_faults, "PATIENCE_S", 0.0)
    try_id = await a_live_try(service)
    async with service.a_try(try_id, started_at=utc_now()) as agent:
        await agent.hear()
        await agent.say(m.LogChunk(offset=0, content=b"one\n"))
        await agent.say(outcome(because="done"))
        assert await agent.hear() == m.OutcomeStored()
    async with service.world.db.api.connection() as conn:
        cursor = await conn.execute(b"SELECT because FROM task_instance")
        [because] = await cursor.fetchone()
    assert because == "done (the end of its log could not be stored: No space left on device)"


async def test_a_foreign_token_that_is_no_ascii_is_refused_like_any_other(service: Service) -> None:
    try_id = await a_live_try(service)
    async with service.a_try(try_id, token="ü" + try_token(SECRET, try_id)) as agent:
        with pytest.raises(REFUSED):
            await agent.hear()
    assert service.service.statistics().broken_streams == 0
