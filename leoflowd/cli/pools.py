"""`leoflow pools`: list, set and delete the slot limits that task instances share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

PATH = "/api/v2/pools"
HEADERS = ("pool", "slots", "running", "queued", "scheduled", "deferred", "open", "counts deferred", "description")


def _path(name: str) -> str:
    from leoflowd.cli.client import segment

    return f"{PATH}/{segment(name)}"


@click.group()
def pools() -> None:
    """List, set and delete pools: slots that tasks share."""


@pools.command("list")
@server_command
def list_pools(client: Client, out: Output) -> None:
    """List pools with what is in their slots."""
    rows = list(client.pages(PATH, "pools", order_by="name"))
    document = {"pools": rows, "total_entries": len(rows)}
    out.show(document, lambda: out.table(HEADERS, [_row(row) for row in rows]))


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    used = [row[f"{state}_slots"] for state in ("running", "queued", "scheduled", "deferred", "open")]
    return (row["name"], _slots(row), *used, row["include_deferred"], row["description"])


def _slots(row: dict[str, Any]) -> str:
    return "unlimited" if row["slots"] == -1 else str(row["slots"])


@pools.command("set")
@click.argument("name", metavar="POOL")
@click.argument("slots", type=click.IntRange(min=-1))
@click.option("--description", help="For people; without it, the one that is stored stays.")
@click.option(
    "--include-deferred/--exclude-deferred",
    default=None,
    help="Whether deferred tasks keep their slots; without it, as it is stored, else they do not.",
)
@server_command
def set_pool(
    client: Client, out: Output, name: str, slots: int, description: str | None, include_deferred: bool | None
) -> None:
    """Give POOL so many SLOTS, whether it exists or not; -1 (behind `--`) is unlimited."""
    given = {"slots": slots, "description": description, "include_deferred": include_deferred}
    body = {field: value for field, value in given.items() if value is not None}
    try:
        row = client.patch(_path(name), body)
    except CommandFailed as failure:
        if failure.code is not ExitCode.NOT_FOUND:
            raise
        row = client.post(PATH, {"name": name, **body})
    out.show(row, lambda: echo(f"set {row['name']}: slots {_slots(row)}"))


@pools.command("delete")
@click.argument("name", metavar="POOL")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def delete_pool(client: Client, out: Output, name: str, yes: bool) -> None:
    """Delete a pool: tasks that name it wait until there is one of that name again."""
    confirm(out, f"Delete pool {name!r}?", yes=yes)
    client.delete(_path(name))
    out.show({"pool": name, "deleted": True}, lambda: echo(f"deleted {name}"))
