"""What of a connection or variable a file may read while it is loaded."""

from __future__ import annotations

import pytest

from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.loading import NOT_TOLD, Loadable
from leoflowd.core.loadable import loadable_of, told_of


def test_a_variable_that_is_shown_as_stars_is_only_named() -> None:
    assert loadable_of({"a": "1", "b": "***", "c": ""}, {}) == Loadable(
        variables={"a": "1", "c": ""}, secret_variables=("b",)
    )


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ('{"region": "eu"}', {"extra": '{"region": "eu"}', NOT_TOLD: []}),
        ('{"a": {"api_key": "hunter2"}}', {NOT_TOLD: ["extra"]}),
        ('{"a": {"api_key": "***"}}', {NOT_TOLD: ["extra"]}),
        ("", {NOT_TOLD: []}),
        (None, {NOT_TOLD: []}),
    ],
)
def test_an_extra_is_told_unless_it_holds_a_secret(extra: str | None, told: dict[str, object]) -> None:
    assert told_of(ConnectionFacts(connection_id="c", extra=extra)) == told


def test_a_password_is_never_told() -> None:
    facts = ConnectionFacts(connection_id="c", conn_type="http", host="h", login="ana", port=0, password="hunter2")
    assert told_of(facts) == {"conn_type": "http", "host": "h", "login": "ana", "port": 0, NOT_TOLD: ["password"]}
