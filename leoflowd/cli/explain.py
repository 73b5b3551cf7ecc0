"""`leoflow explain`: why a task instance is in its state, or why a DAG does not run, and what it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, echo, show_value
from leoflowd.cli.runs import what_there_is

if TYPE_CHECKING:
    from leoflowd.cli.client import Client


@click.command()
@click.argument("dag_id")
@click.argument("run_id", required=False)
@click.argument("task_id", required=False)
@click.option("--map-index", type=int, default=-1, show_default=True)
@server_command
def explain(client: Client, out: Output, dag_id: str, run_id: str | None, task_id: str | None, map_index: int) -> None:
    """Say why a task is in its state, what a run waits for or why it failed, or why a DAG does not run at all."""
    from leoflowd.cli.client import segment

    path = "/".join(segment(part) for part in (dag_id, run_id, task_id) if part is not None)
    try:
        document = client.get(f"/api/v2/leoflow/explain/{path}", map_index=None if map_index < 0 else map_index)
    except CommandFailed as failure:
        if failure.code is not ExitCode.NOT_FOUND or run_id is None or task_id is None:
            raise
        raise CommandFailed(failure.code, f"{failure}{what_there_is(client, dag_id, run_id, task_id)}") from failure
    out.show(document, lambda: _print_answer(document))


def _print_answer(document: dict[str, Any]) -> None:
    """A sentence a line, and what else the server told."""
    sentences = document.get("because")
    if not isinstance(sentences, list):
        _print(document, indent="")
        return
    for sentence in sentences:
        echo(f"- {sentence}")
    if document.get("wait_id"):
        echo(f"`leoflow waits show {document['wait_id']}` tells more of its wait")


def _print(value: Any, indent: str) -> None:
    """Any JSON as an indented outline: the server decides what there is to say."""
    if isinstance(value, dict):
        for key, item in value.items():
            _print_item(f"{key}: ", item, indent)
    elif isinstance(value, list):
        for item in value:
            _print_item("- ", item, indent)
    else:
        echo(indent + show_value(value))


def _print_item(head: str, item: Any, indent: str) -> None:
    nested = isinstance(item, dict) or (isinstance(item, list) and any(isinstance(x, dict | list) for x in item))
    if nested and item:
        echo(f"{indent}{head}".rstrip())
        _print(item, indent + "  ")
    elif item not in (None, [], {}):
        echo(f"{indent}{head}{show_value(item)}")
