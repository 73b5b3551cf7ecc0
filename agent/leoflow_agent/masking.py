"""Secrets that the task read, kept out of its log: `***` in what it prints and in what it logs.

`running_try` has one `Secrets` per try; the runner names the secrets before user code gets them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from leoflow_agent.runner.secret_forms import Hidden


class Secrets:
    """The texts to hide, in every form that `secret_forms` knows."""

    def __init__(self) -> None:
        self._hidden = Hidden()

    @property
    def longest(self) -> int:
        """Bytes of the longest text to hide: so much of an unfinished line must be held back to recognise it."""
        return self._hidden.longest

    def hide(self, texts: Iterable[str]) -> None:
        self._hidden.hide(texts)

    def in_output(self, raw: bytes) -> bytes:
        """A piece of output."""
        return self._hidden.in_bytes(raw)

    def cut_before(self, raw: bytes, at: int) -> int:
        """Where to cut output that is masked later, at `at` or after it, so that no secret is cut in two."""
        return self._hidden.cut_before(raw, at)

    def in_record(self, value: Any) -> Any:
        """All texts of a record, however deep; its keys stay."""
        if not self.longest:
            return value
        if isinstance(value, str):
            return self._hidden.in_text(value)
        if isinstance(value, list):
            return [self.in_record(item) for item in value]
        if isinstance(value, dict):
            return {key: self.in_record(item) for key, item in value.items()}
        return value
