"""The runner's side of the try's folder (see `leoflow_agent/spool.py`): what it reads, what it leaves."""

from __future__ import annotations

import json
import os
from typing import Any


class TryFiles:
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def begin(self) -> bool:
        """Marks that user code may run from now on. False if that was marked before: this try must not run again."""
        try:
            os.close(os.open(self._path("begun"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def read_spec(self) -> dict[str, Any]:
        return dict(_read_json(self._path("spec.json")))

    def stop_reason(self) -> tuple[str, str] | None:
        """(kind, because) when the agent decided to end this try."""
        try:
            stop = _read_json(self._path("stop.json"))
            return str(stop["kind"]), str(stop["because"])
        except (OSError, ValueError, KeyError):
            return None

    def add_event(self, event: dict[str, Any]) -> None:
        """One line, in one write, so that a kill leaves all of it or nothing that counts."""
        line = json.dumps(event, allow_nan=False).encode() + b"\n"
        with open(self._path("events.ndjson"), "ab", buffering=0) as events:
            events.write(line)

    def write_outcome(self, outcome: dict[str, Any]) -> None:
        temporary = self._path(".outcome.tmp")
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(outcome, file, allow_nan=False)
        os.rename(temporary, self._path("outcome.json"))

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)


def _read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)
