"""The DAGs that the README shows run in Lite and give the results that their code says."""

from __future__ import annotations

import random
import re
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from loadtests.lite_process import Api, Lite
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "leoflowd" / "lite" / "examples"
README_DAG = re.compile(r"<!-- dag: sums -->\n```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def examples(lite: Lite, api: Api) -> Api:
    for name in ("fan_out_aggregate", "daily_sales_etl"):
        copytree(EXAMPLES / name, lite.workspace / name)
    found = README_DAG.search((REPOSITORY / "README.md").read_text())
    assert found is not None
    (lite.workspace / "sums").mkdir()
    (lite.workspace / "sums" / "dag.py").write_text(found.group(1))
    api.wait_for_dags("fan_out_aggregate", "daily_sales_etl", "sums")
    api.unpause("fan_out_aggregate", "sums")
    return api


def test_the_first_dag_of_the_readme(examples: Api) -> None:
    run_id = examples.trigger("sums")
    assert examples.wait_for_run("sums", run_id)["state"] == "success"
    assert examples.xcoms("sums", run_id) == {
        "read": {"return_value": [3, 1, 2]},
        "add_up": {"return_value": 6},
    }
    assert "adding [3, 1, 2]" in examples.log("sums", run_id, "add_up")


def test_map_and_reduce(examples: Api) -> None:
    run_id = examples.trigger("fan_out_aggregate")
    assert examples.wait_for_run("fan_out_aggregate", run_id)["state"] == "success"
    xcoms = examples.xcoms("fan_out_aggregate", run_id)
    assert pairs(xcoms["count_carroll"]) == [("and", 1), ("cat", 2), ("grinned", 1), ("the", 2), ("vanished", 1)]
    assert pairs(xcoms["aggregate"])[:2] == [("and", 7), ("the", 7)]
    assert re.search(r"the #{7} 7", examples.log("fan_out_aggregate", run_id, "show"))


def test_the_sales_pipeline(examples: Api, tmp_path: Path) -> None:
    """The DAG is paused when it is created, as it says; a run's result follows from its date."""
    assert examples.call("GET", "/dags/daily_sales_etl")["is_paused"] is True
    examples.unpause("daily_sales_etl")
    run_id = examples.trigger("daily_sales_etl", logical_date="2026-01-05T00:00:00Z")
    run = examples.wait_for_run("daily_sales_etl", run_id)
    assert run["state"] == "success"
    states = examples.states("daily_sales_etl", run_id)
    tasks = ("extract_north", "extract_south", "clean", "totals", "load.warehouse", "load.announce")
    assert states == dict.fromkeys(tasks, "success")
    xcoms = examples.xcoms("daily_sales_etl", run_id)
    dice = random.Random("north 2026-01-05")
    first = {"shop": "north", "product": dice.choice(["tea", "coffee", "cake"]), "count": dice.randint(1, 5)}
    assert xcoms["extract_north"]["return_value"][0] == first
    assert len(xcoms["clean"]["return_value"]) == 80
    revenue = sum(xcoms["totals"]["return_value"].values())
    day = run["run_after"][:10]
    assert xcoms["load.announce"]["return_value"] == f"revenue of {day}: {revenue:.2f}"
    assert xcoms["load.warehouse"]["return_value"] >= 3


def pairs(xcom: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A list of tuples as Airflow stores it: each in an envelope that names its class."""
    envelopes = xcom["return_value"]
    assert {envelope["__classname__"] for envelope in envelopes} == {"builtins.tuple"}
    return [tuple(envelope["__data__"]) for envelope in envelopes]
