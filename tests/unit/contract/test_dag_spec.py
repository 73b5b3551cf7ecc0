"""Which runtime a task has follows from its kind and its environment."""

from __future__ import annotations

import pytest

from leoflowd.contract.dag_spec import EnvironmentSpec, has_airflow, runtime_of


@pytest.mark.parametrize(
    ("dependency", "expected"),
    [
        ("apache-airflow", True),
        ("Apache_Airflow>=3.2", True),
        ("apache-airflow[http]==3.2.2", True),
        ("apache-airflow-core", True),
        ("apache-airflow-task-sdk~=1.2", True),
        ("apache-airflow-providers-cncf-kubernetes", True),
        ("apache-airflow-client", False),
        ("apache-airflow-ctl==0.1", False),
        ("pandas", False),
        ("my-apache-airflow", False),
    ],
)
def test_which_packages_bring_the_real_airflow(dependency: str, expected: bool) -> None:
    assert has_airflow(EnvironmentSpec(dependencies=(dependency,))) is expected


def test_a_connector_brings_it_too() -> None:
    assert has_airflow(EnvironmentSpec(connectors=("http",)))


def test_user_code_beside_real_packages_runs_with_them_and_our_own_kinds_never_do() -> None:
    with_airflow = EnvironmentSpec(connectors=("http",))
    kinds = ("python", "sensor", "operator", "bash", "wait", "http")
    assert [runtime_of(kind, with_airflow) for kind in kinds] == ["airflow"] * 3 + ["shim"] * 3
    assert {runtime_of(kind, EnvironmentSpec()) for kind in kinds} == {"shim"}
