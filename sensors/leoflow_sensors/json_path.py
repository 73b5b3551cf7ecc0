"""A small path into a JSON document, for the predicates of waits and inline HTTP tasks: `find(document, path)`.

The whole language: names joined by dots, numbers in brackets, and quoted names in brackets for those with other
characters. `$.` at the start may be there or not; a negative number counts from the end.

    status    $.job.state    items[0].id    items[-1]    metadata["app.kubernetes.io/name"]    ['a b'][2]

There is nothing that searches (`..`, `*`, filters): a path has one place or none, and costs its own length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

LENGTH_MAX = 1000

_STEP = re.compile(
    r"""\.?(?P<name>[A-Za-z_][A-Za-z0-9_-]*)      # a.b
    |   \[(?P<index>-?[0-9]{1,9})\]               # [0]
    |   \["(?P<double>[^"]*)"\] | \['(?P<single>[^']*)'\]   # ["a.b"]
    """,
    re.VERBOSE,
)
Path = tuple[str | int, ...]


@lru_cache(maxsize=1024)
def parse(path: str) -> Path:
    """Names and indexes, outermost first; none for `$`. Raises ValueError that shows where it stops making sense."""
    if len(path) > LENGTH_MAX:
        raise ValueError(f"a JSON path of {len(path)} characters is longer than {LENGTH_MAX}")
    steps: list[str | int] = []
    position = start = 1 if path.startswith("$") else 0
    while position < len(path):
        step = _STEP.match(path, position)
        # A first name has no dot before it, unless after `$`; every later one has.
        if step is None or (step["name"] and (path[position] == ".") != (position > start or start == 1)):
            raise ValueError(
                f"JSON path {path!r} is not understood from {path[position:]!r} on; write names with dots, indexes in "
                'brackets, other names quoted in brackets: items[0]["a b"].state'
            )
        steps.append(int(step["index"]) if step["index"] else step["name"] or step["double"] or step["single"] or "")
        position = step.end()
    if not path:
        raise ValueError("a JSON path is empty; write `$` for the whole document")
    return tuple(steps)


def find(document: Any, path: str) -> Any:
    """What is at `path`, or `msgspec.UNSET` (false, equal to no JSON) when there is nothing.

    Raises ValueError for a bad path.
    """
    found = document
    for step in parse(path):
        if isinstance(step, str) and isinstance(found, dict):
            found = found.get(step, msgspec.UNSET)
        elif isinstance(step, int) and isinstance(found, list) and -len(found) <= step < len(found):
            found = found[step]
        else:
            return msgspec.UNSET
    return found


def is_met(document: Any, path: str, equals: Any = msgspec.UNSET) -> bool:
    """Does what is at `path` equal `equals`? Without `equals`: is it there and true in Python's sense?"""
    found = find(document, path)
    if equals is msgspec.UNSET:
        return bool(found)
    # `1 == True` in Python, not in JSON.
    return found is not msgspec.UNSET and isinstance(found, bool) == isinstance(equals, bool) and found == equals
