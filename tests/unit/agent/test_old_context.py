"""Names of the context that Airflow 3 dropped: what a try still gets, and what it must not lose to them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from leoflow_agent.runner.old_spelling import add_context_names

HERE = datetime(2024, 3, 4, tzinfo=UTC)
BEFORE, AFTER = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("airflow.configuration")
    module.conf = "the configuration"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.configuration", module)


def names(
    *, run_type: str = "scheduled", logical_date: datetime | None = HERE, dag: Any = None, task: Any = None
) -> dict[str, Any]:
    asked: list[str] = []

    def ask(kind: str, question: dict[str, Any]) -> dict[str, Any]:
        asked.append(kind)
        assert question == {"only_success": True}
        return {"run": {"logical_date": "2024-02-20T00:00:00Z"}}

    context = {"task": task or SimpleNamespace(), "dag": dag or SimpleNamespace(), "logical_date": logical_date}
    spec = {
        "dag_run": {"run_type": run_type, "run_after": "2024-03-04T07:00:00Z"},
        "prev_logical_date": "2024-03-01T00:00:00Z",
        "next_logical_date": "2024-03-05T00:00:00Z",
    }
    add_context_names(context, spec, ask)
    assert asked == [], "nothing is asked before it is used"
    return context


def test_a_scheduled_run_stands_between_its_neighbours() -> None:
    found = names()
    assert (found["execution_date"], found["next_execution_date"], found["prev_execution_date"]) == (
        HERE,
        AFTER,
        BEFORE,
    )
    assert (found["next_ds"], found["prev_ds"], found["prev_ds_nodash"]) == ("2024-03-05", "2024-03-01", "20240301")


def test_yesterday_and_tomorrow_are_days_whatever_the_schedule_is() -> None:
    found = names()
    assert (found["yesterday_ds"], found["tomorrow_ds"]) == ("2024-03-03", "2024-03-05")
    assert (found["yesterday_ds_nodash"], found["tomorrow_ds_nodash"]) == ("20240303", "20240305")


def test_a_run_that_somebody_asked_for_stands_alone() -> None:
    found = names(run_type="manual")
    assert found["next_execution_date"] == found["prev_execution_date"] == HERE
    assert (found["next_ds"], found["prev_ds_nodash"]) == ("2024-03-04", "20240304")


def test_the_last_success_is_looked_up_when_it_is_used() -> None:
    assert names()["prev_execution_date_success"].day == 20


def test_a_run_without_a_logical_date_has_the_date_when_it_was_asked_for() -> None:
    found = names(run_type="manual", logical_date=None)
    assert (found["execution_date"], found["tomorrow_ds"]) == (datetime(2024, 3, 4, 7, tzinfo=UTC), "2024-03-05")
    assert found["conf"] == "the configuration"


def test_a_macro_of_the_dag_keeps_its_name() -> None:
    assert "next_ds" not in names(dag=SimpleNamespace(user_defined_macros={"next_ds": len}))


def test_a_parameter_that_is_filled_by_its_place_is_not_filled_twice() -> None:
    def function(conf: Any, execution_date: Any) -> None: ...

    found = names(task=SimpleNamespace(python_callable=function, op_args=[{}]))
    assert "conf" not in found
    assert found["execution_date"] == HERE
