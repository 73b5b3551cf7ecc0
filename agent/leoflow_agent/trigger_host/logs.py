"""What triggers log: to the host's own file, and for each trigger its first lines to the daemon as well.

The shape of a line is that of a task's log (`runner.logs`), so that it can stand beside the lines of its task.
"""

# mypy: disable-error-code="explicit-override"
# `typing.override` may be newer than the author's interpreter.

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime, timezone
from typing import Any

from ..runner import limits
from ..runner.logs import clean, describe_error
from .channel import Channel
from .marking import current_wait

MOST_LINES = 200
"""Lines of one trigger that go to the daemon; a trigger that logs each of its polls would fill the task's log."""
_TEXT_LENGTH = 4000


class TriggerLog:
    """Where all log lines of this process come together."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sent: dict[str, int] = {}

    def forget(self, wait_id: str) -> None:
        self._sent.pop(wait_id, None)

    def add(self, line: dict[str, Any]) -> None:
        wait_id = current_wait.get()
        line["event"] = self._channel.redact(clean(str(line.get("event", "")))[:_TEXT_LENGTH])
        text = self._channel.redact(json.dumps(limits.shown_value(json.loads(json.dumps(line, default=str)))))
        sys.stderr.write(f"{wait_id or 'host'} {text}\n")
        if wait_id:
            self._pass_on(wait_id, json.loads(text))

    def _pass_on(self, wait_id: str, line: dict[str, Any]) -> None:
        sent = self._sent[wait_id] = self._sent.get(wait_id, 0) + 1
        if sent == MOST_LINES:
            line["event"] = f"The trigger logged {MOST_LINES} lines; the others are in the trigger host's log only."
        if sent <= MOST_LINES:
            self._channel.send("log", wait_id=wait_id, line=line)


class PythonLogs(logging.Handler):
    """Python's `logging`."""

    def __init__(self, log: TriggerLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            moment = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="microseconds")
            line: dict[str, Any] = {
                "timestamp": moment.replace("+00:00", "Z"),
                "event": record.getMessage(),
                "level": record.levelname.lower(),
                "logger": record.name,
            }
            if record.exc_info and record.exc_info[1] is not None:
                line["error_detail"] = describe_error(record.exc_info[1])
            self._log.add(line)
        except Exception:  # noqa: BLE001  logging must not break the trigger; Python's own handlers do the same
            self.handleError(record)


class JsonLines:
    """The binary stream that Airflow's structured logging writes to."""

    def __init__(self, log: TriggerLog) -> None:
        self._log = log

    def write(self, line: bytes) -> int:
        self._log.add(json.loads(line))
        return len(line)

    def flush(self) -> None:
        """Nothing is held back."""


def set_up_logging(log: TriggerLog) -> None:
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(PythonLogs(log))
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


class LogFile:
    """The file behind descriptors 1 and 2; when it is full it becomes `<name>.1`, which replaces the one before."""

    def __init__(self, path: str, limit_bytes: int) -> None:
        self._path = path
        self._limit_bytes = limit_bytes

    def turn_over(self) -> None:
        if os.fstat(2).st_size < self._limit_bytes:
            return
        os.replace(self._path, self._path + ".1")
        fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in (1, 2):
            os.dup2(fresh, descriptor)
        os.close(fresh)
