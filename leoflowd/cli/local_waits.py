"""How a wait ends in `leoflow test`, which has no cheap-task pool: at once, one way or the other. Pure.

Moments are not waited for, like retry delays, and neither are people's deadlines (`local_human`). What only the world
can answer is not guessed: the task fails and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, ResumeCall
from leoflowd.contract.errors import Invalid
from leoflowd.contract.human import HUMAN_KIND, Answer, Question
from leoflowd.contract.wait_spec import Deferral, Resume, WaitSpec, WaitTerms
from leoflowd.core.human import event_of
from leoflowd.core.known_triggers import native_wait

_OF_THE_CLOCK = frozenset({"time", "time_of_day", "day_of_week"})
NOT_WAITED_FOR = "met: `leoflow test` does not wait for moments"


def end_of(
    deferral: Deferral, now: datetime, answer: Callable[[Question], Answer | None] = lambda _question: None
) -> Outcome | ResumeCall:
    """An outcome ends the task; a call lets it go on in its next process. `answer`: who is asked, None = nobody."""
    wait = _wait_of(deferral)
    if wait is not None and wait.probe.kind == HUMAN_KIND:
        try:
            return _answered(wait, answer(msgspec.convert(wait.probe.arguments, Question)), now)
        except Invalid as fault:
            return _ended(OutcomeKind.FAILED_FOR_GOOD, f"it cannot be answered like this: {fault}", now)
    if wait is None or wait.probe.kind not in _OF_THE_CLOCK:
        return _ended(OutcomeKind.FAILED_FOR_GOOD, _why_not(deferral, wait), now)
    if wait.terms.resume is None:
        return _ended(OutcomeKind.SUCCESS, NOT_WAITED_FOR, now)
    resume = wait.terms.resume
    return ResumeCall(
        next_method=resume.next_method, next_kwargs=_text(resume.next_kwargs), event=_text(wait.terms.event)
    )


def _answered(wait: WaitSpec, answer: Answer | None, now: datetime) -> Outcome | ResumeCall:
    if answer is None:
        because = "it asks a person, nobody is here, and it has no defaults; answer with --answer TASK=OPTION"
        return _ended(OutcomeKind.FAILED_FOR_GOOD, because, now)
    resume = wait.terms.resume
    assert resume is not None, "a question comes from a deferral"
    return ResumeCall(
        next_method=resume.next_method, next_kwargs=_text(resume.next_kwargs), event=_text(event_of(answer))
    )


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _wait_of(deferral: Deferral) -> WaitSpec | None:
    """A native wait, also of a trigger that is one; None for any other trigger."""
    if deferral.wait is not None:
        return deferral.wait
    assert deferral.trigger is not None
    resume = Resume(next_method=deferral.next_method, next_kwargs=deferral.next_kwargs)
    return native_wait(deferral.trigger, WaitTerms(resume=resume, timeout_s=deferral.timeout_s))


def _why_not(deferral: Deferral, wait: WaitSpec | None) -> str:
    if wait is not None:
        what = f"a wait of kind {wait.probe.kind!r}"
    else:
        assert deferral.trigger is not None
        what = f"trigger {deferral.trigger.classpath}"
    return f"`leoflow test` cannot tell whether {what} is met; run the DAG in `leoflow lite`, which watches it"


def _ended(kind: OutcomeKind, because: str, now: datetime) -> Outcome:
    return Outcome(kind=kind, because=because, start_date=now, end_date=now)
