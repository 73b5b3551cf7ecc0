"""What the web editor may ask a workspace for: its files, what compiling them gave, what can be completed.

The port between the API and Lite, which alone has a workspace. Paths are relative to it, with slashes, and checked by
`core.workspace_paths` before they come here. File methods block: callers use a thread.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol

import msgspec

from leoflowd.contract.errors import Conflict


class FileKind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    """Never followed: what it points to may be anywhere."""
    OTHER = "other"
    """A pipe, a socket, a device."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    kind: FileKind
    size: int
    """Bytes; 0 for what is no file."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    entries: tuple[Entry, ...]
    """Folders before what is in them."""
    is_complete: bool
    """False: there are more files than a tree can show."""


class FileText(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    text: str
    etag: str
    """Of the content alone."""


class FileChanged(Conflict):
    """Somebody else saved, made or removed the file meanwhile; `current` is what is there now, None nothing."""

    def __init__(self, message: str, current: FileText | None) -> None:
        super().__init__(message)
        self.current = current


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A fault or a warning in a file of the workspace."""

    path: str
    line: int
    """From 1."""
    message: str
    remedy: str = ""
    is_warning: bool = False


class ProjectState(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    """The file that defines its DAGs, or would."""
    is_compiling: bool
    dag_ids: tuple[str, ...]
    """Of the last compile that went well."""
    findings: tuple[Finding, ...]


class WorkspaceState(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    """Grows with each change; a state with a greater one than a save answered knows of that save."""
    is_looking: bool
    """Files changed, or may have, and were not listed again yet."""
    projects: tuple[ProjectState, ...]


class WorkspaceFiles(Protocol):
    """Raises `NotFound`, `Conflict`, `NotAllowed` (our user may not), `Invalid` (a link, binary, too large)."""

    def listing(self, *, hidden: bool) -> Listing: ...
    def read(self, path: str) -> FileText: ...
    def write(self, path: str, text: str, *, etag: str | None) -> str:
        """The new etag. `etag`: of what is replaced; None makes a new file. Raises `FileChanged`."""
        ...

    def make_folder(self, path: str) -> None: ...
    def move(self, path: str, to: str) -> None:
        """Never over something that is there."""
        ...

    def count(self, path: str) -> int:
        """How many files removing it would remove, hidden ones included."""
        ...

    def remove(self, path: str, *, files: int) -> None:
        """Raises `Conflict` when there are not just so many files."""
        ...

    def add_examples(self) -> tuple[str, ...]:
        """Folders that were made; what is there already is left alone."""
        ...


class WorkspaceEditor(Protocol):
    @property
    def files(self) -> WorkspaceFiles: ...
    def look(self) -> int:
        """Compile what changed, now. States of a greater version than the answer know of it."""
        ...

    def state(self) -> WorkspaceState: ...
    async def wait_changed(self, version: int) -> None:
        """Returns once the state is another than the one of this version."""
        ...

    def completions(self) -> Any:
        """JSON-ready names and arguments of `airflow` and `leoflow`. Blocks the first time."""
        ...
