"""What would go, and away with it: for administrators, by the settings or by what is asked for (ADR 93)."""

from __future__ import annotations

import dataclasses

from leoflowd.api.app import create_app
from leoflowd.api.context import ApiContext
from leoflowd.config import RetentionConfig
from leoflowd.contract.states import DagRunType
from leoflowd.store.database import Database
from tests.integration.api.api_client import Client
from tests.integration.store.test_retention import history

PATH = "/leoflow/api/retention"


async def test_the_preview_says_what_then_goes(admin: Client, database: Database) -> None:
    await history(database, [400, 300, 1], run_type=DagRunType.MANUAL)
    told = await admin.get(f"{PATH}?days=30")
    assert (told["runs"], told["task_instances"]) == (2, 2)
    assert [(one["dag_id"], one["runs"]) for one in told["dags"]] == [("etl", 2)]
    assert await admin.send("POST", PATH, {"days": 30}) == {"removed_runs": 2}
    assert await admin.send("POST", PATH, {"days": 30}) == {"removed_runs": 0}
    assert (await admin.get(f"{PATH}?days=30"))["dags"] == []
    logged = (await admin.get("/leoflow/api/audit?event=clean_history"))["events"]
    assert [event["extra"]["dag_runs"] for event in logged] == [2]


async def test_by_count_and_by_age_together_either_is_enough(admin: Client, database: Database) -> None:
    await history(database, [400, 3, 2, 1])
    assert (await admin.get(f"{PATH}?days=30&runs_per_dag=2"))["runs"] == 2


async def test_without_limits_the_settings_count(api_context: ApiContext, admin: Client, database: Database) -> None:
    await history(database, [400, 300, 1])
    refused = await admin.send("POST", PATH, {}, status=422)
    assert "LEOFLOW_RETENTION_DAYS" in str(refused)
    app = create_app(dataclasses.replace(api_context, retention=RetentionConfig(runs_per_dag=1)))
    assert (await Client(app, token=admin.token).get(PATH))["runs"] == 2


async def test_only_administrators_clean(clients: dict[str, Client]) -> None:
    for role, client in clients.items():
        answer = await client.call("POST", PATH, json={"days": 30})
        assert (answer.status_code == 200) == (role == "Admin"), role


async def test_a_limit_that_means_nothing_is_refused(admin: Client) -> None:
    for query in ("days=0", "days=-1", "days=nan", "runs_per_dag=0", "days=99999999"):
        assert (await admin.call("GET", f"{PATH}?{query}")).status_code in (400, 422), query
    for body in ({"days": 0}, {"runs_per_dag": 0}, {"weeks": 1}):
        assert (await admin.call("POST", PATH, json=body)).status_code in (400, 422), body
