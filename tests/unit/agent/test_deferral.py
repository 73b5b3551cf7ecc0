"""What a deferral carries, and with what a deferred task goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from leoflow_agent.runner import deferral, limits, xcom
from leoflowd.contract.wait_spec import Deferral


class Trigger:
    def __init__(self, classpath: Any = "a.B", kwargs: Any = None) -> None:
        self._serialized = classpath, {} if kwargs is None else kwargs

    def serialize(self) -> tuple[Any, Any]:
        return self._serialized


class Deferred:
    def __init__(self, trigger: Trigger, *, method_name: str | None = "go_on", timeout: Any = None) -> None:
        self.trigger, self.method_name, self.kwargs, self.timeout = trigger, method_name, None, timeout


def of(*args: Any, **kwargs: Any) -> Deferral:
    return msgspec.convert(deferral.of_task(Deferred(*args, **kwargs)), Deferral)


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(None, None), (timedelta(minutes=1), 60.0), (2.5, 2.5), (timedelta(seconds=-3), 0.0)]
)
def test_a_timeout_is_in_seconds_and_never_negative(timeout: Any, seconds: float | None) -> None:
    assert of(Trigger(), timeout=timeout).timeout_s == seconds


def test_a_trigger_that_ends_the_task_itself_needs_no_method() -> None:
    assert of(Trigger(), method_name=None).next_method == ""


@pytest.mark.parametrize(("classpath", "kwargs"), [(Trigger, {}), ("a.B", [1])])
def test_serialize_must_give_a_class_path_and_a_dict(classpath: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match="must give its class path and a dict"):
        of(Trigger(classpath, kwargs))


def test_arguments_are_no_larger_than_an_xcom() -> None:
    with pytest.raises(xcom.TooLarge, match=r"what trigger a\.B and go_on are to be called with is \d+ bytes"):
        of(Trigger(kwargs={"text": "x" * limits.XCOM_MAX_BYTES}))


def test_the_event_comes_beside_the_methods_own_arguments() -> None:
    call = {"next_method": "go_on", "next_kwargs": '{"a": 1}', "event": None, "error": None}
    assert deferral.resumed(call) == ("go_on", {"a": 1, "event": None})


def test_a_failed_trigger_leads_to_airflows_failing_method() -> None:
    call = {"next_method": "go_on", "error": "Trigger failure", "traceback": ["line"]}
    assert deferral.resumed(call) == ("__fail__", {"error": "Trigger failure", "traceback": ["line"]})
