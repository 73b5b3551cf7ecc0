"""What a DAG file may hold that nothing behind the compiler could carry: a compile error at its line, each of it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leoflowd.authoring import bundle, compiler, reading
from leoflowd.authoring.discovery import discover
from leoflowd.authoring.errors import DagCompileError
from leoflowd.contract import dag_spec

from .conftest import Compile, MakeProject, Refuse

HEAD = """import os, signal, sys
from datetime import datetime, timedelta, timezone
from dateutil.relativedelta import relativedelta
from leoflow import DAG, EmptyOperator, Label, TaskGroup
deep = 1
for _ in range(300):
    deep = [deep]
"""
LINES = HEAD.count("\n")
OF_DAG = [
    "dagrun_timeout=timedelta(days=3_000_000)",
    "schedule=timedelta.max",
    "schedule=timedelta(microseconds=1)",
    "schedule=relativedelta(months=10**9)",
    "start_date=datetime.max",
    "start_date=datetime.min",
    "start_date=datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))",
    "end_date=datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))",
    "max_active_runs=2**40",
    "max_active_tasks=2**40",
    "max_consecutive_failed_dag_runs=10**5000",
    r"tags=['a\0b']",
    r"tags=['\ud800']",
    "tags=['x' * 101]",
    r"doc_md='a\0b'",
    r"doc_md='\ud800'",
    r"description='\ud800'",
    "description='x' * 10_000_000",
    r"owner_links={'a\0b': 'http://x'}",
    "params={'p': float('nan')}",
    "params={'p': 2**70}",
    "params={'p': 1e20}",
    r"params={'p': 'a\0b'}",
    r"params={'\ud800': 1}",
    "params={'p': deep}",
]
OF_TASK = [
    "retries=10**12",
    "retries=10**5000",
    "retry_delay=timedelta.max",
    "retry_delay=float('inf')",
    "retry_delay=10**400",
    "max_retry_delay=timedelta.max",
    "retry_exponential_backoff=float('nan')",
    "execution_timeout=timedelta.max",
    "priority_weight=2**40",
    "priority_weight=-(2**40)",
    "pool_slots=10**12",
    "max_active_tis_per_dag=10**12",
    "start_date=datetime.max",
    r"owner='a\0b'",
    r"owner='\ud800'",
    "owner=5",
    r"pool='a\0b'",
    "pool='x' * 300",
    r"queue='\ud800'",
    r"task_display_name='\ud800'",
]


@pytest.mark.parametrize("argument", OF_DAG)
def test_an_argument_of_a_dag_that_nothing_can_carry(refused: Refuse, argument: str) -> None:
    error = refused(f"{HEAD}with DAG('d', {argument}):\n    EmptyOperator(task_id='a')\n")
    assert (error.path, error.line) == ("dag.py", LINES + 1), str(error)
    assert "fault of leoflow" not in str(error)


@pytest.mark.parametrize("argument", OF_TASK)
def test_an_argument_of_a_task_that_nothing_can_carry(refused: Refuse, argument: str) -> None:
    error = refused(f"{HEAD}with DAG('d'):\n    EmptyOperator(task_id='a', {argument})\n")
    assert (error.path, error.line) == ("dag.py", LINES + 2), str(error)
    assert "fault of leoflow" not in str(error)


WRITE = "for fd in range(3, 20):\n    try:\n        os.write(fd, {answer!r})\n    except OSError:\n        pass\n"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error": 5}',
        b"[1]",
        b'{"dags": [{"dag_id": 1}], "preload": []}',
        b'{"dags": [{"dag_id": "d", "tasks": [5]}], "preload": []}',
        b"[" * 100_000,
        b"1" * 5_000,
        b"\xff",
        b'"\\ud800"',
    ],
    ids=lambda answer: answer[:24].decode("latin-1"),
)
def test_an_answer_that_the_file_has_written_itself(refused: Refuse, answer: bytes) -> None:
    refused(HEAD + WRITE.format(answer=answer) + "os.kill(os.getpid(), signal.SIGKILL)\n")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (r"raise Exception('\ud800')", r"\ud800"),
        (r"raise Exception('a\0b')", r"a\x00b"),
        ("class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E", "cannot be shown"),
        ("class E(Exception):\n    def __str__(self): os._exit(3)\nraise E", "cannot be shown"),
        ("sys.exit(10**30)", "sys.exit()"),
        ("import json\njson.dumps = lambda *a, **k: '[]'\nraise ValueError", "ValueError"),
        ("import traceback\ntraceback.print_exception = None\nraise ValueError", "ValueError"),
        ("sys.stderr.close()\nraise ValueError", "ValueError"),
    ],
)
def test_an_error_that_is_poison_itself_is_told_at_its_line(refused: Refuse, code: str, words: str) -> None:
    error = refused(f"{HEAD}{code}\n")
    assert error.line > LINES
    assert words in error.what
    str(error).encode()


@pytest.mark.parametrize("value", [r"'a\0b'", r"'\ud800'", "2**70", "10**5000", "1e300", "float('nan')", "deep"])
def test_what_is_only_shown_is_made_storable(compiled: Compile, value: str) -> None:
    spec = compiled(f"{HEAD}with DAG('d', default_args={{'odd': {value}}}):\n    EmptyOperator(task_id='a')\n")
    assert dag_spec.decode(dag_spec.encode_canonical(spec)) == spec


def test_settings_of_yaml_are_bounded_too(refused: Refuse, project: MakeProject) -> None:
    good = "from leoflow import DAG, EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n"
    error = refused(good, yaml="tasks:\n  a:\n    retries: 1000000000000\n")
    assert (error.path, error.line) == ("dag.py", 3)
    for yaml in (r'description: "a\0b"', r'owner: "\ud800"', "!!int x: 1", r'dag_source: "a\0.py"'):
        assert refused(good, yaml=yaml + "\n").path == "leoflow.yaml"
    assert refused(good, yaml=f"dag_source: {'x' * 5000}.py\n").line == 1


# --- files that are none -----------------------------------------------------------------------------------------

GOOD = (
    "from airflow.sdk import DAG\nfrom leoflow import EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n"
)


@pytest.fixture(autouse=True)
def _removed(tmp_path: Path) -> Iterator[None]:
    """pytest's own removal follows folders by recursion."""
    yield
    subprocess.run(["rm", "-rf", tmp_path], check=True)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(path.parent, os.O_RDONLY)  # the whole path may be longer than an address
        try:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_link_out(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def make_deep(path: Path) -> None:
    """Deeper than Python's stack: a folder at a time, since the whole path would be too long for the system."""
    path.mkdir()
    folder = os.open(path, os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)


ODD = [make_pipe, make_socket, make_loop, make_link_out, make_endless, make_huge, make_deep]


@pytest.mark.parametrize("name", ["dag.py", "leoflow.yaml", "data"])
@pytest.mark.parametrize("make", ODD)
def test_a_file_that_is_none_is_a_compile_error(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    make(folder / name)
    if name != "dag.py":
        (folder / "dag.py").write_text(GOOD)
    with pytest.raises(DagCompileError) as caught:
        compiler.compile_project(folder)
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize("make", ODD)
def test_beside_a_bare_file_it_is_left_out(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "x.py").write_text(GOOD)
    make(tmp_path / "data.py")
    (project,) = discover(tmp_path).projects
    assert compiler.compile_opened(project).specs[0].dag_id == "d"


NAMES = [b"\xff.py", b"a\nb.py", b"\x1b]0;t\x07.py", "\u202egp.py".encode(), b"x" * 252 + b".py", b"[ab]*.py"]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_found_and_compiled_or_refused(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).write_text(GOOD)
    (tmp_path / "good.py").write_text(GOOD)
    projects = discover(tmp_path).projects
    assert len(projects) == 2
    for project in projects:
        if reading.is_carried(project.path):
            assert compiler.compile_opened(project).specs[0].dag_id == "d"
        else:
            with pytest.raises(DagCompileError, match="not UTF-8"):
                compiler.compile_opened(project)


def test_a_name_that_is_not_utf_8_in_a_project_is_a_compile_error(tmp_path: Path) -> None:
    (tmp_path / "dag.py").write_text(GOOD)
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("")
    with pytest.raises(DagCompileError, match=r"\\udcff.txt:1: this name is not UTF-8"):
        compiler.compile_project(tmp_path)


def test_more_files_than_a_version_may_have_are_a_compile_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MAX_FILES", 3)
    (tmp_path / "dag.py").write_text(GOOD)
    for number in range(5):
        (tmp_path / str(number)).touch()
    with pytest.raises(DagCompileError, match="more than 3 files"):
        compiler.compile_project(tmp_path)


def test_a_file_that_vanishes_while_the_project_is_read_is_a_compile_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    files = bundle._files(tmp_path, (".",), (), False, None)
    assert next(files)[0] == "a"
    (tmp_path / "b").unlink()
    with pytest.raises(DagCompileError, match=r"^b:1: "):
        next(files)
    with pytest.raises(DagCompileError, match="does not exist"):
        reading.read_file(tmp_path / "b", "b", 10)
