"""Inline HTTP tasks: one call each, made in the daemon, under the egress policy, with the outcome of a try.

Its outbox sends `Dispatch`es whose `http` is set; whoever runs such a call acts as agent of its try: it reports the
start, writes the try's log, and reports how it ended. A call that waits for its host holds none of the workers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

import httpx
import msgspec
import trio

from leoflow_sensors import http
from leoflow_sensors.egress import AnswerTooSlow, EgressClient, RequestInvalid, Response
from leoflow_sensors.egress_policy import EgressRefused, destination_of
from leoflow_sensors.kinds import ProbeFailed, TargetDown
from leoflowd import telemetry
from leoflowd.config import InlineConfig
from leoflowd.contract.agent_messages import XCOM_MAX_BYTES, Outcome, OutcomeKind, TrySpec, XComItem
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dispatch import Dispatch
from leoflowd.contract.errors import Invalid, StoreUnavailable
from leoflowd.contract.logs import LogStore
from leoflowd.contract.values import json_text, shown
from leoflowd.contract.wait_spec import HttpCall
from leoflowd.core.secret_names import MASK, is_secret, masked
from leoflowd.store.tries import RunningCall, TryRow
from leoflowd.supervision import backoff_s, contain

log = telemetry.get_logger(__name__)

HOSTNAME = "inline"
"""What task instances show as the host that ran them."""
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent twice without harm (RFC 9110, 9.2.2)."""
SECRET_MIN_LENGTH = 3
"""Shorter values are in every other word; hiding those would hide everything."""
RECORDED_POLL_S = 0.01
RECORDED_WITHIN_S = 30.0
"""A start that is on record no sooner (its run was set aside) gives the worker back; the call is launched again."""
RESPONSE_MAX_BYTES = 8 * 1024 * 1024
"""What an author may ask for at most: all workers together stay below half a GiB."""

T = TypeVar("T")


class Reports(Protocol):
    """Where starts and outcomes go: the scheduler's inbox."""

    async def try_started(self, row: TryRow, *, at: datetime, hostname: str, pid: int | None) -> None: ...

    async def try_ended(self, row: TryRow, outcome: Outcome, rendered: dict[str, Any] | None) -> None:
        """Returns when the outcome is committed or refused as stale; raises `StoreUnavailable` when it is neither."""


class Connections(Protocol):
    """`store.connections.ConnectionBook`."""

    async def fetch(self, connection_id: str) -> ConnectionFacts | None:
        """None: there is none. Raises ValueError with a sentence when it cannot be read."""


class InlineStatistics(msgspec.Struct, frozen=True):
    running: int
    """Calls being made now."""
    waiting: int
    """Calls that wait for a worker or for their host."""
    succeeded: int
    failed: int
    cancelled: int
    dropped: int
    """Dispatches that found no room; they come again."""


class InlineTasks:
    """`find_try` reads a try by its id; `make_client` gives a client, of which there is one per worker at most."""

    def __init__(
        self,
        *,
        dispatches: trio.MemoryReceiveChannel[Dispatch],
        reports: Reports,
        connections: Connections,
        find_try: Callable[[str], Awaitable[TryRow | None]],
        logs: LogStore,
        make_client: Callable[[], EgressClient],
        config: InlineConfig,
        now: Callable[[], datetime],
    ) -> None:
        self._dispatches = dispatches
        self._reports = reports
        self._connections = connections
        self._find_try = find_try
        self._logs = logs
        self._make_client = make_client
        self._now = now
        self._config = config
        self._taken = trio.CapacityLimiter(config.waiting_max)
        self._workers = trio.CapacityLimiter(config.workers)
        self._hosts: dict[str, trio.CapacityLimiter] = {}
        self._clients: list[EgressClient] = []
        self._scopes: dict[str, trio.CancelScope] = {}
        self._ended = {True: 0, False: 0}
        self._cancelled = self._dropped = 0

    def statistics(self) -> InlineStatistics:
        running = self._workers.borrowed_tokens
        return InlineStatistics(
            running=running,
            waiting=len(self._scopes) - running,
            succeeded=self._ended[True],
            failed=self._ended[False],
            cancelled=self._cancelled,
            dropped=self._dropped,
        )

    def calls(self) -> tuple[str, ...]:
        """Tries whose calls are waiting or being made."""
        return tuple(self._scopes)

    def cancel(self, try_id: str) -> None:
        """The try was cleared or marked: end its call, and report nothing. Unknown ids are ended already."""
        if try_id in self._scopes:
            self._scopes[try_id].cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until the outbox's end of the channel is closed and every call has ended."""
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                async for dispatch in self._dispatches:
                    try_id = dispatch.spec.try_id
                    if try_id in self._scopes:  # sent twice, started once
                        continue
                    try:
                        self._taken.acquire_on_behalf_of_nowait(try_id)
                    except trio.WouldBlock:
                        # Whoever launches tasks of all kinds never waits for this one. Its try stays queued, and the
                        # scheduler's sweep launches what is still queued again (ADR 20).
                        self._dropped += 1
                        continue
                    self._scopes[try_id] = trio.CancelScope()
                    nursery.start_soon(self._serve, dispatch)
        finally:
            for client in self._clients:
                client.close()

    async def _serve(self, dispatch: Dispatch) -> None:
        try_id = dispatch.spec.try_id
        try:
            with self._scopes[try_id] as scope:
                await self._carry_out(dispatch)
            self._cancelled += scope.cancelled_caught
        finally:
            del self._scopes[try_id]
            self._taken.release_on_behalf_of(try_id)

    async def _carry_out(self, dispatch: Dispatch) -> None:
        row = await _patiently(lambda: self._find_try(dispatch.spec.try_id))
        if row is None or not row.live:
            return
        asked = dispatch.http
        assert asked is not None, "other tasks have another outbox"
        begun = self._now()

        async def record(error: Exception) -> None:
            log.error("inline_call_failed", exc_info=error, try_id=dispatch.spec.try_id)
            because = f"the call failed inside Leoflow ({type(error).__name__}); the daemon's log has the cause"
            await self._report(row, _outcome(OutcomeKind.FAILED, because, begun, self._now()), asked)

        async with contain(record):
            await self._try(row, dispatch.spec, asked)

    async def _try(self, row: TryRow, spec: TrySpec, asked: HttpCall) -> None:
        begun = self._now()
        try:
            connection = await _patiently(lambda: self._connection(asked.connection_id))
            call = plan(asked, connection)
            host = destination_of(call.url).origin
        except (ProbeFailed, ValueError) as error:
            await self._report(row, outcome_of_error(error, begun, self._now()), asked)
            return
        lines = _TryLog(self._logs, row, self._now, _secrets(connection))
        async with self._seat(host), self._workers:
            if not await self._start(row, asked.method):
                return
            outcome = await self._call(spec, asked, call, lines)
        await self._report(row, outcome, asked)

    async def _connection(self, connection_id: str | None) -> ConnectionFacts | None:
        if connection_id is None:
            return None
        found = await self._connections.fetch(connection_id)
        if found is None:
            raise ValueError(f"there is no connection {connection_id!r}; add it under Admin, Connections")
        return found

    def _seat(self, host: str) -> trio.CapacityLimiter:
        """One host never has all workers. The table forgets hosts that nobody asks."""
        for idle in [name for name, seats in self._hosts.items() if not _is_used(seats)]:
            del self._hosts[idle]
        return self._hosts.setdefault(host, trio.CapacityLimiter(self._config.per_host))

    async def _start(self, row: TryRow, method: str) -> bool:
        """Report the start. A call that must not be made twice begins only when its start is on record: a restart then
        knows that it may have been made (`outcome_of_interrupted`). False: the try is no longer wanted."""
        at = self._now()
        give_up_at = trio.current_time() + RECORDED_WITHIN_S
        await _patiently(lambda: self._reports.try_started(row, at=at, hostname=HOSTNAME, pid=None))
        while method.upper() not in REPEATABLE:
            found = await _patiently(lambda: self._find_try(str(row.id)))
            if found is None or not found.live or trio.current_time() >= give_up_at:
                return False
            if found.state == "running":
                break
            await trio.sleep(RECORDED_POLL_S)
        return True

    async def _call(self, spec: TrySpec, asked: HttpCall, call: http.HttpCall, lines: _TryLog) -> Outcome:
        begun = self._now()
        lines.write("info", f"{call.method} {shown_url(call)}")
        client = self._clients.pop() if self._clients else self._make_client()
        try:
            with trio.fail_after(spec.execution_timeout_s or float("inf")):
                response = await call.send(client)
        except trio.TooSlowError:
            because = f"execution_timeout of {spec.execution_timeout_s:g} s passed before the answer was complete"
            outcome = _outcome(OutcomeKind.TIMED_OUT, because, begun, self._now())
        except (ProbeFailed, TargetDown) as error:
            outcome = outcome_of_error(error, begun, self._now())
        else:
            size, took = len(response.body), response.elapsed_s
            lines.write("info", f"HTTP {response.status} {response.reason}, {size} bytes in {took:.3f} s")
            outcome = outcome_of_answer(asked, call, response, begun, self._now(), push=spec.do_xcom_push)
        finally:
            self._clients.append(client)
        outcome = msgspec.structs.replace(outcome, because=shown(lines.masked(outcome.because)))
        if outcome.kind is not OutcomeKind.SUCCESS:
            lines.write("error", outcome.because)
        return outcome

    async def _report(self, row: TryRow, outcome: Outcome, asked: HttpCall) -> None:
        rendered = masked({name: getattr(asked, name) for name in ("endpoint", "method", "headers", "data", "json")})
        await _patiently(lambda: self._reports.try_ended(row, outcome, rendered))
        self._ended[outcome.kind is OutcomeKind.SUCCESS] += 1


def _is_used(seats: trio.CapacityLimiter) -> bool:
    return seats.borrowed_tokens > 0 or seats.statistics().tasks_waiting > 0


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Again until Postgres answers: an outcome that nobody stored would leave its task running for ever."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return await work()
        except StoreUnavailable as error:
            log.warning("inline_call_waits_for_store", error=str(error), attempt=attempt)
            await trio.sleep(backoff_s(attempt))


# --- decisions: pure ---------------------------------------------------------------------------------------------


def plan(asked: HttpCall, connection: ConnectionFacts | None) -> http.HttpCall:
    """The request of a task. Raises `RequestInvalid` for what no retry can mend."""
    if asked.auth_type not in (None, "basic"):
        raise RequestInvalid(f"auth_type {asked.auth_type!r} is not known; leave it out, or use `basic`")
    if asked.response not in ("text", "json", "none"):
        raise RequestInvalid(f"response {asked.response!r} is not known; use `text`, `json` or `none`")
    if asked.max_response_bytes > RESPONSE_MAX_BYTES:
        raise RequestInvalid(
            f"max_response_bytes is {asked.max_response_bytes}; inline calls read {RESPONSE_MAX_BYTES} bytes at most, "
            "use a task of your own for more"
        )
    expectation(asked)
    return http.plan_call(
        connection,
        endpoint=asked.endpoint,
        method=asked.method,
        headers=asked.headers,
        data=asked.data,
        json=asked.json,
        timeout_s=asked.timeout_s,
        max_body_bytes=asked.max_response_bytes,
    )


def expectation(asked: HttpCall) -> http.Expectation:
    """`HttpCall.expect`, checked. Raises `RequestInvalid`."""
    try:
        return msgspec.convert(asked.expect, http.Expectation)
    except msgspec.ValidationError as error:
        raise RequestInvalid(
            f"`expect` is not understood: {error}; it may hold status, json_path and equals"
        ) from error


def outcome_of_answer(
    asked: HttpCall, call: http.HttpCall, response: Response, begun: datetime, ended: datetime, *, push: bool
) -> Outcome:
    """How a try ends whose call was answered; `push` is the task's do_xcom_push."""
    failure = _misses(asked, call, response)
    if failure is not None:
        return _outcome(OutcomeKind.FAILED, failure, begun, ended)
    try:
        value = _return_value(asked, response) if push else None
    except ProbeFailed as error:
        return _outcome(OutcomeKind.FAILED, str(error), begun, ended)
    xcoms = () if value is None else (XComItem(key="return_value", value=value),)
    because = f"HTTP {response.status} {response.reason}".rstrip()
    return msgspec.structs.replace(_outcome(OutcomeKind.SUCCESS, because, begun, ended), xcoms=xcoms)


def _misses(asked: HttpCall, call: http.HttpCall, response: Response) -> str | None:
    """Why the answer is not as expected, None when it is."""
    expected = expectation(asked)
    answered = f"the server answered HTTP {response.status} {response.reason}".rstrip()
    if expected.status and response.status not in expected.status:
        return f"{answered}; expected {', '.join(str(code) for code in expected.status)}"
    if not expected.status and call.check_response and response.status >= 400:
        return f"{answered}, which is an error"
    if expected.json_path is None:
        return None
    try:
        return http.misses_body(expected, response.json())
    except ProbeFailed as error:
        return str(error)


def _return_value(asked: HttpCall, response: Response) -> str | None:
    """JSON text of the XCom. Raises `ProbeFailed` for an answer that cannot be one."""
    if asked.response == "none":
        return None
    value = response.json() if asked.response == "json" else response.text()
    try:
        return json_text(value, "the answer", max_bytes=XCOM_MAX_BYTES)
    except Invalid as fault:
        raise ProbeFailed(
            f"{fault}; ask for less, or set response='none' and let a task that needs it fetch it"
        ) from fault


def outcome_of_error(error: Exception, begun: datetime, ended: datetime) -> Outcome:
    """How a try ends whose call got no usable answer."""
    match error:
        case EgressRefused() | RequestInvalid():
            kind = OutcomeKind.FAILED_FOR_GOOD
        case AnswerTooSlow():
            kind = OutcomeKind.TIMED_OUT
        case _:
            kind = OutcomeKind.FAILED
    return _outcome(kind, str(error), begun, ended)


def outcome_of_interrupted(method: str, begun: datetime, now: datetime) -> Outcome:
    """What becomes of a try that was running when the daemon stopped: nobody heard the answer to its call."""
    if method.upper() in REPEATABLE:
        because = f"the daemon stopped during the call; a {method.upper()} can be repeated without harm"
        return _outcome(OutcomeKind.LOST, because, begun, now)
    because = "the daemon stopped during the call; whether the server acted on it is unknown"
    return _outcome(OutcomeKind.FAILED, because, begun, now)


def on_start(found: Iterable[RunningCall], now: datetime) -> tuple[tuple[TryRow, Outcome], ...]:
    """What to report of calls that the last daemon was making. Queued ones are dispatched as if nothing had been."""
    return tuple((one.row, outcome_of_interrupted(one.method, one.start_date, now)) for one in found)


def _outcome(kind: OutcomeKind, because: str, begun: datetime, ended: datetime) -> Outcome:
    return Outcome(kind=kind, because=shown(because), start_date=begun, end_date=ended)


# --- the try's log -----------------------------------------------------------------------------------------------


def shown_url(call: http.HttpCall) -> str:
    """The call's URL with `***` for parameters whose names promise a secret."""
    url = httpx.URL(call.url)
    query = url.query.decode("ascii")
    more = call.params if isinstance(call.params, str) else urlencode(call.params or {}, doseq=True)
    pairs = parse_qsl("&".join(part for part in (query, more) if part), keep_blank_values=True)
    shown = "&".join(f"{quote(name)}={MASK if is_secret(name) else quote(value)}" for name, value in pairs)
    return f"{url.copy_with(query=None)}{f'?{shown}' if shown else ''}"


def _secrets(connection: ConnectionFacts | None) -> tuple[str, ...]:
    """What of a connection never appears in a log, longest first; also as it looks inside a URL."""
    if connection is None:
        return ()
    values = [value for name, value in connection.extra_fields().items() if is_secret(name)]
    texts = {
        text for text in (connection.password, *values) if isinstance(text, str) and len(text) >= SECRET_MIN_LENGTH
    }
    return tuple(sorted(texts | {quote(text, safe="") for text in texts}, key=len, reverse=True))


class _TryLog:
    """A few lines in the try's log, in the form in which agents send theirs."""

    def __init__(self, logs: LogStore, row: TryRow, now: Callable[[], datetime], secrets: tuple[str, ...]) -> None:
        self._logs = logs
        self._log = row.log
        self._now = now
        self._secrets = secrets

    def masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def write(self, level: str, event: str) -> None:
        line = {
            "timestamp": self._now().isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "event": self.masked(event),
            "level": level,
            "logger": "leoflow.http",
        }
        self._logs.write_line(self._log, msgspec.json.encode(line) + b"\n")
