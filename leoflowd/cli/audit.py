"""`leoflow audit`: what was done, by whom, from where; and whether the log was changed since. For administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

PATH = "/leoflow/api/audit"


@click.group()
def audit() -> None:
    """List what was done, and verify that the log of it is whole."""


@audit.command("list")
@click.option("--user", "owner", help="Only of this user, or service:NAME.")
@click.option("--event", help="Only these: login, patch_user, trigger_dag_run, ...")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True, help="At most so many.")
@server_command
def list_events(client: Client, out: Output, owner: str | None, event: str | None, limit: int) -> None:
    """List what was done through the API, newest first."""
    answer = client.get(PATH, owner=owner, event=event, limit=limit)
    headers = ("when", "who", "from", "what", "on")
    out.show(answer, lambda: out.table(headers, [_row(row) for row in answer["events"]]))


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    extra = row["extra"] if isinstance(row["extra"], dict) else {}
    named = (extra.get(name) for name in ("username", "role", "team", "connection_id", "key", "name"))
    places = [row[name] for name in ("dag_id", "run_id", "task_id") if row[name]]
    return (
        row["when"],
        row["owner"] or "",
        row["client"],
        row["event"],
        "/".join(places) or next((str(name) for name in named if name), ""),
    )


@audit.command("verify")
@click.option("--expect", metavar="POSITION:SEAL", help="A head that an earlier call, or the daemon's log, named.")
@server_command
def verify(client: Client, out: Output, expect: str | None) -> None:
    """Check each row against its seal; names the first that was changed, removed or put there."""
    answer = client.get(f"{PATH}/verify", expect=expect)
    unkeyed = answer["sealed_without_key"]
    while answer["broken"] is None and not answer["is_complete"]:
        answer = client.get(f"{PATH}/verify", expect=expect, after=answer["head"])
        unkeyed += answer["sealed_without_key"]
    answer["sealed_without_key"] = unkeyed
    broken = answer["broken"]
    if broken is not None:
        row = "" if broken["event_log_id"] is None else f", row {broken['event_log_id']}"
        raise CommandFailed(
            ExitCode.CONFLICT,
            f"the audit log is broken at position {broken['position']}{row}: {broken['because']}",
            broken=broken,
            checked=answer["checked"],
        )
    out.show(answer, lambda: echo("\n".join(_lines(answer))))


def _lines(answer: dict[str, Any]) -> list[str]:
    lines = [f"whole: {answer['checked']} rows, {answer['not_sealed_yet']} more not sealed yet"]
    if answer.get("removed"):  # an older server removes none
        lines.append(
            f"removed before these, for their age: {answer['removed']} rows, all older than {answer['removed_before']}"
        )
    if answer["head"]:
        lines.append(f"head: {answer['head']}")
    if answer["sealed_without_key"]:
        lines.append(
            f"{answer['sealed_without_key']} of them were sealed without a key: whoever writes the database could have "
            "made these seals anew"
        )
    return lines
