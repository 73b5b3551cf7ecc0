"""Taking turns: whoever has ten thousand things in the line gets one, then the next owner gets one. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Lines by owner (a DAG), served in turn; inside a line, first come, first served. Every step is O(1)."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, owner: str, item: T) -> None:
        """To the end of its owner's line; an item is in the queue once at most."""
        line = self._lines.setdefault(owner, OrderedDict())
        assert item not in line, "in line already"
        line[item] = None
        self._count += 1

    def pop(self) -> T:
        """The first of the owner whose turn it is. Raises IndexError when nobody waits."""
        if not self._lines:
            raise IndexError("nobody is in line")
        owner, line = next(iter(self._lines.items()))
        item, _ = line.popitem(last=False)
        self._count -= 1
        if line:
            self._lines.move_to_end(owner)
        else:
            del self._lines[owner]
        return item

    def discard(self, owner: str, item: T) -> bool:
        """Out of turn; False: it was not in line."""
        line = self._lines.get(owner)
        if line is None or item not in line:
            return False
        del line[item]
        self._count -= 1
        if not line:
            del self._lines[owner]
        return True
