"""The suite's own rules, where breaking them would stop a whole run (ADR 0027)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_a_worker_can_report_text_that_is_no_utf_8() -> None:
    """Seen: one log line with half a surrogate pair, and the run ended with an internal error."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n1",
        "-p",
        "no:cacheprovider",
        f"{__file__}::test_prints_no_utf_8",
    ]
    environment = {**os.environ, "ODD_TEXT": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert r"half \ud800 a pair" in done.stdout


def test_prints_no_utf_8() -> None:
    if "ODD_TEXT" in os.environ:
        raise AssertionError("half \ud800 a pair")
