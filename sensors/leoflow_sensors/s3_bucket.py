"""S3, and whatever speaks its language at another `endpoint_url`: MinIO, Ceph, Cloudflare R2, Google with HMAC keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

import msgspec

from leoflow_sensors.aws_signature import AwsKey, encode, signed_headers
from leoflow_sensors.bucket import PAGE, Page
from leoflow_sensors.egress import EgressClient, Response, Tls
from leoflow_sensors.kinds import ProbeContext, ProbeFailed
from leoflow_sensors.refusals import by_real_package, raise_refusal
from leoflowd.contract.connection import ConnectionFacts

DEFAULT_REGION = "us-east-1"
REMEDY = (
    "check login (access key) and password (secret key) of the connection, and that they may read the bucket: without "
    "s3:ListBucket S3 answers 403 for a key that does not exist"
)


class S3Access(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as AwsConnectionWrapper reads it, as far as we can honour it."""

    key: AwsKey | None
    """None: requests are not signed (public buckets)."""
    region: str
    endpoint: str | None
    path_style: bool | None
    """None: what botocore calls `auto`."""
    tls: Tls

    def url_of(self, bucket: str) -> str:
        """Without a slash at the end."""
        if self.endpoint is not None and self.path_style is not False:
            return f"{self.endpoint}/{encode(bucket)}"
        scheme, _, host = (self.endpoint or f"https://s3.{self.region}.amazonaws.com").partition("://")
        # A certificate for *.s3... does not cover names with dots.
        if self.path_style or "." in bucket:
            return f"{scheme}://{host}/{encode(bucket)}"
        return f"{scheme}://{bucket}.{host}"


UNSUPPORTED = ("role_arn", "profile_name", "session_factory", "s3_config_file")
CONFIG_KEPT = {
    "connect_timeout",
    "inject_host_prefix",
    "max_pool_connections",
    "parameter_validation",
    "read_timeout",
    "request_checksum_calculation",
    "response_checksum_validation",
    "retries",
    "tcp_keepalive",
    "user_agent",
    "user_agent_appid",
    "user_agent_extra",
}
"""Of botocore's configuration: how its client goes about a request, which changes no answer. Ours has its own ways."""
CONFIG_KEPT_OF_S3 = {"payload_signing_enabled", "us_east_1_regional_endpoint"}
SIGNATURES = {"unsigned", "s3v4", "v4"}


def s3_access(connection: ConnectionFacts) -> S3Access:
    """Raises `ProbeFailed` that names what we cannot honour."""
    extra = connection.extra_fields()
    name = f"connection {connection.connection_id!r}"
    config = _mapping(extra, "config_kwargs", name)
    style = _mapping(config, "s3", name).get("addressing_style")
    for field in (*(field for field in UNSUPPORTED if extra.get(field)), *_unsupported_config(config)):
        raise ProbeFailed(
            f"{name} has extra {field!r}, which the daemon does not use; remove it and give an access key and a "
            f"secret key (login and password), or {by_real_package('amazon')}"
        )
    endpoint = _mapping(_mapping(extra, "service_config", name), "s3", name).get(
        "endpoint_url", extra.get("endpoint_url")
    )
    return S3Access(
        key=None if config.get("signature_version") == "unsigned" else _aws_key(connection, extra),
        region=str(extra.get("region_name") or DEFAULT_REGION),
        endpoint=str(endpoint).rstrip("/") if endpoint else None,
        path_style={"path": True, "virtual": False}.get(str(style)),
        tls=tls_of(extra.get("verify"), name),
    )


def _unsupported_config(config: Mapping[str, Any]) -> Iterator[str]:
    """Options that send a request elsewhere, or another one: proxies, certificates, other endpoints."""
    for field, value in config.items():
        is_known = field in CONFIG_KEPT or (field == "signature_version" and str(value) in SIGNATURES)
        if value and field != "s3" and not is_known:
            yield f"config_kwargs.{field}"
    for field, value in (config.get("s3") or {}).items():
        if value and field != "addressing_style" and field not in CONFIG_KEPT_OF_S3:
            yield f"config_kwargs.s3.{field}"


def _aws_key(connection: ConnectionFacts, extra: Mapping[str, Any]) -> AwsKey:
    """In the order of Airflow's hook, whose `session_kwargs` are of old."""
    older = _mapping(extra, "session_kwargs", f"connection {connection.connection_id!r}")
    pairs = [(connection.login, connection.password)]
    pairs += [(one.get("aws_access_key_id"), one.get("aws_secret_access_key")) for one in (extra, older)]
    for key_id, secret in pairs:
        if key_id and secret:
            token = extra.get("aws_session_token") or older.get("aws_session_token")
            return AwsKey(key_id=str(key_id), secret=str(secret), token=token)
    raise ProbeFailed(
        f"connection {connection.connection_id!r} has no access key: put it into login and password. For a "
        'public bucket put {"config_kwargs": {"signature_version": "unsigned"}} into extra. The daemon lends none'
    )


def _mapping(fields: Mapping[str, Any], field: str, name: str) -> Mapping[str, Any]:
    value = fields.get(field) or {}
    if not isinstance(value, dict):
        raise ProbeFailed(f"extra {field!r} of {name} is no JSON object; correct it")
    return value


def tls_of(verify: Any, name: str) -> Tls:
    """`verify` as boto's: true, false, or a path, which would be the daemon's."""
    if isinstance(verify, str) and verify.lower() not in ("true", "false"):
        raise ProbeFailed(
            f"extra 'verify' of {name} is a path; the daemon trusts its system's authorities, so add yours there, or "
            + by_real_package("amazon")
        )
    return Tls(verify=str(verify).lower() != "false")


class S3Bucket:
    """Requests to one bucket, signed."""

    def __init__(self, bucket: str, connection: ConnectionFacts, context: ProbeContext) -> None:
        self._access = s3_access(connection)
        self._bucket = bucket
        self._url = self._access.url_of(bucket)
        self._context = context

    async def has(self, key: str) -> bool:
        response = await self._ask("HEAD", f"{self._url}/{encode(key, safe='/')}")
        if response.status == 404:
            return False
        self._raise_refusal(response, f"asking for s3://{self._bucket}/{key}")
        return True

    async def list_page(self, *, prefix: str, page: str | None = None, at_most: int = PAGE) -> Page:
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix, "max-keys": str(at_most)}
        if page is not None:
            query["continuation-token"] = page
        url = f"{self._url}/?" + "&".join(f"{name}={encode(value)}" for name, value in sorted(query.items()))
        response = await self._ask("GET", url)
        self._raise_refusal(response, f"listing s3://{self._bucket}/{prefix}")
        return parse_listing(response.body)

    async def _ask(self, method: str, url: str) -> Response:
        client: EgressClient = self._context.http
        access = self._access
        headers = {}
        if access.key is not None:
            headers = signed_headers(method, url, key=access.key, region=access.region, now=self._context.now())
        # A signature holds for one host: a redirect to another region is reported, not followed.
        return await client.request(method, url, headers=headers, tls=access.tls, redirects_max=0)

    def _raise_refusal(self, response: Response, doing: str) -> None:
        region = response.headers.get("x-amz-bucket-region")
        if response.status in (301, 307, 400) and region not in (None, self._access.region):
            raise ProbeFailed(
                f'{doing}: the bucket is in region {region}; put {{"region_name": "{region}"}} into extra'
            )
        raise_refusal(response, doing=doing, remedy=REMEDY, now=self._context.now(), said=error_of)


def _parsed(document: bytes) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314  # expat >= 2.4.1 stops entity bombs, the client stops at 1 MiB


def error_of(document: bytes) -> str | None:
    """Code and message of S3's error: the rest are ids, and for a wrong signature all of the request, its session
    token too. None for what is no such document."""
    try:
        root = _parsed(document)
    except ET.ParseError:
        return None
    parts = [text for name in ("Code", "Message") if (text := root.findtext(f"{{*}}{name}"))]
    return ": ".join(parts) if root.tag.rpartition("}")[2] == "Error" else None


def parse_listing(document: bytes) -> Page:
    """ListObjectsV2's answer, with `encoding-type=url`. Raises `ProbeFailed` when it is none."""
    try:
        root = _parsed(document)
    except ET.ParseError as error:
        raise ProbeFailed(f"the listing is no XML: {error}; is the endpoint an S3 one?") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # imitators differ in the namespace
    if root.tag != "ListBucketResult":
        raise ProbeFailed(f"the listing is a {root.tag!r} instead of a ListBucketResult; is the endpoint an S3 one?")
    names = tuple(
        unquote_plus(name) for found in root.findall("Contents") if (name := found.findtext("Key")) is not None
    )
    is_last = root.findtext("IsTruncated", "false").strip() != "true"
    return Page(names=names, next_page=None if is_last else root.findtext("NextContinuationToken"))
