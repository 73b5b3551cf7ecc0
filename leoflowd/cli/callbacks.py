"""`leoflow callbacks`: what ends of tasks and dag runs called for, what became of it, and once more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

CALLBACKS = "/leoflow/api/callbacks"
HEADERS = ("id", "dag_id", "run_id", "of", "event", "calls", "state", "queued", "ended", "because")


@click.group()
def callbacks() -> None:
    """List callbacks, mails and alerts, print their logs, run one once more."""


@callbacks.command("list")
@click.option("--dag", "dag_id", help="Only of this DAG.")
@click.option("--run", "run_id", help="Only of this run.")
@click.option("--task", "task_id", help="Only of this task.")
@click.option(
    "--state",
    "states",
    type=click.Choice(["queued", "running", "success", "failed"]),
    multiple=True,
    help="Only in this state; repeatable.",
)
@click.option("--limit", type=click.IntRange(min=1, max=1000), default=100, show_default=True, help="At most so many.")
@server_command
def list_callbacks(
    client: Client,
    out: Output,
    dag_id: str | None,
    run_id: str | None,
    task_id: str | None,
    states: tuple[str, ...],
    limit: int,
) -> None:
    """List callbacks, the newest first."""
    found = client.get(
        CALLBACKS, dag_id=dag_id, run_id=run_id, task_id=task_id, state=list(states) or None, limit=limit
    )
    out.show(found, lambda: out.table(HEADERS, [_row(row) for row in found["callbacks"]]))
    if found["total_entries"] > len(found["callbacks"]):
        out.note(f"only the first {limit} are shown; filter them, or raise --limit")


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    index = "" if row["map_index"] < 0 else f"[{row['map_index']}]"
    return (
        row["id"],
        row["dag_id"],
        row["dag_run_id"],
        "the dag run" if row["of_dag"] else f"{row['task_id']}{index} try {row['try_number']}",
        row["event"],
        _calls(row),
        row["state"],
        row["queued_at"],
        row["ended_at"],
        row["because"],
    )


def _calls(row: dict[str, Any]) -> str:
    parts = (
        ("functions", row["calls_functions"]),
        ("mail", bool(row["mails"])),
        (f"{row['alerts']} alert(s)", bool(row["alerts"])),
    )
    return ", ".join(name for name, is_there in parts if is_there)


@callbacks.command("logs")
@click.argument("callback_id", type=int)
@server_command
def logs(client: Client, out: Output, callback_id: int) -> None:
    """Print the log of one; for a task's, behind the lines of its try."""
    from leoflowd.cli.runs import print_log

    lines = client.get_lines(f"{CALLBACKS}/{callback_id}/log").splitlines()
    content = [json.loads(line) for line in lines if line]
    out.show({"id": callback_id, "content": content}, lambda: print_log(content))


@callbacks.command("retry")
@click.argument("callback_id", type=int)
@server_command
def retry(client: Client, out: Output, callback_id: int) -> None:
    """Run one that has ended once more."""
    document = client.post(f"{CALLBACKS}/{callback_id}/retry", None)
    out.show(document, lambda: echo(f"queued again: {callback_id}"))
