"""`AIRFLOW_CONN_*` texts are read as Airflow reads them; what Airflow refuses is refused by name."""

from __future__ import annotations

import pytest

from leoflowd.contract.connection import ConnectionFacts, from_environment


def read(text: str) -> ConnectionFacts | None:
    return from_environment("c", {"AIRFLOW_CONN_C": text})


def facts(**fields: object) -> ConnectionFacts:
    return ConnectionFacts(connection_id="c", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://example.org:8080", facts(conn_type="http", host="example.org", port=8080)),
        ("HTTP://example.org", facts(conn_type="http", host="example.org")),
        ("http://https://example.org/base", facts(conn_type="http", host="https://example.org", schema="base")),
        (
            "postgresql://u:p%40ss@db/shop",
            facts(conn_type="postgres", host="db", schema="shop", login="u", password="p@ss"),
        ),
        ("google-cloud-platform://?project=x", facts(conn_type="google_cloud_platform", extra='{"project":"x"}')),
        ("aws://?__extra__=%7B%22a%22%3A1%7D", facts(conn_type="aws", extra='{"a":1}')),
        ('{"conn_type": "postgresql", "port": "5432"}', facts(conn_type="postgres", port=5432)),
        ('{"conn_type": "http", "conn_id": "x", "connection_id": "x", "team_name": null}', facts(conn_type="http")),
        ('{"conn_type": "http", "extra": {"verify": false}}', facts(conn_type="http", extra='{"verify":false}')),
    ],
)
def test_a_text_is_read_as_airflow_reads_it(text: str, expected: ConnectionFacts) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("example.org", "a://b://c://d", "http://u:p@x://host", "{not json", "1x://h", "http://h:port"),
        '{"conn_type": "http", "hosst": "a field that no connection has"}',
        '{"conn_type": "http", "team_name": "there are none here"}',
    ],
)
def test_a_text_that_is_no_connection_is_refused_by_its_variable(text: str) -> None:
    with pytest.raises(ValueError, match="AIRFLOW_CONN_C is neither a connection URI nor a JSON object"):
        read(text)


def test_a_refusal_quotes_nothing_of_the_text() -> None:
    with pytest.raises(ValueError, match="AIRFLOW_CONN_C") as caught:
        read("x://a:hun/ter@h")
    assert "hun" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_connection_shows_no_secret_of_its_own() -> None:
    shown = repr(facts(conn_type="http", host="h", login="me", password="hidden", extra='{"token":"also hidden"}'))
    assert "hidden" not in shown


def test_no_variable_is_no_connection() -> None:
    assert from_environment("other", {"AIRFLOW_CONN_C": "http://h"}) is None
