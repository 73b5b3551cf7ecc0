"""Reading a request: query parameters, order, limit and offset, cursors. Faults become one 422 with a list.

Every list route reads its query through `Query`; unknown parameters are ignored as in Airflow, wrong values are not.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from quart import Response, request
from werkzeug.datastructures import MultiDict

from leoflowd.api.answers import json_answer
from leoflowd.api.problems import BadRequest, FieldError, NotAcceptable, Unprocessable
from leoflowd.api.rights import ALL
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import INTEGER_MAX, checked_moment
from leoflowd.store.api_lists import Cursor, CursorPage

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
"""Airflow's `maximum_page_limit`; a larger limit is accepted and cut, because clients ask for 1000."""
MAX_ORDER_BY = 10
DIGITS_MAX = 1000
"""Of a number: Python reads 4,300 at most."""


def every(identifier: str) -> str | None:
    """Path part -> value of an `IS NULL OR =` filter."""
    return None if identifier == ALL else identifier


def check_all(**path: str) -> None:
    """Parts of the path that can only be `~`. Raises `Unprocessable`."""
    faults = [
        FieldError(type="literal_error", loc=("path", name), msg=f"Input should be '{ALL}'", input=part)
        for name, part in path.items()
        if part != ALL
    ]
    if faults:
        raise Unprocessable(*faults)


def path_integer(name: str, raw: str) -> int:
    """A number in the path. Raises `Unprocessable`."""
    try:
        return _integer(raw, None)
    except ValueError as error:
        kind, _, message = str(error).partition(": ")
        raise Unprocessable(FieldError(type=kind, loc=("path", name), msg=message, input=raw)) from None


def accepted_form(*forms: str) -> str:
    """The media type of `forms` that the client likes best; the first when it does not care. Raises `NotAcceptable`."""
    if "Accept" not in request.headers:
        return forms[0]
    accept = request.accept_mimetypes
    best = max(forms, key=lambda form: (accept.quality(form), -forms.index(form)))
    if accept.quality(best) <= 0:
        raise NotAcceptable(f"Only {' or '.join(forms)} is supported")
    return best


class Query:
    """The query parameters of the current request. `check()` (or `page()`) raises all faults at once."""

    def __init__(self, arguments: MultiDict[str, str] | None = None) -> None:
        self._arguments = request.args if arguments is None else arguments
        self._errors: list[FieldError] = []

    def has(self, name: str) -> bool:
        return name in self._arguments

    def text(self, name: str) -> str | None:
        return self._arguments.get(name)

    def texts(self, name: str) -> list[str] | None:
        """All values of a repeated parameter; None when absent, which a filter reads as "any"."""
        return self._arguments.getlist(name) or None

    def integer(self, name: str, default: int | None = None, *, minimum: int | None = None) -> int | None:
        return self._one(name, default, lambda raw: _integer(raw, minimum))

    def integers(self, name: str, *, minimum: int | None = None) -> list[int] | None:
        found = [self._value(name, raw, lambda raw: _integer(raw, minimum)) for raw in self._arguments.getlist(name)]
        return [value for value in found if value is not None] or None

    def number(self, name: str) -> float | None:
        return self._one(name, None, _number)

    def boolean(self, name: str, default: bool | None = None) -> bool | None:
        return self._one(name, default, _boolean)

    def moment(self, name: str) -> datetime | None:
        return self._one(name, None, _datetime)

    def choice(self, name: str, allowed: Collection[str], default: str | None = None) -> str | None:
        return self._one(name, default, lambda raw: _choice(raw, allowed))

    def choices(self, name: str, allowed: Collection[str]) -> list[str] | None:
        """All values of a repeated parameter, each one of `allowed`."""
        found = [self._value(name, raw, lambda raw: _choice(raw, allowed)) for raw in self._arguments.getlist(name)]
        return [value for value in found if value is not None] or None

    def mask(self, name: str, body: type[msgspec.Struct]) -> list[str] | None:
        """The fields of the body that count; None: all that are there. Raises `Unprocessable`."""
        found = self.choices(name, body.__struct_encode_fields__)
        self.check()
        return found

    def range(self, name: str) -> dict[str, datetime | None]:
        """`<name>_gte/_gt/_lte/_lt` as the parameters of the same names."""
        return {f"{name}_{op}": self.moment(f"{name}_{op}") for op in ("gte", "gt", "lte", "lt")}

    def number_range(self, name: str) -> dict[str, float | None]:
        return {f"{name}_{op}": self.number(f"{name}_{op}") for op in ("gte", "gt", "lte", "lt")}

    def patterns(self, name: str) -> dict[str, list[str] | None]:
        """`<name>_pattern` and `<name>_prefix_pattern` as LIKE patterns under `<name>_ilike` and `<name>_like`."""
        return {
            f"{name}_ilike": like_anywhere(self.text(f"{name}_pattern")),
            f"{name}_like": like_prefix(self.text(f"{name}_prefix_pattern")),
        }

    def refuse(self, *names: str) -> None:
        """Parameters of newer documents of Airflow's that are not honoured here. Raises `BadRequest`."""
        found = [name for name in names if self.has(name)]
        if found:
            raise BadRequest(f"{', '.join(found)} is not there yet; leave it out")

    def page(self) -> tuple[int, int]:
        """(limit, offset); also raises what the other parameters got wrong."""
        limit = self.integer("limit", DEFAULT_LIMIT, minimum=0)
        offset = self.integer("offset", 0, minimum=0)
        self.check()
        assert limit is not None
        assert offset is not None
        return min(limit or DEFAULT_LIMIT, MAX_LIMIT), offset

    def order_by(self) -> list[str]:
        names = self._arguments.getlist("order_by")
        if len(names) > MAX_ORDER_BY:
            self._fault("too_long", "order_by", f"List should have at most {MAX_ORDER_BY} items", names)
        return names

    def check(self) -> None:
        if self._errors:
            raise Unprocessable(*self._errors)

    def _one(self, name: str, default: T | None, parse: Callable[[str], T]) -> T | None:
        raw = self._arguments.get(name)
        return default if raw is None else self._value(name, raw, parse)

    def _value(self, name: str, raw: str, parse: Callable[[str], T]) -> T | None:
        try:
            return parse(raw)
        except ValueError as error:
            kind, _, message = str(error).partition(": ")
            self._fault(kind, name, message, raw)
            return None

    def _fault(self, kind: str, name: str, message: str, value: Any) -> None:
        self._errors.append(FieldError(type=kind, loc=("query", name), msg=message, input=value))


# --- values: each raises ValueError("<type>: <message>") with Airflow's type names ---------------------------------


def _integer(raw: str, minimum: int | None) -> int:
    if not re.fullmatch(rf"\s*[+-]?\d{{1,{DIGITS_MAX}}}\s*", raw, re.ASCII):
        raise ValueError("int_parsing: Input should be a valid integer, unable to parse string as an integer")
    value = int(raw)
    if minimum is not None and value < minimum:
        raise ValueError(f"greater_than_equal: Input should be greater than or equal to {minimum}")
    if value > INTEGER_MAX:
        raise ValueError(f"less_than_equal: Input should be less than or equal to {INTEGER_MAX}")
    if value < -INTEGER_MAX:
        raise ValueError(f"greater_than_equal: Input should be greater than or equal to -{INTEGER_MAX}")
    return value


def _number(raw: str) -> float:
    try:
        value = float(raw)
    except ValueError:
        raise ValueError("float_parsing: Input should be a valid number, unable to parse string as a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("finite_number: Input should be a finite number")
    return value


_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on", "t", "y"), True) | dict.fromkeys(
    ("false", "0", "no", "off", "f", "n"), False
)


def _boolean(raw: str) -> bool:
    try:
        return _BOOLEANS[raw.lower()]
    except KeyError:
        raise ValueError("bool_parsing: Input should be a valid boolean, unable to interpret input") from None


def _datetime(raw: str) -> datetime:
    """RFC 3339 or a date; without a zone it is UTC. A `+` that arrived as a space is a plus sign."""
    try:
        value = datetime.fromisoformat(
            raw.strip().replace(" ", "+") if re.search(r" \d\d:?\d\d$", raw) else raw.strip()
        )
        return checked_moment(value.replace(tzinfo=UTC) if value.tzinfo is None else value, "Input")
    except Invalid as error:
        raise ValueError(f"datetime_parsing: {error}") from None
    except (ValueError, OverflowError):
        raise ValueError("datetime_parsing: Input should be a valid datetime, e.g. 2026-11-21T03:00:00Z") from None


def _choice(raw: str, allowed: Collection[str]) -> str:
    if raw not in allowed:
        raise ValueError("enum: Input should be " + ", ".join(repr(value) for value in allowed))
    return raw


def like_anywhere(term: str | None) -> list[str] | None:
    """A search term -> patterns for ILIKE ANY. SQL wildcards are the user's; `|` is or, `~` and empty are all."""
    return None if term in (None, "", ALL) else [f"%{part.strip()}%" for part in _alternatives(term)]


def like_prefix(term: str | None) -> list[str] | None:
    """A prefix -> patterns for LIKE ANY; wildcards in it are plain characters."""
    if term in (None, "", ALL):
        return None
    return [re.sub(r"([\\%_])", r"\\\1", part.strip()) + "%" for part in _alternatives(term)]


def _alternatives(term: str | None) -> list[str]:
    return [part for part in (term or "").split("|") if part.strip()] or [""]


# --- cursors -----------------------------------------------------------------------------------------------------


def encode_cursor(cursor: Cursor) -> str:
    token = base64.urlsafe_b64encode(msgspec.msgpack.encode(list(cursor.values))).decode().rstrip("=")
    return f"~{token}" if cursor.backward else token


def decode_cursor(token: str) -> Cursor | None:
    """None for the empty token, which asks for the first page. Raises `BadRequest` for one that we did not make."""
    if not token:
        return None
    backward = token.startswith("~")
    body = token.removeprefix("~")
    try:
        values = msgspec.msgpack.decode(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, OverflowError, RecursionError):
        raise BadRequest("Invalid cursor token") from None
    if not isinstance(values, list):
        raise BadRequest("Invalid cursor token")
    return Cursor(tuple(values), backward)


def cursor_collection(name: str, page: CursorPage) -> Response:
    """A list page by cursor: no total, but where it goes on in both directions (null at the ends)."""
    return json_answer(
        {
            name: page.rows,
            "total_entries": None,
            "next_cursor": None if page.following is None else encode_cursor(page.following),
            "previous_cursor": None if page.preceding is None else encode_cursor(page.preceding),
        }
    )
