"""`leoflow assets`: what DAGs make and wait for, its events, events and runs that a person makes, what is watched."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

ASSETS = "/api/v2/assets"
HEADERS = ("id", "name", "uri", "made by", "starts", "watchers", "last event")
EVENT_HEADERS = ("id", "when", "asset", "made by", "partition", "started", "extra")
WATCHER_HEADERS = ("asset", "watcher", "dag_id", "trigger", "how it goes")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many."
)


@click.group()
def assets() -> None:
    """List assets, their events and watchers; make an event, or a run that makes the asset."""


@assets.command("list")
@click.option("--name", "pattern", metavar="TEXT", help="Only those with this in their name.")
@click.option("--all", "with_inactive", is_flag=True, help="Those that no DAG names any more as well.")
@limit_option
@server_command
def list_assets(client: Client, out: Output, pattern: str | None, with_inactive: bool, limit: int) -> None:
    """List assets by name."""
    filters = {"name_pattern": pattern and f"%{pattern}%", "only_active": "false" if with_inactive else None}
    found = client.pages(ASSETS, "assets", order_by="name", **filters)
    _show(out, "assets", found, limit, lambda rows: out.table(HEADERS, [_row(row) for row in rows]))


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["id"],
        row["name"],
        row["uri"],
        ", ".join(f"{use['dag_id']}.{use['task_id']}" for use in row["producing_tasks"]),
        ", ".join(use["dag_id"] for use in row["scheduled_dags"]),
        ", ".join(watcher["name"] for watcher in row["watchers"]),
        row["last_asset_event"]["timestamp"],
    )


@assets.command("events")
@click.argument("asset", required=False)
@click.option("--dag", "dag_id", help="Only those that tasks of this DAG have made.")
@click.option("--run", "run_id", help="Only those of this run.")
@limit_option
@server_command
def list_events(
    client: Client, out: Output, asset: str | None, dag_id: str | None, run_id: str | None, limit: int
) -> None:
    """List events, the newest first; of ASSET, a name, uri or id, or of all."""
    asset_id = None if asset is None else _find(client, asset)["id"]
    filters = {"asset_id": asset_id, "source_dag_id": dag_id, "source_run_id": run_id}
    found = client.pages(f"{ASSETS}/events", "asset_events", order_by="-timestamp", **filters)
    _show(out, "asset_events", found, limit, lambda rows: out.table(EVENT_HEADERS, [_event_row(row) for row in rows]))


def _event_row(row: dict[str, Any]) -> tuple[Any, ...]:
    from leoflowd.cli.output import json_line

    source = "" if row["source_dag_id"] is None else f"{row['source_dag_id']}.{row['source_task_id']}"
    started = ", ".join(f"{run['dag_id']}/{run['run_id']}" for run in row["created_dagruns"])
    return (
        row["id"],
        row["timestamp"],
        row["name"],
        source,
        row["partition_key"],
        started,
        json_line(row["extra"]) if row["extra"] else "",
    )


@assets.command("emit")
@click.argument("asset")
@click.option("--extra", metavar="JSON", help="Of the event, a JSON object.")
@click.option("--partition-key", help="Which partition of the asset it is of.")
@server_command
def emit(client: Client, out: Output, asset: str, extra: str | None, partition_key: str | None) -> None:
    """Make an event of ASSET, a name, uri or id: the DAGs that wait for it may start."""
    from leoflowd.cli.runs import read_conf

    body: dict[str, Any] = {"asset_id": _find(client, asset)["id"], "extra": read_conf(extra, None) or {}}
    if partition_key is not None:
        body["partition_key"] = partition_key
    made = client.post(f"{ASSETS}/events", body)
    out.show(made, lambda: echo(f"event {made['id']} of {made['name']}"))


@assets.command("materialize")
@click.argument("asset")
@click.option("--partition-key", help="Which partition the run is for.")
@server_command
def materialize(client: Client, out: Output, asset: str, partition_key: str | None) -> None:
    """Start a run of the one DAG that makes ASSET, a name, uri or id."""
    body = {} if partition_key is None else {"partition_key": partition_key}
    run = client.post(f"{ASSETS}/{_find(client, asset)['id']}/materialize", body)
    out.show(run, lambda: echo(f"{run['dag_id']}: {run['dag_run_id']}"))


@assets.command("watchers")
@server_command
def list_watchers(client: Client, out: Output) -> None:
    """List what is watched for assets, and how it goes."""
    found = client.get("/leoflow/api/watchers")
    out.show(found, lambda: out.table(WATCHER_HEADERS, [_watcher_row(row) for row in found["watchers"]]))


def _watcher_row(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["asset_name"], row["name"], row["dag_id"], row["trigger"].rpartition(".")[2], row["because"]


def _show(out: Output, name: str, found: Any, limit: int, show: Any) -> None:
    rows = list(islice(found, limit + 1))
    is_cut, rows = len(rows) > limit, rows[:limit]
    out.show({name: rows, "is_complete": not is_cut}, lambda: show(rows))
    if is_cut:
        out.note(f"only the first {limit} are shown; filter them, or raise --limit")


def _find(client: Client, asset: str) -> dict[str, Any]:
    """The active asset that this name, uri or number means. Raises `CommandFailed`."""
    if asset.isascii() and asset.isdigit():
        found: dict[str, Any] = client.get(f"{ASSETS}/{asset}")
        return found
    for what in ("name", "uri"):
        for row in client.pages(ASSETS, "assets", **{f"{what}_pattern": asset}):
            if row[what] == asset:
                return row
    raise CommandFailed(
        ExitCode.NOT_FOUND, f"no active asset has the name or the uri {asset!r}; `leoflow assets list` shows them"
    )
