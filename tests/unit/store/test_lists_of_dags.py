"""Nothing that the API reads across DAGs can be called without saying for which DAGs (ADR 32)."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import accumulate
from typing import Any

import pytest

from leoflowd import store
from leoflowd.store import api_lists
from leoflowd.store.api_lists import DagListing, Listing
from leoflowd.store.database import statements
from tests.conftest import REPOSITORY

QUERIES = sorted((REPOSITORY / "leoflowd" / "store" / "queries").glob("*.sql"))
OF_ONE_DAG = frozenset({"dag_id", "dag_run_id", "dag_run_ids", "keys", "key", "run"})
"""A parameter of this name says which DAG: the caller was asked about it before."""
OF_NO_DAG = frozenset({"api_pools", "api_jobs", "api_users", "api_monitor", "api_lists", "connections", "variables"})
"""Modules without anything of a DAG, and the machinery of lists itself."""


def _reads() -> Iterator[Callable[..., Any]]:
    """Every public coroutine of store.api_* and store.ui_* that is not about one DAG."""
    for module in pkgutil.iter_modules(store.__path__):
        if not module.name.startswith(("api_", "ui_")) or module.name in OF_NO_DAG:
            continue
        loaded = import_module(f"leoflowd.store.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.iscoroutinefunction):
            is_own = function.__module__ == loaded.__name__ and not name.startswith("_")
            if is_own and not OF_ONE_DAG & inspect.signature(function).parameters.keys():
                yield function


@pytest.mark.parametrize("read", list(_reads()), ids=lambda read: f"{read.__module__}.{read.__name__}")
def test_a_read_across_dags_demands_them(read: Callable[..., Any]) -> None:
    dags = inspect.signature(read).parameters.get("dags")
    assert dags is not None
    assert (dags.kind, dags.default) == (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty)


def test_there_are_such_reads() -> None:
    assert len(list(_reads())) >= 15


def test_every_list_with_a_dag_in_it_is_one_of_dags() -> None:
    """`Listing` itself is for what belongs to no DAG."""
    for module in pkgutil.iter_modules(store.__path__):
        loaded = import_module(f"leoflowd.store.{module.name}")
        for name, found in inspect.getmembers(loaded, lambda value: isinstance(value, DagListing | Listing)):
            kind = Listing if module.name in OF_NO_DAG else DagListing
            assert isinstance(found, kind), f"{module.name}.{name}"


@pytest.mark.parametrize("read", [api_lists.list_page, api_lists.list_cursor_page, api_lists.fetch_row])
def test_nothing_reads_a_list_of_dags_before_it_is_cut_to_some(read: Callable[..., Any]) -> None:
    assert inspect.signature(read, eval_str=True).parameters["listing"].annotation is Listing
    assert not issubclass(DagListing, Listing)


@pytest.mark.parametrize("file", [path.stem for path in QUERIES if "-- name: filters" in path.read_text()])
def test_what_is_left_out_with_a_filter_that_is_off_is_that_filter_alone(file: str) -> None:
    """Two in one piece would go together, and a list would show what nobody asked for."""
    conditions = api_lists._conditions(file)
    for one in (condition for condition in conditions if condition.switch):
        depths = list(accumulate({"(": 1, ")": -1}.get(sign, 0) for sign in one.text.as_string()))
        assert depths.index(0) == len(depths) - 1, f"more than what {one.switch} switches: {one.text}"
    pieces = [condition.text.as_string() for condition in conditions]
    whole = statements(file).filters.decode()
    names = set(re.findall(r"%\((\w+)\)s", whole))
    assert {name for piece in pieces for name in re.findall(r"%\((\w+)\)s", piece)} == names


def test_filters_are_told_apart_at_each_and_between_them() -> None:
    text = "(%(a)s::text IS NULL OR x = %(a)s) AND (%(b)s::int IS NULL OR (y = 1 AND z))\nAND NOT w"
    assert api_lists._split(text) == [
        "(%(a)s::text IS NULL OR x = %(a)s)",
        "(%(b)s::int IS NULL OR (y = 1 AND z))",
        "NOT w",
    ]
    with pytest.raises(ValueError, match="in no parentheses"):
        api_lists._split("(%(a)s::text IS NULL OR x) OR y")
