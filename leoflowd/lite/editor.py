"""What the web editor of Lite works with: the workspace's files, the workspace itself, and the stubs. ADR 89."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from leoflowd.contract.workspace_files import WorkspaceFiles, WorkspaceState
from leoflowd.lite.completions import completions_of, read_stubs
from leoflowd.lite.workspace import Workspace
from leoflowd.lite.workspace_files import DiskFiles


class Editor:
    """`contract.workspace_files.WorkspaceEditor`."""

    def __init__(self, root: Path, workspace: Workspace) -> None:
        self._workspace = workspace
        self._files = DiskFiles(root)

    @property
    def files(self) -> WorkspaceFiles:
        return self._files

    def look(self) -> int:
        return self._workspace.look()

    def state(self) -> WorkspaceState:
        return self._workspace.state()

    async def wait_changed(self, version: int) -> None:
        await self._workspace.wait_changed(version)

    def completions(self) -> Any:
        return self._completions

    @cached_property
    def _completions(self) -> Any:
        return msgspec.to_builtins(completions_of(read_stubs()))
