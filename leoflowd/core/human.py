"""Answers of people: whether one fits its question, and what the task is told of it. Pure.

The events are those of `HITLTrigger` in `apache-airflow-providers-standard` 1.14, in the runner's XCom form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leoflowd.contract.errors import Invalid
from leoflowd.contract.human import Answer, Person
from leoflowd.core.known_triggers import enveloped_moment
from leoflowd.core.run_conf import checked_conf

TIMED_OUT: Mapping[str, str] = {
    "error": "The timeout has passed, and the response has not yet been received.",
    "error_type": "timeout",
}
"""The event when nobody answered in time and there are no defaults."""


def check_options(options: Sequence[str], chosen: Sequence[str], *, multiple: bool) -> None:
    """Raises `Invalid`. Airflow takes any answer, and fails the task for one like these."""
    unknown = [option for option in chosen if option not in options]
    if unknown:
        raise Invalid(
            f"{', '.join(map(repr, unknown))} is not one of the options; they are {', '.join(map(repr, options))}",
            location=("body", "chosen_options"),
        )
    if len(chosen) > 1 and not multiple:
        raise Invalid(
            f"{len(chosen)} options are chosen, and the question allows one", location=("body", "chosen_options")
        )


def check_input(params: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises `Invalid`. Nothing at all may be given, as in Airflow; else every param, each as its schema says."""
    if not given:
        return
    missing, unknown = params.keys() - given.keys(), given.keys() - params.keys()
    if missing or unknown:
        names = ", ".join(params) or "none"
        raise Invalid(
            f"the question's params are {names}; "
            + "; ".join(
                f"{what}: {', '.join(sorted(found))}"
                for what, found in (("not given", missing), ("not asked for", unknown))
                if found
            ),
            location=("body", "params_input"),
        )
    try:
        checked_conf({name: param_form(param) for name, param in params.items()}, dict(given))
    except ValueError as error:
        raise Invalid(str(error), location=("body", "params_input")) from None


def param_form(param: Any) -> dict[str, Any]:
    """A param as the UI's forms have it, also one that was given as a bare value."""
    if isinstance(param, dict) and {"value", "schema", "description"} <= param.keys():
        return param
    return {"value": param, "schema": {}, "description": None}


def default_input(params: Mapping[str, Any]) -> dict[str, Any]:
    """What is entered when the defaults are taken."""
    return {name: param_form(param)["value"] for name, param in params.items()}


def event_of(answer: Answer) -> dict[str, Any]:
    """What the task's `execute_complete` gets."""
    return {
        "chosen_options": list(answer.chosen_options),
        "params_input": answer.params_input,
        "responded_at": enveloped_moment(answer.responded_at),
        "responded_by_user": None if answer.responded_by is None else _user(answer.responded_by),
        "timedout": answer.responded_by is None,
    }


def describe(answer: Answer) -> str:
    """One sentence for people."""
    chosen = ", ".join(answer.chosen_options)
    if answer.responded_by is None:
        return f"nobody answered in time, so the default was taken: {chosen}"
    return f"{answer.responded_by.name} answered: {chosen}"


def _user(person: Person) -> dict[str, str]:
    return {"id": person.id, "name": person.name}
