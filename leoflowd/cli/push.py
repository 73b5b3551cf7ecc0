"""`leoflow push`: register an artifact, or compile a project and register it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from leoflowd.cli.compile import specs_of
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.local_compile import SOURCES, Compiler, data_dir_option, python_option
from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output
from leoflowd.cli.signing import register, sign_key_option
from leoflowd.cli.variable_sources import loadable_of_file, variables_option
from leoflowd.contract import dag_spec
from leoflowd.contract.errors import Invalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from leoflowd.cli.client import Client

ROUTE = "/api/v2/leoflow/dags"
CHECK = f"{ROUTE}/check"


@click.command()
@click.argument("path", metavar="[FILE|DIR]", default=".", type=click.Path(exists=True, path_type=Path))
@click.option("--dag-id", help="Of several DAGs: only this one.")
@python_option
@data_dir_option
@variables_option
@sign_key_option
@server_command
def push(
    client: Client,
    out: Output,
    path: Path,
    dag_id: str | None,
    python: Path | None,
    data_dir: Path,
    variables: Path | None,
    sign_key: Ed25519PrivateKey | None,
) -> None:
    """Register the artifact FILE, or the DAGs of a project, a DAG file or a folder of them."""
    is_code = path.is_dir() or path.suffix in SOURCES
    compiler = Compiler(out, python, data_dir, loadable_of_file(variables))
    artifacts = _compiled(compiler, out, path, dag_id) if is_code else [_read(path)]
    answers: list[Any] = [register(client, out, ROUTE, artifact, sign_key) for artifact in artifacts]
    for answer in answers:
        note_missing(out, answer)
        for warning in warnings_of(answer):
            out.note(warning)
    rows = [(answer["dag_id"], answer["version_number"], answer["created"]) for answer in answers]
    out.show({"dags": answers}, lambda: out.table(("dag_id", "version", "new"), rows))


def note_missing(out: Output, answer: dict[str, Any]) -> list[str]:
    """Connections that the artifact names and the server lacks, as its answer says; an older one says nothing."""
    missing: list[str] = answer.get("missing_connections", [])
    if missing:
        out.note(
            f"{answer['dag_id']}: the server has no connection {', '.join(missing)}; see `leoflow connections add`"
        )
    return missing


def warnings_of(answer: Any) -> list[str]:
    """What the server says of an artifact, e.g. that a pool of it does not exist there. Older servers say nothing."""
    return [f"{answer['dag_id']}: {warning}" for warning in answer.get("warnings", ())]


def _compiled(compiler: Compiler, out: Output, path: Path, dag_id: str | None) -> list[bytes]:
    return [dag_spec.encode_canonical(spec) for spec in specs_of(compiler, out, path, dag_id)]


def _read(file: Path) -> bytes:
    """Check it here: a wrong file is told apart from a wrong server."""
    try:
        return dag_spec.encode_canonical(dag_spec.decode(file.read_bytes()))
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OSError, Invalid) as error:
        raise CommandFailed(
            ExitCode.INVALID, f"{file} is no artifact: {error}; write one with `leoflow compile DIR -o {file.name}`"
        ) from error
