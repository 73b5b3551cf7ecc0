"""Logs: one constant snake_case event plus fields, as JSON lines (or short text on a terminal), ids bound once.

`bind(dag_id=..., run_id=...)` puts ids on every line of the current unit of work (contextvars; child tasks inherit).
Output of user tasks never comes here: it is data.
"""

from __future__ import annotations

import contextvars
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec
from typing_extensions import override

from leoflowd.contract.access_token import without_access_tokens
from leoflowd.contract.values import shown_value

_bound: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar("bound", default=MappingProxyType({}))


def utc_now() -> datetime:
    """The wall clock, read in shells only; everything below gets `now` as an argument."""
    return datetime.now(UTC)


@contextmanager
def bind(**fields: object) -> Iterator[None]:
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


class Logger:
    """`log.info("event_name", key=value)`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, *, exc_info: BaseException | None = None, **fields: object) -> None:
        self._write(logging.ERROR, event, fields, exc_info)

    def _write(self, level: int, event: str, fields: dict[str, object], exc_info: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": {**_bound.get(), **fields}}, exc_info=exc_info)


def get_logger(name: str) -> Logger:
    return Logger(name)


class _Lines(logging.Formatter):
    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    @override
    def format(self, record: logging.LogRecord) -> str:
        return without_access_tokens(self._line(record))

    def _line(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        error = self.formatException(record.exc_info) if record.exc_info else None
        if self._as_json:
            facts = {"at": at, "level": record.levelname.lower(), "logger": record.name, "event": record.getMessage()}
            told = shown_value({**facts, **fields, **({"error": error} if error else {})})  # errors quote anything
            return msgspec.json.encode(told, enc_hook=str).decode()
        text = " ".join(f"{key}={value}" for key, value in fields.items())
        line = f"{at[11:23]} {record.levelname.lower():7} {record.getMessage()} {text}"
        return str(shown_value(f"{line}\n{error}" if error else line))


def configure(*, level: str = "INFO", as_json: bool | None = None) -> None:
    """Send logs to stderr: JSON, or short text for a person; None: text on a terminal alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(as_json=not sys.stderr.isatty() if as_json is None else as_json))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("hypercorn", "hpack", "h2", "httpx", "httpcore", "watchfiles", "trio-asyncio", "asyncio", "grpclib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
