"""`contract.xcoms.XComStore` in memory; `tests/conformance/xcoms` holds it to what Postgres does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import trio

from leoflowd.contract.agent_messages import XComInput, XComPull
from leoflowd.contract.xcoms import PULL_MAX, RETURN_KEY, Asker, Instance, XCom
from leoflowd.core.expansion import split_items

Place = tuple[int, str, int, str]
"""An instance and a key."""


@dataclass(frozen=True)
class Run:
    dag_id: str
    run_id: str
    run_after: datetime


@dataclass
class MemoryXComs:
    """`runs` and `tries` are the facts that a test sets: which runs exist, and which instance's live try an id is."""

    runs: dict[int, Run] = field(default_factory=dict)
    tries: dict[str, tuple[Instance, str]] = field(default_factory=dict)
    """Current tries: their instance and its state."""
    values: dict[Place, str] = field(default_factory=dict)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryXComs]:
        before = dict(self.values)
        try:
            yield self
        except BaseException:
            self.values = before
            raise

    async def put(self, try_id: str, key: str, value: str, now: datetime) -> bool:
        await trio.lowlevel.checkpoint()
        instance, state = self.tries.get(try_id, ((0, "", 0), "gone"))
        if state not in {"queued", "running"}:
            return False
        self.values[*instance, key] = value
        return True

    async def put_all(self, xcoms: Sequence[XCom], now: datetime) -> None:
        await trio.lowlevel.checkpoint()
        for xcom in xcoms:
            if xcom.dag_run_id in self.runs:
                self.values[_place(xcom)] = xcom.value

    async def delete_of_tries(self, try_ids: Sequence[str]) -> None:
        await self.delete([self.tries[try_id][0] for try_id in try_ids if try_id in self.tries])

    async def delete(self, instances: Sequence[Instance], *, key: str | None = None) -> int:
        await trio.lowlevel.checkpoint()
        gone = [place for place in self.values if place[:3] in instances and key in (None, place[3])]
        for place in gone:
            del self.values[place]
        return len(gone)

    async def pull(self, asker: Asker, ask: XComPull) -> tuple[XComInput, ...]:
        await trio.lowlevel.checkpoint()
        found = self._pulled(asker, ask)
        first = ask.offset or 0
        until = None if ask.limit is msgspec.UNSET else first + ask.limit
        return tuple(found[first:until][:PULL_MAX])

    async def count(self, asker: Asker, ask: XComPull) -> int:
        await trio.lowlevel.checkpoint()
        return len(self._pulled(asker, ask))

    def _pulled(self, asker: Asker, ask: XComPull) -> list[XComInput]:
        runs = self._runs_asked_for(asker, ask)
        found = [
            ((run, task_id, map_index, key), value)
            for (run, task_id, map_index, key), value in self.values.items()
            if run in runs
            and key == ask.key
            and (ask.task_ids is None or task_id in ask.task_ids)
            and (ask.map_indexes is None or map_index in ask.map_indexes)
        ]
        found.sort(key=lambda item: item[0][1:3])
        found.sort(key=lambda item: (self.runs[item[0][0]].run_after, item[0][0]), reverse=True)
        return [
            XComInput(task_id=task_id, key=key, map_index=map_index, value=value)
            for (_, task_id, map_index, key), value in found
        ]

    def _runs_asked_for(self, asker: Asker, ask: XComPull) -> set[int]:
        dag_id, run_id = ask.dag_id or asker.dag_id, ask.run_id or asker.run_id
        of_dag = {number: run for number, run in self.runs.items() if run.dag_id == dag_id}
        named = {number for number, run in of_dag.items() if run.run_id == run_id}
        if not ask.include_prior_dates:
            return named
        until = self.runs[next(iter(named), asker.dag_run_id)].run_after
        return {number for number, run in of_dag.items() if run.run_after <= until}

    async def outputs(self, tasks: Sequence[tuple[int, str]], *, key: str | None = None) -> tuple[XCom, ...]:
        await trio.lowlevel.checkpoint()
        found = [
            XCom(dag_run_id=run, task_id=task_id, map_index=map_index, key=name, value=value)
            for (run, task_id, map_index, name), value in self.values.items()
            if (run, task_id) in tasks and key in (None, name)
        ]
        return tuple(sorted(found, key=lambda xcom: (xcom.task_id, xcom.map_index)))

    async def outputs_of(self, instances: Sequence[Instance]) -> tuple[XCom, ...]:
        found = await self.outputs([(run, task_id) for run, task_id, _ in instances])
        return tuple(x for x in found if (x.dag_run_id, x.task_id, x.map_index) in instances)

    async def returned(self, tasks: Sequence[tuple[int, str]]) -> frozenset[Instance]:
        found = await self.outputs(tasks)
        return frozenset((x.dag_run_id, x.task_id, x.map_index) for x in found if x.key == RETURN_KEY)

    async def lengths(self, tasks: Sequence[tuple[int, str]]) -> dict[Instance, int]:
        found = await self.outputs(tasks, key=RETURN_KEY)
        lengths = {(x.dag_run_id, x.task_id, x.map_index): split_items(x.value) for x in found}
        return {instance: len(items.texts) for instance, items in lengths.items() if items is not None}

    async def fetch(self, dag_id: str, run_id: str, task_id: str, map_index: int, key: str) -> str | None:
        await trio.lowlevel.checkpoint()
        named = (number for number, run in self.runs.items() if (run.dag_id, run.run_id) == (dag_id, run_id))
        return next((self.values.get((number, task_id, map_index, key)) for number in named), None)

    async def insert(self, xcom: XCom, now: datetime) -> bool:
        await trio.lowlevel.checkpoint()
        if _place(xcom) in self.values:
            return False
        self.values[_place(xcom)] = xcom.value
        return True

    async def replace(self, xcom: XCom, now: datetime) -> bool:
        await trio.lowlevel.checkpoint()
        if _place(xcom) not in self.values:
            return False
        self.values[_place(xcom)] = xcom.value
        return True


def _place(xcom: XCom) -> Place:
    return xcom.dag_run_id, xcom.task_id, xcom.map_index, xcom.key
