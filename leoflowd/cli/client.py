"""The HTTP client of the CLI: Airflow's `/api/v2` and our own routes, answers as plain JSON, failures as exit codes.

Used through `options.server_command`. httpx is imported when a client is opened. No retries: a command that waits
(`runs trigger --wait`, `logs -f`) decides itself how long an absent server is bearable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from leoflowd.cli.failures import CommandFailed, ExitCode, did_you_mean
from leoflowd.cli.login import Login, config_path, resolve
from leoflowd.contract.access_token import claims_to_be_one
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import checked_json

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 30.0
ANSWER_MAX_BYTES = 64 * 1024 * 1024
PAGE = 100
"""Rows per request; the API gives no more at once."""

_NO_DAG = re.compile(r"\bdag with (?:dag_)?id: [`'](.+?)[`'] (?:was )?not found", re.IGNORECASE)

_TAG = re.compile(r"<[^<>]*>")
"""Of HTML: what stands between a server and us says its reasons so."""

LOOPBACK = {"127.0.0.1", "localhost", "::1"}

EXIT_CODES = {
    400: ExitCode.INVALID,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    413: ExitCode.INVALID,
    415: ExitCode.INVALID,
    422: ExitCode.INVALID,
}
"""Every other status that is no success is `UNEXPECTED`."""

REVOKED = "Invalid JWT token"
"""What a server says, as Airflow's, of a login that is over or was never one."""


class Client:
    """Calls to one server. Raises `CommandFailed` for everything that is no 2xx answer with JSON."""

    def __init__(self, login: Login, transport: httpx.BaseTransport | None = None) -> None:
        import httpx

        self.login = login
        self._last_call = ""
        # A proxy of the environment cannot know our loopback address.
        direct = urlsplit(login.server).hostname in LOOPBACK
        self._http = httpx.Client(
            base_url=login.server, timeout=TIMEOUT_S, transport=transport, trust_env=not direct, headers=_headers(login)
        )

    def forget_token(self) -> None:
        """Send no token from now on: a login must not fail because the saved token is over."""
        self._http.headers.pop("authorization", None)

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        return self._call("GET", path, params={k: v for k, v in query.items() if v is not None})

    def get_lines(self, path: str, **query: Any) -> bytes:
        """An NDJSON answer as it is."""
        return self._send("GET", path, params=query, headers={"accept": "application/x-ndjson"}).content

    def post(self, path: str, body: Any) -> Any:
        return self._call("POST", path, json=body)

    def post_bytes(self, path: str, body: bytes, headers: Mapping[str, str] = {}) -> Any:
        return self._call("POST", path, content=body, headers={"content-type": "application/json", **headers})

    def patch(self, path: str, body: Any) -> Any:
        return self._call("PATCH", path, json=body)

    def put(self, path: str, body: Any = None) -> Any:
        return self._call("PUT", path, json=body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def pages(self, path: str, plural: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every row of a collection, page by page."""
        offset = 0
        while True:
            answer = self.get(path, limit=PAGE, offset=offset, **query)
            rows = answer[plural]
            yield from rows
            offset += len(rows)
            if not rows or offset >= answer["total_entries"]:
                return

    def odd_answer(self, error: Exception) -> CommandFailed:
        """The last answer was JSON, and yet not what this command reads."""
        return CommandFailed(
            ExitCode.UNEXPECTED,
            f"{self.login.server} answered {self._last_call or 'nothing'} in a form that this release does not know "
            f"({type(error).__name__}: {error}); compare `leoflow version` on both sides",
            server=self.login.server,
        )

    def _call(self, method: str, path: str, **request: Any) -> Any:
        response = self._send(method, path, **request)
        if not response.content:
            return None
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise CommandFailed(
                ExitCode.UNEXPECTED,
                f"{self.login.server} answered {method} {path} with something that is not JSON; "
                "is this address a Leoflow server?",
                status=response.status_code,
            ) from error

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        import httpx

        self._last_call = f"{method} {path}"
        try:
            checked_json(request.get("json"), "the request")
            response = self._read_whole(method, path, **request)
        except Invalid as error:
            raise CommandFailed(ExitCode.USAGE, str(error)) from error
        except httpx.RequestError as error:
            raise CommandFailed(
                ExitCode.UNREACHABLE,
                f"cannot reach the server {self.login.server}{_whence(self.login)}: {_reason(error)}; start it with "
                "`leoflow lite`, or name another with --server or LEOFLOW_SERVER",
                server=self.login.server,
            ) from error
        except httpx.InvalidURL as error:
            raise CommandFailed(ExitCode.USAGE, f"the server {self.login.server!r} is no URL: {error}") from error
        if not response.is_success:
            raise self._refused(method, path, response)
        return response

    def _read_whole(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer, if it is not larger than any that our servers give."""
        import httpx

        with self._http.stream(method, path, **request) as stream:
            content = bytearray()
            for chunk in stream.iter_bytes():
                content += chunk
                if len(content) > ANSWER_MAX_BYTES:
                    raise CommandFailed(
                        ExitCode.UNEXPECTED,
                        f"{self.login.server} answered {method} {path} with more than {ANSWER_MAX_BYTES // 2**20} MiB; "
                        "is this address a Leoflow server?",
                    )
            headers = {"content-type": stream.headers.get("content-type", "")}
            return httpx.Response(stream.status_code, headers=headers, content=bytes(content), request=stream.request)

    def _refused(self, method: str, path: str, response: httpx.Response) -> CommandFailed:
        status = response.status_code
        code = EXIT_CODES.get(status, ExitCode.UNEXPECTED)
        detail = _detail(response)
        if status == 401 or (status == 403 and detail == REVOKED):
            message = f"{_why_not_in(self.login, detail)}; run `leoflow auth login`, or set LEOFLOW_TOKEN"
        elif status == 404 and not _is_json(response):
            code, message = (
                ExitCode.UNEXPECTED,
                (
                    f"{self.login.server} answered {method} {path} with 404, and not in JSON; "
                    "is this address a Leoflow server?"
                ),
            )
        elif code is ExitCode.UNEXPECTED:
            message = f"{self.login.server} answered {method} {path} with {status}: {detail}"
        else:
            message = detail + (self._near_dag(detail) if status == 404 else "")
        return CommandFailed(code, message, status=status, server=self.login.server)

    def _near_dag(self, detail: str) -> str:
        """For a DAG that does not exist: one that is spelt nearly so. A server that does not say loses nothing."""
        asked = _NO_DAG.search(detail)
        if asked is None:
            return ""
        import httpx

        try:
            answer = self._read_whole("GET", "/api/v2/dags", params={"limit": PAGE, "order_by": "dag_id"})
            return did_you_mean(asked[1], [str(row["dag_id"]) for row in answer.json()["dags"]])
        except (httpx.HTTPError, CommandFailed, LookupError, TypeError, ValueError, RecursionError):
            return ""


@contextmanager
def open_client(server: str | None, token: str | None) -> Iterator[Client]:
    client = Client(resolve(server, token))
    try:
        yield client
    finally:
        client.close()


def segment(name: str) -> str:
    """A name as one part of a path: a dag id with a slash or `..` in it stays one part."""
    return quote(name, safe="~", errors="surrogateescape") if name not in {".", ".."} else name.replace(".", "%2E")


def _headers(login: Login) -> dict[str, str]:
    if login.token and not (login.token.isascii() and login.token.isprintable()):
        raise CommandFailed(ExitCode.USAGE, "the token is none: it holds other characters than tokens have")
    return {"authorization": f"Bearer {login.token}"} if login.token else {}


def _why_not_in(login: Login, detail: str) -> str:
    """`detail`: what the server says of the token that it refused."""
    if not login.token:
        return f"you are not logged in at {login.server}"
    if detail == REVOKED:
        return f"{login.server} does not accept the login any more: it was revoked, or the password was changed"
    if claims_to_be_one(login.token):
        return f"{login.server}: {detail}"
    return f"the login is missing or over at {login.server}"


def _whence(login: Login) -> str:
    """A server that is gone for good would be asked for ever, if nobody said why it is asked."""
    return f" of the saved login ({config_path()}; `leoflow auth login --server URL` saves another)" * login.is_saved


def _reason(error: httpx.RequestError) -> str:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {TIMEOUT_S:.0f} s"
    return str(error) or type(error).__name__


def _is_json(response: httpx.Response) -> bool:
    try:
        response.json()
    except (ValueError, RecursionError):
        return False
    return True


def _detail(response: httpx.Response) -> str:
    """Airflow's error body as one sentence: `detail` is a text, an object, or a list of what is wrong where."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return " ".join(_TAG.sub(" ", response.text[:500]).split()) or response.reason_phrase
    detail = body.get("detail", body) if isinstance(body, dict) else body
    if isinstance(detail, list):
        return "; ".join(_fault(item) for item in detail)
    if isinstance(detail, dict):
        return str(detail.get("message") or detail.get("reason") or detail)
    return str(detail)


def _fault(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    parts = [str(part) for part in item.get("loc", ())]
    location = ".".join(parts[1:] if parts[:1] in (["body"], ["query"], ["path"]) else parts)
    return f"{location}: {item.get('msg', item)}" if location else str(item.get("msg", item))
