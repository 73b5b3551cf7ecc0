"""Hints between processes: NOTIFY inside the writing transaction, heard after its commit. Losing one costs latency.

Payloads: `run:<dag_run_id>` (its rows changed), `dag:<dag_id>` (registered, paused, deleted), `pools:`.
"""

from __future__ import annotations

import contextlib

import msgspec
import trio
from psycopg.generators import notifies

from leoflowd.store.database import Connection
from leoflowd.store.trio_connection import TrioConnection, store_errors

CHANNEL = "leoflow"


class Hint(msgspec.Struct, frozen=True):
    kind: str
    value: str


async def send_hint(conn: Connection, kind: str, value: object = "") -> None:
    await conn.execute(b"SELECT pg_notify('leoflow', %(payload)s)", {"payload": f"{kind}:{value}"})


class HintListener:
    """Hears hints on a connection of its own and passes each to every receiver, dropping it where a receiver is full.

    Raises `StoreUnavailable` when the connection breaks; after a restart each receiver first gets `Hint("all", "")`,
    because hints may have been missed.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._receivers: list[trio.MemorySendChannel[Hint]] = []
        self._heard = 0

    def subscribe(self, buffer: int = 1024) -> trio.MemoryReceiveChannel[Hint]:
        """A receiver that falls behind loses hints, never blocks the others; its own sweep makes up for them."""
        send, receive = trio.open_memory_channel[Hint](buffer)
        self._receivers.append(send)
        return receive

    def statistics(self) -> dict[str, int]:
        return {"receivers": len(self._receivers), "heard": self._heard}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with store_errors("the listener lost Postgres"):
            connection = await TrioConnection.open(self._conninfo)
            try:
                await connection.execute(b"LISTEN leoflow")
                self._pass_on(Hint("all", ""))
                task_status.started()
                while True:
                    for heard in await connection.wait(notifies(connection.pgconn)):
                        kind, _, value = heard.extra.decode().partition(":")
                        self._pass_on(Hint(kind, value))
            finally:
                connection.pgconn.finish()

    def _pass_on(self, hint: Hint) -> None:
        self._heard += 1
        for receiver in self._receivers:
            with contextlib.suppress(trio.WouldBlock):  # a full receiver will sweep
                receiver.send_nowait(hint)
