"""Which partition of a DAG an event is for: the key of the event, through the mappers of the DAG's timetable.

The rules are those of Airflow 3.2's mappers, whose words the errors have. Pure; `scheduler.partition_runs` asks.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import assert_never

from leoflowd.contract.asset_spec import PARTITION_KEY_MAX
from leoflowd.contract.partition_spec import (
    QUARTER,
    AllowedKey,
    AssetPartitions,
    Chained,
    KeyMapper,
    Product,
    SameKey,
    StartOf,
)
from leoflowd.core.timetable import from_wall, zone_of


def mapper_for(partitions: AssetPartitions, *, name: str, uri: str) -> KeyMapper:
    return partitions.by_name.get(name) or partitions.by_uri.get(uri) or partitions.default


def validate_mappers(partitions: AssetPartitions) -> None:
    """Raise ValueError for what `contract.partition_spec` cannot know: time zones that are none."""
    ahead = [*partitions.by_name.values(), *partitions.by_uri.values(), partitions.default]
    while ahead:
        mapper = ahead.pop()
        if isinstance(mapper, StartOf):
            zone_of(mapper.timezone)
        elif isinstance(mapper, Chained | Product):
            ahead += mapper.of


def target_key(mapper: KeyMapper, key: str) -> str:
    """Raises ValueError for a key that the mapper does not take."""
    match mapper:
        case SameKey():
            return key
        case AllowedKey(keys=keys):
            if key not in keys:
                raise ValueError(f"Key {key!r} not in allowed keys {list(keys)}")
            return key
        case StartOf():
            return _start_of(mapper, key)
        case Chained(of=parts):
            for part in parts:
                key = target_key(part, key)
            return key
        case Product(of=parts, delimiter=delimiter):
            segments = key.split(delimiter)
            if len(segments) != len(parts):
                raise ValueError(f"Expected {len(parts)} segments in key, got {len(segments)}")
            return delimiter.join(target_key(part, one) for part, one in zip(parts, segments, strict=True))
        case _:
            assert_never(mapper)


def _start_of(mapper: StartOf, key: str) -> str:
    zone = zone_of(mapper.timezone)
    moment = _in_zone(datetime.strptime(key, mapper.input_format), zone)  # noqa: DTZ007  # the format may have one
    text = _start(mapper.unit, moment).strftime(mapper.output_format)
    if mapper.unit == "quarter":
        text = text.replace(QUARTER, str(_quarter(moment)))
    if len(text) > PARTITION_KEY_MAX:
        raise ValueError(f"{text[:50]!r}... has more than {PARTITION_KEY_MAX} characters")
    return text


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    return (from_wall(moment, zone) if moment.tzinfo is None else moment.astimezone(UTC)).astimezone(zone)


def _start(unit: str, moment: datetime) -> datetime:
    if unit == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment - timedelta(days=moment.weekday()) if unit == "week" else moment
    day = day.replace(hour=0, minute=0, second=0, microsecond=0)
    match unit:
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(day=1, month=_quarter(day) * 3 - 2)
        case "year":
            return day.replace(day=1, month=1)
        case _:
            return day


def _quarter(moment: datetime) -> int:
    return (moment.month - 1) // 3 + 1
