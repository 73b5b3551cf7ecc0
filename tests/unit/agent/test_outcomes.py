"""How a try ended: the runner's word, the agent's decision, the kernel's status."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from leoflow_agent.outcomes import Exit, decide_outcome
from leoflow_agent.spool import Stop, StoredOutcome
from leoflowd.contract.agent_messages import OutcomeKind, XComItem

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
TIMEOUT = Stop(kind=OutcomeKind.TIMED_OUT, because="too long")


def _runner(kind, *, complete=False):
    xcoms = (XComItem(key="return_value", value="1"),)
    return StoredOutcome(kind=kind, because="r", start_date=START, end_date=NOW, xcoms=xcoms, complete=complete)


def _decide(runner, stop, exit_):
    return decide_outcome(runner=runner, stop=stop, exit_=exit_, started_at=START, now=NOW)


@pytest.mark.parametrize(
    ("runner", "stop", "exit_", "kind", "because"),
    [
        (_runner(OutcomeKind.SUCCESS), None, Exit(code=0), OutcomeKind.SUCCESS, "r"),
        (_runner(OutcomeKind.SUCCESS), None, Exit(signal=9), OutcomeKind.SUCCESS, "r"),
        (_runner(OutcomeKind.SUCCESS), None, Exit(lost="gone"), OutcomeKind.SUCCESS, "r"),
        (_runner(OutcomeKind.TERMINATED), TIMEOUT, Exit(code=0), OutcomeKind.TIMED_OUT, "too long"),
        (_runner(OutcomeKind.SUCCESS), TIMEOUT, Exit(code=0), OutcomeKind.TIMED_OUT, "too long"),
        (None, TIMEOUT, Exit(signal=9), OutcomeKind.TIMED_OUT, "too long"),
        (_runner(OutcomeKind.TERMINATED), None, Exit(code=0), OutcomeKind.FAILED, "SIGTERM"),
        (None, None, Exit(lost="gone"), OutcomeKind.LOST, "gone"),
        # The TERM that clears up after a killed fork server is ours, even if the runner got to write that it came.
        (_runner(OutcomeKind.TERMINATED), None, Exit(lost="gone"), OutcomeKind.LOST, "gone"),
        (None, None, Exit(signal=9), OutcomeKind.FAILED, "SIGKILL (9); the kernel does that when memory runs out"),
        (None, None, Exit(signal=11), OutcomeKind.FAILED, "SIGSEGV"),
        (None, None, Exit(code=0), OutcomeKind.FAILED, "exit code 0"),
        (_runner(OutcomeKind.SUCCESS, complete=True), TIMEOUT, Exit(lost="gone"), OutcomeKind.SUCCESS, "r"),
    ],
)
def test_who_decides(runner, stop, exit_, kind, because):
    outcome = _decide(runner, stop, exit_)
    assert outcome.kind is kind
    assert because in outcome.because
    assert outcome.complete


def test_a_stopped_try_leaves_no_xcoms():
    assert _decide(_runner(OutcomeKind.SUCCESS), TIMEOUT, Exit(code=0)).xcoms == ()


def test_deciding_again_changes_nothing():
    first = _decide(None, None, Exit(signal=9))
    assert _decide(first, None, Exit(lost="the agent was killed")) == first
