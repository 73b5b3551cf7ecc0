"""Seals of the audit log: added in batches by the leader, checked from the first on when somebody asks, and removed
with their rows when these are too old. ADR 86, 101."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import trio

from leoflowd.contract.errors import Invalid
from leoflowd.core.audit_chain import (
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
from leoflowd.store.api_lists import Json, list_rows
from leoflowd.store.database import (
    AnyLane,
    Connection,
    execute,
    fetch_all,
    fetch_one,
    fetch_value,
    long_statement,
    statements,
)
from leoflowd.store.event_log import insert_event

_SQL = statements("audit_seals")

ADVISORY_LOCK = 0x1E0F12
"""`migrations` and `leadership` have the two before it."""
BATCH = 500
"""Rows sealed in one transaction, or checked in one thread: some 10 ms of CPU."""
ROWS_MAX = 50_000
"""That one call checks: seconds, also of a slow machine."""
OURSELVES = "leoflowd"
"""Instead of an address, for what the daemon does to the log itself."""
_ROW_FIELDS = AuditRow.__struct_fields__


class Report(msgspec.Struct, frozen=True, kw_only=True):
    head: Head
    checked: int
    open: int
    """Written and not sealed yet: those of the last second, or more while nobody leads."""
    is_complete: bool
    """Was the end reached? Else the next call goes on after `head`."""
    unkeyed: int
    """Of these: sealed without a key: whoever writes the database could have made these seals anew."""
    broken: Break | None
    removed: int
    """Rows that were removed for their age; `checked` does not count them."""
    removed_before: datetime | None


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    count: int
    broken: Break | None
    """Why no more is removed."""


class _Open(msgspec.Struct, frozen=True):
    open: int
    lost: int
    first_lost: int | None


async def seal_open(conn: Connection, *, key_id: str, key: bytes) -> Head | None:
    """Seal a batch of what is not sealed, in the caller's transaction; the new head, or None when there was nothing."""
    await execute(conn, _SQL.lock_chain, key=ADVISORY_LOCK)
    rows = await fetch_all(conn, _SQL.list_open, AuditRow, limit=BATCH)
    if not rows:
        return None
    head = await fetch_one(conn, _SQL.fetch_head, Head) or Head()
    before, positions, seals = head.seal, [], []
    for position, row in enumerate(rows, start=head.position + 1):
        before = seal(key, before, position, row)
        positions.append(position)
        seals.append(before)
    values: dict[str, Any] = {"event_ids": [row.id for row in rows], "positions": positions, "seals": seals}
    await execute(conn, _SQL.mark_sealed, key_id=key_id, **values)
    return Head(position=positions[-1], seal=before, is_keyed=key_id != UNKEYED)


async def remove_sealed(
    conn: Connection, keys: Mapping[str, bytes], *, key_id: str, before: datetime, now: datetime
) -> Removed:
    """Remove a batch of what is older than `before`, from the beginning of the chain, in the caller's transaction, and
    say in the log that it was done. What is broken stays, with all that follows: it is evidence.

    `keys` by id, `key_id` that which proves it.
    """
    await execute(conn, _SQL.lock_chain, key=ADVISORY_LOCK)
    beginning, broken = await _begin(conn, keys)
    links = await _links_after(conn, beginning.head.position)
    if broken is None:
        broken = await trio.to_thread.run_sync(partial(first_break, beginning.head, links, keys))
    if broken is not None:
        links = [link for link in links if link.position < broken.position]
    old = removable(links, before, is_all=broken is None and len(links) < BATCH)
    if not old:
        return Removed(count=0, broken=broken)
    end = _head_at(old[-1])
    values: dict[str, Any] = {"key_id": key_id, "proof": proof(keys[key_id], end, before), "removed_before": before}
    await execute(conn, _SQL.put_checkpoint, **msgspec.structs.asdict(end), **values)
    await execute(conn, _SQL.remove_sealed, position=end.position)
    extra = {"rows": len(old), "up_to": end.position, "seal": end.seal.hex(), "older_than": before.isoformat()}
    await insert_event(conn, now=now, event="remove_audit_rows", owner=None, extra=extra, client=OURSELVES)
    return Removed(count=len(old), broken=broken)


async def remove_unsealed(conn: Connection, before: datetime) -> int:
    """A batch of what was not done through the API, and is in no chain."""
    return await execute(conn, _SQL.remove_unsealed, before=before, limit=BATCH)


async def verify(lane: AnyLane, keys: Mapping[str, bytes], *, after: Head | None, expected: Head | None) -> Report:
    """Check the seals in order, after the head that an earlier call ended with or from the first on: up to the first
    that is broken, or as many as one call takes; with the last of them, that no row is without one.

    `keys` by id. `expected`: a head that was kept elsewhere, which has to be in the chain still; raises `Invalid` for
    one whose row was removed for its age.
    """
    unkeyed, is_complete = 0, False
    async with lane.connection() as conn:
        beginning, broken = await _begin(conn, keys)
        head = beginning.head
        if broken is None and after is not None and after.position > head.position:
            head, broken = await _find_kept(conn, after, beginning)
    last = head.position + ROWS_MAX
    while broken is None and not is_complete and head.position < last:
        async with lane.connection() as conn:
            links = await _links_after(conn, head.position)
        broken = await trio.to_thread.run_sync(partial(first_break, head, links, keys))
        is_complete = len(links) < BATCH
        if broken is None and links:
            unkeyed += sum(link.key_id == UNKEYED for link in links)
            head = _head_at(links[-1])
    async with lane.connection() as conn:
        left = await fetch_one(conn, _SQL.count_open, _Open)
        assert left is not None
        if broken is None and expected is not None:
            _, broken = await _find_kept(conn, expected, beginning)
        if broken is None and is_complete:
            broken = await _beside_the_chain(conn, beginning.head, head, left)
    end_of_good = head.position if broken is None else min(head.position + BATCH, broken.position - 1)
    return Report(
        head=head,
        checked=max(0, end_of_good - beginning.head.position),
        open=left.open,
        unkeyed=unkeyed,
        is_complete=is_complete,
        broken=broken,
        removed=beginning.head.position,
        removed_before=beginning.removed_before,
    )


class _Beginning(msgspec.Struct, frozen=True):
    head: Head = Head()
    removed_before: datetime | None = None


async def _begin(conn: Connection, keys: Mapping[str, bytes]) -> tuple[_Beginning, Break | None]:
    """What the first row that is left follows; broken when it cannot be that."""
    checkpoint = await fetch_one(conn, _SQL.fetch_checkpoint, Checkpoint)
    beginning = _Beginning() if checkpoint is None else _Beginning(checkpoint.head, checkpoint.removed_before)
    first = await _links_after(conn, beginning.head.position, limit=1)
    because = checkpoint and why_no_beginning(checkpoint, next(iter(first), None), keys)
    if not because:
        return beginning, None
    return beginning, Break(position=beginning.head.position + 1, event_log_id=None, because=because)


async def _links_after(conn: Connection, position: int, limit: int | None = None) -> list[Sealed]:
    """By default a batch."""
    return [_link(row) for row in await list_rows(conn, _SQL.list_sealed, after=position, limit=limit or BATCH)]


def _head_at(link: Sealed) -> Head:
    return Head(position=link.position, seal=link.seal, is_keyed=link.key_id != UNKEYED)


async def _find_kept(conn: Connection, kept: Head, beginning: _Beginning) -> tuple[Head, Break | None]:
    """A head as it is stored; broken where there is another one in its place, or none."""
    if kept.position < beginning.head.position:
        raise Invalid(
            f"the row at position {kept.position} was removed for its age, with all before "
            f"{beginning.removed_before}; give a head of a position from {beginning.head.position} on"
        )
    found = await fetch_one(conn, _SQL.fetch_head_at, Head, position=kept.position)
    if kept.position == beginning.head.position:
        found = beginning.head
    if found is not None and found.seal == kept.seal:
        return found, None
    because = "the seal that was kept elsewhere is not there: the log was cut off before it, or sealed anew"
    return kept, Break(position=kept.position, event_log_id=None, because=because)


async def _beside_the_chain(conn: Connection, beginning: Head, head: Head, left: _Open) -> Break | None:
    """What no seal that is there can tell."""
    event_id = await fetch_value(conn, _SQL.fetch_out_of_place, position=beginning.position)
    if event_id is not None:
        because = "the row was put at a place in the chain that was removed"
        return Break(position=beginning.position, event_log_id=event_id, because=because)
    if left.first_lost is not None:
        because = "the row was removed before it was sealed"
        return Break(position=head.position + 1, event_log_id=left.first_lost, because=because)
    async with long_statement(conn):
        event_id = await fetch_value(conn, _SQL.fetch_unsealed_row)
    if event_id is None:
        return None
    because = "the row says that it came through the API, and has no seal: it was put there, or its seal removed"
    return Break(position=head.position + 1, event_log_id=event_id, because=because)


def _link(row: Json) -> Sealed:
    found = None if row["id"] is None else AuditRow(**{name: row[name] for name in _ROW_FIELDS})
    return Sealed(
        position=row["position"],
        event_id=row["event_id"],
        key_id=row["key_id"],
        seal=bytes(row["seal"]),
        row=found,
    )


async def list_events(conn: Connection, *, owner: str | None, event: str | None, limit: int, offset: int) -> list[Json]:
    """What was done through the API, newest first, with the address it came from and the place in the chain."""
    return await list_rows(conn, _SQL.list_events, owner=owner, event=event, limit=limit, offset=offset)
