"""Health names what is of no use, in Airflow's four words and in our own."""

from __future__ import annotations

import dataclasses

import pytest
from quart_trio import QuartTrio

from leoflowd.api.context import ApiContext
from leoflowd.contract.errors import StoreUnavailable
from leoflowd.store.migrations import migrations_folder, read_migrations
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


async def test_a_probe_of_life_needs_nothing(anonymous: Client) -> None:
    assert (await anonymous.get("/livez"))["status"] == "alive"


async def test_ready_names_schema_and_leader(anonymous: Client, leading: ApiContext, clock: Clock) -> None:
    ready = await anonymous.get("/readyz")
    assert (ready["status"], ready["leader"], ready["faults"]) == ("ready", 0.0, [])
    assert ready["schema"] == len(read_migrations(migrations_folder()))


async def test_what_is_of_no_use_degrades_and_takes_nobody_out_of_service(
    app: QuartTrio, anonymous: Client, leading: ApiContext
) -> None:
    fault = Fault(component="redis", because="it does not answer")
    app.config["LEOFLOW_CONTEXT"] = dataclasses.replace(leading, faults=lambda: (fault,))
    ready = await anonymous.get("/readyz")
    assert ready["status"] == "degraded"
    assert ready["faults"] == [{"component": "redis", "because": "it does not answer"}]


async def test_without_the_database_nobody_is_ready(app: QuartTrio, anonymous: Client, leading: ApiContext) -> None:
    class _Gone:
        def connection(self) -> None:
            raise StoreUnavailable("connection refused")

    class _Database:
        api = _Gone()

    app.config["LEOFLOW_CONTEXT"] = dataclasses.replace(leading, db=_Database())
    answer = await anonymous.call("GET", "/readyz")
    told = await answer.get_json()
    assert (answer.status_code, told["status"], told["because"]) == (503, "unavailable", "connection refused")
