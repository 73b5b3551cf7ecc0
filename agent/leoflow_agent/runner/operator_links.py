"""Links that an operator shows beside its tasks: XComs, pushed once the task has run, as the SDK's `finalize` does."""

from __future__ import annotations

import functools
from typing import Any

from . import callbacks


def push(task: Any, ti: Any) -> None:
    """What fails is logged, and changes nothing for the task."""
    for link in task.operator_extra_links:
        callbacks.call_one(f"the link {link.name!r}", functools.partial(_push, link, task, ti))


def _push(link: Any, task: Any, ti: Any) -> None:
    ti.xcom_push(link.xcom_key, link.get_link(operator=task, ti_key=ti))
