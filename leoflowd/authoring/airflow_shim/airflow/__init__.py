"""Leoflow's stand-in for Apache Airflow on the import path of a DAG file: structure only, standard library only.

`_leoflow/names.py` lists the modules and names that exist; `_leoflow_runtime.py` is the border to the programs that
load DAG files.
"""

from __future__ import annotations

from typing import Any

from airflow._leoflow.finder import attribute, install

__version__ = "3.2.2"
"""The Airflow release whose behaviour this stands in for; DAG files compare with it."""

install()


def __getattr__(name: str) -> Any:
    value = attribute("airflow", name)
    globals()[name] = value
    return value
