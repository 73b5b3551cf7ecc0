"""An environment with Airflow's real packages, built once per checkout as Lite builds it for `connectors: [http]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.lite.environments import Environments
from tests.conftest import REPOSITORY, missing

CACHE = REPOSITORY / ".cache" / "airflow-environment"


@pytest.fixture(scope="session")
def airflow_python() -> Path:
    """Its interpreter. The first time, its packages come from the index that the installer is configured for."""
    try:
        return Environments(CACHE).ensure(EnvironmentSpec(connectors=("http",)))
    except EnvironmentFailed as error:
        missing(f"an environment with Airflow: {str(error)[-500:]}")
