"""Which environments are the same one."""

from __future__ import annotations

import pytest

from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.executors.process import environment_key


@pytest.mark.parametrize(
    "other", [{"python_version": "3.12"}, {"dependencies": ("duckdb",)}, {"connectors": ("http",)}]
)
def test_what_is_installed_tells_environments_apart(other: dict[str, object]) -> None:
    assert environment_key(EnvironmentSpec(**other)) != environment_key(EnvironmentSpec())


def test_how_it_is_started_does_not() -> None:
    assert environment_key(EnvironmentSpec(warm=False, preload=("x",))) == environment_key(EnvironmentSpec())
