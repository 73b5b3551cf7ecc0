"""The one embedded Postgres of a test run: a process of its own, started by whoever needs it first (ADR 0027).

`tests/integration/conftest.py` runs it with the test run's process id as argument. It prints its conninfo when the
database `leoflow_template`, migrated, is there to be cloned, and leaves nothing behind when that process is gone.

`LEOFLOW_TEST_POSTGRES` names the programs of another release (`tests/postgres_releases.py`); else it is Lite's.

Cloning costs a fifth of a second, emptying a clone a tenth of that: `pristine.again()` makes it what it was.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import trio
from psycopg.conninfo import make_conninfo

from leoflowd.lite import postgres
from leoflowd.store.database import STORE, lane_limits
from leoflowd.store.migrations import migrate
from leoflowd.store.trio_connection import TrioConnection

TEMPLATE = "leoflow_template"
RELEASE = os.environ.get("LEOFLOW_TEST_POSTGRES")
CLONED = f"TEMPLATE {TEMPLATE}" + ("" if RELEASE else " STRATEGY file_copy")
"""How a database is made of it. Release 14 has no other strategy, and no word for it."""
LIMITS = lane_limits(STORE)
SCHEMA_NOW = """
SELECT md5(string_agg(made, ',' ORDER BY made)) FROM (
    SELECT row(attrelid, attnum, attname, atttypid, attnotnull)::text
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT row(oid, conname)::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT row(oid, tgname, tgenabled)::text FROM pg_trigger
    UNION ALL SELECT row(oid, proname, prosrc)::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS parts (made)
"""
"""A test that changed what tables are leaves a database that no other may use, and one that filled or analysed them,
since others look at plans."""
LARGE_BYTES = 2_000_000
PRISTINE = f"""
CREATE SCHEMA pristine;
CREATE TABLE pristine.schema_then AS {SCHEMA_NOW};
CREATE TABLE pristine.rows_then (of_table regclass, line jsonb);
CREATE FUNCTION pristine.tables() RETURNS SETOF regclass LANGUAGE sql BEGIN ATOMIC
    SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace;
END;
DO $$
DECLARE here regclass;
BEGIN
    FOR here IN SELECT pristine.tables() LOOP
        EXECUTE format('INSERT INTO pristine.rows_then SELECT %L::regclass, to_jsonb(t) FROM %s AS t', here, here);
    END LOOP;
END $$;
CREATE FUNCTION pristine.again() RETURNS boolean LANGUAGE plpgsql SET session_replication_role = replica AS $$
DECLARE here regclass;
BEGIN
    IF ({SCHEMA_NOW}) IS DISTINCT FROM (SELECT md5 FROM pristine.schema_then)
       OR (SELECT sum(pg_relation_size(one)) FROM pristine.tables() AS one) > {LARGE_BYTES}
       OR EXISTS (SELECT FROM pg_statistic WHERE starelid IN (SELECT pristine.tables())) THEN
        RETURN false;
    END IF;
    FOR here IN SELECT pristine.tables() LOOP
        EXECUTE format('DELETE FROM %s', here);
    END LOOP;
    FOR here IN SELECT DISTINCT of_table FROM pristine.rows_then LOOP
        EXECUTE format('INSERT INTO %s OVERRIDING SYSTEM VALUE SELECT made.* FROM pristine.rows_then, '
                       'jsonb_populate_record(NULL::%s, line) AS made WHERE of_table = %L::regclass', here, here, here);
    END LOOP;
    PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
    RETURN true;
END $$
"""
SETTINGS = {
    # Nobody turns the machine off under a test.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "120",
}


def main(test_run: int) -> None:
    postgres.SETTINGS.update(SETTINGS)
    folder = Path(tempfile.mkdtemp(prefix="leoflow-test-"))
    folder.chmod(0o755)  # under root the server runs as another user
    try:
        trio.run(_serve, folder, test_run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(folder: Path, test_run: int) -> None:
    async with trio.open_nursery() as nursery:
        server = postgres.EmbeddedPostgres(folder, Path(RELEASE) if RELEASE else None)
        conninfo = await nursery.start(server.run)
        await _make_template(server.paths.admin_conninfo(), conninfo)
        print(conninfo, flush=True)
        await trio.to_thread.run_sync(_wait_gone, test_run)
        nursery.cancel_scope.cancel()


async def _make_template(admin_conninfo: str, conninfo: str) -> None:
    connection = await TrioConnection.open(admin_conninfo, LIMITS)
    await connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER {postgres.DAEMON_ROLE}".encode())
    # Some tests write rows of one table without those that they refer to.
    if connection.info.server_version < 150_000:  # which cannot grant that alone
        await connection.execute(f"ALTER ROLE {postgres.DAEMON_ROLE} SUPERUSER".encode())
    else:
        await connection.execute(f"GRANT SET ON PARAMETER session_replication_role TO {postgres.DAEMON_ROLE}".encode())
    connection.pgconn.finish()
    connection = await TrioConnection.open(make_conninfo(conninfo, dbname=TEMPLATE), LIMITS)
    await migrate(connection)
    connection.pgconn.finish()
    connection = await TrioConnection.open(make_conninfo(admin_conninfo, dbname=TEMPLATE), LIMITS)
    await connection.execute(PRISTINE.encode(), prepare=False)
    connection.pgconn.finish()


def _wait_gone(pid: int) -> None:
    try:
        psutil.Process(pid).wait()
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    main(int(sys.argv[1]))
