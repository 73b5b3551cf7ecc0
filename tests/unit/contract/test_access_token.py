"""The form of an access token: found by scanners, told from a mistyped one, hidden in logs."""

from __future__ import annotations

import logging

from hypothesis import given
from hypothesis import strategies as st

from leoflowd import telemetry
from leoflowd.contract.access_token import (
    ALPHABET,
    FORM,
    PERSONAL,
    RANDOM_LENGTH,
    SERVICE,
    compose,
    is_access_token,
    without_access_tokens,
)

TOKEN = compose(PERSONAL, "0" * RANDOM_LENGTH)
randomness = st.text(ALPHABET, min_size=RANDOM_LENGTH, max_size=RANDOM_LENGTH)


@given(st.sampled_from([PERSONAL, SERVICE]), randomness)
def test_every_token_has_the_form(kind: str, text: str) -> None:
    token = compose(kind, text)
    assert FORM.fullmatch(token)
    assert is_access_token(token)


@given(randomness, st.integers(0, 35), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(text: str, at: int, other: str) -> None:
    token = compose(SERVICE, text)
    place = len("leoflow_svc_") + at
    wrong = token[:place] + other + token[place + 1 :]
    assert is_access_token(wrong) == (wrong == token)


def test_nothing_of_a_token_is_in_a_log() -> None:
    lines = telemetry._Lines(as_json=True)  # what `configure` installs
    record = logging.LogRecord("x", logging.INFO, "", 0, f"called with {TOKEN}", (), None)
    record.fields = {"header": f"Bearer {TOKEN}", "deep": {"list": [TOKEN]}, "cut": TOKEN[:25]}
    line = lines.format(record)
    assert "000" not in line
    assert line.count("leoflow_pat_***") == 4


def test_other_text_stays() -> None:
    for text in ("leoflow_pat_", "see leoflow_pat_x", "leoflow_agent"):
        assert without_access_tokens(text) == text
