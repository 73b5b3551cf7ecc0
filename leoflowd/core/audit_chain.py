"""The chain over the audit log: each seal is made of the row, its place, and the seal before it. ADR 86, 101.

Made by `scheduler.audit_seals`, checked by `store.audit_seals.verify`. Whoever changes, removes or inserts a sealed row
has to make all later seals anew, for which he needs the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

BEGINNING = bytes(32)
"""What the first seal follows."""
UNKEYED = ""
"""Key id where there is no key: such a chain shows mistakes, and no ill will of whoever can write the database."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `event_log`, as it is stored."""

    id: int
    occurred_at: datetime
    event: str
    owner: str | None
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None
    try_number: int | None
    logical_date: datetime | None
    extra: str | None
    client: str | None


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A link of the chain. `row` None: the row that it seals is gone."""

    position: int
    event_id: int
    key_id: str
    seal: bytes
    row: AuditRow | None


class Break(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where the log is not what was sealed."""

    position: int
    event_log_id: int | None
    because: str


def seal(key: bytes, before: bytes, position: int, row: AuditRow) -> bytes:
    """32 bytes. `key` is empty where there is none."""
    values = [_plain(value) for value in msgspec.structs.astuple(row)]
    return hmac.new(key, before + msgspec.json.encode([position, *values]), hashlib.sha256).digest()


def _plain(value: object) -> object:
    """A moment is the same in each session's time zone."""
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the chain, or of a part of it. Whoever keeps it elsewhere can tell later that nothing was cut off."""

    position: int = 0
    seal: bytes = BEGINNING
    is_keyed: bool = False


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The last row that was removed for its age: what the first row that is left follows."""

    position: int
    seal: bytes
    is_keyed: bool
    """Whether that row was sealed with a key."""
    removed_before: datetime
    """So old was all that was removed."""
    key_id: str
    """Of `proof`, which is of its own time: rows that were sealed without a key go under one that came later."""
    proof: bytes
    """As `proof` makes it."""

    @property
    def head(self) -> Head:
        return Head(position=self.position, seal=self.seal, is_keyed=self.is_keyed)


def proof(key: bytes, head: Head, removed_before: datetime) -> bytes:
    """32 bytes that show who removed the rows up to there. `key` is empty where there is none."""
    said = msgspec.json.encode([head.position, head.seal.hex(), head.is_keyed, _plain(removed_before)])
    return hmac.new(key, b"removed " + said, hashlib.sha256).digest()


def why_no_beginning(checkpoint: Checkpoint, following: Sealed | None, keys: Mapping[str, bytes]) -> str | None:
    """Why the chain cannot begin there, at the first row that is left; None: it can.

    Where there is a key it is used, and the newest row is never removed: so what proves nothing (a checkpoint without
    a key) is never followed by a row with one.
    """
    if checkpoint.key_id not in keys:
        return f"the rows before it were removed under the key {checkpoint.key_id!r}, which this server does not have"
    made = proof(keys[checkpoint.key_id], checkpoint.head, checkpoint.removed_before)
    if not hmac.compare_digest(made, checkpoint.proof):
        return "the rows before it were removed by somebody who does not have the key"
    if checkpoint.key_id == UNKEYED and following is not None and following.key_id != UNKEYED:
        return "the rows before it were removed without a key, and it was sealed with one"
    return None


def removable(links: Sequence[Sealed], before: datetime, *, is_all: bool) -> Sequence[Sealed]:
    """Of unbroken links in order, the oldest that may go: all older, up to the first that is not. `is_all`: these reach
    the end of the chain, whose last link stays for the next one to follow."""
    count = 0
    while count < len(links) - is_all and (row := links[count].row) is not None and row.occurred_at < before:
        count += 1
    return links[:count]


def first_break(head: Head, links: Sequence[Sealed], keys: Mapping[str, bytes]) -> Break | None:
    """In links in order of their position, which follow `head`; `keys` by their ids."""
    before, is_keyed = head.seal, head.is_keyed
    for expected, link in enumerate(links, start=head.position + 1):
        if link.position != expected:
            return Break(position=expected, event_log_id=None, because="its seal was removed")
        because = _why_broken(before, link, keys)
        if is_keyed and link.key_id == UNKEYED:
            because = "it was sealed without a key, after others with one"
        if because is not None:
            return Break(position=link.position, event_log_id=link.event_id, because=because)
        before, is_keyed = link.seal, link.key_id != UNKEYED
    return None


def _why_broken(before: bytes, link: Sealed, keys: Mapping[str, bytes]) -> str | None:
    if link.row is None:
        return "the row was removed"
    if link.key_id not in keys:
        return f"it cannot be checked: the key {link.key_id!r} that sealed it is not among the keys of this server"
    if not hmac.compare_digest(seal(keys[link.key_id], before, link.position, link.row), link.seal):
        return "the row or its seal was changed"
    return None
