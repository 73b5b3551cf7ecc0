"""What the leader tells of a dag run as spans: the run, its tries, and in each the decision, dispatch, agent and task.

Worked out of a step that is committed, and of what agents reported: no span is open anywhere, none is carried through
the code, and agents send nothing to the receiver. Called after the effects of the step; never waits. ADR 82.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from leoflowd.contract.agent_messages import Outcome
from leoflowd.contract.otlp import Attribute, Span
from leoflowd.contract.states import FINISHED, LIVE, DagRunState, TaskInstanceState
from leoflowd.core.run_view import InstanceFacts, RunView
from leoflowd.core.traces import AGENT, DECISION, DISPATCH, RUN, TASK, TRY, TraceIds
from leoflowd.core.try_spec import TryFacts
from leoflowd.scheduler.draft import Draft
from leoflowd.scheduler.views import Views

_S = TaskInstanceState
OVER = FINISHED | {_S.UP_FOR_RETRY}
"""Of a try. One that deferred or was rescheduled goes on."""
REMEMBERED = 8192
"""Tries that were committed and not yet dispatched, whose moment is known."""


class Tracing:
    """`offer` takes finished spans and never waits."""

    def __init__(self, ids: TraceIds, offer: Callable[[Sequence[Span]], None], now: Callable[[], datetime]) -> None:
        self._ids = ids
        self._offer = offer
        self._now = now
        self._committed_at: dict[str, datetime] = {}

    def step_committed(self, draft: Draft, views: Views) -> None:
        at = self._now()
        ended = {facts.id: facts for _, facts in draft.ended_tries.values()}
        outcomes = {str(event.row.id): event.outcome for event in draft.tries_ended}
        spans: list[Span] = []
        for (dag_run_id, i), before in draft.first.items():
            loaded = views.runs.get(dag_run_id)
            if loaded is None or not self._ids.is_sampled(dag_run_id):
                continue
            view, after = loaded.view, loaded.view.facts[i]
            if after.state == _S.QUEUED and (before.id, before.state) != (after.id, _S.QUEUED):
                spans.append(self._decision(view, i, draft.now, at))
            over = ended.get(before.id) if before.id != after.id else after
            lost = draft.lost_tries.get(before.id)
            if over is not None and _began_at(over) is not None and _ends(before, over):
                report = draft.reports.get((dag_run_id, i))
                host = "" if report is None else report.hostname or ""
                spans += self._try(view, i, over, outcomes.get(over.id) if lost is None else None, host, at)
            elif lost is not None and before.state in LIVE:
                spans += self._try(view, i, _lost(before, lost), None, "", at)
        for dag_run_id in draft.moved_runs:
            loaded = views.runs.get(dag_run_id)
            if loaded is not None and self._ids.is_sampled(dag_run_id):
                spans += self._run(loaded.view)
        if spans:
            self._offer(spans)

    def dispatched(self, one: TryFacts) -> None:
        """An executor has it."""
        at = self._now()
        since = self._committed_at.pop(one.try_id, None)
        if since is None or not self._ids.is_sampled(one.dag_run_id):
            return
        self._offer([self._span(DISPATCH, one.dag_run_id, one.try_id, DISPATCH, since, at, {})])

    def traceparent(self, dag_run_id: int, try_id: str) -> str:
        return self._ids.traceparent(dag_run_id, try_id)

    def _decision(self, view: RunView, i: int, since: datetime, at: datetime) -> Span:
        facts = view.facts[i]
        self._committed_at[facts.id] = at
        while len(self._committed_at) > REMEMBERED:  # what no executor takes
            self._committed_at.pop(next(iter(self._committed_at)))
        because = {"airflow.because": facts.because}
        return self._span(DECISION, view.dag_run_id, facts.id, DECISION, since, at, because)

    def _try(
        self, view: RunView, i: int, over: InstanceFacts, outcome: Outcome | None, host: str, at: datetime
    ) -> list[Span]:
        """The try, and what ran of it: nothing did of a wait, of what is decided in place, or of what never began."""
        begins = _began_at(over)
        assert begins is not None, "the caller looked"
        start = over.start_date or begins
        run, task_id = view.dag_run_id, view.node_of(i).spec.task_id
        attributes: dict[str, Attribute] = {
            "airflow.dag_id": view.dag_id,
            "airflow.run_id": view.run_id,
            "airflow.task_id": task_id,
            "airflow.map_index": over.map_index,
            "airflow.try_number": over.try_number,
            "airflow.state": over.state.value,
        }
        error = over.because if over.state in (_S.FAILED, _S.UP_FOR_RETRY) else None
        whole = Span(
            trace_id=self._ids.trace_id(run),
            span_id=self._ids.span_id(TRY, over.id),
            parent_id=self._ids.span_id(RUN, run),
            name=task_id,
            start=begins,
            end=over.end_date or at,
            attributes=attributes,
            error=error,
        )
        if outcome is None:
            return [whole]
        agent = self._span(AGENT, run, over.id, AGENT, min(start, outcome.start_date), at, {"host.name": host})
        exit_code = {} if outcome.exit_code is None else {"process.exit.code": outcome.exit_code}
        task = Span(
            trace_id=whole.trace_id,
            span_id=self._ids.span_id(TASK, over.id),
            parent_id=agent.span_id,
            name=TASK,
            start=outcome.start_date,
            end=outcome.end_date,
            attributes=attributes | exit_code,
            error=error,
        )
        return [whole, agent, task]

    def _run(self, view: RunView) -> list[Span]:
        run = view.run
        if run.state not in (DagRunState.SUCCESS, DagRunState.FAILED) or run.start_date is None or run.end_date is None:
            return []
        return [
            Span(
                trace_id=self._ids.trace_id(view.dag_run_id),
                span_id=self._ids.span_id(RUN, view.dag_run_id),
                name=f"dag run {view.dag_id}",
                start=run.start_date,
                end=run.end_date,
                attributes={
                    "airflow.dag_id": view.dag_id,
                    "airflow.run_id": view.run_id,
                    "airflow.state": run.state.value,
                },
                error=run.because if run.state == DagRunState.FAILED else None,
            )
        ]

    def _span(
        self,
        kind: str,
        dag_run_id: int,
        try_id: str,
        name: str,
        start: datetime,
        end: datetime,
        attributes: Mapping[str, Attribute],
    ) -> Span:
        """A part of a try."""
        return Span(
            trace_id=self._ids.trace_id(dag_run_id),
            span_id=self._ids.span_id(kind, try_id),
            parent_id=self._ids.span_id(TRY, try_id),
            name=name,
            start=start,
            end=end,
            attributes=attributes,
        )


def _lost(before: InstanceFacts, outcome: Outcome) -> InstanceFacts:
    """As it was: the step may have begun the next try already."""
    state, because = _S.UP_FOR_RETRY, outcome.because
    return msgspec.structs.replace(before, state=state, because=because, end_date=outcome.end_date)


def _began_at(over: InstanceFacts) -> datetime | None:
    """None: nobody was ever asked to run it."""
    return min((at for at in (over.queued_at, over.start_date) if at is not None), default=None)


def _ends(before: InstanceFacts, over: InstanceFacts) -> bool:
    return over.state in OVER and (before.id != over.id or before.state not in OVER)
