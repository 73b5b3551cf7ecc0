"""The one table from error to answer, and the errors that only the HTTP edge knows.

Routes raise; nothing else in `api/` builds an error answer. Bodies are Airflow's: `{"detail": text}`, for wrong input
`{"detail": [{type, loc, msg, input}]}`, for a route that does not exist `{"error": text}`. A bug is logged with its
request id and answered without any of its text.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import psycopg
from quart import Response, g, request
from werkzeug.exceptions import HTTPException

from leoflowd.api.answers import json_answer
from leoflowd.contract.errors import (
    Conflict,
    Invalid,
    LeoflowError,
    NotAllowed,
    NotFound,
    StoreUnavailable,
    TooManyRequests,
)
from leoflowd.contract.logs import LogNotStored
from leoflowd.contract.xcoms import ValuesUnavailable
from leoflowd.store.asked_runs import CannotRun
from leoflowd.store.content_errors import LIMIT_ERRORS
from leoflowd.store.secret_box import KeysRefused

logger = logging.getLogger(__name__)


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a request, in the form that Airflow (FastAPI) answers it."""

    type: str
    loc: tuple[str | int, ...]
    msg: str
    input: Any = None


class Unprocessable(LeoflowError):
    """The request's path, query or body is malformed: 422 with one entry per fault."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(error.msg for error in errors))
        self.errors = errors


class BadRequest(LeoflowError):
    """400: well formed, but not possible (an unknown order_by, a cursor that we did not make)."""


class NotAuthenticated(LeoflowError):
    """401: the browser goes to the login page."""


class BodyTooSlow(LeoflowError):
    """408: the body did not arrive within its deadline."""


class BodyTooLarge(LeoflowError):
    """413: the body is larger than its route reads."""


class NotAcceptable(LeoflowError):
    """406: the Accept header asks for a form that this answer does not have."""


class UnsupportedMediaType(LeoflowError):
    """415: the body's Content-Type is not one that this route reads."""


CONTENT = (
    *LIMIT_ERRORS,
    psycopg.DataError,
    psycopg.errors.CheckViolation,
    psycopg.errors.NotNullViolation,
    UnicodeError,
    OverflowError,
    RecursionError,
)

STATUS: Mapping[type[LeoflowError], int] = {
    BadRequest: 400,
    CannotRun: 400,
    NotAuthenticated: 401,
    NotAllowed: 403,
    NotFound: 404,
    NotAcceptable: 406,
    BodyTooSlow: 408,
    Conflict: 409,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    Invalid: 422,
    Unprocessable: 422,
    TooManyRequests: 429,
    KeysRefused: 503,
    StoreUnavailable: 503,
    LogNotStored: 503,
}


def leoflow_problem(error: LeoflowError) -> Response:
    """Answer for an error that is raised on purpose; one without a row in the table is a bug."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)
    if status is None:
        return bug(error)
    answer = json_answer({"detail": _detail(error)}, status)
    if isinstance(error, TooManyRequests):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, NotAuthenticated):
        answer.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, KeysRefused):
        logger.error("keys_refused", extra={"request_id": g.get("request_id"), "because": str(error)})
    if isinstance(error, StoreUnavailable):
        logger.warning("store_unavailable", extra={"request_id": g.get("request_id"), "because": str(error)})
        answer.headers["Retry-After"] = "1"
    return answer


def _detail(error: LeoflowError) -> Any:
    match error:
        case Unprocessable(errors=errors):
            return errors
        case Invalid(location=location):
            return [FieldError(type="value_error", loc=location or ("body",), msg=str(error))]
        case KeysRefused():
            return "The keys that connections are encrypted with cannot be read; the server's log says which and why."
        case ValuesUnavailable():
            return str(error)
        case StoreUnavailable():
            return "The database does not answer at the moment; the request was not carried out. Try again."
        case _:
            return str(error)


def refused_content(error: Exception) -> Response | None:
    """What the store or a codec could not carry although nobody checked it before: content from outside, never a bug.

    None for everything else. Logged with its traceback: the check at the border is what is missing.
    """
    if isinstance(error, CONTENT):
        status, message = 422, "The request holds a value that cannot be stored or calculated with"
    elif isinstance(error, psycopg.errors.UniqueViolation | psycopg.errors.ForeignKeyViolation):
        status, message = 409, "Somebody else changed the same thing at the same time; look again"
    else:
        return None
    logger.warning("request_refused", exc_info=error, extra={"request_id": g.get("request_id"), "path": request.path})
    return json_answer({"detail": message}, status)


def http_problem(error: HTTPException) -> Response:
    """Answer for what Quart itself refuses: routes, methods, sizes."""
    if error.response is not None and error.code is not None and error.code < 400:
        return Response("", error.code, headers={"Location": error.get_response().headers["Location"]})
    if error.code == 404:
        return route_not_found(request.path)
    return json_answer({"detail": error.name}, error.code or 500)


def route_not_found(path: str) -> Response:
    """404 of a path that no route serves. The UI copes with it; `{}` with 200 would blank the page."""
    if path.startswith("/api/v1"):
        return json_answer(
            {"error": "/api/v1 has been removed in Airflow 3, please use its upgraded version /api/v2"}, 404
        )
    if path.startswith("/api"):
        # `error` is Airflow's whole answer; `detail` is what its UI and clients show
        detail = f"{request.method} {path} is not there: docs/api-compatibility.md lists what of Airflow's API is"
        return json_answer({"error": "API route not found", "detail": detail}, 404)
    if path == "/health":
        return json_answer({"error": "/health has moved to /api/v2/monitor/health"}, 404)
    return json_answer({"detail": "Not Found"}, 404)


def unexpected(error: Exception) -> Response:
    """Answer for an error that nobody raised on purpose."""
    return refused_content(error) or bug(error)


def bug(error: BaseException) -> Response:
    """500 without internals. The request id joins the answer to the log line that holds the traceback."""
    request_id = g.get("request_id")
    logger.error(
        "request_failed",
        exc_info=error,
        extra={"request_id": request_id, "method": request.method, "path": request.path},
    )
    return json_answer({"detail": f"Internal Server Error (request {request_id}; the daemon's log has the cause)"}, 500)
