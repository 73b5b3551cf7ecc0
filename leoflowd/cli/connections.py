"""`leoflow connections`: add, show, change, try out and delete the connections that the server stores, encrypted.

Secrets come from a prompt or from stdin; on the command line they would stay in the shell's history and in `ps`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

PATH = "/api/v2/connections"
FIELDS = ("conn_type", "description", "host", "schema", "login", "port", "password", "extra")
STDIN = "-"


def connection_path(connection_id: str) -> str:
    from leoflowd.cli.client import segment

    return f"{PATH}/{segment(connection_id)}"


def field_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The single fields, of `add` and `edit`."""
    for option in (
        click.option("--extra", metavar="JSON", help="Further fields, a JSON object; - reads it from stdin."),
        click.option("--password-stdin", is_flag=True, help="Read the password from stdin."),
        click.option("--ask-password", is_flag=True, help="Ask for the password."),
        click.option(
            "--password", metavar="TEXT", help="Visible to others on this machine; better one of the next two."
        ),
        click.option("--port", type=click.IntRange(0, 65535)),
        click.option("--login"),
        click.option("--schema", help="Database name; for HTTP, http or https."),
        click.option("--host"),
        click.option("--description"),
        click.option("--type", "conn_type", metavar="TYPE", help="E.g. http, postgres, aws."),
    ):
        command = option(command)
    return command


@click.group()
def connections() -> None:
    """Add, list, test and delete connections."""


@connections.command("list")
@click.option("--type", "conn_type", metavar="TYPE", help="Only connections of this type.")
@server_command
def list_connections(client: Client, out: Output, conn_type: str | None) -> None:
    """List the stored connections, without their secrets."""
    rows = [
        row
        for row in client.pages(PATH, "connections", order_by="connection_id")
        if conn_type in (None, row["conn_type"])
    ]
    headers = ("connection_id", "type", "host", "port", "login", "description")
    out.show({"connections": rows, "total_entries": len(rows)}, lambda: out.table(headers, [_row(row) for row in rows]))


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["connection_id"], row["conn_type"], row["host"], row["port"], row["login"], row["description"])


@connections.command("get")
@click.argument("connection_id")
@server_command
def get_connection(client: Client, out: Output, connection_id: str) -> None:
    """Show one connection; secrets as ***."""
    row = client.get(connection_path(connection_id))
    out.show(row, lambda: out.table(("field", "value"), [(name, row[name]) for name in ("connection_id", *FIELDS)]))


@connections.command("add")
@click.argument("connection_id")
@click.option("--uri", metavar="URI", help="type://login:password@host:port/schema?key=value; - reads it from stdin.")
@click.option("--json", "document", metavar="JSON", help="All fields as a JSON object; - reads it from stdin.")
@field_options
@server_command
def add_connection(
    client: Client, out: Output, /, connection_id: str, uri: str | None, document: str | None, **options: Any
) -> None:
    """Store a new connection, given by its fields, a URI, or JSON (both as in AIRFLOW_CONN_...)."""
    if uri is not None and document is not None:
        raise CommandFailed(ExitCode.USAGE, "--uri and --json both say all of the connection; give one of them")
    _check_stdin(options, uri, document)
    whole = uri if document is None else document
    given = {} if whole is None else _parsed(connection_id, whole, out, is_uri=document is None)
    given |= _given(connection_id, options, out)
    if not given.get("conn_type"):
        raise CommandFailed(ExitCode.USAGE, "a connection has a type: give --type, --uri or --json")
    row = client.post(PATH, {"connection_id": connection_id, **given})
    out.show(row, lambda: echo(f"added {connection_id}"))


@connections.command("edit")
@click.argument("connection_id")
@field_options
@server_command
def edit_connection(client: Client, out: Output, /, connection_id: str, **options: Any) -> None:
    """Change single fields of a connection; an empty text removes one."""
    _check_stdin(options)
    given = _given(connection_id, options, out)
    if not given:
        raise CommandFailed(ExitCode.USAGE, "nothing to change: give at least one field, e.g. --host")
    old = client.get(connection_path(connection_id))
    row = client.patch(
        connection_path(connection_id), {"connection_id": connection_id, "conn_type": old["conn_type"], **given}
    )
    out.show(row, lambda: echo(f"changed {connection_id}: {', '.join(given)}"))


@connections.command("test")
@click.argument("connection_id")
@server_command
def test_connection(client: Client, out: Output, connection_id: str) -> None:
    """Have the server try a stored connection: exit 0 when it works, 1 when it does not."""
    row = client.get(connection_path(connection_id))
    answer = client.post(f"{PATH}/test", row)
    if not answer["status"]:
        raise CommandFailed(ExitCode.RUN_FAILED, f"{connection_id}: {answer['message']}", connection_id=connection_id)
    out.show({"connection_id": connection_id, **answer}, lambda: echo(f"{connection_id} works: {answer['message']}"))


@connections.command("delete")
@click.argument("connection_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def delete_connection(client: Client, out: Output, connection_id: str, yes: bool) -> None:
    """Delete a connection."""
    confirm(out, f"Delete connection {connection_id!r}?", yes=yes)
    client.delete(connection_path(connection_id))
    out.show({"connection_id": connection_id, "deleted": True}, lambda: echo(f"deleted {connection_id}"))


@connections.command("reseal")
@server_command
def reseal_connections(client: Client, out: Output) -> None:
    """Encrypt all stored secrets (variables too) anew, after a new key was put in front of LEOFLOW_SECRETS_KEYS."""
    answer = client.post("/api/v2/leoflow/connections/reseal", {})
    counts = f"{answer['connections']} connections and {answer['variables']} variables"
    out.show(answer, lambda: echo(f"{counts} are encrypted with the key {answer['key_id']}"))


# --- what was typed ----------------------------------------------------------------------------------------------


def _check_stdin(options: dict[str, Any], *wholes: str | None) -> None:
    """There is one stdin; raises when several things shall come from it, or one password from several places."""
    if [*wholes, options["extra"]].count(STDIN) + options["password_stdin"] > 1:
        raise CommandFailed(ExitCode.USAGE, "only one of --uri -, --json -, --extra - and --password-stdin reads stdin")
    if (options["password"] is not None) + options["password_stdin"] + options["ask_password"] > 1:
        raise CommandFailed(
            ExitCode.USAGE, "--password, --ask-password and --password-stdin say the same; give one of them"
        )


def _given(connection_id: str, options: dict[str, Any], out: Output) -> dict[str, Any]:
    """The fields that were given one by one."""
    fields = {name: options[name] for name in FIELDS if options[name] is not None}
    if "password" in fields:
        _warn(out, "--password")
    if options["password_stdin"]:
        fields["password"] = _stdin()
    if options["ask_password"]:
        fields["password"] = _asked(connection_id, out)
    if fields.get("extra") == STDIN:
        fields["extra"] = _stdin()
    return fields


def _parsed(connection_id: str, text: str, out: Output, *, is_uri: bool) -> dict[str, Any]:
    """The fields that a URI or JSON text sets. Raises `CommandFailed` without showing the text."""
    import msgspec

    from leoflowd.contract.connection import ENVIRONMENT_PREFIX, OWN_FIELDS, from_environment

    has_stdin = text == STDIN
    text = _stdin() if has_stdin else text
    option = "--uri" if is_uri else "--json"
    if text.lstrip().startswith("{") is is_uri:
        raise CommandFailed(ExitCode.USAGE, f"{option} got {'a JSON object' if is_uri else 'no JSON object'}")
    try:
        facts = from_environment(connection_id, {ENVIRONMENT_PREFIX + connection_id.upper(): text})
    except ValueError:
        # the reason would quote a piece of the text, which may be of the password
        form = "type://login:password@host:port/schema?key=value, with %40 for an @ inside a part"
        why = f"cannot be read; its form is {form}" if is_uri else f"is no JSON object of {OWN_FIELDS} and nothing else"
        raise CommandFailed(ExitCode.USAGE, f"{option} {why}") from None
    assert facts is not None, "the variable is set"
    if facts.password is not None and not has_stdin:
        _warn(out, option)
    fields = msgspec.structs.asdict(facts)
    return {name: fields[name] for name in FIELDS if fields[name] is not None}


def _warn(out: Output, option: str) -> None:
    out.note(
        f"warning: a password in {option} is seen in the shell's history and by other users of this machine; "
        "next time let it come from stdin, or use --ask-password"
    )


def _stdin() -> str:
    return sys.stdin.read().rstrip("\r\n")


def _asked(connection_id: str, out: Output) -> str:
    if out.as_json or not sys.stdin.isatty():
        raise CommandFailed(ExitCode.USAGE, "nobody is here to type the password; use --password-stdin")
    return str(click.prompt(f"Password of {connection_id}", hide_input=True, err=True))
