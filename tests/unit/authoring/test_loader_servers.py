"""Loads are forked by servers, and nobody notices: not by what they see, nor when a server comes, ends or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from leoflowd.authoring import compiler, loader_servers
from leoflowd.authoring.errors import DagCompileError
from tests.conftest import PATIENCE_S

from .conftest import Compile, MakeProject, Refuse

GOOD = "from leoflow import DAG, EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n"
TAGGED = (
    "import os\nfrom leoflow import DAG, EmptyOperator\nwith DAG('d', tags=[{tag}]):\n    EmptyOperator(task_id='a')\n"
)


@pytest.fixture(autouse=True)
def new_servers() -> Iterator[None]:
    loader_servers.end_servers()
    yield
    loader_servers.end_servers()


def servers() -> list[psutil.Process]:
    """Of this process: those that ended are not among them."""
    children = psutil.Process().children()
    return [one for one in children if str(loader_servers.LOADER) in one.cmdline()]


def test_a_second_compile_starts_no_interpreter(compiled: Compile) -> None:
    compiled(GOOD)
    before = servers()
    assert len(before) == 2
    compiled(GOOD.replace("'a'", "'b'"))
    assert servers() == before


def test_a_load_leaves_nothing_to_the_next_one(compiled: Compile) -> None:
    """Modules, paths, signals, working folder and environment are those of a new interpreter."""
    seen = "os.getcwd(), 'json.tool' in sys.modules, 'SPOILT' in os.environ, signal.getsignal(15)"
    tell = f"description=str(({seen}))"
    code = f"import os, sys, signal\nfrom leoflow import DAG\ndag = DAG('d', {tell})\n"
    spoil = "import json.tool\nos.chdir('/'); os.environ['SPOILT'] = '1'; signal.signal(15, signal.SIG_IGN)\n"
    before = compiled(code + spoil).description
    assert compiled(code).description == before


def test_a_new_environment_is_seen_by_the_next_compile(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("one", "two"):
        monkeypatch.setenv("THE_TAG", value)
        assert compiled(TAGGED.format(tag="os.environ['THE_TAG']")).tags == (value,)


def test_a_package_that_is_installed_meanwhile_is_seen_by_the_next_compile(
    project: MakeProject, tmp_path: Path
) -> None:
    """A `.pth` file too, which an interpreter reads when it starts."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = str(tmp_path / "venv/bin/python")
    folder = project("import tabulate\n" + TAGGED.format(tag="tabulate.TAG"))
    with pytest.raises(DagCompileError, match="tabulate"):
        compiler.compile_project(folder, python=python)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/tabulate.py").write_text("TAG = 'there'\n")
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (packages / "elsewhere.pth").write_text(f"{tmp_path / 'elsewhere'}\n")
    (spec,) = compiler.compile_project(folder, python=python)
    assert spec.tags == ("there",)


def test_servers_that_were_killed_are_started_again(compiled: Compile) -> None:
    compiled(GOOD)
    for server in servers():
        server.kill()
    assert compiled(GOOD).dag_id == "d"


def test_a_load_whose_server_is_killed_is_asked_for_once_more(compiled: Compile, tmp_path: Path) -> None:
    note = tmp_path / "note"
    once = f"""
import os, pathlib, signal, time, psutil
note = pathlib.Path({str(note)!r})
if not note.exists():
    note.touch()
    os.kill(psutil.Process().parent().ppid(), signal.SIGKILL)
    time.sleep(60)
"""
    assert compiled(once + GOOD).dag_id == "d"
    assert note.exists()


def test_a_file_that_always_kills_its_server_is_refused(refused: Refuse) -> None:
    code = (
        "import os, signal, time, psutil\nos.kill(psutil.Process().parent().ppid(), signal.SIGKILL)\ntime.sleep(60)\n"
    )
    assert "SIGKILL" in refused(code).what


def test_an_interpreter_that_is_none_is_told_of_with_its_last_words(project: MakeProject, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no python here' >&2\nexit 3\n")
    python.chmod(0o700)
    with pytest.raises(DagCompileError) as caught:
        compiler.compile_project(project(GOOD), python=str(python))
    assert "no python here" in str(caught.value)


def test_of_many_environments_some_keep_their_servers(compiled: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_servers, "ENVIRONMENTS", 1)
    for value in ("one", "two", "three"):
        monkeypatch.setenv("THE_TAG", value)
        compiled(GOOD)
    assert len(loader_servers._servers) == 1
    loader_servers.end_servers()
    assert servers() == []


def test_a_load_ends_with_its_compiler(project: MakeProject, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    folder = project(f"import os, time\nopen({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    code = f"from leoflowd.cli.main import main\nmain(['validate', {str(folder)!r}])\n"
    compiling = subprocess.Popen([sys.executable, "-c", code])
    while not (note.exists() and note.read_text()):
        time.sleep(0.05)
        assert compiling.poll() is None
    loading = psutil.Process(int(note.read_text()))
    os.kill(compiling.pid, signal.SIGKILL)
    compiling.wait()
    assert psutil.wait_procs([loading], timeout=PATIENCE_S)[1] == []


def test_a_server_that_nobody_asks_ends_but_not_while_it_loads(
    compiled: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = tmp_path / "loader.py"
    hurried.write_text(loader_servers.LOADER.read_text().replace("IDLE_S = 60.0", "IDLE_S = 0.1"))
    monkeypatch.setattr(loader_servers, "LOADER", hurried)
    assert compiled("import time\ntime.sleep(0.5)\n" + GOOD).dag_id == "d"
    (pair,) = loader_servers._servers.values()
    assert [server._process.wait(PATIENCE_S) for server in pair] == [0, 0]
    assert compiled(GOOD).dag_id == "d"
