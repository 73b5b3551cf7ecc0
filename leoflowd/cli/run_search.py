"""`leoflow runs search`: a text in the logs of many runs, the newest first, printed as it is found."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import given_moment, server_command
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

TELL_S = 5.0
"""How often it says how far it is."""


@click.command("search")
@click.argument("text")
@click.option("--dag", "dag_id", metavar="DAG_ID", help="Only in runs of this DAG.")
@click.option("--run", "run_id", metavar="RUN_ID", help="Only in runs of this id.")
@click.option("--task", "task_id", metavar="TASK_ID", help="Only in tries of this task.")
@click.option("--state", help="Only in tries that are in this state, such as failed.")
@click.option("--since", metavar="ISO", help="Only in runs of this date or later; in UTC unless it names a zone.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Tries that are shown.")
@server_command
def search(
    client: Client,
    out: Output,
    text: str,
    dag_id: str | None,
    run_id: str | None,
    task_id: str | None,
    state: str | None,
    since: str | None,
    limit: int,
) -> None:
    """Find TEXT in the logs of all runs, newest runs first, whatever its capitals. Ctrl-C ends it."""
    where = {
        "dag_id": dag_id,
        "run_id": run_id,
        "task_id": task_id,
        "state": state,
        "since": since and given_moment(since, "--since").isoformat(),
    }
    found: list[dict[str, Any]] = []
    answer: dict[str, Any] = {}
    looked_at, told_at = 0, time.monotonic()
    for answer in searched(client, text=text, limit=limit, **where):
        looked_at += answer["looked_at"]["tries"]
        for one in answer["tries"][: limit - len(found)]:
            found.append(one)
            if not out.as_json:
                _print(one)
        if len(found) >= limit:
            break
        if time.monotonic() >= told_at + TELL_S and answer["reached"]:
            told_at = time.monotonic()
            out.note(f"looked at {looked_at:,} tries, back to {answer['reached']['run_after'][:16]}")
    out.show({"tries": found, "looked_at": {"tries": looked_at}}, lambda: None)
    if len(found) >= limit and answer["cursor"]:
        out.note(f"the first {limit} tries that have it; --limit and --since say how many, and how far back")
    else:
        out.note(f"{len(found)} of {looked_at:,} tries have it")


def searched(client: Client, **query: Any) -> Iterator[dict[str, Any]]:
    """One answer after another, each of a moment's search, until everything was looked at."""
    cursor = None
    while True:
        answer = client.get("/leoflow/api/logSearch", cursor=cursor, **query)
        yield answer
        cursor = answer["cursor"]
        if cursor is None:
            return


def _print(one: dict[str, Any]) -> None:
    words = ["leoflow", "runs", "logs", one["dag_id"], one["dag_run_id"], one["task_id"]]
    words += ["--map-index", str(one["map_index"])] if one["map_index"] >= 0 else []
    echo(f"{shlex.join([*words, '--try', str(one['try_number'])])}  # {one['state'] or 'none'}")
    for line in one["lines"]:
        echo(f"    {(line['timestamp'] or '')[:23]:23}  {line['level'] or '':7.7}  {line['text']}")
    if one["has_more"]:
        echo("    ...")
