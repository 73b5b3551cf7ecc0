"""The grid of a Dag page: bars (runs), rows (structure), squares (task instance summaries), and the Gantt chart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from quart import Blueprint, Response, request

from leoflowd.api.answers import NDJSON, json_answer, json_bytes
from leoflowd.api.auth import SessionWatch
from leoflowd.api.compression import accepts_gzip
from leoflowd.api.context import ApiContext, context, lane
from leoflowd.api.paging import Query
from leoflowd.api.ui.selection import Subset, read_page, read_subset
from leoflowd.api.ui.structures import grid_of, members_of
from leoflowd.api.ui.summary_lines import GzipOfLines, LineKey, PackedLine, pack
from leoflowd.contract.errors import NotFound
from leoflowd.core.dag_drawing import GridNode, build_grid, merge_grids
from leoflowd.store import dags, ui_dags, ui_grid

blueprint = Blueprint("ui_grid", __name__, url_prefix="/ui")

LOOKS_APART_S = 0.5
"""Two looks of a busy browser at one thing are at most so much further apart than they should be."""
MAX_SUMMARY_RUNS = 1000
"""Run ids in one request; the grid shows at most a few hundred."""


@blueprint.get("/grid/runs/<dag_id>")
async def grid_runs(dag_id: str) -> Response:
    """A run ends here one look of the UI late: it asks for squares while a bar tells of a run that goes on, and then
    not once more. A last task and its run end together, and its square would stay as it was; in Airflow, where a run
    ends a moment later, that is seldom."""
    page, api = read_page(Query()), context().config
    late = timedelta(seconds=api.auto_refresh_interval_s + LOOKS_APART_S)
    async with lane().connection() as conn:
        return json_bytes(await ui_grid.fetch_grid_runs(conn, dag_id=dag_id, page=page, now=context().now(), late=late))


@blueprint.get("/grid/structure/<dag_id>")
async def grid_structure(dag_id: str) -> Response:
    """Rows of the current version; tasks that only older versions of the shown runs have come after them."""
    query = Query()
    subset = read_subset(query)
    page = read_page(query)
    async with lane().connection() as conn:
        current = await dags.fetch_version(conn, dag_id)
        older = [i for i in await ui_grid.list_grid_versions(conn, dag_id=dag_id, page=page) if i != current.id]
        versions = [current, *[await dags.fetch_version_by_id(conn, version_id) for version_id in older]]
    size = sum(dags.size_of(version.spec) for version in versions)
    return json_answer(await dags.off_loop(lambda: _merged_rows(versions, subset), size=size))


def _merged_rows(versions: list[dags.VersionRow], subset: Subset | None) -> tuple[GridNode, ...]:
    rows = [grid_of(v) if subset is None else build_grid(subset.of(v.spec)) for v in versions]
    merged = rows[0]
    for grid in rows[1:]:
        merged = merge_grids(merged, grid)
    return merged


@blueprint.get("/grid/ti_summaries/<dag_id>")
async def ti_summaries(dag_id: str) -> Response:
    """One NDJSON line per known run, sent as soon as it is there, so that the first columns paint at once."""
    run_ids = list(dict.fromkeys(Query().texts("run_ids") or []))[:MAX_SUMMARY_RUNS]
    async with lane().connection() as conn:
        if not await ui_dags.is_known_dag(conn, dag_id=dag_id):
            raise NotFound(f"Dag with id {dag_id} was not found")
        runs = await ui_grid.list_summary_runs(conn, dag_id=dag_id, run_ids=run_ids) if run_ids else ()
    is_packed = accepts_gzip(request.headers.get("Accept-Encoding", ""))
    lines = SummaryLines(context(), dag_id, runs, SessionWatch(), is_packed=is_packed)
    answer = Response(lines, content_type=NDJSON)
    answer.timeout = None
    answer.vary.add("Accept-Encoding")
    if is_packed:
        answer.content_encoding = "gzip"
    return answer


class SummaryLines:
    """The body of `ti_summaries`. A connection is held per line only: a slow reader must not keep it from others."""

    def __init__(
        self,
        ctx: ApiContext,
        dag_id: str,
        runs: tuple[ui_grid.SummaryRun, ...],
        watch: SessionWatch,
        *,
        is_packed: bool,
    ) -> None:
        self._db = ctx.db
        self._memory = ctx.summaries
        self._watch = watch
        self._dag_id = dag_id
        self._runs: Iterator[ui_grid.SummaryRun] = iter(runs)
        self._gzip = GzipOfLines() if is_packed else None
        self._is_begun = self._is_done = False

    def __aiter__(self) -> SummaryLines:
        return self

    async def __anext__(self) -> bytes:
        if self._is_done:
            raise StopAsyncIteration
        head = self._gzip.head() if self._gzip and not self._is_begun else b""
        self._is_begun = True
        run = next(self._runs, None)
        if run is None or not await self._watch.is_valid():
            self._is_done = True
            return head + self._gzip.end() if self._gzip else b""
        line = await self._line(run)
        if self._gzip is None:
            return line.unpacked()
        return head + self._gzip.add(line)

    async def _line(self, run: ui_grid.SummaryRun) -> PackedLine:
        key = LineKey(run.id, run.revision, run.dag_version_id)
        kept = self._memory.get(key)
        if kept is not None:
            return kept
        async with self._db.api.connection() as conn:
            version = await dags.fetch_version_by_id(conn, run.dag_version_id)
            group_ids, member_ids, mapped_ids = members_of(version)
            summary = await ui_grid.fetch_ti_summaries(
                conn,
                dag_id=self._dag_id,
                run=run,
                group_ids=group_ids,
                member_ids=member_ids,
                mapped_ids=mapped_ids,
            )
        line = await pack(summary.document.encode() + b"\n")
        if run.has_ended and summary.is_over:
            self._memory.put(key, line)
        return line


@blueprint.get("/gantt/<dag_id>/<path:run_id>")
async def gantt(dag_id: str, run_id: str) -> Response:
    async with lane().connection() as conn:
        document = await ui_grid.fetch_gantt(conn, dag_id=dag_id, run_id=run_id)
    if document is None:
        raise NotFound(f"No task instances for dag_id={dag_id} run_id={run_id}")
    return json_bytes(document)
