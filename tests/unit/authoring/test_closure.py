"""What belongs to a DAG file: everything that it may import, and no file of its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from leoflowd.authoring.closure import Closure, closure_of, python_files
from leoflowd.authoring.module_facts import facts_of
from tests.fakes.dag_trees import plant

PATHS = ("dags", "plugins", ".")


def closure(folder: Path, files: Mapping[str, str], source: str = "dags/a.py") -> Closure:
    plant(folder, files)
    return closure_of([source], python_files(folder, ()), PATHS, lambda path: facts_of(folder / path))


def modules(folder: Path, files: Mapping[str, str]) -> list[str]:
    return sorted(closure(folder, files).modules - {"dags/a.py"})


LIBRARY = {
    "dags/near.py": "",
    "dags/pack/__init__.py": "",
    "dags/pack/part.py": "from . import other\nfrom ..pack.deep import low",
    "dags/pack/other.py": "",
    "dags/pack/deep/__init__.py": "",
    "dags/pack/deep/low.py": "from ... import near",
    "dags/bare/inner.py": "",
    "plugins/ops.py": "import near",
    "include/sql/query.py": "",
    "dags/b.py": "import pack.part",
}


@pytest.mark.parametrize(
    "newer",
    [
        'text = f"{"a" "b"!x}"',
        "print(\n    f(=),\n    1,\n)",
        "def f(=):\n    first = 1\n\n    def g():\n        return first\n\n    return g",
        "for x in y:\n    a = (=)",
        "(=)",
    ],
)
def test_a_line_of_a_newer_python_hides_no_other(tmp_path: Path, newer: str) -> None:
    """The daemon's Python reads what a DAG imports, another one may run it."""
    text = f"import near\n{newer}\nif True:\n    import ops\n"
    assert modules(tmp_path, {**LIBRARY, "dags/a.py": text}) == ["dags/near.py", "plugins/ops.py"]


def test_what_is_no_python_at_all_imports_nothing(tmp_path: Path) -> None:
    assert modules(tmp_path, {**LIBRARY, "dags/a.py": "import (=\n" * 500 + "import near\n"}) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import near", ["dags/near.py"]),
        ("import ops", ["dags/near.py", "plugins/ops.py"]),
        ("import pack", ["dags/pack/__init__.py"]),
        ("from pack import other", ["dags/pack/__init__.py", "dags/pack/other.py"]),
        ("import pack.other as x", ["dags/pack/__init__.py", "dags/pack/other.py"]),
        ("from pack.other import function", ["dags/pack/__init__.py", "dags/pack/other.py"]),
        ("from bare import inner", ["dags/bare/inner.py"]),
        ("from include.sql import query", ["include/sql/query.py"]),
        ("from include.sql.query import SQL", ["include/sql/query.py"]),
        ("def f():\n    import near", ["dags/near.py"]),
        ("try:\n    import near\nexcept ImportError:\n    import ops", ["dags/near.py", "plugins/ops.py"]),
        ("import importlib\nimportlib.import_module('near')", ["dags/near.py"]),
        ("command = 'python /opt/airflow/include/sql/query.py --x'", ["include/sql/query.py"]),
        ("command = f'python -m include.sql.query {1}'", ["include/sql/query.py"]),
        ("if TYPE_CHECKING:\n    import near", []),
        ("import json, pandas", []),
    ],
)
def test_what_an_import_reaches(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert modules(tmp_path, {**LIBRARY, "dags/a.py": text}) == expected


def test_imports_are_followed_through_packages_and_dots(tmp_path: Path) -> None:
    assert modules(tmp_path, {**LIBRARY, "dags/a.py": "import pack.part"}) == [
        "dags/near.py",
        "dags/pack/__init__.py",
        "dags/pack/deep/__init__.py",
        "dags/pack/deep/low.py",
        "dags/pack/other.py",
        "dags/pack/part.py",
    ]


def test_files_that_change_the_path_import_from_any_folder(tmp_path: Path) -> None:
    files = {"dags/team/a.py": "import helper", "dags/team/helper.py": "", "dags/other/helper2.py": ""}
    assert closure(tmp_path, files, "dags/team/a.py").modules == {"dags/team/a.py"}
    files["dags/team/a.py"] = "import os, sys\nsys.path.append(os.path.dirname(__file__))\nimport helper\n"
    assert closure(tmp_path, files, "dags/team/a.py").modules == {"dags/team/a.py", "dags/team/helper.py"}


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nimportlib.import_module(name)",
        "__import__(name)",
        "import pkgutil",
        "from runpy import run_path",
        "from importlib.util import spec_from_file_location as x\nimportlib.util.spec_from_file_location('a', 'b')",
        "import importlib\nimportlib.import_module('.near', __package__)",
    ],
)
def test_computed_imports_may_reach_any_file(tmp_path: Path, text: str) -> None:
    assert closure(tmp_path, {**LIBRARY, "dags/a.py": text}).is_whole


def test_a_computed_import_counts_in_a_module_too_and_only_there(tmp_path: Path) -> None:
    files = {**LIBRARY, "dags/pack/other.py": "__import__(x)", "dags/a.py": "import pack.other"}
    assert closure(tmp_path, files).is_whole
    assert not closure(tmp_path, {**files, "dags/a.py": "import near"}).is_whole


def test_a_dag_file_named_after_a_library_does_not_hide_it(tmp_path: Path) -> None:
    found = closure(
        tmp_path, {"dags/redis.py": "import redis\nfrom docker import api", "docker/x.py": ""}, "dags/redis.py"
    )
    assert [one.what.module for one in found.outside] == ["redis", "docker"]


def test_imports_from_outside_say_where_and_when(tmp_path: Path) -> None:
    found = closure(
        tmp_path,
        {
            "dags/a.py": "import pandas\ndef f():\n    import later\n    import boto3\n"
            "try:\n    import ujson as json\nexcept ImportError:\n    import simplejson\n",
            "dags/later.py": "import numpy\n",
        },
    )
    assert [(one.path, one.what.line, one.what.module, one.what.when) for one in found.outside] == [
        ("dags/a.py", 1, "pandas", "load"),
        ("dags/a.py", 4, "boto3", "call"),
        ("dags/a.py", 6, "ujson", "optional"),
        ("dags/a.py", 8, "simplejson", "optional"),
        ("dags/later.py", 1, "numpy", "call"),
    ]


@pytest.mark.parametrize("text", ["print 'old'", "x = '\0'", "(" * 5000, "class\n", "\\d = 1"])
def test_a_file_that_is_no_python_has_no_imports(tmp_path: Path, text: str) -> None:
    assert closure(tmp_path, {"dags/a.py": text}).modules == {"dags/a.py"}


def test_a_warning_of_the_text_is_not_ours(tmp_path: Path) -> None:
    assert modules(tmp_path, {**LIBRARY, "dags/a.py": "import near\nx = '\\d'\n"}) == ["dags/near.py"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from leoflow.dbt import dbt_group", ["dbt/models/deep/m.py"]),
        ("from leoflow import dbt", ["dbt/models/deep/m.py"]),
        ("import leoflow.dbt", ["dbt/models/deep/m.py"]),
        ("import shop", ["dags/shop.py", "dbt/models/deep/m.py"]),
        ("import leoflow", []),
    ],
)
def test_models_in_python_belong_to_whoever_makes_groups_of_dbt(tmp_path: Path, text: str, expected: list[str]) -> None:
    files = {"dags/a.py": text, "dags/shop.py": "from leoflow.dbt import dbt_group", "dbt/models/deep/m.py": ""}
    plant(tmp_path, files)
    found = closure_of(
        ["dags/a.py"], files.keys(), PATHS, lambda path: facts_of(tmp_path / path), dbt_projects=["dbt/"]
    )
    assert sorted(found.modules - {"dags/a.py"}) == expected
