"""Links that an operator shows beside its tasks: XComs, pushed once the task has run, as the SDK's `finalize` does."""

from __future__ import annotations

import functools
from typing import Any

from . import callbacks


def push(task: Any, ti: Any) -> None:
    """What fails is logged, and changes nothing for the task."""
    links: list[Any] = []
    callbacks.call_one("operator_extra_links", lambda: links.extend(task.operator_extra_links))  # may be a property
    for link in links:
        callbacks.call_one(f"the link {type(link).__name__}", functools.partial(_push, link, task, ti))


def _push(link: Any, task: Any, ti: Any) -> None:
    ti.xcom_push(link.xcom_key, link.get_link(operator=task, ti_key=ti))
