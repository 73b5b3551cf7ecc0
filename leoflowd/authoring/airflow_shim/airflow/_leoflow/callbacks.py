"""What the artifact says of callbacks and mails: for which events there are functions, and who is mailed (ADR 48)."""

from __future__ import annotations

import re
from typing import Any

from airflow._leoflow.errors import AuthoringError, describe

TASK_EVENTS = ("execute", "failure", "retry", "skipped", "success")
DAG_EVENTS = ("failure", "success")


def events_of(node: Any, events: tuple[str, ...], who: str) -> list[str]:
    """Those for which the author gave functions. Raises `AuthoringError` for what cannot be called."""
    return [event for event in events if _is_given(getattr(node, f"on_{event}_callback", None), event, who, node)]


def _is_given(given: Any, event: str, who: str, node: Any) -> bool:
    if given is None:
        return False
    functions = list(given) if isinstance(given, (list, tuple, set)) else [given]
    for function in functions:
        if not callable(function):
            raise AuthoringError(
                f"{who} has on_{event}_callback={describe(function)}",
                "it is called with the context, and this cannot be called",
                "pass a function, a notifier, or a list of them",
                node._location,
            )
    return bool(functions)


def mails_of(task: Any) -> dict[str, Any]:
    """`email`, and for which events. Raises `AuthoringError`."""
    given = () if task.email is None else task.email
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple, set)) or not all(isinstance(text, str) for text in texts):
        raise AuthoringError(
            f"task {task.task_id!r} has email={describe(given)}",
            "it must be addresses",
            "pass a text with commas between them, or a list of texts",
            task._location,
        )
    return {
        "email": [one.strip() for text in texts for one in re.split(r"[,;]", text) if one.strip()],
        "email_on_failure": bool(task.email_on_failure),
        "email_on_retry": bool(task.email_on_retry),
    }
