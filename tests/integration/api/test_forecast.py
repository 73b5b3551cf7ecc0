"""The forecast over its route: whose DAGs, by which means, and what a change of one would do."""

from __future__ import annotations

from typing import Any

import pytest
from quart_trio import QuartTrio

from leoflowd.api.own import forecast as route
from leoflowd.store.database import Database
from tests.integration.api.api_client import START, Client
from tests.integration.api.api_seed import DAG
from tests.integration.api.people import somebody_with

FORECAST = "/leoflow/api/forecast"


def dag(found: dict[str, Any], which: str = "as_is") -> dict[str, Any]:
    (one,) = found[which]["dags"]
    assert one["dag_id"] == DAG
    return dict(one)


async def test_the_next_days_are_told_by_how_long_tasks_took(seeded: Client) -> None:
    found = await seeded.get(f"{FORECAST}?days=3")
    assert found["changed"] is None
    assert found["as_is"]["begin"] == START.isoformat().replace("+00:00", "Z")
    daily = dag(found)
    assert (daily["runs_count"], daily["summary"], daily["is_paused"]) == (4, "0 0 * * *", False), "one is due"
    assert daily["run_s"] == pytest.approx(3 * 1.9995, abs=1e-3)
    (pool,) = found["as_is"]["pools"]
    assert (pool["name"], pool["slots"], pool["peak"]) == ("default_pool", 128, 1)


async def test_a_change_of_one_dag_is_told_beside_it(seeded: Client) -> None:
    found = await seeded.get(f"{FORECAST}?days=1&changed={DAG}&schedule=0 * * * *")
    assert (dag(found)["runs_count"], dag(found, "changed")["runs_count"]) == (2, 24)
    paused = await seeded.get(f"{FORECAST}?days=1&changed={DAG}&paused=true")
    assert (dag(paused, "changed")["runs_count"], dag(paused, "changed")["is_paused"]) == (0, True)
    assert (await seeded.get(f"/api/v2/dags/{DAG}"))["is_paused"] is False, "nothing was changed"


async def test_a_dag_without_a_schedule_may_get_one(seeded: Client) -> None:
    found = await seeded.get(f"{FORECAST}?days=1&changed=other&schedule=@hourly")
    assert {one["dag_id"]: one["runs_count"] for one in found["changed"]["dags"]} == {"other": 24, DAG: 2}


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("days=15", 422, "between 1 and 14"),
        ("days=x", 422, "integer"),
        ("schedule=@daily", 422, "name the DAG"),
        (f"changed={DAG}&schedule=often", 422, "this schedule cannot be"),
        ("changed=nope", 404, "The Dag with ID: `nope` was not found"),
    ],
)
async def test_what_is_refused(seeded: Client, query: str, status: int, told: str) -> None:
    refused = await seeded.send("GET", f"{FORECAST}?{query}", status=status)
    assert told in str(refused["detail"])


async def test_what_somebody_may_not_see_is_not_in_it(seeded: Client, app: QuartTrio, database: Database) -> None:
    client = await somebody_with(app, database, {"read": "dag:other"})
    found = await client.get(FORECAST)
    assert (found["as_is"]["dags"], found["as_is"]["pools"]) == ([], [])
    await client.send("GET", f"{FORECAST}?changed={DAG}", status=404)


async def test_of_many_dags_some_are_chosen(seeded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await seeded.get(f"{FORECAST}?dag_id_pattern=et"))["as_is"]["dags"] != []
    assert (await seeded.get(f"{FORECAST}?dag_id_pattern=no"))["as_is"]["dags"] == []
    monkeypatch.setattr(route, "DAGS_MAX", 0)
    assert (await seeded.get(FORECAST))["dags_left_out"] is True
