"""When a failed try is followed by another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from leoflowd.core.dag_shape import TaskNode
from leoflowd.core.retries import has_retries_left, next_retry_at
from leoflowd.core.run_view import InstanceFacts
from tests.unit.core.core_builders import NOW, seconds, task

LOGICAL_DATE = datetime(2026, 1, 1, tzinfo=UTC)


def delay_s(try_number: int, *, infra_faults: int = 0, **fields: object) -> float:
    node = TaskNode(index=0, spec=task("t", retries=3, **fields))
    facts = InstanceFacts(id="x", node=0, try_number=try_number, infra_faults=infra_faults)
    return (next_retry_at(node, facts, NOW, dag_id="d", logical_date=LOGICAL_DATE) - NOW).total_seconds()


def test_a_constant_delay_is_just_that_however_long() -> None:
    assert delay_s(5, retry_delay_s=200_000) == 200_000


# What TaskInstance.next_retry_datetime of apache-airflow-core 3.2.2 gives for dag 'd', task 't', this logical date.
AIRFLOW_SAYS: list[tuple[dict[str, object], list[float]]] = [
    (
        {"retry_delay_s": 300, "retry_exponential_backoff": 2.0, "max_retry_delay_s": None},
        [389.0, 1115.0, 1778.0, 3593.0, 4950.0, 14300.0, 27829.0],
    ),
    (
        {"retry_delay_s": 10, "retry_exponential_backoff": 3.0, "max_retry_delay_s": None},
        [19.0, 35.0, 158.0, 323.0, 1230.0, 3530.0, 13339.0],
    ),
    (
        {"retry_delay_s": 60, "retry_exponential_backoff": 1.5, "max_retry_delay_s": 600},
        [89.0, 95.0, 158.0, 273.0, 342.0, 600.0, 600.0],
    ),
    (
        {"retry_delay_s": 0.3, "retry_exponential_backoff": 2.0, "max_retry_delay_s": None},
        [1.0, 1.0, 2.0, 5.0, 5.0, 10.0, 29.0],
    ),
    (
        {"retry_delay_s": 45, "retry_exponential_backoff": 1.0, "max_retry_delay_s": 10},
        [45.0, 45.0, 45.0, 45.0, 45.0, 45.0, 45.0],
    ),
    (
        {"retry_delay_s": 100, "retry_exponential_backoff": 0.5, "max_retry_delay_s": None},
        [189.0, 65.0, 28.0, 20.0, 12.0, 4.0, 3.0],
    ),
]


@pytest.mark.parametrize(("fields", "delays"), AIRFLOW_SAYS)
def test_airflow_waits_as_long(fields: dict[str, object], delays: list[float]) -> None:
    assert [delay_s(try_number, **fields) for try_number in range(1, len(delays) + 1)] == delays  # type: ignore[arg-type]


def test_the_delay_grows_and_is_never_longer_than_max_retry_delay() -> None:
    assert delay_s(9, retry_delay_s=10, retry_exponential_backoff=2, max_retry_delay_s=60) == 60


def test_the_delay_is_never_longer_than_a_day() -> None:
    assert delay_s(20, retry_delay_s=300, retry_exponential_backoff=2) == 86_400


def test_a_power_beyond_all_floats_is_a_day_too() -> None:
    assert delay_s(5000, retry_delay_s=300, retry_exponential_backoff=10) == 86_400


def test_no_delay_with_backoff_is_one_second_at_first() -> None:
    assert delay_s(1, retry_delay_s=0, retry_exponential_backoff=2) == 1


def test_infrastructure_faults_do_not_lengthen_the_delay() -> None:
    assert 10 <= delay_s(3, infra_faults=2, retry_delay_s=10, retry_exponential_backoff=2) < 20


@pytest.mark.parametrize(
    ("retries", "try_number", "max_tries", "left"),
    [
        (0, 1, 0, False),
        (1, 1, 1, True),
        (1, 2, 1, False),
        (3, 3, 3, True),
        (0, 1, 5, False),  # a task without retries has none, whatever clearing made of max_tries
        (1, 2, 2, True),  # one infrastructure fault raised both numbers
    ],
)
def test_retries_are_left_while_the_try_number_is_within_max_tries(
    retries: int, try_number: int, max_tries: int, left: bool
) -> None:
    node = TaskNode(index=0, spec=task("t", retries=retries))
    facts = InstanceFacts(id="x", node=0, try_number=try_number, max_tries=max_tries)
    assert has_retries_left(node, facts) is left


def test_the_moment_counts_from_the_end_of_the_try() -> None:
    node = TaskNode(index=0, spec=task("t", retries=1, retry_delay_s=30))
    facts = InstanceFacts(id="x", node=0, try_number=1)
    ended_at = NOW - timedelta(hours=1)
    assert next_retry_at(node, facts, ended_at, dag_id="d", logical_date=None) == ended_at + seconds(30)
