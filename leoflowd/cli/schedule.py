"""`leoflow schedule`: when a DAG would run, of a file before it is saved anywhere, or of a DAG of the server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.local_compile import Compiler, data_dir_option, python_option
from leoflowd.cli.options import given_moment, output_option
from leoflowd.cli.output import Output, echo
from leoflowd.cli.variable_sources import loadable_of_file, variables_option


@click.command()
@click.argument("dag", metavar="DAG_ID|FILE|DIR")
@click.option("--next", "count", type=click.IntRange(1, 1_000), default=10, show_default=True, help="How many runs.")
@click.option("--from", "since", metavar="TIME", help="From this moment on (ISO; UTC without zone), not from now.")
@click.option("--zone", help="Show local times of this zone; default: the schedule's.")
@click.option("--dag-id", help="Of several DAGs of a file: this one.")
@click.option("--server", metavar="URL", help="Overrides LEOFLOW_SERVER and the saved login.")
@click.option("--token", metavar="TOKEN", help="Overrides LEOFLOW_TOKEN and the saved login.")
@python_option
@data_dir_option
@variables_option
@output_option
@click.pass_obj
def schedule(
    out: Output,
    dag: str,
    count: int,
    since: str | None,
    zone: str | None,
    dag_id: str | None,
    server: str | None,
    token: str | None,
    python: Path | None,
    data_dir: Path,
    variables: Path | None,
) -> None:
    """Show the next runs of a DAG, with local time, data interval, and what changes of the clocks do.

    What exists as a path is compiled; anything else is a DAG of the server.
    """
    moment = None if since is None else given_moment(since, "--from")
    if Path(dag).exists():
        compiler = Compiler(out, python, data_dir, loadable_of_file(variables))
        document = _of_file(compiler, out, Path(dag), dag_id, count, moment, zone)
    else:
        document = _of_server(server, token, dag, {"next": count, "from": moment and moment.isoformat(), "zone": zone})
    out.show(document, lambda: _print(out, document))


def _of_file(
    compiler: Compiler,
    out: Output,
    path: Path,
    dag_id: str | None,
    count: int,
    since: datetime | None,
    zone: str | None,
) -> Any:
    import msgspec

    from leoflowd.cli.compile import chosen_spec
    from leoflowd.contract.errors import Invalid
    from leoflowd.core.schedule import what_if

    spec = chosen_spec(compiler, out, path, dag_id)
    try:
        found = what_if(spec, count=count, now=datetime.now(UTC), last=None, since=since, zone=zone)
    except Invalid as error:
        raise CommandFailed(ExitCode.USAGE, str(error)) from error
    return msgspec.to_builtins(found)


def _of_server(server: str | None, token: str | None, dag_id: str, query: dict[str, Any]) -> Any:
    from leoflowd.cli.client import open_client, segment

    with open_client(server, token) as client:
        return client.get(f"/api/v2/leoflow/schedule/{segment(dag_id)}", **query)


def _print(out: Output, document: dict[str, Any]) -> None:
    described = f" ({document['description']})" if document["description"] else ""
    echo(f"{document['dag_id']}: {document['summary'] or 'no schedule'}{described}")
    if document["runs"]:
        headers = (f"run after, {document['zone']}", "UTC", "data interval, UTC", "")
        out.table(headers, [_row(run) for run in document["runs"]])
    for note in document["notes"]:
        echo(note)


def _row(run: dict[str, Any]) -> tuple[str, str, str, str]:
    start, end = _short(run["data_interval_start"]), _short(run["data_interval_end"])
    interval = start if start == end else f"{start} - {end}"
    return run["local"], _short(run["run_after"]), interval, "; ".join(run["notes"])


def _short(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z").removesuffix("+00:00")
