"""`HttpOperator` and `HttpSensor`.

Plain calls are data: the daemon makes them. With functions to judge or filter the answer the call is made here, in the
task's process, with the standard library; `Response` has what such functions use of `requests`.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import Message
from typing import Any
from urllib.parse import urlencode

from airflow._leoflow import services
from airflow._leoflow.base_operator import BaseOperator, is_user_code
from airflow._leoflow.connectors import has_airflow, needs_airflow
from airflow._leoflow.errors import AirflowException
from airflow._leoflow.native_sensor import NativeSensor
from airflow._leoflow.operators import select_kwargs
from airflow._leoflow.sensors import PokeReturnValue
from airflow._leoflow.templating import needs_jinja, texts

DEFAULT_TIMEOUT_S = 60.0
CONNECTION_OPTIONS = frozenset(
    """timeout verify verify_ssl check_response allow_redirects proxies proxy stream cert max_redirects trust_env
    srv_lookup""".split()
)
"""What of a connection's `extra` are options of the call; everything else in it are headers, as in Airflow."""
IN_THE_DAEMON = frozenset({"timeout", "verify"})
IN_THE_PROCESS = IN_THE_DAEMON | {"check_response", "allow_redirects"}
KEEP_ALIVE = ("tcp_keep_alive", "tcp_keep_alive_idle", "tcp_keep_alive_count", "tcp_keep_alive_interval")


class Response:
    """The answer, with the names of `requests.Response`."""

    def __init__(self, url: str, status: int, reason: str, headers: Message, content: bytes) -> None:
        self.url = url
        self.status_code = status
        self.reason = reason
        self.headers = headers
        self.content = content
        self.encoding = headers.get_content_charset() or "utf-8"

    @property
    def ok(self) -> bool:
        return self.status_code < 400

    @property
    def text(self) -> str:
        return self.content.decode(self.encoding, errors="replace")

    def json(self) -> Any:
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        if not self.ok:
            raise AirflowException(f"{self.status_code}:{self.reason}")

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """`allow_redirects=False` gives the redirect itself as the answer."""

    def redirect_request(self, *_: Any) -> None:
        return None


class HttpRequest:
    """One call through a connection, put together as Airflow's HttpHook does it."""

    def __init__(self, task: HttpOperator | HttpSensor, data: Any) -> None:
        connection = services.BaseHook.get_connection(task.http_conn_id)
        extra = connection.extra_dejson
        self.method = task.method.upper()
        self.options = {key: extra[key] for key in CONNECTION_OPTIONS & extra.keys()} | dict(task.extra_options)
        self.headers = {key: str(value) for key, value in extra.items() if key not in CONNECTION_OPTIONS}
        self.headers.update({key: str(value) for key, value in task.headers.items()})
        if connection.login:
            pair = f"{connection.login}:{connection.password or ''}".encode()
            self.headers.setdefault("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        self.url = _join(_base_url(connection), task.endpoint)
        self.body: bytes | None = None
        self._take(data, task.request_kwargs.get("json"))

    def _take(self, data: Any, document: Any) -> None:
        """Data is the query of a GET and the form or text of everything else; a HEAD has none."""
        if self.method == "GET" and data:
            query = urlencode(data, doseq=True) if isinstance(data, Mapping) else str(data)
            self.url += ("&" if "?" in self.url else "?") + query
        elif self.method not in {"GET", "HEAD"} and data:
            is_form = isinstance(data, Mapping)
            self.body = urlencode(data, doseq=True).encode() if is_form else str(data).encode()
            if is_form:
                self._set_default("Content-Type", "application/x-www-form-urlencoded")
        elif document is not None:
            self.body = json.dumps(document).encode()
            self._set_default("Content-Type", "application/json")

    def _set_default(self, name: str, value: str) -> None:
        if name.lower() not in {key.lower() for key in self.headers}:
            self.headers[name] = value

    def send(self) -> Response:
        """Raises AirflowException `404:Not Found` for an error status, unless `check_response` is False."""
        response = self._send()
        if self.options.get("check_response", True):
            response.raise_for_status()
        return response

    def _send(self) -> Response:
        handlers: list[Any] = [urllib.request.HTTPSHandler(context=self._tls())]
        if not self.options.get("allow_redirects", True):
            handlers.append(_Redirects())
        opener = urllib.request.build_opener(*handlers)
        request = urllib.request.Request(self.url, self.body, self.headers, method=self.method)  # noqa: S310 - checked
        timeout_s = float(self.options.get("timeout") or DEFAULT_TIMEOUT_S)
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return Response(answer.url, answer.status, answer.reason, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Response(self.url, error.code, str(error.reason), error.headers, error.read())

    def _tls(self) -> ssl.SSLContext:
        verify = self.options.get("verify", self.options.get("verify_ssl", True))
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _base_url(connection: services.Connection) -> str:
    host = connection.host or ""
    url = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    if not url.startswith(("http://", "https://")):
        raise AirflowException(f"connection {connection.conn_id!r} is no HTTP connection: its base is {url!r}")
    return f"{url}:{connection.port}" if connection.port else url


def _join(base_url: str, endpoint: str | None) -> str:
    if base_url.endswith("/") or not endpoint or endpoint.startswith("/"):
        return base_url + (endpoint or "")
    return f"{base_url}/{endpoint}"


def _take_keep_alive(task: Any, kwargs: dict[str, Any]) -> None:
    """A probe or call uses its connection while it lasts, so nothing is left for these to do."""
    for name in KEEP_ALIVE:
        setattr(task, name, kwargs.pop(name, None))


def _refuse_options(task: Any, supported: frozenset[str]) -> None:
    for name in sorted(task.extra_options.keys() - supported):
        needs_airflow(task, f"extra_options[{name!r}]", "http")
    for name in sorted(task.request_kwargs.keys() - {"json"}):
        needs_airflow(task, f"request_kwargs[{name!r}]", "http")


class HttpSensor(NativeSensor):
    """Waits until a request succeeds; 404 means not yet. With `response_check` each poke is a call in a process."""

    sensor_kind = "http"
    deferral_arguments = ("deferrable",)
    template_fields: Sequence[str] = ("endpoint", "request_params", "headers", "http_conn_id")
    object_fields = ("request_params",)

    def __init__(
        self,
        *,
        endpoint: str,
        http_conn_id: str = "http_default",
        method: str = "GET",
        request_params: dict[str, Any] | None = None,
        request_kwargs: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        response_error_codes_allowlist: list[str] | None = None,
        response_check: Callable[..., Any] | None = None,
        extra_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        keep_alive = {name: kwargs.pop(name) for name in KEEP_ALIVE if name in kwargs}
        super().__init__(**kwargs)
        _take_keep_alive(self, keep_alive)
        self.endpoint = endpoint
        self.http_conn_id = http_conn_id
        self.method = method
        self.request_params = request_params or {}
        self.request_kwargs = request_kwargs or {}
        self.headers = headers or {}
        codes = ["404"] if response_error_codes_allowlist is None else response_error_codes_allowlist
        self.response_error_codes_allowlist = tuple(str(code) for code in codes)
        self.response_check = response_check
        self.extra_options = extra_options or {}
        if response_check is not None or not self.extra_options.keys() <= IN_THE_DAEMON:
            self.kind = "sensor"
        _refuse_options(self, IN_THE_PROCESS)

    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]:
        return (*super().unnamed_arguments(), *KEEP_ALIVE)

    def fixed_values(self) -> Sequence[Any]:
        return (self.method, self.request_kwargs, self.extra_options)

    def probe_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "endpoint": self.endpoint,
            "method": self.method.upper(),
            "headers": {key: str(value) for key, value in self.headers.items()},
            "data": self.request_params or None,
            "json": self.request_kwargs.get("json"),
        }
        if self.extra_options.get("timeout") is not None:
            arguments["timeout_s"] = float(self.extra_options["timeout"])
        if "verify" in self.extra_options:
            arguments["verify"] = bool(self.extra_options["verify"])
        return arguments

    def predicate(self) -> dict[str, Any]:
        return {"error_codes": list(self.response_error_codes_allowlist)}

    def connection(self) -> str | None:
        return self.http_conn_id

    def poke(self, context: Any) -> bool | PokeReturnValue:
        self.log.info("Poking: %s", self.endpoint)
        try:
            response = HttpRequest(self, self.request_params).send()
            if self.response_check is None:
                return True
            kwargs = select_kwargs(self.response_check, [response], context)
            answer: bool | PokeReturnValue = self.response_check(response, **kwargs)
            return answer
        except AirflowException as error:
            if str(error).startswith(self.response_error_codes_allowlist):
                return False
            raise


class HttpOperator(BaseOperator):
    """Calls an endpoint; its output is the answer's text, or what `response_filter` makes of the answer."""

    kind = "http"
    template_fields: Sequence[str] = ("endpoint", "data", "headers", "http_conn_id")
    object_fields = ("data",)
    """Of the template fields, those that may be JSON objects and go into the call as they are."""
    template_fields_renderers = {"headers": "json", "data": "py"}
    ui_color = "#f4a460"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if is_user_code(cls, ("execute", "pre_execute", "post_execute")):
            cls.kind = "python"

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        method: str = "POST",
        data: dict[str, Any] | str | None = None,
        headers: dict[str, str] | None = None,
        pagination_function: Callable[..., Any] | None = None,
        response_check: Callable[..., bool] | None = None,
        response_filter: Callable[..., Any] | None = None,
        extra_options: dict[str, Any] | None = None,
        request_kwargs: dict[str, Any] | None = None,
        http_conn_id: str = "http_default",
        log_response: bool = False,
        auth_type: Any = None,
        deferrable: bool = False,
        warn_on_non_idempotent: bool = True,
        retry_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        keep_alive = {name: kwargs.pop(name) for name in KEEP_ALIVE if name in kwargs}
        super().__init__(**kwargs)
        _take_keep_alive(self, keep_alive)
        self.endpoint = endpoint
        self.method = method
        self.data = data or {}
        self.headers = headers or {}
        self.response_check = response_check
        self.response_filter = response_filter
        self.extra_options = extra_options or {}
        self.request_kwargs = request_kwargs or {}
        self.http_conn_id = http_conn_id
        self.log_response = log_response
        self.deferrable = deferrable
        self.warn_on_non_idempotent = warn_on_non_idempotent
        is_plain = self._pre_execute_hook is None and self._post_execute_hook is None
        is_code = response_check is not None or response_filter is not None or log_response
        if is_code or not is_plain or not self.extra_options.keys() <= {"timeout"}:
            self.kind = "operator" if has_airflow() else "python"
        _refuse_options(self, IN_THE_PROCESS)
        for name, value in (
            ("pagination_function", pagination_function),
            ("deferrable=True", deferrable),
            ("auth_type", auth_type),
            ("retry_args", retry_args),
        ):
            if value:
                needs_airflow(self, name, "http")

    @classmethod
    def unnamed_arguments(cls) -> Iterable[str]:
        return KEEP_ALIVE

    def leoflow_http(self) -> dict[str, Any] | None:
        """The `HttpCall` as plain data, templates unrendered; None when only a process can put it together."""
        fixed = texts([self.method, self.request_kwargs, self.extra_options])
        if needs_jinja(self) or any("{{" in text for text in fixed):
            return None
        timeout_s = self.extra_options.get("timeout") or DEFAULT_TIMEOUT_S
        return {
            "endpoint": self.endpoint,
            "method": self.method.upper(),
            "headers": {key: str(value) for key, value in self.headers.items()},
            "data": self.data or None,
            "json": self.request_kwargs.get("json"),
            "connection_id": self.http_conn_id,
            "timeout_s": float(timeout_s),
        }

    def execute(self, context: Any) -> Any:
        self.log.info("Calling HTTP method")
        response = HttpRequest(self, self.data).send()
        if self.log_response:
            self.log.info("%s", response.text)
        if self.response_check is not None:
            kwargs = select_kwargs(self.response_check, [response], context)
            if not self.response_check(response, **kwargs):
                raise AirflowException("Response check returned False.")
        if self.response_filter is not None:
            return self.response_filter(response, **select_kwargs(self.response_filter, [response], context))
        return response.text
