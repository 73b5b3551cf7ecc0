"""States of task instances and dag runs, one by one or counted: what tasks, their sensors and triggers ask."""

from __future__ import annotations

from collections.abc import Iterator

from leoflowd.contract.agent_messages import CountsAsk, StatesAsk
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.errors import NotFound
from leoflowd.store.dags import fetch_version
from leoflowd.store.database import Connection
from leoflowd.store.tries import count_instances, count_runs, list_instance_states


async def count_states(conn: Connection, ask: CountsAsk) -> int:
    """Of dag runs when neither tasks nor a group are named."""
    if ask.task_ids is None and ask.task_group_id is None:
        return await count_runs(conn, ask)
    return await count_instances(conn, ask, await _task_ids(conn, ask))


async def list_states(conn: Connection, ask: StatesAsk, *, most: int) -> dict[str, dict[str, str | None]] | None:
    """As `StatesAnswer.states`; None when these are more than `most`."""
    rows = await list_instance_states(conn, ask, await _task_ids(conn, ask), limit=most + 1)
    if len(rows) > most:
        return None
    states: dict[str, dict[str, str | None]] = {}
    for row in rows:
        name = row.task_id if row.map_index < 0 else f"{row.task_id}_{row.map_index}"
        states.setdefault(row.run_id, {})[name] = row.state
    return states


async def _task_ids(conn: Connection, ask: CountsAsk | StatesAsk) -> tuple[str, ...]:
    """Tasks named, and those of the group; a group that there is not counts as a task of its name, as in Airflow."""
    named = ask.task_ids or ()
    if ask.task_group_id is None:
        return named
    try:
        version = await fetch_version(conn, ask.dag_id)
    except NotFound:
        return named
    return (*named, *(tuple(_tasks_of_group(version.spec, ask.task_group_id)) or (ask.task_group_id,)))


def _tasks_of_group(spec: DagSpec, group_id: str) -> Iterator[str]:
    """Tasks in the group or in a group inside it."""
    parents = {group.group_id: group.parent_group_id for group in spec.groups}
    for task in spec.tasks:
        around = task.group_id
        while around is not None and around != group_id:
            around = parents.get(around)
        if around is not None:
            yield task.task_id
