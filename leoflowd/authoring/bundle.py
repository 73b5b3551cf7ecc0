"""The files of a project: their digest, and the copy of them that every try of a version runs.

Both walk the same files in the same order, so the copy of a digest is that digest. Symbolic links are followed when
they stay inside the project, else refused; dot folders, caches and virtual environments are never part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.yaml_lines import read_yaml

MAX_BYTES = 256 * 1024 * 1024
"""A bundle is code; data this large belongs into a storage. Also the most that one bad project can cost our disk."""
MAX_FILES = 20_000
ALWAYS_EXCLUDED = ("__pycache__", "*.pyc", "venv", "node_modules")
DECLARATIVE_FOLDER = ".leoflow"
"""As in `airflow._leoflow_runtime`: the JSON form of `dag.yaml`, which the task runner can read."""


def bundle_digest(folder: Path, include: tuple[str, ...] = (".",), exclude: tuple[str, ...] = ()) -> str:
    """SHA-256 (hex) over relative paths, executable bits and contents."""
    digest = hashlib.sha256()
    for relative, file in _files(folder.resolve(), include, exclude):
        _add(digest, relative, file, file.read_bytes())
    return digest.hexdigest()


def copy_bundle(folder: Path, target: Path, include: tuple[str, ...] = (".",), exclude: tuple[str, ...] = ()) -> str:
    """Copy the files to `target` in one step (a rename) and give their digest; an existing `target` is left alone.

    The digest is that of the bytes copied: compare it with the artifact's, since the author may save meanwhile.
    """
    folder, target = folder.resolve(), target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        staging.chmod(0o755)
        digest = hashlib.sha256()
        for relative, file in _files(folder, include, exclude):
            content = file.read_bytes()
            _add(digest, relative, file, content)
            copied = staging / relative
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(content)
            copied.chmod(0o755 if _is_executable(file) else 0o644)
        _write_declarative(staging)
        if not target.exists():
            staging.rename(target)
    except OSError:
        if not target.exists():  # else somebody else made the same copy first
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return digest.hexdigest()


def _write_declarative(copy: Path) -> None:
    for file in sorted(copy.rglob("*.y*ml")):
        if file.name == "leoflow.yaml" or file.suffix not in {".yaml", ".yml"}:
            continue
        try:
            document = read_yaml(file)
        except DagCompileError:
            continue  # some other YAML file of the author; a broken dag.yaml was refused by the compiler
        written = copy / DECLARATIVE_FOLDER / f"{file.relative_to(copy).as_posix()}.json"
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(json.dumps({"document": document.content, "lines": document.lines}), encoding="utf-8")


def _add(digest: hashlib._Hash, relative: str, file: Path, content: bytes) -> None:
    mark = "x" if _is_executable(file) else "-"
    digest.update(f"{len(relative.encode())}:{relative}{mark}{len(content)}:".encode())
    digest.update(content)


def _is_executable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o100)


def _files(folder: Path, include: tuple[str, ...], exclude: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """(relative path, file), sorted by path."""
    found: dict[str, Path] = {}
    for start in include:
        top = folder / start
        if not top.exists():
            raise DagCompileError(
                "leoflow.yaml", 1, f"include_paths names {start!r}", "it does not exist", "correct it"
            )
        found.update(_walk(top, folder, exclude))
    total = 0
    for relative in sorted(found):
        total += found[relative].stat().st_size
        if total > MAX_BYTES or len(found) > MAX_FILES:
            size = f"more than {MAX_BYTES // 2**20} MiB" if total > MAX_BYTES else f"{len(found)} files"
            raise DagCompileError(
                relative,
                1,
                f"the project has {size}",
                "every version of a DAG keeps a copy of its project",
                "move data out of the folder, or list it in `exclude_paths:` of leoflow.yaml",
            )
        yield relative, found[relative]


def _walk(path: Path, folder: Path, exclude: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    relative = path.relative_to(folder).as_posix()
    if relative != "." and _is_excluded(path, relative, exclude):
        return
    if path.is_symlink():
        _check_link(path, relative, folder)
    if path.is_dir():
        if (path / "pyvenv.cfg").exists():
            return
        for entry in sorted(path.iterdir()):
            yield from _walk(entry, folder, exclude)
    elif path.is_file():
        yield relative, path
    else:
        raise DagCompileError(
            relative, 1, "this is neither a file nor a folder", "it cannot be copied", "remove it, or exclude it"
        )


def _is_excluded(path: Path, relative: str, exclude: tuple[str, ...]) -> bool:
    if path.name.startswith(".") and path.is_dir() and not path.is_symlink():
        return True
    patterns = (*ALWAYS_EXCLUDED, *exclude)
    return any(fnmatch(path.name, pattern) or fnmatch(relative, pattern.rstrip("/")) for pattern in patterns)


def _check_link(path: Path, relative: str, folder: Path) -> None:
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(folder) or not real.exists() or real.is_dir():
        why = "it leaves the project" if not real.is_relative_to(folder) else "it leads to a folder or to nothing"
        raise DagCompileError(
            relative,
            1,
            f"this symbolic link points to {str(path.readlink())!r}",
            why,
            "replace it by a copy, or exclude it",
        )
