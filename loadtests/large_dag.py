"""What a DAG of ten thousand tasks costs, and how long it holds up everybody else: `python -m loadtests.large_dag`.

Runs the store and the core on an embedded Postgres of its own, in one process, and beside each step a heartbeat that
measures how long the event loop did not come round. Prints one JSON object; `--write NAME` keeps it in `results/`.

* `compile_s`: `dag.py` to artifact, in the compiler's two processes (a thread waits for them);
* `register_s`: `store.dags.register_dag`, checks included; `trigger_s`: `store.asked_runs.insert_asked_run`;
* `load_view_s`: what the scheduler reads of the run; `plan_s`: its first `core` step over the whole run;
* `*_blocked_ms`: the longest time during that step in which nothing else could run (on a busy host also what others
  took); `*_loop_cpu_ms`: what the event loop's own thread computed during it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import trio

from leoflowd.authoring.compiler import compile_project
from leoflowd.contract.states import DagRunState, TriggeredBy
from leoflowd.core.dag_run_plan import plan_dag_run
from leoflowd.core.run_view import RunFacts
from leoflowd.lite.postgres import EmbeddedPostgres
from leoflowd.store import asked_runs, dags, run_views
from leoflowd.store.database import STORE, Database, lane_limits
from leoflowd.store.migrations import migrate
from leoflowd.store.trio_connection import TrioConnection

RESULTS = Path(__file__).parent / "results"
BEAT_S = 0.001
T = TypeVar("T")

HEAD = "import random\nfrom leoflow import DAG, EmptyOperator\nwith DAG('{dag_id}', schedule=None):\n"
SHAPES = {
    "chain": """\
    last = EmptyOperator(task_id="t")
    for number in range({count} - 1):
        task = EmptyOperator(task_id=f"t{{number}}")
        last >> task
        last = task
""",
    "fan": """\
    first, last = EmptyOperator(task_id="first"), EmptyOperator(task_id="last")
    first >> [EmptyOperator(task_id=f"t{{number}}") for number in range({count} - 2)] >> last
""",
    "dense": """\
    side = int({count} ** 0.5)
    above = []
    for layer in range(side):
        now = [EmptyOperator(task_id=f"t{{layer}}_{{number}}") for number in range(side)]
        for task in above:
            task >> now
        above = now
""",
    "random": """\
    chance = random.Random(1)
    tasks = []
    for number in range({count}):
        task = EmptyOperator(task_id=f"t{{number}}")
        for above in sorted({{chance.randrange(number) for _ in range(min(number, 3))}}):
            tasks[above] >> task
        tasks.append(task)
""",
}


class Heartbeat:
    """The longest gap between two rounds of the loop, beyond the pause that was asked for."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await trio.sleep(BEAT_S)
            self.longest_s = max(self.longest_s, time.perf_counter() - began - BEAT_S)


class Figures:
    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    async def measure(self, what: str, step: Callable[[], Awaitable[T]]) -> T:
        heart = Heartbeat()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(heart.run)
            await trio.lowlevel.checkpoint()
            began, cpu = time.perf_counter(), time.thread_time()
            answer = await step()
            self.found[f"{what}_s"] = round(time.perf_counter() - began, 3)
            self.found[f"{what}_loop_cpu_ms"] = round(1000 * (time.thread_time() - cpu), 1)
            await trio.sleep(2 * BEAT_S)
            nursery.cancel_scope.cancel()
        self.found[f"{what}_blocked_ms"] = round(1000 * heart.longest_s, 1)
        return answer


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Database]:
    async with trio.open_nursery() as nursery:
        conninfo = await nursery.start(EmbeddedPostgres(folder).run)
        connection = await TrioConnection.open(conninfo, lane_limits(STORE))
        await migrate(connection)
        connection.pgconn.finish()
        database = Database(conninfo)
        yield database
        database.close()
        nursery.cancel_scope.cancel()


async def measure_shape(database: Database, folder: Path, name: str, count: int) -> dict[str, float]:
    figures = Figures()
    folder.mkdir()  # noqa: ASYNC240  # nobody waits yet
    (folder / "dag.py").write_text((HEAD + SHAPES[name]).format(dag_id=name, count=count))
    now = datetime.now(UTC)

    async def compile_it() -> Any:
        return await trio.to_thread.run_sync(lambda: compile_project(folder, deadline_s=120))

    (spec,) = await figures.measure("compile", compile_it)
    figures.found["edges"] = sum(len(task.upstream_task_ids) for task in spec.tasks)

    async def register() -> None:
        async with database.api.transaction() as conn:
            await dags.register_dag(conn, spec, now=now, fileloc="dag.py", relative_fileloc="dag.py")

    await figures.measure("register", register)
    asked = asked_runs.AskedRun(
        dag_id=name,
        run_id="one",
        unique="",
        logical_date=None,
        run_after=now,
        conf=None,
        note=None,
        triggered_by=TriggeredBy.REST_API,
        triggering_user_name=None,
    )

    async def trigger() -> None:
        async with database.api.transaction() as conn:
            await asked_runs.insert_asked_run(conn, asked, now)

    await figures.measure("trigger", trigger)

    async def load() -> Any:
        async with database.scheduler.connection() as conn:
            cursor = await conn.execute(b"SELECT id FROM dag_run WHERE dag_id = %(dag_id)s", {"dag_id": name})
            (row,) = await cursor.fetchall()
            return await run_views.load_view(conn, row[0])

    loaded = await figures.measure("load_view", load)

    async def plan() -> None:
        loaded.view.run = RunFacts(state=DagRunState.RUNNING, start_date=now)
        await trio.to_thread.run_sync(plan_dag_run, loaded.view, now)

    await figures.measure("plan", plan)
    return figures.found


async def measure_all(count: int, shapes: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="leoflow-large-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # noqa: ASYNC240  # nobody waits yet
        async with open_store(folder / "postgres") as database:
            found = {name: await measure_shape(database, folder / name, name, count) for name in shapes}
    return {
        "what": "large_dag",
        "tasks": count,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()},
        "shapes": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--shape", action="append", choices=sorted(SHAPES))
    parser.add_argument("--write", help="Name of the file in loadtests/results/.")
    arguments = parser.parse_args()
    result = trio.run(measure_all, arguments.tasks, arguments.shape or list(SHAPES))
    text = json.dumps(result, indent=1) + "\n"
    if arguments.write:
        (RESULTS / arguments.write).write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
