"""The environment with Airflow's real packages, for the tests of this folder."""

from __future__ import annotations

from tests.integration.airflow_environment import airflow_python

__all__ = ["airflow_python"]
