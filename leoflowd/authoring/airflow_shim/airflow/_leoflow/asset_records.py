"""Functions that say something of their task's outlets by yielding `Metadata`, as Airflow runs them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from airflow._leoflow.assets import Metadata

_log = logging.getLogger("airflow.task")


def call(function: Callable[..., Any], context: Any, /, *args: Any, **kwargs: Any) -> Any:
    """What it returns; a generator or a coroutine is run to its end. Of an asynchronous generator: all that it gave."""
    if inspect.isgeneratorfunction(function):
        return _exhausted(function(*args, **kwargs), context)
    if inspect.isasyncgenfunction(function):
        return _run(_listed(function(*args, **kwargs), context))
    value = function(*args, **kwargs)
    return _run(_awaited(value)) if inspect.iscoroutine(value) else value


def _exhausted(generator: Any, context: Any) -> Any:
    returned: list[Any] = []

    def to_the_end() -> Any:
        returned.append((yield from generator))

    for one in to_the_end():
        _record(one, context)
    return returned[0]


async def _listed(generator: Any, context: Any) -> list[Any]:
    found = []
    async for one in generator:
        _record(one, context)
        found.append(one)
    return found


def _record(one: Any, context: Any) -> None:
    if not isinstance(one, Metadata):
        _log.warning("The task yielded a %s, which means nothing; it may yield Metadata(...)", type(one).__name__)
        return
    events = context["outlet_events"]
    events[one.asset].extra.update(one.extra)
    if one.alias:
        events[one.alias].add(one.asset, extra=one.extra)


async def _awaited(value: Any) -> Any:
    return await value


def _run(coroutine: Any) -> Any:
    import asyncio  # 20 ms that no other task needs

    return asyncio.run(coroutine)
