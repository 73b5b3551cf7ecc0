"""`leoflow roles`: which rights on which DAGs. For administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

PATH = "/leoflow/api/roles"
RIGHTS = ("read", "run", "deploy", "operate", "settings")
grants = click.option(
    "--grant",
    "given",
    metavar="RIGHTS=DAGS",
    multiple=True,
    help="run=tag:sales; RIGHTS: read, run, deploy, operate; DAGS: all, my-teams, dag:etl_*, tag:NAME, team:NAME. Or "
    "settings: connections, variables, pools. May be given several times.",
)


def _path(role: str) -> str:
    from leoflowd.cli.client import segment

    return f"{PATH}/{segment(role)}"


@click.group()
def roles() -> None:
    """List, create, change and delete roles. Admin, Op, User and Viewer are built in."""


@roles.command("list")
@server_command
def list_roles(client: Client, out: Output) -> None:
    """List roles with what they grant."""
    answer = client.get(PATH)
    headers = ("role", "grants", "users", "description")
    out.show(answer, lambda: out.table(headers, [_row(row) for row in answer["roles"]]))


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    granted = "built in" if row["is_built_in"] else ", ".join(map(_text, row["grants"])) or "nothing"
    return row["name"], granted, row["user_count"], row["description"]


def _text(grant: dict[str, Any]) -> str:
    return grant["rights"] if grant["dags"] is None else f"{grant['rights']}={grant['dags']}"


@roles.command("create")
@click.argument("role")
@grants
@click.option("--description", default="", help="For people.")
@server_command
def create(client: Client, out: Output, role: str, given: tuple[str, ...], description: str) -> None:
    """Make a role."""
    body = {"name": role, "grants": [_grant(text) for text in given], "description": description}
    made = client.post(PATH, body)
    out.show(made, lambda: echo(f"created {role}: {', '.join(map(_text, made['grants'])) or 'nothing'}"))


@roles.command("set-grants")
@click.argument("role")
@grants
@server_command
def set_grants(client: Client, out: Output, role: str, given: tuple[str, ...]) -> None:
    """Let a role grant this instead of what it grants; for whoever has it, from the next request on."""
    if not given:
        raise CommandFailed(
            ExitCode.USAGE,
            f"name with --grant what {role!r} is to grant from now on; nothing was changed. `leoflow roles list` shows "
            "what it grants",
        )
    description = client.get(_path(role))["description"]
    body = {"grants": [_grant(text) for text in given], "description": description}
    changed = client.put(_path(role), body)
    out.show(changed, lambda: echo(f"{role} grants now: {', '.join(map(_text, changed['grants'])) or 'nothing'}"))


@roles.command("delete")
@click.argument("role")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def delete(client: Client, out: Output, role: str, yes: bool) -> None:
    """Delete a role that nobody has."""
    confirm(out, f"Delete the role {role!r} at {client.login.server}?", yes=yes)
    client.delete(_path(role))
    out.show({"role": role}, lambda: echo(f"deleted {role}"))


def _grant(text: str) -> dict[str, str]:
    rights, has_dags, dags = text.partition("=")
    if rights not in RIGHTS or bool(has_dags) == (rights == "settings"):
        raise CommandFailed(
            ExitCode.USAGE,
            f"--grant {text!r}: write read=DAGS, run=DAGS, deploy=DAGS or operate=DAGS, with DAGS as all, my-teams, "
            "dag:etl_*, tag:NAME or team:NAME; or settings alone",
        )
    return {"rights": rights, "dags": dags} if has_dags else {"rights": rights}
