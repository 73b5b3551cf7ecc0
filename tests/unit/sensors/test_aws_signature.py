"""Signatures against the figures of AWS's own documentation (S3 API reference, "Examples: Signature Calculations")."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from leoflow_sensors.aws_signature import AwsKey, encode, signed_headers

ID = "AKIAIOSFODNN7EXAMPLE"  # pragma: allowlist secret
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # pragma: allowlist secret
KEY = AwsKey(key_id=ID, secret=SECRET)
MOMENT = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "https://examplebucket.s3.amazonaws.com"


def sign(url: str, key: AwsKey = KEY, **headers: str) -> dict[str, str]:
    return signed_headers("GET", url, key=key, region="us-east-1", now=MOMENT, headers=headers)


@pytest.mark.parametrize(
    ("path", "headers", "signature"),
    [
        ("/test.txt", {"Range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("/?lifecycle", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ("/?prefix=J&max-keys=2", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_a_signature_is_the_one_in_awss_documentation(path: str, headers: dict[str, str], signature: str) -> None:
    assert sign(HOST + path, **headers)["Authorization"].rpartition("Signature=")[2] == signature


def test_the_header_names_key_scope_and_what_is_signed() -> None:
    assert sign(HOST + "/test.txt", Range="bytes=0-9")["Authorization"].startswith(
        f"AWS4-HMAC-SHA256 Credential={ID}/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature="
    )


def test_the_token_of_temporary_credentials_is_sent_and_signed() -> None:
    temporary = AwsKey(key_id=KEY.key_id, secret=KEY.secret, token="session")
    headers = sign(HOST + "/test.txt", temporary)
    assert headers["x-amz-security-token"] == "session"
    assert "x-amz-security-token," in headers["Authorization"]


def test_the_port_that_a_scheme_implies_is_not_part_of_the_host() -> None:
    assert sign(HOST + ":443/test.txt") == sign(HOST + "/test.txt")
    assert sign(HOST + ":9000/test.txt") != sign(HOST + "/test.txt")


def test_all_but_unreserved_characters_are_encoded() -> None:
    assert encode("a b/c+d~e*é=&") == "a%20b%2Fc%2Bd~e%2A%C3%A9%3D%26"
    assert encode("a b/c", safe="/") == "a%20b/c"


def test_the_secret_is_not_in_the_repr() -> None:
    assert KEY.secret not in repr(KEY)
