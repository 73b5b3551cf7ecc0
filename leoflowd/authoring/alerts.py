"""`alerts:` of leoflow.yaml: who is told when dag runs and tries end. `project` checks it, `project_settings` takes it.

alerts:
  - on: [failure, task_retry]
    slack: my_slack            # a connection; or webhook: ..., or email: smtp_default with to: [...]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from leoflowd.authoring.yaml_lines import Document
from leoflowd.contract.callback_spec import AlertEvent, AlertSpec

EVENTS: tuple[str, ...] = get_args(AlertEvent)
KINDS = ("slack", "webhook", "email")


def check_alert(value: Any, at: str, document: Document) -> None:
    """Raises `DagCompileError`."""

    def refuse(what: str, why: str, remedy: str) -> None:
        raise document.error(at, f"{at} {what}", why, remedy)

    if not isinstance(value, dict):
        refuse(f"is {value!r}", "it must be a mapping", "write `on:` and one of slack, webhook, email")
    unknown = sorted(set(value) - {"on", "to", *KINDS})
    if unknown:
        refuse(f"has {', '.join(unknown)}", f"known are on, to, {', '.join(KINDS)}", "correct or remove it")
    events = _texts(value.get("on"))
    if not events or not set(events) <= set(EVENTS):
        refuse(f"has on: {value.get('on')!r}", f"it must name some of {', '.join(EVENTS)}", "correct it")
    kinds = [kind for kind in KINDS if kind in value]
    if len(kinds) != 1 or not isinstance(value[kinds[0]], str) or not value[kinds[0]]:
        refuse("names no way", f"it needs one of {', '.join(KINDS)}, with a connection", "add it")
    if (kinds[0] == "email") != bool(_texts(value.get("to"))):
        refuse("and `to` do not fit", "mails need addresses, and nothing else has any", "correct `to:`")


def alerts_of(given: Sequence[dict[str, Any]]) -> list[AlertSpec]:
    """Of what was checked."""
    return [_alert(one, next(kind for kind in KINDS if kind in one)) for one in given]


def _alert(one: dict[str, Any], kind: Any) -> AlertSpec:
    events: Any = tuple(_texts(one["on"]))
    return AlertSpec(on=events, kind=kind, connection=one[kind], to=tuple(_texts(one.get("to"))))


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    return [text for text in texts if isinstance(text, str) and text]
