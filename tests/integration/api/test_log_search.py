"""A text in the logs of many runs: what is found, in which order, how a search goes on, and for whom."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest
from quart_trio import QuartTrio

from leoflowd.api.context import ApiContext
from leoflowd.api.own import log_search as route
from leoflowd.store import log_search as store
from leoflowd.store.database import Database
from tests.integration.api.api_client import Client
from tests.integration.api.api_seed import BROKEN, DAG, DONE, OPEN
from tests.integration.api.people import somebody_with
from tests.integration.api.test_run_diff import write_log

SEARCH = "/leoflow/api/logSearch"


async def whole(client: Client, text: str, **query: Any) -> tuple[list[dict[str, Any]], int]:
    """All tries that a search finds, and how many answers that took."""
    found: list[dict[str, Any]] = []
    asked = SEARCH + "?text=" + quote(text) + "".join(f"&{name}={quote(str(value))}" for name, value in query.items())
    cursor, answers = "", 0
    while True:
        answer = await client.get(f"{asked}&cursor={cursor}" if cursor else asked)
        answers += 1
        found += answer["tries"]
        cursor = answer["cursor"]
        if cursor is None:
            return found, answers


def names(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one["dag_run_id"], one["task_id"]) for one in found]


@pytest.fixture
async def logged(seeded: Client, api_context: ApiContext) -> Client:
    for run_id in (DONE, BROKEN):
        await write_log(api_context, run_id, "extract", {"event": "reading"}, {"event": f"Lost at {run_id}"})
    detail = [{"exc_type": "OSError", "exc_value": "lost the disk"}]
    await write_log(api_context, BROKEN, "g.transform", {"event": "failed", "level": "error", "error_detail": detail})
    return seeded


async def test_the_newest_runs_come_first_with_the_lines(logged: Client) -> None:
    found, _ = await whole(logged, "LOST")
    assert names(found) == [(BROKEN, "extract"), (BROKEN, "g.transform"), (DONE, "extract")]
    assert found[1] == {
        "dag_id": DAG,
        "dag_run_id": BROKEN,
        "run_after": "2026-11-20T03:00:00Z",
        "task_id": "g.transform",
        "map_index": -1,
        "try_number": 1,
        "state": "failed",
        "lines": [{"timestamp": None, "level": "error", "text": "OSError: lost the disk"}],
        "has_more": False,
    }


async def test_the_log_of_a_try_that_runs_is_searched_and_how_others_ended(logged: Client) -> None:
    assert names((await whole(logged, "hello"))[0]) == [(OPEN, "extract")]
    found, _ = await whole(logged, "state failed: no reason")
    assert names(found) == [(BROKEN, "g.transform")]
    assert found[0]["lines"][0]["level"] == "error"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"task_id": "g.transform"}, [(BROKEN, "g.transform")]),
        ({"state": "success"}, [(BROKEN, "extract"), (DONE, "extract")]),
        ({"run_id": DONE}, [(DONE, "extract")]),
        ({"since": "2026-11-20"}, [(BROKEN, "extract"), (BROKEN, "g.transform")]),
        ({"dag_id": "other"}, []),
        ({"dag_id": DAG, "task_id": "extract", "since": "2026-11-20"}, [(BROKEN, "extract")]),
    ],
)
async def test_it_is_looked_where_it_was_said(logged: Client, where: dict[str, str], expected: list[Any]) -> None:
    assert names((await whole(logged, "lost", **where))[0]) == expected


async def test_a_search_goes_on_where_it_stopped(logged: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each try that was found, and after each moment, in however small steps."""
    expected, answers = await whole(logged, "lost")
    assert answers == 1
    found, answers = await whole(logged, "lost", limit=1)
    assert (found, answers) == (expected, 4)
    monkeypatch.setattr(route, "MOMENT_S", 0.0)
    monkeypatch.setattr(route, "AT_ONCE", 1)
    monkeypatch.setattr(store, "RUNS", 1)
    monkeypatch.setattr(store, "TRIES", 2)
    found, answers = await whole(logged, "lost")
    assert found == expected
    assert answers > 5


async def test_the_moment_of_a_search_begins_when_it_is_its_turn(
    logged: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Turn:
        async def __aenter__(self) -> None:
            monkeypatch.setattr(route, "MOMENT_S", 60.0)

        async def __aexit__(self, *_: object) -> None:
            monkeypatch.setattr(route, "MOMENT_S", 0.0)

    monkeypatch.setattr(route, "AT_ONCE", 1)
    monkeypatch.setattr(route, "MOMENT_S", 0.0)
    monkeypatch.setattr(route, "_one_moment_at_a_time", Turn())
    found, answers = await whole(logged, "lost")
    assert (len(found), answers) == (3, 1)


async def test_a_long_log_is_searched_piece_by_piece(
    logged: Client, api_context: ApiContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [{"event": f"line {n}"} for n in range(100)]
    await write_log(api_context, DONE, "load", *lines, {"event": "the lost one"}, *lines)
    monkeypatch.setattr(route, "PIECE_BYTES", 100)
    found, _ = await whole(logged, "the lost", task_id="load")
    assert [line["text"] for line in found[0]["lines"]] == ["the lost one"]
    monkeypatch.setattr(route, "MOMENT_S", 0.0)
    again, answers = await whole(logged, "the lost", task_id="load")
    assert [line["text"] for one in again for line in one["lines"]] == ["the lost one"]
    assert answers > 10, "one piece an answer"


async def test_of_one_try_some_lines_are_shown(logged: Client, api_context: ApiContext) -> None:
    await write_log(api_context, DONE, "load", *({"event": f"again {n}"} for n in range(20)))
    (found,), _ = await whole(logged, "again")
    assert [line["text"] for line in found["lines"]] == [f"again {n}" for n in range(route.LINES)]
    assert found["has_more"] is True


async def test_it_says_how_far_it_came(logged: Client) -> None:
    answer = await logged.get(f"{SEARCH}?text=lost&limit=1")
    assert answer["looked_at"]["tries"] == 2, "the one that runs, and the first that has it"
    assert answer["reached"] == {"dag_id": DAG, "dag_run_id": BROKEN, "run_after": "2026-11-20T03:00:00Z"}
    nothing = await logged.get(f"{SEARCH}?text=lost&dag_id=other")
    assert (nothing["tries"], nothing["cursor"], nothing["reached"]) == ([], None, None)


async def test_logs_that_somebody_may_not_see_are_not_looked_at(
    logged: Client, app: QuartTrio, database: Database
) -> None:
    client = await somebody_with(app, database, {"read": "dag:other"})
    for where in ({}, {"dag_id": DAG}, {"run_id": BROKEN}):
        assert (await whole(client, "lost", **where))[0] == []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "say what to look for"),
        ("text=%20", "say what to look for"),
        ("text=" + "x" * 201, "at most 200 characters"),
        ("text=x&state=none", "should be"),
        ("text=x&limit=0", "limit"),
        ("text=x&cursor=nonsense", "no cursor of a search"),
        ("text=x&cursor=" + base64.urlsafe_b64encode(b'{"offset": -1}').decode(), "no cursor of a search"),
        ("text=x&cursor=" + base64.urlsafe_b64encode(b'{"task_id": "\\u0000"}').decode(), "task_id"),
        ("text=x&since=yesterday", "datetime"),
    ],
)
async def test_what_is_refused(seeded: Client, query: str, told: str) -> None:
    refused = await seeded.send("GET", f"{SEARCH}?{query}", status=422)
    assert told in str(refused["detail"])
