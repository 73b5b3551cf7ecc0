"""Programs that start dag runs: each posts one and now and then asks how its last one goes."""

from __future__ import annotations

import os

from locust import between, task

from loadtests.locustfiles.session import LeoflowUser

DAG_ID = os.environ.get("LEOFLOW_LOAD_DAG", "trigger_me")


class Trigger(LeoflowUser):
    wait_time = between(0.2, 1.0)
    last_run_id: str | None = None

    @task(3)
    def start_run(self) -> None:
        body: dict[str, object] = {"logical_date": None, "conf": {}}
        with self.client.post(
            f"/api/v2/dags/{DAG_ID}/dagRuns", json=body, name="POST dagRuns", catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
                return
            self.last_run_id = answer.json()["dag_run_id"]

    @task(1)
    def look(self) -> None:
        if self.last_run_id is not None:
            self.get(f"/api/v2/dags/{DAG_ID}/dagRuns/{self.last_run_id}", "GET dagRun")
