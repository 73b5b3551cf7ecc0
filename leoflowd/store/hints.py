"""Hints between processes: NOTIFY inside the writing transaction, heard after its commit. Losing one costs latency.

Payloads: `run:<dag_run_id>` (its rows changed), `dag:<dag_id>` (registered, paused, deleted), `pools:`, `reports:` (a
daemon that does not lead was told something), `variables:` and `connections:` (one was written: DAG files that read it
while they were loaded are compiled again), `human:` (a question was answered),
`callbacks:` (one has ended, or is to be launched again), `deadlines:` (a run with some was made). To the pools of other
daemons: `waits:<dag_run_id>` and `finished:<dag_id>` from the leader; `probe:`, `fire:` and `fail:<wait_id>`,
`terms:<wait_id> <seconds>` from people.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio
from psycopg import Notify
from psycopg.generators import notifies

from leoflowd.config import StoreConfig
from leoflowd.store.database import STORE, Connection, watching_limits
from leoflowd.store.trio_connection import TrioConnection, store_errors


class Hint(msgspec.Struct, frozen=True):
    kind: str
    value: str


async def send_hint(conn: Connection, kind: str, value: object = "") -> None:
    await conn.execute(b"SELECT pg_notify('leoflow', %(payload)s)", {"payload": f"{kind}:{value}"})


async def send_hints(conn: Connection, hints: Sequence[tuple[str, str]]) -> None:
    payloads = [f"{kind}:{value}" for kind, value in hints]
    await conn.execute(b"SELECT pg_notify('leoflow', p) FROM unnest(%(payloads)s::text[]) AS p", {"payloads": payloads})


class HintListener:
    """Hears hints on a connection of its own and passes each to every receiver, dropping it where a receiver is full.

    Raises `StoreUnavailable` when the connection breaks; after a restart each receiver first gets `Hint("all", "")`,
    because hints may have been missed.
    """

    def __init__(self, conninfo: str, config: StoreConfig = STORE) -> None:
        self._conninfo = conninfo
        self._ask_every_s = config.silence_s
        self._ask_at = 0.0
        self._limits = watching_limits(config, speaks_every_s=self._ask_every_s)
        self._receivers: list[trio.MemorySendChannel[Hint]] = []
        self._heard = 0

    def subscribe(self, buffer: int = 1024) -> trio.MemoryReceiveChannel[Hint]:
        """A receiver that falls behind loses hints, never blocks the others; its own sweep makes up for them.

        One that is closed is forgotten.
        """
        send, receive = trio.open_memory_channel[Hint](buffer)
        self._receivers.append(send)
        return receive

    def statistics(self) -> dict[str, int]:
        return {"receivers": len(self._receivers), "heard": self._heard}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with store_errors("the listener lost Postgres"):
            connection = await TrioConnection.open(self._conninfo, self._limits)
            try:
                connection.add_notify_handler(self._hear)
                await connection.execute(b"LISTEN leoflow")
                self._ask_at = trio.current_time() + self._ask_every_s
                self._pass_on(Hint("all", ""))
                task_status.started()
                while True:
                    await self._listen(connection)
            finally:
                connection.pgconn.finish()

    async def _listen(self, connection: TrioConnection) -> None:
        """What comes until it is time for a question: a half-open socket is as quiet as a quiet day, and the server
        ends a session that never speaks, however much it hears."""
        with trio.move_on_at(self._ask_at) as wait:
            await connection.wait_heard()
        if wait.cancelled_caught:
            await connection.execute(b"SELECT 1")
            self._ask_at = trio.current_time() + self._ask_every_s
            while heard := connection.pgconn.notifies():  # came behind the answer: the socket has nothing to tell
                self._pass_on(_hint(heard.extra.decode()))
        else:
            await connection.wait(notifies(connection.pgconn))

    def _hear(self, notify: Notify) -> None:
        self._pass_on(_hint(notify.payload))

    def _pass_on(self, hint: Hint) -> None:
        self._heard += 1
        for receiver in list(self._receivers):
            try:
                receiver.send_nowait(hint)
            except trio.BrokenResourceError:
                self._receivers.remove(receiver)
            except trio.WouldBlock:
                pass  # a full receiver will sweep


def _hint(payload: str) -> Hint:
    kind, _, value = payload.partition(":")
    return Hint(kind, value)
