"""Whatever is done to a sealed row or to a seal is found, and named by its place. ADR 86."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.core.audit_chain import (
    BEGINNING,
    UNKEYED,
    AuditRow,
    Break,
    Checkpoint,
    Head,
    Sealed,
    first_break,
    proof,
    removable,
    seal,
    why_no_beginning,
)

KEYS = {"k1": b"one", "k2": b"two", UNKEYED: b""}
ROW = AuditRow(
    id=7,
    occurred_at=datetime(2026, 11, 21, 3, tzinfo=UTC),
    event="patch_user",
    owner="ana",
    dag_id=None,
    run_id=None,
    task_id=None,
    map_index=None,
    try_number=None,
    logical_date=None,
    extra='{"username": "bob"}',
    client="10.0.0.7",
)
OTHERS: dict[str, Any] = {
    "id": 8,
    "occurred_at": ROW.occurred_at + timedelta(microseconds=1),
    "event": "delete_user",
    "owner": None,
    "dag_id": "etl",
    "run_id": "r",
    "task_id": "t",
    "map_index": 0,
    "try_number": 1,
    "logical_date": ROW.occurred_at,
    "extra": '{"username": "eve"}',
    "client": None,
}


def chain(rows: list[AuditRow], key_ids: list[str] | None = None) -> list[Sealed]:
    links, before = [], BEGINNING
    for position, (row, key_id) in enumerate(zip(rows, key_ids or ["k1"] * len(rows), strict=True), start=1):
        before = seal(KEYS[key_id], before, position, row)
        links.append(Sealed(position=position, event_id=row.id, key_id=key_id, seal=before, row=row))
    return links


def rows(count: int) -> list[AuditRow]:
    return [msgspec.structs.replace(ROW, id=number) for number in range(10, 10 + count)]


def broken_at(links: list[Sealed]) -> int | None:
    found = first_break(Head(), links, KEYS)
    return None if found is None else found.position


def test_what_was_not_touched_is_whole() -> None:
    assert broken_at(chain(rows(5), ["k1", "k1", "k2", "k2", "k1"])) is None
    assert broken_at([]) is None


def test_a_chain_is_checked_in_parts() -> None:
    links = chain(rows(5))
    head = Head(position=3, seal=links[2].seal, is_keyed=True)
    assert first_break(head, links[3:], KEYS) is None
    assert first_break(Head(position=3, seal=links[1].seal), links[3:], KEYS) is not None


@pytest.mark.parametrize("field", OTHERS)
def test_a_change_of_any_field_is_found(field: str) -> None:
    links = chain([*rows(2), ROW, *rows(2)])
    assert OTHERS.keys() == set(AuditRow.__struct_fields__)
    changed = msgspec.structs.replace(ROW, **{field: OTHERS[field]})
    links[2] = msgspec.structs.replace(links[2], row=changed)
    assert broken_at(links) == 3


def test_texts_do_not_run_into_each_other() -> None:
    one = msgspec.structs.replace(ROW, run_id="a", task_id=None)
    other = msgspec.structs.replace(ROW, run_id=None, task_id="a")
    assert seal(b"k", BEGINNING, 1, one) != seal(b"k", BEGINNING, 1, other)


def test_a_moment_is_the_same_in_every_time_zone() -> None:
    there = msgspec.structs.replace(ROW, occurred_at=ROW.occurred_at.astimezone(timezone(timedelta(hours=5))))
    assert seal(b"k", BEGINNING, 1, there) == seal(b"k", BEGINNING, 1, ROW)


@given(count=st.integers(2, 8), at=st.integers(0, 7), what=st.sampled_from(["row", "link", "swap", "reseal", "again"]))
def test_the_first_place_is_named(count: int, at: int, what: str) -> None:
    links, at = chain(rows(count)), at % (count - 1)
    match what:
        case "row":
            links[at] = msgspec.structs.replace(links[at], row=None)
        case "link":
            del links[at]
        case "swap":
            one, other = links[at], links[at + 1]
            links[at] = msgspec.structs.replace(one, row=other.row)
            links[at + 1] = msgspec.structs.replace(other, row=one.row)
        case "reseal":  # by somebody who has not the key
            before = links[at - 1].seal if at else BEGINNING
            row = links[at].row
            assert row is not None
            links[at] = msgspec.structs.replace(links[at], seal=seal(b"guessed", before, at + 1, row))
        case "again":
            links.insert(at, links[at])
            at += 1
    assert broken_at(links) == at + 1


def test_a_key_that_is_gone_is_said() -> None:
    found = first_break(Head(), chain(rows(2), ["k1", "k2"]), {"k1": b"one"})
    assert found == Break(position=2, event_log_id=11, because=found.because if found else "")
    assert found is not None
    assert "'k2'" in found.because


def test_nobody_goes_on_without_a_key_after_seals_with_one() -> None:
    """Or whoever has none would seal anew from some place on."""
    assert broken_at(chain(rows(3), [UNKEYED, "k1", "k1"])) is None
    assert broken_at(chain(rows(3), ["k1", UNKEYED, UNKEYED])) == 2
    links = chain(rows(2), ["k1", UNKEYED])
    head = Head(position=1, seal=links[0].seal, is_keyed=True)
    assert first_break(head, links[1:], KEYS) is not None


# --- where it begins, once its oldest rows were removed ---------------------------------------------------------------

DAY = datetime(2026, 8, 1, tzinfo=UTC)


def checkpoint(link: Sealed, key_id: str = "k1") -> Checkpoint:
    head = Head(position=link.position, seal=link.seal, is_keyed=link.key_id != UNKEYED)
    made = proof(KEYS[key_id], head, DAY)
    return Checkpoint(**msgspec.structs.asdict(head), removed_before=DAY, key_id=key_id, proof=made)


def test_the_rest_of_a_chain_follows_its_checkpoint() -> None:
    links = chain(rows(5))
    begun = checkpoint(links[1])
    assert why_no_beginning(begun, links[2], KEYS) is None
    assert first_break(begun.head, links[2:], KEYS) is None
    assert first_break(begun.head, links[3:], KEYS) is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"position": 3},
        {"seal": bytes(32)},
        {"is_keyed": False},
        {"removed_before": DAY + timedelta(days=1)},
        {"proof": bytes(32)},
        {"key_id": "k2"},
        {"key_id": UNKEYED},
        {"key_id": "k3"},
    ],
)
def test_a_checkpoint_that_was_changed_is_no_beginning(changed: dict[str, Any]) -> None:
    links = chain(rows(5))
    forged = msgspec.structs.replace(checkpoint(links[1]), **changed)
    assert why_no_beginning(forged, links[2], KEYS) is not None


def test_without_a_key_only_what_was_sealed_without_one_is_removed() -> None:
    """Else whoever writes the database makes a checkpoint by himself, and the chain seems to begin there."""
    mixed = chain(rows(4), [UNKEYED, UNKEYED, "k1", "k1"])
    assert why_no_beginning(checkpoint(mixed[0], UNKEYED), mixed[1], KEYS) is None
    assert why_no_beginning(checkpoint(mixed[1], UNKEYED), mixed[2], KEYS) is not None
    assert why_no_beginning(checkpoint(mixed[1], "k1"), mixed[2], KEYS) is None


def test_rows_that_were_sealed_before_there_was_a_key_go_under_one_that_came_later() -> None:
    mixed = chain(rows(4), [UNKEYED, UNKEYED, "k1", "k1"])
    begun = checkpoint(mixed[0], "k1")
    assert why_no_beginning(begun, mixed[1], KEYS) is None
    assert first_break(begun.head, mixed[1:], KEYS) is None
    assert first_break(checkpoint(mixed[2]).head, chain(rows(4), ["k1", "k1", "k1", UNKEYED])[3:], KEYS) is not None


def test_what_may_go_is_the_oldest_up_to_the_first_that_is_not_too_old() -> None:
    old, new = DAY - timedelta(seconds=1), DAY
    links = chain([msgspec.structs.replace(ROW, occurred_at=moment) for moment in (old, old, new, old)])
    assert removable(links, DAY, is_all=False) == links[:2]
    assert removable(links[:2], DAY, is_all=False) == links[:2]
    assert removable(links[:2], DAY, is_all=True) == links[:1]
    assert not removable([], DAY, is_all=True)
    gone = [msgspec.structs.replace(links[0], row=None), links[1]]
    assert not removable(gone, DAY, is_all=False)
