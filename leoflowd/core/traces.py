"""The ids of a dag run's trace, worked out of what is in Postgres: nobody has to keep or pass them on. ADR 82.

Leader after leader, and every daemon that hands out the spec of a try, comes to the same ids. `salt` is the
installation's own, so that two of them can send to one receiver. Pure.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

import msgspec

RUN, TRY, DECISION, DISPATCH, POD, AGENT, TASK = "dag run", "try", "decision", "dispatch", "pod", "agent", "task"
_WHOLE = 1 << 63


class TraceIds(msgspec.Struct, frozen=True):
    salt: bytes
    ratio: float = 1.0
    """Of the dag runs, so many are traced."""

    def trace_id(self, dag_run_id: int) -> bytes:
        return self._digest("trace", str(dag_run_id), 16)

    def is_sampled(self, dag_run_id: int) -> bool:
        return int.from_bytes(self.trace_id(dag_run_id)[8:]) >> 1 < self.ratio * _WHOLE

    def span_id(self, kind: str, of: int | str) -> bytes:
        """`of`: the id of a dag run, a try or a pod."""
        return self._digest(kind, str(of), 8)

    def traceparent(self, dag_run_id: int, try_id: str) -> str:
        """W3C's header for what the task's own process begins."""
        flags = "01" if self.is_sampled(dag_run_id) else "00"
        return f"00-{self.trace_id(dag_run_id).hex()}-{self.span_id(TASK, try_id).hex()}-{flags}"

    def _digest(self, kind: str, of: str, length: int) -> bytes:
        found = hmac.digest(self.salt, f"{kind}\0{of}".encode(), "sha256")[:length]
        return found if any(found) else b"\1" * length  # all zeros is no id


Traceparent = Callable[[int, str], str]
"""(dag_run.id, try id) -> `TRACEPARENT`; empty: nothing is traced."""


def untraced(_dag_run_id: int, _try_id: str) -> str:
    return ""
