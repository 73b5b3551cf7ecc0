"""A try's log, live: as it stands, again and again. Blueprint `public_logs`.

The UI asks for the whole log every few seconds and parses line by line; one half-written line would empty its view, so
only whole lines go out. A try that waits in the pool writes no file: its log is made from facts (what for, since when,
the last probes), behind what a process of it wrote before it deferred. The last line of every try that is over is a
fact too: how it ended, and why. What ended it may not be its process: a wait, a timeout, a person, a lost machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from quart import Blueprint, Response

from leoflowd.api.answers import JSON, NDJSON, json_bytes, ndjson_answer
from leoflowd.api.context import context, lane
from leoflowd.api.own.waits import fetch_known_wait
from leoflowd.api.paging import Query, accepted_form, path_integer
from leoflowd.contract.errors import NotFound
from leoflowd.contract.logs import LogStore, TryLog
from leoflowd.contract.values import shown
from leoflowd.core.explain import KnownWait, explain_wait
from leoflowd.core.secret_names import masked
from leoflowd.store import api_task_instances, api_waits, dag_runs
from leoflowd.store.api_waits import TryStory

blueprint = Blueprint("public_logs", __name__)

HEAD_BYTES = 1024 * 1024
TAIL_BYTES = 7 * 1024 * 1024
"""A longer log is shown from both its ends: a browser does not survive a gigabyte, nor would the daemon."""
MAY_WAIT = frozenset({"deferred", "up_for_reschedule"})


@blueprint.get("/api/v2/dags/<dag_id>/dagRuns/<run_id>/taskInstances/<task_id>/logs/<try_number>")
async def get_log(dag_id: str, run_id: str, task_id: str, try_number: str) -> Response:
    number = path_integer("try_number", try_number)
    query = Query()
    map_index = query.integer("map_index", -1)
    query.boolean("full_content")
    query.check()
    assert map_index is not None
    form = accepted_form(JSON, NDJSON)
    async with lane().connection() as conn:
        tries = await _tries(conn, dag_id, run_id, task_id, map_index)
        run = await dag_runs.fetch_dag_run(conn, dag_id, run_id)
    found = next((row for row in tries if row["try_number"] == number), None)
    if found is None:
        raise NotFound("TaskInstance not found")
    log = TryLog(
        dag_id=dag_id, run_id=run_id, dag_run_id=run.id, task_id=task_id, map_index=map_index, try_number=number
    )
    written = await read_whole_lines(context().logs, log)
    written += await _facts(found, has_log=bool(written))
    lines = _source_details(await context().logs.where(log)) + (written or _why_empty(found))
    if form == NDJSON:
        return ndjson_answer(lines)
    return json_bytes(b'{"content":[' + b",".join(lines.splitlines()) + b'],"continuation_token":null}')


@blueprint.get("/api/v2/dags/<dag_id>/dagRuns/<run_id>/taskInstances/<task_id>/externalLogUrl/<try_number>")
async def get_external_log_url(dag_id: str, run_id: str, task_id: str, try_number: str) -> Response:
    path_integer("try_number", try_number)
    raise NotFound("Task log handler does not support external logs: logs are kept by this server; read them here")


async def _tries(conn: Any, dag_id: str, run_id: str, task_id: str, map_index: int) -> list[dict[str, Any]]:
    try:
        return await api_task_instances.list_tries(conn, dag_id, run_id, task_id, map_index)
    except NotFound as error:
        raise NotFound("TaskInstance not found") from error


async def read_whole_lines(logs: LogStore, log: TryLog) -> bytes:
    """The log without a last line that is still being written; its two ends when it is very long."""
    head = await logs.read(log, 0, HEAD_BYTES + TAIL_BYTES)
    if len(head) < HEAD_BYTES + TAIL_BYTES:
        return head[: head.rfind(b"\n") + 1]
    head = head[: head.rfind(b"\n", 0, HEAD_BYTES) + 1]
    size = await logs.size(log)
    tail = await logs.read(log, size - TAIL_BYTES, TAIL_BYTES)
    tail = tail[tail.find(b"\n") + 1 : tail.rfind(b"\n") + 1]
    left_out = size - len(head) - len(tail)
    return (
        head + _line(f"... {left_out} bytes left out; {await logs.where(log)} has the whole log ...", "warning") + tail
    )


def _source_details(source: str) -> bytes:
    """The first group of every log, folded by the UI: where it comes from."""
    group = {"event": "::group::Log message source details", "sources": [source]}
    return msgspec.json.encode(group) + b"\n" + msgspec.json.encode({"event": "::endgroup::"}) + b"\n"


def _why_empty(row: dict[str, Any]) -> bytes:
    if row["try_number"] == 0:
        return _line(f"The task has not run: its state is {row['state'] or 'none'}.")
    return _line(f"Try {row['try_number']} has written nothing yet (state {row['state'] or 'none'}).")


async def _facts(row: dict[str, Any], *, has_log: bool) -> bytes:
    """Lines about a try from what is stored of it and what the pool sees; none when there is nothing to tell.

    `has_log`: a process of it wrote something.
    """
    key = {"task_id": row["task_id"], "map_index": row["map_index"]}
    async with lane().connection() as conn:
        story = await api_waits.fetch_try_story(
            conn, dag_id=row["dag_id"], run_id=row["dag_run_id"], try_number=row["try_number"], **key
        )
        if story is None:
            return b""
        is_waiting = story.is_present and story.state in MAY_WAIT
        wait = await fetch_known_wait(conn, dag_run_id=story.dag_run_id, **key) if is_waiting else None
    return b"".join(_story(story, has_log=has_log) if wait is None else _waiting(wait, context().now()))


def _waiting(wait: KnownWait, now: datetime) -> Iterator[bytes]:
    what, *rest = explain_wait(wait, now)
    yield _line(what, at=wait.facts.registered_at)
    for probe in () if wait.seen is None else wait.seen.probes:
        level = "warning" if probe.is_error else "info"
        yield _line(f"probe: {probe.summary} ({probe.duration_s:.3f} s)", level, at=probe.at)
    for sentence in rest:
        yield _line(sentence)


def _story(story: TryStory, *, has_log: bool) -> Iterator[bytes]:
    """A try that is over."""
    if story.start_date is None or story.end_date is None:
        return
    if not has_log:
        yield _line("The try began; no process of it wrote anything.", at=story.start_date)
        for name, value in masked(story.rendered_fields or {}).items():
            if value is not None:
                text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
                yield _line(f"{name}: {shown(text)}", at=story.start_date)
    yield end_line(story.state, story.because, story.end_date)


def end_line(state: str | None, because: str | None, at: datetime | None) -> bytes:
    """How a try ended, below its log."""
    level = "error" if state == "failed" else "info"
    return _line(f"state {state}: {because or 'no reason is known'}", level, at=at)


def _line(event: str, level: str = "info", *, at: datetime | None = None) -> bytes:
    line = {"event": event, "level": level}
    return msgspec.json.encode(line if at is None else {"timestamp": at, **line}) + b"\n"
