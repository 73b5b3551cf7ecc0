"""`leoflow push`: register an artifact, or compile a project and register it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output
from leoflowd.cli.variable_sources import loadable_of_file, variables_option
from leoflowd.contract import dag_spec
from leoflowd.contract.errors import Invalid

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

ROUTE = "/api/v2/leoflow/dags"


@click.command()
@click.argument("path", metavar="FILE|DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--dag-id", help="Of a project with several DAGs: only this one.")
@click.option("--python", type=click.Path(dir_okay=False, path_type=Path), help="Interpreter that loads the project.")
@variables_option
@server_command
def push(
    client: Client, out: Output, path: Path, dag_id: str | None, python: Path | None, variables: Path | None
) -> None:
    """Register the artifact FILE, or the DAGs of the project DIR."""
    artifacts = _compiled(path, dag_id, python, variables) if path.is_dir() else [_read(path)]
    answers: list[Any] = [client.post_bytes(ROUTE, artifact) for artifact in artifacts]
    rows = [(answer["dag_id"], answer["version_number"], answer["created"]) for answer in answers]
    out.show({"dags": answers}, lambda: out.table(("dag_id", "version", "new"), rows))


def _compiled(folder: Path, dag_id: str | None, python: Path | None, variables: Path | None) -> list[bytes]:
    from leoflowd.cli.compile import compiled_specs

    specs = compiled_specs(folder, dag_id, python, loadable_of_file(variables))
    return [dag_spec.encode_canonical(spec) for spec in specs]


def _read(file: Path) -> bytes:
    """Check it here: a wrong file is told apart from a wrong server."""
    try:
        return dag_spec.encode_canonical(dag_spec.decode(file.read_bytes()))
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OSError, Invalid) as error:
        raise CommandFailed(
            ExitCode.INVALID, f"{file} is no artifact: {error}; write one with `leoflow compile DIR -o {file.name}`"
        ) from error
