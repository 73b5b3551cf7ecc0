"""Where the corpus comes from: the example DAGs in published distributions, or any folder of projects.

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
HELPERS = {
    "tests_common/test_utils/system_tests.py": """\
def get_test_run(dag, **_):
    return lambda: None


def get_test_env_id(name="SYSTEM_TESTS_ENV_ID"):
    return "corpus"
""",
    "tests_common/test_utils/watcher.py": """\
from airflow.sdk import task


@task(trigger_rule="one_failed", retries=0)
def watcher():
    raise RuntimeError("a task failed")
""",
    "tests_common/test_utils/version_compat.py": "AIRFLOW_V_3_0_PLUS = AIRFLOW_V_3_1_PLUS = True\n",
    "tests_common/test_utils/compat.py": "from airflow.providers.standard.operators.empty import EmptyOperator\n",
    "tests_common/test_utils/api_client_helpers.py": """\
def make_authenticated_rest_api_request(path, method, body=None):
    raise RuntimeError("the corpus has no server")


def create_airflow_connection(connection_id, connection_conf, use_jwt=True):
    raise RuntimeError("the corpus has no server")
""",
    "system/openlineage/__init__.py": "",
    "system/openlineage/conftest.py": "def set_transport_variable():\n    pass\n",
    "system/openlineage/operator.py": """\
from airflow.sdk import BaseOperator


class OpenLineageTestOperator(BaseOperator):
    def __init__(self, *, event_templates=None, file_path=None, env=None, **kwargs):
        super().__init__(**kwargs)
        self.file_path = file_path

    def execute(self, context):
        raise RuntimeError("the corpus runs nothing")
""",
}
"""What the providers' system tests import from a package of Airflow's developers, in our words."""


class Tree(msgspec.Struct, frozen=True):
    """A folder of DAG files, counted under its name."""

    name: str
    folder: Path


def published(cache: Path) -> Iterator[Tree]:
    """The trees of all pinned distributions, downloaded and unpacked into `cache` where they are not there."""
    stamp, lock = cache / "complete", LOCK.read_text()
    if not stamp.exists() or stamp.read_text() != lock:
        _download(cache / "archives")
        for archive in sorted((cache / "archives").iterdir()):
            _unpack(archive, cache / "files")
        stamp.write_text(lock)
    for folder in sorted((cache / "files").iterdir()):
        _write_helpers(folder)
        found = [file.parent for file in folder.rglob("example_dags/__init__.py")]
        yield from (Tree(folder.name, one) for one in sorted({one for one in found if one.parent.name != "tests"}))
        if (folder / "tests").is_dir():
            yield Tree(folder.name, folder / "tests")


def of_folder(folder: Path) -> Iterator[Tree]:
    """Each folder in it is a project."""
    yield from (Tree(one.name, one) for one in sorted(folder.iterdir()) if one.is_dir())


def _download(archives: Path) -> None:
    """Source distributions; Airflow's own would build its UI, so its wheel, which has the examples as well."""
    archives.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    kinds = ["--no-binary", ":all:", "--only-binary", "apache-airflow-core"]
    what = ["--require-hashes", "--requirement", str(LOCK), "--dest", str(archives)]
    subprocess.run([*command, *kinds, *what], check=True)  # pip, with our own lock


def _unpack(archive: Path, target: Path) -> None:
    """The example files only, below the name and version of their distribution."""
    folder = target / "-".join(archive.name.removesuffix(".tar.gz").split("-")[:2])
    for name, content in _members(archive):
        if any(place in f"/{name}" for place in EXAMPLES) and ".." not in name:
            _write(folder / name, content)


def _write_helpers(folder: Path) -> None:
    tests = folder / "tests"
    for name, text in HELPERS.items() if tests.is_dir() else ():
        _write(tests / name, text.encode())


def _write(file: Path, content: bytes) -> None:
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
