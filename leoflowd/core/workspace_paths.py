"""Which texts may name a file of the workspace. A wall of words; `lite.workspace_files` has the one of descriptors."""

from __future__ import annotations

from leoflowd.contract.errors import Invalid

PART_MAX_BYTES = 255
"""Of one name; file systems have no more."""
DEPTH_MAX = 32
RESERVED = ".leoflow-"
"""How names of half-written files begin."""


def checked_path(text: str, *, hidden: bool = False) -> str:
    """The path itself, relative with slashes. Raises `Invalid`, which says what is wrong with it.

    `hidden`: names that begin with a dot (`.git`, `.env`) are asked for on purpose.
    """
    parts = text.split("/")
    if len(parts) > DEPTH_MAX:
        raise _refused(f"it is deeper than {DEPTH_MAX} folders")
    for part in parts:
        _check_part(part, hidden)
    return text


def is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _check_part(part: str, hidden: bool) -> None:
    if part in ("", ".", ".."):
        raise _refused("a path is relative to the workspace, and none of its names is empty, `.` or `..`")
    if "\\" in part or not part.isprintable():
        raise _refused("a name holds a backslash or a character that cannot be printed")
    if part != part.strip():
        raise _refused("a name begins or ends with a space")
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        raise _refused("a name is no UTF-8") from None
    if size > PART_MAX_BYTES:
        raise _refused(f"a name is longer than {PART_MAX_BYTES} bytes")
    if part.startswith(RESERVED):
        raise _refused(f"names that begin with {RESERVED} are the editor's own, for half-written files")
    if part.startswith(".") and not hidden:
        raise _refused("names that begin with a dot are hidden; show hidden files to work on them")


def _refused(why: str) -> Invalid:
    return Invalid(f"This is no path for the editor: {why}", location=("path",))
