"""The history of an installation as Postgres itself writes it: each change of a row, by trigger, in its transaction.

`install` it into a database that is there to be watched (crash suite, chaos), never into one that people use: it
doubles the writes. `read_history` gives `leoflowd.core.history` what it judges.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import psycopg

from leoflowd.contract.states import DagRunState, TaskInstanceState
from leoflowd.core.history import (
    Change,
    DagLimit,
    History,
    InstanceChange,
    InstanceRow,
    PoolLimit,
    RunChange,
    RunRow,
    Started,
    XComWritten,
)

WATCHED = {
    "task_instance": "INSERT OR UPDATE OR DELETE",
    "dag_run": "INSERT OR UPDATE OR DELETE",
    "xcom": "INSERT OR UPDATE",
    "leadership": "UPDATE",
}
INSTALL = """
CREATE TABLE history_log (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    source text NOT NULL,
    writer text NOT NULL DEFAULT current_setting('application_name'),
    before jsonb,
    after jsonb
);
GRANT ALL ON history_log TO PUBLIC;
CREATE FUNCTION write_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_log (source, before, after)
    VALUES (TG_TABLE_NAME, CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
            CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    RETURN NULL;
END $$;
"""


def install(conninfo: str) -> None:
    """Once for a database; from then on its history is written."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(INSTALL)
        for table, events in WATCHED.items():
            connection.execute(
                psycopg.sql.SQL(
                    "CREATE TRIGGER history AFTER {} ON {} FOR EACH ROW EXECUTE FUNCTION write_history()"
                ).format(psycopg.sql.SQL(events), psycopg.sql.Identifier(table))
            )


def read_history(conninfo: str, *, started: Sequence[Started], unfinished: Collection[int] = ()) -> History:
    """All of it, with the limits that hold now."""
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "SELECT transaction::text::bigint, source, before, after FROM history_log WHERE source <> 'leadership'"
            " ORDER BY position"
        ).fetchall()
        pools = connection.execute("SELECT name, slots, include_deferred FROM pool").fetchall()
        dags = connection.execute("SELECT dag_id, max_active_runs, max_active_tasks FROM dag").fetchall()
    return History(
        changes=[_change(*row) for row in rows],
        started=started,
        pools={name: PoolLimit(slots, include_deferred) for name, slots, include_deferred in pools},
        dags={dag_id: DagLimit(runs, tasks) for dag_id, runs, tasks in dags},
        unfinished=unfinished,
    )


def strangers(conninfo: str) -> list[str]:
    """Moves of task instances and dag runs that were written by a daemon which did not lead, as one that was frozen
    while it led might. Each daemon's conninfo has an `application_name` of its own; nobody moved anything by hand."""
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "SELECT source, writer, coalesce(after ->> 'task_id', after ->> 'run_id'),"
            " after ->> 'state' FROM history_log WHERE before IS NOT NULL AND after IS NOT NULL AND (source ="
            " 'leadership' OR before ->> 'state' IS DISTINCT FROM after ->> 'state') ORDER BY position"
        ).fetchall()
    leader, found = "", []
    for source, writer, what, state in rows:
        if source == "leadership":
            leader = writer
        elif leader and writer != leader:  # before its first word nobody is known
            found.append(f"{writer} moved {source} {what} to {state} while {leader} led")
    return found


def _change(transaction: int, source: str, before: Any, after: Any) -> Change:
    match source:
        case "task_instance":
            return InstanceChange(transaction=transaction, before=_instance(before), after=_instance(after))
        case "dag_run":
            return RunChange(transaction=transaction, before=_run(before), after=_run(after))
        case _:
            key = (after["dag_run_id"], after["task_id"], after["map_index"])
            return XComWritten(transaction=transaction, key=key, name=after["key"])


def _instance(row: Any) -> InstanceRow | None:
    if row is None:
        return None
    return InstanceRow(
        dag_run_id=row["dag_run_id"],
        task_id=row["task_id"],
        map_index=row["map_index"],
        id=row["id"],
        state=TaskInstanceState(row["state"] or "none"),
        try_number=row["try_number"],
        pool=row["pool"],
        pool_slots=row["pool_slots"],
    )


def _run(row: Any) -> RunRow | None:
    if row is None:
        return None
    return RunRow(id=row["id"], dag_id=row["dag_id"], state=DagRunState(row["state"]), revision=row["revision"])
