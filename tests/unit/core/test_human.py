"""Questions to people: which trigger is one, which answers fit, and what the task is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from leoflowd.contract.errors import Invalid
from leoflowd.contract.human import HUMAN_KIND, Answer, Person, Question
from leoflowd.contract.wait_spec import Resume, TriggerSpec, WaitTerms
from leoflowd.contract.waits import coalescing_key
from leoflowd.core.human import check_input, check_options, default_input, describe, event_of
from leoflowd.core.known_triggers import native_wait

CLASSPATH = "airflow.providers.standard.triggers.hitl.HITLTrigger"
AT = datetime(2026, 11, 21, 3, tzinfo=UTC)
TERMS = WaitTerms(timeout_s=None, resume=Resume(next_method="execute_complete"))
ASKED: dict[str, Any] = {
    "subject": "Deploy?",
    "body": None,
    "options": ["Yes", "No"],
    "defaults": ["No"],
    "multiple": False,
    "params": {"zone": {"value": "eu", "schema": {"type": "string"}, "description": None}, "age": 3},
    "assigned_users": [{"id": "anna", "name": "Anna"}],
    "timeout_datetime": {
        "__classname__": "datetime.datetime",
        "__version__": 2,
        "__data__": {"timestamp": AT.timestamp(), "tz": "UTC"},
    },
}
PARAMS = {"zone": {"value": "eu", "schema": {"type": "string"}, "description": None}, "age": 3}


def question_of(**changes: Any) -> Question | None:
    spec = native_wait(TriggerSpec(classpath=CLASSPATH, kwargs={**ASKED, **changes}), TERMS)
    if spec is None:
        return None
    assert (spec.probe.kind, spec.terms) == (HUMAN_KIND, TERMS)
    return msgspec.convert(spec.probe.arguments, Question)


def test_a_trigger_with_its_question_waits_for_a_person() -> None:
    found = question_of()
    assert found == Question(
        subject="Deploy?",
        options=("Yes", "No"),
        defaults=("No",),
        params=PARAMS,
        assigned_users=(Person(id="anna", name="Anna"),),
        respond_by=AT,
    )
    assert list(found.params) == ["zone", "age"]


def test_a_question_without_a_deadline_waits_for_ever() -> None:
    found = question_of(timeout_datetime=None)
    assert found is not None
    assert found.respond_by is None


@pytest.mark.parametrize("changes", [{"options": []}, {"subject": None}, {"poke": 1}])
def test_what_is_no_question_is_left_to_a_host(changes: dict[str, Any]) -> None:
    assert question_of(**changes) is None


def test_a_deferral_with_a_timeout_of_its_own_is_left_to_a_host() -> None:
    terms = msgspec.structs.replace(TERMS, timeout_s=1.0)
    assert native_wait(TriggerSpec(classpath=CLASSPATH, kwargs=ASKED), terms) is None


def test_equal_questions_are_not_one() -> None:
    spec = native_wait(TriggerSpec(classpath=CLASSPATH, kwargs=ASKED), TERMS)
    assert spec is not None
    assert coalescing_key(spec.probe, "a") != coalescing_key(spec.probe, "b")


@pytest.mark.parametrize(
    ("chosen", "multiple", "fault"),
    [
        (["a"], False, None),
        (["a", "b"], True, None),
        (["a", "b"], False, "allows one"),
        (["c"], False, "'c' is not one of the options"),
        (["a", "c"], True, "'c' is not one of the options"),
    ],
)
def test_options(chosen: list[str], multiple: bool, fault: str | None) -> None:
    if fault is None:
        check_options(["a", "b"], chosen, multiple=multiple)
        return
    with pytest.raises(Invalid, match=fault) as caught:
        check_options(["a", "b"], chosen, multiple=multiple)
    assert caught.value.location == ("body", "chosen_options")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, None),
        ({"zone": "us", "age": 4}, None),
        ({"zone": "us"}, "not given: age"),
        ({"zone": "us", "age": 4, "more": 1}, "not asked for: more"),
        ({"zone": 5, "age": 4}, "Invalid input for param zone"),
    ],
)
def test_input(given: dict[str, Any], fault: str | None) -> None:
    if fault is None:
        check_input(PARAMS, given)
        return
    with pytest.raises(Invalid, match=fault) as caught:
        check_input(PARAMS, given)
    assert caught.value.location == ("body", "params_input")


def test_the_event_is_airflows() -> None:
    answer = Answer(
        chosen_options=("Yes",),
        params_input={"n": 1},
        responded_at=AT,
        responded_by=Person(id="anna", name="Anna"),
    )
    event = event_of(answer)
    assert event.pop("responded_at")["__data__"]["timestamp"] == AT.timestamp()
    assert event == {
        "chosen_options": ["Yes"],
        "params_input": {"n": 1},
        "responded_by_user": {"id": "anna", "name": "Anna"},
        "timedout": False,
    }
    assert describe(answer) == "Anna answered: Yes"


def test_defaults_are_nobodys_answer() -> None:
    answer = Answer(chosen_options=("No",), params_input=default_input(PARAMS), responded_at=AT)
    event = event_of(answer)
    assert (event["responded_by_user"], event["timedout"]) == (None, True)
    assert event["params_input"] == {"zone": "eu", "age": 3}
    assert "in time" in describe(answer)
