"""`leoflow versions`, `diff`, `rollback`, `promote`: listed, compared, an older one or a canary made current."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import confirm, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

VERSION = click.IntRange(min=1)
VALUE_MAX = 60
"""Characters of a value that are printed for people; `-o json` has all of it."""


def _path(dag_id: str) -> str:
    from leoflowd.cli.client import segment

    return f"/api/v2/leoflow/dags/{segment(dag_id)}"


@click.command()
@click.argument("dag_id")
@click.argument("before", metavar="[FROM]", type=VERSION, required=False)
@click.argument("after", metavar="[TO]", type=VERSION, required=False)
@server_command
def diff(client: Client, out: Output, dag_id: str, before: int | None, after: int | None) -> None:
    """Show what differs between two versions of DAG_ID: the current one and the one before it, or those named."""
    found = client.get(f"{_path(dag_id)}/diff", **{"from": before, "to": after})
    out.show(found, lambda: echo("\n".join([_title(found), *diff_lines(found)])))


def _title(found: dict[str, Any]) -> str:
    return f"{found['dag_id']}: version {found['from_version']} -> {found['to_version']}"


def diff_lines(found: dict[str, Any]) -> list[str]:
    """What differs between two versions, as `core.version_diff` found it."""
    if found["is_empty"]:
        return ["  no difference"]
    lines = [f"+ task {task_id}" for task_id in found["tasks_added"]]
    lines += [f"- task {task_id}" for task_id in found["tasks_removed"]]
    for task_id, changes in found["tasks_changed"].items():
        lines += [f"~ task {task_id}", *change_lines(changes)]
    lines += [f"+ edge {up} >> {down}" for up, down in found["edges_added"]]
    lines += [f"- edge {up} >> {down}" for up, down in found["edges_removed"]]
    for name, title in (("dag", "~ dag"), ("environment", "~ environment")):
        if found[name]:
            lines += [title, *change_lines(found[name])]
    if found["source"]:
        lines += ["", *found["source"]]
    elif found["code_changed"]:
        lines.append("~ another file of the project than the one of the DAG")
    return lines


def change_lines(changes: dict[str, list[Any]]) -> list[str]:
    return [f"    {name}: {_short(was)} -> {_short(now)}" for name, (was, now) in changes.items()]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_MAX else f"{text[:VALUE_MAX]}..."


@click.command()
@click.argument("dag_id")
@click.argument("version_number", metavar="[VERSION]", type=VERSION, required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def rollback(client: Client, out: Output, dag_id: str, version_number: int | None, yes: bool) -> None:
    """Make VERSION of DAG_ID current, by default the one before the current one: new runs are of it.

    Runs that exist keep their version. It stays so until the DAG's file is changed, also over a restart; to go forward
    again, name the newer version.
    """
    version_number = version_number or _before_current(client, dag_id)
    confirm(out, f"Make version {version_number} of DAG {dag_id!r} current?", yes=yes)
    done = client.post(f"{_path(dag_id)}/rollback", {"version_number": version_number})
    out.show(done, lambda: echo(f"{dag_id}: version {done['rolled_back_from']} -> {done['version_number']}"))


def _before_current(client: Client, dag_id: str) -> int:
    rows = client.get(f"{_path(dag_id)}/versions")["versions"]
    current = next((int(row["version_number"]) for row in rows if row["is_current"]), 0)
    older = [int(row["version_number"]) for row in rows if row["version_number"] < current]
    if not older:
        raise CommandFailed(
            ExitCode.CONFLICT, f"DAG {dag_id!r} has no version before the current one; `leoflow versions` lists them"
        )
    return max(older)


@click.command()
@click.argument("dag_id")
@server_command
def versions(client: Client, out: Output, dag_id: str) -> None:
    """List the versions of DAG_ID, newest first: which is current, which is a canary, and how its runs ended."""
    rows = client.get(f"{_path(dag_id)}/versions")["versions"]
    cells = [
        (
            row["version_number"],
            row["created_at"][:16].replace("T", " "),
            _standing(row),
            row["label"],
            row["image"],
            row.get("signed_by"),  # an older server does not say
        )
        for row in rows
    ]
    headers = ("version", "created (UTC)", "standing", "label", "image", "signed by")
    out.show({"dag_id": dag_id, "versions": rows}, lambda: out.table(headers, cells))


def _standing(row: dict[str, Any]) -> str:
    """Current, or what it is or was as a canary."""
    canary = row["canary"]
    parts = ["current"] if row["is_current"] else []
    if canary is not None and canary["outcome"] is None:
        ended = canary["succeeded"] + canary["failed"]
        parts.append(
            f"canary of {canary['share']} %: {canary['runs']} runs, {canary['failed']} of {ended} ended failed "
            f"(back above {canary['rollback_above']} % from {canary['after']} on)"
        )
    elif canary is not None and canary["outcome"] != "promoted":
        parts.append(f"canary, {canary['outcome'].replace('_', ' ')}: {canary['because']}")
    return "; ".join(parts)


@click.command()
@click.argument("dag_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def promote(client: Client, out: Output, dag_id: str, yes: bool) -> None:
    """Make the canary of DAG_ID its current version: all new runs are of it.

    Runs that exist keep their version. `leoflow rollback` goes back, and also ends a canary that was not promoted.
    """
    confirm(out, f"Make the canary of DAG {dag_id!r} its current version?", yes=yes)
    done = client.post(f"{_path(dag_id)}/promote", None)
    out.show(done, lambda: echo(f"{dag_id}: version {done['promoted_over']} -> {done['version_number']}"))
