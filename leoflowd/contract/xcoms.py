"""XCom values as a port: what agents, dispatcher, scheduler and API need of the place where they are kept (ADR 33).

`store.xcoms` keeps them in Postgres, so that they commit with the outcome that pushed them. Whoever implements it runs
the tests of `tests/conformance/xcoms/`. Values are JSON text, at most `XCOM_MAX_BYTES`, and come back exactly as they
were given: the borders have checked them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from leoflowd.contract.agent_messages import XComInput, XComPull
from leoflowd.contract.errors import NotFound, StoreUnavailable

RETURN_KEY = "return_value"
"""The value that is a task's output."""

Instance = tuple[int, str, int]
"""(dag_run_id, task_id, map_index)."""


class XCom(msgspec.Struct, frozen=True, kw_only=True):
    """One value of one task instance."""

    dag_run_id: int
    task_id: str
    map_index: int
    key: str
    value: str


class Asker(msgspec.Struct, frozen=True):
    """The run of the task that pulls."""

    dag_run_id: int
    dag_id: str
    run_id: str


class ValuesUnavailable(StoreUnavailable):
    """What keeps a value does not answer: the same question may be asked again."""


class ValueGone(NotFound):
    """A value is not there any more although its row is; asking again is of no use."""


class ValuePlace(Protocol):
    """Where values are kept beside the database, under names that are never used again (ADR 60, 61).

    A value is written before its row commits, and a row says where it is. All of it raises `ValuesUnavailable`, soon.
    """

    async def put(self, values: Mapping[str, str]) -> None:
        """By name: `<dag_run_id>/<a name of its own>`."""

    async def get(self, names: Sequence[str]) -> Mapping[str, str]:
        """Those that are there, exactly as they were given."""

    async def delete_run(self, dag_run_id: int, names: Sequence[str]) -> None:
        """What belongs to a run that is gone; `names` are those that its rows had. Twice is once."""

    def gone(self, name: str) -> str:
        """Why a value may be missing, and what to do about it: for people."""


class XComStore(Protocol):
    """In one unit of work of its caller: what is written here is seen by others when that commits, or never.

    Whoever reads values may hear `ValuesUnavailable` or `ValueGone`, except for `returned` and `lengths`.
    """

    async def put(self, try_id: str, key: str, value: str, now: datetime) -> bool:
        """What a running try pushes; the last write wins. False when the try may not write any more."""

    async def put_all(self, xcoms: Sequence[XCom], now: datetime) -> None:
        """What outcomes pushed, behind the compare-and-set that proves their tries; the last write wins.

        Of a run that was deleted meanwhile nothing is kept, which is no error: that compare-and-set fails.
        """

    async def delete_of_tries(self, try_ids: Sequence[str]) -> None:
        """All values of the instances whose current tries these are: a new try starts with none."""

    async def delete(self, instances: Sequence[Instance], *, key: str | None = None) -> int:
        """All values of these instances, or those under one key; how many there were."""

    async def pull(self, asker: Asker, ask: XComPull) -> tuple[XComInput, ...]:
        """What a task asks for, by task and map index. As in Airflow, its own DAG and its own run_id are meant where it
        names none: those of another DAG without a run_id are of that DAG's run of the same name.

        With `include_prior_dates` also of earlier runs of the DAG, the newest run first. At most `PULL_MAX`, and those
        of its page if it names one.
        """

    async def count(self, asker: Asker, ask: XComPull) -> int:
        """How many there are on all pages."""

    async def outputs(self, tasks: Sequence[tuple[int, str]], *, key: str | None = None) -> tuple[XCom, ...]:
        """All values of all instances of these tasks (dag_run_id, task_id), or those under one key, by task and map
        index."""

    async def outputs_of(self, instances: Sequence[Instance]) -> tuple[XCom, ...]:
        """All values of these instances, by task and map index."""

    async def returned(self, tasks: Sequence[tuple[int, str]]) -> frozenset[Instance]:
        """Which instances of these tasks (dag_run_id, task_id) have an output."""

    async def lengths(self, tasks: Sequence[tuple[int, str]]) -> dict[Instance, int]:
        """How many items the outputs of these tasks (dag_run_id, task_id) have: of those that can be mapped over."""

    async def fetch(self, dag_id: str, run_id: str, task_id: str, map_index: int, key: str) -> str | None:
        """One value; None when there is none. Of a large one (ADR 61) what it is, as a text."""

    async def insert(self, xcom: XCom, now: datetime) -> bool:
        """What a person adds. False when the instance has that key already."""

    async def replace(self, xcom: XCom, now: datetime) -> bool:
        """What a person changes. False when the instance has no such key."""


PULL_MAX = 10_000
