"""`leoflow upgrade`: rewrites DAG files to Airflow 3's spelling with ruff's rules for Airflow, and shows what remains.

Ruff knows what moved and edits the text; we only call it. It is looked for beside our interpreter, then on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from glob import escape
from pathlib import Path
from typing import Any

import click
import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import output_option
from leoflowd.cli.output import Output, echo

RULES = "AIR3"
"""What Airflow 3 removed, moved and renamed."""
UNUSED = "F401"
"""An import that nothing uses: a rewritten name leaves that of the old one behind."""
FIX = ("--fix-only", "--unsafe-fixes")
"""Ruff calls a fix unsafe that may change what the program does: these mean to."""
DEADLINE_S = 300.0


class Place(msgspec.Struct, frozen=True):
    row: int


class Finding(msgspec.Struct, frozen=True):
    """One of `ruff check --output-format json`."""

    filename: str
    location: Place
    code: str | None
    message: str


@click.command()
@click.argument("folder", metavar="DIR", default=".", type=click.Path(exists=True, path_type=Path))
@click.option("--diff", is_flag=True, help="Show what would change, and change nothing.")
@output_option
@click.pass_obj
def upgrade(out: Output, folder: Path, diff: bool) -> None:
    """Rewrite the DAG files in DIR, or one file, to Airflow 3's spelling.

    What has no rewrite is listed with its line. Ruff does the work: `pip install 'leoflow[upgrade]'`.
    """
    ruff = find_ruff()
    before = _findings(ruff, folder, RULES)
    fix = (f"{RULES},{UNUSED}", *FIX, *_keep_unused(ruff, folder))
    if diff:
        text = _run(ruff, folder, *fix, "--diff").rstrip()
        out.show({"diff": text}, lambda: echo(text))
        return
    _run(ruff, folder, *fix)
    after = _findings(ruff, folder, RULES)
    remaining = [
        {"path": _as_named(one.filename, folder), "line": one.location.row, "what": one.message, "code": one.code}
        for one in after
    ]
    report: dict[str, Any] = {"rewritten": len(before) - len(after), "remaining": remaining}
    out.show(report, lambda: _print(report, folder))


def find_ruff() -> str:
    """Raises `CommandFailed` where there is none."""
    beside = Path(sys.executable).parent / "ruff"
    found = str(beside) if beside.exists() else shutil.which("ruff")
    if found is None:
        raise CommandFailed(
            ExitCode.USAGE, "ruff is not installed, which does the rewriting: run `pip install 'leoflow[upgrade]'`"
        )
    return found


def _keep_unused(ruff: str, folder: Path) -> list[str]:
    """Files with imports that nothing used before either keep all of them: they may be there for what they do."""
    files = sorted({one.filename for one in _findings(ruff, folder, UNUSED)})
    return [f"--per-file-ignores={escape(file)}:{UNUSED}" for file in files]


def _as_named(file: str, folder: Path) -> str:
    """As the caller can open it, who has named `folder`."""
    return file if folder.is_absolute() else os.path.relpath(file)


def _findings(ruff: str, folder: Path, rules: str) -> list[Finding]:
    return msgspec.json.decode(_run(ruff, folder, rules, "--output-format", "json"), type=list[Finding])


def _run(ruff: str, folder: Path, rules: str, *options: str) -> str:
    """Standard output. `--isolated`: the project's own ruff settings say what it wants to be told, not what is old."""
    command = [ruff, "check", "--isolated", "--preview", "--no-cache", "--quiet", "--select", rules, *options]
    try:
        done = subprocess.run(  # noqa: S603 - our own words, and a path that exists
            [*command, str(folder)], capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(
            ExitCode.UNEXPECTED, f"ruff took longer than {DEADLINE_S:.0f} s; name a smaller folder"
        ) from error
    if done.returncode not in (0, 1):  # 1: there are findings
        raise CommandFailed(ExitCode.UNEXPECTED, f"ruff cannot read {folder}: {done.stderr.strip()}")
    return done.stdout


def _print(report: dict[str, Any], folder: Path) -> None:
    for one in report["remaining"]:
        echo(f"{one['path']}:{one['line']}: {one['what']}")
    echo(f"{folder}: {report['rewritten']} places rewritten, {len(report['remaining'])} left to do by hand")
