"""A task's line to whoever runs it: the task runner says how to ask, and the shim's classes ask.

Kinds of questions are the fields of `leoflowd.contract.agent_messages`, in small letters: `connection`
(ConnectionAsk), `dag_run` (DagRunAsk), `counts` (CountsAsk), `dag` (DagAsk). While a file is only loaded there is
nobody to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Ask = Callable[[str, "dict[str, Any]"], "dict[str, Any]"]

_ask: Ask | None = None


class NotInTask(RuntimeError):
    """Somebody asked while no task runs."""


def set_supervisor(ask: Ask | None) -> None:
    """`ask(kind, question) -> answer`; None ends it."""
    global _ask
    _ask = ask


def ask(kind: str, question: dict[str, Any]) -> dict[str, Any]:
    """The daemon's answer; waits for as long as the daemon is away. Raises `NotInTask`."""
    if _ask is None:
        raise NotInTask(
            f"cannot ask for a {kind.replace('_', ' ')} here: nobody answers while a file is loaded; "
            "move the call into the task"
        )
    return _ask(kind, question)


def hide(secrets: Iterable[str | None]) -> None:
    """From now on these texts are `***` in the task's log. Without a task there is no log."""
    texts = [text for text in secrets if text]
    if texts and _ask is not None:
        _ask("mask", {"values": texts})
