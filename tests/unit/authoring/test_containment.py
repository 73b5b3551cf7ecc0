"""A DAG file may do anything; the compiler stays alive, ends it, and says what happened and where."""

from __future__ import annotations

import pytest

from leoflowd.authoring import compiler, loader_processes

from .conftest import MakeProject, Refuse

GOOD = "from leoflow import DAG, EmptyOperator\nwith DAG('d'):\n    EmptyOperator(task_id='a')\n"


@pytest.mark.parametrize(
    ("code", "line", "words"),
    [
        ("import sys\nsys.exit(0)\n", 2, "sys.exit()"),
        ("import os\n\nos._exit(0)\n", 3, "os._exit()"),
        ("x = bytearray(1 << 33)\n", 1, "more memory"),
        ("raise KeyboardInterrupt\n", 1, "interrupted"),
        ("import os\nos.closerange(3, 1000)\n", 1, "loading it"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", 1, "SIGKILL"),
        ("def f(): f()\nf()\n", 1, "RecursionError"),
        ("raise BaseException('odd')\n", 1, "BaseException"),
    ],
)
def test_a_file_that_ends_its_interpreter(refused: Refuse, code: str, line: int, words: str) -> None:
    error = refused(code + GOOD)
    assert (error.path, error.line) == ("dag.py", line), str(error)
    assert words in error.what


def test_a_file_that_loops_is_ended_at_its_deadline_and_the_line_is_named(refused: Refuse) -> None:
    error = refused("x = 0\nwhile True:\n    x += 1\n", deadline_s=1)
    assert error.line in {2, 3}
    assert "longer than 1 s" in error.what


def test_a_file_that_prints_without_end(refused: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_processes, "MAX_OUTPUT_BYTES", 1 << 20)
    error = refused("import sys\nwhile True:\n    sys.stdout.write('x' * 65536)\n")
    assert "printed more than" in error.what
    assert error.line in {2, 3}


def test_a_file_that_forks_gives_one_answer(project: MakeProject) -> None:
    folder = project("import os\npid = os.fork()\n" + GOOD)
    assert [spec.dag_id for spec in compiler.compile_project(folder)] == ["d"]


def test_a_forked_child_that_stays_does_not_hold_the_compiler(project: MakeProject) -> None:
    code = "import os, time\nif os.fork() == 0:\n    time.sleep(600)\n"
    folder = project(code + GOOD)
    assert [spec.dag_id for spec in compiler.compile_project(folder)] == ["d"]


def test_a_thread_that_stays_does_not_hold_the_compiler(project: MakeProject) -> None:
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
    folder = project(code + GOOD)
    assert [spec.dag_id for spec in compiler.compile_project(folder)] == ["d"]


def test_what_a_file_prints_never_reaches_the_artifact(project: MakeProject) -> None:
    folder = project("import os\nprint('{\"error\": 1}')\nos.write(1, b'\\xff\\x00')\n" + GOOD)
    assert [spec.dag_id for spec in compiler.compile_project(folder)] == ["d"]


def test_the_interpreter_cannot_be_started(project: MakeProject) -> None:
    with pytest.raises(compiler.DagCompileError, match="cannot be started"):
        compiler.compile_project(project(GOOD), python="/nowhere/python")
