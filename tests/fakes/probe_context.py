"""What the pool gives a probe, for tests of sensor kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from leoflow_sensors.egress import EgressClient
from leoflow_sensors.egress_policy import parse_policy
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.dag_facts import DagFacts, StatesAnswer, StatesQuestion

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


@dataclass
class NoDagFacts:
    async def count_states(self, questions: Sequence[StatesQuestion]) -> Sequence[StatesAnswer]:
        raise NotImplementedError


@dataclass
class Context:
    """`http` may connect to loopback."""

    connection: ConnectionFacts | None = None
    http: EgressClient = field(default_factory=lambda: EgressClient(parse_policy("127.0.0.1")))
    dag_facts: DagFacts = field(default_factory=NoDagFacts)
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


def connection(conn_type: str, *, extra: dict[str, Any] | None = None, **fields: Any) -> ConnectionFacts:
    """A connection of that type, called `its_<type>`."""
    text = None if extra is None else msgspec.json.encode(extra).decode()
    return ConnectionFacts(connection_id=f"its_{conn_type}", conn_type=conn_type, extra=text, **fields)
