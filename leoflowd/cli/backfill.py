"""`leoflow backfill`: make runs of the past, with a preview of how many and what they cost; pause and cancel them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo, seconds
from leoflowd.cli.runs import read_conf

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

BACKFILLS = "/api/v2/backfills"
COUNTS = ("runs", "to_be_made", "queued", "running", "success", "failed", "skipped")
HEADERS = ("id", "dag_id", "from", "to", "state", "at once", *(name.replace("_", " ") for name in COUNTS))
SHOWN = 10
"""Logical dates, or partitions, of a preview that are printed for people; `-o json` prints all."""


@click.group()
def backfill() -> None:
    """Make runs of the past, list, pause and cancel backfills."""


@backfill.command("create")
@click.argument("dag_id")
@click.option(
    "--from",
    "from_date",
    metavar="ISO",
    required=True,
    help="First logical date, e.g. 2026-01-01; of runs with partitions, first moment of a run.",
)
@click.option("--to", "to_date", metavar="ISO", required=True, help="Last logical date; it is in the range.")
@click.option("--reverse", is_flag=True, help="The newest run starts first.")
@click.option(
    "--reprocess",
    type=click.Choice(["none", "failed", "completed"]),
    default="none",
    show_default=True,
    help="Which runs that exist run again.",
)
@click.option("--max-active-runs", type=click.IntRange(min=1), default=10, show_default=True, help="So many at once.")
@click.option("--conf", metavar="JSON", help="Configuration of every run, a JSON object.")
@click.option("--conf-file", type=click.Path(dir_okay=False, path_type=Path), help="The same, from a file; - is stdin.")
@click.option("--keep-version", is_flag=True, help="Runs that run again keep their version of the DAG.")
@click.option("--dry-run", is_flag=True, help="Show what would run, and what it costs; change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def create(
    client: Client,
    out: Output,
    dag_id: str,
    from_date: str,
    to_date: str,
    reverse: bool,
    reprocess: str,
    max_active_runs: int,
    conf: str | None,
    conf_file: Path | None,
    keep_version: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Make the runs of DAG_ID whose logical dates lie in the range. Shows what that is, and asks first."""
    body: dict[str, Any] = {
        "dag_id": dag_id,
        "from_date": _moment(from_date),
        "to_date": _moment(to_date),
        "run_backwards": reverse,
        "reprocess_behavior": reprocess,
        "max_active_runs": max_active_runs,
        "run_on_latest_version": not keep_version,
        # None leaves runs that run again the conf that they have
        "dag_run_conf": read_conf(conf, conf_file) if conf is not None or conf_file is not None else None,
    }
    preview = client.post(f"{BACKFILLS}/dry_run", body)
    if dry_run:
        out.show(preview, lambda: _print_preview(preview))
        return
    if not yes:
        _print_preview(preview, err=True)
    confirm(out, f"Backfill {preview['total_entries']} run(s) of {dag_id}?", yes=yes)
    made = client.post(BACKFILLS, body)
    out.show(made, lambda: echo(f"backfill {made['id']}: {made['progress']['runs']} moment(s) of {dag_id}"))
    out.note(f"`leoflow backfill list {dag_id}` shows how far it is; pause or cancel it by its id")


@backfill.command("list")
@click.argument("dag_id", required=False)
@click.option("--all", "with_completed", is_flag=True, help="Those that are over as well.")
@server_command
def list_backfills(client: Client, out: Output, dag_id: str | None, with_completed: bool) -> None:
    """List backfills and how far they are, of DAG_ID or of all DAGs, the newest first."""
    active = None if with_completed else "true"
    rows = list(client.pages("/ui/backfills", "backfills", dag_id=dag_id, active=active, order_by="-id"))
    out.show({"backfills": rows, "total_entries": len(rows)}, lambda: out.table(HEADERS, [_row(row) for row in rows]))


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    progress = row["progress"]
    state = "completed" if row["completed_at"] else "paused" if row["is_paused"] else "running"
    return (
        row["id"],
        row["dag_id"],
        row["from_date"],
        row["to_date"],
        state,
        row["max_active_runs"],
        *(progress[name] for name in COUNTS),
    )


@backfill.command("pause")
@click.argument("backfill_id", type=click.IntRange(min=0))
@server_command
def pause(client: Client, out: Output, backfill_id: int) -> None:
    """Start no more runs of it; running ones finish."""
    _act(client, out, backfill_id, "pause", "paused")


@backfill.command("unpause")
@click.argument("backfill_id", type=click.IntRange(min=0))
@server_command
def unpause(client: Client, out: Output, backfill_id: int) -> None:
    """Go on with it."""
    _act(client, out, backfill_id, "unpause", "unpaused")


@backfill.command("cancel")
@click.argument("backfill_id", type=click.IntRange(min=0))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def cancel(client: Client, out: Output, backfill_id: int, yes: bool) -> None:
    """End it: its queued runs fail, running ones finish. It cannot be resumed; ask for a new one instead."""
    confirm(out, f"Cancel backfill {backfill_id}?", yes=yes)
    _act(client, out, backfill_id, "cancel", "cancelled")


def _act(client: Client, out: Output, backfill_id: int, action: str, done: str) -> None:
    row = client.put(f"{BACKFILLS}/{backfill_id}/{action}")
    out.show(row, lambda: echo(f"{done} backfill {row['id']} of {row['dag_id']}"))


def _moment(text: str) -> str:
    """A bare day is its first moment, in UTC."""
    return f"{text}T00:00:00Z" if len(text) == len("2026-01-31") else text


def _print_preview(dry: dict[str, Any], *, err: bool = False) -> None:
    cost, dates = dry["preview"], [row["logical_date"] or row["partition_key"] for row in dry["backfills"]]
    lines = [f"{cost['runs']} run(s), {cost['task_instances']} task instance(s), {cost['runs_at_once']} at once"]
    lines += [f"  pool {name}: up to {slots} slot(s)" for name, slots in sorted(cost["pools"].items())]
    if cost["runs_per_hour"] is not None:
        lines.append(
            f"  about {cost['runs_per_hour']:.0f} run(s) per hour, {seconds(cost['duration_s'])} in all: the newest "
            f"runs took {seconds(cost['run_duration_s'])}"
        )
    else:
        lines.append("  no run of this DAG has succeeded yet: how long it takes is not known")
    lines += [f"  {date}" for date in dates[:SHOWN]]
    if len(dates) > SHOWN:
        lines.append(f"  ... and {len(dates) - SHOWN} more, to {dates[-1]}")
    echo("\n".join(lines), err=err)
