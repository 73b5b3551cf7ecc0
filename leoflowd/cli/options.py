"""Flags that many commands share. A command that talks to the server is decorated with `server_command`."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.output import Output, clean

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

SERVER_VARIABLE = "LEOFLOW_SERVER"
OUTPUT_FORMATS = ("table", "json")

P = ParamSpec("P")
T = TypeVar("T")


def _set_output(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Output).as_json = value == "json"


output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(OUTPUT_FORMATS),
    is_eager=True,
    expose_value=False,
    callback=_set_output,
    help="json: one JSON document on stdout, errors as JSON on stderr.",
)
"""`-o json`; it acts on the call's `Output` and is no argument of the command."""


def _set_server(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """As if LEOFLOW_SERVER were set, while this command runs: each command resolves its server by that already."""
    if value is None:
        return
    before = os.environ.get(SERVER_VARIABLE)
    os.environ[SERVER_VARIABLE] = value
    context.meta[SERVER_VARIABLE] = value

    def restore() -> None:
        os.environ.pop(SERVER_VARIABLE, None)
        if before is not None:
            os.environ[SERVER_VARIABLE] = before

    context.call_on_close(restore)


server_before_option = click.option(
    "--server",
    metavar="URL",
    expose_value=False,
    callback=_set_server,
    help="Which server; may stand before or after the command.",
)
"""`--server` of a group: for whichever command follows."""


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


def given_moment(text: str, option: str) -> datetime:
    """The date, or date and time, that a person gave with `option`; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise CommandFailed(
            ExitCode.USAGE, f"{option} {text!r} is no ISO date or time; write 2026-03-29 or 2026-03-29T06:00+02:00"
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def logical_date_to_ask_for(given: str | None) -> str | None:
    """Of `--logical-date`: a moment; or `none`, as Airflow's command has it. Nothing is now, as in the UI's dialog:
    most templates use it."""
    if given is None:
        return datetime.now(UTC).isoformat()
    return None if given.strip().lower() == "none" else given_moment(given, "--logical-date").isoformat()


def for_each(names: Iterable[str], do: Callable[[str], T]) -> tuple[list[T], CommandFailed | None]:
    """What was done, in order, and one failure that names every other name: the bad one hinders no good one.

    A server that is away, or that does not know who asks, would say the same of each: that ends it at once.
    """
    done: list[T] = []
    failed: dict[str, CommandFailed] = {}
    for name in names:
        try:
            done.append(do(name))
        except CommandFailed as failure:
            if failure.code not in (ExitCode.NOT_FOUND, ExitCode.CONFLICT, ExitCode.INVALID):
                raise
            failed[name] = failure
    if not failed:
        return done, None
    code = next(iter(failed.values())).code
    return done, CommandFailed(code, "; ".join(f"{name}: {why}" for name, why in failed.items()), failed=list(failed))


def confirm(out: Output, question: str, *, yes: bool) -> None:
    """Ask a person; a script has to say --yes."""
    if yes:
        return
    if out.as_json or not sys.stdin.isatty():
        raise CommandFailed(ExitCode.USAGE, f"{question} Nobody is here to answer; add --yes.")
    if not click.confirm(clean(question), err=True):
        raise CommandFailed(ExitCode.USAGE, "Nothing was changed.")
