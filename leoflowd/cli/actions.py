"""`leoflow actions`: what tasks ask people, and an answer. The UI's page is Required Actions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

HEADERS = ("dag_id", "run_id", "task_id", "asks", "options", "may answer", "since")


@click.group()
def actions() -> None:
    """List and answer what tasks ask people."""


@actions.command("list")
@click.option("--dag", "dag_id", default="~", help="Only of this DAG.")
@click.option("--run", "run_id", default="~", help="Only of this run; needs --dag.")
@click.option("--all", "with_answered", is_flag=True, help="Those that are answered or over as well.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many.")
@server_command
def list_actions(client: Client, out: Output, dag_id: str, run_id: str, with_answered: bool, limit: int) -> None:
    """List what is asked now, the oldest first."""
    from itertools import islice

    from leoflowd.cli.client import segment

    path = f"/api/v2/dags/{segment(dag_id)}/dagRuns/{segment(run_id)}/hitlDetails"
    filters = {} if with_answered else {"response_received": "false", "state": "deferred"}
    found = list(islice(client.pages(path, "hitl_details", order_by="created_at", **filters), limit + 1))
    rows, is_cut = found[:limit], len(found) > limit
    out.show({"hitl_details": rows, "is_complete": not is_cut}, lambda: out.table(HEADERS, [_row(row) for row in rows]))
    if is_cut:
        out.note(f"only the first {limit} are shown; filter them, or raise --limit")


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    instance = row["task_instance"]
    index = "" if instance["map_index"] < 0 else f"[{instance['map_index']}]"
    return (
        instance["dag_id"],
        instance["dag_run_id"],
        f"{instance['task_id']}{index}",
        row["subject"],
        " / ".join(row["options"]),
        ", ".join(user["name"] for user in row["assigned_users"]) or "anybody",
        row["created_at"],
    )


@actions.command("answer")
@click.argument("dag_id")
@click.argument("run_id")
@click.argument("task_id")
@click.argument("options", metavar="OPTION...", nargs=-1, required=True)
@click.option("--map-index", type=click.IntRange(min=-1), default=-1, help="Of a mapped task: which instance.")
@click.option(
    "--param", "params", metavar="NAME=VALUE", multiple=True, help="A field of the form; VALUE as JSON or text."
)
@server_command
def answer(
    client: Client,
    out: Output,
    dag_id: str,
    run_id: str,
    task_id: str,
    options: tuple[str, ...],
    map_index: int,
    params: tuple[str, ...],
) -> None:
    """Answer what TASK_ID asks in this run. Without --param a form keeps the values that it shows."""
    from leoflowd.cli.client import segment

    path = "/".join(
        ("/api/v2/dags", segment(dag_id), "dagRuns", segment(run_id), "taskInstances", segment(task_id), str(map_index))
    )
    asked = client.get(f"{path}/hitlDetails")
    entered = {name: param["value"] for name, param in asked["params"].items()} | dict(map(_param, params))
    done = client.patch(f"{path}/hitlDetails", {"chosen_options": list(options), "params_input": entered})
    out.show(done, lambda: echo(f"answered {', '.join(done['chosen_options'])} as {done['responded_by']['name']}"))


def _param(text: str) -> tuple[str, Any]:
    name, is_given, value = text.partition("=")
    if not is_given:
        raise CommandFailed(ExitCode.USAGE, f"--param {text!r}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
