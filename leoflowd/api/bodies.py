"""Reading a request's body: how large it may be, how long it may take, and what its values may be. ADR 23.

A body is taken from the socket when a route asks for it, so after the login was checked, and no further than that
route's limit. Every route reads through this module; each value of a typed body goes through
`contract.values`, so that what the store cannot keep is a 422 with its place, whatever route it came by.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
import trio
from quart import request
from quart_trio.wrappers.request import TrioBody, TrioRequest
from werkzeug.exceptions import RequestEntityTooLarge

from leoflowd.api.problems import BodyTooLarge, BodyTooSlow, FieldError, Unprocessable, UnsupportedMediaType
from leoflowd.contract.errors import Invalid
from leoflowd.contract.ready import ready
from leoflowd.contract.values import INTEGER_MAX, checked_integer, checked_json, checked_moment, checked_text

Body = TypeVar("Body")

LOGIN_MAX_BYTES = 4 * 1024
"""Before a login: nobody's name and password are longer."""
JSON_MAX_BYTES = 1024 * 1024
"""After it: a run's conf and an XCom are 256 KiB at most."""
ARTIFACT_MAX_BYTES = 16 * 1024 * 1024
"""5,000 tasks take about 4 MiB."""
WITHIN_S = 10.0
"""For the whole body: a sender that drips holds a request of ours for so long."""
ARTIFACT_WITHIN_S = 60.0
FIELDS_MAX = 16
"""Of a form; the login's has three."""
THREAD_BYTES = 256 * 1024
"""From here on a body is decoded in a thread: about 3 ms of CPU."""
FORM = "application/x-www-form-urlencoded"


class AskedBody(TrioBody):
    """A body that is not read before `ask`, and never kept beyond its limit."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(None, max_content_length)
        self._expected = expected_content_length
        self.asked = trio.Event()

    def ask(self, max_bytes: int) -> None:
        self._max_content_length = max_bytes
        if self._expected is not None and self._expected > max_bytes:
            self._must_raise = RequestEntityTooLarge()
        self.asked.set()


class AskedRequest(TrioRequest):
    body_class = AskedBody


async def raw_body(max_bytes: int = JSON_MAX_BYTES, *, within_s: float | None = None) -> bytes:
    """All bytes of the body. Raises `BodyTooLarge` as soon as that is known, `BodyTooSlow`, `UnsupportedMediaType`."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("Unsupported Media Type: send the body without a Content-Encoding")
    within_s = WITHIN_S if within_s is None else within_s
    body = request.body
    assert isinstance(body, AskedBody)
    body.ask(max_bytes)
    try:
        with trio.move_on_after(within_s):
            return bytes(await body)
    except RequestEntityTooLarge:
        raise BodyTooLarge(f"The body is larger than the {max_bytes} bytes that this route reads") from None
    raise BodyTooSlow(f"The body did not arrive within {within_s:.0f} s")


async def read_body(
    kind: type[Body],
    max_bytes: int = JSON_MAX_BYTES,
    *,
    within_s: float | None = None,
    check: bool = True,
    none: Body | None = None,
) -> Body:
    """The JSON body as a struct (give it `forbid_unknown_fields=True`); `none` when there is no body, or null.

    Without `check` its values are somebody else's to check: `contract.dag_spec` knows those of an artifact. Raises
    `Unprocessable` with Airflow's list, `Invalid` for a value that cannot be kept.
    """
    document = await raw_body(max_bytes, within_s=within_s)
    if none is not None and document.strip() in (b"", b"null"):
        return none
    if not document:
        raise Unprocessable(FieldError(type="missing", loc=("body",), msg="Field required"))
    if not (request.is_json or request.mimetype == ""):
        raise Unprocessable(
            FieldError(
                type="model_attributes_type",
                loc=("body",),
                msg="Input should be a JSON object sent as Content-Type: application/json",
                input=request.mimetype,
            )
        )
    if len(document) < THREAD_BYTES:
        return _decode(document, kind, check)
    return await trio.to_thread.run_sync(_decode, document, ready(kind), check)


async def read_form(max_bytes: int = LOGIN_MAX_BYTES) -> dict[str, str]:
    """The fields of a form that is sent before a login. Raises `Unprocessable`, `UnsupportedMediaType`."""
    if request.mimetype != FORM:
        raise UnsupportedMediaType(f"Unsupported Media Type: send the form as {FORM}")
    document = await raw_body(max_bytes)
    try:
        fields = dict(parse_qsl(document.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise Invalid(f"the form is not readable: {error}", location=("body",)) from None
    for name, text in fields.items():
        _check(text, str, ("body", name))
    return fields


def _decode(document: bytes, kind: type[Body], check: bool) -> Body:
    try:
        body = msgspec.json.decode(document, type=kind)
    except msgspec.ValidationError as error:
        raise Unprocessable(_field_error(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unprocessable(FieldError(type="json_invalid", loc=("body",), msg=f"JSON decode error: {error}")) from None
    except RecursionError:
        raise Unprocessable(FieldError(type="json_invalid", loc=("body",), msg="JSON is nested too deeply")) from None
    if check:
        _check(body, kind, ("body",))
    return body


# --- values ------------------------------------------------------------------------------------------------------


def _check(value: Any, kind: Any, location: tuple[str | int, ...]) -> None:
    """Raises `Invalid` with the location. What a struct leaves open (`Any`, mappings) is JSON, and may hold NUL."""
    try:
        if isinstance(value, msgspec.Struct):
            for name, inner in _field_types(type(value)).items():
                _check(getattr(value, name), inner, (*location, name))
        elif kind is Any or isinstance(value, dict):
            checked_json(value, _named(location))
        elif isinstance(value, str):
            checked_text(value, _named(location), max_length=len(value), allow_empty=True)
        elif isinstance(value, datetime):
            # one without a zone is the route's to refuse, or to read as UTC
            checked_moment(value if value.tzinfo else value.replace(tzinfo=UTC), _named(location))
        elif isinstance(value, int):
            checked_integer(value, _named(location), least=-INTEGER_MAX)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                _check(item, None, (*location, index))
    except Invalid as error:
        if not error.location:
            error.location = location
        raise


@cache
def _field_types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _named(location: tuple[str | int, ...]) -> str:
    return ".".join(map(str, location[1:])) or "the body"


_FAULT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<where>[^`]*)`)?$", re.DOTALL)
_NAMED = re.compile(r"(?P<kind>unknown|missing required) field `(?P<name>.*)`$")


def _field_error(message: str) -> FieldError:
    """msgspec's `Object missing required field `x` - at `$.tasks[0]`` -> Airflow's type, loc and msg."""
    found = _FAULT.match(message)
    what, where = (found["what"], found["where"]) if found else (message, None)
    location: list[str | int] = ["body"]
    location += [int(p) if p.isdigit() else p for p in re.findall(r"[^.\[\]$]+", where or "")]
    named = _NAMED.search(what)
    if named is None:
        return FieldError(type="value_error", loc=tuple(location), msg=what)
    if named["kind"] == "unknown":
        return FieldError(type="extra_forbidden", loc=(*location, named["name"]), msg="Extra inputs are not permitted")
    return FieldError(type="missing", loc=(*location, named["name"]), msg="Field required")
