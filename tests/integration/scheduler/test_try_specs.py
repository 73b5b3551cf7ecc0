"""A try is told the same by a launch, from what the leader remembers, and when it asks, from the rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from leoflowd.contract.agent_messages import Outcome, OutcomeKind, TrySpec
from leoflowd.contract.dag_spec import XComRef
from leoflowd.contract.wait_spec import Deferral
from leoflowd.contract.waits import ResumeWith
from leoflowd.core.try_spec import XCOM_BYTES_ALONG
from leoflowd.scheduler.inbox import RunChanged
from leoflowd.store.try_specs import fetch_try_spec
from tests.integration.scheduler.conftest import World, dag, task, utc_now
from tests.integration.scheduler.test_waits import TRIGGER, begun, defer, end

Scenario = Callable[[World], Awaitable[None]]
REFS = (XComRef(task_id="up"), XComRef(task_id="up", key="more"), XComRef(task_id="up", key="never_pushed"))


async def first(world: World) -> None:
    spec = dag("d", task("a", env={"A": "b"}, execution_timeout_s=60.0, do_xcom_push=False), params={"p": 1})
    await world.create(spec, logical_date=utc_now())


async def retry(world: World) -> None:
    await world.create(dag("d", task("a", retries=2, retry_delay_s=0.0)))
    await world.start(try_id := (await world.launched_ids(1))["a"])
    await world.end(try_id, OutcomeKind.FAILED)


async def resumed(world: World) -> None:
    await world.create(dag("d", task("a")))
    try_id = (await world.launched_ids(1))["a"]
    await world.start(try_id)
    await defer(world, try_id, Deferral(trigger=TRIGGER, next_method="done", next_kwargs={"x": 1}))
    (wait,) = await begun(world)
    await end(world, wait, resume=ResumeWith(event={"status": "ok"}))


async def rescheduled(world: World) -> None:
    await world.create(dag("d", task("a")))
    await world.start(try_id := (await world.launched_ids(1))["a"])
    at = utc_now()
    again = Outcome(kind=OutcomeKind.RESCHEDULE, because="later", start_date=at, end_date=at, reschedule_at=at)
    await world.inbox.try_ended(await world.row(try_id), again, None)


async def with_xcoms(world: World) -> None:
    await world.create(dag("d", task("up"), task("a", "up", xcom_refs=REFS)))
    await world.end((await world.launched_ids(1))["up"], return_value='{"x": 1}', more="[1,2]", other="3")


async def with_too_many_xcoms(world: World) -> None:
    await world.create(dag("d", task("up"), task("a", "up", xcom_refs=REFS)))
    await world.end((await world.launched_ids(1))["up"], return_value='"' + "x" * XCOM_BYTES_ALONG + '"')


async def mapped(world: World) -> None:
    run = await world.create(dag("d", task("a")), is_announced=False)
    async with world.db.api.connection() as conn:
        await conn.execute(b"UPDATE task_instance SET map_index = 3")
    await world.inbox.put(RunChanged(run))


def is_what_it_should_be(scenario: Scenario, spec: TrySpec) -> bool:
    """Else both could be equal and mean nothing."""
    match scenario.__name__:
        case "first":
            return (spec.try_number, spec.resume, spec.first_started_at, spec.env) == (1, None, None, {"A": "b"})
        case "retry":
            return (spec.try_number, spec.first_started_at) == (2, None)
        case "resumed":
            return spec.resume is not None and spec.resume.next_method == "done" and spec.first_started_at is not None
        case "rescheduled":
            return (spec.try_number, spec.resume) == (1, None) and spec.first_started_at is not None
        case "with_xcoms":
            return [item.value for item in spec.xcoms] == ['{"x": 1}', "[1,2]"] and spec.xcoms_complete
        case "with_too_many_xcoms":
            return (spec.xcoms, spec.xcoms_complete) == ((), False)
        case _:
            return spec.map_index == 3


@pytest.mark.parametrize(
    "scenario", [first, retry, resumed, rescheduled, with_xcoms, with_too_many_xcoms, mapped], ids=lambda s: s.__name__
)
async def test_leader_and_rows_give_the_same_spec(world: World, scenario: Scenario) -> None:
    async with world.leading():
        await scenario(world)
        sent, refused = await world.dispatched()
        assert refused == []
        spec = sent[0].spec
        assert is_what_it_should_be(scenario, spec)
        row = await world.row(spec.try_id)
        async with world.db.agents.connection() as conn:
            assert await fetch_try_spec(conn, row) == spec


async def test_a_try_that_was_replaced_has_no_spec(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("a", retries=1, retry_delay_s=0.0)))
        row = await world.row(try_id := (await world.launched_ids(1))["a"])
        await world.end(try_id, OutcomeKind.FAILED)
        await world.launched_ids(1)
        async with world.db.agents.connection() as conn:
            assert await fetch_try_spec(conn, row) is None
