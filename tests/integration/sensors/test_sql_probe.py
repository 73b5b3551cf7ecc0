"""The first cell of a query, asked of a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict

from leoflow_sensors.kinds import Observation, ProbeFailed, ProbeThrottled, TargetDown, Verdict
from leoflow_sensors.sql import KIND, SqlPredicate, SqlSpec, _ask, conninfo_of, judge, poke, poke_many
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.store.database import Database
from tests.conftest import PATIENCE_S
from tests.fakes.probe_context import Context, connection
from tests.fakes.silent_proxy import silent_proxy


def facts(conninfo: str, *, extra: dict[str, Any] | None = None, **changes: Any) -> ConnectionFacts:
    given = conninfo_to_dict(conninfo)
    fields = {
        "host": given["host"],
        "port": int(given["port"]) if given.get("port") else None,
        "login": given.get("user"),
        "password": given.get("password"),
        "schema": given["dbname"],
    }
    return connection("postgres", extra=extra, **(fields | changes))


@pytest.fixture
async def tcp_conninfo(postgres_conninfo: str) -> AsyncIterator[str]:
    """The session's server, whose own socket is a Unix one, behind a TCP port."""
    async with silent_proxy(postgres_conninfo) as proxy:
        yield proxy.conninfo


@pytest.fixture
def context(tcp_conninfo: str) -> Context:
    return Context(facts(tcp_conninfo))


async def ask(context: Context, sql: str, parameters: Any = None) -> Observation:
    return await poke(SqlSpec(sql=sql, parameters=parameters), context)


# --- what is true ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "truth"),
    [
        ("1", True),
        ("0", False),
        ("0.00::numeric", False),
        ("'x'", True),
        ("''", False),
        ("'0'", True),
        ("NULL", False),
        ("false", False),
        ("now()", True),
        ("'{}'::jsonb", False),
    ],
)
async def test_a_cell_is_as_true_as_python_finds_it(context: Context, cell: str, truth: bool) -> None:
    assert (await ask(context, f"SELECT {cell}")).value is truth


async def test_only_the_first_cell_of_the_first_row_counts(context: Context) -> None:
    assert (await ask(context, "SELECT * FROM (VALUES (0, 1), (1, 1)) v")).value is False


async def test_a_query_may_end_in_a_semicolon(context: Context) -> None:
    assert (await ask(context, "SELECT 1;")).value is True


async def test_of_a_huge_answer_one_row_is_fetched(context: Context) -> None:
    assert (
        await ask(context, "SELECT 1 FROM generate_series(1, 100000) a, generate_series(1, 100000) b")
    ).value is True


async def test_no_row_is_not_yet(context: Context) -> None:
    seen = await ask(context, "SELECT 1 WHERE false")
    assert judge(SqlPredicate(), seen) == Verdict(met=False)


async def test_no_row_fails_those_who_say_so(context: Context) -> None:
    seen = await ask(context, "SELECT 1 WHERE false")
    with pytest.raises(ProbeFailed, match="No rows returned"):
        judge(SqlPredicate(fail_on_empty=True), seen)


async def test_an_untrue_cell_does_not_fail_those_who_say_so(context: Context) -> None:
    assert judge(SqlPredicate(fail_on_empty=True), await ask(context, "SELECT 0")) == Verdict(met=False)


# --- parameters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [[41], {"n": 41}])
async def test_parameters_are_filled_in(context: Context, parameters: Any) -> None:
    place = "%s" if isinstance(parameters, list) else "%(n)s"
    assert (await ask(context, f"SELECT {place} + 1 = 42", parameters)).value is True


async def test_a_parameter_is_a_value_and_no_sql(context: Context) -> None:
    assert (await ask(context, "SELECT %s = 'x''; DROP TABLE t; --'", ["x'; DROP TABLE t; --"])).value is True


async def test_without_parameters_a_percent_sign_is_one(context: Context) -> None:
    assert (await ask(context, "SELECT 'abc' LIKE 'a%'")).value is True


async def test_parameters_that_do_not_fit_are_an_error(context: Context) -> None:
    with pytest.raises(ProbeFailed, match="the query failed"):
        await ask(context, "SELECT %s, %s", [1])


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t ()",
        "SELECT lo_create(0)",
        "SELECT pg_notify('x', 'y'), nextval('nope')",
        "SELEKT 1",
        "",
        "SELECT",
    ],
)
async def test_what_is_no_question_is_an_error(context: Context, sql: str) -> None:
    with pytest.raises(ProbeFailed):
        await ask(context, sql)


async def test_a_query_that_writes_is_told_so(context: Context) -> None:
    with pytest.raises(ProbeFailed, match="read-only transaction"):
        await ask(context, "SELECT lo_create(0)")


def test_a_query_that_takes_too_long_is_stopped_and_fails_nobody(postgres_conninfo: str) -> None:
    with psycopg.connect(postgres_conninfo) as conn:
        answer = _ask(conn, SqlSpec(sql="SELECT pg_sleep(50)"), 0.05)
    assert isinstance(answer, ProbeThrottled)
    assert str(answer) == "the query took longer than 0.05 s and was stopped; an index may help it"


def test_queries_for_which_no_time_is_left_are_asked_later(postgres_conninfo: str) -> None:
    with psycopg.connect(postgres_conninfo) as conn:
        answer = _ask(conn, SqlSpec(sql="SELECT 1"), -0.1)
    assert isinstance(answer, ProbeThrottled)


# --- batches -----------------------------------------------------------------------------------------------------


async def test_a_batch_is_one_connection(context: Context) -> None:
    found = await poke_many([SqlSpec(sql="SELECT pg_backend_pid()") for _ in range(5)], context)
    assert len({one.summary for one in found if isinstance(one, Observation)}) == 1


async def test_a_query_that_fails_leaves_the_others_alone(context: Context) -> None:
    found = await poke_many([SqlSpec(sql=sql) for sql in ("SELECT 1", "SELECT 1/0", "SELECT 0")], context)
    assert isinstance(found[1], ProbeFailed)
    assert [one.value for one in found if isinstance(one, Observation)] == [True, False]


async def test_a_server_that_breaks_off_is_down_for_the_rest(context: Context) -> None:
    sql = ("SELECT 1", "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(50)", "SELECT 1")
    found = await poke_many([SqlSpec(sql=one) for one in sql], context)
    assert [type(one) for one in found] == [Observation, TargetDown, TargetDown]


async def test_nothing_stays_connected(context: Context, postgres_conninfo: str) -> None:
    seen = await ask(context, "SELECT pg_backend_pid()")
    pid = int(seen.summary.rpartition(" ")[2].strip("'"))
    with trio.fail_after(PATIENCE_S):
        while await _is_connected(postgres_conninfo, pid):  # the server ends a session after its client left
            await trio.lowlevel.checkpoint()


async def _is_connected(conninfo: str, pid: int) -> bool:
    def look() -> bool:
        with psycopg.connect(conninfo) as conn:
            return conn.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is not None

    return await trio.to_thread.run_sync(look)


def test_queries_for_one_database_go_together() -> None:
    assert KIND.batch_key is not None
    keys = {KIND.batch_key(SqlSpec(sql="SELECT 1", database=name)) for name in (None, "a", "b", "a")}
    assert len(keys) == 3


# --- connections -------------------------------------------------------------------------------------------------


async def test_the_database_of_the_sensor_goes_before_the_connections(tcp_conninfo: str) -> None:
    spec = SqlSpec(sql="SELECT current_database() = 'postgres'", database="postgres")
    assert (await poke(spec, Context(facts(tcp_conninfo)))).value is True


async def test_options_of_the_connection_hold_beside_ours(tcp_conninfo: str) -> None:
    context = Context(facts(tcp_conninfo, extra={"options": "-c search_path=mart", "cursor": "dictcursor"}))
    sql = "SELECT current_setting('search_path') = 'mart' AND current_setting('default_transaction_read_only') = 'on'"
    assert (await ask(context, sql)).value is True


async def test_a_server_that_is_not_there_is_down() -> None:
    with pytest.raises(TargetDown, match="no connection to Postgres"):
        await ask(Context(connection("postgres", host="127.0.0.1", port=1)), "SELECT 1")


async def test_an_extra_that_the_client_does_not_know_is_an_error(tcp_conninfo: str) -> None:
    with pytest.raises(ProbeFailed, match="has 'colour', which the daemon does not pass on"):
        await ask(Context(facts(tcp_conninfo, extra={"colour": "blue"})), "SELECT 1")


@pytest.mark.parametrize(
    ("conn_type", "extra", "has"),
    [("mysql", None, "type 'mysql'"), ("postgres", {"iam": True}, "type 'postgres', extra 'iam'")],
)
def test_what_is_no_plain_postgres_is_told_where_it_can_run(conn_type: str, extra: Any, has: str) -> None:
    with pytest.raises(ProbeFailed, match=rf"connection 'its_{conn_type}' has {has}.*`connectors: \[common.sql"):
        conninfo_of(connection(conn_type, extra=extra), None)


async def test_our_own_database_is_not_asked_whatever_way_leads_there(database: Database) -> None:
    """A state's reason once showed the key that signs our tokens."""
    async with silent_proxy(database.conninfo) as proxy:
        with pytest.raises(ProbeFailed, match="database of Leoflow itself"):
            await ask(Context(facts(proxy.conninfo)), "SELECT value FROM setting")


async def test_without_a_connection_nothing_is_asked() -> None:
    with pytest.raises(ProbeFailed, match="needs a connection"):
        await ask(Context(), "SELECT 1")


def test_the_budget_is_the_servers() -> None:
    assert KIND.target is not None
    assert KIND.target(SqlSpec(sql=""), connection("postgres", host="db", port=5433)) == "postgres://db:5433"


def test_a_wait_says_what_it_waits_for() -> None:
    assert KIND.describe(SqlSpec(sql="SELECT 1\n  FROM t")) == "SQL SELECT 1 FROM t"
    assert len(KIND.describe(SqlSpec(sql="x" * 500))) == 124


def test_parameters_are_a_mapping_or_a_list() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"sql": "SELECT 1", "parameters": "x"}, SqlSpec)
