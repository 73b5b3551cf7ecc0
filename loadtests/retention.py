"""What it costs to take away history by batches: `python -m loadtests.retention --folder F --runs 20000 --save`.

On a database of `loadtests.seed` (made in the folder when there is none): removes dag runs, the oldest first, as the
daemon does but without its pauses, and measures the batches, what they leave behind until VACUUM, and VACUUM itself.
The database is smaller afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import trio

from leoflowd.store import retention
from leoflowd.store.database import Database
from leoflowd.store.retention import Limits
from loadtests.lite_process import temporary_folder
from loadtests.postgres_process import PostgresServer
from loadtests.seed import add_sizes, seed, size_of

RESULTS = Path(__file__).parent / "results"
TABLES = ("dag_run", "task_instance", "task_instance_history", "xcom")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the Postgres; without it, one that goes afterwards")
    parser.add_argument("--remove", type=int, default=20_000, help="dag runs, about")
    parser.add_argument("--save", nargs="?", const="retention", help="result in loadtests/results/, under this name")
    add_sizes(parser)
    given = parser.parse_args()
    with temporary_folder("leoflow-retention-") as scratch:
        result = measure(given.folder or scratch / "postgres", given)
    text = json.dumps(result, indent=1) + "\n"
    sys.stdout.write(text)
    if given.save:
        (RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{given.save}.json").write_text(text)


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    server = PostgresServer(folder)
    server.start()
    try:
        if is_new:
            seed(server.paths.conninfo, size_of(given))
        with psycopg.connect(server.paths.conninfo, autocommit=True) as connection:
            before = sizes(connection)
            cpu = server.cpu_s()
            batches, lists = trio.run(remove, server.paths.conninfo, given.remove)
            used_s = server.cpu_s() - cpu
            after = sizes(connection)
            began = time.monotonic()
            connection.execute("VACUUM (INDEX_CLEANUP ON)")
            vacuum_s = time.monotonic() - began
            vacuumed = sizes(connection)
    finally:
        server.stop()
    times, removed = [took for _, took in batches], sum(count for count, _ in batches)
    return {
        "what": "retention",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {"cpus": os.cpu_count(), "load": os.getloadavg()[0]},
        "removed_runs": removed,
        "seconds": round(sum(times) + sum(lists), 1),
        "runs_per_s": round(removed / (sum(times) + sum(lists)), 1),
        "postgres_cpu_ms_per_run": round(1000 * used_s / removed, 2),
        "list_s": {"n": len(lists), "p50": round(statistics.median(lists), 2)},
        "batch_s": {"n": len(times), "p50": round(statistics.median(times), 3), "max": round(max(times), 3)},
        "vacuum_s": round(vacuum_s, 1),
        "rows_and_bytes": {"before": before, "after": after, "after_vacuum": vacuumed},
    }


async def remove(conninfo: str, wanted: int) -> tuple[list[tuple[int, float]], list[float]]:
    """(runs, seconds) of each batch; seconds of each look for them."""
    database = Database(conninfo)
    batches: list[tuple[int, float]] = []
    found, lists = None, []
    while found != () and sum(count for count, _ in batches) < wanted:
        began = time.monotonic()
        async with database.history.connection() as conn:
            found = await retention.list_removable(conn, Limits(keep=1))
        lists.append(time.monotonic() - began)
        for ids in retention.batches_of(found):
            began = time.monotonic()
            async with database.history.connection() as conn:
                batches.append((await retention.remove_runs(conn, ids), time.monotonic() - began))
    database.close()
    return batches, lists


def sizes(connection: psycopg.Connection) -> dict[str, dict[str, int]]:
    found = {}
    for table in TABLES:
        row = connection.execute(
            "SELECT (SELECT n_live_tup FROM pg_stat_user_tables WHERE relname = %(name)s),"
            " (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = %(name)s),"
            " pg_table_size(%(name)s::regclass), pg_indexes_size(%(name)s::regclass)",
            {"name": table},
        ).fetchone()
        assert row is not None
        found[table] = dict(zip(("live", "dead", "table_bytes", "index_bytes"), row, strict=True))
    return found


if __name__ == "__main__":
    main()
