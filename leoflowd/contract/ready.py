"""Types that threads decode. msgspec works out a type at its first use, and two threads that do so at once end the
process with a segmentation fault (seen with 0.22, two projects compiling side by side at a start on a busy machine)."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T", bound=type)


def ready(kind: T) -> T:
    """The type itself, worked out: call it on the event loop, or at import, before any thread decodes into it."""
    msgspec.json.Decoder(kind)
    return kind
