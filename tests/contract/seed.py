"""A workspace and what becomes of it, so that the requests of `make contract` meet something."""

from __future__ import annotations

from typing import Any

from loadtests.lite_process import Api

DAG_ID = "contract"
WORKSPACE = {
    "contract": """
from datetime import datetime

from airflow.sdk import DAG, Asset, AssetAlias, Param, task
from airflow.providers.standard.operators.hitl import ApprovalOperator

kept, other = Asset("of-contract"), Asset("other-of-contract")

with DAG("contract", schedule="@daily", start_date=datetime(2025, 12, 1), tags=["of"], params={"n": Param(1)}):

    @task(outlets=[kept, AssetAlias("alias-of-contract")])
    def extract():
        print("hello")
        return {"rows": [1, 2, 3]}

    @task
    def count(n):
        return n

    @task
    def after(x):
        raise ValueError(x)

    after(extract())
    count.expand(n=[1, 2])

with DAG("asks", schedule=None, start_date=datetime(2025, 12, 1)):
    ApprovalOperator(task_id="ask", subject="May it?")

with DAG("waits", schedule=(kept & other), start_date=datetime(2025, 12, 1)):

    @task
    def wait():
        pass

    wait()
""",
}


def seed(api: Api) -> dict[str, Any]:
    """Parameters of the documents, with what exists: `path.dag_id` -> "contract"."""
    api.wait_for_dags(DAG_ID, "asks", "waits")
    api.unpause(DAG_ID, "asks", "waits")
    run_id = api.trigger(DAG_ID)
    api.trigger("asks")
    api.wait_for_run(DAG_ID, run_id)
    api.call("POST", "/variables", json={"key": "of_contract", "value": "1"})
    api.call("POST", "/pools", json={"name": "of_contract", "slots": 2})
    api.call("POST", "/connections", json={"connection_id": "of_contract", "conn_type": "http", "host": "h.invalid"})
    days = {"from_date": "2025-12-01T00:00:00Z", "to_date": "2025-12-02T00:00:00Z"}
    backfill = api.call("POST", "/backfills", json={"dag_id": DAG_ID, **days, "max_active_runs": 1})
    (asset,) = api.call("GET", "/assets", params={"dag_ids": DAG_ID})["assets"]
    (alias,) = api.call("GET", "/assets/aliases")["asset_aliases"]
    dag = api.call("GET", f"/dags/{DAG_ID}")
    return {
        "path.dag_id": DAG_ID,
        "path.dag_run_id": run_id,
        "path.run_id": run_id,
        "path.task_id": "extract",
        "path.map_index": -1,
        "path.try_number": 1,
        "path.task_try_number": 1,
        "path.xcom_key": "return_value",
        "path.version_number": 1,
        "path.variable_key": "of_contract",
        "path.pool_name": "of_contract",
        "path.connection_id": "of_contract",
        "path.backfill_id": backfill["id"],
        "path.asset_id": asset["id"],
        "path.asset_alias_id": alias["id"],
        "path.event_log_id": api.call("GET", "/eventLogs")["event_logs"][0]["event_log_id"],
        "path.file_token": dag["file_token"],
        "path.section": "pool",
        "path.option": "workers",
        "query.dag_id": DAG_ID,
    }
