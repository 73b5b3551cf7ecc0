"""What the answer of a store or an API server means when it is no answer to the question."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from leoflow_sensors.egress import Response
from leoflow_sensors.http import parse_retry_after
from leoflow_sensors.kinds import ProbeFailed, ProbeThrottled, TargetDown

DETAIL_MAX = 300
"""Characters of the server's own words in our message."""


def by_real_package(*connectors: str) -> str:
    """What to write so that Airflow's own hook is used, in a process of the task's."""
    return (
        f"let Airflow's own hook ask: `connectors: [{', '.join(connectors)}]` and, of this task, "
        "`tasks: {<task_id>: {execution: process}}` in the DAG's leoflow.yaml"
    )


def raise_refusal(
    response: Response, *, doing: str, remedy: str, now: datetime, said: Callable[[bytes], str | None] = lambda _: None
) -> None:
    """Nothing for a status below 300. `remedy` is for 401 and 403: what the reader may change. `said` finds the
    server's own words in the body; None: they are the body.

    Raises `ProbeThrottled` for 429 and 503, `TargetDown` for other server errors, `ProbeFailed` for the rest.
    """
    if response.status < 300:
        return
    words = " ".join((said(response.body) or response.text()).split())[:DETAIL_MAX]
    message = f"{doing}: HTTP {response.status} {response.reason}".rstrip() + (f": {words}" if words else "")
    if response.status in (429, 503):
        raise ProbeThrottled(message, parse_retry_after(response.headers.get("Retry-After"), now))
    if response.status >= 500:
        raise TargetDown(message)
    raise ProbeFailed(f"{message.rstrip('.')}; {remedy}" if response.status in (401, 403) else message)
