"""`compile`, `validate`, `test`, `push` on projects that nothing can carry: a message and exit code 2, no traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from leoflowd.cli.failures import ExitCode
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import DagSpec, TaskSpec

HEAD = "import os\nfrom datetime import timedelta\nfrom leoflow import DAG, EmptyOperator\n"
CODES = {
    "surrogate": "raise Exception('\\ud800')\n",
    "escape": "raise Exception('\\x1b[2J\\u202e')\n",
    "exit": "os._exit(0)\n",
    "answer": "for fd in range(3, 9):\n    try: os.write(fd, b'{}')\n    except OSError: ...\nos.abort()\n",
    "timeout": "with DAG('d', dagrun_timeout=timedelta.max):\n    EmptyOperator(task_id='a')\n",
    "tag": "with DAG('d', tags=['\\ud800']):\n    EmptyOperator(task_id='a')\n",
}


def assert_refused(result) -> None:
    assert result.code == ExitCode.INVALID, result
    assert "Traceback" not in result.err
    assert not {"\x1b", "\u202e", "\ud800", "\0"} & set(result.err)


@pytest.mark.parametrize("command", ["compile", "validate", "test", "push"])
@pytest.mark.parametrize("name", CODES)
def test_a_poisoned_project_is_a_message(leoflow, tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "dag.py").write_text(HEAD + CODES[name])
    interpreter = ("--python", sys.executable)
    result = leoflow(command, str(tmp_path), *interpreter)
    assert_refused(result)
    assert f"{tmp_path}/dag.py:" in result.err
    assert_refused(leoflow("-o", "json", command, str(tmp_path), *interpreter) if command != "validate" else result)


@pytest.mark.parametrize("command", ["compile", "validate", "test"])
def test_a_file_whose_name_is_not_utf_8_is_a_message(leoflow, tmp_path: Path, command: str) -> None:
    file = tmp_path / os.fsdecode(b"\xff.py")
    file.write_text(HEAD + "with DAG('d'):\n    EmptyOperator(task_id='a')\n# airflow\n")
    for target in (file, tmp_path) if command == "validate" else (file,):
        result = leoflow(command, str(target), "--python", sys.executable)
        assert_refused(result)
        assert "not UTF-8" in result.err


def test_a_pipe_is_a_message_and_not_waited_for(leoflow, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dag.py")
    os.mkfifo(tmp_path / "leoflow.yaml")
    assert_refused(leoflow("compile", str(tmp_path)))
    assert_refused(leoflow("validate", str(tmp_path)))


def test_a_target_too_long_to_be_a_path_is_not_found(leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert leoflow("test", "d" * 10_000).code == ExitCode.NOT_FOUND


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"null",
        dag_spec.encode_canonical(DagSpec(dag_id="d", tasks=(TaskSpec(task_id="t", operator="x", retries=10**12),))),
        dag_spec.encode_canonical(DagSpec(dag_id="d", tags=("a\0b",), tasks=(TaskSpec(task_id="t", operator="x"),))),
    ],
    ids=lambda content: repr(content[:10]),
)
def test_an_artifact_that_is_none_is_a_message(leoflow, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "dag.json"
    file.write_bytes(content)
    assert_refused(leoflow("push", str(file)))
