"""Answers of `leoflow mcp` stay small and lose nothing that matters; the command without its SDK."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest

from leoflowd.cli.failures import ExitCode
from leoflowd.cli.mcp_answers import ANSWER_MAX, VALUE_MAX, diff_lists, log_of, preview_id, told


def line(event: str, level: str = "info", **more: Any) -> dict[str, Any]:
    return {"timestamp": "2026-11-21T03:00:00.123456Z", "level": level, "event": event, **more}


def test_a_short_answer_is_the_document() -> None:
    document = {"total": 1, "rows": [{"a": 1, "b": None, "c": {"d": [1.5, True]}}]}
    assert json.loads(told(document)) == document


def test_the_largest_list_is_shortened_and_it_is_said_how_much() -> None:
    document = {"few": ["x" * 100] * 3, "many": [{"n": n, "text": "y" * 500} for n in range(1000)]}
    text = told(document)
    answer = json.loads(text)
    assert len(text) <= ANSWER_MAX
    assert answer["few"] == document["few"]
    assert [row["n"] for row in answer["many"]] == list(range(len(answer["many"])))
    assert answer["left_out"] == {"many": 1000 - len(answer["many"])}


@pytest.mark.parametrize("value", ["z" * 100_000, {"key": ["z" * 100_000]}, ["z"] * 100_000])
def test_a_long_value_is_cut_wherever_it_stands(value: Any) -> None:
    answer = json.loads(told({"rows": [{"conf": value}], "conf": {"a": value}}))
    for text in (answer["rows"][0]["conf"], answer["conf"]):
        assert len(text) < VALUE_MAX + 100
        assert "characters more" in text


def test_an_answer_of_many_long_values_is_bounded_too() -> None:
    assert len(told({f"field {number}": "x" * VALUE_MAX for number in range(100)})) == ANSWER_MAX


def test_no_control_code_of_a_terminal_goes_out() -> None:
    assert json.loads(told({"note": "a\x1b[2Jb\u202e", "rows": ["\x1b]0;t\x07c"]})) == {"note": "ab", "rows": ["c"]}


def test_a_log_shows_its_errors_before_its_last_lines() -> None:
    lines = [line("begun"), line("disk full", "error"), *[line(f"cleaning {n}") for n in range(2000)]]
    found = log_of(lines, 2000)
    assert found["errors"] == ["2026-11-21T03:00:00.123 ERROR disk full"]
    assert found["last_lines"][-1].endswith("INFO cleaning 1999")
    assert sum(map(len, found["errors"] + found["last_lines"])) <= 2000
    assert (found["lines_count"], found["errors_count"]) == (2002, 1)
    assert found["earlier_lines_left_out"] == 2002 - len(found["last_lines"])


def test_of_many_errors_the_last_ones_are_shown_within_half_of_the_room() -> None:
    found = log_of([line(f"fault {n}", "error") for n in range(1000)], 4000)
    assert found["errors"][-1].endswith("fault 999")
    assert sum(map(len, found["errors"])) <= 2000
    assert found["errors_count"] == 1000


def test_an_exception_has_its_innermost_frames_below_its_line() -> None:
    frames = [{"filename": "dag.py", "lineno": n, "name": f"f{n}"} for n in range(20)]
    detail = [{"exc_type": "KeyError", "exc_value": "'price'", "frames": frames}]
    (error,) = log_of([line("Task failed", "error", error_detail=detail)], 4000)["errors"]
    assert error.splitlines()[1:] == [f"  dag.py:{n} in f{n}" for n in range(14, 20)] + ["  KeyError: 'price'"]


def test_markers_of_groups_are_no_lines() -> None:
    assert log_of([line("::group::Source"), line("::endgroup::"), line("x")], 4000)["lines_count"] == 1


def test_the_tables_of_a_diff_become_lists() -> None:
    found = {"dag": {"tags": [[], ["a"]]}, "environment": {}, "tasks_changed": {"load": {"retries": [1, 3]}}}
    assert diff_lists(found) == {
        "dag": [{"field": "tags", "was": [], "is": ["a"]}],
        "environment": [],
        "tasks_changed": [{"task_id": "load", "changes": [{"field": "retries", "was": 1, "is": 3}]}],
    }


def test_a_preview_is_of_one_request_and_of_instances_as_they_are() -> None:
    row = {"task_id": "a", "map_index": -1, "state": "failed", "try_number": 1, "note": None}
    other = {**row, "task_id": "b"}
    first = preview_id("etl", {"only_failed": True}, [row, other])
    assert first == preview_id("etl", {"only_failed": True}, [{**other, "note": "x"}, row])
    different = [
        preview_id("etl2", {"only_failed": True}, [row, other]),
        preview_id("etl", {"only_failed": False}, [row, other]),
        preview_id("etl", {"only_failed": True}, [row]),
        preview_id("etl", {"only_failed": True}, [{**row, "try_number": 2}, other]),
        preview_id("etl", {"only_failed": True}, [{**row, "state": None}, other]),
    ]
    assert len({first, *different}) == 6


def test_without_the_sdk_it_says_what_to_install(leoflow, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "leoflowd.cli.mcp_tools":
            raise ModuleNotFoundError("No module named 'mcp'", name="mcp")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    result = leoflow("mcp")
    assert (result.code, "pip install 'leoflow[mcp]'" in result.err) == (ExitCode.NOT_READY, True)
