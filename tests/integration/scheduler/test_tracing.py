"""Spans of a real scheduler, and the way they take to a real receiver. ADR 82."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from leoflowd.contract.agent_messages import OutcomeKind, TrySpec
from leoflowd.contract.otel_settings import OtelSettings
from leoflowd.contract.otlp import Span
from leoflowd.core.traces import TRY, TraceIds
from leoflowd.scheduler.draft import EXECUTOR
from leoflowd.scheduler.outbox import Outbox
from leoflowd.scheduler.trace_export import TraceExport
from leoflowd.scheduler.tracing import Tracing
from loadtests.lite_process import free_port
from tests.conftest import PATIENCE_S
from tests.fakes.certificates import self_signed
from tests.fakes.otlp_receiver import received, receiving
from tests.integration.scheduler.conftest import World, dag, task, utc_now

IDS = TraceIds(b"s")


class Told:
    """What was offered, and a world that traces."""

    def __init__(self, world: World, ids: TraceIds = IDS) -> None:
        self.spans: list[Span] = []
        self.tracing = Tracing(ids, self.spans.extend, utc_now)
        dispatches, self.dispatches = trio.open_memory_channel[Any](100)
        self.outbox = Outbox(
            db=world.db,
            dispatches=dispatches,
            refuse=lambda _id, why: pytest.fail(why),
            now=utc_now,
            tracing=self.tracing,
        )
        world.offers[EXECUTOR] = self.outbox.offer
        world.tracing = self.tracing

    async def dispatch(self) -> Any:
        """The next one, as an executor gets it."""
        with trio.fail_after(PATIENCE_S):
            return await self.dispatches.receive()

    def tree(self) -> dict[str, list[str]]:
        """Name of a span -> names of those above it, the nearest first."""
        by_id = {span.span_id: span for span in self.spans}
        assert len(by_id) == len(self.spans), "each is told once"
        assert len({span.trace_id for span in self.spans}) <= 1
        return {span.name: [above.name for above in _above(span, by_id)] for span in self.spans}


def _above(span: Span, by_id: dict[bytes, Span]) -> Iterator[Span]:
    while span.parent_id:
        span = by_id[span.parent_id]
        yield span


async def one_try(world: World, told: Told, kind: OutcomeKind = OutcomeKind.SUCCESS) -> TrySpec:
    dispatch = await told.dispatch()
    await world.start(dispatch.spec.try_id)
    await world.end(dispatch.spec.try_id, kind)
    await world.settled()
    spec: TrySpec = dispatch.spec
    return spec


async def test_one_trace_joins_run_try_decision_dispatch_agent_and_task(world: World) -> None:
    told = Told(world)
    async with trio.open_nursery() as nursery:
        await nursery.start(told.outbox.run)
        async with world.leading():
            run = await world.create(dag("d", task("load")))
            spec = await one_try(world, told)
        nursery.cancel_scope.cancel()
    assert told.tree() == {
        "dag run d": [],
        "load": ["dag run d"],
        "decision": ["load", "dag run d"],
        "dispatch": ["load", "dag run d"],
        "agent": ["load", "dag run d"],
        "task": ["agent", "load", "dag run d"],
    }
    (ran,) = [span for span in told.spans if span.name == "task"]
    assert spec.traceparent == f"00-{ran.trace_id.hex()}-{ran.span_id.hex()}-01" == IDS.traceparent(run, spec.try_id)
    assert ran.attributes["airflow.task_id"] == "load"
    assert ran.error is None
    assert all(span.start <= span.end for span in told.spans)


async def test_each_try_of_a_task_has_its_own_span_and_says_what_went_wrong(world: World) -> None:
    told = Told(world)
    async with trio.open_nursery() as nursery:
        await nursery.start(told.outbox.run)
        async with world.leading():
            await world.create(dag("d", task("load", retries=1, retry_delay_s=0.0)))
            await one_try(world, told, OutcomeKind.FAILED)
            await one_try(world, told)
        nursery.cancel_scope.cancel()
    tries = [span for span in told.spans if span.name == "load"]
    assert [span.attributes["airflow.try_number"] for span in tries] == [1, 2]
    assert [span.error is None for span in tries] == [False, True]
    assert len({span.span_id for span in tries}) == 2
    assert [span.name for span in told.spans].count("task") == 2


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_try_that_was_lost_has_a_span_that_says_so_and_none_of_a_process(world: World, has_begun: bool) -> None:
    told = Told(world)
    async with trio.open_nursery() as nursery:
        await nursery.start(told.outbox.run)
        async with world.leading():
            await world.create(dag("d", task("load")))
            lost: TrySpec = (await told.dispatch()).spec
            if has_begun:
                await world.start(lost.try_id)
            await world.end(lost.try_id, OutcomeKind.LOST)
            second = await one_try(world, told)
        nursery.cancel_scope.cancel()
    tries = {span.span_id: span for span in told.spans if span.name == "load"}
    assert len(tries) == len([span for span in told.spans if span.name == "load"]) == 2
    assert [tries[IDS.span_id(TRY, spec.try_id)].error is None for spec in (lost, second)] == [False, True]
    assert [span.name for span in told.spans].count("task") == 1


async def test_a_run_that_is_not_sampled_is_told_nothing_of(world: World) -> None:
    told = Told(world, TraceIds(b"s", 0.0))
    async with trio.open_nursery() as nursery:
        await nursery.start(told.outbox.run)
        async with world.leading():
            await world.create(dag("d", task("load")))
            assert (await one_try(world, told)).traceparent.endswith("-00")
        nursery.cancel_scope.cancel()
    assert told.spans == []


# --- to a receiver -----------------------------------------------------------------------------------------------


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Its address, and where it writes what it got."""
    file = tmp_path / "spans"
    with receiving(file) as address:
        yield address, file


def spans(count: int) -> list[Span]:
    now = utc_now()
    return [
        Span(trace_id=b"t" * 16, span_id=n.to_bytes(8), name=f"n{n}", start=now, end=now + timedelta(seconds=1))
        for n in range(1, count + 1)
    ]


async def until(met: Any) -> None:
    with trio.fail_after(PATIENCE_S):
        while not met():  # noqa: ASYNC110  # another process does it
            await trio.sleep(0.01)


async def test_a_receiver_gets_them_in_batches_with_its_key(receiver: tuple[str, Path]) -> None:
    url, file = receiver
    settings = OtelSettings(
        url=f"{url}/v1/traces",
        headers={"api-key": "k"},
        resource={"service.name": "mine"},
        delay_s=0.01,
        batch_max=3,
        is_compressed=True,
    )
    export = TraceExport(settings, version="1")
    async with trio.open_nursery() as nursery:
        await nursery.start(export.run)
        export.offer(spans(7))
        await until(lambda: export.statistics().sent == 7)
        nursery.cancel_scope.cancel()
    got = received(file)
    assert [one["name"] for one in got] == [f"n{n}" for n in range(1, 8)]
    assert {(one["path"], one["key"], one["service"]) for one in got} == {("/v1/traces", "k", "mine")}


async def test_what_is_left_at_the_end_is_sent(receiver: tuple[str, Path]) -> None:
    url, file = receiver
    export = TraceExport(OtelSettings(url=f"{url}/v1/traces", delay_s=3600), version="1")
    async with trio.open_nursery() as nursery:
        await nursery.start(export.run)
        export.offer(spans(2))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(received(file)) == 2


@pytest.mark.parametrize("is_named", [True, False])
async def test_whom_the_receivers_certificate_is_trusted_by(tmp_path: Path, is_named: bool) -> None:
    _, ca = self_signed(tmp_path)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(ca)
    with receiving(tmp_path / "spans", tmp_path / "server.pem") as url:
        named = str(ca_file) if is_named else None
        export = TraceExport(OtelSettings(url=f"{url}/v1/traces", ca_file=named, delay_s=0.01), version="1")
        async with trio.open_nursery() as nursery:
            await nursery.start(export.run)
            export.offer(spans(1))
            await until(lambda: export.statistics().sent or export.statistics().failures)
            nursery.cancel_scope.cancel()
    assert len(received(tmp_path / "spans")) == is_named


async def test_a_receiver_that_is_not_there_costs_spans_and_nothing_else() -> None:
    settings = OtelSettings(url=f"http://127.0.0.1:{free_port()}/v1/traces", delay_s=0.01, queue_max=5)
    export = TraceExport(settings, version="1")
    async with trio.open_nursery() as nursery:
        await nursery.start(export.run)
        export.offer(spans(9))
        await until(lambda: export.statistics().failures > 1)
        nursery.cancel_scope.cancel()
    found = export.statistics()
    assert (found.waiting, found.sent, found.dropped) == (5, 0, 4)
    assert "ConnectError" in found.last_failure


async def test_a_receiver_that_says_nothing_delays_no_task(world: World, receiver: tuple[str, Path]) -> None:
    url, file = receiver
    deaf = file.with_suffix(".deaf")
    deaf.touch()
    export = TraceExport(OtelSettings(url=f"{url}/v1/traces", delay_s=0.01, queue_max=100, timeout_s=3600), version="1")
    told = Told(world)
    told.tracing = world.tracing = Tracing(IDS, export.offer, utc_now)
    async with trio.open_nursery() as nursery:
        await nursery.start(export.run)
        await nursery.start(told.outbox.run)
        async with world.leading():
            run = await world.create(dag("d", *(task(f"t{n}") for n in range(10))))
            for _ in range(10):
                await one_try(world, told)
            assert await world.run_state(run) == "success"
            assert export.statistics().sent == 0
        deaf.unlink()
        await until(lambda: {one["name"] for one in received(file)} >= {"dag run d", "t0", "t9", "agent", "task"})
        nursery.cancel_scope.cancel()
