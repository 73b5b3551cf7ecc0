"""Everything that Python's `json` can carry goes through the daemon and comes back exactly."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from leoflow_agent.runner import limits
from leoflowd.contract import values
from leoflowd.contract.errors import Invalid

texts = st.text(st.characters(exclude_categories=("Cs",)))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
carried = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)
anything = st.recursive(
    scalars | st.floats() | st.text(st.characters()) | st.integers(min_value=10**3999, max_value=10**4001),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@given(carried)
def test_a_value_comes_back_as_it_went_in(value: Any) -> None:
    found = values.parsed_json(values.json_text(value, "it", max_bytes=10**9), "it")
    assert repr(found) == repr(value)


@given(carried)
def test_what_the_runner_writes_the_daemon_takes_and_python_reads(value: Any) -> None:
    text = values.checked_json_text(limits.json_text(value, "it"), "it", max_bytes=10**9)
    assert repr(json.loads(text)) == repr(value)


@given(anything)
def test_runner_and_daemon_refuse_the_same_values(value: Any) -> None:
    assert _refused(lambda: limits.check(value, "it"), TypeError) == _refused(
        lambda: values.checked_json(value, "it"), Invalid
    )


@given(anything)
def test_what_is_shown_can_be_stored(value: Any) -> None:
    for shown in (limits.shown_value(value), values.shown_value(value)):
        assert "\0" not in values.artifact_text({"shown": shown}, "it")


def _refused(check: Any, error: type[Exception]) -> bool:
    try:
        check()
    except error:
        return True
    return False
