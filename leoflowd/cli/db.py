"""`leoflow db`: history that is too old or too much. For administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

PATH = "/leoflow/api/retention"
SHOWN = 20


@click.group()
def db() -> None:
    """Remove history that is too old, or too much."""


@db.command("clean")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Runs that ended longer ago.")
@click.option("--runs-per-dag", type=click.IntRange(min=1), help="All but so many of each DAG, the newest.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def clean(client: Client, out: Output, days: float | None, runs_per_dag: int | None, dry_run: bool, yes: bool) -> None:
    """Remove dag runs that have ended, with their tasks, results and logs.

    Without --days and --runs-per-dag: as the server's own settings say. What something later depends on stays: the
    last run of each DAG, the run before one that goes on, runs of a DAG with an open backfill.
    """
    told = client.get(PATH, days=days, runs_per_dag=runs_per_dag)
    if dry_run or not told["runs"]:
        out.show(told, lambda: _show(out, told))
        return
    confirm(out, f"{_sum_of(told)}. Remove them?", yes=yes)
    limits = {"days": days, "runs_per_dag": runs_per_dag}
    removed = 0
    while count := client.post(PATH, limits)["removed_runs"]:
        removed += count
    out.show({"removed_runs": removed}, lambda: echo(f"removed {removed} dag runs"))


def _show(out: Output, told: dict[str, Any]) -> None:
    echo(f"{_sum_of(told)} would go")
    if not told["dags"]:
        return
    rows = [(one["dag_id"], one["runs"], one["task_instances"], one["oldest"], one["newest"]) for one in told["dags"]]
    out.table(("dag", "runs", "task instances", "oldest", "newest"), rows[:SHOWN])
    if len(rows) > SHOWN:
        echo(f"... and of {len(rows) - SHOWN} more DAGs; -o json has them all")


def _sum_of(told: dict[str, Any]) -> str:
    return f"{told['runs']} dag runs of {len(told['dags'])} DAGs, with {told['task_instances']} task instances"
