"""`from leoflow import DAG, task`: the names of `airflow.sdk` under our own name, for DAGs written for Leoflow."""

from __future__ import annotations

from typing import Any

import airflow.sdk
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator

__all__ = [*airflow.sdk.__all__, "BashOperator", "EmptyOperator", "PythonOperator"]


def __getattr__(name: str) -> Any:
    return getattr(airflow.sdk, name)
