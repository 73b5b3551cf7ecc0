"""What the answer of a store or an API server means when it is no answer to the question."""

from __future__ import annotations

from datetime import datetime

from leoflow_sensors.egress import Response
from leoflow_sensors.http import parse_retry_after
from leoflow_sensors.kinds import ProbeFailed, ProbeThrottled, TargetDown

DETAIL_MAX = 300
"""Characters of the server's own words in our message."""


def raise_refusal(response: Response, *, doing: str, remedy: str, now: datetime) -> None:
    """Nothing for a status below 300. `remedy` is for 401 and 403: what the reader may change.

    Raises `ProbeThrottled` for 429 and 503, `TargetDown` for other server errors, `ProbeFailed` for the rest.
    """
    if response.status < 300:
        return
    words = " ".join(response.text().split())[:DETAIL_MAX]
    message = f"{doing}: HTTP {response.status} {response.reason}".rstrip() + (f": {words}" if words else "")
    if response.status in (429, 503):
        raise ProbeThrottled(message, parse_retry_after(response.headers.get("Retry-After"), now))
    if response.status >= 500:
        raise TargetDown(message)
    raise ProbeFailed(f"{message}; {remedy}" if response.status in (401, 403) else message)
