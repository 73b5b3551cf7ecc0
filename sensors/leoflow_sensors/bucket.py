"""What kind `object_key` asks of an object store, whichever it is.

Credentials are those of the connection and no others. The daemon's own identity (an instance's role, a mounted service
account) is never used: whoever writes a DAG would borrow it.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

PAGE = 500
"""Names per listing: of the longest (1,024 bytes, up to thrice that when encoded) a page nears the client's 1 MiB."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a listing."""

    names: tuple[str, ...]
    next_page: str | None = None
    """Token of the next part; None: this is the last."""


class Bucket(Protocol):
    """Each call is one request (or two, with a login); raises `ProbeFailed`, `ProbeThrottled`, `TargetDown`."""

    async def has(self, key: str) -> bool: ...

    async def list_page(self, *, prefix: str, page: str | None = None, at_most: int = PAGE) -> Page: ...
