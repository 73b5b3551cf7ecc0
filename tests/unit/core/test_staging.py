"""Staging volumes: whose they are, and when they are of no use any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from leoflowd.contract.staging import Staging, staging_of
from leoflowd.core.staging import FRESH, RunEnd, is_over

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
TTL = timedelta(hours=1)


def run(state: str, ended: timedelta | None = None) -> RunEnd:
    return RunEnd(1, "d", "r", state, None if ended is None else NOW - ended)


@pytest.mark.parametrize(
    ("found", "age", "over"),
    [
        (run("success", TTL), TTL, True),
        (run("failed", TTL), TTL, True),
        (run("success", TTL - timedelta(seconds=1)), TTL, False),
        (run("running"), timedelta(days=30), False),
        (run("queued"), timedelta(days=30), False),
        (run("running", TTL), TTL, False),  # cleared: it goes on, and its old end says nothing
        (None, FRESH, True),
        (None, FRESH - timedelta(seconds=1), False),
    ],
)
def test_a_volume_goes_when_its_run_is_over_for_long_or_is_none(
    found: RunEnd | None, age: timedelta, over: bool
) -> None:
    assert is_over(found, created_at=NOW - age, ttl=TTL, now=NOW) is over


def test_it_is_named_after_its_run_alone() -> None:
    one = staging_of({"enabled": True, "size": "2Gi"}, dag_run_id=1, dag_id="d", run_id="r")
    assert one == Staging(dag_run_id=1, dag_id="d", run_id="r", size="2Gi")
    others = (
        msgspec.structs.replace(one, **change) for change in ({"run_id": "s"}, {"dag_run_id": 2}, {"dag_id": "e"})
    )
    assert len({one.name, *(other.name for other in others)}) == 4
    assert msgspec.structs.replace(one, size="3Gi", storage_class="fast").name == one.name


@pytest.mark.parametrize("wanted", [{}, {"size": "2Gi"}, {"enabled": False, "size": "2Gi"}])
def test_nobody_gets_one_who_does_not_ask(wanted: dict[str, object]) -> None:
    assert staging_of(wanted, dag_run_id=1, dag_id="d", run_id="r") is None
