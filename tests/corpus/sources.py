"""Where the corpus comes from: the example DAGs in published source distributions, or any folder of DAG files.

Nothing of it is committed. `locks/corpus.txt` pins the distributions by version and checksum.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

LOCK = Path(__file__).parents[2] / "locks" / "corpus.txt"
EXAMPLES = ("/example_dags/", "/tests/system/")
"""Where a distribution keeps DAG files that people are meant to read and run."""
NO_EXAMPLES = ("__init__.py", "conftest.py")
FILE_MAX_BYTES = 1024 * 1024


class DagFile(msgspec.Struct, frozen=True):
    """A file of the corpus; `source` is the distribution or folder that it is counted with."""

    source: str
    name: str
    path: Path


def published(cache: Path) -> Iterator[DagFile]:
    """The example DAGs of all pinned distributions, downloaded and unpacked into `cache` where they are not there."""
    stamp, lock = cache / "complete", LOCK.read_text()
    if not stamp.exists() or stamp.read_text() != lock:
        _download(cache / "archives")
        for archive in sorted((cache / "archives").iterdir()):
            _unpack(archive, cache / "files")
        stamp.write_text(lock)
    for folder in sorted((cache / "files").iterdir()):
        yield from _dag_files(folder, source=folder.name)


def of_folder(folder: Path) -> Iterator[DagFile]:
    """Every DAG file below a folder, counted with the folder's own folders: one for each project."""
    for file in _dag_files(folder, source=folder.name):
        yield msgspec.structs.replace(file, source=file.name.partition("/")[0] if "/" in file.name else folder.name)


def _download(archives: Path) -> None:
    """Source distributions; Airflow's own would build its UI, so its wheel, which has the examples as well."""
    archives.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    kinds = ["--no-binary", ":all:", "--only-binary", "apache-airflow-core"]
    what = ["--require-hashes", "--requirement", str(LOCK), "--dest", str(archives)]
    subprocess.run([*command, *kinds, *what], check=True)  # pip, with our own lock


def _unpack(archive: Path, target: Path) -> None:
    """The example files only, below the name and version of their distribution."""
    for name, content in _members(archive):
        if any(place in f"/{name}" for place in EXAMPLES) and ".." not in name:
            file = target / "-".join(archive.name.removesuffix(".tar.gz").split("-")[:2]) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """(path within the project, content) of its files."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist() if not name.endswith("/"))
        return
    with tarfile.open(archive) as source:
        for member in source:
            content = source.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name.partition("/")[2], content.read()


def _dag_files(folder: Path, source: str) -> Iterator[DagFile]:
    for path in sorted(folder.rglob("*.py")):
        if path.name not in NO_EXAMPLES and path.is_file() and _makes_a_dag(path):
            yield DagFile(source, path.relative_to(folder).as_posix(), path)


def _makes_a_dag(path: Path) -> bool:
    """By its text, as Airflow decides which files to load."""
    if path.stat().st_size > FILE_MAX_BYTES:
        return False
    text = path.read_bytes()
    return b"airflow" in text and (b"DAG(" in text or b"@dag" in text)
