"""A site's size in a database, quickly: `python -m loadtests.seed --folder F`, or `--database CONNINFO` (an empty one).

Some DAGs are compiled, registered and given a run by our own code; Postgres makes all others of their rows, so that
versions, artifacts and task instances have the shape that they have everywhere. Everything is drawn from `--seed`:
DAGs have very different numbers of runs (the first one about 1 in 50 of all), one to three versions, tags, owners;
one run in twenty failed, one task in thirty was tried twice, and of the newest runs some go on: with tasks that run,
that wait (with a wait in the pool), that are queued.

Beside them: results (XComs) of one task in five, an audit log with a row for each run, sealed, and one wide DAG.

Left out: task logs (files, one a try, which no list reads), assets and their events, mapped tasks, backfills,
callbacks, connections and variables (few, however large the site).
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import msgspec
import psycopg
import trio

from leoflowd.authoring.compiler import compile_project
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.states import DagRunType, TriggeredBy
from leoflowd.core.audit_chain import UNKEYED
from leoflowd.store import audit_seals, dag_runs, dags
from leoflowd.store.database import STORE, Database, lane_limits, migration_limits
from leoflowd.store.migrations import migrate
from leoflowd.store.trio_connection import TrioConnection
from loadtests.postgres_process import PostgresServer

SHARES = (0.4, 0.8, 1.2, 1.6)
"""Tasks of the four kinds of DAGs, as shares of the mean."""
WIDE = "wide"
COMPILE_WITHIN_S = 600
TEMPLATES = """\
from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensor
from airflow.sdk import DAG, TaskGroup

START = datetime(2020, 1, 1, tzinfo=timezone.utc)
FAR = datetime(2100, 1, 1, tzinfo=timezone.utc)

for kind, size in enumerate({sizes}):
    with DAG(f"kind_{{kind}}", schedule=["@hourly", "@daily"][kind % 2], start_date=START, catchup=False,
             tags=["site"], default_args={{"owner": "airflow", "retries": 1}}):
        last = EmptyOperator(task_id="t000_begin")
        wait = DateTimeSensor(task_id="t001_wait", target_time=FAR, mode="reschedule")
        last >> wait
        last = wait
        with TaskGroup("work"):  # after "t" by name: Postgres has no other order of them
            for number in range(2, max(size, 3)):
                task = BashOperator(task_id=f"load_{{number:03}}", bash_command=f"echo {{number}}")
                last >> task
                last = task

with DAG("wide", schedule="@daily", start_date=START, catchup=False, tags=["site", "wide"]):
    first = EmptyOperator(task_id="first")
    for group in range({groups}):
        with TaskGroup(f"group_{{group:03}}") as part:
            for number in range({members}):
                EmptyOperator(task_id=f"task_{{number:03}}")
        first >> part
"""
GROUP_SIZE = 100


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what. `task_instances`: about so many, the wide DAG's not counted."""

    dags: int = 10_000
    runs: int = 100_000
    task_instances: int = 1_000_000
    wide_tasks: int = 5_000
    wide_runs: int = 25
    seed: int = 1

    @property
    def mean_tasks(self) -> float:
        return self.task_instances / self.runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--folder", type=Path, help="of an embedded Postgres, which is made, and stopped afterwards")
    where.add_argument("--database", help="conninfo of an empty database")
    add_sizes(parser)
    given = parser.parse_args()
    if given.database:
        told = seed(given.database, size_of(given))
    else:
        given.folder.mkdir(parents=True, exist_ok=True)
        given.folder.chmod(0o755)
        server = PostgresServer(given.folder)
        server.start()
        try:
            told = seed(server.paths.conninfo, size_of(given))
        finally:
            server.stop()
    sys.stdout.write(json.dumps(told, indent=1) + "\n")


def add_sizes(parser: argparse.ArgumentParser) -> None:
    for name, default in msgspec.structs.asdict(Size()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)


def size_of(given: argparse.Namespace) -> Size:
    return Size(**{name: getattr(given, name) for name in Size.__struct_fields__})


def seed(conninfo: str, size: Size, *, until: datetime | None = None) -> dict[str, object]:
    """Fill the database; how many rows each table has, and how long it took. `until`: the newest run's moment."""
    began = time.monotonic()
    until = (until or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)
    specs = compile_kinds(size)
    trio.run(_register, conninfo, specs, until)
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
        multiply(connection, size, until)
    trio.run(_seal, conninfo)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        rows = {table: _count(connection, table) for table in TABLES}
    return {"seed": size.seed, "seconds": round(time.monotonic() - began, 1), "rows": rows}


def compile_kinds(size: Size) -> tuple[DagSpec, ...]:
    members = min(GROUP_SIZE, size.wide_tasks)
    text = TEMPLATES.format(
        sizes=[max(3, round(share * size.mean_tasks)) for share in SHARES],
        groups=max(1, math.ceil((size.wide_tasks - 1) / members)),
        members=members,
    )
    with tempfile.TemporaryDirectory(prefix="leoflow-seed-") as name:
        (Path(name) / "dag.py").write_text(text)
        return compile_project(Path(name), deadline_s=COMPILE_WITHIN_S)


async def _register(conninfo: str, specs: tuple[DagSpec, ...], now: datetime) -> None:
    """Each kind as our own code writes it, with a run."""
    connection = await TrioConnection.open(conninfo, migration_limits(STORE))
    await migrate(connection)
    connection.pgconn.finish()
    database = Database(conninfo)
    begun = now - timedelta(days=3650)
    for spec in specs:
        async with database.api.transaction() as conn:
            file = f"{spec.dag_id}.py"
            await dags.register_dag(
                conn, spec, now=begun, fileloc=file, relative_fileloc=file, bundle_name="site", paused_at_creation=True
            )
            await dag_runs.insert_dag_run(
                conn,
                version=await dags.fetch_version(conn, spec.dag_id),
                run_id="manual__kind",
                run_type=DagRunType.MANUAL,
                logical_date=None,
                data_interval_start=None,
                data_interval_end=None,
                run_after=begun,
                conf={},
                triggered_by=TriggeredBy.TEST,
                triggering_user_name=None,
                note=None,
                now=begun,
            )
    database.close()


async def _seal(conninfo: str) -> None:
    connection = await TrioConnection.open(conninfo, lane_limits(STORE))
    head: object = True
    while head:
        async with connection.transaction():
            head = await audit_seals.seal_open(connection, key_id=UNKEYED, key=b"")
    connection.pgconn.finish()


def multiply(connection: psycopg.Connection, size: Size, until: datetime) -> None:
    """All other rows, in one transaction; the rows that they were made of are taken away."""
    values = {**msgspec.structs.asdict(size), "until": until, "kinds": len(SHARES)}
    with connection.transaction():
        for name, statement in steps().items():
            connection.execute(statement, values)
            if name in ANALYZED:
                connection.execute(psycopg.sql.SQL("ANALYZE {}").format(psycopg.sql.Identifier(name)))


def _count(connection: psycopg.Connection, table: LiteralString) -> int:
    row = connection.execute(
        psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(table))
    ).fetchone()
    assert row is not None
    return int(row[0])


TABLES: tuple[LiteralString, ...] = (
    "dag", "dag_version", "dag_run", "task_instance", "task_instance_history", "xcom", "wait", "event_log",
    "audit_seal",
)  # fmt: skip
ANALYZED = ("a_dag", "a_run", "a_task")

STEPS = Path(__file__).with_suffix(".sql")


def steps() -> dict[str, bytes]:
    """The statements of seed.sql by name, in order."""
    parts = re.split(r"^-- name: (\w+).*$", STEPS.read_text(), flags=re.MULTILINE)
    return {name: body.strip().encode() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


if __name__ == "__main__":
    main()
