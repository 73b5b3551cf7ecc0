"""Lists as the API pages them: filters from a `.sql` file, order from a table of allowed columns, offset or cursor.

Called by the other `store.api_*` modules. A listing's `.sql` file holds the statements `columns` (the answer's keys),
`source` (FROM ...) and `filters` (conditions with AND between them; a NULL parameter switches one off, which is then
left out of the statement). Only names in `sortable` ever reach ORDER BY. NULLs come last in both
directions, as in Airflow.

A list of a large table has two more: `row_key`, a unique key of its rows, by which a page is chosen before anything
else of its rows is read; and `narrow`, its source with LEFT JOINs to primary keys, which Postgres leaves out where
neither filter nor order needs them.

Nothing here is prepared: of a prepared statement Postgres makes one plan for all values after a while, and no one plan
is right for a state that one row in a hundred has and one that nearly all have (ADR 92).

Things of DAGs are in a `DagListing`, whose file has a statement `visible` besides: nothing can be read of it before
`of(dags)` has said for which DAGs (ADR 32).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, LiteralString, cast

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from leoflowd.contract.errors import Invalid
from leoflowd.contract.values import checked_integer, checked_moment, checked_text
from leoflowd.core.rights import ALL_DAGS, Dags
from leoflowd.store.database import Connection, statements

Json = dict[str, Any]
"""One row, ready to be encoded: its keys are the keys of the answer."""

_VALUE_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "text": str,
    "uuid": str,
    "timestamptz": datetime,
    "int8": int,
    "float8": (int, float),
    "bool": bool,
}


_VALUE_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "text": lambda text: checked_text(text, "it", max_length=len(text), allow_empty=True),
    "uuid": uuid.UUID,
    "timestamptz": lambda moment: checked_moment(moment, "it"),
    "int8": lambda number: checked_integer(number, "it", least=-(2**63), most=2**63 - 1),
}


class Column(msgspec.Struct, frozen=True):
    """One thing a list may be ordered by."""

    expression: LiteralString
    type: LiteralString
    nullable: bool = False


class _Parts(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    sortable: Mapping[str, Column]
    key: tuple[str, ...]
    """Names (in `sortable`) that make the order total; added last."""

    def part(self, name: str) -> sql.SQL:
        return _sql_of(getattr(statements(self.file), name).decode())


class Listing(_Parts, frozen=True, kw_only=True):
    """What can be read: things that belong to no DAG, or those of the DAGs in `dags`."""

    dags: Dags = ALL_DAGS

    def filters(self, parameters: Mapping[str, Any]) -> sql.Composable:
        """Those that these parameters do not switch off."""
        asked = [one.text for one in _conditions(self.file) if one.is_on(parameters)]
        if self.dags.ids is not None:
            asked.append(self.part("visible"))
        return sql.SQL("\nAND ").join(asked) if asked else sql.SQL("true")

    @property
    def is_large(self) -> bool:
        return hasattr(statements(self.file), "row_key")

    def narrow(self, sorts: Sequence[_Sort] = ()) -> sql.SQL:
        """The source for what reads keys alone. Ordered by a column of a joined table it has to be the whole one:
        behind a LEFT JOIN, that table's index would be of no use."""
        if not self.is_large:
            return self.part("source")
        own = statements(self.file).row_key.decode()[:2]
        aliases = {alias for sort in sorts for alias in re.findall(r"\b[a-z]\.", sort.column.expression)}
        return self.part("narrow" if aliases <= {own} else "source")

    def page(
        self, wanted: sql.Composable, sorts: Sequence[_Sort], *, nulls_first: bool, offset: bool
    ) -> sql.Composable:
        """FROM and all that follows it: the rows that are `wanted`, in order, of one page."""
        order = _order(sorts, nulls_first=nulls_first)
        page = sql.SQL(" ORDER BY {} LIMIT %(limit)s" + (" OFFSET %(offset)s" if offset else "")).format(order)
        if not self.is_large:
            return sql.SQL("{} WHERE {}{}").format(self.part("source"), wanted, page)
        key = self.part("row_key")
        chosen = sql.SQL("SELECT {} {} WHERE {}{}").format(key, self.narrow(sorts), wanted, page)
        return sql.SQL("{} WHERE ({}) IN ({}) ORDER BY {}").format(self.part("source"), key, chosen, order)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {**given, "visible": self.dags.parameter()}


class DagListing(_Parts, frozen=True, kw_only=True):
    """Things of DAGs."""

    def of(self, dags: Dags) -> Listing:
        return Listing(file=self.file, sortable=self.sortable, key=self.key, dags=dags)


class _Condition(msgspec.Struct, frozen=True):
    """One of the `filters`. Without `switch` it always holds."""

    text: sql.SQL
    switch: str
    is_flag: bool

    def is_on(self, parameters: Mapping[str, Any]) -> bool:
        value = parameters[self.switch] if self.switch else True
        return bool(value) if self.is_flag else value is not None


_SWITCH = re.compile(r"\((?P<flag>NOT )?%\((?P<name>\w+)\)s::\w+(?:\[\])?(?(flag)| IS NULL) OR ")
_TOKEN = re.compile(r"[()]|\b(?:AND|OR)\b")


@cache
def _conditions(file: str) -> tuple[_Condition, ...]:
    text = re.sub(r"^--.*\n", "", statements(file).filters.decode(), flags=re.MULTILINE)
    found = []
    for one in _split(text):
        switch = _SWITCH.match(one)
        found.append(_Condition(_sql_of(one), switch["name"] if switch else "", bool(switch is None or switch["flag"])))
    return tuple(found)


def _split(text: str) -> list[str]:
    """At each AND that is in no parentheses. Raises `ValueError` for an OR that is in none: what begins with a switch
    there would not be switched off by it alone."""
    found, depth, begin = [], 0, 0
    for token in _TOKEN.finditer(text):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if token[0] == "OR" and depth == 0:
            raise ValueError(f"an OR stands in no parentheses: {text[begin:]}")
        if token[0] == "AND" and depth == 0:
            found.append(text[begin : token.start()].strip())
            begin = token.end()
    return [*found, text[begin:].strip()]


def _sql_of(text: Any) -> sql.SQL:
    # the text is ours, from queries/*.sql; LiteralString cannot follow it through a file
    return sql.SQL(cast(LiteralString, text))


class Cursor(msgspec.Struct, frozen=True):
    """A place in an ordered list: the sort values of the row to continue after, or before when `backward`."""

    values: tuple[Any, ...]
    backward: bool = False


class InvalidCursor(Invalid):
    def __init__(self) -> None:
        super().__init__("Invalid cursor token", location=("query", "cursor"))


class _Sort(msgspec.Struct, frozen=True):
    column: Column
    descending: bool

    def reversed(self) -> _Sort:
        return _Sort(self.column, not self.descending)


class CursorPage(msgspec.Struct, frozen=True):
    rows: list[Json]
    following: Cursor | None
    preceding: Cursor | None


async def list_page(
    conn: Connection,
    listing: Listing,
    parameters: Mapping[str, Any],
    *,
    order_by: Sequence[str],
    limit: int,
    offset: int,
) -> tuple[list[Json], int]:
    """(rows, how many there are in all). Raises `Invalid` for an order that is not offered."""
    sorts = _sorts(listing, order_by)
    rows = await _fetch(
        conn,
        sql.SQL("SELECT {columns} {page}").format(
            columns=listing.part("columns"),
            page=listing.page(listing.filters(parameters), sorts, nulls_first=False, offset=True),
        ),
        {**listing.parameters(parameters), "limit": limit, "offset": offset},
    )
    if len(rows) < limit and (rows or not offset):
        return rows, offset + len(rows)
    return rows, await count(conn, listing, parameters)


async def count(conn: Connection, listing: Listing, parameters: Mapping[str, Any]) -> int:
    statement = sql.SQL("SELECT count(*) AS n {source} WHERE {filters}").format(
        source=listing.narrow(), filters=listing.filters(parameters)
    )
    rows = await _fetch(conn, statement, listing.parameters(parameters))
    total: int = rows[0]["n"]
    return total


async def list_cursor_page(
    conn: Connection,
    listing: Listing,
    parameters: Mapping[str, Any],
    *,
    order_by: Sequence[str],
    limit: int,
    cursor: Cursor | None,
) -> CursorPage:
    """The rows after (or before) a place in the list; no OFFSET, so page 1,000 costs what page 1 costs."""
    sorts = _sorts(listing, order_by)
    backward = cursor is not None and cursor.backward
    walked = [sort.reversed() for sort in sorts] if backward else sorts
    values = _checked(walked, cursor)
    keys = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(sql.SQL(sort.column.expression), sql.Identifier(f"sort_{i}"))
        for i, sort in enumerate(sorts)
    )
    rows = await _fetch(
        conn,
        sql.SQL("SELECT {columns}, {keys} {page}").format(
            columns=listing.part("columns"),
            keys=keys,
            page=listing.page(
                sql.SQL("{} AND {}").format(listing.filters(parameters), _after(walked, values, nulls_first=backward)),
                walked,
                nulls_first=backward,
                offset=False,
            ),
        ),
        {
            **listing.parameters(parameters),
            "limit": limit + 1,
            **{f"after_{i}": value for i, value in enumerate(values)},
        },
    )
    has_more = len(rows) > limit
    del rows[limit:]
    if backward:
        rows.reverse()
    places = [tuple(_plain(row.pop(f"sort_{i}")) for i in range(len(sorts))) for row in rows]
    if not rows:
        return CursorPage(rows, None, None)
    return CursorPage(
        rows,
        following=Cursor(places[-1]) if has_more or backward else None,
        preceding=Cursor(places[0], backward=True) if (has_more if backward else cursor is not None) else None,
    )


async def fetch_row(conn: Connection, listing: Listing, parameters: Mapping[str, Any]) -> Json | None:
    """The one row that the filters leave."""
    rows = await _fetch(
        conn,
        sql.SQL("SELECT {columns} {source} WHERE {filters} LIMIT 1").format(
            columns=listing.part("columns"), source=listing.part("source"), filters=listing.filters(parameters)
        ),
        listing.parameters(parameters),
    )
    return rows[0] if rows else None


async def list_rows(conn: Connection, statement: bytes, **parameters: Any) -> list[Json]:
    """All rows of a named statement, as they go into the answer."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchall()


async def _fetch(conn: Connection, statement: sql.Composed, parameters: Mapping[str, Any]) -> list[Json]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, parameters, prepare=False)
        return await cursor.fetchall()


# --- order and place ---------------------------------------------------------------------------------------------


def _sorts(listing: Listing, order_by: Sequence[str]) -> list[_Sort]:
    sorts: dict[str, _Sort] = {}
    for name in order_by:
        bare = name.removeprefix("-")
        column = listing.sortable.get(bare)
        if column is None:
            raise Invalid(
                f"Ordering with '{bare}' is disallowed or the attribute does not exist on the model; "
                f"known: {', '.join(sorted(listing.sortable))}",
                location=("query", "order_by"),
            )
        sorts.setdefault(column.expression, _Sort(column, name.startswith("-")))
    # the key follows the direction of the first name, so that equal rows turn around with it
    descending = order_by[0].startswith("-") if order_by else False
    for bare in listing.key:
        column = listing.sortable[bare]
        sorts.setdefault(column.expression, _Sort(column, descending))
    return list(sorts.values())


def _order(sorts: Sequence[_Sort], *, nulls_first: bool) -> sql.Composable:
    # NULLS is left out where there can be none: an index in plain order serves only a plain ORDER BY
    nulls: dict[tuple[bool, bool], LiteralString] = {(True, True): " NULLS FIRST", (True, False): " NULLS LAST"}
    terms: list[sql.Composable] = [
        sql.SQL("{}{}{}").format(
            sql.SQL(sort.column.expression),
            sql.SQL(" DESC" if sort.descending else " ASC"),
            sql.SQL(nulls.get((sort.column.nullable, nulls_first), "")),
        )
        for sort in sorts
    ]
    return sql.SQL(", ").join(terms)


def _after(sorts: Sequence[_Sort], values: Sequence[Any], *, nulls_first: bool) -> sql.Composable:
    """Rows that come later in this order: (a > x) OR (a = x AND b > y) OR ..."""
    if not values:
        return sql.SQL("true")
    alternatives: list[sql.Composable] = []
    equal: list[sql.Composable] = []
    for i, (sort, value) in enumerate(zip(sorts, values, strict=True)):
        expression = sql.SQL(sort.column.expression)
        place = sql.SQL("{}::{}").format(sql.Placeholder(f"after_{i}"), sql.SQL(sort.column.type))
        later = _later(expression, place, sort, value, nulls_first=nulls_first)
        if later is not None:
            alternatives.append(sql.SQL("({})").format(sql.SQL(" AND ").join([*equal, later])))
        equal.append(sql.SQL("{} IS NOT DISTINCT FROM {}").format(expression, place))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(alternatives)) if alternatives else sql.SQL("false")


def _later(
    expression: sql.SQL, place: sql.Composed, sort: _Sort, value: Any, *, nulls_first: bool
) -> sql.Composable | None:
    if value is None:
        return sql.SQL("{} IS NOT NULL").format(expression) if nulls_first else None
    beyond = sql.SQL("{} {} {}").format(expression, sql.SQL("<" if sort.descending else ">"), place)
    if sort.column.nullable and not nulls_first:
        return sql.SQL("({} OR {} IS NULL)").format(beyond, expression)
    return beyond


def _checked(sorts: Sequence[_Sort], cursor: Cursor | None) -> tuple[Any, ...]:
    """The cursor's values; raises `InvalidCursor` for one that was made for another order, or by someone else."""
    if cursor is None:
        return ()
    if len(cursor.values) != len(sorts):
        raise InvalidCursor
    for sort, value in zip(sorts, cursor.values, strict=True):
        if not (_fits(sort.column.type, value) or (value is None and sort.column.nullable)):
            raise InvalidCursor
    return cursor.values


def _fits(kind: str, value: Any) -> bool:
    """Is it a value of this type that Postgres can compare with?"""
    check = _VALUE_CHECKS.get(kind)
    if not isinstance(value, _VALUE_TYPES[kind]) or (kind == "int8" and isinstance(value, bool)):
        return False
    try:
        if check is not None:
            check(value)
    except (Invalid, ValueError):
        return False
    return True


def _plain(value: Any) -> Any:
    """What a cursor token can carry."""
    return value if value is None or isinstance(value, (str, int, float, datetime)) else str(value)
