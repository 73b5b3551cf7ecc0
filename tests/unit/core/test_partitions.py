"""Keys of partitions. `oracle/partition_keys.jsonl`, `oracle/partition_slots.jsonl`: what the mappers and the
CronPartitionTimetable of apache-airflow-core 3.2.2 said of random questions (a key that was refused: null)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.dag_spec import Timetable
from leoflowd.contract.errors import Invalid
from leoflowd.contract.partition_spec import (
    AllowedKey,
    AssetPartitions,
    Chained,
    CronPartition,
    KeyMapper,
    Product,
    SameKey,
    StartOf,
    check_cron_partition,
    check_partitions,
)
from leoflowd.core.partitions import mapper_for, target_key, validate_mappers
from leoflowd.core.timetable import RunSlot, next_run


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(__file__).parent / "oracle" / name).read_text().splitlines()]


KEYS, SLOTS = rows("partition_keys.jsonl"), rows("partition_slots.jsonl")
DAY = StartOf(unit="day", input_format="%Y-%m-%dT%H:%M:%S", output_format="%Y-%m-%d")


def said(mapper: KeyMapper, key: str) -> str | None:
    try:
        return target_key(mapper, key)
    except ValueError:
        return None


def test_keys_are_mapped_as_in_airflow() -> None:
    differing = [row for row in KEYS if said(msgspec.convert(row["mapper"], KeyMapper), row["key"]) != row["target"]]
    assert differing == []
    assert sum(row["target"] is None for row in KEYS) > 10


def test_the_slots_of_partitions_are_airflows() -> None:
    for row in SLOTS:
        moments = {name: row[name] and datetime.fromisoformat(row[name]) for name in ("now", "start_date", "end_date")}
        at = row["last"] and datetime.fromisoformat(row["last"])
        last = at and RunSlot(logical_date=at, data_interval_start=at, data_interval_end=at, run_after=at)
        timetable = msgspec.convert(row["timetable"], Timetable)
        found = next_run(timetable, last=last, catchup=row["catchup"], **moments)
        shown = None
        if found is not None:
            assert found.partition_date is not None
            shown = [found.run_after.isoformat(), found.partition_date.isoformat(), found.partition_key]
        assert shown == row["next"], row
    assert {row["next"] is None for row in SLOTS} == {True, False}


@given(st.text(max_size=20), st.text(max_size=20))
def test_parts_of_a_product_do_not_meet(one: str, other: str) -> None:
    mapper = Product(of=(SameKey(), AllowedKey(keys=(other,))), delimiter="|")
    if "|" in one + other:
        return
    assert target_key(mapper, f"{one}|{other}") == f"{one}|{other}"


@given(st.dates(min_value=date(1000, 1, 1), max_value=date(9000, 1, 1)), st.times())
def test_a_start_of_a_day_is_its_own(day: date, time: time) -> None:
    once = target_key(DAY, datetime.combine(day, time).strftime(DAY.input_format))
    assert (
        target_key(Chained(of=(DAY, msgspec.structs.replace(DAY, input_format="%Y-%m-%d"))), f"{once}T00:00:00") == once
    )


def test_a_key_says_why_it_is_refused() -> None:
    for mapper, key, words in (
        (AllowedKey(keys=("us",)), "mars", "Key 'mars' not in allowed keys ['us']"),
        (Product(of=(SameKey(), DAY)), "us", "Expected 2 segments in key, got 1"),
        (DAY, "2026", "time data '2026' does not match format"),
        (msgspec.structs.replace(DAY, output_format="%Y" + "x" * 180), "2026-01-01T00:00:00", None),
        (msgspec.structs.replace(DAY, output_format="%c" * 60), "2026-01-01T00:00:00", "more than 250 characters"),
    ):
        if words is None:
            assert len(target_key(mapper, key)) == 184
        else:
            with pytest.raises(ValueError, match=r"\w") as refused:
                target_key(mapper, key)
            assert words in str(refused.value)


def test_an_asset_has_the_mapper_of_its_name_or_its_uri_or_the_default() -> None:
    by_name, by_uri = AllowedKey(keys=("n",)), AllowedKey(keys=("u",))
    partitions = AssetPartitions(by_name={"a": by_name}, by_uri={"u://b": by_uri, "u://a": by_uri}, default=DAY)
    assert mapper_for(partitions, name="a", uri="u://a") is by_name
    assert mapper_for(partitions, name="b", uri="u://b") is by_uri
    assert mapper_for(partitions, name="c", uri="u://c") is DAY


def nested(levels: int) -> KeyMapper:
    return SameKey() if levels == 0 else Chained(of=(nested(levels - 1), SameKey()))


@pytest.mark.parametrize(
    ("mapper", "why"),
    [
        (nested(9), "nested more than 8 levels"),
        (Chained(of=(SameKey(),) * 101), "101 parts"),
        (AllowedKey(keys=("k",) * 10_001), "10001 keys"),
        (AllowedKey(keys=("k\0",)), "an allowed partition key"),
        (msgspec.structs.replace(DAY, input_format=""), "input_format"),
        (msgspec.structs.replace(DAY, output_format="x" * 201), "output_format"),
        (msgspec.structs.replace(DAY, output_format="%c" * 60), "what output_format"),
        (msgspec.structs.replace(DAY, unit="quarter", output_format="{quarter:>99999999}"), "no other braces"),
        (Product(of=(SameKey(), SameKey()), delimiter=""), "the delimiter"),
    ],
)
def test_a_mapper_that_the_daemon_could_not_run_is_refused(mapper: KeyMapper, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        check_partitions(AssetPartitions(by_name={"a": mapper}), "dag 'd'")


def test_a_time_zone_that_nobody_knows_is_refused() -> None:
    for mapper in (DAY, Chained(of=(SameKey(), Product(of=(DAY, SameKey()))))):
        validate_mappers(AssetPartitions(default=mapper))
        there = msgspec.json.encode(mapper).replace(b'"output_format"', b'"timezone":"Mars/Olympus","output_format"')
        with pytest.raises(ValueError, match="time zone 'Mars/Olympus' is unknown"):
            validate_mappers(AssetPartitions(by_uri={"u": msgspec.json.decode(there, type=KeyMapper)}))


def test_formats_of_keys_are_checked() -> None:
    check_cron_partition(CronPartition(), "dag 'd'")
    check_partitions(AssetPartitions(default=nested(7)), "dag 'd'")
    with pytest.raises(Invalid, match="key_format"):
        check_cron_partition(CronPartition(key_format=""), "dag 'd'")
    assert datetime(2026, 1, 1, tzinfo=UTC).strftime(CronPartition().key_format) == "2026-01-01T00:00:00"
