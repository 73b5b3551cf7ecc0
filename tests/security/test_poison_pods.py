"""Attack 30: whatever stands where a pod of ours should, reading it raises nothing and judging it gives an answer.

What follows from that in a whole watcher (the other pods go on, the object is set aside and named) is tested on a fake
cluster in tests/conformance/kube; `410` in the middle of a watch there and on a real API server.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.core.pod_outcome import PodLimits, judge
from leoflowd.executors.pod_watcher import outcome_of
from leoflowd.kube.objects import OBJECT_MAX_BYTES, Pod, Unreadable, read_pod
from leoflowd.kube.pod_spec import TRY_ID

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRY = "0b8f9a52-6a53-4a3a-9d0f-6f3a2f0f5a10"
GOOD: dict[str, Any] = {
    "metadata": {"name": f"t-{TRY}", "uid": "u", "labels": {TRY_ID: TRY}, "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"nodeName": "n", "containers": [{"name": "base", "resources": {"limits": {"memory": "1Gi"}}}]},
    "status": {
        "phase": "Running",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "containerStatuses": [{"name": "base", "state": {"terminated": {"exitCode": 1, "message": "x"}}}],
    },
}
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
    | st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00", "\u0000"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(
        ["name", "uid", "labels", TRY_ID, "state", "running", "terminated", "waiting", "exitCode", "message", "reason"]
    ), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
PLACES = [
    ("metadata",), ("metadata", "name"), ("metadata", "uid"), ("metadata", "labels"), ("metadata", "labels", TRY_ID),
    ("metadata", "creationTimestamp"), ("metadata", "deletionTimestamp"), ("metadata", "annotations"),
    ("spec",), ("spec", "nodeName"), ("spec", "containers"), ("spec", "containers", 0, "resources"),
    ("status",), ("status", "phase"), ("status", "reason"), ("status", "conditions"), ("status", "conditions", 0),
    ("status", "containerStatuses"), ("status", "containerStatuses", 0, "state"),
    ("status", "containerStatuses", 0, "state", "terminated"),
    ("status", "containerStatuses", 0, "state", "terminated", "exitCode"),
]  # fmt: skip


def with_odd(place: tuple[str | int, ...], value: Any) -> bytes:
    pod = msgspec.json.decode(msgspec.json.encode(GOOD))
    *way, last = place
    at = pod
    for step in way:
        at = at[step]
    at[last] = value
    return msgspec.json.encode(pod)


def judged(pod: Pod, after_s: float = 0.0) -> None:
    now = NOW + timedelta(seconds=after_s)
    verdict = judge(pod.facts, PodLimits(), now)
    if hasattr(verdict, "kind"):
        msgspec.json.encode(outcome_of(pod.facts, verdict, now))


@given(st.sampled_from(PLACES), odd, st.floats(0, 10**9))
def test_an_odd_value_anywhere_gives_a_verdict_or_an_object_that_is_set_aside(
    place: tuple[str | int, ...], value: Any, after_s: float
) -> None:
    found = read_pod(with_odd(place, value))
    if isinstance(found, Pod):
        judged(found, after_s)
    else:
        assert found.because


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_bytes_that_are_no_object_are_set_aside(raw: bytes) -> None:
    assert isinstance(read_pod(raw), Unreadable)


@pytest.mark.parametrize(
    "place",
    [("spec", "nodeName"), ("status", "phase"), ("metadata", "creationTimestamp"), ("status", "containerStatuses")],
    ids=str,
)
def test_what_cannot_be_read_ends_its_try_at_no_cost_to_its_author(place: tuple[str | int, ...]) -> None:
    found = read_pod(with_odd(place, {"a": [{}]}))
    assert isinstance(found, Pod)
    assert found.try_id == TRY
    assert judge(found.facts, PodLimits(), NOW).kind == "lost"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "raw",
    [b"[" * 100_000, b'{"metadata":' * 100_000, b'{"metadata":{"name":"' + b"x" * OBJECT_MAX_BYTES + b'"}}'],
    ids=["arrays", "objects", "size"],
)
def test_what_is_deep_or_large_is_set_aside(raw: bytes) -> None:
    found = read_pod(raw)
    assert isinstance(found, Unreadable)
    assert found.size_bytes == len(raw)


def test_a_megabyte_of_status_is_read_and_its_sentence_is_cut() -> None:
    found = read_pod(with_odd(("status",), {"phase": "Failed", "reason": "Evicted", "message": "x" * 2**20}))
    assert isinstance(found, Pod)
    assert len(judge(found.facts, PodLimits(), NOW).because) < 2_000
