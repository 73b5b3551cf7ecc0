"""`leoflow auth`: a password, or a login in the browser, for a token that is saved, readable by the user alone; access
tokens for programs.

What `LEOFLOW_TOKEN` and `--token` give is no saved login: `logout` leaves it alone, `revoke-token` ends it by name.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli import login as saved_login
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client


@click.group()
def auth() -> None:
    """Log in and out; make and revoke access tokens."""


@auth.command()
@click.option("--username", envvar="LEOFLOW_USERNAME", help="Log in with a password.  [default: admin]")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin; else LEOFLOW_PASSWORD, else ask.")
@click.option("--no-browser", is_flag=True, help="Show the address instead of opening it; of a server with OIDC.")
@server_command
def login(client: Client, out: Output, username: str | None, password_stdin: bool, no_browser: bool) -> None:
    """Save a token for the server, which also becomes the default server.

    Where the server has an identity provider, and neither a user nor a password is given, this is done in your browser.
    """
    client.forget_token()
    if username is None and not password_stdin and not os.environ.get("LEOFLOW_PASSWORD"):
        from leoflowd.cli import browser_login

        if (name := browser_login.provider_of(client)) is not None:
            made = browser_login.log_in(client, out, name, opens=not no_browser)
            _save(client, out, made["access_token"], made["username"])
            return
    username = username or "admin"
    password = _password(username, out, from_stdin=password_stdin)
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
    _save(client, out, answer["access_token"], username)


def _save(client: Client, out: Output, token: str, username: str) -> None:
    path = saved_login.config_path()
    saved_login.save(client.login.server, token, path)
    document = {"server": client.login.server, "username": username, "saved": str(path)}
    out.show(document, lambda: echo(f"logged in at {client.login.server} as {username}"))


@auth.command()
@server_command
def logout(client: Client, out: Output) -> None:
    """End the saved login, here and at the server: with all tokens that were made in it."""
    path, server = saved_login.config_path(), client.login.server
    if client.login.token and client.login.token != saved_login.saved_token(server, path):
        raise CommandFailed(
            ExitCode.USAGE,
            "the token of --token or LEOFLOW_TOKEN is no saved login; end it with `leoflow auth revoke-token NAME`, "
            "or unset it and log out again",
        )
    if not saved_login.forget(server, path):
        raise CommandFailed(ExitCode.NOT_FOUND, f"there is no saved login for {server} in {path}")
    if client.login.token:
        _end_session(client)
    out.show({"server": server, "saved": str(path)}, lambda: echo(f"logged out at {server}"))


def _end_session(client: Client) -> None:
    try:
        client.delete("/leoflow/api/session")
    except CommandFailed as failure:
        if failure.code is ExitCode.NOT_ALLOWED:
            return  # it was over already
        raise CommandFailed(
            failure.code, f"the saved login was removed, but may be valid at the server until it expires: {failure}"
        ) from failure


@auth.command()
@server_command
def status(client: Client, out: Output) -> None:
    """Say who you are, where, until when, and with which rights."""
    me = client.get("/leoflow/api/me")
    source = _source(client)
    document = {"server": client.login.server, "token_from": source, **me}
    out.show(document, lambda: echo("\n".join(_status_lines(client.login.server, source, me))))


def _source(client: Client) -> str:
    if client.login.token == saved_login.saved_token(client.login.server, saved_login.config_path()):
        return "the saved login"
    return "LEOFLOW_TOKEN" if client.login.token == os.environ.get("LEOFLOW_TOKEN") else "--token"


def _status_lines(server: str, source: str, me: dict[str, Any]) -> list[str]:
    kind = "a login" if me["kind"] == "login" else f"the {me['kind']} access token {me['token_name']!r}"
    roles = f" ({', '.join(me['roles'])})" if me["roles"] else ""
    teams = [f"  teams: {', '.join(me['teams'])}"] if me["teams"] else []
    return [
        f"{server}: {me['username']}{roles}",
        f"  by {kind}, from {source}",
        f"  until {_moment(me['expires_at'])}",
        f"  rights: {', '.join(me['rights'])}",
        *teams,
    ]


@auth.command("change-password")
@click.option("--password-stdin", is_flag=True, help="Read the current and the new password from stdin, a line each.")
@server_command
def change_password(client: Client, out: Output, password_stdin: bool) -> None:
    """Give yourself a new password, which ends all your logins and personal tokens, and log in with it."""
    from leoflowd.cli.passwords import ask_new, read_lines

    me = client.get("/leoflow/api/me")
    if password_stdin:
        current, new = read_lines("the current password", "the new one")
    else:
        current = _password(me["username"], out, from_stdin=False)
        new = ask_new(f"New password of {me['username']}", out)
    client.post("/leoflow/api/me/password", {"current_password": current, "new_password": new})
    client.forget_token()
    answer = client.post("/auth/token", {"username": me["username"], "password": new})
    saved_login.save(client.login.server, answer["access_token"], saved_login.config_path())
    document = {"server": client.login.server, "username": me["username"]}
    out.show(document, lambda: echo(f"changed the password of {me['username']}; all other logins and tokens are over"))


@auth.command("create-token")
@click.option("--name", required=True, help="What it is for: shown in lists, and the audit log names it.")
@click.option("--expires", required=True, metavar="90d", help="90d, 12h, 30m; 366 days at most.")
@click.option(
    "--rights",
    type=click.Choice(["read", "run", "deploy", "operate", "admin"]),
    default="read",
    show_default=True,
    help="run: also trigger and clear; deploy: also register versions; operate: also connections, variables, pools.",
)
@click.option("--service", is_flag=True, help="Of no person: it outlives who makes it. For administrators.")
@server_command
def create_token(client: Client, out: Output, name: str, expires: str, rights: str, service: bool) -> None:
    """Make an access token for a program, which sets it as LEOFLOW_TOKEN. It is shown once."""
    body = {"name": name, "rights": rights, "expires_in_s": _seconds(expires), "service": service}
    made = client.post("/leoflow/api/tokens", body)
    out.note(f"{name}: {rights}, until {_moment(made['expires_at'])}. It is not shown again:")
    out.show(made, lambda: echo(made["token"]))


@auth.command()
@server_command
def tokens(client: Client, out: Output) -> None:
    """List access tokens: your own; for an administrator everybody's."""
    rows = client.get("/leoflow/api/tokens")["tokens"]
    headers = ("name", "of", "rights", "state", "expires", "last used")
    cells = [
        (
            row["name"],
            row["username"] or "service",
            row["rights"],
            row["state"],
            _moment(row["expires_at"]),
            _moment(row["last_used_at"]) if row["last_used_at"] else "never",
        )
        for row in rows
    ]
    out.show({"tokens": rows}, lambda: out.table(headers, cells))


@auth.command("revoke-token")
@click.argument("name_or_id", metavar="NAME|ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def revoke_token(client: Client, out: Output, name_or_id: str, yes: bool) -> None:
    """Refuse an access token from now on."""
    from leoflowd.cli.client import segment

    confirm(out, f"Revoke the access token {name_or_id!r} at {client.login.server}?", yes=yes)
    revoked = client.delete(f"/leoflow/api/tokens/{segment(name_or_id)}")
    out.show(revoked, lambda: echo(f"revoked {revoked['name']}"))


_UNITS_S = {"d": 86_400, "h": 3600, "m": 60}


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([dhm])", text.strip().lower())
    if found is None or not int(found[1]):
        raise CommandFailed(ExitCode.USAGE, f"--expires {text!r} is no time: write 90d, 12h or 30m")
    return int(found[1]) * _UNITS_S[found[2]]


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


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
