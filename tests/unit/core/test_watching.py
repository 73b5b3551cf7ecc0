"""Why a watcher watches, or does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from leoflowd.core.watching import WatcherFacts, explain_watcher

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FAILED = {"failures": 1, "error": "no queue"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"is_active": False}, "asset 'a' is not active"),
        ({"is_awaited": False}, "no DAG that is not paused is scheduled on asset 'a'"),
        ({}, "watches since 2026-01-02 03:04:05 UTC; no event has come"),
        ({"events": 1, "fired_at": NOW}, "1 event, the last at 2026-01-02 03:04:05 UTC"),
        ({"events": 7, "fired_at": NOW}, "7 events, the last at"),
        (
            FAILED | {"retry_at": NOW + timedelta(seconds=8)},
            "failed 1 time in a row and is started again in 8 s; last: no",
        ),
        (FAILED | {"failures": 3, "retry_at": NOW}, "failed 3 times in a row and was started again; last: no queue"),
        (FAILED | {"retry_at": NOW, "is_awaited": False}, "nothing is watched"),
    ],
)
def test_it_says_why(fields: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {
        "dag_id": "d",
        "asset_name": "a",
        "name": "w",
        "is_active": True,
        "is_awaited": True,
        "created_at": NOW,
        "events": 0,
        "fired_at": None,
        "failures": 0,
        "error": None,
        "retry_at": None,
    }
    assert words in explain_watcher(WatcherFacts(**(given | fields)), NOW)
