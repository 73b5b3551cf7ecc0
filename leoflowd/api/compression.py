"""Gzip for answers above 1 KiB, as Airflow does it; long ones are compressed in a thread. Called by `app` alone."""

from __future__ import annotations

import gzip

import trio
from quart import Response

MIN_BYTES = 1024
LEVEL = 5
THREAD_BYTES = 128 * 1024
"""About 3 ms of CPU; more would delay other requests."""
COMPRESSIBLE = ("application/json", "application/x-ndjson", "application/javascript", "text/", "image/svg")


async def compress(answer: Response, accept_encoding: str) -> Response:
    """The same answer, smaller when the client can read it. Streams and encoded answers stay as they are."""
    if not (answer.mimetype or "").startswith(COMPRESSIBLE) or answer.timeout is None:
        return answer
    answer.vary.add("Accept-Encoding")
    if not accepts_gzip(accept_encoding) or answer.content_encoding or answer.status_code in (204, 206, 304):
        return answer
    body = await answer.get_data(as_text=False)
    if len(body) < MIN_BYTES:
        return answer
    if len(body) < THREAD_BYTES:
        packed = gzip.compress(body, LEVEL, mtime=0)
    else:
        packed = await trio.to_thread.run_sync(lambda: gzip.compress(body, LEVEL, mtime=0))
    answer.set_data(packed)
    answer.content_encoding = "gzip"
    return answer


def accepts_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.split(","):
        name, _, parameter = part.partition(";")
        if name.strip().lower() in ("gzip", "*"):
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
