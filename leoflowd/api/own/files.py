"""The web editor of Lite: its page, and the files of the workspace. Blueprint `own_files`, ADR 89.

Registered where there is a workspace (`ApiContext.editor`) and nowhere else. Whoever may write a DAG runs any code as
the user of tasks, so all of it needs ADMIN; each change is in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
import trio
from quart import Blueprint, Response

from leoflowd.api import static
from leoflowd.api.answers import json_answer
from leoflowd.api.audit import record
from leoflowd.api.bodies import read_body
from leoflowd.api.context import context, lane
from leoflowd.api.live import follow, is_followed
from leoflowd.api.paging import Query
from leoflowd.api.problems import BadRequest
from leoflowd.contract.workspace_files import FileChanged, WorkspaceEditor, WorkspaceFiles
from leoflowd.core.workspace_paths import checked_path

blueprint = Blueprint("own_files", __name__)

T = TypeVar("T")

FILES = "/leoflow/api/files"
SAVE_MAX_BYTES = 3 * 1024 * 1024
"""A text of 1 MiB, as JSON."""
THREADS = trio.CapacityLimiter(4)
"""A tree of thousands of files on a slow disk must not take every thread of the daemon."""


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SaveBody(_Body, frozen=True, kw_only=True):
    text: str
    etag: str | None
    """Of the content that was opened; null makes a new file."""


class MoveBody(_Body, frozen=True, kw_only=True):
    to: str


# --- the page ----------------------------------------------------------------------------------------------------


@blueprint.get("/leoflow/editor")
async def editor_page() -> Response:
    """The page holds nothing secret: what it shows comes from routes that ask for a login."""
    return await static.page("editor", needs="monaco/vs/loader.js")


@blueprint.get("/leoflow/api/completions")
async def completions() -> Response:
    """Names of `airflow` and `leoflow` modules, and the arguments of what they make."""
    return json_answer(await _in_thread(_editor().completions))


# --- looking -----------------------------------------------------------------------------------------------------


@blueprint.get(FILES)
async def list_files() -> Response:
    """The tree, folders before what is in them; with `hidden`, names that begin with a dot too."""
    query = Query()
    hidden = query.boolean("hidden", False)
    query.check()
    return json_answer(await _in_thread(partial(_files().listing, hidden=bool(hidden))))


@blueprint.get(f"{FILES}/<path:path>")
async def read_file(path: str) -> Response:
    """A text with its etag. Binary files, links and those above 1 MiB are refused with the reason."""
    path = _checked(path)
    return json_answer(await _in_thread(partial(_files().read, path)))


@blueprint.get("/leoflow/api/file-counts/<path:path>")
async def count_files(path: str) -> Response:
    """How many files a removal would remove: what `DELETE` wants to hear again."""
    path = _checked(path)
    return json_answer({"path": path, "files": await _in_thread(partial(_files().count, path))})


@blueprint.get("/leoflow/api/workspace")
async def get_workspace() -> Response:
    """What compiling gave: DAGs, faults and warnings with their places, by project. May be followed."""
    editor, version = _editor(), -1

    async def look() -> Response:
        nonlocal version
        state = editor.state()
        version = state.version
        return json_answer(state)

    async def wait() -> None:
        await editor.wait_changed(version)

    return await follow(look, wait) if is_followed() else await look()


# --- changing ----------------------------------------------------------------------------------------------------


@blueprint.put(f"{FILES}/<path:path>")
async def save_file(path: str) -> Response:
    """Save a text: `etag` of what was opened, null for a new file. 409 with `current` when that is another by now.

    `version`: states of the workspace after it know of this save.
    """
    path = _checked(path)
    body = await read_body(SaveBody, SAVE_MAX_BYTES)
    try:
        etag = await _change(
            partial(_files().write, path, body.text, etag=body.etag), "save_file", path=path, is_new=body.etag is None
        )
    except FileChanged as error:
        return json_answer({"detail": str(error), "current": error.current}, 409)
    return _done({"path": path, "etag": etag}, 201 if body.etag is None else 200)


@blueprint.post("/leoflow/api/folders/<path:path>")
async def make_folder(path: str) -> Response:
    path = _checked(path)
    await _change(partial(_files().make_folder, path), "make_folder", path=path)
    return _done({"path": path}, 201)


@blueprint.patch(f"{FILES}/<path:path>")
async def move_file(path: str) -> Response:
    """Rename a file or folder, or move it to another folder; never over something that is there."""
    path = _checked(path)
    to = _checked((await read_body(MoveBody)).to)
    await _change(partial(_files().move, path, to), "move_file", path=path, to=to)
    return _done({"path": to})


@blueprint.delete(f"{FILES}/<path:path>")
async def remove_file(path: str) -> Response:
    """Remove a file, or a folder with all that is in it. `files`: how many there are; `name`: the path's last part.

    Both are said again by whoever removes, so that a folder of which more was hidden than seen stays.
    """
    path = _checked(path)
    query = Query()
    files, name = query.integer("files", minimum=0), query.text("name")
    query.check()
    if files is None or name != path.rpartition("/")[2]:
        raise BadRequest(f"To remove `{path}`, give its name as `name` and the number of its files as `files`")
    await _change(partial(_files().remove, path, files=files), "remove_file", path=path, files=files)
    return _done({"path": path, "files": files})


@blueprint.post("/leoflow/api/examples")
async def add_examples() -> Response:
    """Put the examples that come with Leoflow into `examples/`; a folder that is there already is left alone."""
    made = await _change(_files().add_examples, "add_examples")
    return _done({"folders": made})


# --- parts -------------------------------------------------------------------------------------------------------


def _editor() -> WorkspaceEditor:
    editor = context().editor
    assert editor is not None, "registered without a workspace"
    return editor


def _files() -> WorkspaceFiles:
    return _editor().files


def _checked(path: str) -> str:
    query = Query()
    hidden = query.boolean("hidden", False)
    query.check()
    return checked_path(path, hidden=bool(hidden))


async def _in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work, limiter=THREADS)


async def _change(work: Callable[[], T], event: str, **extra: Any) -> T:
    """What cannot be recorded is not done."""
    async with lane().transaction() as conn:
        await record(conn, event, extra=extra)
        return await _in_thread(work)


def _done(answer: dict[str, Any], status: int = 200) -> Response:
    return json_answer({**answer, "version": _editor().look()}, status)
