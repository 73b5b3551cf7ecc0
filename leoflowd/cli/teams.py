"""`leoflow teams`: names with members and DAGs, which roles grant rights on. For administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

PATH = "/leoflow/api/teams"
members = click.option("--member", "members", metavar="USER", multiple=True, help="May be given several times.")
dags = click.option("--dag", "dags", metavar="PATTERN", multiple=True, help="A DAG id, or sales_*; several times.")


def _path(team: str) -> str:
    from leoflowd.cli.client import segment

    return f"{PATH}/{segment(team)}"


@click.group()
def teams() -> None:
    """List, create, change and delete teams."""


@teams.command("list")
@server_command
def list_teams(client: Client, out: Output) -> None:
    """List teams with their members and DAGs."""
    answer = client.get(PATH)
    rows = [(row["name"], ", ".join(row["members"]), ", ".join(row["dags"])) for row in answer["teams"]]
    out.show(answer, lambda: out.table(("team", "members", "DAGs"), rows))


@teams.command("create")
@click.argument("team")
@members
@dags
@server_command
def create(client: Client, out: Output, team: str, members: tuple[str, ...], dags: tuple[str, ...]) -> None:
    """Make a team."""
    made = client.post(PATH, {"name": team})
    if members or dags:
        made = client.patch(_path(team), {"add_members": list(members), "add_dags": list(dags)})
    _show(out, made)


@teams.command("add")
@click.argument("team")
@members
@dags
@server_command
def add(client: Client, out: Output, team: str, members: tuple[str, ...], dags: tuple[str, ...]) -> None:
    """Add members and DAGs."""
    _need_some(members, dags)
    _show(out, client.patch(_path(team), {"add_members": list(members), "add_dags": list(dags)}))


@teams.command("remove")
@click.argument("team")
@members
@dags
@server_command
def remove(client: Client, out: Output, team: str, members: tuple[str, ...], dags: tuple[str, ...]) -> None:
    """Remove members and DAGs."""
    _need_some(members, dags)
    _show(out, client.patch(_path(team), {"remove_members": list(members), "remove_dags": list(dags)}))


@teams.command("delete")
@click.argument("team")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def delete(client: Client, out: Output, team: str, yes: bool) -> None:
    """Delete a team; its members and DAGs stay."""
    confirm(out, f"Delete the team {team!r} at {client.login.server}?", yes=yes)
    client.delete(_path(team))
    out.show({"team": team}, lambda: echo(f"deleted {team}"))


def _need_some(members: tuple[str, ...], dags: tuple[str, ...]) -> None:
    if not members and not dags:
        raise CommandFailed(ExitCode.USAGE, "say what, with --member USER and --dag PATTERN")


def _show(out: Output, team: dict[str, Any]) -> None:
    line = f"{team['name']}: members {', '.join(team['members']) or 'none'}; DAGs {', '.join(team['dags']) or 'none'}"
    out.show(team, lambda: echo(line))
