"""Inline HTTP tasks: what a call becomes, what is reported, what the log says. Real calls to a server on loopback."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import trio

from leoflow_sensors.egress import EgressClient
from leoflow_sensors.egress_policy import parse_policy
from leoflowd.cheap_tasks.http_task import InlineTasks, outcome_of_interrupted
from leoflowd.config import InlineConfig
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, DagRunFacts, Outcome, OutcomeKind, TrySpec
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.contract.wait_spec import HttpCall
from leoflowd.store.tries import TryRow
from tests.conftest import PATIENCE_S
from tests.fakes.memory_logs import MemoryLogs
from tests.fakes.scripted_server import Answer, ScriptedServer, Stream, answer, scripted_server

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


class Inbox:
    """The scheduler's side: keeps what is reported and moves the rows as the scheduler would."""

    def __init__(self) -> None:
        self.rows: dict[str, TryRow] = {}
        self.started: list[tuple[str, str, int | None]] = []
        self.ended: dict[str, tuple[Outcome, dict[str, Any] | None]] = {}
        self.records_starts = True
        self.failures = 0
        """How many more times Postgres is away."""

    def add(self, try_id: str) -> None:
        self.rows[try_id] = TryRow(uuid.UUID(try_id), 1, "dag", "run", "task", -1, 1, "queued")

    async def find(self, try_id: str) -> TryRow | None:
        await trio.lowlevel.checkpoint()
        self._fail()
        return self.rows.get(try_id)

    async def try_started(self, row: TryRow, *, at: datetime, hostname: str, pid: int | None) -> None:
        await trio.lowlevel.checkpoint()
        self._fail()
        self.started.append((str(row.id), hostname, pid))
        if self.records_starts:
            self.rows[str(row.id)] = msgspec.structs.replace(row, state="running")

    async def try_ended(self, row: TryRow, outcome: Outcome, rendered: dict[str, Any] | None) -> None:
        await trio.lowlevel.checkpoint()
        self._fail()
        self.ended[str(row.id)] = (outcome, rendered)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("Postgres is away")


class Book:
    """Connections, as `ConnectionBook` gives them."""

    def __init__(self) -> None:
        self.connections: dict[str, ConnectionFacts] = {}

    async def fetch(self, connection_id: str) -> ConnectionFacts | None:
        await trio.lowlevel.checkpoint()
        if connection_id == "sealed":
            raise ValueError("the password of connection 'sealed' cannot be read")
        return self.connections.get(connection_id)


class Setting:
    """Inline tasks in front of one server, and what a test does with them."""

    def __init__(self, server: ScriptedServer, config: InlineConfig, policy: str) -> None:
        self.server, self.inbox, self.book, self.logs = server, Inbox(), Book(), MemoryLogs()
        self.book.connections["http_default"] = ConnectionFacts(connection_id="http_default", host=server.url)
        self.send, receive = trio.open_memory_channel[Dispatch](0)
        self.tasks = InlineTasks(
            dispatches=receive,
            reports=self.inbox,
            connections=self.book,
            find_try=self.inbox.find,
            logs=self.logs,
            make_client=lambda: EgressClient(parse_policy(policy)),
            config=config,
            now=lambda: NOW,
        )

    async def dispatch(self, *, try_id: str | None = None, **call: Any) -> str:
        """Send one task; fields of `TrySpec` and of `HttpCall` by name. Its id."""
        try_id = try_id or str(uuid.uuid4())
        self.inbox.add(try_id)
        run = DagRunFacts(dag_id="dag", run_id="run", run_type="manual", run_after=NOW)
        extra = {name: call.pop(name) for name in ("execution_timeout_s", "do_xcom_push") if name in call}
        spec = TrySpec(
            try_id=try_id, dag_run=run, task_id="task", try_number=1, max_tries=0, kind="http",
            operator="HttpOperator", bundle_digest="", **extra,
        )  # fmt: skip
        await self.send.send(Dispatch(spec, EnvironmentSpec(), HttpCall(**{"endpoint": "x", **call})))
        return try_id

    async def outcome(self, **call: Any) -> Outcome:
        """How one task ends."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.tasks.run)
            try_id = await self.dispatch(**call)
            await self.send.aclose()
        return self.inbox.ended[try_id][0]

    def log(self) -> list[dict[str, Any]]:
        ((name, content),) = self.logs.contents.items()
        assert (name.dag_id, name.run_id, name.task_id, name.try_number) == ("dag", "run", "task", 1)
        return [msgspec.json.decode(line) for line in content.splitlines()]


async def _until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not condition():  # real sockets have no event to wait for
            await trio.lowlevel.checkpoint()


Settings = Callable[..., Any]
CONFIG = InlineConfig()


@pytest.fixture
def setting() -> Settings:
    @asynccontextmanager
    async def open_setting(
        *answers: Answer, config: InlineConfig = CONFIG, policy: str = "127.0.0.1"
    ) -> AsyncIterator[Setting]:
        async with scripted_server(*(answers or (answer(),))) as server:
            yield Setting(server, config, policy)

    return open_setting


# --- how a call ends ---------------------------------------------------------------------------------------------


async def test_a_good_answer_is_a_success_with_its_text(setting: Settings) -> None:
    async with setting(answer("200 OK", b"hello")) as s:
        outcome = await s.outcome(method="POST", json={"a": 1})
    assert (outcome.kind, outcome.because) == (OutcomeKind.SUCCESS, "HTTP 200 OK")
    assert [(x.key, x.value) for x in outcome.xcoms] == [("return_value", '"hello"')]
    assert s.server.requests[0].startswith(b"POST /x HTTP/1.1\r\n")
    assert s.server.requests[0].endswith(b'{"a":1}')


@pytest.mark.parametrize(("response", "value"), [("json", ['{"n":1}']), ("none", [])])
async def test_the_author_says_what_becomes_the_xcom(setting: Settings, response: str, value: list[str]) -> None:
    async with setting(answer("200 OK", b'{"n": 1}')) as s:
        assert [x.value for x in (await s.outcome(response=response)).xcoms] == value


async def test_do_xcom_push_false_pushes_nothing(setting: Settings) -> None:
    async with setting(answer("200 OK", b"hello")) as s:
        assert (await s.outcome(do_xcom_push=False)).xcoms == ()


@pytest.mark.parametrize(
    ("response", "call", "because"),
    [
        (answer("500 Oops"), {}, "the server answered HTTP 500 Oops, which is an error"),
        (answer("404 Not Found"), {}, "HTTP 404 Not Found, which is an error"),
        (answer("200 OK"), {"expect": {"status": [201, 202]}}, "HTTP 200 OK; expected 201, 202"),
        (answer("200 OK", b'{"a": 1}'), {"expect": {"json_path": "a", "equals": 2}}, "a of the answer is not 2"),
        (answer("200 OK", b"<html>"), {"expect": {"json_path": "a"}}, "is no JSON"),
        (answer("200 OK", b"<html>"), {"response": "json"}, "is no JSON"),
        (answer("200 OK", b"x" * XCOM_MAX_BYTES), {}, "larger than 262144"),
        (answer("200 OK", b"x" * 101), {"max_response_bytes": 100}, "larger than 100 bytes"),
        (answer(), {"connection_id": "nobody"}, "there is no connection 'nobody'"),
        (answer(), {"connection_id": "sealed"}, "the password of connection 'sealed' cannot be read"),
    ],
)
async def test_what_a_retry_may_mend_is_a_failure(
    setting: Settings, response: bytes, call: dict[str, Any], because: str
) -> None:
    async with setting(response) as s:
        outcome = await s.outcome(**call)
    assert outcome.kind is OutcomeKind.FAILED
    assert because in outcome.because


@pytest.mark.parametrize(
    ("call", "because"),
    [
        ({"auth_type": "digest"}, "auth_type 'digest'"),
        ({"response": "xml"}, "response 'xml'"),
        ({"max_response_bytes": 10**9}, "max_response_bytes is 1000000000"),
        ({"expect": {"header": "x"}}, "`expect` is not understood"),
        ({"headers": {"Host": "x"}}, "cannot be set"),
        ({"connection_id": None, "endpoint": "/x"}, "no absolute URL"),
        ({"connection_id": None, "endpoint": "http://u:p@h/"}, "user or password"),
        ({"connection_id": None, "endpoint": "http://h:port/"}, "it is no URL"),
    ],
)
async def test_what_no_retry_can_mend_fails_for_good(setting: Settings, call: dict[str, Any], because: str) -> None:
    async with setting() as s:
        outcome = await s.outcome(**call)
    assert outcome.kind is OutcomeKind.FAILED_FOR_GOOD
    assert because in outcome.because


async def test_what_the_egress_policy_refuses_fails_for_good(setting: Settings) -> None:
    async with setting(policy="") as s:
        outcome = await s.outcome()
    assert outcome.kind is OutcomeKind.FAILED_FOR_GOOD
    assert "LEOFLOW_EGRESS_ALLOW" in outcome.because


async def test_an_accepted_status_may_be_an_error(setting: Settings) -> None:
    async with setting(answer("409 Conflict")) as s:
        assert (await s.outcome(expect={"status": [201, 409]})).kind is OutcomeKind.SUCCESS


async def _silence(stream: Stream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("call", "because"),
    [({"timeout_s": 0.1}, "within 0.1 s"), ({"execution_timeout_s": 0.1}, "execution_timeout of 0.1 s")],
)
async def test_a_call_that_takes_too_long_timed_out(setting: Settings, call: dict[str, Any], because: str) -> None:
    async with setting(_silence) as s:
        outcome = await s.outcome(**call)
    assert outcome.kind is OutcomeKind.TIMED_OUT
    assert because in outcome.because


# --- reports -----------------------------------------------------------------------------------------------------


async def test_the_start_is_reported_before_the_call(setting: Settings) -> None:
    async with setting() as s:
        started_at_request: list[int] = []

        async def look(stream: Stream) -> None:
            started_at_request.append(len(s.inbox.started))
            await stream.send_all(answer())

        s.server.answers = [look]
        await s.outcome(method="GET")
    assert started_at_request == [1]
    assert s.inbox.started[0][1:] == ("inline", None)


async def test_a_post_waits_until_its_start_is_on_record(setting: Settings) -> None:
    async with setting() as s:
        s.inbox.records_starts = False
        async with trio.open_nursery() as nursery:
            await nursery.start(s.tasks.run)
            try_id = await s.dispatch(method="POST")
            await _until(lambda: bool(s.inbox.started))
            assert s.server.requests == []
            s.inbox.rows[try_id] = msgspec.structs.replace(s.inbox.rows[try_id], state="running")
            await s.send.aclose()
    assert len(s.server.requests) == 1


async def test_a_post_of_a_try_that_was_cleared_meanwhile_is_not_made(setting: Settings) -> None:
    async with setting() as s:
        s.inbox.records_starts = False
        async with trio.open_nursery() as nursery:
            await nursery.start(s.tasks.run)
            try_id = await s.dispatch(method="POST")
            await _until(lambda: bool(s.inbox.started))
            del s.inbox.rows[try_id]
            await s.send.aclose()
    assert (s.server.requests, s.inbox.ended) == ([], {})


async def test_a_try_that_was_replaced_is_not_carried_out(setting: Settings) -> None:
    async with setting() as s, trio.open_nursery() as nursery:
        s.inbox.add = lambda try_id: None
        await nursery.start(s.tasks.run)
        await s.dispatch()
        await s.send.aclose()
    assert (s.server.requests, s.inbox.started, s.inbox.ended) == ([], [], {})


async def test_a_try_that_was_marked_meanwhile_is_not_carried_out(setting: Settings) -> None:
    async with setting() as s, trio.open_nursery() as nursery:
        try_id = str(uuid.uuid4())
        s.inbox.add(try_id)
        s.inbox.rows[try_id] = msgspec.structs.replace(s.inbox.rows[try_id], state="success")
        s.inbox.add = lambda try_id: None
        await nursery.start(s.tasks.run)
        await s.dispatch(try_id=try_id)
        await s.send.aclose()
    assert (s.server.requests, s.inbox.ended) == ([], {})


async def test_a_try_that_is_sent_twice_is_carried_out_once(setting: Settings) -> None:
    async with setting(_silence) as s, trio.open_nursery() as nursery:
        await nursery.start(s.tasks.run)
        try_id = await s.dispatch()
        await s.dispatch(try_id=try_id)
        await _until(lambda: bool(s.server.requests))
        s.tasks.cancel(try_id)
        await s.send.aclose()
    assert len(s.server.requests) == 1


async def test_reports_are_repeated_until_postgres_answers(setting: Settings) -> None:
    async with setting() as s:
        s.inbox.failures = 2
        assert (await s.outcome()).kind is OutcomeKind.SUCCESS


async def test_rendered_fields_hide_secrets(setting: Settings) -> None:
    async with setting() as s:
        await s.outcome(headers={"X-Api-Key": "sesame", "X-A": "1"}, json={"password": "sesame"})
    (_, rendered), *_ = s.inbox.ended.values()
    assert rendered == {
        "endpoint": "x",
        "method": "POST",
        "headers": {"X-Api-Key": "***", "X-A": "1"},
        "data": None,
        "json": {"password": "***"},
    }


async def test_a_cancelled_call_ends_without_a_report(setting: Settings) -> None:
    async with setting(_silence) as s, trio.open_nursery() as nursery:
        await nursery.start(s.tasks.run)
        try_id = await s.dispatch()
        await _until(lambda: bool(s.server.requests))
        s.tasks.cancel(try_id)
        s.tasks.cancel("unknown")
        await s.send.aclose()
    assert (s.inbox.ended, s.tasks.statistics().cancelled) == ({}, 1)


async def test_one_host_never_has_all_workers(setting: Settings) -> None:
    config = InlineConfig(workers=2, per_host=1)
    async with (
        setting(_silence, config=config) as s,
        scripted_server(answer()) as other,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(s.tasks.run)
        slow = [await s.dispatch() for _ in range(3)]
        await _until(lambda: bool(s.server.requests))
        quick = await s.dispatch(connection_id=None, endpoint=other.url)
        await _until(lambda: s.tasks.statistics().succeeded == 1)
        statistics = s.tasks.statistics()
        for try_id in slow:
            s.tasks.cancel(try_id)
        await s.send.aclose()
    assert (statistics.running, statistics.waiting, statistics.succeeded, len(s.server.requests)) == (1, 2, 1, 1)
    assert list(s.inbox.ended) == [quick]


async def test_a_bug_in_one_call_is_its_failure_alone(setting: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    async with setting() as s:
        monkeypatch.setattr("leoflowd.cheap_tasks.http_task.outcome_of_answer", broken)
        outcome = await s.outcome()
    assert outcome.kind is OutcomeKind.FAILED
    assert "failed inside Leoflow" in outcome.because


# --- the log -----------------------------------------------------------------------------------------------------


async def test_the_log_tells_the_request_and_the_answer(setting: Settings) -> None:
    async with setting(answer("200 OK", b"hello")) as s:
        await s.outcome(method="GET", data={"n": 1})
    request, response = s.log()
    assert request == {
        "timestamp": "2026-11-21T03:00:00.000000Z",
        "event": f"GET {s.server.url}/x?n=1",
        "level": "info",
        "logger": "leoflow.http",
    }
    assert response["event"].startswith("HTTP 200 OK, 5 bytes in ")


async def test_the_log_says_why_a_call_failed(setting: Settings) -> None:
    async with setting(answer("500 Oops")) as s:
        await s.outcome()
    assert (s.log()[-1]["level"], s.log()[-1]["event"]) == (
        "error",
        "the server answered HTTP 500 Oops, which is an error",
    )


async def test_no_secret_reaches_log_or_outcome(setting: Settings) -> None:
    async with setting(answer("500 no-open/sesame-no")) as s:
        s.book.connections["http_default"] = ConnectionFacts(
            connection_id="http_default",
            host=s.server.url,
            login="me",
            password="open/sesame",
            extra='{"X-Api-Key": "hidden-key"}',
        )
        outcome = await s.outcome(method="GET", endpoint="x/open%2Fsesame?api_key=abc&q=hidden-key")
    shown = msgspec.json.encode(s.log()).decode() + outcome.because
    assert "***" in shown
    assert [word for word in ("sesame", "hidden-key", "abc") if word in shown] == []


# --- after a restart ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "head", "PUT", "DELETE", "OPTIONS"])
def test_a_call_that_can_be_repeated_is_lost_and_runs_again(method: str) -> None:
    assert outcome_of_interrupted(method, NOW, NOW).kind is OutcomeKind.LOST


@pytest.mark.parametrize("method", ["POST", "patch", "{{ params.method }}"])
def test_a_call_that_may_have_acted_failed(method: str) -> None:
    outcome = outcome_of_interrupted(method, NOW, NOW)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.because == "the daemon stopped during the call; whether the server acted on it is unknown"


async def test_whoever_launches_tasks_never_waits_for_room(setting: Settings) -> None:
    """Process tasks came from the same dispatcher: they once stood behind a thousand slow calls."""
    async with setting(_silence, config=InlineConfig(waiting_max=1)) as s, trio.open_nursery() as nursery:
        await nursery.start(s.tasks.run)
        taken = await s.dispatch()
        with trio.fail_after(5):
            dropped = [await s.dispatch() for _ in range(3)]
        await _until(lambda: s.tasks.statistics().dropped == 3)
        assert s.tasks.calls() == (taken,)
        s.tasks.cancel(taken)
        await _until(lambda: s.tasks.calls() == ())
        await s.dispatch(try_id=dropped[0])  # the sweep launches it again
        await _until(lambda: s.tasks.calls() == (dropped[0],))
        nursery.cancel_scope.cancel()


async def test_a_log_that_cannot_be_written_does_not_undo_the_call(setting: Settings) -> None:
    async with setting() as s:
        s.logs.is_full = True
        assert (await s.outcome(method="POST")).kind is OutcomeKind.SUCCESS


async def test_a_start_that_is_never_on_record_gives_its_worker_back(
    setting: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leoflowd.cheap_tasks.http_task.RECORDED_WITHIN_S", 0.05)
    async with setting() as s, trio.open_nursery() as nursery:
        s.inbox.records_starts = False
        await nursery.start(s.tasks.run)
        await s.dispatch(method="POST")
        await _until(lambda: s.tasks.calls() == ())
        await s.send.aclose()
    assert (s.server.requests, s.inbox.ended) == ([], {})
