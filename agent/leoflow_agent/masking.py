"""Secrets that the task read, kept out of its log: `***` in what it prints and in what it logs.

`running_try` has one per try; the runner names the secrets before user code gets them. Shorter texts than
`MIN_LENGTH` are left alone, as Airflow does: hiding them would make the log unreadable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MIN_LENGTH = 5
MASK = "***"


class Secrets:
    """The texts to hide; longer ones first, so that one inside another leaves nothing behind."""

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ()

    def hide(self, texts: Iterable[str]) -> None:
        known = {*self._texts, *(text for text in texts if len(text) >= MIN_LENGTH)}
        self._texts = tuple(sorted(known, key=len, reverse=True))

    def in_output(self, raw: bytes) -> bytes:
        """One line of output. A secret that the task prints over several lines is not recognised."""
        for text in self._texts:
            raw = raw.replace(text.encode(), MASK.encode())
        return raw

    def in_record(self, value: Any) -> Any:
        """All texts of a record, however deep; its keys stay."""
        if not self._texts:
            return value
        if isinstance(value, str):
            for text in self._texts:
                value = value.replace(text, MASK)
            return value
        if isinstance(value, list):
            return [self.in_record(item) for item in value]
        if isinstance(value, dict):
            return {key: self.in_record(item) for key, item in value.items()}
        return value
