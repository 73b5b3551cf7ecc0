"""Google Cloud Storage through its JSON API, with a service account's key or without any credentials."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from leoflow_sensors.aws_signature import encode
from leoflow_sensors.bucket import PAGE, Page
from leoflow_sensors.egress import EgressClient, Response
from leoflow_sensors.kinds import ProbeContext, ProbeFailed
from leoflow_sensors.refusals import by_real_package, raise_refusal
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.overriding import override

ENDPOINT = "https://storage.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
TOKEN_LIFE_S = 3600.0
TOKEN_SPARE_S = 300.0
"""A token is renewed so long before its end: clocks differ, and a listing takes time."""
TOKENS_MAX = 256
REMEDY = "check that the connection's service account has storage.objects.get and storage.objects.list"


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a service account's key file that we use. `repr` hides the key."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = TOKEN_URI

    @override
    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email!r})"


class _Token(msgspec.Struct, frozen=True):
    text: str
    good_until: datetime


_tokens: OrderedDict[ServiceAccount, _Token] = OrderedDict()
"""An exchange takes a request and a millisecond of RSA, the token lives an hour. By the whole key, private part
and all: whoever knows only the account's name must not find its token here."""


UNSUPPORTED = (
    "impersonation_chain",
    "key_path",
    "key_secret_name",
    "credential_config_file",
    "idp_issuer_url",
)
"""Other identities than the one that `keyfile_dict` is."""


def service_account(connection: ConnectionFacts) -> ServiceAccount | None:
    """None for a connection that says `is_anonymous`. Raises `ProbeFailed`."""
    extra = extra_of(connection)
    name = f"connection {connection.connection_id!r}"
    for field in (field for field in UNSUPPORTED if extra.get(field)):
        raise ProbeFailed(
            f"{name} has extra {field!r}, which the daemon does not use; remove it and put the JSON of a service "
            f"account's key file into extra 'keyfile_dict', or {by_real_package('google')}"
        )
    if extra.get("is_anonymous"):
        return None
    key = extra.get("keyfile_dict")
    if not key:
        raise ProbeFailed(
            f"{name} has no service account key: put the key file's JSON into extra "
            '"keyfile_dict", or {"is_anonymous": true} for a public bucket. Key files by path and the '
            f"daemon's own identity are not used; for those {by_real_package('google')}"
        )
    try:
        if isinstance(key, str):
            return msgspec.json.decode(key, type=ServiceAccount)
        return msgspec.convert(key, ServiceAccount)
    except msgspec.MsgspecError as error:
        raise ProbeFailed(
            f"extra 'keyfile_dict' of connection {connection.connection_id!r} is no service account key: {error}"
        ) from error


def extra_of(connection: ConnectionFacts) -> Mapping[str, Any]:
    """Under today's names; Airflow once wrote them with the type before."""
    return {
        name.removeprefix("extra__google_cloud_platform__"): value for name, value in connection.extra_fields().items()
    }


async def fetch_token(account: ServiceAccount, client: EgressClient, now: datetime) -> str:
    """An access token, from memory while it is good (RFC 7523). Raises what a request may raise."""
    known = _tokens.get(account)
    if known is not None and now < known.good_until:
        return known.text
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": _assertion(account, now)}
    response = await client.request("POST", account.token_uri, data=form, redirects_max=0)
    raise_refusal(response, doing=f"logging {account.client_email} in", remedy="is the key still valid?", now=now)
    answer = response.json()
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str):
        raise ProbeFailed(f"{account.token_uri} answered without an access token; check token_uri in the key")
    life_s = min(float(answer.get("expires_in") or TOKEN_LIFE_S), TOKEN_LIFE_S)
    _tokens[account] = _Token(token, now + timedelta(seconds=life_s - TOKEN_SPARE_S))
    if len(_tokens) > TOKENS_MAX:
        _tokens.popitem(last=False)
    return token


def _assertion(account: ServiceAccount, now: datetime) -> str:
    import jwt  # 13 MB: only for daemons that have such sensors

    issued = int(now.timestamp())
    claims = {
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + int(TOKEN_LIFE_S),
    }
    headers = {"kid": account.private_key_id} if account.private_key_id else None
    try:
        return jwt.encode(claims, account.private_key, algorithm="RS256", headers=headers)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise ProbeFailed(f"the private key of {account.client_email} cannot be used: {error}") from error


class GoogleBucket:
    """Requests to one bucket through the JSON API."""

    def __init__(self, bucket: str, connection: ConnectionFacts, context: ProbeContext) -> None:
        self._account = service_account(connection)
        self._billed_project = extra_of(connection).get("quota_project_id")
        self._bucket = bucket
        self._url = f"{endpoint_of(connection)}/storage/v1/b/{encode(bucket)}/o"
        self._context = context

    async def has(self, key: str) -> bool:
        response = await self._ask(f"{self._url}/{encode(key)}", {"fields": "name"})
        if response.status == 404:
            return False
        self._raise_refusal(response, f"asking for gs://{self._bucket}/{key}")
        return True

    async def list_page(self, *, prefix: str, page: str | None = None, at_most: int = PAGE) -> Page:
        return await self._list({"prefix": prefix, "pageToken": page, "maxResults": str(at_most)}, prefix)

    async def has_match(self, glob: str) -> bool:
        """The server matches: `*` stops at a slash, `**` does not, `{a,b}` is either."""
        page: str | None = None
        while True:  # an empty page may have a next one
            found = await self._list({"matchGlob": glob, "pageToken": page, "maxResults": "1"}, glob)
            if found.names or found.next_page is None:
                return bool(found.names)
            page = found.next_page

    async def _list(self, query: Mapping[str, str | None], what: str) -> Page:
        asked = {name: value for name, value in query.items() if value} | {"fields": "items(name),nextPageToken"}
        response = await self._ask(self._url, asked)
        self._raise_refusal(response, f"listing gs://{self._bucket}/{what}")
        try:
            found = msgspec.json.decode(response.body, type=_GoogleListing)
        except msgspec.MsgspecError as error:
            raise ProbeFailed(f"the listing of gs://{self._bucket} is not understood: {error}") from error
        return Page(names=tuple(item.name for item in found.items), next_page=found.next_page)

    async def _ask(self, url: str, query: Mapping[str, str]) -> Response:
        client: EgressClient = self._context.http
        headers = {}
        if self._account is not None:
            headers["Authorization"] = f"Bearer {await fetch_token(self._account, client, self._context.now())}"
            if self._billed_project:
                headers["X-Goog-User-Project"] = str(self._billed_project)
        return await client.request("GET", f"{url}?{urlencode(query)}", headers=headers, redirects_max=0)

    def _raise_refusal(self, response: Response, doing: str) -> None:
        raise_refusal(response, doing=doing, remedy=REMEDY, now=self._context.now())


class _GoogleItem(msgspec.Struct, frozen=True):
    name: str


class _GoogleListing(msgspec.Struct, frozen=True):
    items: tuple[_GoogleItem, ...] = ()
    next_page: str | None = msgspec.field(name="nextPageToken", default=None)


def endpoint_of(connection: ConnectionFacts) -> str:
    """Extra `endpoint_url` is for private endpoints and imitators."""
    return str(connection.extra_fields().get("endpoint_url") or ENDPOINT).rstrip("/")
