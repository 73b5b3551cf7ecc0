"""The environment with Airflow's real packages, and projects made of text."""

from __future__ import annotations

from tests.integration.airflow_environment import airflow_python
from tests.unit.authoring.conftest import project

__all__ = ["airflow_python", "project"]
