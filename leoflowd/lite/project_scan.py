"""Which projects the workspace has, each with a signature that any save changes. Blocking; runs in a thread."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from pathlib import Path

from leoflowd import telemetry
from leoflowd.authoring.project import SKIPPED_FOLDERS, Project, discover
from leoflowd.lite.watched_project import ProjectFiles

log = telemetry.get_logger(__name__)


def list_projects_in(workspace: Path) -> tuple[ProjectFiles, ...]:
    """All projects with the signatures of their files. Raises OSError when the workspace cannot be read."""
    if not workspace.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the workspace is not there", str(workspace))
    root = workspace.resolve()
    found = discover(root)
    for skipped in found.skipped:
        log.debug("folder_skipped", reason=skipped)
    listings: Listings = {}
    return tuple(
        ProjectFiles(project, project.folder.relative_to(root).as_posix(), signature_of(project, listings))
        for project in found.projects
    )


Listings = dict[Path, tuple[tuple[bytes, bytes], ...]]


def signature_of(project: Project, listings: Listings | None = None) -> str:
    """A digest of names, sizes and times: cheap enough for every look, and any save changes it.

    `listings` keeps what was found in a folder, for the projects that share it.
    """
    listings = {} if listings is None else listings
    if project.folder not in listings:
        listings[project.folder] = _listing(project.folder)
    excluded = [os.fsencode(name) for name in project.excluded]
    folders = tuple(name + b"/" for name in excluded)
    digest = hashlib.blake2b(digest_size=16)
    for name, line in listings[project.folder]:
        if name not in excluded and not name.startswith(folders):
            digest.update(line)
    return digest.hexdigest()


def _listing(folder: Path) -> tuple[tuple[bytes, bytes], ...]:
    """(name relative to the folder, what a save changes) of all files, sorted. Bytes: a name may be no text."""
    found: list[tuple[bytes, bytes]] = []
    ahead = [b""]
    top = os.fsencode(folder)
    while ahead:
        inner = ahead.pop()
        with contextlib.suppress(OSError), os.scandir(os.path.join(top, inner)) as entries:  # noqa: PTH118 - bytes
            for entry in entries:
                name = inner + entry.name
                with contextlib.suppress(OSError):  # removed since it was listed: the next event tells
                    if entry.is_dir(follow_symlinks=False):
                        ahead += [name + b"/"] if _is_code(os.fsdecode(entry.name)) else []
                    elif not name.endswith(b".pyc"):
                        found.append((name, name + b"\0%d %d %d\n" % _facts(entry)))
    return tuple(sorted(found))


def _facts(entry: os.DirEntry[bytes]) -> tuple[int, int, int]:
    facts = entry.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_mode


def _is_code(folder: str) -> bool:
    return folder not in SKIPPED_FOLDERS and not folder.startswith(".")
