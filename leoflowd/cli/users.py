"""`leoflow users`: who may log in to a server that several people share. For administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo
from leoflowd.cli.passwords import new_password

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

PATH = "/leoflow/api/users"
from_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from stdin instead of asking.")
generate = click.option("--generate", is_flag=True, help="Make a random password and show it, once.")


def _path(username: str) -> str:
    from leoflowd.cli.client import segment

    return f"{PATH}/{segment(username)}"


@click.group()
def users() -> None:
    """List, create, change, disable and delete users."""


@users.command("list")
@server_command
def list_users(client: Client, out: Output) -> None:
    """List users with their roles and teams."""
    answer = client.get(PATH)
    headers = ("user", "roles", "teams", "state")
    out.show(answer, lambda: out.table(headers, [_row(row) for row in answer["users"]]))


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    state = "disabled" if row["is_disabled"] else "enabled"
    return row["username"], ", ".join(row["roles"]), ", ".join(row["teams"]), state


@users.command("create")
@click.argument("username")
@click.option("--role", "roles", multiple=True, required=True, help="May be given several times; see `leoflow roles`.")
@from_stdin
@generate
@server_command
def create(
    client: Client, out: Output, username: str, roles: tuple[str, ...], password_stdin: bool, generate: bool
) -> None:
    """Make a user."""
    password = new_password(username, out, from_stdin=password_stdin, generate=generate)
    made = client.post(PATH, {"username": username, "password": password, "roles": list(roles)})
    _show(out, made | ({"password": password} if generate else {}), f"created {username}: {', '.join(made['roles'])}")


@users.command("set-role")
@click.argument("username")
@click.argument("roles", metavar="ROLE...", nargs=-1, required=True)
@server_command
def set_role(client: Client, out: Output, username: str, roles: tuple[str, ...]) -> None:
    """Give a user these roles instead of those he has; from the next request on."""
    changed = client.patch(_path(username), {"roles": list(roles)})
    _show(out, changed, f"{username} has now: {', '.join(changed['roles'])}")


@users.command("set-password")
@click.argument("username")
@from_stdin
@generate
@server_command
def set_password(client: Client, out: Output, username: str, password_stdin: bool, generate: bool) -> None:
    """Give a user a new password; ends his logins and personal tokens."""
    password = new_password(username, out, from_stdin=password_stdin, generate=generate)
    changed = client.patch(_path(username), {"password": password})
    _show(out, changed | ({"password": password} if generate else {}), f"{username} has a new password")


def _show(out: Output, document: dict[str, Any], line: str) -> None:
    """A password that was made is the last line, by itself."""
    password = document.get("password")
    out.show(
        document, lambda: echo(line if password is None else f"{line}. The password is not shown again:\n{password}")
    )


@users.command("disable")
@click.argument("username")
@server_command
def disable(client: Client, out: Output, username: str) -> None:
    """Let a user in no more; ends his logins and personal tokens."""
    _show(out, client.patch(_path(username), {"disabled": True}), f"disabled {username}")


@users.command("enable")
@click.argument("username")
@server_command
def enable(client: Client, out: Output, username: str) -> None:
    """Let a disabled user in again, with his password."""
    _show(out, client.patch(_path(username), {"disabled": False}), f"enabled {username}")


@users.command("delete")
@click.argument("username")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def delete(client: Client, out: Output, username: str, yes: bool) -> None:
    """Delete a user with his tokens. The audit log keeps what he did."""
    confirm(out, f"Delete the user {username!r} at {client.login.server}?", yes=yes)
    client.delete(_path(username))
    out.show({"username": username}, lambda: echo(f"deleted {username}"))
