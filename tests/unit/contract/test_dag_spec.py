"""Which runtime a task has follows from its kind and its environment; what its mapped instances have for themselves."""

from __future__ import annotations

import pytest

from leoflowd.contract.dag_spec import (
    DagSpec,
    EnvironmentSpec,
    MappedValues,
    TaskSpec,
    checked,
    has_airflow,
    of_instance,
    runtime_of,
)
from leoflowd.contract.errors import Invalid
from leoflowd.contract.wait_spec import ProbeSpec, WaitSpec, WaitTerms


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
    assert [runtime_of(kind, with_airflow, "shim") for kind in kinds] == ["airflow"] * 3 + ["shim"] * 3
    assert {runtime_of(kind, with_airflow, "sdk") for kind in kinds} == {"airflow"}
    assert {runtime_of(kind, EnvironmentSpec(), "shim") for kind in kinds} == {"shim"}


def waiting(*columns: MappedValues) -> TaskSpec:
    terms = WaitTerms(predicate={"size": {"least": 1}})
    wait = WaitSpec(probe=ProbeSpec(kind="file", arguments={"path": "x"}), terms=terms)
    return TaskSpec(task_id="t", operator="FileSensor", kind="wait", wait=wait, mapped_values=columns)


def test_an_instance_has_its_own_values_in_place_of_the_common_ones() -> None:
    task = waiting(
        MappedValues(path=("probe", "arguments", "path"), values=("a", "b")),
        MappedValues(path=("terms", "predicate", "size", "least"), values=(2, 3)),
    )
    own = [of_instance(task, map_index).wait for map_index in range(2)]
    assert [(one.probe.arguments["path"], one.terms.predicate["size"]["least"]) for one in own if one] == [
        ("a", 2),
        ("b", 3),
    ]
    assert of_instance(waiting(), 5) == waiting()


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ([MappedValues(path=("probe", "arguments", "path", "deeper"), values=("a",))], "map index 0"),
        ([MappedValues(path=("nowhere", "at all"), values=("a",))], "map index 0"),
        ([MappedValues(path=("terms", "poke_interval_s"), values=(1, -1))], "map index 1"),
        ([MappedValues(path=("terms", "poke_interval_s"), values=(1, 1e12))], "out of range"),
        (
            [
                MappedValues(path=("probe", "kind"), values=("a", "b")),
                MappedValues(path=("probe", "connection_id"), values=("a",)),
            ],
            "not of one length",
        ),
    ],
)
def test_an_artifact_whose_instances_are_no_waits_is_refused(columns: list[MappedValues], fault: str) -> None:
    with pytest.raises(Invalid, match=fault):
        checked(DagSpec(dag_id="d", tasks=(waiting(*columns),)))
