"""What the objects of a log are called, and which of them hold which bytes. Pure.

`<dag_id>/<run_id>@<dag_run.id>/<task_id>[/map_index]/attempt=<n>/` holds one try's log:

* `<offset>`: a segment, created once and never written again. Whoever appends creates the next one at the end that it
  knows of; of two that do, one is told that it is there. So segments make one chain, however many daemons wrote it.
* `<offset>-<end>`: several small segments, joined; they are deleted after it is there.
* `leg-<try id>-<offset>`: where the part of a later process of the try begins. Empty.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, unquote

import msgspec

from leoflowd.contract.logs import TryLog

PART_MAX = 200
"""Characters of one part of a name; S3 allows 1,024 bytes for all of them."""
_LEG = "leg-"
_NAME = re.compile(r"(?P<offset>\d{16})(-\d{16})?|leg-(?P<try_id>.+)-(?P<begins_at>\d+)")


class Segment(msgspec.Struct, frozen=True):
    """Bytes `offset` to `end` of a log."""

    name: str
    offset: int
    end: int


class Piece(msgspec.Struct, frozen=True):
    """Part of a segment: `start` counts from its beginning."""

    name: str
    start: int
    length: int


class Listing(msgspec.Struct, frozen=True):
    """One log, as it is stored."""

    segments: tuple[Segment, ...]
    """By offset."""
    legs: dict[str, int]
    """By try id: where its part begins."""

    @property
    def end(self) -> int:
        return max((segment.end for segment in self.segments), default=0)


def run_folder(dag_id: str, run_id: str, dag_run_id: int) -> str:
    return f"{_part(dag_id)}/{_part(run_id)}@{dag_run_id}"


def log_folder(log: TryLog) -> str:
    instance = _part(log.task_id) if log.map_index < 0 else f"{_part(log.task_id)}/{log.map_index}"
    return f"{run_folder(log.dag_id, log.run_id, log.dag_run_id)}/{instance}/attempt={log.try_number}"


def segment_name(folder: str, offset: int) -> str:
    return f"{folder}/{offset:016d}"


def joined_name(folder: str, offset: int, end: int) -> str:
    return f"{folder}/{offset:016d}-{end:016d}"


def leg_name(folder: str, try_id: str, begins_at: int) -> str:
    return f"{folder}/{_LEG}{_part(try_id)}-{begins_at}"


def read_listing(items: Iterable[tuple[str, int]]) -> Listing:
    """From the (name, size) of all objects in the folder of a log."""
    segments, legs = [], {}
    for name, size in items:
        known = _NAME.fullmatch(name.rpartition("/")[2])
        if known is None:
            continue  # whatever it is, it is none of ours
        if known["offset"]:
            segments.append(Segment(name, int(known["offset"]), int(known["offset"]) + size))
        else:
            legs[unquote(known["try_id"].replace("!", "%"))] = int(known["begins_at"])
    return Listing(tuple(sorted(segments, key=lambda s: (s.offset, s.end))), legs)


def pieces_of(segments: Sequence[Segment], offset: int, max_bytes: int) -> tuple[Piece, ...]:
    """Where the bytes from `offset` on are, without a gap and none twice. Segments come by offset.

    Those that were joined and not yet deleted, and those of a daemon that wrote late, are covered by others.
    """
    pieces, at, until = [], offset, offset + max_bytes
    best: Segment | None = None
    for segment in (*segments, None):
        if best is not None and best.offset <= at < min(best.end, until) and (segment is None or segment.offset > at):
            end = min(best.end, until)
            pieces.append(Piece(best.name, at - best.offset, end - at))
            at = end
        if segment is not None and (best is None or segment.end > best.end):
            best = segment
    return tuple(pieces)


def _part(name: str) -> str:
    """One part of a name for any id. Stores disagree about what may stand in a name, so little does."""
    escaped = quote(name, safe="+=,").replace("~", "%7E").replace("%", "!")
    if escaped in {".", ".."}:
        escaped = escaped.replace(".", "!2E")
    if len(escaped) > PART_MAX:
        escaped = escaped[: PART_MAX - 19] + "!-" + hashlib.sha256(name.encode()).hexdigest()[:16]
    return escaped
