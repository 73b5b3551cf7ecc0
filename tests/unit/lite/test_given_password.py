"""The admin's password is taken from the environment, and is nowhere to be seen afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys
from pathlib import Path
from leoflowd.lite.given_password import take_password
print(repr(take_password()))
print("shown" if b"hunter2" in Path("/proc/self/environ").read_bytes() else "not shown")
texts = [text for pair in os.environ.items() for text in pair]
print("left" if any("hunter2" in text or "PASSWORD" in text for text in texts) else "gone")
print(sys.argv[1:], os.getpid())
"""


def started(**environment: str) -> tuple[int, list[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "lite", "--port", "1"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        return process.pid, process.stdout.read().splitlines()


def test_the_password_is_not_in_the_environment_of_the_server_that_got_it() -> None:
    """The same process (whoever started us knows its pid), with the same arguments."""
    pid, lines = started(LEOFLOW_ADMIN_PASSWORD="hunter2 ä")
    assert lines == ["'hunter2 ä'", "not shown", "gone", f"['lite', '--port', '1'] {pid}"]


def test_a_file_may_hold_it(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    _, lines = started(LEOFLOW_ADMIN_PASSWORD_FILE=str(file))
    assert lines[:3] == ["'hunter2'", "not shown", "gone"]


def test_without_one_there_is_none() -> None:
    _, lines = started(LEOFLOW_ADMIN_PASSWORD="")
    assert lines[0] == "None"


@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_a_file_without_one_is_an_error_that_names_it(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"LEOFLOW_ADMIN_PASSWORD_FILE": str(file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"LEOFLOW_ADMIN_PASSWORD_FILE names {file}" in answer.stderr
