"""Which lines of a piece of a log hold a text."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.core.log_search import Wanted


def line(event: Any, **more: Any) -> bytes:
    return msgspec.json.encode({"event": event, "level": "info", **more}) + b"\n"


def texts(wanted: str, content: bytes, most: int = 10) -> list[str]:
    return [found.text for found in Wanted(wanted).search(content, most).lines]


def test_lines_are_found_in_their_order_whatever_their_capitals() -> None:
    content = line("Begun") + line("a TimeOut came", timestamp="2026-01-01T00:00:00Z") + line("timeout again")
    (first, second) = Wanted("timeOUT").search(content, 10).lines
    assert (first.text, first.timestamp, first.level) == ("a TimeOut came", "2026-01-01T00:00:00Z", "info")
    assert second.text == "timeout again"
    assert texts("nothing", content) == []


@pytest.mark.parametrize("text", ['say "no"', "C:\\temp", "zwölf Übel", "a\tb", "🦁 lion", "<b>&amp;</b>"])
def test_what_json_writes_otherwise_is_found(text: str) -> None:
    """By our encoder, and by the standard library's, which writes nothing but ASCII."""
    assert texts(text, line(f"x {text} y")) == [f"x {text} y"]
    assert texts(text, json.dumps({"event": f"x {text} y"}).encode() + b"\n") == [f"x {text} y"]


@given(st.text(min_size=1, max_size=8), st.text(max_size=20), st.text(max_size=20))
def test_a_text_is_found_in_what_holds_it(text: str, before: str, after: str) -> None:
    try:
        content = json.dumps({"event": before + text + after}).encode() + b"\n"
        line(before + text + after)
    except UnicodeEncodeError:
        return  # half a pair, which no log holds
    if text.lower() in (before + text + after).lower():
        assert len(texts(text, content)) == 1
    assert texts(before + text + after + "!", content) == []


def test_an_error_of_a_line_is_searched_beside_its_message() -> None:
    content = line("Task failed", error_detail=[{"exc_type": "KeyError", "exc_value": "'price'", "frames": []}])
    assert texts("keyerror: 'pri", content) == ["KeyError: 'price'"]


def test_names_of_fields_and_half_lines_are_no_text() -> None:
    assert texts("level", line("plain")) == []
    assert texts("plain", line("x") + b'{"event": "pl') == []


def test_lines_of_no_json_are_searched_as_they_are() -> None:
    assert texts("hand", b"written by hand\n") == ["written by hand"]
    assert texts("odd", b'["odd"]\n{"event": {"odd": [1]}}\n') == ['["odd"]', '{"odd":[1]}']


def test_a_long_line_is_shown_around_the_text() -> None:
    (text,) = texts("needle", line("x" * 5000 + "needle" + "y" * 5000))
    assert text.startswith("... x")
    assert text.endswith("y ...")
    assert len(text) < 500
    assert "needle" in text


def test_it_goes_on_behind_the_last_line_that_it_looked_at() -> None:
    content = line("one x") + line("two x") + line("three x")
    found = Wanted("x").search(content + b"half", 2)
    assert [one.text for one in found.lines] == ["one x", "two x"]
    assert content[found.end :] == line("three x")
    assert Wanted("x").search(content + b"half", 9).end == len(content)
    assert Wanted("absent").search(content + b"half", 9).end == len(content)
    assert Wanted("x").search(b"y" * 100, 9).end == 100, "a line longer than a piece is not waited for"
