"""What one answer of the world means for each of the waits that share it; equal terms are judged once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from leoflow_sensors.kinds import Observation, ProbeFailed, SensorKind, TargetDown, Verdict, judge
from leoflowd.cheap_tasks import endings
from leoflowd.cheap_tasks.probes import Answer
from leoflowd.cheap_tasks.records import Terms, WaitRecord
from leoflowd.contract.waits import WaitEnd
from leoflowd.supervision import contained


class Verdicts:
    """For one answer to one group."""

    def __init__(self, kind: SensorKind[Any, Any], answer: Answer) -> None:
        self._kind = kind
        self._answer = answer
        self._of_terms: dict[Terms, Verdict | Exception] = {}
        self.broken: Exception | None = None
        """What the kind's `judge` raised that it may not raise."""

    def end_of(self, record: WaitRecord, now: datetime) -> WaitEnd | None:
        """None: it goes on waiting. That is also what throttling, cut-off probes and broken kinds mean for it."""
        answer = self._answer
        if isinstance(answer, Observation):
            verdict = self._verdict(record.terms, answer)
            if isinstance(verdict, Verdict):
                return endings.judged(record, verdict, answer.summary, now)
            answer = verdict
        if isinstance(answer, ProbeFailed | TargetDown):
            return endings.probe_failed(record, str(answer), now)
        return None

    def _verdict(self, terms: Terms, observation: Observation) -> Verdict | Exception:
        found = self._of_terms.get(terms)
        if found is None:

            def record(failure: Exception) -> None:
                self._of_terms[terms] = failure
                if not isinstance(failure, ProbeFailed | TargetDown):
                    self.broken = failure

            with contained(record):
                self._of_terms[terms] = judge(self._kind, terms.predicate, observation)
            found = self._of_terms[terms]
        return found
