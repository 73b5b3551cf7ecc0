"""Where things are kept: the one place that knows which store serves logs and values."""

from __future__ import annotations

from typing import Protocol

import trio

from leoflowd.config import Config, ConfigRefused
from leoflowd.contract.logs import LogStore
from leoflowd.store.log_files import LogFiles


class LogPart(LogStore, Protocol):
    """A log store as a component of the tree."""

    def statistics(self) -> object: ...

    def complaint(self) -> str | None: ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...


def log_store(config: Config) -> LogPart:
    """Raises `ConfigRefused`."""
    if not config.logs.url:
        return LogFiles(config.agents.log_dir)
    try:
        # Only for those who ask for it: the package is not part of Lite.
        from leoflowd.objects.bucket import Bucket
        from leoflowd.objects.logs import ObjectLogs

        bucket = Bucket(config.logs.url, timeout_s=config.logs.timeout_s)
    except (ImportError, ValueError) as error:
        raise ConfigRefused(f"LEOFLOW_LOGS_URL cannot be used: {error}") from error
    return ObjectLogs(bucket, interval_s=config.logs.interval_s)
