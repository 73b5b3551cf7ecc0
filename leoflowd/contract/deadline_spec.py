"""Deadlines of a DAG's runs, as the artifact has them: `DAG(deadline=DeadlineAlert(...))` (ADR 58).

The artifact says when; whom to tell is code of the DAG file, found again by the position of the deadline in its list.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

DeadlineReference = Literal["logical_date", "queued_at", "fixed", "average_runtime"]
DEADLINES_MAX = 100
"""Of one DAG: each is a row of every run."""
AVERAGED_MAX = 10_000
"""Runs that one average looks back on."""


class DeadlineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A run is to have succeeded by `interval_s` after what `reference` names, before it if that is negative."""

    reference: DeadlineReference
    interval_s: float
    at: datetime | None = None
    """Of "fixed"."""
    max_runs: Annotated[int, msgspec.Meta(ge=1, le=AVERAGED_MAX)] = 10
    """Of "average_runtime": how many of the latest runs are averaged."""
    min_runs: Annotated[int, msgspec.Meta(ge=1)] = 10
    """With fewer there is no deadline."""


class MissedDeadline(msgspec.Struct, frozen=True, kw_only=True):
    """What the process of its callback is told, as part of the `CallbackCall`."""

    id: str
    deadline_time: datetime
    position: int
    """In the DAG's list of deadlines."""
