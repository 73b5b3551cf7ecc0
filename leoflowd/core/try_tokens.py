"""The token of a try: proves that its holder was started for this try, and is good for nothing else."""

from __future__ import annotations

import hmac


def try_token(secret: bytes, try_id: str) -> str:
    """HMAC-SHA256 over the try id, hex. A retry or clear gives a new id, so the old token dies with its try."""
    return hmac.new(secret, b"try:" + try_id.encode(), "sha256").hexdigest()


def is_try_token(secret: bytes, try_id: str, token: str) -> bool:
    return hmac.compare_digest(try_token(secret, try_id), token)
