"""What the agent says about itself on stderr: one JSON object per line. Output of tasks never comes here."""

# mypy: disable-error-code="explicit-override"
# `typing.override` is newer than Python 3.11.

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.raiseExceptions = False  # a full disk must not become a traceback per line
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def fields(**values: object) -> dict[str, dict[str, object]]:
    """`log.info("event", extra=fields(try_id=...))`."""
    return {"fields": values}
