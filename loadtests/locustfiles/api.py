"""People at the UI: lists, a grid, a run, a log; a few requests a second each."""

from __future__ import annotations

import random

from locust import between, task

from loadtests.locustfiles.session import LeoflowUser


class Reader(LeoflowUser):
    """Somebody who looks around."""

    wait_time = between(0.5, 2.0)

    @task(4)
    def dags(self) -> None:
        self.get("/ui/dags", "/ui/dags", limit=50, dag_runs_limit=14)

    @task(4)
    def runs(self) -> None:
        self.get("/api/v2/dags/~/dagRuns", "/dags/~/dagRuns", limit=50, order_by="-start_date")

    @task(2)
    def instances(self) -> None:
        self.get(
            "/api/v2/dags/~/dagRuns/~/taskInstances",
            "/taskInstances",
            limit=50,
            state=random.choice(["success", "deferred", "running"]),  # noqa: S311 - load, not secrets
        )

    @task(1)
    def pool(self) -> None:
        self.get("/leoflow/api/pool", "/leoflow/api/pool")

    @task(1)
    def health(self) -> None:
        self.get("/api/v2/monitor/health", "/monitor/health")
