"""`leoflow runs diff`: two runs of a DAG side by side, what changed most first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.options import server_command
from leoflowd.cli.output import Output, echo, seconds
from leoflowd.cli.versions import change_lines, diff_lines

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

FIELDS = (
    ("state", "state"), ("version_number", "version"), ("image", "image"), ("run_type", "type"),
    ("triggering_user_name", "started by"), ("start_date", "start"),
)  # fmt: skip
SPANS = (("waited_s", "waited"), ("duration_s", "duration"))
TASK_HEADERS = ("task", "state", "tries", "duration", "more or less", "log lines", "errors")


@click.command("diff")
@click.argument("dag_id")
@click.argument("run_id")
@click.argument("other", metavar="[OTHER_RUN_ID]", required=False)
@click.option("--limit", type=click.IntRange(1, 500), default=25, show_default=True, help="Tasks shown, for people.")
@server_command
def diff(client: Client, out: Output, dag_id: str, run_id: str, other: str | None, limit: int) -> None:
    """Show what differs in RUN_ID from another run: by default from the newest successful one before it."""
    from leoflowd.cli.client import segment

    found = client.get(f"/api/v2/leoflow/runDiff/{segment(dag_id)}/{segment(run_id)}", other=other)
    out.show(found, lambda: _print(out, found, limit))


def _print(out: Output, found: dict[str, Any], limit: int) -> None:
    before, after = found["before"], found["after"]
    rows = [(label, before[name], after[name]) for name, label in FIELDS if before[name] or after[name]]
    rows += [(label, seconds(before[name]), seconds(after[name])) for name, label in SPANS]
    out.table((found["dag_id"], before["dag_run_id"], after["dag_run_id"]), rows)
    for name in ("params", "conf"):
        if found[name]:
            echo("\n".join(["", f"~ {name}", *change_lines(found[name])]))
    if found["version"] is not None:
        echo("\n".join(["", "~ code", *diff_lines(found["version"])]))
    echo()
    tasks = found["tasks"][:limit]
    out.table(TASK_HEADERS, [_row(task) for task in tasks])
    left_out = len(found["tasks"]) - len(tasks) + found["tasks_left_out"]
    if left_out:
        out.note(f"{left_out} more tasks, which changed less; raise --limit, or -o json")


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    sides = task["before"], task["after"]
    logs = task["logs"] or {"before": None, "after": None}
    return (
        task["task_id"],
        _both(*(_states(side) for side in sides)),
        _both(*("" if side is None else str(side["try_number"]) for side in sides)),
        _both(*("" if side is None else seconds(side["duration_s"]) for side in sides)),
        "" if task["duration_delta_s"] is None else f"{task['duration_delta_s']:+.1f} s",
        _both(*_of_log(logs, "lines")),
        _both(*_of_log(logs, "error_lines")),
    )


def _both(was: str, now: str) -> str:
    return was if was == now else f"{was or '-'} -> {now or '-'}"


def _states(side: dict[str, Any] | None) -> str:
    if side is None:
        return ""
    if not side["is_mapped"]:
        return str(next(iter(side["states"])))
    return ", ".join(f"{count} {state}" for state, count in side["states"].items())


def _of_log(logs: dict[str, Any], name: str) -> list[str]:
    return [
        "" if log is None else f"{log[name]}{'' if log['is_whole'] else '+'}" for log in (logs["before"], logs["after"])
    ]
