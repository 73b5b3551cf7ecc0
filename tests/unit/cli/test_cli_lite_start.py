"""What `leoflow lite` refuses, or says, before anything is written or started."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from leoflowd.cli import lite
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.output import Output
from tests.fakes.dag_trees import dag, plant


@pytest.mark.parametrize("word", ["runn", "rotate-keys", "reset_password"])
def test_a_command_that_is_misspelt_is_no_new_workspace(
    leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = leoflow("lite", word)
    assert result.code == ExitCode.USAGE
    assert "did you mean" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("host", "remedy"), [("192.0.2.1", "name an address of this machine with --host"), ("nope.invalid", "with --host")]
)
def test_an_address_that_is_not_ours_is_not_blamed_on_the_port(host: str, remedy: str) -> None:
    with pytest.raises(CommandFailed, match=remedy) as refused:
        lite._refuse_taken_port(host, 0)
    assert refused.value.code is ExitCode.NOT_READY


@pytest.mark.parametrize(
    ("data", "is_refused"), [("w/data", True), ("w", True), ("w/a/b", True), ("w/.leoflow/x", False), ("data", False)]
)
def test_the_data_folder_is_no_part_of_the_workspace(tmp_path: Path, data: str, is_refused: bool) -> None:
    """`--data-dir ./data` gave import errors of Postgres' files, and a compile for each of its writes."""
    refusal = pytest.raises(CommandFailed, match="begins with a dot") if is_refused else nullcontext()
    with refusal:
        lite._refuse_data_in_workspace(tmp_path / data, tmp_path / "w")


@pytest.mark.parametrize(("inside", "is_told"), [("dags", True), ("", False)])
def test_a_workspace_inside_of_an_airflow_folder_is_told_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inside: str, is_told: bool
) -> None:
    tree = plant(tmp_path / "my airflow", {"dags/a.py": dag("a", "import common\n"), "plugins/common.py": ""})
    lite._note_what_lies_beside(Output(), tree / inside)
    assert (f"leoflow lite '{tree}'" in capsys.readouterr().err) is is_told
