"""Airflow's event triggers for files: each fires when its file is there, which it deletes. Run in a trigger host."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Hashable
from typing import Any

from airflow._leoflow.triggers import STANDARD, BaseEventTrigger, TriggerEvent


class FileDeleteTrigger(BaseEventTrigger):
    """Fires when the file is there, and deletes it."""

    def __init__(self, filepath: str, poke_interval: float = 5.0, **_: Any) -> None:
        super().__init__()
        self.filepath = filepath
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        kwargs = {"filepath": self.filepath, "poke_interval": self.poke_interval}
        return f"{STANDARD}.file.FileDeleteTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while not await asyncio.to_thread(_deleted, self.filepath):  # noqa: ASYNC110  # a file tells nobody
            await asyncio.sleep(self.poke_interval)
        self.log.info("File %s has been deleted", self.filepath)
        yield TriggerEvent(True)


class DirectoryFileDeleteTrigger(BaseEventTrigger):
    """The same for a file of a folder; those of one folder share one look at it."""

    def __init__(self, *, directory: str, filename: str, poke_interval: float = 5.0) -> None:
        super().__init__()
        self.directory = directory
        self.filename = filename
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("directory", "filename", "poke_interval")
        return f"{STANDARD}.file.DirectoryFileDeleteTrigger", {name: getattr(self, name) for name in names}

    def shared_stream_key(self) -> Hashable:
        return "folder", os.path.realpath(self.directory), self.poke_interval

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[frozenset[str]]:
        """The names in the folder, again and again."""
        while True:
            yield await asyncio.to_thread(_names_in, kwargs["directory"])
            await asyncio.sleep(kwargs["poke_interval"])

    async def filter_shared_stream(self, shared_stream: AsyncIterator[frozenset[str]]) -> AsyncIterator[TriggerEvent]:
        path = os.path.join(self.directory, self.filename)
        async for names in shared_stream:
            if self.filename in names and await asyncio.to_thread(_deleted, path):
                self.log.info("File %s has been deleted", path)
                yield TriggerEvent({"filepath": path})
                return


def _names_in(directory: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory))
    except FileNotFoundError:
        return frozenset()


def _deleted(path: str) -> bool:
    """False: it is not there, or no file, or somebody else was faster."""
    try:
        if os.path.isfile(path):
            os.unlink(path)
            return True
    except FileNotFoundError:
        pass
    return False
