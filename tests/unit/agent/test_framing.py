"""Lines of task output become bounded NDJSON lines, whatever the bytes are."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflow_agent.framing import LINE_BYTES, LineSplitter, output_line, record_line
from leoflow_agent.masking import Secrets
from leoflowd.contract.agent_messages import LOG_CHUNK_BYTES

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def _split(*pieces: bytes, secrets: tuple[str, ...] = ()) -> list[bytes]:
    known = Secrets()
    known.hide(secrets)
    splitter = LineSplitter(known)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return [*lines, *splitter.end()]


def test_a_line_of_output_has_the_keys_that_the_log_page_reads():
    assert json.loads(output_line(b"hello", stream="stderr", now=NOW)) == {
        "timestamp": "2026-01-02T03:04:05.000006Z",
        "event": "hello",
        "level": "error",
        "logger": "task.stderr",
    }


def test_bytes_that_are_no_text_are_shown_as_escapes():
    assert json.loads(output_line(b"\xff ok", stream="stdout", now=NOW))["event"] == "\\xff ok"


def test_a_last_line_without_newline_is_kept():
    assert _split(b"one\ntw", b"o") == [b"one", b"two"]


def test_windows_line_ends_and_empty_lines_survive():
    assert _split(b"a\r\n\nb\n") == [b"a", b"", b"b"]


def test_a_long_line_is_never_cut_inside_a_character():
    lines = _split(b"x" + "é".encode() * LINE_BYTES)
    assert len(lines) > 1
    assert "".join(line.decode() for line in lines) == "x" + "é" * LINE_BYTES


@pytest.mark.parametrize("before", range(LINE_BYTES - 15, LINE_BYTES + 3, 2))
@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_secret_where_a_long_line_is_cut_stays_hidden(before, newline):
    raw = b"x" * before + b"open-sesame-2" + b"y" * 3 * LINE_BYTES + newline
    pieces = [raw[start : start + 5000] for start in range(0, len(raw), 5000)]
    shown = b"".join(_split(*pieces, secrets=("open-sesame-2",)))
    assert shown == b"x" * before + b"***" + b"y" * 3 * LINE_BYTES


def test_a_secret_longer_than_a_line_is_hidden_in_one_that_never_ends():
    secret = "s3" * LINE_BYTES
    shown = b"".join(_split(b"a" * 100, secret.encode(), b"b" * 200_000, secrets=(secret,)))
    assert shown == b"a" * 100 + b"***" + b"b" * 200_000


def test_a_secret_that_is_written_in_two_goes_stays_hidden():
    assert _split(b"it is open-", b"sesame-2\n", secrets=("open-sesame-2",)) == [b"it is ***"]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_byte_is_lost_however_the_pipe_cuts(pieces):
    whole = b"".join(pieces)
    expected = [line.removesuffix(b"\r") for line in whole.split(b"\n")]
    if whole.endswith(b"\n") or not whole:
        expected.pop()
    elif whole.endswith(b"\r"):
        expected[-1] += b"\r"  # no newline came: it is no line end yet
    assert _split(*pieces) == expected


@given(st.binary(max_size=LINE_BYTES))
def test_every_log_line_fits_into_a_chunk(raw):
    block = output_line(raw, stream="stdout", now=NOW)
    assert all(len(line) <= LOG_CHUNK_BYTES for line in block.splitlines(keepends=True))


def test_a_line_of_control_bytes_is_split_after_escaping():
    block = output_line(b"\x00" * LINE_BYTES, stream="stdout", now=NOW)
    lines = block.splitlines(keepends=True)
    assert all(len(line) <= LOG_CHUNK_BYTES for line in lines)
    assert "".join(json.loads(line)["event"] for line in lines) == "\x00" * LINE_BYTES


def test_a_record_keeps_its_extra_facts_but_never_a_key_named_content():
    line = json.loads(record_line({"event": "e", "level": "WARNING", "content": "x", "error_detail": []}, now=NOW))
    assert line == {
        "timestamp": "2026-01-02T03:04:05.000006Z",
        "event": "e",
        "level": "warning",
        "logger": "root",
        "error_detail": [],
    }


def test_a_record_with_too_many_facts_keeps_its_text():
    block = record_line({"event": "e" * 100_000, "error_detail": ["x" * 100_000]}, now=NOW)
    assert "".join(json.loads(line)["event"] for line in block.splitlines()) == "e" * 100_000
