"""How often a password may be guessed, and how many are hashed at once. ADR 23. Called by `auth` alone.

An attempt counts before its password is hashed, or guesses that are sent together would all get through. It counts for
its address *and* its user name: wrong passwords from one address lock nobody out who comes from another.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from leoflowd.contract.errors import TooManyRequests

FAILURES_MAX = 10
FAILURE_WINDOW_S = 60
"""Ten wrong passwords a minute, address and user: more than a person mistypes, far too few to guess with."""
REMEMBERED_MAX = 10_000
"""Pairs remembered; the oldest is forgotten first, so that a flood cannot fill the memory."""
HASHES_OF_ONE_MAX, HASHES_MAX = 4, 32
"""Passwords that wait for their hash or are hashed, of one address and of all: 32 take about a second of two cores."""


class LoginLimits:
    def __init__(self) -> None:
        self._attempts: OrderedDict[bytes, list[datetime]] = OrderedDict()
        self._hashing: Counter[str] = Counter()

    @contextmanager
    def attempt(self, address: str, username: str, now: datetime) -> Iterator[None]:
        """Around the hash of one password. Leaving it without an exception forgives the attempts before, too.

        Raises `TooManyRequests`; what is refused so is not counted.
        """
        key = _key(address, username)
        recent = self._recent(key, now)
        if len(recent) >= FAILURES_MAX:
            wait_s = max(1, FAILURE_WINDOW_S - int((now - recent[0]).total_seconds()))
            message = f"Too many failed logins from {address} for this user; try again in {wait_s} s"
            raise TooManyRequests(message, retry_after_s=wait_s)
        if self._hashing[address] >= HASHES_OF_ONE_MAX or self._hashing.total() >= HASHES_MAX:
            raise TooManyRequests("Too many logins at the same time; try again in a second", retry_after_s=1)
        self._attempts[key] = [*recent, now]
        self._attempts.move_to_end(key)
        while len(self._attempts) > REMEMBERED_MAX:
            self._attempts.popitem(last=False)
        self._hashing[address] += 1
        try:
            yield
        finally:
            self._hashing -= Counter({address: 1})
        self._attempts.pop(key, None)

    def _recent(self, key: bytes, now: datetime) -> list[datetime]:
        since = now - timedelta(seconds=FAILURE_WINDOW_S)
        return [at for at in self._attempts.get(key, ()) if at > since]


def _key(address: str, username: str) -> bytes:
    """Of one size, however long the name; names that nobody has are counted like others, so that none stands out."""
    return hashlib.blake2b(f"{address}\0{username}".encode(), digest_size=16).digest()
