"""`from leoflow.dbt import dbt_group`: the models of a dbt project as a task group of any DAG (ADR 71)."""

from __future__ import annotations

from airflow._leoflow.dbt_dag import dbt_group

__all__ = ["dbt_group"]
