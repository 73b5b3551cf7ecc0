"""Variables of files and environments, and what of them can be stored."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from leoflowd.contract.errors import Invalid
from leoflowd.contract.variable import (
    KEY_MAX,
    VALUE_MAX_BYTES,
    VariableFacts,
    checked_variable,
    described,
    from_environment,
    text_of,
)


def test_the_environment_has_keys_in_capitals() -> None:
    environment = {"AIRFLOW_VAR_REGION": "eu", "AIRFLOW_VAR_EMPTY": ""}
    assert [from_environment(key, environment) for key in ("region", "Region", "empty", "nope")] == [
        "eu",
        "eu",
        "",
        None,
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("", ""), (1, "1"), (True, "true"), (None, "null"), ({"a": 1}, '{\n  "a": 1\n}'), ([], "[]")],
)
def test_what_is_no_text_becomes_json(value: Any, text: str) -> None:
    assert text_of(value) == text


def test_a_file_may_describe_its_variables() -> None:
    document = {
        "a": "1",
        "b": {"value": 2, "description": "two"},
        "c": {"value": {"x": 1}},
        "d": {"value": 1, "unit": "s"},
    }
    assert described(document) == (
        VariableFacts(key="a", value="1"),
        VariableFacts(key="b", value="2", description="two"),
        VariableFacts(key="c", value='{\n  "x": 1\n}'),
        VariableFacts(key="d", value='{\n  "value": 1,\n  "unit": "s"\n}'),
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([1], "one mapping"),
        ({1: "a"}, "the key 1 of a variable is no text"),
        ({"": "a"}, "the key of a variable is empty"),
        ({"k" * (KEY_MAX + 1): "a"}, "at most 250"),
        ({"a": {"value": 1, "description": 2}}, "the description of variable 'a' is no text"),
        ({"a": date(2026, 1, 1)}, "the value of variable 'a' is not JSON: date"),
        ({"a": "x" * (VALUE_MAX_BYTES + 1)}, "the value of variable 'a' has"),
        ({"a": "ä" * VALUE_MAX_BYTES}, "the value of variable 'a' is larger"),
        ({"a": "nul\x00"}, "which cannot be stored"),
        ({"a": "half \ud800"}, "which cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_refused(document: Any, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        described(document)


def test_a_refusal_never_quotes_the_value() -> None:
    with pytest.raises(Invalid) as refused:
        checked_variable(VariableFacts(key="a", value="hunter2\x00"))
    assert "hunter2" not in str(refused.value)
