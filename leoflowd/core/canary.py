"""A canary: a version that gets a share of a DAG's new runs until somebody promotes it, or too many of them fail.

ADR 81. Pure: which runs it gets follows from their ids, so that asking again answers the same; what becomes of it
follows from how its runs ended. Asked by `store.canaries`, which writes the answer down.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec

_PARTS = 10_000
SHARE_MAX, FAILURES_MAX = 99, 99
"""Percent. All runs are no canary, and more than all of them cannot fail."""
AFTER_MAX = 10_000


class CanaryTerms(msgspec.Struct, frozen=True, kw_only=True):
    """`share`: percent of the new runs. `rollback_above`: percent of its ended runs that may fail, judged when
    `after` of them have ended."""

    share: Annotated[int, msgspec.Meta(ge=1, le=SHARE_MAX)]
    rollback_above: Annotated[int, msgspec.Meta(ge=0, le=FAILURES_MAX)] = 20
    after: Annotated[int, msgspec.Meta(ge=1, le=AFTER_MAX)] = 10


class Tally(msgspec.Struct, frozen=True):
    """Of the runs that a canary got."""

    runs: int
    succeeded: int
    failed: int

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed


def gets_canary(dag_id: str, run_id: str, share: int) -> bool:
    """Is this run of the new version? What a share gets, every larger one gets too."""
    digest = hashlib.sha256(f"canary\0{dag_id}\0{run_id}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) % _PARTS < share * (_PARTS // 100)


def why_roll_back(terms: CanaryTerms, tally: Tally) -> str | None:
    """None: it may go on."""
    if tally.ended < terms.after or tally.failed * 100 <= terms.rollback_above * tally.ended:
        return None
    rate = tally.failed * 100 // tally.ended
    return f"{tally.failed} of its {tally.ended} ended runs failed ({rate} %), more than {terms.rollback_above} %"
