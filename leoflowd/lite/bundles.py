"""The code of versions, `bundles/<digest>/`: sealed when it is copied, removed when no run needs it."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def prune_bundles(bundles: Path, needed: set[str]) -> None:
    """Remove the code of versions that nothing needs any more, and copies that a kill left half made."""
    if not bundles.is_dir():
        return
    for folder in bundles.iterdir():
        if folder.name not in needed:
            remove(folder)


def seal(bundle: Path) -> None:
    """Read-only for everyone: a task that writes next to its code is told so, and no version changes by accident."""
    for folder, _, files in os.walk(bundle):
        for name in files:
            file = Path(folder, name)
            file.chmod(0o555 if file.stat().st_mode & 0o100 else 0o444)
        Path(folder).chmod(0o555)


def remove(bundle: Path) -> None:
    """A sealed folder must be opened first, unless we are root."""
    for folder, _, _ in os.walk(bundle):
        with contextlib.suppress(OSError):
            Path(folder).chmod(0o755)
    shutil.rmtree(bundle, ignore_errors=True)
