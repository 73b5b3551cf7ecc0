"""Sends finished spans to an OTLP receiver, some at a time, over HTTP. One task of the tree, off unless configured.

Whoever has spans never waits: what finds no room is dropped and counted. A receiver that is down, slow or refuses costs
spans and nothing else, and the tree says so. ADR 82.
"""

from __future__ import annotations

import gzip
import ssl
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import trio

from leoflowd import telemetry
from leoflowd.contract.otel_settings import OtelSettings
from leoflowd.contract.otlp import Span, encode
from leoflowd.supervision import backoff_s

if TYPE_CHECKING:
    import httpx

log = telemetry.get_logger(__name__)

SCOPE = "leoflow"
AGAIN = frozenset({408, 429, 502, 503, 504})
"""Statuses after which OTLP has the same request sent once more."""
LAST_WITHIN_S = 2.0
"""What is left at the end gets so long."""


class TraceStatistics(msgspec.Struct, frozen=True):
    waiting: int
    sent: int
    dropped: int
    """For lack of room, or because the receiver refused them."""
    failures: int
    last_failure: str


class TraceExport:
    def __init__(self, settings: OtelSettings, *, version: str) -> None:
        self._settings = settings
        self._version = version
        self._waiting: deque[Span] = deque()
        self._arrived = trio.Event()
        self._sent = self._dropped = self._failures = self._in_a_row = 0
        self._last_failure = ""

    def statistics(self) -> TraceStatistics:
        return TraceStatistics(len(self._waiting), self._sent, self._dropped, self._failures, self._last_failure)

    def offer(self, spans: Sequence[Span]) -> None:
        """Never waits. The oldest are kept: what came of a trace first is what the rest hangs on."""
        room = max(0, self._settings.queue_max - len(self._waiting))
        self._waiting.extend(spans[:room])
        self._dropped += max(0, len(spans) - room)
        self._arrived.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        import httpx

        settings = self._settings
        verify = ssl.create_default_context(cafile=settings.ca_file) if settings.ca_file else True
        async with httpx.AsyncClient(verify=verify, timeout=None) as client:  # noqa: S113  # `_send` has the deadline
            task_status.started()
            try:
                while True:
                    await self._arrived.wait()
                    await trio.sleep(settings.delay_s)
                    await self._send_all(client)
                    self._arrived = trio.Event()
                    if self._waiting:
                        self._arrived.set()
                        await trio.sleep(backoff_s(self._in_a_row))
            finally:
                with trio.move_on_after(LAST_WITHIN_S, shield=True):
                    await self._send_all(client)

    async def _send_all(self, client: httpx.AsyncClient) -> None:
        """Until there are no more, or one request has failed."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._settings.batch_max, len(self._waiting)))]
            failure, is_final = await self._send(client, batch)
            if failure is None:
                self._sent += len(batch)
                self._in_a_row, self._last_failure = 0, ""
                continue
            self._fail(failure)
            if is_final:
                self._dropped += len(batch)
                continue
            self._waiting.extendleft(reversed(batch))
            return

    async def _send(self, client: httpx.AsyncClient, batch: Sequence[Span]) -> tuple[str | None, bool]:
        """Why it failed, or None; and whether it would fail again."""
        import httpx

        settings = self._settings
        body = encode(batch, settings.resource, scope=SCOPE, version=self._version)
        headers = {"content-type": "application/x-protobuf", **settings.headers}
        if settings.is_compressed:
            body, headers["content-encoding"] = gzip.compress(body, 1), "gzip"
        try:
            with trio.fail_after(settings.timeout_s):
                answer = await client.post(settings.url, content=body, headers=headers)
        except trio.TooSlowError:
            return f"no answer within {settings.timeout_s:g} s", False
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}", False
        if answer.is_success:
            return None, False
        return f"it answered {answer.status_code}", answer.status_code not in AGAIN

    def _fail(self, failure: str) -> None:
        self._failures += 1
        self._in_a_row += 1
        if failure != self._last_failure:
            log.warning("traces_not_sent", url=self._settings.url, because=failure)
        self._last_failure = failure
