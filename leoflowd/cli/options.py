"""Flags that many commands share. A command that talks to the server is decorated with `server_command`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.output import Output, clean

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

P = ParamSpec("P")


def _set_output(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Output).as_json = value == "json"


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    is_eager=True,
    expose_value=False,
    callback=_set_output,
    help="json: one JSON document on stdout, errors as JSON on stderr.",
)
"""`-o json`; it acts on the call's `Output` and is no argument of the command."""


def server_command(function: Callable[Concatenate[Client, Output, P], None]) -> Callable[..., None]:
    """Adds --server, --token and -o; the function gets an open client and the output first."""

    @click.option("--server", metavar="URL", help="Overrides LEOFLOW_SERVER and the saved login.")
    @click.option("--token", metavar="TOKEN", help="Overrides LEOFLOW_TOKEN and the saved login.")
    @output_option
    @click.pass_obj
    @functools.wraps(function)
    def command(out: Output, /, *args: Any, server: str | None, token: str | None, **options: Any) -> None:
        from leoflowd.cli.client import open_client

        with open_client(server, token) as client:
            try:
                function(client, out, *args, **options)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise client.odd_answer(error) from error

    return command


def confirm(out: Output, question: str, *, yes: bool) -> None:
    """Ask a person; a script has to say --yes."""
    if yes:
        return
    if out.as_json or not sys.stdin.isatty():
        raise CommandFailed(ExitCode.USAGE, f"{question} Nobody is here to answer; add --yes.")
    if not click.confirm(clean(question), err=True):
        raise CommandFailed(ExitCode.USAGE, "Nothing was changed.")
