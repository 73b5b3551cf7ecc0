"""Health names what is of no use, in Airflow's four words and in our own."""

from __future__ import annotations

import dataclasses

import pytest
from quart_trio import QuartTrio

from leoflowd.api.context import ApiContext
from leoflowd.supervision import Fault
from tests.fakes.fake_pool import FakePool
from tests.integration.api.api_client import Client, Clock


@pytest.fixture
async def leading(app: QuartTrio, api_context: ApiContext, clock: Clock) -> ApiContext:
    """Somebody leads, and this process has a pool."""
    async with api_context.db.api.connection() as conn:
        await conn.execute(b"UPDATE leadership SET holder = 'test', heartbeat_at = %(now)s", {"now": clock()})
    context = dataclasses.replace(api_context, pool=FakePool)
    app.config["LEOFLOW_CONTEXT"] = context
    return context


SECTIONS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


@pytest.mark.parametrize(
    ("component", "red"),
    [
        ("leadership/scheduler", "scheduler"),
        ("agents", "scheduler"),
        ("process executor", "scheduler"),
        ("event loop", "scheduler"),
        ("hint listener", "metadatabase"),
        ("embedded postgres", "metadatabase"),
        ("cheap-task pool/trigger hosts", "triggerer"),
        ("workspace", "dag_processor"),
        ("something new", "scheduler"),
    ],
)
async def test_a_component_of_no_use_turns_its_section_red_and_is_named(
    app: QuartTrio, anonymous: Client, leading: ApiContext, component: str, red: str
) -> None:
    fault = Fault(component=component, because="it stands still")
    app.config["LEOFLOW_CONTEXT"] = dataclasses.replace(leading, faults=lambda: (fault,))
    health = await anonymous.get("/api/v2/monitor/health")
    unhealthy = [name for name in SECTIONS if health[name]["status"] == "unhealthy"]
    assert unhealthy == [red]
    assert health["faults"] == [{"component": component, "because": "it stands still"}]


async def test_without_faults_all_is_healthy(app: QuartTrio, anonymous: Client, leading: ApiContext) -> None:
    health = await anonymous.get("/api/v2/monitor/health")
    assert [health[name]["status"] for name in SECTIONS] == ["healthy"] * 4
    assert health["faults"] == []
