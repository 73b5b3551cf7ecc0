"""Which objects hold which bytes of a log, whoever wrote them and whatever was joined meanwhile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from leoflowd.objects.names import Segment, joined_name, leg_name, pieces_of, read_listing, segment_name


def test_a_log_is_read_from_its_segments_in_order() -> None:
    segments = (Segment("a", 0, 10), Segment("b", 10, 25))
    assert [(p.name, p.start, p.length) for p in pieces_of(segments, 4, 100)] == [("a", 4, 6), ("b", 0, 15)]
    assert [(p.name, p.start, p.length) for p in pieces_of(segments, 10, 3)] == [("b", 0, 3)]
    assert pieces_of(segments, 25, 10) == ()


def test_nothing_is_read_beyond_a_gap() -> None:
    segments = (Segment("a", 0, 10), Segment("c", 20, 30))
    assert [p.name for p in pieces_of(segments, 0, 100)] == ["a"]
    assert pieces_of(segments, 12, 100) == ()


def test_what_is_no_object_of_ours_is_passed_over() -> None:
    folder = "d/r@1/t/attempt=1"
    listing = read_listing(
        [
            (segment_name(folder, 5), 3),
            (segment_name(folder, 0), 5),
            (joined_name(folder, 0, 8), 8),
            (leg_name(folder, "a try-1", 5), 0),
            (f"{folder}/notes.txt", 7),
            (f"{folder}/12", 7),
        ]
    )
    assert [(s.offset, s.end) for s in listing.segments] == [(0, 5), (0, 8), (5, 8)]
    assert (listing.legs, listing.end) == ({"a try-1": 5}, 8)


@st.composite
def _chains(draw: st.DrawFn) -> tuple[Segment, ...]:
    """A chain of segments, some of them joined, some of those deleted, and what a late writer left."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    chain = [Segment(f"s{end}", end - size, end) for size, end in zip(sizes, ends, strict=True)]
    found = list(chain)
    for _ in range(draw(st.integers(0, 3))):
        first = draw(st.integers(0, len(chain) - 1))
        last = draw(st.integers(first, len(chain) - 1))
        found.append(Segment(f"j{first}-{last}", chain[first].offset, chain[last].end))
        for gone in chain[first : last + 1]:
            if gone in found and draw(st.booleans()):
                found.remove(gone)
    late = draw(st.integers(0, ends[-1] - 1))
    found.append(Segment("late", late, draw(st.integers(late + 1, ends[-1]))))
    return tuple(sorted(found, key=lambda s: (s.offset, s.end)))


@given(_chains(), st.integers(0, 110), st.integers(1, 120))
def test_every_byte_is_read_once(segments: tuple[Segment, ...], offset: int, max_bytes: int) -> None:
    """The byte at an offset is its number here, whatever segment it stands in."""
    end = max(s.end for s in segments)
    starts = {s.name: s.offset for s in segments}
    read = [
        starts[piece.name] + piece.start + i
        for piece in pieces_of(segments, offset, max_bytes)
        for i in range(piece.length)
    ]
    assert read == list(range(offset, min(end, offset + max_bytes)))
