"""A conf that its params' schemas cannot be held against is refused, whatever they are."""

from __future__ import annotations

from typing import Any

import pytest

from leoflowd.core.run_conf import checked_conf


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"type": "integer"}, "a\0" * 5000, r"'a\x00a\x00"),
        ({"multipleOf": 0.1}, 2**2000, "it cannot be checked: "),
        ({"pattern": "("}, "x", "Invalid schema of param p: "),
        ({"$ref": "#"}, 1, "it cannot be checked: "),
        ({"$ref": "https://example.org/"}, 1, "Invalid schema of param p: "),
    ],
)
def test_a_value_that_cannot_be_checked_is_refused_in_a_sentence(schema: Any, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match="param p") as refused:
        checked_conf({"p": {"schema": schema}}, {"p": value})
    assert words in str(refused.value)
    assert len(str(refused.value)) <= 2000
