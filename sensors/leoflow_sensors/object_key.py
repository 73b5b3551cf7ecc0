"""Kind `object_key`: objects exist in S3 or Google Cloud Storage.

Airflow's S3KeySensor, S3PrefixSensor, GCSObjectExistenceSensor, GCSObjectsWithPrefixExistenceSensor. All waits on one
bucket are looked at together: what several of them ask is asked once, and many keys of one folder are one listing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from os.path import commonprefix
from typing import Any, Literal

import msgspec

from leoflow_sensors.bucket import Bucket
from leoflow_sensors.google_bucket import GoogleBucket, endpoint_of
from leoflow_sensors.kinds import KindSpec, NoPredicate, Observation, ProbeContext, ProbeFailed, SensorKind, Verdict
from leoflow_sensors.s3_bucket import S3Bucket, s3_access
from leoflowd.contract.connection import ConnectionFacts

LIST_FROM = 3
"""Keys of one folder from which on a listing is cheaper than a question each."""
LISTING_PAGES_MAX = 4
"""Then the keys that were not seen are asked for one by one: the folder holds mostly other things."""
URL = re.compile(r"(?i)(s3[an]?|https)://")
NAMES_MAX = 10_000
"""Names that a prefix sensor hands on as its XCom."""


class ObjectKeySpec(KindSpec, frozen=True, kw_only=True):
    """All of `keys` exist: as they are, as wildcards, or as prefixes of something that exists. Of none, all do."""

    store: Literal["s3", "gcs"]
    bucket: str
    keys: tuple[str, ...]
    wildcard: bool = False
    """S3: Python's fnmatch, as in Airflow, so that `*` crosses slashes. Google: its own globs."""
    prefix: bool = False
    """S3: a folder with something in it, its slash added where it is missing. Google: any name that begins so."""

    def __post_init__(self) -> None:
        if self.wildcard and self.prefix:
            raise ValueError("object_key takes keys as wildcards or as prefixes, not as both")
        if self.keys and not self.bucket:
            raise ValueError("the name of the bucket is empty")
        if not (self.store == "gcs" and self.prefix) and "" in self.keys:  # there it is a prefix of every name
            raise ValueError(f"the name of an object in bucket {self.bucket!r} is empty; name one")
        # As Airflow's hook: nobody has such a key, and it would be waited for in vain.
        for key in self.keys:
            if self.store == "s3" and URL.match(key):
                raise ValueError(f"{key!r} is a URL, and names a bucket beside {self.bucket!r}; keep one of the two")


class ObjectsSeen(msgspec.Struct, frozen=True, kw_only=True):
    """`Observation.value` of this kind."""

    is_met: bool
    xcom: Any = None


async def poke(spec: ObjectKeySpec, context: ProbeContext) -> Observation:
    (answer,) = await poke_many([spec], context)
    if isinstance(answer, Exception):
        raise answer
    return answer


async def poke_many(specs: Sequence[ObjectKeySpec], context: ProbeContext) -> Sequence[Observation | Exception]:
    """`specs` share a bucket. A refusal of one key is the answer to those who asked for it; one that is down or asks
    for patience is everybody's: raises `TargetDown`, `ProbeThrottled`."""
    bucket = open_bucket(specs[0], context)
    exact = {key for spec in specs if not (spec.wildcard or spec.prefix) for key in spec.keys}
    seen: dict[tuple[str, str], tuple[str, ...] | ProbeFailed] = {}
    for key, found in (await _find_keys(bucket, exact)).items():
        seen["exact", key] = found
    for spec in specs:
        for key in spec.keys:
            if (_how(spec), key) not in seen:
                seen[_how(spec), key] = await _find_names(bucket, spec, key)
    return [_observe(spec, [seen[_how(spec), key] for key in spec.keys]) for spec in specs]


def open_bucket(spec: ObjectKeySpec, context: ProbeContext) -> Bucket:
    """Raises `ProbeFailed` for a connection that cannot serve."""
    if context.connection is None:
        raise ProbeFailed(
            f"the sensor of bucket {spec.bucket!r} needs a connection with credentials, and there is none: create it, "
            "or name an existing one (the daemon's own identity is never used)"
        )
    store = S3Bucket if spec.store == "s3" else GoogleBucket
    return store(spec.bucket, context.connection, context)


def _how(spec: ObjectKeySpec) -> str:
    return "wildcard" if spec.wildcard else "prefix" if spec.prefix else "exact"


# --- keys as they are --------------------------------------------------------------------------------------------


async def _find_keys(bucket: Bucket, keys: Collection[str]) -> dict[str, tuple[str, ...] | ProbeFailed]:
    """For each key itself, nothing, or why the store will not say."""
    found: dict[str, tuple[str, ...] | ProbeFailed] = {}
    for listed in listable(keys):
        found |= await _find_in_listing(bucket, listed)
    for key in sorted(set(keys) - found.keys()):
        try:
            found[key] = (key,) if await bucket.has(key) else ()
        except ProbeFailed as refusal:
            found[key] = refusal
    return found


def listable(keys: Collection[str]) -> list[list[str]]:
    """The keys of each folder that has enough of them."""
    by_folder = [list(some) for _, some in groupby(sorted(keys, key=_folder_first), key=_folder)]
    return [some for some in by_folder if len(some) >= LIST_FROM]


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _folder_first(key: str) -> tuple[str, str]:
    return _folder(key), key


async def _find_in_listing(bucket: Bucket, keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What a listing says of them; whom it does not decide is left out. Its order is not relied on: stores differ."""
    prefix = commonprefix(list(keys))  # noqa: RUF071, ASYNC240  # keys are texts, not paths
    there: set[str] = set()
    page: str | None = None
    for _ in range(LISTING_PAGES_MAX):
        try:
            part = await bucket.list_page(prefix=prefix, page=page)
        except ProbeFailed:  # may read, may not list: then each key is asked for
            break
        there.update(part.names)
        page = part.next_page
        if page is None:
            return {key: (key,) if key in there else () for key in keys}
        if there.issuperset(keys):
            break
    return {key: (key,) for key in keys if key in there}


# --- wildcards and prefixes --------------------------------------------------------------------------------------


async def _find_names(bucket: Bucket, spec: ObjectKeySpec, key: str) -> tuple[str, ...] | ProbeFailed:
    """Some names that match, all of them for Google's prefixes (they are the XCom); none if there is none."""
    try:
        if isinstance(bucket, GoogleBucket):
            if spec.wildcard:
                return (key,) if await bucket.has_match(key) else ()
            return await _all_names(bucket, key)
        if spec.wildcard:
            return await _first_match(bucket, key)
        folder = key if key.endswith("/") else f"{key}/"
        return (await bucket.list_page(prefix=folder, at_most=1)).names
    except ProbeFailed as refusal:
        return refusal


async def _first_match(bucket: Bucket, pattern: str) -> tuple[str, ...]:
    prefix = re.split(r"[\[*?]", pattern, maxsplit=1)[0]
    page: str | None = None
    while True:
        part = await bucket.list_page(prefix=prefix, page=page)
        for name in part.names:
            if fnmatchcase(name, pattern):
                return (name,)
        if (page := part.next_page) is None:
            return ()


async def _all_names(bucket: Bucket, prefix: str) -> tuple[str, ...]:
    names: list[str] = []
    page: str | None = None
    while True:
        part = await bucket.list_page(prefix=prefix, page=page)
        names += part.names
        if len(names) > NAMES_MAX:
            raise ProbeFailed(
                f"more than {NAMES_MAX} objects begin with {prefix!r}, too many to hand on as an XCom; wait for one of "
                "them with GCSObjectExistenceSensor(use_glob=True)"
            )
        if (page := part.next_page) is None:
            return tuple(names)


# --- the kind ----------------------------------------------------------------------------------------------------


def _observe(spec: ObjectKeySpec, found: Sequence[tuple[str, ...] | ProbeFailed]) -> Observation | ProbeFailed:
    names: list[str] = []
    missing: list[str] = []
    for key, some in zip(spec.keys, found, strict=True):
        if isinstance(some, ProbeFailed):
            return some
        names += some
        if not some:
            missing.append(key)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return Observation(value=ObjectsSeen(is_met=False), summary=f"not there: {missing[0]}{more}")
    xcom = (names if spec.prefix else True) if spec.store == "gcs" else None
    return Observation(
        value=ObjectsSeen(is_met=True, xcom=xcom), summary=f"found {names[0]}" if names else "no key to wait for"
    )


def judge(_predicate: NoPredicate, observation: Observation) -> Verdict:
    """XComs are what Airflow's classes return: nothing for S3; for Google true, or the names below the prefix."""
    seen: ObjectsSeen = observation.value
    return Verdict(met=seen.is_met, xcom=seen.xcom)


def target(spec: ObjectKeySpec, connection: ConnectionFacts | None) -> str:
    """The store's address; its short name for a connection with which the probe will fail anyway."""
    if connection is None:
        return spec.store
    if spec.store == "gcs":
        return endpoint_of(connection)
    try:
        return s3_access(connection).url_of(spec.bucket).removesuffix(f"/{spec.bucket}")
    except ProbeFailed:
        return spec.store


def describe(spec: ObjectKeySpec) -> str:
    scheme = "s3" if spec.store == "s3" else "gs"
    more = f" and {len(spec.keys) - 1} more" if len(spec.keys) > 1 else ""
    first = spec.keys[0] if spec.keys else ""
    return f"{scheme}://{spec.bucket}/{first}{'*' if spec.prefix else ''}{more}"


KIND: SensorKind[Any, Any] = SensorKind(
    name="object_key",
    spec=ObjectKeySpec,
    predicate=NoPredicate,
    describe=describe,
    poke=poke,
    poke_many=poke_many,
    batch_key=lambda spec: f"{spec.store}/{spec.bucket}",
    judge=judge,
    target=target,
)
