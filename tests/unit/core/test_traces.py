"""The ids of a trace: the same for everybody, others for everything else."""

from __future__ import annotations

import re

import pytest

from leoflowd.core.traces import AGENT, DECISION, DISPATCH, POD, RUN, TASK, TRY, TraceIds

IDS = TraceIds(b"one installation")


def test_whoever_asks_gets_the_same_ids() -> None:
    again = TraceIds(b"one installation")
    assert again.traceparent(7, "try") == IDS.traceparent(7, "try")
    assert again.span_id(TRY, "try") == IDS.span_id(TRY, "try")


def test_nothing_shares_an_id() -> None:
    kinds = (RUN, TRY, DECISION, DISPATCH, POD, AGENT, TASK)
    assert len({ids.span_id(kind, of) for ids in (IDS, TraceIds(b"x")) for kind in kinds for of in ("a", "b", 1)}) == 42
    assert len({ids.trace_id(run) for ids in (IDS, TraceIds(b"x")) for run in range(100)}) == 200


def test_the_header_is_w3cs() -> None:
    header = IDS.traceparent(7, "try")
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", header)
    assert header.split("-")[1:3] == [IDS.trace_id(7).hex(), IDS.span_id(TASK, "try").hex()]


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_a_ratio_of_the_runs_is_sampled_whole(ratio: float) -> None:
    ids = TraceIds(b"s", ratio)
    sampled = [run for run in range(4000) if ids.is_sampled(run)]
    assert abs(len(sampled) / 4000 - ratio) < 0.03
    for run in range(50):
        assert ids.traceparent(run, "try").endswith("01" if ids.is_sampled(run) else "00")
    assert {run for run in range(4000) if TraceIds(b"s", ratio * 0.5).is_sampled(run)} <= set(sampled)
