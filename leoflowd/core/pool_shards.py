"""Which daemon watches which waits: the ids of waits fall into shards, and the daemons that live share these out. Pure.

`cheap_tasks.shards` asks with what the lock table of Postgres says, so that nobody decides on memory (ADR 62).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec

SHARD_BITS = 6
SHARDS = 1 << SHARD_BITS
ALL_SHARDS = frozenset(range(SHARDS))
_SHIFT = 128 - SHARD_BITS
MEMBERS_FROM = SHARDS
"""Numbers below it are shards, those from it on are daemons: one space of locks for both."""


def shard_of(number: int) -> int:
    """Of a wait by its id as a number: ids are random, so that their first bits are a hash."""
    return number >> _SHIFT


def home_of(shard: int, members: Collection[int]) -> int:
    """Who of them is to watch it: the highest of hashes, so that one who comes or goes moves its own share alone."""
    return max(members, key=lambda member: hashlib.blake2b(f"{shard}/{member}".encode(), digest_size=8).digest())


class Shift(msgspec.Struct, frozen=True):
    """What one daemon changes now."""

    claim: frozenset[int]
    give_up: frozenset[int]


def plan_shift(me: int, members: Collection[int], held: Collection[int], taken: Collection[int]) -> Shift:
    """`members`: all daemons that live; `held` shards are mine, `taken` anybody's.

    A shard goes home in two steps: who has it gives it up, and its home claims what is free.
    """
    everybody = {me, *members}
    mine = frozenset(shard for shard in ALL_SHARDS if home_of(shard, everybody) == me)
    return Shift(claim=mine - frozenset(taken), give_up=frozenset(held) - mine)
