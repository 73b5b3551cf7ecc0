"""A password that nobody chose: Lite's first one, and those of `leoflow users`. Shown once, by whoever asked for it."""

from __future__ import annotations

import secrets

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without i, l, o, 0, 1: read from a terminal and typed into a phone."""
GROUPS = 4
GROUP_LENGTH = 5


def generate_password() -> str:
    """A new password, 99 bits in four groups: `k7mqw-3xp9t-ndh4c-zv2ba`."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))
