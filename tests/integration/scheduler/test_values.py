"""What tries are launched with: values as they were pushed, and nothing that an agent could not be sent."""

from __future__ import annotations

from datetime import timedelta

import trio

from leoflowd.contract.agent_messages import Outcome, OutcomeKind
from leoflowd.contract.dag_spec import XComRef
from leoflowd.contract.values import LATEST, SECONDS_MAX
from leoflowd.contract.wait_spec import Deferral, TriggerSpec
from leoflowd.core.try_spec import XCOM_BYTES_ALONG
from tests.conftest import PATIENCE_S
from tests.integration.scheduler.conftest import World, dag, task, utc_now

ODD = '["a\\u0000b", 1180591620717411303424, 1e20]'


async def test_a_try_that_no_message_holds_is_refused_alone(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("large", env={"A": "x" * 17 * 1024 * 1024}), task("small")))
        sent, refused = await world.dispatched(2)
    assert [dispatch.spec.task_id for dispatch in sent] == ["small"]
    assert len(refused) == 1
    assert "the try cannot be launched" in refused[0]
    assert "it takes 178" in refused[0]


async def test_an_output_goes_along_as_it_was_pushed(world: World) -> None:
    async with world.leading():
        await world.create(dag("d", task("up"), task("down", "up", xcom_refs=(XComRef(task_id="up"),))))
        await world.end((await world.launched_ids(1))["up"], return_value=ODD)
        sent, _ = await world.dispatched()
    assert [item.value for item in sent[0].spec.xcoms] == [ODD]


async def test_outputs_are_counted_in_bytes(world: World) -> None:
    """Three bytes a character: too much to go along, though not by its characters."""
    value = '"' + "€" * (XCOM_BYTES_ALONG // 2) + '"'
    async with world.leading():
        await world.create(dag("d", task("up"), task("down", "up", xcom_refs=(XComRef(task_id="up"),))))
        await world.end((await world.launched_ids(1))["up"], return_value=value)
        sent, refused = await world.dispatched()
    assert (sent[0].spec.xcoms, sent[0].spec.xcoms_complete, refused) == ((), False, [])


async def test_a_deferral_without_an_end_in_sight_is_a_deferral(world: World) -> None:
    trigger = TriggerSpec(classpath="bells.Bell")
    async with world.leading():
        run = await world.create(dag("d", task("a")))
        try_id = (await world.launched_ids(1))["a"]
        await world.start(try_id)
        outcome = Outcome(
            kind=OutcomeKind.DEFERRED,
            because="it waits",
            start_date=utc_now(),
            end_date=utc_now(),
            deferral=Deferral(trigger=trigger, next_method="go_on", timeout_s=timedelta.max.total_seconds()),
        )
        with trio.fail_after(PATIENCE_S):
            await world.inbox.try_ended(await world.row(try_id), outcome, None)
        assert await world.states(run) == {"a": "deferred"}
        assert [wait.deadline_at for wait in world.pool.registered] == [LATEST]


async def test_a_retry_after_a_delay_that_no_calendar_has_waits_for_ever(world: World) -> None:
    async with world.leading():
        run = await world.create(dag("d", task("a", retries=1, retry_delay_s=SECONDS_MAX)))
        await world.end((await world.launched_ids(1))["a"], OutcomeKind.FAILED)
        assert await world.states(run) == {"a": "up_for_retry"}
