"""Tries a connection for a person who edits it: "Test" in the UI, `leoflow connections test`.

`daemon.py` hands `ConnectionCheck.check` to the API. It reaches no further than a probe could: HTTP goes through the
egress client, Postgres to an address that the same policy has checked. Types it cannot try are said to be untested,
which is not the same as working.
"""

from __future__ import annotations

import psycopg
import trio
from psycopg.conninfo import make_conninfo

from leoflow_sensors.egress import EgressClient, Resolve, resolve_name
from leoflow_sensors.egress_policy import EgressPolicy, endpoint
from leoflow_sensors.http import plan_call
from leoflow_sensors.kinds import ProbeFailed, TargetDown
from leoflow_sensors.sql import conninfo_of
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.store.trio_connection import SessionLimits, TrioConnection

WITHIN_S = 10.0
"""A person waits for the answer."""
LIMITS = SessionLimits(connect_s=WITHIN_S, statement_s=WITHIN_S, is_ours=False)
HTTP_WORKS = frozenset({404, 405})
"""Somebody answers: the base URL of an API need not be a page, nor know HEAD."""

Checked = tuple[bool, str]
"""Whether it works, and a sentence."""


class ConnectionCheck:
    def __init__(self, policy: EgressPolicy, *, resolve: Resolve = resolve_name) -> None:
        self._policy = policy
        self._resolve = resolve

    async def check(self, facts: ConnectionFacts) -> Checked:
        with trio.move_on_after(WITHIN_S):
            try:
                match facts.conn_type:
                    case "http":
                        return await self._http(facts)
                    case "postgres":
                        return await self._postgres(facts)
                    case _:
                        await trio.lowlevel.checkpoint()
                        return False, (
                            f"connections of type {facts.conn_type!r} cannot be tested here, only http and postgres: "
                            "the daemon has no client for others; a task that uses it will show"
                        )
            except (ProbeFailed, TargetDown) as error:
                return False, str(error)
        return False, f"no answer within {WITHIN_S:.0f} s"

    async def _http(self, facts: ConnectionFacts) -> Checked:
        client = EgressClient(self._policy, resolve=self._resolve)
        try:
            answer = await plan_call(facts, endpoint=None, method="HEAD", headers={}).send(client)
        finally:
            client.close()
        works = answer.status < 400 or answer.status in HTTP_WORKS
        return works, f"{answer.url} answered HTTP {answer.status} {answer.reason}".rstrip()

    async def _postgres(self, facts: ConnectionFacts) -> Checked:
        """As an SQL sensor would connect, and under the same rules."""
        told = conninfo_of(facts, None)
        target = endpoint("postgres", told["host"], told["port"])
        addresses = await EgressClient(self._policy, resolve=self._resolve).addresses(target)
        # The address that was checked: libpq must not look the name up again.
        conninfo = make_conninfo(**(told | {"host": target.host, "hostaddr": addresses[0]}))
        try:
            connection = await TrioConnection.open(conninfo, LIMITS)
        except psycopg.Error as error:
            return False, str(error).strip()
        version = connection.info.server_version
        connection.pgconn.finish()
        return True, f"{target} let {facts.login or 'us'} in; it is PostgreSQL {version // 10_000}"
