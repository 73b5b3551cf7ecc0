"""What a pod's state means, as a table: facts of Kubernetes on the left, the verdict on the right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.termination import MAX_BYTES, Termination, read_termination, termination_text
from leoflowd.core.pod_outcome import (
    CONFIGURING,
    PULLING,
    Coming,
    Ended,
    NotNeeded,
    PodEnd,
    PodFacts,
    PodLimits,
    Running,
    Terminated,
    how_ended,
    judge,
)

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIMITS = PodLimits(schedule_s=1000, start_s=300, pull_s=200, configure_s=100, leave_s=50)
SUCCESS = Outcome(kind=OutcomeKind.SUCCESS, because="done", start_date=T0, end_date=T0)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def pod(**fields: object) -> PodFacts:
    return PodFacts(created_at=T0, **fields)  # type: ignore[arg-type]


def ended(exit_code: int, **fields: object) -> PodFacts:
    end = Terminated(exit_code=exit_code, reason=str(fields.pop("ended_as", "Error")), left=fields.pop("left", None))  # type: ignore[arg-type]
    return pod(phase="Running", scheduled_at=T0, terminated=end, **fields)


LOST, FAILED, FOR_GOOD = OutcomeKind.LOST, OutcomeKind.FAILED, OutcomeKind.FAILED_FOR_GOOD
SCHEDULED = {"scheduled_at": at(10)}


@pytest.mark.parametrize(
    ("facts", "after_s", "expected"),
    [
        (pod(), 0, "comes"),
        (pod(unscheduled_because="0/3 nodes are available"), 999, "comes"),
        (pod(unscheduled_because="0/3 nodes are available"), 1000, LOST),
        (pod(**SCHEDULED), 309, "comes"),
        (pod(**SCHEDULED), 310, LOST),
        (pod(**SCHEDULED, waiting="ContainerCreating"), 309, "comes"),
        (pod(**SCHEDULED, waiting="ErrImagePull"), 209, "comes"),
        (pod(**SCHEDULED, waiting="ImagePullBackOff"), 210, LOST),
        (pod(**SCHEDULED, waiting="CreateContainerConfigError"), 109, "comes"),
        (pod(**SCHEDULED, waiting="CreateContainerConfigError"), 110, LOST),
        (pod(**SCHEDULED, waiting="InvalidImageName"), 11, FOR_GOOD),
        (pod(**SCHEDULED, waiting="CrashLoopBackOff"), 11, LOST),
        (pod(**SCHEDULED, is_running=True, phase="Running"), 10**6, "runs"),
        (pod(**SCHEDULED, is_running=True, phase="Running", deleted_at=at(500)), 549, "comes"),
        (pod(**SCHEDULED, is_running=True, phase="Running", deleted_at=at(500)), 550, LOST),
        (pod(**SCHEDULED, is_running=True, phase="Running", is_gone=True), 20, LOST),
        (pod(is_gone=True), 1, LOST),
        (pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."), 5, LOST),
        (pod(phase="Failed", reason="UnexpectedAdmissionError"), 5, LOST),
        (pod(phase="Succeeded"), 5, LOST),
        (pod(phase="Unknown", **SCHEDULED, is_running=True), 5, "runs"),
        (pod(phase="no phase at all"), 5, "comes"),
        (pod(unreadable="labels are a number"), 5, LOST),
        (ended(0, left=Termination(try_id="t", is_stored=True)), 5, "not needed"),
        (ended(137, ended_as="OOMKilled", left=Termination(try_id="t", is_stored=True)), 5, "not needed"),
        (ended(0, left=Termination(try_id="t", outcome=SUCCESS)), 5, OutcomeKind.SUCCESS),
        (ended(137, reason="Evicted", left=Termination(try_id="t", outcome=SUCCESS)), 5, OutcomeKind.SUCCESS),
        (ended(0, left=Termination(try_id="t", because="too large")), 5, LOST),
        (ended(0), 5, LOST),
        (ended(3), 5, LOST),
        (ended(78), 5, LOST),
        (ended(137, ended_as="OOMKilled"), 5, FAILED),
        (ended(137, ended_as="OOMKilled", reason="Evicted"), 5, LOST),
        (ended(137, ended_as="OOMKilled", is_gone=True), 5, FAILED),
        (ended(137), 5, LOST),
        (ended(137, disruption="PreemptionByScheduler: a pod of higher priority needs the room"), 5, LOST),
        (ended(1, reason="NodeLost"), 5, LOST),
    ],
)
def test_facts_and_verdict(facts: PodFacts, after_s: float, expected: str) -> None:
    match judge(facts, LIMITS, at(after_s)):
        case Coming():
            found = "comes"
        case Running():
            found = "runs"
        case NotNeeded():
            found = "not needed"
        case Ended(kind=kind):
            found = kind
    assert found == expected


def test_out_of_memory_says_the_limit_and_what_was_asked_for() -> None:
    verdict = judge(ended(137, ended_as="OOMKilled", memory_limit="512Mi", memory_request="256Mi"), LIMITS, T0)
    assert isinstance(verdict, Ended)
    assert verdict.because.startswith("137, memory limit 512Mi, asked for 256Mi: ")


def test_an_image_that_cannot_be_pulled_is_named_with_what_the_registry_said() -> None:
    facts = pod(**SCHEDULED, waiting="ErrImagePull", waiting_message="manifest unknown")
    verdict = judge(facts, LIMITS, at(500))
    assert isinstance(verdict, Ended)
    assert verdict.because == "its container waits: ErrImagePull (manifest unknown), since 490 s (limit 200 s)"


def test_an_eviction_says_why() -> None:
    verdict = judge(ended(137, reason="Evicted", message="The node was low on resource: memory."), LIMITS, T0)
    assert isinstance(verdict, Ended)
    assert verdict.because == "its pod ended: Evicted: The node was low on resource: memory."


texts = st.sampled_from(
    ["", "Error", "OOMKilled", "Evicted", "Completed", "x" * 9000, "\ud83d\ude00", *PULLING, *CONFIGURING]
)
moments = st.integers(-10, 2000).map(at)
left = st.none() | st.builds(
    Termination, try_id=st.just("t"), is_stored=st.booleans(), outcome=st.none() | st.just(SUCCESS)
)
terminated = st.none() | st.builds(
    Terminated, exit_code=st.integers(-1, 255), reason=texts, signal=st.integers(0, 64), left=left
)
pods = st.builds(
    PodFacts,
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown", "", "odd"]),
    reason=texts, message=texts, created_at=moments, scheduled_at=st.none() | moments, unscheduled_because=texts,
    is_running=st.booleans(), waiting=texts, waiting_message=texts, terminated=terminated, disruption=texts,
    deleted_at=st.none() | moments, is_gone=st.booleans(), memory_limit=texts, memory_request=texts,
)  # fmt: skip


@given(facts=pods, now=moments, more_s=st.integers(0, 5000))
def test_an_end_stays_the_same_end(facts: PodFacts, now: datetime, more_s: int) -> None:
    """A daemon that reads the same pod later, or after a restart, reports nothing else."""
    first, later = judge(facts, LIMITS, now), judge(facts, LIMITS, now + timedelta(seconds=more_s))
    if isinstance(first, Ended | NotNeeded):
        assert type(later) is type(first)
        assert getattr(later, "kind", None) == getattr(first, "kind", None)


@given(facts=pods, now=moments)
def test_whoever_comes_is_looked_at_again_and_gets_a_verdict_then(facts: PodFacts, now: datetime) -> None:
    verdict = judge(facts, LIMITS, now)
    if isinstance(verdict, Coming):
        assert verdict.until > now
        assert isinstance(judge(facts, LIMITS, verdict.until), Ended)


@given(facts=pods, now=moments)
def test_infrastructure_costs_no_retry_of_the_user(facts: PodFacts, now: datetime) -> None:
    verdict = judge(facts, LIMITS, now)
    if isinstance(verdict, Ended) and verdict.outcome is None and verdict.kind is not LOST:
        killed = facts.terminated is not None and facts.terminated.reason == "OOMKilled"
        assert killed or facts.waiting in ("InvalidImageName", "ErrImageNeverPull")


@given(st.text(max_size=6000))
def test_a_termination_message_fits_and_never_lies(because: str) -> None:
    outcome = Outcome(
        kind=OutcomeKind.SUCCESS, because=because.encode("utf-8", "replace").decode(), start_date=T0, end_date=T0
    )
    text = termination_text(Termination(try_id="t", outcome=outcome))
    assert len(text) <= MAX_BYTES
    found = read_termination(text.decode())
    assert found is not None
    assert found.outcome == outcome or (found.outcome is None and "too large" in found.because)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"try_id": 3}', "Killed", "\ud800"])
def test_what_is_no_message_of_our_agent_says_nothing(text: str) -> None:
    assert read_termination(text) is None


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (ended(0, left=Termination(try_id="t", outcome=SUCCESS)), PodEnd.REPORTED),
        (ended(1, left=Termination(try_id="t", is_stored=True), disruption="EvictionByEvictionAPI"), PodEnd.REPORTED),
        (ended(1), PodEnd.SILENT),
        (ended(78, left=Termination(try_id="t", because="no code")), PodEnd.SILENT),
        (pod(phase="Succeeded"), PodEnd.SILENT),
        (ended(137, ended_as="OOMKilled"), PodEnd.OUT_OF_MEMORY),
        (ended(137, disruption="PreemptionByScheduler"), PodEnd.DISRUPTED),
        (pod(phase="Failed", reason="Evicted"), PodEnd.DISRUPTED),
        (pod(is_gone=True, is_running=True), PodEnd.DELETED),
        (pod(deleted_at=T0), PodEnd.DELETED),
        (pod(), PodEnd.NOT_SCHEDULED),
        (pod(**SCHEDULED, waiting="ImagePullBackOff"), PodEnd.NO_IMAGE),
        (pod(**SCHEDULED, waiting="InvalidImageName"), PodEnd.NO_IMAGE),
        (pod(**SCHEDULED, waiting="CreateContainerConfigError"), PodEnd.NOT_STARTED),
        (pod(**SCHEDULED), PodEnd.NOT_STARTED),
        (pod(**SCHEDULED, is_running=True), PodEnd.UNWANTED),
        (pod(unreadable="odd"), PodEnd.UNREADABLE),
    ],
)
def test_each_end_is_counted_as_one_kind(facts: PodFacts, expected: PodEnd) -> None:
    assert how_ended(facts) is expected


def test_every_kind_of_end_has_an_example() -> None:
    (mark,) = test_each_end_is_counted_as_one_kind.pytestmark  # type: ignore[attr-defined]
    assert {expected for _, expected in mark.args[1]} == set(PodEnd)
