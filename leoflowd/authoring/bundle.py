"""The files of a project: their digest, and the copy of them that every try of a version runs.

Both walk the same files in the same order, so the copy of a digest is that digest. Symbolic links are followed when
they stay inside the project, else refused; dot folders, caches, virtual environments, artifacts that were compiled into
the folder, and what editors and dbt leave there are never part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.reading import check_name, read_executable
from leoflowd.authoring.yaml_lines import read_yaml

MAX_BYTES = 256 * 1024 * 1024
"""A bundle is code; data this large belongs into a storage. Also the most that one bad project can cost our disk."""
MAX_FILES = 20_000
DEPTH_MAX = 64
"""Folders inside folders."""
LEFT_BY_EDITORS = ("*~", "*.sw[a-p]", ".#*", "#*#", ".DS_Store", "Thumbs.db")
"""What Vim, Emacs and file managers put beside a file that is open, or a folder that was looked at."""
LEFT_BY_PROGRAMS = ("nohup.out",)
"""What a program that was started there says. A `*.log` may be what tasks read; of those only our own is known."""
LEFT_BY_DBT = frozenset({"target", "logs"})
"""Beside `dbt_project.yml`."""
ALWAYS_EXCLUDED = ("__pycache__", "*.pyc", "venv", "node_modules", *LEFT_BY_EDITORS, *LEFT_BY_PROGRAMS)
DECLARATIVE_FOLDER = ".leoflow"
"""As in `airflow._leoflow_runtime`: the JSON form of `dag.yaml`, which the task runner can read."""

NAME_MAX_BYTES = 255
"""Of a file's name, on every file system that we know."""

Found = tuple[str, str]
"""(relative path, file). Texts, since each DAG file of a tree walks all of it, and `Path` costs most of that."""


def bundle_digest(
    folder: Path,
    include: tuple[str, ...] = (".",),
    exclude: tuple[str, ...] = (),
    *,
    is_shared: bool = False,
    modules: frozenset[str] | None = None,
) -> str:
    """SHA-256 (hex) over relative paths, executable bits and contents. Raises `DagCompileError`.

    `is_shared`: the folder is not the project's alone, so what cannot be copied is left out instead of refused.
    `modules`: of the folder's Python files only these; None: all.
    """
    digest = hashlib.sha256()
    for relative, content, is_executable in _contents(folder.resolve(), include, exclude, is_shared, modules):
        _add(digest, relative, content, is_executable)
    return digest.hexdigest()


def copy_bundle(
    folder: Path,
    target: Path,
    include: tuple[str, ...] = (".",),
    exclude: tuple[str, ...] = (),
    *,
    is_shared: bool = False,
    modules: frozenset[str] | None = None,
) -> str:
    """Copy the files to `target` in one step (a rename) and give their digest; an existing `target` is left alone.

    The digest is that of the bytes copied: compare it with the artifact's, since the author may save meanwhile.
    """
    folder, target = folder.resolve(), target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        staging.chmod(0o755)
        digest = hashlib.sha256()
        for relative, content, is_executable in _contents(folder, include, exclude, is_shared, modules):
            _add(digest, relative, content, is_executable)
            copied = staging / relative
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(content)
            copied.chmod(0o755 if is_executable else 0o644)
        if not is_shared:  # DAGs of a folder that others share are Python: none of its YAML files is one
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
        if file.suffix not in {".yaml", ".yml"}:
            continue
        try:
            document = read_yaml(file)
        except DagCompileError:
            continue  # some other YAML file of the author; a broken dag.yaml was refused by the compiler
        if file.name == "leoflow.yaml" and "dbt" not in document.content:
            continue
        written = copy / DECLARATIVE_FOLDER / f"{file.relative_to(copy).as_posix()}.json"
        if len(os.fsencode(written.name)) <= NAME_MAX_BYTES:  # longer ones are no `dag.yaml`
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps({"document": document.content, "lines": document.lines}), encoding="utf-8")


def _add(digest: hashlib._Hash, relative: str, content: bytes, is_executable: bool) -> None:
    mark = "x" if is_executable else "-"
    digest.update(f"{len(relative.encode())}:{relative}{mark}{len(content)}:".encode())
    digest.update(content)


def _contents(
    folder: Path,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    is_shared: bool,
    modules: frozenset[str] | None,
) -> Iterator[tuple[str, bytes, bool]]:
    """(relative path, content, is executable), sorted by path."""
    for relative, file in _files(folder, include, exclude, is_shared, modules):
        content, is_executable = read_executable(file, relative, MAX_BYTES)
        if not _is_artifact(content):
            yield relative, content, is_executable


def _is_artifact(content: bytes) -> bool:
    """What `leoflow compile` wrote, under any name: it holds the digest of its project, so it cannot be part of it."""
    if not content.startswith(b"{") or b'"bundle_digest":"' not in content:
        return False
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return "bundle_digest" in document and "dag_id" in document


def _files(
    folder: Path,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    is_shared: bool,
    modules: frozenset[str] | None,
) -> Iterator[Found]:
    """(relative path, file), sorted by path."""
    found: dict[str, str] = {}
    for start in include:
        top = folder / start
        if not os.path.lexists(top):
            raise DagCompileError(
                "leoflow.yaml", 1, f"include_paths names {start!r}", "it does not exist", "correct it"
            )
        for relative, file in _walk(top, folder, exclude, is_shared):
            if modules is not None and relative.endswith(".py") and relative not in modules:
                continue
            found[relative] = file
            if len(found) > MAX_FILES:
                raise _too_much(relative, f"more than {MAX_FILES:,} files")
    total, ours = 0, own_outputs()
    for relative in sorted(found):
        facts = _facts(relative, found[relative])
        if (facts.st_dev, facts.st_ino) in ours:
            continue
        total += facts.st_size
        if total > MAX_BYTES:
            raise _too_much(relative, f"more than {MAX_BYTES // 2**20} MiB")
        yield relative, found[relative]


def _too_much(relative: str, size: str) -> DagCompileError:
    return DagCompileError(
        relative,
        1,
        f"the project has {size}",
        "every version of a DAG keeps a copy of its project",
        "move data out of the folder, or list it in `exclude_paths:` of leoflow.yaml",
    )


def own_outputs() -> frozenset[tuple[int, int]]:
    """Device and inode of where our standard output and error go, e.g. `leoflow compile -o - > dag.json`: what we write
    there while we look is no part of what we look at."""
    found = []
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            facts = os.fstat(descriptor)
            found.append((facts.st_dev, facts.st_ino))
    return frozenset(found)


def _facts(relative: str, file: str) -> os.stat_result:
    try:
        return os.stat(file)  # noqa: PTH116
    except OSError as error:
        raise _unreadable(relative, error) from error


def _walk(top: Path, folder: Path, exclude: tuple[str, ...], is_shared: bool) -> Iterator[Found]:
    """Without recursion: folders may nest deeper than Python's stack."""
    ahead, inside = [str(top)], f"{folder}/"
    while ahead:
        path = ahead.pop()
        relative = path.removeprefix(inside) if path.startswith(inside) else "."
        if relative != "." and is_excluded(path, relative, exclude):
            continue
        try:
            if _is_folder(path, relative, folder):
                ahead += [entry.path for entry in os.scandir(path)]
            elif not is_shared or (os.stat(path).st_size <= MAX_BYTES and os.access(path, os.R_OK)):  # noqa: PTH116
                yield relative, path
        except DagCompileError:
            if not is_shared:
                raise
        except OSError as error:
            if not is_shared:
                raise _unreadable(relative, error) from error


def _is_folder(path: str, relative: str, folder: Path) -> bool:
    """True for a folder to look into, False for a file to copy. Raises `DagCompileError` for everything else."""
    check_name(relative)
    if relative.count("/") > DEPTH_MAX:
        raise DagCompileError(
            relative, 1, f"this lies deeper than {DEPTH_MAX} folders", "that is too deep to copy", "move it up"
        )
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        _check_link(Path(path), relative, folder)
        mode = os.stat(path).st_mode  # noqa: PTH116
    if stat.S_ISDIR(mode):
        return True
    if not stat.S_ISREG(mode):
        raise DagCompileError(
            relative, 1, "this is neither a file nor a folder", "it cannot be copied", "remove it, or exclude it"
        )
    return False


def _unreadable(relative: str, error: OSError) -> DagCompileError:
    why = error.strerror or str(error)
    return DagCompileError(relative, 1, "this cannot be read", why, "check that you may read it, or exclude it")


def is_excluded(path: str, relative: str, exclude: tuple[str, ...]) -> bool:
    name = relative.rpartition("/")[2]
    if name.startswith(".") and os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        return True
    if name in LEFT_BY_DBT and os.path.lexists(f"{path.removesuffix(name)}dbt_project.yml"):
        return True
    return is_named(relative, exclude) or os.path.lexists(f"{path}/pyvenv.cfg")


def is_named(relative: str, exclude: tuple[str, ...]) -> bool:
    """By a pattern that its name, or its whole path, fits."""
    of_name, of_path = _patterns((*ALWAYS_EXCLUDED, *exclude))
    return of_name.match(relative.rpartition("/")[2]) is not None or of_path.match(relative) is not None


@lru_cache(maxsize=256)
def _patterns(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """For a name, and for a whole path, where a pattern may end in a slash."""
    paths = (pattern.rstrip("/") for pattern in patterns)
    return re.compile("|".join(map(translate, patterns))), re.compile("|".join(map(translate, paths)))


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
