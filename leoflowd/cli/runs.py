"""`leoflow runs`: start dag runs, follow them, read their logs, clear their tasks."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.dags import dag_path
from leoflowd.cli.failures import CommandFailed, ExitCode, did_you_mean
from leoflowd.cli.options import confirm, logical_date_to_ask_for, server_command
from leoflowd.cli.output import Output, echo, seconds
from leoflowd.cli.run_diff import diff
from leoflowd.cli.run_search import search
from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import parsed_json

if TYPE_CHECKING:
    from leoflowd.cli.client import Client

FINISHED_RUN = {"success", "failed"}
FINISHED_TASK = {"success", "failed", "skipped", "upstream_failed", "removed"}
POLL_S = 0.25
"""Between two looks at a run or a log; a person does not see less, and the server answers hundreds per second."""
ABSENCE_S = 60.0
"""How long a server may be away (restart, upgrade) while we wait for a run that survives it."""

HEADERS = ("run_id", "state", "type", "run after", "start", "end", "duration")
LIST_HEADERS = ("run_id", "state", "start (UTC)", "duration")
"""For a terminal of 80 columns; `runs status` and `-o json` have the rest."""
TASK_HEADERS = ("task_id", "state", "try", "start", "duration", "operator", "note")


@click.group()
def runs() -> None:
    """Trigger, list, follow, compare, search and clear dag runs."""


runs.add_command(diff)
runs.add_command(search)

# --- trigger -----------------------------------------------------------------------------------------------------


@runs.command("trigger")
@click.argument("dag_id")
@click.option("--conf", metavar="JSON", help="The run's configuration, a JSON object.")
@click.option("--conf-file", type=click.Path(dir_okay=False, path_type=Path), help="The same, from a file; - is stdin.")
@click.option("--run-id", help="Name of the run; the server makes one otherwise.")
@click.option(
    "--logical-date",
    metavar="ISO",
    help="2026-01-31, or 2026-01-31T06:00, in UTC unless it names a zone; or none; else now.",
)
@click.option("--note", help="A note for people.")
@click.option("--wait", is_flag=True, help="Wait for the end: exit 0 on success, 1 on failure.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="With --wait: exit 8 after this long.")
@server_command
def trigger(
    client: Client,
    out: Output,
    dag_id: str,
    conf: str | None,
    conf_file: Path | None,
    run_id: str | None,
    logical_date: str | None,
    note: str | None,
    wait: bool,
    timeout: float | None,
) -> None:
    """Start a run of DAG_ID."""
    if timeout is not None and not wait:
        raise CommandFailed(ExitCode.USAGE, "--timeout limits --wait; add --wait or leave it out")
    body: dict[str, Any] = {
        "logical_date": logical_date_to_ask_for(logical_date),
        "conf": read_conf(conf, conf_file),
    }
    body |= {"dag_run_id": run_id} if run_id else {}
    body |= {"note": note} if note else {}
    run = client.post(f"{dag_path(dag_id)}/dagRuns", body)
    if not wait:
        out.show(run, lambda: echo(f"{run['dag_run_id']}\t{run['state']}"))
        return
    _warn_when_paused(client, out, dag_id)
    try:
        run = _wait_for_end(client, out, run, timeout)
    except KeyboardInterrupt:
        out.note(f"run {run['dag_run_id']!r} goes on")
        raise
    tasks = [] if run["state"] == "success" else _not_successful(client, run)
    out.show({**run, "failed_task_instances": tasks}, lambda: _print_end(out, run, tasks))
    if run["state"] != "success":
        raise click.exceptions.Exit(ExitCode.RUN_FAILED)


def read_conf(text: str | None, file: Path | None) -> dict[str, Any]:
    """The JSON object of --conf or --conf-file."""
    if text is not None and file is not None:
        raise CommandFailed(ExitCode.USAGE, "give --conf or --conf-file, not both")
    if file is not None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        except OSError as error:
            raise CommandFailed(ExitCode.USAGE, f"cannot read --conf-file {file}: {error.strerror}") from error
        except UnicodeError as error:
            raise CommandFailed(ExitCode.USAGE, f"cannot read --conf-file {file}: it is not UTF-8: {error}") from error
    if text is None:
        return {}
    try:
        conf = parsed_json(text, "the conf")
    except Invalid as error:
        raise CommandFailed(ExitCode.USAGE, f'{error}; write it as \'{{"key": "value"}}\'') from error
    if not isinstance(conf, dict):
        raise CommandFailed(
            ExitCode.USAGE, f'the conf is a JSON {type(conf).__name__}; it must be an object: {{"key": 1}}'
        )
    return conf


def _warn_when_paused(client: Client, out: Output, dag_id: str) -> None:
    if client.get(dag_path(dag_id)).get("is_paused"):
        out.note(f"DAG {dag_id!r} is paused: the run waits until `leoflow dags unpause {dag_id}`")


def trigger_run(client: Client, out: Output, dag_id: str, *, wait: bool) -> dict[str, Any]:
    """A run of now, without configuration, as it is when it has begun, or ended."""
    body: dict[str, Any] = {"logical_date": logical_date_to_ask_for(None), "conf": {}}
    run: dict[str, Any] = client.post(f"{dag_path(dag_id)}/dagRuns", body)
    if not wait:
        return run
    _warn_when_paused(client, out, dag_id)
    return _wait_for_end(client, out, run, None)


def _wait_for_end(client: Client, out: Output, run: dict[str, Any], timeout: float | None) -> dict[str, Any]:
    """Look until the run is finished. An absent server is borne for `ABSENCE_S`: runs survive its restart."""
    path = f"{dag_path(run['dag_id'])}/dagRuns/{_segment(run['dag_run_id'])}"
    deadline = None if timeout is None else time.monotonic() + timeout
    seen_at, shown = time.monotonic(), ""
    while run["state"] not in FINISHED_RUN:
        if deadline is not None and time.monotonic() >= deadline:
            raise CommandFailed(
                ExitCode.TIMED_OUT,
                f"run {run['dag_run_id']!r} is still {run['state']} after {timeout:g} s; it goes on",
                dag_run_id=run["dag_run_id"],
                state=run["state"],
            )
        if run["state"] != shown:
            shown = run["state"]
            out.note(f"{run['dag_run_id']}: {shown}")
        time.sleep(POLL_S)
        try:
            run, seen_at = client.get(path), time.monotonic()
        except CommandFailed as failure:
            if failure.code is not ExitCode.UNREACHABLE or time.monotonic() - seen_at > ABSENCE_S:
                raise
    return run


def _not_successful(client: Client, run: dict[str, Any]) -> list[dict[str, Any]]:
    tasks = _task_instances(client, run["dag_id"], run["dag_run_id"])
    return [task for task in tasks if task["state"] in {"failed", "upstream_failed"}]


def _print_end(out: Output, run: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
    echo(f"{run['dag_run_id']}\t{run['state']}\t{seconds(run['duration'])}")
    for task in tasks:
        out.note(f"  {_name(task)}: {task['state']} (try {task['try_number']})")
    failed = next((task for task in tasks if task["state"] == "failed"), None)
    if failed:
        words = ["leoflow", "runs", "logs", run["dag_id"], run["dag_run_id"], failed["task_id"]]
        words += ["--map-index", str(failed["map_index"])] if failed["map_index"] >= 0 else []
        out.note(f"  {shlex.join(words)}")


def _name(task: dict[str, Any]) -> str:
    """For people: with the map index, if it has one."""
    index = task.get("map_index", -1)
    return str(task["task_id"]) if index < 0 else f"{task['task_id']}[{index}]"


# --- list, status ------------------------------------------------------------------------------------------------


@runs.command("list")
@click.argument("dag_id")
@click.option("--state", "states", multiple=True, type=click.Choice(["queued", "running", "success", "failed"]))
@click.option("--limit", type=click.IntRange(1, 1000), default=25, show_default=True)
@server_command
def list_runs(client: Client, out: Output, dag_id: str, states: tuple[str, ...], limit: int) -> None:
    """List the latest runs of DAG_ID, newest first; ~ is every DAG."""
    rows: list[dict[str, Any]] = []
    query = {"state": list(states) or None, "order_by": "-run_after"}
    for row in client.pages(f"{dag_path(dag_id)}/dagRuns", "dag_runs", **query):
        rows.append(row)
        if len(rows) == limit:
            break
    headers = ("dag_id", *LIST_HEADERS) if dag_id == "~" else LIST_HEADERS
    lines = [((run["dag_id"],) if dag_id == "~" else ()) + _list_row(run) for run in rows]
    out.show({"dag_runs": rows, "total_entries": len(rows)}, lambda: out.table(headers, lines))


def _list_row(run: dict[str, Any]) -> tuple[Any, ...]:
    """A run that has not begun shows when it may."""
    start = run["start_date"] or run["run_after"] or ""
    return run["dag_run_id"], run["state"], start[5:16].replace("T", " "), seconds(run["duration"])


def _run_row(run: dict[str, Any]) -> tuple[Any, ...]:
    return (
        run["dag_run_id"],
        run["state"],
        run["run_type"],
        run["run_after"],
        run["start_date"],
        run["end_date"],
        seconds(run["duration"]),
    )


@runs.command("status")
@click.argument("dag_id")
@click.argument("run_id", required=False)
@server_command
def status(client: Client, out: Output, dag_id: str, run_id: str | None) -> None:
    """Show a run and its tasks; the latest run when RUN_ID is left out."""
    run = _run(client, dag_id, run_id)
    tasks = _task_instances(client, dag_id, run["dag_run_id"])

    def for_people() -> None:
        out.table(HEADERS, [_run_row(run)])
        echo()
        out.table(TASK_HEADERS, [_task_row(task) for task in tasks])

    out.show({**run, "task_instances": tasks}, for_people)


def _task_row(task: dict[str, Any]) -> tuple[Any, ...]:
    return (
        _name(task),
        task["state"] or "none",
        task["try_number"],
        task["start_date"],
        seconds(task["duration"]),
        task["operator"],
        task["note"],
    )


def _run(client: Client, dag_id: str, run_id: str | None) -> dict[str, Any]:
    if run_id is not None:
        found: dict[str, Any] = client.get(f"{dag_path(dag_id)}/dagRuns/{_segment(run_id)}")
        return found
    latest = client.get(f"{dag_path(dag_id)}/dagRuns", limit=1, order_by="-run_after")["dag_runs"]
    if not latest:
        raise CommandFailed(
            ExitCode.NOT_FOUND, f"DAG {dag_id!r} has no run yet; start one with `leoflow runs trigger {dag_id}`"
        )
    first: dict[str, Any] = latest[0]
    return first


def _task_instances(client: Client, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    return list(client.pages(f"{dag_path(dag_id)}/dagRuns/{_segment(run_id)}/taskInstances", "task_instances"))


# --- logs --------------------------------------------------------------------------------------------------------


@runs.command("logs")
@click.argument("dag_id")
@click.argument("run_id")
@click.argument("task_id")
@click.option("--map-index", type=int, default=-1, show_default=True)
@click.option("--try", "try_number", type=click.IntRange(min=1), help="Which try; the last one otherwise.")
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Go on until the task is done, or the try that --try names; exit 1 when the task failed.",
)
@server_command
def logs(
    client: Client,
    out: Output,
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int,
    try_number: int | None,
    follow: bool,
) -> None:
    """Print the log of a task."""
    if follow and out.as_json:
        raise CommandFailed(ExitCode.USAGE, "-f streams lines, -o json prints one document; choose one of them")
    run_path = f"{dag_path(dag_id)}/dagRuns/{_segment(run_id)}/taskInstances/{_segment(task_id)}"
    task_path = run_path if map_index < 0 else f"{run_path}/{map_index}"
    task = _instance(client, dag_id, run_id, task_id, task_path)
    if not (follow or task["try_number"] or try_number):
        words = shlex.join(["leoflow", "explain", dag_id, run_id, task_id])
        raise CommandFailed(
            ExitCode.NOT_FOUND,
            f"task {_name(task)!r} has no log: it is {task['state'] or 'not scheduled yet'} and had no try; `{words}` "
            "says why",
        )
    if try_number is not None and try_number > task["try_number"]:
        raise CommandFailed(
            ExitCode.NOT_FOUND, f"task {_name(task)!r} has no try {try_number}: its last one is {task['try_number']}"
        )
    if follow:
        task = _follow(client, out, task, task_path, f"{run_path}/logs", try_number)
        if try_number in (None, task["try_number"]) and task["state"] in {"failed", "upstream_failed"}:
            raise click.exceptions.Exit(ExitCode.RUN_FAILED)
        return
    number = try_number or task["try_number"]
    lines = _log(client, f"{run_path}/logs/{number}", map_index)
    out.show({"try_number": number, "content": lines}, lambda: print_log(lines))


def _follow(
    client: Client, out: Output, task: dict[str, Any], task_path: str, logs_path: str, chosen: int | None
) -> dict[str, Any]:
    """Prints each line once, until the task is done, through all of its tries, or until the chosen one is; the task as
    it is then."""
    number, shown = chosen or task["try_number"], 0
    while True:
        over = task["state"] in FINISHED_TASK or (chosen is not None and task["try_number"] > chosen)
        if number:
            lines = _log(client, f"{logs_path}/{number}", task["map_index"])
            print_log(lines[shown:])
            shown = len(lines)
        if chosen is None and task["try_number"] > number:
            number, shown = task["try_number"], 0
            out.note(f"try {number} of task {_name(task)!r}")
        elif over:
            if not number:
                out.note(f"task {_name(task)!r} is {task['state']} and had no try")
            return task
        else:
            time.sleep(POLL_S)
            task = client.get(task_path)


def _log(client: Client, path: str, map_index: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.get_lines(path, map_index=map_index).splitlines() if line]


def _instance(client: Client, dag_id: str, run_id: str, task_id: str, path: str) -> dict[str, Any]:
    """What the run has under that name; else a failure that says what it has instead."""
    try:
        task: dict[str, Any] = client.get(path)
    except CommandFailed as failure:
        if failure.code is not ExitCode.NOT_FOUND:
            raise
        raise CommandFailed(failure.code, f"{failure}{what_there_is(client, dag_id, run_id, task_id)}") from failure
    return task


def what_there_is(client: Client, dag_id: str, run_id: str, task_id: str) -> str:
    """Instances of a mapped task, or a task of nearly that name; nothing when the run does not say."""
    try:
        tasks = _task_instances(client, dag_id, run_id)
    except CommandFailed:
        return ""
    indexes = sorted(task["map_index"] for task in tasks if task["task_id"] == task_id)
    if indexes == [-1]:
        return "; it is not mapped, or not expanded yet: leave out --map-index"
    if indexes:
        return f"; it is mapped: choose an instance with --map-index {indexes[0]} to {indexes[-1]}"
    return _near_task(task_id, {str(task["task_id"]): None for task in tasks})


def _near_task(task_id: str, names: Iterable[str]) -> str:
    inside = [name for name in names if name.rpartition(".")[2] == task_id]
    return f" (did you mean {inside[0]!r}?)" if inside else did_you_mean(task_id, names)


def print_log(lines: list[dict[str, Any]]) -> None:
    stdout = sys.stdout
    colour = stdout.isatty()
    for line in lines:
        at = (line.get("timestamp") or "")[:23]
        level = line.get("level") or ""
        head = f"{at:23}  {level:7.7}  " if at or level else ""
        echo(head + str(line.get("event", "")), keep_colour=colour)
        for error in line.get("error_detail") or ():
            _print_exception(error)
    stdout.flush()


def _print_exception(error: dict[str, Any]) -> None:
    for frame in error.get("frames") or ():
        echo(f"    {frame.get('filename')}:{frame.get('lineno')} in {frame.get('name')}")
    echo(f"    {error.get('exc_type')}: {error.get('exc_value')}")


# --- clear -------------------------------------------------------------------------------------------------------


@runs.command("clear")
@click.argument("dag_id")
@click.argument("run_id")
@click.argument("task_ids", metavar="[TASK_ID]...", nargs=-1)
@click.option("--only-failed", is_flag=True, help="Only tasks that failed or whose upstream failed.")
@click.option("--upstream", is_flag=True, help="Also everything before the named tasks.")
@click.option("--downstream", is_flag=True, help="Also everything after the named tasks.")
@click.option("--dry-run", is_flag=True, help="Only list what would be cleared.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@server_command
def clear(
    client: Client,
    out: Output,
    dag_id: str,
    run_id: str,
    task_ids: tuple[str, ...],
    only_failed: bool,
    upstream: bool,
    downstream: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Let tasks of a run run again: the named ones, or all."""
    if (upstream or downstream) and not task_ids:
        raise CommandFailed(ExitCode.USAGE, "--upstream and --downstream extend named tasks; name a TASK_ID")
    body = {
        "dag_run_id": run_id,
        "only_failed": only_failed,
        "include_upstream": upstream,
        "include_downstream": downstream,
        "reset_dag_runs": True,
        "dry_run": True,
    } | ({"task_ids": list(task_ids)} if task_ids else {})
    path = f"{dag_path(dag_id)}/clearTaskInstances"
    found = client.post(path, body)
    if task_ids and not found["total_entries"]:
        _check_tasks(client, dag_id, run_id, task_ids)
    if not found["total_entries"]:
        out.note("nothing to clear")
    if not dry_run and found["total_entries"]:
        confirm(out, f"Clear {found['total_entries']} task instances of run {run_id!r}?", yes=yes)
        found = client.post(path, {**body, "dry_run": False})
    rows = [(_name(task), task["state"] or "none") for task in found["task_instances"]]
    out.show({**found, "dry_run": dry_run}, lambda: out.table(("task_id", "state"), rows))


def _check_tasks(client: Client, dag_id: str, run_id: str, task_ids: Sequence[str]) -> None:
    """Nothing was found for them: raises `CommandFailed` when that is because the run has no such tasks."""
    names = {str(task["task_id"]): None for task in _task_instances(client, dag_id, run_id)}
    unknown = [f"{task_id!r}{_near_task(task_id, names)}" for task_id in task_ids if task_id not in names]
    if unknown:
        raise CommandFailed(ExitCode.NOT_FOUND, f"run {run_id!r} of {dag_id!r} has no task {', '.join(unknown)}")


def _segment(name: str) -> str:
    from leoflowd.cli.client import segment

    return segment(name)
