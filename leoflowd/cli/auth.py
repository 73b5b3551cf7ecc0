"""`leoflow auth login`: exchange a password for a token and save it, readable by the user alone."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from leoflowd.cli import login as saved_login
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client


@click.group()
def auth() -> None:
    """Log in."""


@auth.command()
@click.option("--username", envvar="LEOFLOW_USERNAME", default="admin", show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin; else LEOFLOW_PASSWORD, else ask.")
@server_command
def login(client: Client, out: Output, username: str, password_stdin: bool) -> None:
    """Save a token for the server, which also becomes the default server."""
    password = _password(username, out, from_stdin=password_stdin)
    client.forget_token()
    try:
        answer = client.post("/auth/token", {"username": username, "password": password})
    except CommandFailed as failure:
        if failure.facts.get("status") == 401:
            raise CommandFailed(
                ExitCode.NOT_ALLOWED,
                f"{client.login.server} does not accept this password for {username!r}; in Lite a new one is made "
                "with `leoflow lite reset-password`",
            ) from failure
        raise
    path = saved_login.config_path()
    saved_login.save(client.login.server, answer["access_token"], path)
    document = {"server": client.login.server, "username": username, "saved": str(path)}
    out.show(document, lambda: echo(f"logged in at {client.login.server} as {username}"))


def _password(username: str, out: Output, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.read().rstrip("\r\n")
    if given := os.environ.get("LEOFLOW_PASSWORD"):
        return given
    if out.as_json or not sys.stdin.isatty():
        raise CommandFailed(
            ExitCode.USAGE, "nobody is here to type the password; use --password-stdin or LEOFLOW_PASSWORD"
        )
    return str(click.prompt(f"Password of {username}", hide_input=True, err=True))
