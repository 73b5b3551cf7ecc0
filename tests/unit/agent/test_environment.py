"""What a task's environment holds, and what it must not."""

from __future__ import annotations

from leoflow_agent.environment import clean_environment


def test_only_named_variables_get_through():
    source = {
        "HOME": "/home/ana",
        "PATH": "/usr/bin",
        "LC_ALL": "C",
        "AIRFLOW_VAR_REGION": "eu",
        "AIRFLOW_CONN_DB": "postgres://",
        "AIRFLOW__API__BASE_URL": "http://leoflow",
        "AIRFLOW__CORE__FERNET_KEY": "secret",
        "LEOFLOW_TOKEN": "secret",
        "PGPASSWORD": "secret",
    }
    assert clean_environment("/venv/bin/python", source) == {
        "HOME": "/home/ana",
        "LANG": "C.UTF-8",
        "PATH": "/venv/bin:/usr/bin",
        "LC_ALL": "C",
        "AIRFLOW_VAR_REGION": "eu",
        "AIRFLOW_CONN_DB": "postgres://",
        "AIRFLOW__API__BASE_URL": "http://leoflow",
    }
