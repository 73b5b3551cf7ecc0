"""`leoflow doctor` and the start of `leoflow lite`, as far as they look at this machine only."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from leoflowd.cli import doctor
from leoflowd.cli.failures import ExitCode


def test_warnings_do_not_make_the_machine_unfit(leoflow, tmp_path: Path) -> None:
    result = leoflow("doctor", "--data-dir", str(tmp_path / "data"), "-o", "json")
    assert result.code == 0
    states = {check["name"]: check["state"] for check in result.document["checks"]}
    assert states["UI files"] == "warning"
    assert states["packages"] == "ok"
    assert not (tmp_path / "data").exists()


def test_a_failed_check_exits_9(leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_FREE_MIN_BYTES", 1 << 62)
    result = leoflow("doctor", "--data-dir", str(tmp_path), "-o", "json")
    assert result.code == ExitCode.NOT_READY
    assert result.document["ready"] is False


def test_a_taken_port_is_a_warning_for_doctor_and_an_end_for_lite(leoflow, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert doctor.check_port(port).state == "warning"
        result = leoflow("lite", str(tmp_path / "w"), "--port", str(port), "--data-dir", str(tmp_path / "d"))
    assert result.code == ExitCode.NOT_READY
    assert "choose another with --port" in result.err
    assert not (tmp_path / "d").exists()


def test_two_workspaces_are_wrong_usage(leoflow, tmp_path: Path) -> None:
    assert leoflow("lite", str(tmp_path), "--workspace", str(tmp_path)).code == ExitCode.USAGE


def test_upkeep_commands_need_an_installation(leoflow, tmp_path: Path) -> None:
    for words in (("reset-password",), ("forget", "etl", "--yes")):
        result = leoflow("lite", *words, "--data-dir", str(tmp_path), "-o", "json")
        assert result.code == ExitCode.NOT_FOUND
        assert "no Lite installation" in result.error["message"]
