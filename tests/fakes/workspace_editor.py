"""A workspace for tests of the API: real files on a disk, and a state that the test says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from leoflowd.contract.workspace_files import ProjectState, WorkspaceState
from leoflowd.lite.workspace_files import DiskFiles


class FakeEditor:
    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root
        self.files = DiskFiles(root)
        self.version = 0
        self.projects: tuple[ProjectState, ...] = ()
        self.names: Mapping[str, Any] = {"modules": {"airflow.sdk": {"DAG": "DAG"}}, "callables": {}}
        self._changed = trio.Event()

    def look(self) -> int:
        self.version += 1
        self._changed.set()
        self._changed = trio.Event()
        return self.version

    def state(self) -> WorkspaceState:
        return WorkspaceState(version=self.version, is_looking=False, projects=self.projects)

    async def wait_changed(self, version: int) -> None:
        while self.version == version:
            await self._changed.wait()

    def completions(self) -> Any:
        return self.names
