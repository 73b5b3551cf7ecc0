"""Kind `sql`: the first cell of a query's answer is true. Airflow's SqlSensor, for Postgres.

Other databases need drivers of their own: their sensors run as real operators, with `connectors:` in leoflow.yaml.

The connection goes where the egress policy lets it, and says nothing to libpq but what is listed here: no other hosts,
files or services (ADR 24). A database of Leoflow's own is not asked, whatever way leads to it.

psycopg runs in threads here, not on Trio as in the daemon's store: these connections are short-lived and few, and the
target's budget in the pool bounds how many there are. All queries of a batch share one, which is closed then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import trio

from leoflow_sensors.blocking import run_blocking, time_left_s
from leoflow_sensors.egress_policy import endpoint
from leoflow_sensors.kinds import (
    KindSpec,
    Observation,
    ProbeContext,
    ProbeFailed,
    ProbeThrottled,
    SensorKind,
    TargetDown,
    Verdict,
)
from leoflow_sensors.refusals import by_real_package
from leoflowd.contract.connection import ConnectionFacts

if TYPE_CHECKING:
    import psycopg

LIMITER = trio.CapacityLimiter(32)
TIME_MAX_S = 60.0
"""For a batch, where the pool sets no deadline that is nearer."""
CONN_TYPES = frozenset({"postgres", "postgresql"})
PORT = 5432
NOT_FOR_LIBPQ = frozenset({"cursor", "sqlalchemy_scheme", "sqlalchemy_query"})
"""Extras that PostgresHook keeps to itself, and which mean nothing for one cell."""
FOR_LIBPQ = frozenset(
    {
        "sslmode", "ssl_min_protocol_version", "ssl_max_protocol_version", "channel_binding", "connect_timeout",
        "client_encoding", "options", "application_name", "keepalives", "keepalives_idle", "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "target_session_attrs",
    }
)  # fmt: skip
"""Extras that say how to talk. Everything else that libpq knows says where to, as whom, or names a file of ours."""
OPTIONS = re.compile(r"(\s*(-c\s*|--)[A-Za-z_][A-Za-z0-9_.-]*=([^\s\\]|\\.)*)*\s*")
OURS = {"passfile": "", "sslcertmode": "disable", "gssencmode": "disable"}
"""Not the daemon's own password file, certificate or ticket."""
NEEDS_AIRFLOW = frozenset({"iam", "redshift", "redshift-serverless"})
READ_ONLY = "-c default_transaction_read_only=on"


class SqlSpec(KindSpec, frozen=True, kw_only=True):
    sql: str
    """One query; a statement that writes is refused by the server."""
    parameters: dict[str, Any] | list[Any] | None = None
    """For `%(name)s` or `%s`; None: percent signs are percent signs."""
    database: str | None = None
    """None: the connection's schema."""


class SqlPredicate(KindSpec, frozen=True, kw_only=True):
    fail_on_empty: bool = False


async def poke(spec: SqlSpec, context: ProbeContext) -> Observation:
    (answer,) = await poke_many([spec], context)
    if isinstance(answer, Exception):
        raise answer
    return answer


async def poke_many(specs: Sequence[SqlSpec], context: ProbeContext) -> Sequence[Observation | Exception]:
    """Raises `TargetDown` when there is no connection, `ProbeFailed` when there can be none."""
    conninfo = conninfo_of(context.connection, specs[0].database)
    where = endpoint("postgres", conninfo["host"], conninfo["port"])
    addresses = await context.http.addresses(where)
    conninfo |= {
        "host": ",".join([where.host] * len(addresses)),
        "hostaddr": ",".join(addresses),
        "port": ",".join([str(where.port)] * len(addresses)),
    }
    left_s = time_left_s(TIME_MAX_S)
    return await run_blocking(lambda: _ask_all(conninfo, specs, left_s), LIMITER)


def conninfo_of(connection: ConnectionFacts | None, database: str | None) -> dict[str, Any]:
    """libpq's parameters, as PostgresHook makes them. Raises `ProbeFailed`."""
    if connection is None:
        raise ProbeFailed(
            "an SQL sensor needs a connection, and this one does not exist; create it, or correct conn_id"
        )
    extra = connection.extra_fields()
    special = [f"extra {name!r}" for name in sorted(NEEDS_AIRFLOW) if extra.get(name)]
    if connection.conn_type not in CONN_TYPES or special:
        has = ", ".join([f"type {connection.conn_type!r}", *special])
        raise ProbeFailed(
            f"connection {connection.connection_id!r} has {has}, and the daemon asks plain Postgres only; "
            + by_real_package("common.sql", "<your database's provider>")
        )
    own = {
        "host": connection.host,
        "port": connection.port or PORT,
        "user": connection.login,
        "password": connection.password,
        "dbname": database or connection.schema,
        "application_name": "leoflow sql sensor",
    }
    more = {name: value for name, value in extra.items() if name not in NOT_FOR_LIBPQ | NEEDS_AIRFLOW}
    _check_extra(connection, more)
    options = f"{more.get('options') or ''} {READ_ONLY}".strip()
    given = own | more | {"options": options}
    return OURS | {name: value for name, value in given.items() if value is not None or name == "host"}


def _check_extra(connection: ConnectionFacts, extra: dict[str, Any]) -> None:
    unknown = sorted(extra.keys() - FOR_LIBPQ)
    if unknown:
        raise ProbeFailed(
            f"the extra of connection {connection.connection_id!r} has {', '.join(map(repr, unknown))}, which the "
            f"daemon does not pass on to Postgres' client; it knows {', '.join(sorted(FOR_LIBPQ))}. "
            f"Remove it, or {by_real_package('common.sql', 'postgres')}"
        )
    if not OPTIONS.fullmatch(str(extra.get("options") or "")):
        raise ProbeFailed(
            f"the options in the extra of connection {connection.connection_id!r} may only set parameters: "
            "`-c name=value`"
        )


# --- in the thread -----------------------------------------------------------------------------------------------


def _ask_all(conninfo: dict[str, Any], specs: Sequence[SqlSpec], left_s: float) -> list[Observation | Exception]:
    import psycopg  # 12 MB that a daemon without SQL sensors elsewhere would not need in its sensors

    until = monotonic() + left_s
    try:
        # libpq counts whole seconds from 2 on.
        connection = psycopg.connect(**({"connect_timeout": max(2, int(left_s / 2))} | conninfo))
    except psycopg.ProgrammingError as error:
        raise ProbeFailed(f"the connection's extra is not understood by Postgres' client: {error}") from error
    except psycopg.Error as error:
        raise TargetDown(f"no connection to Postgres: {_one_line(error)}") from error
    with connection:
        _refuse_our_own(connection)
        return [_ask(connection, spec, until - monotonic()) for spec in specs]


def _refuse_our_own(connection: psycopg.Connection[Any]) -> None:
    """By what is in it, not by its address, of which it may have many."""
    import psycopg

    try:
        found = connection.execute(
            "SELECT count(DISTINCT relname) FROM pg_catalog.pg_class"
            " WHERE relkind = 'r' AND relname IN ('leadership', 'task_instance', 'schema_migration', 'setting')"
        ).fetchone()
        connection.rollback()
    except psycopg.Error as error:
        raise TargetDown(f"Postgres broke off: {_one_line(error)}") from error
    if found == (4,):
        raise ProbeFailed(
            "this is a database of Leoflow itself, which no sensor may ask; it holds this installation's keys"
        )


def _ask(connection: psycopg.Connection[Any], spec: SqlSpec, left_s: float) -> Observation | Exception:
    import psycopg

    if connection.closed:
        return TargetDown("Postgres closed the connection before this query was asked")
    if left_s <= 0:
        return ProbeThrottled("the queries before it on this connection took all the time of this probe")
    try:
        row = _first_row(connection, spec, left_s)
    except psycopg.errors.QueryCanceled:
        return ProbeThrottled(f"the query took longer than {left_s:.2g} s and was stopped; an index may help it")
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        return TargetDown(f"Postgres broke off: {_one_line(error)}")
    except (psycopg.Error, TypeError, ValueError) as error:  # the last two: parameters that do not fit their places
        return ProbeFailed(f"the query failed: {_one_line(error)}")
    if row is None:
        return Observation(value=None, summary="no rows")
    if not row:
        return ProbeFailed("the query's answer has no columns, so that there is no first cell")
    return Observation(value=bool(row[0]), summary=f"the first cell is {str(row[0])[:100]!r}")


def _first_row(connection: psycopg.Connection[Any], spec: SqlSpec, left_s: float) -> tuple[Any, ...] | None:
    """Through a cursor of the server's, so that `SELECT * FROM everything` costs one row."""
    import psycopg

    # Parameters are put in by the client, as psycopg 2 does it for Airflow: the server need not guess their types.
    bind = psycopg.ClientCursor(connection).mogrify
    with connection.transaction(force_rollback=True), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {int(left_s * 1000) + 1}")
        query = spec.sql if spec.parameters is None else bind(spec.sql, spec.parameters)
        cursor.execute(f"DECLARE leoflow NO SCROLL CURSOR FOR {query}")
        return cursor.execute("FETCH 1 FROM leoflow").fetchone()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


# --- the kind ----------------------------------------------------------------------------------------------------


def judge(predicate: SqlPredicate, observation: Observation) -> Verdict:
    """Raises `ProbeFailed` where SqlSensor raises for an empty answer."""
    if observation.value is None and predicate.fail_on_empty:
        raise ProbeFailed("No rows returned, raising as per fail_on_empty flag")
    return Verdict(met=bool(observation.value))


def target(_spec: SqlSpec, connection: ConnectionFacts | None) -> str:
    if connection is None:
        return "postgres://"
    return f"postgres://{connection.host or 'localhost'}:{connection.port or 5432}"


def describe(spec: SqlSpec) -> str:
    query = " ".join(spec.sql.split())
    return f"SQL {query if len(query) <= 120 else query[:119] + '…'}"


KIND: SensorKind[Any, Any] = SensorKind(
    name="sql",
    spec=SqlSpec,
    predicate=SqlPredicate,
    describe=describe,
    poke=poke,
    poke_many=poke_many,
    batch_key=lambda spec: spec.database or "",
    judge=judge,
    target=target,
)
