"""A sensor storm: runs of hundreds of sensors each, while somebody watches the pool."""

from __future__ import annotations

import os

from locust import between, constant_pacing, task

from loadtests.locustfiles.session import LeoflowUser

DAG_ID = os.environ.get("LEOFLOW_LOAD_SENSORS", "sensors_of_load")


class Storm(LeoflowUser):
    """Starts one run of many sensors every few seconds."""

    weight = 1
    wait_time = constant_pacing(3)

    @task
    def start_run(self) -> None:
        self.client.post(
            f"/api/v2/dags/{DAG_ID}/dagRuns", json={"logical_date": None, "conf": {}}, name="POST dagRuns (sensors)"
        )


class Watcher(LeoflowUser):
    """Looks at the pool page and at single waits."""

    weight = 3
    wait_time = between(1.0, 2.0)

    @task(2)
    def statistics(self) -> None:
        self.get("/leoflow/api/pool", "/leoflow/api/pool")

    @task(1)
    def waits(self) -> None:
        found = self.get("/leoflow/api/waits", "/leoflow/api/waits", limit=20, dag_id=DAG_ID)
        if found.ok and found.json()["waits"]:
            wait_id = found.json()["waits"][0]["id"]
            # It may have ended in between: 404 is an answer, not a failure of the server.
            with self.client.get(
                f"/leoflow/api/waits/{wait_id}", name="/leoflow/api/waits/<id>", catch_response=True
            ) as one:
                if one.status_code in (200, 404):
                    one.success()
