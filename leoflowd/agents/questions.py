"""What a running task may ask the daemon for: a connection, a variable, a dag run of another DAG, states.

Called by `try_session`, which owns the stream. Every question is answered for a try that is current at that moment, or
for a callback that has not ended, no other; what cannot be done is a sentence in the answer, which the runner raises
inside the task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from leoflowd.contract import agent_messages as m
from leoflowd.contract.connection import ConnectionFacts
from leoflowd.contract.errors import Conflict, Invalid, NotFound
from leoflowd.contract.states import TriggeredBy
from leoflowd.contract.values import parsed_json, shown
from leoflowd.contract.variable import VariableFacts, checked_variable
from leoflowd.store import (
    api_dags,
    api_task_instances,
    asked_runs,
    asset_events,
    assets,
    callbacks,
    dag_runs,
    task_instances,
    tries,
)
from leoflowd.store.asked_runs import AskedRun, CannotRun
from leoflowd.store.counts import count_states, list_states
from leoflowd.store.database import Connection, Database
from leoflowd.store.event_log import insert_event
from leoflowd.store.tries import TryRow

Question = (
    m.ConnectionAsk
    | m.VariableAsk
    | m.VariableWrite
    | m.DagRunAsk
    | m.CountsAsk
    | m.DagAsk
    | m.AssetEventsAsk
    | m.StatesAsk
    | m.PreviousInstanceAsk
)
Answer = (
    m.ConnectionAnswer
    | m.VariableAnswer
    | m.DagRunAnswer
    | m.CountsAnswer
    | m.DagAnswer
    | m.AssetEventsAnswer
    | m.StatesAnswer
    | m.PreviousInstance
)
STATES_MAX = 20_000
"""Two full runs of ten thousand mapped instances; all that a DAG ever ran would hold up the daemon."""
STALE = "this try is no longer current"


class Connections(Protocol):
    """`store.connections.ConnectionBook` in the daemon."""

    async def fetch(self, connection_id: str) -> ConnectionFacts | None:
        """None: there is none. Raises ValueError with a sentence when it cannot be read."""


class NoConnections:
    """Where none are stored: every id is unknown."""

    async def fetch(self, connection_id: str) -> ConnectionFacts | None:
        return None


class Variables(Protocol):
    """`store.variables.VariableBook` in the daemon."""

    async def fetch(self, key: str) -> str | None:
        """None: there is none. Raises ValueError with a sentence when it cannot be read."""

    async def write(self, conn: Connection, facts: VariableFacts, now: datetime) -> None:
        """Raises `Conflict` with a sentence when there is no key to encrypt it with."""

    async def delete(self, conn: Connection, key: str) -> None: ...


class NoVariables:
    """Where none are stored."""

    async def fetch(self, key: str) -> str | None:
        return None

    async def write(self, conn: Connection, facts: VariableFacts, now: datetime) -> None:
        raise Conflict("this server stores no variables")

    async def delete(self, conn: Connection, key: str) -> None:
        """There is none."""


class Questions:
    def __init__(
        self, db: Database, connections: Connections, variables: Variables, now: Callable[[], datetime]
    ) -> None:
        self._db = db
        self._connections = connections
        self._variables = variables
        self._now = now

    async def answer(self, row: TryRow, question: Question) -> Answer:
        match question:
            case m.ConnectionAsk():
                return await self._connection(row, question)
            case m.VariableAsk():
                return await self._variable(row, question)
            case m.VariableWrite():
                return await self._write_variable(row, question)
            case m.DagRunAsk():
                return await self._dag_run(row, question)
            case m.DagAsk():
                return await self._dag(question)
            case m.CountsAsk():
                return await self._counts(question)
            case m.AssetEventsAsk():
                return await self._asset_events(row, question)
            case m.StatesAsk():
                return await self._states(question)
            case m.PreviousInstanceAsk():
                return await self._previous_instance(row, question)

    async def _connection(self, row: TryRow, ask: m.ConnectionAsk) -> m.ConnectionAnswer:
        async with self._db.agents.connection() as conn:
            is_current = await _is_current(conn, row)
        if not is_current:
            return m.ConnectionAnswer(request_id=ask.request_id, refused=STALE)
        try:
            found = await self._connections.fetch(ask.connection_id)
        except ValueError as error:
            return m.ConnectionAnswer(request_id=ask.request_id, refused=str(error))
        return m.ConnectionAnswer(request_id=ask.request_id, connection=found)

    async def _variable(self, row: TryRow, ask: m.VariableAsk) -> m.VariableAnswer:
        async with self._db.agents.connection() as conn:
            is_current = await _is_current(conn, row)
        if not is_current:
            return m.VariableAnswer(request_id=ask.request_id, refused=STALE)
        try:
            return m.VariableAnswer(request_id=ask.request_id, value=await self._variables.fetch(ask.key))
        except ValueError as error:
            return m.VariableAnswer(request_id=ask.request_id, refused=str(error))

    async def _write_variable(self, row: TryRow, ask: m.VariableWrite) -> m.VariableAnswer:
        """Doing it twice is doing it once: the same question comes again when an answer was lost."""
        try:
            async with self._db.agents.transaction() as conn:
                if not await _is_current(conn, row):
                    return m.VariableAnswer(request_id=ask.request_id, refused=STALE)
                await self._put_or_delete(conn, row, ask)
        except (Conflict, Invalid) as error:
            return m.VariableAnswer(request_id=ask.request_id, refused=shown(str(error)))
        return m.VariableAnswer(request_id=ask.request_id, value=ask.value)

    async def _put_or_delete(self, conn: Connection, row: TryRow, ask: m.VariableWrite) -> None:
        now = self._now()
        if ask.value is None:
            await self._variables.delete(conn, ask.key)
        else:
            facts = VariableFacts(key=ask.key, value=ask.value, description=ask.description)
            await self._variables.write(conn, checked_variable(facts), now)
        await insert_event(
            conn,
            now=now,
            event="delete_variable" if ask.value is None else "put_variable",
            owner=None,
            dag_id=row.dag_id,
            run_id=row.run_id,
            task_id=row.task_id or None,
            map_index=row.map_index,
            extra={"key": ask.key},
        )

    async def _dag_run(self, row: TryRow, ask: m.DagRunAsk) -> m.DagRunAnswer:
        try:
            async with self._db.agents.transaction() as conn:
                return await self._create_or_clear(conn, row, ask)
        except Conflict:
            return await self._dag_run(row, ask)  # somebody made it since we looked: this time it is seen
        except (NotFound, CannotRun, Invalid) as error:
            return m.DagRunAnswer(request_id=ask.request_id, refused=shown(str(error)))

    async def _create_or_clear(self, conn: Connection, row: TryRow, ask: m.DagRunAsk) -> m.DagRunAnswer:
        if not await _is_current(conn, row):
            return m.DagRunAnswer(request_id=ask.request_id, refused=STALE)
        given = await asked_runs.fetch_run_asked_by(
            conn, row.id, request_id=ask.request_id, dag_id=ask.dag_id, run_id=ask.run_id
        )
        if given is not None:
            # The daemon went away between commit and answer, or the agent's stream broke: the same question again.
            return m.DagRunAnswer(request_id=ask.request_id, run_id=given)
        existing = await asked_runs.fetch_existing_run(
            conn, ask.dag_id, run_id=ask.run_id, logical_date=ask.logical_date
        )
        if existing is None:
            run_id = await self._create(conn, row, ask)
        elif ask.reset:
            run_id = existing.run_id
            await self._clear(conn, row, ask.dag_id, existing)
        else:
            return m.DagRunAnswer(request_id=ask.request_id, run_id=existing.run_id, exists=True)
        await asked_runs.record_asked_by(
            conn, row, request_id=ask.request_id, dag_id=ask.dag_id, run_id=run_id, now=self._now()
        )
        return m.DagRunAnswer(request_id=ask.request_id, run_id=run_id)

    async def _create(self, conn: Connection, row: TryRow, ask: m.DagRunAsk) -> str:
        parent = await dag_runs.fetch_dag_run(conn, row.dag_id, row.run_id)
        now = self._now()
        asked = AskedRun(
            dag_id=ask.dag_id,
            run_id=ask.run_id,
            unique=hashlib.sha256(f"{row.id}:{ask.request_id}".encode()).hexdigest()[:8],
            logical_date=ask.logical_date,
            run_after=ask.run_after or now,
            conf=_conf(ask.conf),
            note=ask.note,
            triggered_by=TriggeredBy.OPERATOR,
            triggering_user_name=parent.triggering_user_name,
        )
        return await asked_runs.insert_asked_run(conn, asked, now)

    async def _clear(self, conn: Connection, row: TryRow, dag_id: str, run: asked_runs.ExistingRun) -> None:
        await asked_runs.fetch_runnable_version(conn, dag_id)
        await dag_runs.lock_dag_run(conn, dag_id, run.run_id)
        states = await api_task_instances.list_states(conn, [run.id])
        await task_instances.clear_instances(
            conn,
            run.id,
            [(state.task_id, state.map_index) for state in states],
            now=self._now(),
            because=f"cleared by task {row.task_id!r} of dag run {row.run_id!r} of DAG {row.dag_id!r} (reset_dag_run)",
            reset_dag_run=True,
        )

    async def _dag(self, ask: m.DagAsk) -> m.DagAnswer:
        try:
            async with self._db.agents.connection() as conn:
                dag = await api_dags.fetch_dag(conn, ask.dag_id)
        except NotFound as error:
            return m.DagAnswer(request_id=ask.request_id, refused=str(error))
        return m.DagAnswer(
            request_id=ask.request_id,
            is_paused=dag["is_paused"],
            owners=tuple(dag["owners"]),
            tags=tuple(tag["name"] for tag in dag["tags"]),
        )

    async def _counts(self, ask: m.CountsAsk) -> m.CountsAnswer:
        async with self._db.agents.connection() as conn:
            return m.CountsAnswer(request_id=ask.request_id, count=await count_states(conn, ask))

    async def _asset_events(self, row: TryRow, ask: m.AssetEventsAsk) -> m.AssetEventsAnswer:
        async with self._db.agents.connection() as conn:
            if ask.triggering:
                events = await asset_events.list_triggering_events(conn, row.dag_run_id)
                return m.AssetEventsAnswer(request_id=ask.request_id, events=events)
            events = await asset_events.list_asked_events(conn, ask)
            asset = await assets.fetch_active(conn, name=ask.name, uri=ask.uri)
        return m.AssetEventsAnswer(request_id=ask.request_id, events=events, asset=asset)

    async def _states(self, ask: m.StatesAsk) -> m.StatesAnswer:
        async with self._db.agents.connection() as conn:
            states = await list_states(conn, ask, most=STATES_MAX)
        if states is None:
            because = f"these are more than {STATES_MAX} task instances; name runs, tasks or a map index"
            return m.StatesAnswer(request_id=ask.request_id, refused=because)
        return m.StatesAnswer(request_id=ask.request_id, states=states)

    async def _previous_instance(self, row: TryRow, ask: m.PreviousInstanceAsk) -> m.PreviousInstance:
        async with self._db.agents.connection() as conn:
            found = await tries.fetch_previous_instance(conn, row, ask)
        return m.PreviousInstance(request_id=ask.request_id, instance=found)


def _conf(text: str) -> dict[str, Any]:
    conf = parsed_json(text, "conf")
    if not isinstance(conf, dict):
        raise Invalid("conf is no JSON object")
    return conf


async def _is_current(conn: Connection, row: TryRow) -> bool:
    found = await callbacks.fetch_any_try(conn, str(row.id))
    return found is not None and found.live
