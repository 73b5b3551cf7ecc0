"""Questions to people: asked with the scheduler's moves, answered by the API, settled for the cheap-task pool (ADR 41).

What is read for people is in `store.api_hitl_details`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from leoflowd.contract.human import HUMAN_KIND, Answer, Person, Question
from leoflowd.contract.values import shown
from leoflowd.contract.waits import NewWait
from leoflowd.core.human import default_input
from leoflowd.store.database import Connection, execute, fetch_all, fetch_one, fetch_value, statements

_SQL = statements("hitl_details")


class LockedQuestion(msgspec.Struct, frozen=True):
    """The question of a task instance's present try, and whether it can still be answered."""

    wait_id: str
    options: tuple[str, ...]
    multiple: bool
    params: dict[str, Any]
    assigned_users: tuple[Person, ...]
    is_answered: bool
    is_open: bool
    """The instance still waits for it, and its time has not passed."""
    state: str | None


class Settled(msgspec.Struct, frozen=True):
    """A question that is over while its task still waits. `answer` None: nobody answered in time."""

    wait_id: str
    answer: Answer | None


async def ask(conn: Connection, waits: Sequence[NewWait]) -> None:
    """In the transaction that moves the instances, after their waits; those of other kinds ask nobody."""
    asking = [wait for wait in waits if wait.spec.probe.kind == HUMAN_KIND]
    if not asking:
        return
    questions = [msgspec.convert(wait.spec.probe.arguments, Question) for wait in asking]
    await conn.execute(
        _SQL.ask,
        {
            "ids": [wait.id for wait in asking],
            "subjects": [_text(q.subject) for q in questions],
            "bodies": [None if q.body is None else _text(q.body) for q in questions],
            "options": [_json(q.options) for q in questions],
            "defaults": [None if q.defaults is None else _json(q.defaults) for q in questions],
            "multiples": [q.multiple for q in questions],
            "params": [_json(q.params) for q in questions],
            "assigned": [_json(q.assigned_users) for q in questions],
        },
    )


class _QuestionRow(msgspec.Struct, frozen=True):
    wait_id: str | None
    options: str | None
    multiple: bool | None
    params: str | None
    assigned_users: str | None
    responded_at: datetime | None
    closed_at: datetime | None
    state: str | None
    is_open: bool | None


async def lock_question(
    conn: Connection, *, dag_id: str, run_id: str, task_id: str, map_index: int
) -> LockedQuestion | None:
    """None: there is no such instance, or its present try asks nothing. The instance cannot move before the commit."""
    row = await fetch_one(
        conn, _SQL.lock_question, _QuestionRow, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index
    )
    if row is None or row.wait_id is None:
        return None
    return LockedQuestion(
        wait_id=row.wait_id,
        options=msgspec.json.decode(row.options or "[]", type=tuple[str, ...]),
        multiple=bool(row.multiple),
        params=msgspec.json.decode(row.params or "{}"),
        assigned_users=msgspec.json.decode(row.assigned_users or "[]", type=tuple[Person, ...]),
        is_answered=row.responded_at is not None,
        is_open=bool(row.is_open) and row.closed_at is None,
        state=row.state,
    )


async def answer(conn: Connection, wait_id: str, given: Answer) -> bool:
    """False: somebody was faster, or its time has passed."""
    who = given.responded_by
    return bool(
        await execute(
            conn,
            _SQL.answer,
            wait_id=wait_id,
            responded_at=given.responded_at,
            user_id=None if who is None else who.id,
            user_name=None if who is None else who.name,
            chosen_options=_json(given.chosen_options),
            params_input=_json(given.params_input),
        )
    )


class _OverdueRow(msgspec.Struct, frozen=True):
    wait_id: str
    defaults: str | None
    params: str


async def settle_overdue(conn: Connection, now: datetime) -> None:
    """Take the defaults of questions that nobody answered in time, or close them. An answer that came first stays."""
    for row in await fetch_all(conn, _SQL.list_overdue, _OverdueRow, now=now):
        if row.defaults is None:
            await execute(conn, _SQL.close, wait_id=row.wait_id, now=now)
            continue
        chosen = msgspec.json.decode(row.defaults, type=tuple[str, ...])
        entered = default_input(msgspec.json.decode(row.params))
        await answer(conn, row.wait_id, Answer(chosen_options=chosen, params_input=entered, responded_at=now))


class _SettledRow(msgspec.Struct, frozen=True):
    wait_id: str
    chosen_options: str | None
    params_input: str
    responded_at: datetime | None
    responded_by_id: str | None
    responded_by_name: str | None


async def list_settled(conn: Connection) -> tuple[Settled, ...]:
    """What the waits of these questions are to be told, of all that still wait."""
    return tuple(map(_settled, await fetch_all(conn, _SQL.list_settled, _SettledRow)))


def _settled(row: _SettledRow) -> Settled:
    if row.responded_at is None or row.chosen_options is None:
        return Settled(row.wait_id, None)
    who = None
    if row.responded_by_id is not None and row.responded_by_name is not None:
        who = Person(id=row.responded_by_id, name=row.responded_by_name)
    chosen = msgspec.json.decode(row.chosen_options, type=tuple[str, ...])
    entered = msgspec.json.decode(row.params_input)
    answered = Answer(chosen_options=chosen, params_input=entered, responded_at=row.responded_at, responded_by=who)
    return Settled(row.wait_id, answered)


async def fetch_next_deadline(conn: Connection) -> datetime | None:
    """Of the open questions; None: none has one."""
    found: datetime | None = await fetch_value(conn, _SQL.fetch_next_deadline)
    return found


def _text(text: str) -> str:
    """Whole: what cannot be stored is written out."""
    return shown(text, 6 * len(text))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
