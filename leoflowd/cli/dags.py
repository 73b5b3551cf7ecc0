"""`leoflow dags`: the DAGs that the server knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import confirm, for_each, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

DETAILS = (
    "dag_id",
    "dag_display_name",
    "description",
    "is_paused",
    "is_stale",
    "has_import_errors",
    "timetable_summary",
    "timetable_description",
    "next_dagrun_run_after",
    "owners",
    "max_active_runs",
    "max_active_tasks",
    "catchup",
    "start_date",
    "end_date",
    "fileloc",
    "last_parsed_time",
)
"""What `dags show` prints for people; `-o json` prints all."""


def dag_path(dag_id: str) -> str:
    from leoflowd.cli.client import segment

    return f"/api/v2/dags/{segment(dag_id)}"


@click.group()
def dags() -> None:
    """List, show, delete, pause and unpause DAGs."""


@dags.command("list")
@click.option("--tag", "tags", multiple=True, help="Only DAGs with this tag; repeatable.")
@click.option("--all", "with_stale", is_flag=True, help="Also DAGs whose project is gone.")
@server_command
def list_dags(client: Client, out: Output, tags: tuple[str, ...], with_stale: bool) -> None:
    """List all DAGs."""
    stale = False if with_stale else None
    rows = list(client.pages("/api/v2/dags", "dags", tags=list(tags) or None, exclude_stale=stale, order_by="dag_id"))
    headers = ("dag_id", "paused", "schedule", "next run", "owners", "tags")
    out.show({"dags": rows, "total_entries": len(rows)}, lambda: out.table(headers, [_row(dag) for dag in rows]))


def _row(dag: dict[str, Any]) -> tuple[Any, ...]:
    tags = [tag["name"] for tag in dag["tags"]]
    return (
        dag["dag_id"],
        dag["is_paused"],
        dag["timetable_summary"],
        dag["next_dagrun_run_after"],
        dag["owners"],
        tags,
    )


@dags.command("show")
@click.argument("dag_id")
@server_command
def show_dag(client: Client, out: Output, dag_id: str) -> None:
    """Show one DAG."""
    dag = client.get(f"{dag_path(dag_id)}/details")
    out.show(dag, lambda: out.table(("field", "value"), [(name, dag.get(name)) for name in DETAILS]))


@dags.command("delete")
@click.argument("dag_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def delete_dag(client: Client, out: Output, dag_id: str, yes: bool) -> None:
    """Delete a DAG with all its runs and history.

    Its file stays, and the DAG stays deleted until its definition changes (tasks, schedule, arguments; not just code),
    its file goes and comes again, or `leoflow push` registers it.
    """
    confirm(out, f"Delete DAG {dag_id!r} with all its runs?", yes=yes)
    client.delete(dag_path(dag_id))
    out.show({"dag_id": dag_id, "deleted": True}, lambda: echo(f"deleted {dag_id}"))
    out.note("if its file is still there, it stays deleted until its definition changes or you `leoflow push` it")


@dags.command("pause")
@click.argument("dag_ids", metavar="DAG_ID...", nargs=-1, required=True)
@server_command
def pause_dags(client: Client, out: Output, dag_ids: tuple[str, ...]) -> None:
    """Pause DAGs: no new runs start; running tasks finish."""
    _set_paused(client, out, dag_ids, paused=True)


@dags.command("unpause")
@click.argument("dag_ids", metavar="DAG_ID...", nargs=-1, required=True)
@server_command
def unpause_dags(client: Client, out: Output, dag_ids: tuple[str, ...]) -> None:
    """Unpause DAGs."""
    _set_paused(client, out, dag_ids, paused=False)


def _set_paused(client: Client, out: Output, dag_ids: tuple[str, ...], *, paused: bool) -> None:
    changed, failure = for_each(dag_ids, lambda dag_id: client.patch(dag_path(dag_id), {"is_paused": paused}))
    document = {"dags": [{"dag_id": dag["dag_id"], "is_paused": dag["is_paused"]} for dag in changed]}
    word = "paused" if paused else "unpaused"
    lines = [f"{word} {dag['dag_id']}" for dag in changed]
    out.show(document, lambda: echo("\n".join(lines)) if lines else None)
    if failure is not None:
        raise failure
