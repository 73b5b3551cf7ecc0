"""Kind `http`: ask a URL until it answers as wanted. Airflow's HttpSensor and HttpSensorTrigger (providers-http 6).

Its first half, from a connection to a request (`plan_call`), is HttpHook's reading of connections, and serves inline
HTTP tasks too. What HttpHook can and we cannot is refused with a sentence, never dropped.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import msgspec

from leoflow_sensors import json_path
from leoflow_sensors.egress import LIMITS, REDIRECTS_MAX, EgressClient, Limits, RequestInvalid, Response, Tls
from leoflow_sensors.egress_policy import destination_of
from leoflow_sensors.kinds import KindSpec, Observation, ProbeContext, ProbeFailed, ProbeThrottled, SensorKind, Verdict
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.overriding import override

BODY_MAX_BYTES = 64 * 1024
"""A longer body is not kept for predicates: observations stay in memory, one per group of waits."""
REMEMBERED_MAX = 256
"""Answers kept for conditional requests; at most 16 MiB with their bodies."""
RETRY_AFTER_MAX_S = 86_400.0
QUERY_METHODS = frozenset({"GET", "HEAD"})
"""`data` is their query; for the others it is the body."""

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


# --- from a connection to a request ------------------------------------------------------------------------------


class HttpExtra(msgspec.Struct, frozen=True, kw_only=True):
    """What HttpHook takes out of a connection's extra; everything else there is a header."""

    timeout: Seconds | None = None
    verify: bool | None = None
    verify_ssl: bool | None = None
    allow_redirects: bool = True
    max_redirects: int = REDIRECTS_MAX
    check_response: bool = True
    stream: bool = False
    """Makes no difference to anyone: answers are always read whole, within the limits."""
    cert: None = None
    proxies: None = None
    proxy: None = None
    trust_env: bool | None = None
    srv_lookup: bool = False


_OPTIONS = frozenset(HttpExtra.__struct_fields__)
_REFUSED_OPTIONS = {
    "cert": "client certificates are not supported in the cheap-task pool",
    "proxies": "a proxy would make the connections that the egress policy has to decide on",
    "proxy": "a proxy would make the connections that the egress policy has to decide on",
    "trust_env": "proxies and .netrc of the daemon's environment are never used",
    "srv_lookup": "SRV records are not looked up; give the connection a host and a port",
}


class HttpCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request, ready for `EgressClient.request`. `repr` shows no header, query or body."""

    method: str
    url: str
    headers: dict[str, str]
    params: dict[str, list[str]] | str | None = None
    content: str | None = None
    data: dict[str, list[str]] | None = None
    json: Any = None
    auth: tuple[str, str] | None = None
    limits: Limits = LIMITS
    tls: Tls = Tls()
    redirects_max: int = REDIRECTS_MAX
    check_response: bool = True
    """False: no status is an error."""

    @override
    def __repr__(self) -> str:
        return f"HttpCall({self.method} {self.url.partition('?')[0]!r})"

    async def send(self, client: EgressClient, more_headers: Mapping[str, str] | None = None) -> Response:
        """Raises what `EgressClient.request` raises."""
        return await client.request(
            self.method,
            self.url,
            headers={**self.headers, **(more_headers or {})},
            params=self.params,
            content=self.content,
            data=self.data,
            json=self.json,
            auth=self.auth,
            limits=self.limits,
            tls=self.tls,
            redirects_max=self.redirects_max,
        )


def plan_call(
    connection: ConnectionFacts | None,
    *,
    endpoint: str | None,
    method: str,
    headers: Mapping[str, str],
    data: Any = None,
    json: Any = None,
    timeout_s: float | None = None,
    verify: bool | None = None,
    max_body_bytes: int = LIMITS.max_body_bytes,
) -> HttpCall:
    """The request that HttpHook would send. Raises `RequestInvalid` with what to change."""
    method = method.upper()
    extra, extra_headers = _split_extra(connection)
    within_s = timeout_s or extra.timeout
    query, content, form = _place_data(method, data)
    return HttpCall(
        method=method,
        url=join_url(connection, endpoint),
        headers={**extra_headers, **headers},
        params=query,
        content=content,
        data=form,
        json=json,
        auth=(connection.login, connection.password or "") if connection and connection.login else None,
        limits=Limits(
            max_body_bytes=max_body_bytes,
            head_s=within_s or LIMITS.head_s,
            total_s=within_s or LIMITS.total_s,
        ),
        tls=Tls(verify=_is_verified(connection, extra, verify)),
        redirects_max=min(extra.max_redirects, REDIRECTS_MAX) if extra.allow_redirects else 0,
        check_response=extra.check_response,
    )


def join_url(connection: ConnectionFacts | None, endpoint: str | None) -> str:
    """HttpHook's base URL and its way to join the endpoint. Raises `RequestInvalid`."""
    path = endpoint or ""
    if connection is None:
        if "://" not in path:
            raise RequestInvalid(f"the endpoint {path!r} is no absolute URL, and there is no connection to complete it")
        return path
    host = connection.host or ""
    base = host if "://" in host else f"{connection.schema or 'http'}://{host}"
    if host and "://" in path.partition("?")[0]:
        raise RequestInvalid(
            f"the endpoint {path.partition('?')[0]!r} is an absolute URL, but connection {connection.connection_id!r} "
            "has a host already; give the endpoint without scheme and host, or use a connection without a host"
        )
    if connection.port:
        base = f"{base}:{connection.port}"
    between = "/" if path and not base.endswith("/") and not path.startswith("/") else ""
    return f"{base}{between}{path}"


def _split_extra(connection: ConnectionFacts | None) -> tuple[HttpExtra, dict[str, str]]:
    fields = connection.extra_fields() if connection is not None else {}
    assert connection is not None or not fields
    for name, reason in _REFUSED_OPTIONS.items():
        if fields.get(name):
            raise RequestInvalid(f"{_extra_of(connection)} has {name!r}: {reason}; remove it")
    options = {name: value for name, value in fields.items() if name in _OPTIONS - _REFUSED_OPTIONS.keys()}
    headers = {name: value for name, value in fields.items() if name not in _OPTIONS}
    for name, value in headers.items():
        if not isinstance(value, str | int | float):
            raise RequestInvalid(f"{_extra_of(connection)} has {name!r}, which is a header there and must be a text")
    try:
        extra = msgspec.convert(options, HttpExtra)
    except msgspec.ValidationError as error:
        raise RequestInvalid(
            f"{_extra_of(connection)} is not understood: {error}. `timeout` is one number of seconds; `verify` is true "
            "or false, and further authorities belong into the system's store of the daemon's machine"
        ) from error
    return extra, {name: str(value) for name, value in headers.items()}


def _extra_of(connection: ConnectionFacts | None) -> str:
    assert connection is not None
    return f"the extra of connection {connection.connection_id!r}"


def _is_verified(connection: ConnectionFacts | None, extra: HttpExtra, asked: bool | None) -> bool:
    """Who may switch verification off is who may edit the connection, not who writes the DAG."""
    allowed = extra.verify if extra.verify is not None else extra.verify_ssl
    if asked is False and allowed is not False:
        where = f"connection {connection.connection_id!r}" if connection is not None else "a connection"
        raise RequestInvalid(
            f'the task asks for verify=False, which only the connection may allow; add {{"verify": false}} to the '
            f"extra of {where}"
        )
    return asked if asked is not None else allowed is not False


def _place_data(
    method: str, data: Any
) -> tuple[dict[str, list[str]] | str | None, str | None, dict[str, list[str]] | None]:
    """(query, raw body, form): where `data` goes. Raises `RequestInvalid` for anything but a mapping or text."""
    if data is None or data == "" or data == {}:
        return None, None, None
    if isinstance(data, str):
        return (data, None, None) if method in QUERY_METHODS else (None, data, None)
    if not isinstance(data, dict):
        raise RequestInvalid(
            f"data is a {type(data).__name__}; it may be a mapping or a text (use json= for JSON bodies)"
        )
    pairs = {str(name): _texts(str(name), value) for name, value in data.items() if value is not None}
    return (pairs, None, None) if method in QUERY_METHODS else (None, None, pairs)


def _texts(name: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, dict | list) for one in values):
        raise RequestInvalid(f"data has {name!r}, which is nested; a form or query has texts and lists of texts only")
    return [str(one) for one in values if one is not None]


# --- what is expected of an answer -------------------------------------------------------------------------------


class Expectation(KindSpec, frozen=True, kw_only=True):
    """Conditions on one answer; empty: any status below 400."""

    status: tuple[int, ...] = ()
    """The only accepted ones."""
    json_path: str | None = None
    """See `json_path`; without `equals`, what is there must be true."""
    equals: Any = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.json_path is not None:
            json_path.parse(self.json_path)
        elif self.equals is not msgspec.UNSET:
            raise ValueError("`equals` needs a `json_path` that says what has to equal it")


def misses_body(expected: Expectation, document: Any) -> str | None:
    """Why the body is not as expected, None when it is."""
    if expected.json_path is None or json_path.is_met(document, expected.json_path, expected.equals):
        return None
    wanted = "true" if expected.equals is msgspec.UNSET else msgspec.json.encode(expected.equals).decode()
    return f"{expected.json_path} of the answer is not {wanted}"


# --- the kind ----------------------------------------------------------------------------------------------------


class HttpSpec(KindSpec, frozen=True, kw_only=True):
    endpoint: str | None = None
    method: str = "GET"
    headers: dict[str, str] = {}
    data: Any = None
    json: Any = None
    timeout_s: float | None = None
    """Of one probe; None: the connection's extra, else `egress.LIMITS`."""
    verify: bool | None = None


class HttpPredicate(Expectation, frozen=True, kw_only=True):
    error_codes: tuple[str, ...] = ("404",)
    """Statuses (or beginnings of `404:Not Found`) that mean "not yet"; every other one from 400 on is an error."""


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`Observation.value` of this kind."""

    status: int
    reason: str
    body: bytes | None
    """None when it is longer than BODY_MAX_BYTES."""
    checked: bool
    """False: the connection says `check_response: false`, no status is an error."""


class _Remembered(msgspec.Struct, frozen=True):
    headers: dict[str, str]
    """`If-None-Match`, `If-Modified-Since`: what makes the next request conditional."""
    observation: Observation


class ConditionalMemory:
    """The last answers that may be asked for conditionally; a 304 stands for the one remembered."""

    def __init__(self, capacity: int = REMEMBERED_MAX) -> None:
        self._capacity = capacity
        self._answers: OrderedDict[bytes, _Remembered] = OrderedDict()

    def recall(self, key: bytes) -> _Remembered | None:
        return self._answers.get(key)

    def remember(self, key: bytes, response: Response, observation: Observation) -> None:
        """Forgets what was known when this answer has no validator."""
        self._answers.pop(key, None)
        names = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
        headers = {ask: response.headers[has] for has, ask in names.items() if has in response.headers}
        if headers and response.status == 200:
            self._answers[key] = _Remembered(headers, observation)
            if len(self._answers) > self._capacity:
                self._answers.popitem(last=False)


_memory = ConditionalMemory()


def conditional_key(call: HttpCall) -> bytes | None:
    """What two requests must share to have one answer, credentials included; None: never ask conditionally."""
    if call.method != "GET" or call.json is not None:
        return None
    if any(name.lower().startswith("if-") for name in call.headers):
        return None
    facts = [call.url, sorted(call.headers.items()), call.params, call.auth, msgspec.to_builtins(call.tls)]
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).digest()


async def poke(spec: HttpSpec, context: ProbeContext) -> Observation:
    """Raises `ProbeThrottled` for 429, and for 503 with Retry-After; else what `EgressClient.request` raises."""
    call = plan_call(context.connection, **{name: getattr(spec, name) for name in spec.__struct_fields__})
    key = conditional_key(call)
    known = None if key is None else _memory.recall(key)
    response = await call.send(context.http, known.headers if known is not None else None)
    if response.status == 304 and known is not None:
        return known.observation
    _refuse_throttled(response, context.now())
    observation = _observe(response, call)
    if key is not None:
        _memory.remember(key, response, observation)
    return observation


def _observe(response: Response, call: HttpCall) -> Observation:
    body = response.body if len(response.body) <= BODY_MAX_BYTES else None
    return Observation(
        value=HttpAnswer(status=response.status, reason=response.reason, body=body, checked=call.check_response),
        summary=f"HTTP {response.status} {response.reason}".rstrip(),
    )


def _refuse_throttled(response: Response, now: datetime) -> None:
    retry_after_s = parse_retry_after(response.headers.get("Retry-After"), now)
    if response.status == 429 or (response.status == 503 and retry_after_s is not None):
        raise ProbeThrottled(f"HTTP {response.status} {response.reason}: the server asks for patience", retry_after_s)


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Seconds from now, of either form (RFC 9110, 10.2.3), at most a day; None when it is missing or makes no sense."""
    if text is None:
        return None
    if text.strip().isdecimal() and len(text.strip()) <= 9:
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": UTC of a server that does not know its zone
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), RETRY_AFTER_MAX_S)


def judge(predicate: HttpPredicate, observation: Observation) -> Verdict:
    """Airflow's reading of a status. Raises `ProbeFailed` where HttpSensor raises."""
    answer = observation.value
    assert isinstance(answer, HttpAnswer)
    if answer.status not in predicate.status:
        if answer.checked and answer.status >= 400 and not _is_not_yet(predicate, answer):
            raise ProbeFailed(
                f"HTTP {answer.status} {answer.reason} is an error; to go on waiting at this status, name it in "
                "response_error_codes_allowlist"
            )
        if predicate.status or (answer.checked and answer.status >= 400):
            return Verdict(met=False)
    if predicate.json_path is not None and misses_body(predicate, _document(answer)) is not None:
        return Verdict(met=False)
    return Verdict(met=True, event=True)


def _is_not_yet(predicate: HttpPredicate, answer: HttpAnswer) -> bool:
    return f"{answer.status}:{answer.reason}".startswith(predicate.error_codes)


def _document(answer: HttpAnswer) -> Any:
    """Raises `ProbeFailed` for a body that no predicate can read."""
    if answer.body is None:
        raise ProbeFailed(f"the answer is longer than {BODY_MAX_BYTES} bytes, too long to look for json_path in it")
    try:
        return msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProbeFailed(f"the answer is no JSON, so that json_path finds nothing in it: {error}") from error


def target(spec: HttpSpec, connection: ConnectionFacts | None) -> str:
    """`scheme://host:port`; the kind's name for a spec whose URL is none, which its probe reports."""
    try:
        return destination_of(join_url(connection, spec.endpoint)).origin
    except ProbeFailed:
        return KIND.name


def describe(spec: HttpSpec) -> str:
    return f"{spec.method.upper()} {(spec.endpoint or '/').partition('?')[0]}"


KIND = SensorKind[HttpSpec, HttpPredicate](
    name="http",
    spec=HttpSpec,
    predicate=HttpPredicate,
    describe=describe,
    poke=poke,
    judge=judge,
    target=target,
    default_connection_id="http_default",
)
