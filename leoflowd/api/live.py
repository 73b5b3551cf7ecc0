"""GET answers that a page follows: the same answer as server-sent events, each time that it has changed (ADR 95).

`@followed` on a handler does it for requests that accept `text/event-stream`. A stream has the rights of its request,
looked up again while it lasts, ends with the session, and is one of a bounded number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial, wraps
from typing import ParamSpec

import msgspec
import trio
from quart import Response, current_app, request
from typing_extensions import override

from leoflowd.api.auth import SessionWatch, caller
from leoflowd.api.problems import leoflow_problem
from leoflowd.api.streaming import LineStream
from leoflowd.contract.errors import LeoflowError, TooManyRequests

P = ParamSpec("P")
Look = Callable[[], Awaitable[Response]]

EVENTS = "text/event-stream"
EVERY_S = 2.0
"""Between two looks, where nothing says when the answer changes."""
HEARTBEAT_S = 5.0
"""So long a stream says nothing when nothing changes. Also how soon it ends with its session."""
STREAMS_MAX, STREAMS_OF_A_SESSION_MAX = 200, 12
"""Each looks into Postgres every `EVERY_S`; a person has a few pages in sight."""
_KEY = "LEOFLOW_STREAMS"


def bind_streams(config: MutableMapping[str, object]) -> None:
    """Called by `create_app` alone."""
    config[_KEY] = Counter[str]()


def followed(look: Callable[P, Awaitable[Response]]) -> Callable[P, Awaitable[Response]]:
    """A handler whose answer, one JSON document, may be followed."""

    @wraps(look)
    async def answer(*args: P.args, **path: P.kwargs) -> Response:
        if not is_followed():
            return await look(*args, **path)
        return await follow(partial(look, *args, **path), partial(trio.sleep, EVERY_S))

    return answer


def is_followed() -> bool:
    """Does the request ask for events?"""
    return EVENTS in request.headers.get("Accept", "")


async def follow(look: Look, wait: Callable[[], Awaitable[object]]) -> Response:
    """Looks now, and each time that `wait` returns, or after `HEARTBEAT_S`.

    Raises `TooManyRequests`, and what the first `look` does; what a later one raises is an event, `problem`.
    """
    streams, session = _open(), caller().session
    if streams.total() >= STREAMS_MAX or streams[session] >= STREAMS_OF_A_SESSION_MAX:
        raise TooManyRequests("Too many pages are followed at once: close some of them", retry_after_s=int(HEARTBEAT_S))
    watch = SessionWatch()
    last = await _event(look)

    async def next_event(is_first: bool) -> bytes | None:
        nonlocal last
        if is_first:
            return last
        with trio.move_on_after(HEARTBEAT_S):
            await wait()
        if not await watch.is_valid():
            return None
        watch.bind()
        try:
            event = await _event(look)
        except LeoflowError as error:
            event = b"event: problem\ndata: " + await _body(leoflow_problem(error)) + b"\n\n"
        if event == last:
            return b": nothing changed\n\n"
        last = event
        return event

    return _EventStream(next_event, streams, session).answer()


async def part(answer: Awaitable[Response]) -> msgspec.Raw:
    """One of several answers in one document; a refusal is its `{"detail": ...}`."""
    try:
        return msgspec.Raw(await _body(await answer))
    except LeoflowError as error:
        return msgspec.Raw(await _body(leoflow_problem(error)))


async def _event(look: Look) -> bytes:
    return b"data: " + await _body(await look()) + b"\n\n"


async def _body(answer: Response) -> bytes:
    """A line break in JSON is a space, and in an event its end."""
    body: bytes = await answer.get_data(as_text=False)
    return body.replace(b"\n", b" ")


def _open() -> Counter[str]:
    """Session -> its streams."""
    found: Counter[str] = current_app.config[_KEY]
    return found


class _EventStream(LineStream):
    """Counts as open from its first event until its answer ends, in whatever way."""

    def __init__(
        self, next_event: Callable[[bool], Awaitable[bytes | None]], streams: Counter[str], session: str
    ) -> None:
        super().__init__(next_event)
        self._streams, self._session = streams, session
        self._is_counted = False

    @override
    async def __anext__(self) -> bytes:
        if not self._is_counted:
            self._is_counted = True
            self._streams[self._session] += 1
        return await super().__anext__()

    async def aclose(self) -> None:
        """Called by Quart when the answer is sent, or cannot be; awaits nothing, since it may be cancelled already."""
        if self._is_counted:
            self._is_counted = False
            self._streams[self._session] -= 1
            if not self._streams[self._session]:
                del self._streams[self._session]

    @override
    def answer(self) -> Response:
        answer = super().answer()
        answer.headers["Content-Type"] = EVENTS
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
        return answer
