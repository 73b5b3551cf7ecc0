"""`GET /metrics`: who may read it, what is in it, and that its size does not follow what the installation holds."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from quart_trio import QuartTrio

from leoflowd.agents.service import AgentStatistics
from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.api.own.metrics import KINDS_SHOWN, LANE_READINGS, POOL_READINGS, READINGS
from leoflowd.cheap_tasks.asset_watchers import WatchersStatistics
from leoflowd.cheap_tasks.http_task import InlineStatistics
from leoflowd.cheap_tasks.trigger_hosts import TriggerHostsStatistics
from leoflowd.config import ApiConfig
from leoflowd.contract.pool_view import PoolStatistics
from leoflowd.core.delays import DelayCounts
from leoflowd.executors.pod_launcher import LauncherStatistics
from leoflowd.executors.pod_watcher import WatcherStatistics
from leoflowd.executors.pods import PodStatistics
from leoflowd.executors.process import ProcessStatistics
from leoflowd.executors.staging import CollectorStatistics
from leoflowd.kube.watch import WatchStatistics
from leoflowd.lite.workspace import WorkspaceStatistics
from leoflowd.scheduler.backfills import BackfillStatistics
from leoflowd.scheduler.clock import ClockStatistics
from leoflowd.scheduler.deleted_runs import DeletedRunsStatistics
from leoflowd.scheduler.leadership import LeaderStatistics
from leoflowd.scheduler.loop import SchedulerStatistics
from leoflowd.scheduler.retention import RetentionStatistics
from leoflowd.scheduler.trace_export import TraceStatistics
from leoflowd.store.database import LaneStatistics
from tests.fakes.fake_pool import STATISTICS, FakePool
from tests.integration.api.api_client import Client

TREE = {
    "name": "leoflowd",
    "state": "running",
    "restarts": 0,
    "statistics": None,
    "children": [
        {
            "name": "agents",
            "state": "running",
            "restarts": 2,
            "statistics": msgspec.to_builtins(AgentStatistics(1, 3, 2, 40, 7, 5000, 1, 5, 6)),
            "fault": "no agent",
            "children": [],
        },
        {
            "name": "store",
            "state": "running",
            "restarts": 0,
            "statistics": [msgspec.to_builtins(LaneStatistics("api", 6, 2, 1, 0, 2))],
            "children": [],
        },
        {
            "name": "pods",
            "state": "running",
            "restarts": 0,
            "statistics": msgspec.to_builtins(
                PodStatistics(
                    LauncherStatistics(4, 0, 9, 2, 1, 0, 3, "", DelayCounts({"0.1": 6, "+Inf": 9}, 2.5)),
                    WatcherStatistics(7, 5, 2, 6, {"silent": 8}, 0, 0, 0, 0, 0),
                    WatchStatistics(1, 1, 9, 0, 0.1),
                    CollectorStatistics(0, 0, ""),
                )
            ),
            "children": [],
        },
        {"name": "sweeps", "state": "stopped", "restarts": 0, "statistics": None, "children": []},
    ],
}
STRUCTS = {
    "scheduler": SchedulerStatistics,
    "timetable clock": ClockStatistics,
    "lock": LeaderStatistics,
    "agents": AgentStatistics,
    "process executor": ProcessStatistics,
    "workspace": WorkspaceStatistics,
    "pods": PodStatistics,
    "traces": TraceStatistics,
    "deleted runs": DeletedRunsStatistics,
    "retention": RetentionStatistics,
    "backfills": BackfillStatistics,
    "asset watchers": WatchersStatistics,
    "inline http": InlineStatistics,
    "trigger hosts": TriggerHostsStatistics,
}
"""The others answer with plain dicts."""
FAR = {"client": ("10.1.2.3", 40000)}
TOKEN = "scrape-" + "t" * 20


@pytest.fixture
def pool() -> FakePool:
    return FakePool()


@pytest.fixture
def api_context(api_context: ApiContext, pool: FakePool) -> ApiContext:
    config = msgspec.structs.replace(api_context.config, metrics_token=TOKEN)
    return dataclasses.replace(api_context, pool=pool, tree=lambda: TREE, config=config)


async def scrape(client: Client) -> dict[str, float]:
    """`name{labels}` -> value."""
    answer = await client.call("GET", "/metrics")
    assert answer.status_code == 200
    text: str = await answer.get_data(as_text=True)
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_this_machine_reads_without_a_login(anonymous: Client) -> None:
    answer = await anonymous.call("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"scope_base": FAR}, 401),
        ({"scope_base": FAR, "headers": {"Authorization": f"Bearer {TOKEN}"}}, 200),
        ({"scope_base": FAR, "headers": {"Authorization": "Bearer wrong"}}, 401),
        ({"scope_base": FAR, "headers": {"Authorization": f"Basic {TOKEN}"}}, 401),
        ({"headers": {"X-Forwarded-For": "10.1.2.3"}}, 401),  # a proxy on this machine
        ({"headers": {"Forwarded": "for=127.0.0.1"}}, 401),
    ],
)
async def test_another_machine_needs_the_token(anonymous: Client, options: dict[str, Any], status: int) -> None:
    assert (await anonymous.call("GET", "/metrics", **options)).status_code == status


async def test_without_a_token_no_bearer_is_right(anonymous: Client, app: QuartTrio, api_context: ApiContext) -> None:
    config = msgspec.structs.replace(api_context.config, metrics_token="")
    app.config["LEOFLOW_CONTEXT"] = dataclasses.replace(api_context, config=config)
    headers = {"Authorization": "Bearer "}
    assert (await anonymous.call("GET", "/metrics", scope_base=FAR, headers=headers)).status_code == 401


def test_the_token_is_not_in_the_configurations_repr() -> None:
    assert TOKEN not in repr(ApiConfig(metrics_token=TOKEN))


async def test_components_are_told_with_their_restarts(anonymous: Client) -> None:
    found = await scrape(anonymous)
    assert found["leoflow_component_running component=agents"] == 1
    assert found["leoflow_component_running component=sweeps"] == 0
    assert found["leoflow_component_restarts_total component=agents"] == 2
    assert found["leoflow_component_fault component=agents"] == 1
    assert found["leoflow_component_fault component=sweeps"] == 0
    assert found["leoflow_agents_log_bytes_total"] == 5000
    assert found["leoflow_store_connections_in_use lane=api"] == 1
    assert "leoflow_sweeps_lost_tries_total" not in found


async def test_the_pool_is_told(anonymous: Client) -> None:
    found = await scrape(anonymous)
    assert found["leoflow_cheap_task_pool_waits kind=http"] == 3
    assert (found["leoflow_cheap_task_pool_probes_total"], found["leoflow_cheap_task_pool_probes_saved_total"]) == (
        10,
        20,
    )
    assert found["leoflow_cheap_task_pool_ends_total how=timed_out"] == 1
    assert found["leoflow_cheap_task_pool_lateness_seconds quantile=0.99"] == 0.031
    assert found["leoflow_cheap_task_pool_breakers state=open"] == 1


async def test_lateness_is_absent_while_nothing_was_due(anonymous: Client, pool: FakePool) -> None:
    pool.shown = msgspec.structs.replace(STATISTICS, lateness_p50_s=None, lateness_p99_s=None, lateness_max_s=None)
    assert not any(name.startswith("leoflow_cheap_task_pool_lateness") for name in await scrape(anonymous))


async def test_many_kinds_are_summed_up(anonymous: Client, pool: FakePool) -> None:
    pool.shown = msgspec.structs.replace(STATISTICS, waits={f"k{n:03}": n + 1 for n in range(KINDS_SHOWN + 2)})
    found = await scrape(anonymous)
    kinds = [name for name in found if name.startswith("leoflow_cheap_task_pool_waits ")]
    assert len(kinds) == KINDS_SHOWN + 1
    assert found["leoflow_cheap_task_pool_waits kind=other"] == 1 + 2


async def test_answers_are_counted_by_group_of_routes(anonymous: Client) -> None:
    await anonymous.call("GET", "/api/v2/version")
    await anonymous.call("GET", "/api/v2/dags")
    found = await scrape(anonymous)
    assert found["leoflow_api_answers_total routes=public_monitor status=2xx"] == 1
    assert found["leoflow_api_answers_total routes=public_dags status=4xx"] == 1
    assert found["leoflow_api_request_duration_seconds_count routes=public_dags"] == 1


async def test_a_process_without_a_pool_shows_none(api_context: ApiContext) -> None:
    client = Client(create_app(dataclasses.replace(api_context, pool=None)))
    assert not any(name.startswith("leoflow_pool") for name in await scrape(client))


@pytest.mark.parametrize("component", STRUCTS)
def test_what_is_read_of_a_component_is_there(component: str) -> None:
    for reading in READINGS[component]:
        struct: Any = STRUCTS[component]
        for name in reading.field.split("."):
            struct = typing.get_type_hints(struct)[name]


async def test_pods_are_told(anonymous: Client) -> None:
    found = await scrape(anonymous)
    assert (found["leoflow_pods_pending"], found["leoflow_pods_running"], found["leoflow_pods_adopted"]) == (5, 2, 6)
    assert (found["leoflow_pods_created_total"], found["leoflow_pods_launches_waiting"]) == (9, 4)
    assert found["leoflow_pods_ended_total reason=silent"] == 8
    assert found["leoflow_pods_create_delay_seconds_bucket le=0.1"] == 6
    assert found["leoflow_pods_create_delay_seconds_count"] == 9
    assert found["leoflow_pods_create_delay_seconds_sum"] == 2.5


def test_what_is_read_of_pool_and_lanes_is_there() -> None:
    assert {reading.field for reading in POOL_READINGS} <= set(PoolStatistics.__struct_fields__)
    assert {reading.field for reading in LANE_READINGS} <= set(LaneStatistics.__struct_fields__)


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "cheap-task-pool.md").read_text()
    readings = [*LANE_READINGS, *POOL_READINGS, *(reading for known in READINGS.values() for reading in known)]
    names = {reading.name + ("_total" if reading.kind == "counter" else "") for reading in readings}
    assert {name for name in names if f"`{name}`" not in text} == set()
