"""AWS Signature Version 4 for requests without a body, as S3 and its imitators check it.

By hand, because botocore is 14 MB, brings an HTTP client of its own that would go around the egress policy, and blocks.
The algorithm is AWS's "Authenticating Requests: Using the Authorization Header"; its published examples are our tests.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

import httpx
import msgspec

from leoflowd.contract.overriding import override

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
ALGORITHM = "AWS4-HMAC-SHA256"


class AwsKey(msgspec.Struct, frozen=True, kw_only=True):
    """`repr` shows the id only."""

    key_id: str
    secret: str
    token: str | None = None
    """Of temporary credentials."""

    @override
    def __repr__(self) -> str:
        return f"AwsKey({self.key_id!r})"


def encode(text: str, *, safe: str = "") -> str:
    """AWS's UriEncode: all but letters, digits, `-._~`, and what is in `safe`."""
    return quote(text, safe=f"{safe}-._~")


def signed_headers(
    method: str,
    url: str,
    *,
    key: AwsKey,
    region: str,
    now: datetime,
    headers: Mapping[str, str] | None = None,
    service: str = "s3",
) -> dict[str, str]:
    """`headers` and those that sign the request. The client must send `url` and `headers` exactly so.

    `url` has its path and query encoded already (`encode`): what is signed is what is sent.
    """
    address = httpx.URL(url)  # as the client reads it: its path and Host are what the server sees
    path, _, query = address.raw_path.decode("ascii").partition("?")
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    sent = {**(headers or {}), "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": stamp}
    if key.token is not None:
        sent["x-amz-security-token"] = key.token
    signed = {
        name.lower(): " ".join(value.split())
        for name, value in (sent | {"host": address.netloc.decode("ascii")}).items()
    }
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            path,
            _canonical_query(query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            EMPTY_SHA256,
        ]
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signature = _sign(_signing_key(key.secret, scope), to_sign).hex()
    credential = f"Credential={key.key_id}/{scope}"
    return sent | {"Authorization": f"{ALGORITHM} {credential},SignedHeaders={names},Signature={signature}"}


def _canonical_query(query: str) -> str:
    pairs = sorted((encode(name), encode(value)) for name, value in parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{name}={value}" for name, value in pairs)


def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _sign(key, part)
    return key


def _sign(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
