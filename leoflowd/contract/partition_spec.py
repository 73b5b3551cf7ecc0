"""Partitions of assets (ADR 57): which partition a run is for, and how keys of events become keys of runs.

Each mapper is one class of Airflow's; `core.partitions` maps. Whatever an author may write here runs in the daemon:
formats are short and hold nothing but what `checked_mapper` lets through.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeAlias

import msgspec

from leoflowd.contract.asset_spec import PARTITION_KEY_MAX
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import checked_text

DEPTH_MAX = 8
"""Mappers inside of mappers."""
PARTS_MAX = 100
ALLOWED_MAX = 10_000
OFFSET_MAX = 1_000
FORMAT_MAX = 200
QUARTER = "{quarter}"
"""The one field that the format of a quarter may have besides those of `strftime`."""


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base."""


class CronPartition(_Spec, frozen=True, kw_only=True):
    """Of `CronPartitionTimetable`: its runs have a partition instead of a logical date."""

    key_format: str = "%Y-%m-%dT%H:%M:%S"
    """For `strftime`, of the partition's moment in UTC."""
    offset: Annotated[int, msgspec.Meta(ge=-OFFSET_MAX, le=OFFSET_MAX)] = 0
    """So many slots of the schedule lies that moment after the run's own."""


class SameKey(_Spec, frozen=True, kw_only=True, tag="identity"):
    """`IdentityMapper`"""


class AllowedKey(_Spec, frozen=True, kw_only=True, tag="allowed"):
    """`AllowedKeyMapper`"""

    keys: tuple[str, ...]


class StartOf(_Spec, frozen=True, kw_only=True, tag="start_of"):
    """`StartOfHourMapper` and its kin."""

    unit: Literal["hour", "day", "week", "month", "quarter", "year"]
    input_format: str
    output_format: str
    timezone: str = "UTC"


class Chained(_Spec, frozen=True, kw_only=True, tag="chain"):
    """`ChainMapper`: one after the other."""

    of: tuple[KeyMapper, ...]


class Product(_Spec, frozen=True, kw_only=True, tag="product"):
    """`ProductMapper`: each its own part of the key."""

    of: tuple[KeyMapper, ...]
    delimiter: str = "|"


KeyMapper: TypeAlias = SameKey | AllowedKey | StartOf | Chained | Product


class AssetPartitions(_Spec, frozen=True, kw_only=True):
    """Of `PartitionedAssetTimetable`: how the key of an event becomes that of the run."""

    by_name: dict[str, KeyMapper] = {}
    by_uri: dict[str, KeyMapper] = {}
    """Of the assets that have one of their own."""
    default: KeyMapper = SameKey()


def check_partitions(partitions: AssetPartitions, who: str) -> None:
    """Raises `Invalid`."""
    for mapper in (*partitions.by_name.values(), *partitions.by_uri.values(), partitions.default):
        _check_mapper(mapper, who, DEPTH_MAX)


def check_cron_partition(partition: CronPartition, who: str) -> None:
    """Raises `Invalid`."""
    _check_format(partition.key_format, "key_format", who)


def _check_mapper(mapper: KeyMapper, who: str, levels: int) -> None:
    if levels == 0:
        raise Invalid(f"the partition mappers of {who} are nested more than {DEPTH_MAX} levels deep")
    match mapper:
        case AllowedKey(keys=keys):
            if len(keys) > ALLOWED_MAX:
                raise Invalid(
                    f"a partition mapper of {who} allows {len(keys)} keys; at most {ALLOWED_MAX} are possible"
                )
            for key in keys:
                checked_text(key, f"an allowed partition key of {who}", max_length=PARTITION_KEY_MAX, allow_empty=True)
        case StartOf(unit=unit):
            _check_format(mapper.input_format, "input_format", who)
            has_quarter = unit == "quarter"
            _check_format(
                mapper.output_format.replace(QUARTER, "") if has_quarter else mapper.output_format, "output_format", who
            )
            if has_quarter and re.search("[{}]", mapper.output_format.replace(QUARTER, "")):
                raise Invalid(f"output_format {mapper.output_format!r} of {who} may have {QUARTER} and no other braces")
        case Chained(of=parts) | Product(of=parts):
            if len(parts) > PARTS_MAX:
                raise Invalid(f"a partition mapper of {who} has {len(parts)} parts; at most {PARTS_MAX} are possible")
            for part in parts:
                _check_mapper(part, who, levels - 1)
            if isinstance(mapper, Product):
                checked_text(
                    mapper.delimiter, f"the delimiter of a partition mapper of {who}", max_length=PARTITION_KEY_MAX
                )
        case SameKey():
            pass


def _check_format(text: str, what: str, who: str) -> None:
    checked_text(text, f"{what} of {who}", max_length=FORMAT_MAX)
    try:
        shown = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC).strftime(text)
    except ValueError as error:
        raise Invalid(f"{what} {text!r} of {who} is no format of a moment: {error}") from error
    checked_text(shown, f"what {what} {text!r} of {who} gives", max_length=PARTITION_KEY_MAX)
