"""What sensors look at in load tests: `python -m loadtests.target_server` prints its port and counts every request.

A process of its own, so that its work is not the daemon's. `GET /key/<anything>` answers 404 until `POST /release`,
then 200. `GET /counts` answers how often each key was asked, and how late: the distance between two requests for one
key less the shortest distance that the test expects (`?cadence=`). Loopback only; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import psutil

HEAD_END = b"\r\n\r\n"


class Target:
    """All requests so far."""

    def __init__(self) -> None:
        self.released = False
        self.asked: dict[str, list[float]] = {}

    def answer(self, method: str, target: str) -> tuple[int, bytes]:
        parts = urlsplit(target)
        if parts.path == "/release" and method == "POST":
            self.released = True
            return 200, b"released"
        if parts.path == "/forget" and method == "POST":
            self.asked.clear()
            return 200, b"forgotten"
        if parts.path == "/counts":
            return 200, json.dumps(self.counts(float(parse_qs(parts.query).get("cadence", ["0"])[0]))).encode()
        self.asked.setdefault(parts.path, []).append(time.monotonic())
        return (200, b"there") if self.released else (404, b"not yet")

    def counts(self, cadence_s: float) -> dict[str, object]:
        gaps = sorted(
            later - earlier - cadence_s
            for moments in self.asked.values()
            for earlier, later in itertools.pairwise(moments)
        )
        return {
            "requests": sum(len(moments) for moments in self.asked.values()),
            "keys": len(self.asked),
            "most_for_one_key": max((len(moments) for moments in self.asked.values()), default=0),
            "gap_minus_cadence_s": {share: _quantile(gaps, share) for share in (0.01, 0.5, 0.99, 1.0)},
            "cpu_s": sum(psutil.Process().cpu_times()[:2]),
        }


def _quantile(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None


async def _serve(target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(HEAD_END)
            method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            status, body = target.answer(method, path)
            writer.write(
                f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nContent-Type: text/plain\r\n\r\n".encode()
                + body
            )
            await writer.drain()
    writer.close()


async def _main() -> None:
    target = Target()
    server = await asyncio.start_server(lambda r, w: _serve(target, r, w), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the one line that the parent reads
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
