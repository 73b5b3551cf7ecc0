"""Nothing that a DAG file starts outlives the compile that loaded it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from leoflowd.authoring import compiler, loader_processes

from .conftest import MakeProject, Refuse

GOOD = "from leoflow import DAG, EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n"
DAEMON = """
import os, pathlib, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 2)
        os.write(write, b"%d" % os.getpid())
        time.sleep(600)
    os._exit(0)
pathlib.Path({note!r}).open("a").write(os.read(read, 20).decode() + "\\n")
"""


def pids(note: Path) -> list[int]:
    return [int(line) for line in note.read_text().splitlines()]


def test_a_daemon_in_a_session_of_its_own_ends_with_the_compile(project: MakeProject, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    assert compiler.compile_project(project(DAEMON.format(note=str(note)) + GOOD))[0].dag_id == "d"
    assert len(pids(note)) == 2
    assert [pid for pid in pids(note) if psutil.pid_exists(pid)] == []


def test_a_daemon_ends_also_with_a_compile_that_is_given_up(refused: Refuse, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    refused(DAEMON.format(note=str(note)) + "while True:\n    time.sleep(1)\n", deadline_s=2)
    assert [pid for pid in pids(note) if psutil.pid_exists(pid)] == []


def test_a_file_that_kills_its_parent_kills_only_itself(refused: Refuse) -> None:
    error = refused("import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)\n" + GOOD)
    assert "SIGKILL" in error.what


def test_a_file_that_kills_its_process_group_is_an_error(refused: Refuse) -> None:
    assert "ended its interpreter" in refused("import os, signal\nos.killpg(0, signal.SIGTERM)\n" + GOOD).what


@pytest.mark.parametrize("stop", ["os.getppid()", "os.getpid()"])
def test_a_file_that_stops_a_process_is_given_up_at_its_deadline(
    refused: Refuse, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader_processes, "TRACE_WAIT_S", 0.2)
    monkeypatch.setattr(loader_processes, "END_WAIT_S", 0.2)
    refused("1 / 0\n")  # starts the server that loads are forked from, which stays
    before = {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}
    refused(f"import os, signal, time\nos.kill({stop}, signal.SIGSTOP)\ntime.sleep(600)\n", deadline_s=1)
    assert {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)} <= before
