"""Objects in S3 and Google Cloud Storage, against stores on loopback that check credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from leoflow_sensors.kinds import NoPredicate, Observation, ProbeFailed, ProbeThrottled, TargetDown, Verdict
from leoflow_sensors.object_key import KIND, ObjectKeySpec, judge, listable, poke, poke_many
from leoflow_sensors.s3_bucket import parse_listing, s3_access
from tests.fakes.certificates import self_signed
from tests.fakes.probe_context import Context, connection
from tests.fakes.scripted_server import answer
from tests.fakes.stores import KEY, REGION, FakeGoogle, FakeS3, Request, serving


def s3(*keys: str, **fields: Any) -> ObjectKeySpec:
    return ObjectKeySpec(store="s3", bucket="landing", keys=keys, **fields)


def gcs(*keys: str, **fields: Any) -> ObjectKeySpec:
    return ObjectKeySpec(store="gcs", bucket="landing", keys=keys, **fields)


@asynccontextmanager
async def s3_with(*objects: str, **fields: Any) -> AsyncIterator[tuple[FakeS3, Context]]:
    store = FakeS3(objects=set(objects), **fields)
    async with serving(store):
        extra = {"endpoint_url": store.url, "region_name": REGION}
        context = Context(connection("aws", login=KEY.key_id, password=KEY.secret, extra=extra))
        yield store, context
        context.http.close()


async def is_met(spec: ObjectKeySpec, context: Context) -> bool:
    return judge(NoPredicate(), await poke(spec, context)).met


def refusing(status: str, *headers: str, method: str = "") -> Any:
    """Answers so to every request (of that method)."""
    return lambda request: answer(status, b"", *headers) if request.method.startswith(method) else None


# --- S3: keys ----------------------------------------------------------------------------------------------------


async def test_an_object_is_there_or_not() -> None:
    async with s3_with("in/a.csv") as (_, context):
        assert await is_met(s3("in/a.csv"), context)
        assert not await is_met(s3("in/b.csv"), context)


async def test_all_keys_must_be_there() -> None:
    async with s3_with("in/a.csv", "out/b.csv") as (_, context):
        assert await is_met(s3("in/a.csv", "out/b.csv"), context)
        assert not await is_met(s3("in/a.csv", "out/c.csv"), context)


@pytest.mark.parametrize("key", ["in/a b+c~d.csv", "dt=2026-11-21/é&=?#%41.csv", "in/[1]*.csv"])
async def test_a_key_may_hold_any_character(key: str) -> None:
    async with s3_with(key) as (_, context):
        assert await is_met(s3(key), context)


async def test_a_key_with_any_character_is_found_in_a_listing() -> None:
    keys = ("in/a b+c.csv", "in/é&<1>.csv", "in/100%.csv")
    async with s3_with(*keys) as (store, context):
        assert await is_met(s3(*keys), context)
        assert store.asked == ["GET /landing/"]


async def test_a_wrong_secret_is_an_error_that_says_what_to_check() -> None:
    async with s3_with("in/a.csv") as (_, context):
        facts = msgspec.structs.replace(context.connection, password="wrong")
        with pytest.raises(ProbeFailed, match=r"s3://landing/in/a.csv: HTTP 403 Forbidden; check login"):
            await poke(s3("in/a.csv"), Context(facts, context.http))


async def test_of_no_key_all_are_there() -> None:
    async with s3_with() as (store, context):
        found = await poke(s3(), context)
        assert (judge(NoPredicate(), found), found.summary) == (Verdict(met=True), "no key to wait for")
        assert store.asked == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keys": [""]}, "the name of an object in bucket 'landing' is empty"),
        ({"keys": ["", "a"], "store": "gcs"}, "the name of an object in bucket 'landing' is empty"),
        ({"bucket": ""}, "the name of the bucket is empty"),
        ({"keys": ["S3://landing/a"]}, "'S3://landing/a' is a URL, and names a bucket beside 'landing'"),
    ],
)
def test_what_names_no_object_is_told(fields: dict[str, Any], message: str) -> None:
    """After templates are rendered: what the file itself says is refused when it is compiled."""
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"store": "s3", "bucket": "landing", "keys": ["a"]} | fields, ObjectKeySpec)


# --- S3: sharing -------------------------------------------------------------------------------------------------


async def test_waits_on_many_keys_of_a_folder_share_one_listing() -> None:
    async with s3_with(*(f"in/{n}.csv" for n in range(20))) as (store, context):
        found = await poke_many([s3(f"in/{n}.csv") for n in range(25)], context)
        assert store.asked == ["GET /landing/"]
    assert [one.value.is_met for one in found if isinstance(one, Observation)] == [True] * 20 + [False] * 5


async def test_waits_on_one_key_share_one_question() -> None:
    async with s3_with("in/a.csv") as (store, context):
        await poke_many([s3("in/a.csv"), s3("in/a.csv", "out/b.csv")], context)
        assert sorted(store.asked) == ["HEAD /landing/in/a.csv", "HEAD /landing/out/b.csv"]


async def test_a_listing_goes_on_until_its_end() -> None:
    async with s3_with(*(f"in/{n}.csv" for n in range(7)), page_size=3) as (store, context):
        assert await is_met(s3("in/0.csv", "in/5.csv", "in/6.csv"), context)
        assert store.asked == ["GET /landing/"] * 3


async def test_a_listing_stops_when_all_is_found() -> None:
    async with s3_with(*(f"in/{n}.csv" for n in range(7)), page_size=3) as (store, context):
        assert await is_met(s3("in/0.csv", "in/1.csv", "in/2.csv"), context)
        assert len(store.asked) == 1


async def test_in_a_folder_full_of_other_things_the_rest_is_asked_for_key_by_key() -> None:
    names = [f"in/{n:03}.csv" for n in range(50)]
    async with s3_with(*names, page_size=10) as (store, context):
        assert await is_met(s3("in/000.csv", "in/001.csv", "in/049.csv"), context)
        assert store.asked == ["GET /landing/"] * 4 + ["HEAD /landing/in/049.csv"]


async def test_who_may_read_but_not_list_asks_key_by_key() -> None:
    refuse = refusing("403 Forbidden", method="GET")
    async with s3_with("in/a", "in/b", "in/c", refuse=refuse) as (store, context):
        assert await is_met(s3("in/a", "in/b", "in/c"), context)
        assert store.asked[1:] == ["HEAD /landing/in/a", "HEAD /landing/in/b", "HEAD /landing/in/c"]


async def test_a_refused_key_fails_only_those_who_asked_for_it() -> None:
    def refuse(request: Request) -> bytes | None:
        return answer("403 Forbidden") if request.path.endswith("secret") else None

    async with s3_with("in/a", refuse=refuse) as (_, context):
        first, second = await poke_many([s3("in/a"), s3("in/a", "secret")], context)
    assert isinstance(first, Observation)
    assert isinstance(second, ProbeFailed)


def test_only_folders_with_enough_keys_are_listed() -> None:
    assert listable(["a/1", "b/1", "a/2", "c", "a/3", "b/2"]) == [["a/1", "a/2", "a/3"]]


def test_waits_on_one_bucket_are_one_batch() -> None:
    assert KIND.batch_key is not None
    assert KIND.batch_key(s3("a")) == KIND.batch_key(s3("b", prefix=True)) != KIND.batch_key(gcs("a"))


# --- S3: wildcards and prefixes ----------------------------------------------------------------------------------


async def test_a_wildcard_crosses_folders_as_in_airflow() -> None:
    async with s3_with("in/2026/11/a.csv") as (_, context):
        assert await is_met(s3("in/*.csv", wildcard=True), context)
        assert not await is_met(s3("in/*.json", wildcard=True), context)


async def test_a_wildcard_minds_case() -> None:
    async with s3_with("in/A.csv") as (_, context):
        assert not await is_met(s3("in/a.*", wildcard=True), context)


async def test_a_wildcard_is_looked_for_on_every_page() -> None:
    async with s3_with(*(f"in/{n}.csv" for n in range(7)), page_size=2) as (_, context):
        assert await is_met(s3("in/?.csv", "in/6*", wildcard=True), context)


async def test_a_prefix_is_a_folder_with_something_in_it() -> None:
    async with s3_with("in/2026/a.csv") as (_, context):
        assert await is_met(s3("in/2026", "in/2026/", prefix=True), context)
        assert not await is_met(s3("in/20", prefix=True), context)


def test_keys_are_not_wildcards_and_prefixes_at_once() -> None:
    with pytest.raises(msgspec.ValidationError, match="not as both"):
        msgspec.convert({"store": "s3", "bucket": "b", "keys": ["k"], "wildcard": True, "prefix": True}, ObjectKeySpec)


# --- S3: answers that are none -----------------------------------------------------------------------------------


async def test_a_store_that_asks_for_patience_gets_it() -> None:
    async with s3_with(refuse=refusing("503 Slow Down", "Retry-After: 7")) as (_, context):
        with pytest.raises(ProbeThrottled) as caught:
            await poke(s3("a"), context)
    assert caught.value.retry_after_s == 7


async def test_a_store_that_is_broken_is_down() -> None:
    async with s3_with(refuse=refusing("500 Internal Server Error")) as (_, context):
        with pytest.raises(TargetDown, match="HTTP 500"):
            await poke(s3("a"), context)


async def test_a_bucket_elsewhere_says_where() -> None:
    refuse = refusing("301 Moved Permanently", "x-amz-bucket-region: us-west-2")
    async with s3_with(refuse=refuse) as (_, context):
        with pytest.raises(ProbeFailed, match=r'in region us-west-2; put {"region_name": "us-west-2"} into extra'):
            await poke(s3("a"), context)


async def test_of_an_error_its_code_and_message_are_told_and_not_the_request() -> None:
    document = (
        b"<Error><Code>SignatureDoesNotMatch</Code><Message>The signature is wrong.</Message>"
        b"<CanonicalRequest>x-amz-security-token:hidden</CanonicalRequest></Error>"
    )
    async with s3_with(refuse=lambda _: answer("403 Forbidden", document)) as (_, context):
        with pytest.raises(ProbeFailed, match="SignatureDoesNotMatch: The signature is wrong; check") as caught:
            await poke(s3("a*", wildcard=True), context)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [(b"<html>", "is no XML"), (b"<Error/>", "'Error' instead of a ListBucketResult"), (b"", "is no XML")],
)
def test_a_listing_that_is_none_is_an_error(document: bytes, message: str) -> None:
    with pytest.raises(ProbeFailed, match=message):
        parse_listing(document)


def test_an_entity_bomb_in_a_listing_does_not_go_off() -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE l [<!ENTITY a0 "{"x" * 100}">{entities}]><ListBucketResult>&a9;</ListBucketResult>'
    with pytest.raises(ProbeFailed, match="is no XML"):
        parse_listing(bomb.encode())


# --- S3: connections ---------------------------------------------------------------------------------------------


def access(**extra: Any) -> Any:
    return s3_access(connection("aws", login="id", password="secret", extra=extra))


@pytest.mark.parametrize(
    ("extra", "bucket", "url"),
    [
        ({}, "landing", "https://landing.s3.us-east-1.amazonaws.com"),
        ({"region_name": "eu-west-1"}, "landing", "https://landing.s3.eu-west-1.amazonaws.com"),
        ({}, "land.ing", "https://s3.us-east-1.amazonaws.com/land.ing"),
        ({"endpoint_url": "http://minio:9000/"}, "landing", "http://minio:9000/landing"),
        ({"service_config": {"s3": {"endpoint_url": "http://a"}}, "endpoint_url": "http://b"}, "x", "http://a/x"),
        ({"config_kwargs": {"s3": {"addressing_style": "path"}}}, "x", "https://s3.us-east-1.amazonaws.com/x"),
        (
            {"endpoint_url": "http://ceph", "config_kwargs": {"s3": {"addressing_style": "virtual"}}},
            "landing",
            "http://landing.ceph",
        ),
    ],
)
def test_the_url_of_a_bucket_follows_the_connection(extra: dict[str, Any], bucket: str, url: str) -> None:
    assert access(**extra).url_of(bucket) == url


def test_keys_may_be_in_extra_with_a_session_token() -> None:
    fields = {"aws_access_key_id": "id2", "aws_secret_access_key": "s", "aws_session_token": "t"}
    key = s3_access(connection("aws", extra=fields)).key
    assert key is not None
    assert (key.key_id, key.secret, key.token) == ("id2", "s", "t")


def test_keys_may_be_where_older_connections_have_them() -> None:
    older = {"aws_access_key_id": "id3", "aws_secret_access_key": "s", "aws_session_token": "t"}
    key = s3_access(connection("aws", extra={"session_kwargs": older})).key
    assert key is not None
    assert (key.key_id, key.secret, key.token) == ("id3", "s", "t")


def test_a_public_bucket_needs_no_key() -> None:
    public = connection("aws", extra={"config_kwargs": {"signature_version": "unsigned"}})
    assert s3_access(public).key is None


def test_the_daemons_own_identity_is_not_lent() -> None:
    with pytest.raises(ProbeFailed, match="connection 'its_aws' has no access key"):
        s3_access(connection("aws"))


@pytest.mark.parametrize("field", ["role_arn", "profile_name"])
def test_what_we_cannot_honour_is_refused(field: str) -> None:
    with pytest.raises(ProbeFailed, match=f"has extra '{field}', which the daemon does not use"):
        access(**{field: "x"})


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"proxies": {"https": "http://proxy"}}, "config_kwargs.proxies"),
        ({"client_cert": "/c.pem"}, "config_kwargs.client_cert"),
        ({"use_fips_endpoint": True}, "config_kwargs.use_fips_endpoint"),
        ({"signature_version": "s3"}, "config_kwargs.signature_version"),
        ({"s3": {"use_accelerate_endpoint": True}}, "config_kwargs.s3.use_accelerate_endpoint"),
    ],
)
def test_a_configuration_that_sends_requests_elsewhere_is_refused(config: dict[str, Any], field: str) -> None:
    with pytest.raises(ProbeFailed, match=f"extra '{field}'.*execution: process"):
        access(config_kwargs=config)


def test_a_configuration_of_how_botocore_goes_about_it_changes_nothing() -> None:
    config = {
        "retries": {"max_attempts": 3},
        "read_timeout": 5,
        "signature_version": "s3v4",
        "use_fips_endpoint": False,
    }
    assert access(config_kwargs=config) == access()


@pytest.mark.parametrize(("verify", "is_verified"), [(None, True), (True, True), (False, False), ("false", False)])
def test_verification_ends_only_where_the_connection_says_so(verify: Any, is_verified: bool) -> None:
    assert access(verify=verify).tls.verify is is_verified


def test_an_authority_by_path_is_refused() -> None:
    with pytest.raises(ProbeFailed, match="is a path"):
        access(verify="/etc/ca.pem")


async def test_an_unknown_authority_is_trusted_only_where_the_connection_says_so(tmp_path: Path) -> None:
    store = FakeS3(objects={"a"}, tls=self_signed(tmp_path)[0])
    async with serving(store):
        extra = {"endpoint_url": store.url, "region_name": REGION}
        facts = connection("aws", login=KEY.key_id, password=KEY.secret, extra=extra)
        context = Context(facts)
        with pytest.raises(TargetDown, match="certificate verify failed"):
            await poke(s3("a"), context)
        careless = connection("aws", login=KEY.key_id, password=KEY.secret, extra=extra | {"verify": False})
        assert await is_met(s3("a"), Context(careless, context.http))
        context.http.close()


async def test_without_a_connection_nothing_is_asked() -> None:
    with pytest.raises(ProbeFailed, match="needs a connection with credentials"):
        await poke(s3("a"), Context())


@pytest.mark.parametrize(
    ("extra", "target"),
    [({"endpoint_url": "http://minio:9000"}, "http://minio:9000"), ({}, "https://landing.s3.us-east-1.amazonaws.com")],
)
def test_the_budget_is_the_endpoints(extra: dict[str, Any], target: str) -> None:
    assert KIND.target is not None
    assert KIND.target(s3("a"), connection("aws", login="i", password="p", extra=extra)) == target


# --- Google ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _pem(key: rsa.RSAPrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


@asynccontextmanager
async def google_with(
    private_key: rsa.RSAPrivateKey, *objects: str, **fields: Any
) -> AsyncIterator[tuple[FakeGoogle, Context]]:
    store = FakeGoogle(objects=set(objects), **fields)
    async with serving(store):
        key = {
            "client_email": "sensor@example",
            "private_key": _pem(private_key),
            "private_key_id": "k1",
            "token_uri": f"{store.url}/token",
        }
        extra = {"keyfile_dict": msgspec.json.encode(key).decode(), "endpoint_url": store.url}
        context = Context(connection("google_cloud_platform", extra=extra))
        yield store, context
        context.http.close()


async def test_a_google_object_is_there_or_not(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "in/a b.csv") as (_, context):
        found = [judge(NoPredicate(), await poke(gcs(key), context)) for key in ("in/a b.csv", "in/b")]
    assert found == [Verdict(met=True, xcom=True), Verdict(met=False)]


async def test_the_login_is_signed_by_the_service_account(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "a") as (store, context):
        await poke(gcs("a"), context)
        claims = jwt.decode(
            store.logins[0]["assertion"],
            private_key.public_key(),
            algorithms=["RS256"],
            audience=f"{store.url}/token",
            options={"verify_exp": False, "verify_iat": False},
        )
    assert (claims["iss"], claims["scope"]) == (
        "sensor@example",
        "https://www.googleapis.com/auth/devstorage.read_only",
    )
    assert claims["exp"] - claims["iat"] == 3600


async def test_a_login_lasts_until_shortly_before_its_end(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "a") as (store, context):
        await poke(gcs("a"), context)
        context.moment += timedelta(minutes=54)
        await poke(gcs("a"), context)
        assert len(store.logins) == 1
        context.moment += timedelta(minutes=2)
        await poke(gcs("a"), context)
        assert len(store.logins) == 2


async def test_a_login_is_not_lent_to_another_key_of_the_same_account(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "a") as (store, context):
        await poke(gcs("a"), context)
        assert context.connection is not None
        extra = context.connection.extra_fields()
        forged = msgspec.json.decode(extra["keyfile_dict"]) | {
            "private_key": _pem(rsa.generate_private_key(65537, 2048))
        }
        extra["keyfile_dict"] = msgspec.json.encode(forged).decode()
        await poke(gcs("a"), Context(connection("google_cloud_platform", extra=extra), context.http))
        assert len(store.logins) == 2


async def test_a_glob_is_matched_by_google(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "in/a.csv") as (store, context):
        assert await is_met(gcs("in/*.csv", wildcard=True), context)
        assert Request.parse(store.requests[-1]).query["matchGlob"] == "in/*.csv"


async def test_a_google_prefix_hands_on_all_names(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "in/a1", "in/a2", "in/a3", "in/b", page_size=2) as (_, context):
        found = judge(NoPredicate(), await poke(gcs("in/a", prefix=True), context))
        assert found == Verdict(met=True, xcom=["in/a1", "in/a2", "in/a3"])
        assert not await is_met(gcs("out/", prefix=True), context)


async def test_an_empty_google_prefix_is_any_object(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "a", "b") as (_, context):
        assert judge(NoPredicate(), await poke(gcs("", prefix=True), context)) == Verdict(met=True, xcom=["a", "b"])


async def test_a_quota_project_is_billed(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "a") as (store, context):
        assert context.connection is not None
        extra = context.connection.extra_fields() | {"quota_project_id": "billed"}
        await poke(gcs("a"), Context(connection("google_cloud_platform", extra=extra), context.http))
        assert Request.parse(store.requests[-1]).headers["x-goog-user-project"] == "billed"


async def test_a_public_google_bucket_needs_no_login(private_key: rsa.RSAPrivateKey) -> None:
    async with google_with(private_key, "a") as (store, context):
        public = connection("google_cloud_platform", extra={"is_anonymous": True, "endpoint_url": store.url})
        assert await is_met(gcs("a"), Context(public, context.http))
        assert store.logins == []


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "has no service account key"),
        ({"keyfile_dict": "{}"}, "is no service account key"),
        ({"is_anonymous": True, "impersonation_chain": "a@b"}, "has extra 'impersonation_chain'"),
        ({"extra__google_cloud_platform__key_path": "/k.json"}, r"has extra 'key_path'.*\[google\]"),
        ({"keyfile_dict": {"client_email": "a@b", "private_key": "x"}}, "private key of a@b cannot be used"),
    ],
)
async def test_a_google_connection_without_a_usable_key_is_an_error(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeFailed, match=message):
        await poke(gcs("a"), Context(connection("google_cloud_platform", extra=extra)))


# --- for people --------------------------------------------------------------------------------------------------


async def test_a_look_says_what_is_missing() -> None:
    async with s3_with("a") as (_, context):
        assert (await poke(s3("a"), context)).summary == "found a"
        assert (await poke(s3("a", "b", "c/d"), context)).summary == "not there: b and 1 more"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (s3("in/a", "in/b"), "s3://landing/in/a and 1 more"),
        (gcs("in/", prefix=True), "gs://landing/in/*"),
    ],
)
def test_a_wait_says_what_it_waits_for(spec: ObjectKeySpec, text: str) -> None:
    assert KIND.describe(spec) == text
