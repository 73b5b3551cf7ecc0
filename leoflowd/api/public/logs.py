"""A try's log, live: the file as it stands, again and again. Blueprint `public_logs`.

The UI asks for the whole log every few seconds and parses line by line; one half-written line would empty its view, so
only whole lines go out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import trio
from quart import Blueprint, Response

from leoflowd.api.answers import JSON, NDJSON, json_bytes, ndjson_answer
from leoflowd.api.context import context, lane
from leoflowd.api.paging import Query, accepted_form, path_integer
from leoflowd.contract.errors import NotFound
from leoflowd.store import api_task_instances

blueprint = Blueprint("public_logs", __name__)

HEAD_BYTES = 1024 * 1024
TAIL_BYTES = 7 * 1024 * 1024
"""A longer log is shown from both its ends: a browser does not survive a gigabyte, nor would the daemon."""


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
    found = next((row for row in tries if row["try_number"] == number), None)
    if found is None:
        raise NotFound("TaskInstance not found")
    path = context().logs.path(dag_id, run_id, task_id, map_index, number)
    written = await trio.to_thread.run_sync(read_whole_lines, path)
    lines = _source_details(path) + (written or _why_empty(found))
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


def read_whole_lines(path: Path) -> bytes:
    """The file without a last line that is still being written; its two ends when it is very long."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES + TAIL_BYTES)
            if len(head) < HEAD_BYTES + TAIL_BYTES:
                return head[: head.rfind(b"\n") + 1]
            head = head[: head.rfind(b"\n", 0, HEAD_BYTES) + 1]
            size = file.seek(0, 2)
            file.seek(size - TAIL_BYTES)
            tail = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return b""
    tail = tail[tail.find(b"\n") + 1 : tail.rfind(b"\n") + 1]
    left_out = size - len(head) - len(tail)
    return head + _line(f"... {left_out} bytes left out; the file {path.name} has the whole log ...", "warning") + tail


def _source_details(path: Path) -> bytes:
    """The first group of every log, folded by the UI: where it comes from."""
    source = str(path.relative_to(context().logs.root))
    group = {"event": "::group::Log message source details", "sources": [source]}
    return msgspec.json.encode(group) + b"\n" + msgspec.json.encode({"event": "::endgroup::"}) + b"\n"


def _why_empty(row: dict[str, Any]) -> bytes:
    if row["try_number"] == 0:
        return _line(f"The task has not run: its state is {row['state'] or 'none'}.")
    return _line(f"Try {row['try_number']} has written nothing yet (state {row['state'] or 'none'}).")


def _line(event: str, level: str = "info") -> bytes:
    return msgspec.json.encode({"event": event, "level": level}) + b"\n"
