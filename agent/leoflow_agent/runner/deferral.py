"""A task that only wants to wait: what it waits for, as the outcome carries it, and how it goes on afterwards.

The forms are `leoflowd.contract.wait_spec.Deferral` and `leoflowd.contract.agent_messages.ResumeCall`.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from . import limits, xcom

_FAILED = "__fail__"
"""Airflow's method name for "the trigger failed": `resume_execution` raises then."""


def of_task(deferred: Any) -> dict[str, Any]:
    """The deferral of a TaskDeferred or a LeoflowDefer. Raises what `trigger.serialize()` raises, and TypeError,
    NotSerializable and TooLarge for arguments that cannot be kept."""
    if hasattr(deferred, "wait"):
        return {"wait": deferred.wait, "next_method": deferred.next_method or ""}
    classpath, kwargs = deferred.trigger.serialize()
    method = deferred.method_name or ""  # none for a trigger that ends the task itself
    return of_trigger(
        classpath,
        xcom.plain(kwargs, f"argument of trigger {classpath}"),
        next_method=method,
        next_kwargs=xcom.plain(deferred.kwargs or {}, f"argument of {method}"),
        timeout=deferred.timeout,
    )


def of_trigger(
    classpath: Any, kwargs: Any, *, next_method: str, next_kwargs: Any, timeout: timedelta | float | None
) -> dict[str, Any]:
    """Arguments are in the XCom form already. `timeout` in seconds, unless it is a timedelta; a negative one has
    passed already, as in Airflow."""
    if not isinstance(classpath, str) or not isinstance(kwargs, dict):
        raise TypeError(f"serialize() of a trigger must give its class path and a dict, not {classpath!r}, {kwargs!r}")
    timeout_s = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    limits.json_text([kwargs, next_kwargs], f"what trigger {classpath} and {next_method} are to be called with")
    return {
        "trigger": {"classpath": classpath, "kwargs": kwargs},
        "next_method": next_method,
        "next_kwargs": next_kwargs,
        "timeout_s": None if timeout_s is None else max(0.0, timeout_s),
    }


def text(deferral: dict[str, Any]) -> str:
    """As the outcome carries it. Raises `NotSerializable` and `TooLarge`."""
    return limits.json_text(deferral, "what the task waits for", max_bytes=2 * limits.XCOM_MAX_BYTES)


def describe(deferral: dict[str, Any]) -> str:
    """One sentence for people."""
    if "wait" in deferral:
        return f"The task waits without a process ({deferral['wait'].get('probe', {}).get('kind', 'wait')})."
    return f"The task waits for {deferral['trigger']['classpath']}."


def resumed(call: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Method and arguments, still in the XCom form, that a deferred task goes on with."""
    if call.get("error") is not None:
        traceback = call.get("traceback")
        return _FAILED, {"error": call["error"], **({"traceback": list(traceback)} if traceback else {})}
    kwargs = json.loads(call.get("next_kwargs") or "{}")
    return call["next_method"], {**(kwargs or {}), "event": json.loads(call.get("event") or "null")}
