"""One span for each pod in the trace of its dag run, told when the pod is about to go: no span is open (ADR 82, 97).

The trace is the one that the pod's annotation names, so that whoever leads then can tell of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leoflowd.contract.otlp import Span
from leoflowd.core.pod_outcome import PodEnd
from leoflowd.core.traces import POD, TRY, TraceIds
from leoflowd.executors.pod_watcher import PodLife


class PodTracing:
    """`offer` takes finished spans and never waits."""

    def __init__(self, ids: TraceIds, offer: Callable[[Sequence[Span]], None]) -> None:
        self._ids = ids
        self._offer = offer

    def over(self, life: PodLife) -> None:
        pod = life.pod
        if not pod.trace_id:
            return
        ended_badly = life.end not in (PodEnd.REPORTED, PodEnd.UNWANTED)
        span = Span(
            trace_id=pod.trace_id,
            span_id=self._ids.span_id(POD, pod.uid),
            parent_id=self._ids.span_id(TRY, pod.try_id),
            name=POD,
            start=life.began_at,
            end=life.ended_at,
            attributes={"k8s.pod.name": pod.name, "k8s.pod.uid": pod.uid, "leoflow.pod.end": life.end.value},
            error=f"the pod ended: {life.end}" if ended_badly else None,
        )
        self._offer([span])
