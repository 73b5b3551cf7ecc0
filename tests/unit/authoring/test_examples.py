"""The examples that Lite offers compile, and say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

import leoflowd
from leoflowd.authoring.compiler import compile_project
from leoflowd.authoring.discovery import discover

EXAMPLES = Path(leoflowd.__file__).parent / "lite" / "examples"


@pytest.mark.parametrize("name", [project.path for project in discover(EXAMPLES).projects])
def test_an_example_compiles(name: str) -> None:
    (spec,) = compile_project(EXAMPLES / name)
    assert spec.dag_id == name.rpartition("/")[2]
    assert spec.description
    assert spec.doc_md
    assert spec.environment.dependencies == ()


def test_the_examples_are_complete() -> None:
    assert [project.path for project in discover(EXAMPLES).projects] == [
        "daily_sales_etl",
        "fan_out_aggregate",
        "http_load",
        "hyperparameter_search",
        "montecarlo_pi",
        "starter/hello",
    ]
