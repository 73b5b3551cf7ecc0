"""The files of the workspace, as the web editor opens and saves them. Blocking: every call belongs into a thread.

Each folder on the way to a file is opened from the one before it, and no symbolic link is followed, ever: whoever swaps
a folder for a link meanwhile (tasks may write here) finds us in the old folder or refused, never outside. ADR 89.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from leoflowd.authoring.discovery import SKIPPED_FOLDERS
from leoflowd.contract.errors import Conflict, Invalid, LeoflowError, NotAllowed, NotFound
from leoflowd.contract.workspace_files import Entry, FileChanged, FileKind, FileText, Listing
from leoflowd.core.workspace_paths import DEPTH_MAX, RESERVED, checked_path
from leoflowd.lite.starter import EXAMPLES, STARTER, example_names

TEXT_MAX_BYTES = 1024 * 1024
ENTRIES_MAX = 5_000
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not keep us
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
EXAMPLES_FOLDER = "examples"


class DiskFiles:
    """`contract.workspace_files.WorkspaceFiles` on a disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._changing = threading.Lock()
        """Between looking at a file and replacing it no other request of ours changes it."""

    # --- looking -------------------------------------------------------------------------------------------------

    def listing(self, *, hidden: bool) -> Listing:
        entries: list[Entry] = []
        with _folder(self._root, ()) as top:
            is_complete = _list_into(entries, top, "", hidden=hidden)
        return Listing(entries=tuple(entries), is_complete=is_complete)

    def read(self, path: str) -> FileText:
        with self._parent(path) as (folder, name):
            return _text_of(folder, name, path)[0]

    def count(self, path: str) -> int:
        with self._parent(path) as (folder, name):
            return _count(folder, name)

    # --- changing ------------------------------------------------------------------------------------------------

    def write(self, path: str, text: str, *, etag: str | None) -> str:
        try:
            content = text.encode()
        except UnicodeEncodeError:
            raise Invalid(
                "The text holds half a surrogate pair, which is no UTF-8", location=("body", "text")
            ) from None
        if len(content) > TEXT_MAX_BYTES:
            raise Invalid(
                f"The text has {len(content)} bytes; the editor saves {TEXT_MAX_BYTES} at most",
                location=("body", "text"),
            )
        with self._changing, self._parent(path) as (folder, name):
            current = _facts_or_none(folder, name)
            if etag is None:
                if current is not None:
                    raise _changed(folder, name, path, f"`{path}` is there already")
                _put(folder, name, content, None)
            else:
                if current is None:
                    raise FileChanged(f"`{path}` was removed or renamed since it was opened", None)
                now, facts = _text_of(folder, name, path)
                if now.etag != etag:
                    raise FileChanged(f"`{path}` was changed since it was opened", now)
                _put(folder, name, content, facts)
        return _etag(content)

    def make_folder(self, path: str) -> None:
        with self._changing, self._parent(path) as (folder, name):
            try:
                os.mkdir(name, dir_fd=folder)
            except FileExistsError:
                raise Conflict(f"`{path}` is there already") from None
            _give_to_owner_of(folder, name)

    def move(self, path: str, to: str) -> None:
        if to == path or to.startswith(f"{path}/"):
            raise Invalid(f"`{path}` cannot become `{to}`: that is itself, or inside it", location=("body", "to"))
        with self._changing, self._parent(path) as (source, old), self._parent(to) as (target, new):
            os.stat(old, dir_fd=source, follow_symlinks=False)
            if _facts_or_none(target, new) is not None:
                raise Conflict(f"`{to}` is there already")
            os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)

    def remove(self, path: str, *, files: int) -> None:
        with self._changing, self._parent(path) as (folder, name):
            found = _count(folder, name)
            if found != files:
                raise Conflict(f"`{path}` holds {found} files by now, not {files}: nothing was removed")
            if _kind_of(os.stat(name, dir_fd=folder, follow_symlinks=False)) is FileKind.FOLDER:
                shutil.rmtree(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    def add_examples(self) -> tuple[str, ...]:
        with suppress(Conflict):
            self.make_folder(EXAMPLES_FOLDER)
        return tuple(
            f"{EXAMPLES_FOLDER}/{name}"
            for name in example_names()
            if name != STARTER and self._copy_example(EXAMPLES / name, f"{EXAMPLES_FOLDER}/{name}")
        )

    def _copy_example(self, source: Path, target: str) -> bool:
        try:
            self.make_folder(target)
        except Conflict:
            return False
        for file in sorted(source.rglob("*")):
            if "__pycache__" in file.parts:
                continue
            inner = f"{target}/{file.relative_to(source).as_posix()}"
            if file.is_dir():
                self.make_folder(inner)
            else:
                with self._parent(inner) as (folder, name):
                    _put(folder, name, file.read_bytes(), None)
        return True

    # --- the way there -------------------------------------------------------------------------------------------

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The open folder of a file, and its name in it; what the system says becomes an error of ours."""
        *folders, name = checked_path(path, hidden=True).split("/")
        try:
            with _folder(self._root, tuple(folders)) as opened:
                yield opened, name
        except LeoflowError:
            raise
        except OSError as error:
            raise _told(error, path) from error


@contextmanager
def _folder(root: Path, parts: tuple[str, ...]) -> Iterator[int]:
    opened = os.open(root, FOLDER & ~os.O_NOFOLLOW)  # the workspace itself is wherever its owner says
    try:
        for part in parts:
            inner = os.open(part, FOLDER, dir_fd=opened)
            os.close(opened)
            opened = inner
        yield opened
    finally:
        os.close(opened)


def _told(error: OSError, path: str) -> LeoflowError:
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"`{path}` is not there, or a folder on the way to it is not")
        case errno.ENOTDIR | errno.ELOOP:
            return Invalid(
                f"`{path}`: a name on the way is no folder, or a symbolic link, which the editor never follows",
                location=("path",),
            )
        case errno.EACCES | errno.EPERM:
            return NotAllowed(f"The user that Leoflow runs as may not do that to `{path}`: {error.strerror}")
        case _:
            return Conflict(f"`{path}`: the system refuses that: {error.strerror}")


# --- one file ----------------------------------------------------------------------------------------------------


def _text_of(folder: int, name: str, path: str) -> tuple[FileText, os.stat_result]:
    opened = os.open(name, READ, dir_fd=folder)
    with os.fdopen(opened, "rb") as file:
        facts = os.fstat(opened)
        if not stat.S_ISREG(facts.st_mode):
            raise Invalid(f"`{path}` is no file: {_kind_of(facts)}", location=("path",))
        content = file.read(TEXT_MAX_BYTES + 1)
    if len(content) > TEXT_MAX_BYTES:
        raise Invalid(
            f"`{path}` has {facts.st_size} bytes; the editor opens {TEXT_MAX_BYTES} at most", location=("path",)
        )
    text = _decoded(content)
    if text is None:
        raise Invalid(f"`{path}` is binary, or no UTF-8: the editor opens texts alone", location=("path",))
    return FileText(path=path, text=text, etag=_etag(content)), facts


def _decoded(content: bytes) -> str | None:
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def _etag(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _facts_or_none(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _changed(folder: int, name: str, path: str, message: str) -> Exception:
    """With what is there, where that is a text."""
    try:
        current = _text_of(folder, name, path)[0]
    except (Invalid, OSError):
        return Conflict(message)
    return FileChanged(message, current)


def _put(folder: int, name: str, content: bytes, replaced: os.stat_result | None) -> None:
    """Readers see the old content or the new one. What replaces a file keeps its mode and owner."""
    half = f"{RESERVED}{secrets.token_hex(8)}"
    opened = os.open(half, CREATE, 0o600 if replaced else 0o666, dir_fd=folder)
    try:
        with os.fdopen(opened, "wb") as file:
            file.write(content)
            file.flush()
            if replaced is not None:
                os.fchmod(opened, stat.S_IMODE(replaced.st_mode))
            owner = replaced or os.fstat(folder)
            if os.geteuid() == 0:
                os.fchown(opened, owner.st_uid, owner.st_gid)
            os.fsync(opened)
        os.rename(half, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(half, dir_fd=folder)
        raise


def _give_to_owner_of(folder: int, name: str) -> None:
    """Root makes files for whoever the workspace belongs to."""
    if os.geteuid() == 0:
        owner = os.fstat(folder)
        os.chown(name, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)


# --- many files --------------------------------------------------------------------------------------------------


def _list_into(entries: list[Entry], folder: int, prefix: str, *, hidden: bool) -> bool:
    """False when some are missing: too many, or too deep."""
    is_complete = True
    with os.scandir(folder) as scanned:
        found = sorted(scanned, key=lambda entry: entry.name)
    for entry in found:
        path = prefix + entry.name
        if len(entries) >= ENTRIES_MAX:
            return False
        try:
            checked_path(path, hidden=hidden)
            facts = entry.stat(follow_symlinks=False)
        except (Invalid, OSError):
            continue  # hidden, or with a name that no page can carry, or gone
        kind = _kind_of(facts)
        entries.append(Entry(path=path, kind=kind, size=facts.st_size if kind is FileKind.FILE else 0))
        if kind is not FileKind.FOLDER or (entry.name in SKIPPED_FOLDERS and not hidden):
            continue
        if path.count("/") + 2 > DEPTH_MAX:
            is_complete = False
            continue
        with suppress(OSError), _opened(folder, entry.name) as inner:
            is_complete &= _list_into(entries, inner, f"{path}/", hidden=hidden)
    return is_complete


def _count(folder: int, name: str) -> int:
    if _kind_of(os.stat(name, dir_fd=folder, follow_symlinks=False)) is not FileKind.FOLDER:
        return 1
    with _opened(folder, name) as inner:
        return sum(_count(inner, one) for one in os.listdir(inner))  # noqa: PTH208  # a descriptor


@contextmanager
def _opened(folder: int, name: str) -> Iterator[int]:
    inner = os.open(name, FOLDER, dir_fd=folder)
    try:
        yield inner
    finally:
        os.close(inner)


def _kind_of(facts: os.stat_result) -> FileKind:
    if stat.S_ISDIR(facts.st_mode):
        return FileKind.FOLDER
    if stat.S_ISREG(facts.st_mode):
        return FileKind.FILE
    return FileKind.LINK if stat.S_ISLNK(facts.st_mode) else FileKind.OTHER
