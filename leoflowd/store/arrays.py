"""Lists as parameters of statements, which carry a batch of rows each: psycopg writes them item by item, in Python.

`database` registers this for all connections. Lists of one of the types below are written at once; all others, and what
Postgres refuses, by psycopg itself, whose bytes mean the same (it quotes where it has to, we quote always).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.abc import Buffer
from psycopg.types.array import ListDumper
from typing_extensions import override


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


_TEXTS: dict[type, Callable[[Any], str]] = {str: _escaped, UUID: str, datetime: str, int: str}


class Arrays(ListDumper):
    @override
    def dump(self, obj: list[Any]) -> Buffer | None:
        kinds = set(map(type, obj))
        kinds.discard(type(None))
        text_of = _TEXTS.get(kinds.pop()) if len(kinds) == 1 else None
        if text_of is None:
            return super().dump(obj)
        text = ",".join(["NULL" if item is None else f'"{text_of(item)}"' for item in obj])
        if "\0" in text:
            return super().dump(obj)  # it says why not
        return f"{{{text}}}".encode(self._tx.encoding)
