"""What is said of a wait, with and without the pool, and what is never said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from leoflowd.contract.wait_spec import ProbeSpec, Resume, WaitTerms
from leoflowd.core.explain import KnownWait, WaitFacts, explain_instance, explain_wait, what_is_awaited
from leoflowd.core.secret_names import masked
from tests.fakes.fake_pool import EXPLANATION
from tests.unit.core.core_builders import NOW, S, seconds, task, view_of

FACTS = WaitFacts(
    id="w",
    probe=ProbeSpec(kind="file", arguments={"path": "/in.csv"}),
    terms=WaitTerms(),
    registered_at=NOW,
    deadline_at=None,
    is_paused=False,
)
SEEN = msgspec.structs.replace(EXPLANATION, waits_for="file /in.csv", why_still="no such file", next_probe_at=None)


def sentences(now: datetime = NOW, *, facts: dict[str, Any] | None = None, **seen: Any) -> tuple[str, ...]:
    wait = KnownWait(msgspec.structs.replace(FACTS, **facts or {}), msgspec.structs.replace(SEEN, **seen))
    return explain_wait(wait, now)


def test_what_and_since_when_come_first_and_then_why_still() -> None:
    assert sentences(NOW + seconds(90))[:2] == ("it waits for file /in.csv; it began 1 min 30 s ago", "no such file")


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        ({"blocked_by": "the budget of x is used up"}, "the budget of x is used up"),
        ({"is_probing": True}, "it is probed at this moment"),
        ({"due_at": NOW + seconds(60)}, "it comes true in 1 min, 12:01:00 UTC"),
        ({"next_probe_at": NOW + seconds(5)}, "the next probe is in 5 s, 12:00:05 UTC"),
        ({"next_probe_at": NOW - seconds(5)}, "the next probe is 5 s ago, 11:59:55 UTC"),
        ({"shared_with": 7}, "one probe serves it and 7 other waits"),
    ],
)
def test_each_fact_of_the_pool_is_one_sentence(seen: dict[str, Any], sentence: str) -> None:
    assert sentence in sentences(**seen)


def test_a_wait_alone_on_its_probe_does_not_speak_of_others() -> None:
    assert not any("other waits" in sentence for sentence in sentences(shared_with=0))


def test_the_deadline_is_told_and_its_absence_too() -> None:
    assert "it has no deadline" in sentences()
    told = sentences(facts={"deadline_at": NOW + seconds(30)})
    assert "it times out in 30 s, 12:00:30 UTC" in told


@pytest.mark.parametrize(("deadline_s", "is_said"), [(59, True), (61, False)])
def test_a_moment_beyond_its_timeout_says_which_comes_first(deadline_s: float, is_said: bool) -> None:
    told = sentences(facts={"deadline_at": NOW + seconds(deadline_s)}, due_at=NOW + seconds(60))
    assert ("that moment is beyond its timeout: it times out first" in told) is is_said


def test_a_deferral_says_how_it_goes_on() -> None:
    told = sentences(facts={"terms": WaitTerms(resume=Resume(next_method="execute_complete"))})
    assert told[-1] == "then the task goes on in a process of its own, in execute_complete"


def test_without_the_pool_the_arguments_speak() -> None:
    assert explain_wait(KnownWait(FACTS, None), NOW)[:2] == (
        'it waits for file {"path":"/in.csv"}; it began 0 s ago',
        "the cheap-task pool does not watch it yet: it was registered this moment, or the pool is starting",
    )


def test_a_paused_dag_is_the_reason_itself() -> None:
    wait = KnownWait(msgspec.structs.replace(FACTS, is_paused=True), None)
    assert explain_wait(wait, NOW)[1] == "its DAG is paused: nobody looks until it is unpaused"


def test_a_trigger_is_named_by_its_class() -> None:
    probe = ProbeSpec(kind="trigger", arguments={"classpath": "x.Y", "kwargs": {"secret": "s"}})
    assert what_is_awaited(KnownWait(msgspec.structs.replace(FACTS, probe=probe), None)) == "trigger x.Y"


def test_long_arguments_are_cut() -> None:
    probe = ProbeSpec(kind="sql", arguments={"sql": "x" * 1000})
    said = what_is_awaited(KnownWait(msgspec.structs.replace(FACTS, probe=probe), None))
    assert len(said) < 250
    assert said.endswith("...")


@pytest.mark.parametrize("state", [S.DEFERRED, S.UP_FOR_RESCHEDULE])
def test_a_waiting_instance_is_explained_by_its_wait(state: S) -> None:
    view = view_of(task("a"), facts={"a": {"state": state, "try_number": 1, "start_date": NOW}})
    told = explain_instance(view, 0, NOW, wait=KnownWait(FACTS, SEEN))
    assert told[1:3] == ("it waits for file /in.csv; it began 0 s ago", "no such file")


def test_a_process_that_was_rescheduled_is_explained_by_its_time() -> None:
    view = view_of(task("a"), facts={"a": {"state": S.UP_FOR_RESCHEDULE, "due_at": NOW + seconds(30)}})
    assert any("it may go on in" in sentence for sentence in explain_instance(view, 0, NOW))


@pytest.mark.parametrize("name", ["password", "X-Api-Key", "Authorization", "client_secret", "AWS_ACCESS_KEY_ID"])
def test_names_that_promise_a_secret_are_masked_at_any_depth(name: str) -> None:
    assert masked({"a": [{name: "s3cret", "n": 1}]}) == {"a": [{name: "***", "n": 1}]}


def test_an_empty_secret_is_shown_as_empty() -> None:
    assert masked({"password": ""}) == {"password": ""}


@pytest.mark.parametrize("seen", [None, SEEN])
def test_a_question_is_named_by_its_subject(seen: Any) -> None:
    probe = ProbeSpec(kind="human", arguments={"subject": "Deploy?", "options": ["Yes"]})
    wait = KnownWait(msgspec.structs.replace(FACTS, probe=probe), seen)
    assert what_is_awaited(wait) == "a person's answer to 'Deploy?'"
