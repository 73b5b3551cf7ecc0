"""`--variables FILE` and `--server URL` of commands that compile: what a file may read while it is loaded. ADR 39."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import SERVER_VARIABLE

if TYPE_CHECKING:
    from leoflowd.cli.client import Client
    from leoflowd.contract.loading import Loadable
    from leoflowd.contract.variable import VariableFacts

file_argument = click.Path(exists=True, dir_okay=False, path_type=Path)
variables_option = click.option(
    "--variables",
    metavar="FILE",
    type=file_argument,
    help="What Variable.get finds: JSON, YAML (.yaml) or KEY=VALUE lines (.env).",
)


def loadable_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function gets `loadable`, made of what these options name; without them only the environment is there."""

    @variables_option
    @click.option("--server", metavar="URL", help="Ask this server for variables and connections; FILE comes first.")
    @click.option("--token", metavar="TOKEN", help="For --server; overrides LEOFLOW_TOKEN and the saved login.")
    @functools.wraps(function)
    def command(*args: Any, variables: Path | None, server: str | None, token: str | None, **options: Any) -> Any:
        return function(*args, loadable=_loadable(variables, _named(server), token), **options)

    return command


@contextmanager
def named_server() -> Iterator[Client | None]:
    """The server that --server names, if it does."""
    from leoflowd.cli.client import open_client

    given = click.get_current_context().params
    server = _named(given["server"])
    if server is None:
        yield None
        return
    with open_client(server, given["token"]) as client:
        yield client


def _named(server: str | None) -> str | None:
    """By --server, behind the command or before it."""
    return server or click.get_current_context().meta.get(SERVER_VARIABLE)


def read_file(file: Path) -> tuple[VariableFacts, ...]:
    """Raises `CommandFailed`."""
    from leoflowd.authoring.errors import DagCompileError
    from leoflowd.authoring.variable_files import read_variables

    try:
        return read_variables(file)
    except DagCompileError as error:
        raise CommandFailed(ExitCode.INVALID, f"{file.parent / str(error)}") from error


def loadable_of_file(file: Path | None) -> Loadable:
    return _loadable(file, None, None)


def _loadable(file: Path | None, server: str | None, token: str | None) -> Loadable:
    from leoflowd.cli.client import open_client
    from leoflowd.core.loadable import loadable_of
    from leoflowd.core.masking import masked_text

    shown: dict[str, str] = {}
    connections: dict[str, Any] = {}
    if server is not None:
        with open_client(server, token) as client:
            shown, connections = _asked(client)
    elif token is not None:
        raise CommandFailed(ExitCode.USAGE, "--token is for the server that --server names; give both")
    if file is not None:
        shown |= {facts.key: masked_text(facts.value, facts.key) for facts in read_file(file)}
    return loadable_of(shown, connections)


def _asked(client: Client) -> tuple[dict[str, str], dict[str, Any]]:
    """What the server shows: secrets are `***` there."""
    from leoflowd.contract.connection import ConnectionFacts
    from leoflowd.core.loadable import told_of

    try:
        shown = {row["key"]: row["value"] for row in client.pages("/api/v2/variables", "variables", order_by="key")}
        fields = ConnectionFacts.__struct_fields__
        connections = {
            row["connection_id"]: told_of(ConnectionFacts(**{name: row[name] for name in fields}))
            for row in client.pages("/api/v2/connections", "connections", order_by="connection_id")
        }
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise client.odd_answer(error) from error
    return shown, connections
