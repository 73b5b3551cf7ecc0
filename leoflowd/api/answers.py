"""How a route answers: msgspec bytes with a Content-Type of exactly `application/json`.

airflowctl reads an error's `detail` only when the Content-Type has no charset, and the UI shows a white page for a
missing key: rows carry every key, null when empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from quart import Response

JSON = "application/json"
NDJSON = "application/x-ndjson"

_encoder = msgspec.json.Encoder()


def json_answer(value: Any, status: int = 200) -> Response:
    """Any value msgspec can encode; datetimes must be UTC and come out with `Z`."""
    return json_bytes(_encoder.encode(value), status)


def json_bytes(document: bytes | str, status: int = 200) -> Response:
    """A document that Postgres built, or that is encoded already."""
    return Response(document, status, content_type=JSON)


def collection(name: str, rows: Sequence[Any], total_entries: int) -> Response:
    """Airflow's list form: `{"<plural>": [...], "total_entries": n}`."""
    return json_answer({name: rows, "total_entries": total_entries})


def empty_collection(name: str) -> Response:
    """The list of something that this server never has."""
    return collection(name, (), 0)


def ndjson_answer(lines: bytes) -> Response:
    """Whole lines, each with its newline."""
    return Response(lines, content_type=NDJSON)


def no_content() -> Response:
    """204 without body or Content-Type."""
    answer = Response(b"", 204)
    del answer.headers["Content-Type"]
    return answer
