"""Two runs of a DAG side by side: code, conf, params, states, durations, shape of logs. Blueprint `own_run_diff`."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import trio
from quart import Blueprint, Response

from leoflowd.api.answers import json_answer
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query
from leoflowd.contract.errors import Conflict
from leoflowd.contract.logs import TryLog
from leoflowd.core.run_diff import ComparedRun, TaskDiff, TaskSide, diff_runs
from leoflowd.core.version_diff import diff_versions
from leoflowd.store import dag_runs, dags, run_tallies
from leoflowd.store.dag_runs import DagRunRow
from leoflowd.store.dags import VersionRow

blueprint = Blueprint("own_run_diff", __name__)

TASKS_MAX = 500
LOGS_MAX = 10
"""Tasks whose logs are looked at: the first, which changed most."""
LOG_READ_BYTES = 512 * 1024
"""Of each of their logs: the beginning, for counting lines."""
ERRORS = ("error", "critical")


class _Line(msgspec.Struct, frozen=True):
    level: str | None = None


@blueprint.get("/api/v2/leoflow/runDiff/<dag_id>/<run_id>")
async def diff(dag_id: str, run_id: str) -> Response:
    """What differs in this run from `other`: the newest successful run before it, if that is left out.

    `version` is None when both are of one version; of `tasks` at most `TASKS_MAX`, what changed most first.
    """
    query = Query()
    other = query.text("other")
    query.check()
    async with lane().connection() as conn:
        run = await dag_runs.fetch_dag_run(conn, dag_id, run_id)
        other = other or await run_tallies.fetch_success_before(conn, run.id)
        if other is None:
            raise Conflict(
                f"Dag `{dag_id}` has no successful run before `{run_id}`: name another run to compare it with"
            )
        old = await dag_runs.fetch_dag_run(conn, dag_id, other)
        versions = [await dags.fetch_version_by_id(conn, one.dag_version_id) for one in (old, run)]
        tallies = [await run_tallies.list_tallies(conn, one.id) for one in (old, run)]
    pairs = list(zip((old, run), versions, tallies, strict=True))
    compared = [
        ComparedRun(
            conf=msgspec.json.decode(one.conf),
            params={name: param.get("value") for name, param in version.spec.params.items()},
            start_date=one.start_date,
            tasks=tasks,
        )
        for one, version, tasks in pairs
    ]
    found = await dags.off_loop(lambda: diff_runs(*compared), size=sum(map(len, tallies)))
    shown = found.tasks[:TASKS_MAX]
    logs = [await _logs(task, old, run) for task in shown[:LOGS_MAX]]
    return json_answer(
        {
            "dag_id": dag_id,
            "before": _run(old, versions[0]),
            "after": _run(run, versions[1]),
            "version": await _code(*versions),
            "params": found.params,
            "conf": found.conf,
            "tasks": [
                {**msgspec.to_builtins(task), "logs": logs[index] if index < len(logs) else None}
                for index, task in enumerate(shown)
            ],
            "tasks_left_out": len(found.tasks) - len(shown),
        }
    )


def _run(run: DagRunRow, version: VersionRow) -> dict[str, Any]:
    ended = run.end_date and run.start_date and (run.end_date - run.start_date).total_seconds()
    waited = run.start_date and max(0.0, (run.start_date - run.run_after).total_seconds())
    return {
        "dag_run_id": run.run_id,
        "state": run.state,
        "run_type": run.run_type,
        "triggered_by": run.triggered_by,
        "triggering_user_name": run.triggering_user_name,
        "version_number": version.version_number,
        "image": version.spec.image or None,
        "logical_date": run.logical_date,
        "run_after": run.run_after,
        "start_date": run.start_date,
        "end_date": run.end_date,
        "waited_s": waited,
        "duration_s": ended,
    }


async def _code(old: VersionRow, new: VersionRow) -> dict[str, Any] | None:
    if old.id == new.id:
        return None
    labels = (f"version {old.version_number}", f"version {new.version_number}")
    specs = [msgspec.structs.replace(version.spec, source=version.source) for version in (old, new)]
    found = await dags.off_loop(
        lambda: diff_versions(specs[0], specs[1], labels=labels), size=max(map(dags.size_of, specs))
    )
    return {"is_empty": found.is_empty, **msgspec.structs.asdict(found)}


async def _logs(task: TaskDiff, old: DagRunRow, new: DagRunRow) -> dict[str, Any]:
    """Of the last try on each side; None for a mapped task, which has many, and for one that was not tried."""
    return {"before": await _log(task, task.before, old), "after": await _log(task, task.after, new)}


async def _log(task: TaskDiff, side: TaskSide | None, run: DagRunRow) -> dict[str, Any] | None:
    if side is None or side.is_mapped or not side.try_number:
        return None
    log = TryLog(
        dag_id=run.dag_id,
        run_id=run.run_id,
        dag_run_id=run.id,
        task_id=task.task_id,
        map_index=-1,
        try_number=side.try_number,
    )
    size = await context().logs.size(log)
    content = await context().logs.read(log, 0, LOG_READ_BYTES) if size else b""
    lines, errors = await trio.to_thread.run_sync(partial(_counted, content))
    return {"bytes": size, "lines": lines, "error_lines": errors, "is_whole": size <= LOG_READ_BYTES}


def _counted(content: bytes) -> tuple[int, int]:
    """(lines, lines of errors); a last one that is not complete counts as one."""
    errors = 0
    lines = content.splitlines()
    for line in lines:
        if any(level.encode() in line for level in ERRORS):
            try:
                errors += msgspec.json.decode(line, type=_Line).level in ERRORS
            except (msgspec.DecodeError, UnicodeError):
                continue  # half a line, or one that a task wrote with its own hands
    return len(lines), errors
