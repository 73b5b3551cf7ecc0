"""The table of old names: every one leads somewhere, in one way, to something that is not old."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest

from leoflowd.authoring.compiler import SHIM


def load(name: str) -> Any:
    """By its path, as the runner does where `airflow` is the real package."""
    path = SHIM / "airflow" / "_leoflow" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"loaded_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


moved = load("moved")
LEFTOVERS = load("leftovers")
NAMES = sorted({*moved._names, *((module, "Anything") for module in moved._modules)})


@pytest.mark.parametrize("old", NAMES, ids=".".join)
def test_an_old_name_leads_to_one_that_is_not_old(old: tuple[str, str]) -> None:
    target = moved.resolve(*old)
    assert (target.module, target.name) != old
    assert moved.resolve(target.module, target.name) is None
    if target.module == moved.HELPERS:
        assert hasattr(LEFTOVERS, target.name)


@pytest.mark.parametrize("full", [name for name in moved.RULES if not name.endswith(".")])
def test_rules_are_found_by_the_name_they_are_written_under(full: str) -> None:
    module, _, name = full.rpartition(".")
    assert moved.RULES[full] in moved.rules_of(module, name)


@pytest.mark.parametrize("old", sorted(moved._names), ids=".".join)
def test_a_module_of_the_shim_holds_no_old_name(runtime: ModuleType, old: tuple[str, str]) -> None:
    """The table comes first, and what it hides in `names.py` would never be asked."""
    from airflow._leoflow.names import MODULES

    module, name = old
    assert not moved.resolve(module, name).is_removed or name not in MODULES.get(module, {})


def test_the_way_of_a_name_names_the_providers_it_needs() -> None:
    assert moved.modules_of("airflow.operators.postgres_operator", "PostgresOperator") == (
        "airflow.providers.postgres.operators.postgres",
        "airflow.providers.common.sql.operators.sql",
    )
    assert moved.modules_of("airflow.operators.bash_operator", "BashOperator") == (
        "airflow.providers.standard.operators.bash",
    )
    assert moved.modules_of("airflow.utils.dates", "days_ago") == ()


def test_an_argument_that_did_not_change_is_no_remark() -> None:
    assert moved.modern_arguments(moved.TASK_RULES, {"trigger_rule": "all_done", "x": 1}) == (
        {"trigger_rule": "all_done", "x": 1},
        [],
    )


def test_an_argument_given_by_both_names_must_agree() -> None:
    rules = moved.Rules(rename={"old": "new"})
    assert moved.modern_arguments(rules, {"old": 1, "new": 1})[0] == {"new": 1}
    with pytest.raises(moved.Refused, match="new is given as well"):
        moved.modern_arguments(rules, {"old": 1, "new": 2})


def test_none_under_one_of_two_names_says_nothing() -> None:
    rules = moved.Rules(rename={"old": "new", "older": "new"})
    for given in (
        {"old": None, "new": 1},
        {"old": 1, "older": None},
        {"old": None, "older": 1},
        {"new": None, "old": 1},
    ):
        assert moved.modern_arguments(rules, given)[0] == {"new": 1}, given
    assert moved.modern_arguments(rules, {"old": None})[0] == {"new": None}


def test_what_the_call_says_wins_over_default_args() -> None:
    rules = moved.Rules(rename={"old": "new"})
    assert moved.modern_arguments(rules, {"new": 1}, {"old": 2})[0] == {"new": 1}
    assert moved.modern_arguments(rules, {}, {"old": 2})[0] == {"new": 2}
