"""How a simulated user logs in: once, with a token, as Airflow's own clients do."""

from __future__ import annotations

import os
from typing import Any

from locust import HttpUser


class LeoflowUser(HttpUser):
    """Base of all users here. `LEOFLOW_USERNAME` and `LEOFLOW_PASSWORD` name the account."""

    abstract = True

    def on_start(self) -> None:
        body = {
            "username": os.environ.get("LEOFLOW_USERNAME", "admin"),
            "password": os.environ["LEOFLOW_PASSWORD"],
        }
        with self.client.post("/auth/token", json=body, catch_response=True) as answer:
            if answer.status_code != 201:
                answer.failure(f"login answered {answer.status_code}: {answer.text[:200]}")
                self.environment.runner.quit()
                return
            token = answer.json()["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, name: str, **params: Any) -> Any:
        """GET that counts under one name however its parameters differ."""
        return self.client.get(path, params=params, name=name)
