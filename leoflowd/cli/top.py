"""`leoflow top`: runs, waits, pools and how late the scheduler is, on a screen that refreshes itself. ADR 87."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from leoflowd.cli import top_view
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client


@click.command()
@click.option("--once", is_flag=True, help="Print it once, and end; also what -o json does.")
@click.option("--every", "every_s", type=click.FloatRange(0.5, 3600), default=2.0, show_default=True, metavar="SECONDS")
@server_command
def top(client: Client, out: Output, once: bool, every_s: float) -> None:
    """Watch runs, waits, slots of pools, and how late runs and tasks begin.

    Enter on a run says why it is in its state; space pauses, q quits. The screen needs `pip install 'leoflow[top]'`.
    """
    if once or out.as_json:
        seen = top_view.look(client, datetime.now(UTC))
        out.show(msgspec.to_builtins(seen), lambda: _print(out, seen))
        return
    if not sys.stdout.isatty():
        raise CommandFailed(ExitCode.USAGE, "this is no terminal to draw on: add --once, or -o json")
    try:
        from leoflowd.cli.top_screen import Top
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("textual"):
            raise
        raise CommandFailed(
            ExitCode.NOT_READY,
            "Textual, which draws the screen, is not installed here: `pip install 'leoflow[top]'`, or add --once",
        ) from error
    Top(lambda: _look(client), lambda dag_id, run_id: _explain(client, dag_id, run_id), every_s=every_s).run()


def _look(client: Client) -> top_view.Look:
    """The same refusal in words as of any other command."""
    try:
        return top_view.look(client, datetime.now(UTC))
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise client.odd_answer(error) from error


def _explain(client: Client, dag_id: str, run_id: str) -> list[str]:
    from leoflowd.cli.client import segment

    try:
        found = client.get(f"/api/v2/leoflow/explain/{segment(dag_id)}/{segment(run_id)}")
        return [str(sentence) for sentence in found["because"]]
    except (LookupError, TypeError) as error:
        raise client.odd_answer(error) from error


def _print(out: Output, seen: top_view.Look) -> None:
    out.table(("", ""), top_view.facts(seen))
    for name, count, headers, rows in (
        ("Runs", seen.runs_count, top_view.RUN_HEADERS, top_view.run_rows(seen)),
        ("Waits", seen.waits_count, top_view.WAIT_HEADERS, top_view.wait_rows(seen)),
        ("Pools", len(seen.pools), top_view.POOL_HEADERS, top_view.pool_rows(seen)),
    ):
        echo()
        echo(top_view.title(name, count, rows))
        if rows:
            out.table(headers, rows)
