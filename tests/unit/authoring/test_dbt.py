"""`dbt:` of leoflow.yaml: what is refused, and how a graph becomes tasks. dbt itself runs in tests/integration."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leoflowd.authoring.compiler import digest_of
from leoflowd.authoring.discovery import discover
from leoflowd.authoring.project import config_of

from .conftest import MakeProject, Refuse

YAML = """
dag_id: shop
dbt:
  connection: warehouse
  adapter: duckdb
"""
PROJECT = {"dbt_project.yml": "name: shop\n"}


@pytest.fixture
def dbt_dag(runtime: ModuleType) -> Any:
    """The shim's module, in this process."""
    return importlib.import_module("airflow._leoflow.dbt_dag")


def node(dbt_dag: Any, name: str, *parents: str, kind: str = "model", folder: str = "models") -> Any:
    return dbt_dag.Node(name, name, kind, ["shop", name], folder, list(parents))


def before_of(dbt_dag: Any, nodes: list[Any], granularity: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = dbt_dag._before(dbt_dag._units(nodes, granularity))
    return found


def test_a_folder_with_the_block_is_a_project_of_its_own(project: MakeProject) -> None:
    folder = project(yaml=YAML, files=PROJECT)
    assert [(one.folder, one.source_path) for one in discover(folder).projects] == [(folder.resolve(), "leoflow.yaml")]


@pytest.mark.parametrize("inner", [".", "inner"])
def test_what_dbt_leaves_in_the_project_is_no_part_of_the_bundle(project: MakeProject, inner: str) -> None:
    files = {f"{inner}/dbt_project.yml": "", f"{inner}/target/x": "1", f"{inner}/models/target/x.sql": "1"}
    (one,) = discover(project(yaml=YAML + f"  project_dir: {inner}\n", files=files)).projects
    config = config_of(one)
    before = digest_of(one, config, None)
    (one.folder / inner / "target" / "x").write_text("2")
    assert digest_of(one, config, None) == before
    (one.folder / inner / "models" / "target" / "x.sql").write_text("2")
    assert digest_of(one, config, None) != before


@pytest.mark.parametrize(
    ("yaml", "files", "line", "words"),
    [
        (YAML, {}, 2, ["no dbt_project.yml in '.'", "set dbt.project_dir"]),
        (YAML + "  granularity: model\n", PROJECT, 5, ["'model'", "node, level, folder"]),
        (YAML + "  selct: [a]\n", PROJECT, 5, ["unknown key 'dbt.selct'"]),
        (YAML.replace("dag_id: shop\n", ""), PROJECT, 1, ["dag_id is not", "add `dag_id"]),
        (YAML + "connectors: [http]\n", PROJECT, 5, ["connectors are set", "no provider"]),
        (YAML, {**PROJECT, "dag.py": ""}, 2, ["dag.py makes one too", "a folder of its own"]),
        (YAML, PROJECT, 2, ["dbt is not installed", "dbt-duckdb"]),
    ],
)
def test_a_wrong_block_is_refused_with_its_line(
    refused: Refuse, yaml: str, files: dict[str, str], line: int, words: list[str]
) -> None:
    error = refused(yaml=yaml, files=files)
    assert (error.path, error.line) == ("leoflow.yaml", line)
    for word in words:
        assert word in str(error)


def test_a_task_for_each_node_or_level_or_folder(dbt_dag: Any) -> None:
    nodes = [
        node(dbt_dag, "raw", kind="seed", folder="seeds"),
        node(dbt_dag, "stg", "raw", folder="models/staging"),
        node(dbt_dag, "other", folder="models/staging"),
        node(dbt_dag, "mart", "stg", "other", folder="models/marts/eu"),
    ]
    assert before_of(dbt_dag, nodes, "node") == {"raw": set(), "stg": {"raw"}, "other": set(), "mart": {"stg", "other"}}
    assert before_of(dbt_dag, nodes, "level") == {
        "level_00": set(),
        "level_01": {"level_00"},
        "level_02": {"level_00", "level_01"},
    }
    assert before_of(dbt_dag, nodes, "folder") == {"seeds": set(), "staging": {"seeds"}, "marts.eu": {"staging"}}


def test_a_test_comes_after_the_last_of_what_it_looks_at(dbt_dag: Any) -> None:
    nodes = [
        node(dbt_dag, "a"),
        node(dbt_dag, "b", "a"),
        node(dbt_dag, "c"),
        node(dbt_dag, "t_a", "a", kind="test"),
        node(dbt_dag, "t_ab", "a", "b", kind="test"),
        node(dbt_dag, "t_ac", "a", "c", kind="unit_test"),
    ]
    units = dbt_dag._units(nodes, "node")
    before = dbt_dag._before(units)
    order = dbt_dag._order(units, before, None)
    assert dbt_dag._tests(order, before, nodes, "after") == {
        "a.test": ({"a"}, ["t_a"]),
        "b.test": ({"b"}, ["t_ab"]),
        "a-c.test": ({"a", "c"}, ["t_ac"]),
    }
    assert dbt_dag._tests(order, before, nodes, "end") == {"test": ({"a", "b", "c"}, ["t_a", "t_ab", "t_ac"])}
    assert dbt_dag._tests(order, before, nodes, "none") == {}


def test_folders_that_need_each_other_are_refused(dbt_dag: Any) -> None:
    nodes = [
        node(dbt_dag, "a", folder="models/x"),
        node(dbt_dag, "b", "a", folder="models/y"),
        node(dbt_dag, "c", "b", folder="models/x"),
    ]
    at = importlib.import_module("airflow._leoflow.declarative")._At({"dbt.granularity": 7}, "leoflow.yaml")
    units = dbt_dag._units(nodes, "folder")
    with pytest.raises(Exception, match="folders x, y need each other") as caught:
        dbt_dag._order(units, dbt_dag._before(units), at)
    assert caught.value.location == ("leoflow.yaml", 7)  # type: ignore[attr-defined]


def test_what_is_passed_over_connects_what_is_around_it(dbt_dag: Any) -> None:
    def of(name: str, *parents: str, kind: str = "model", materialized: str = "view") -> dict[str, Any]:
        return {
            "unique_id": name,
            "name": name,
            "resource_type": kind,
            "fqn": [name],
            "original_file_path": f"models/{name}.sql",
            "config": {"materialized": materialized},
            "depends_on": {"nodes": list(parents)},
        }

    manifest = {
        "nodes": {
            "a": of("a", "source.x"),
            "e": of("e", "a", materialized="ephemeral"),
            "n": of("n", "e"),
            "b": of("b", "n"),
            "t": of("t", "b", kind="test"),
        }
    }
    found = dbt_dag.dbt_project._nodes(manifest, {"a", "e", "b", "t"})
    assert {one.id: one.parents for one in found} == {"a": [], "b": ["a"], "t": ["b"]}


def test_a_profile_is_made_of_a_connection_and_only_the_user_may_read_it(dbt_dag: Any, tmp_path: Path) -> None:
    connection = importlib.import_module("airflow._leoflow.services").Connection
    settings = dbt_dag.Settings(str(tmp_path), "postgres", "prod", [], [], {}, 4)
    given = connection(
        host="h", login="u", password="secret", schema="db", extra='{"schema": "dw", "sslmode": "require"}'
    )
    output = dbt_dag.output_of(given, "postgres")
    assert output == {
        "type": "postgres",
        "host": "h",
        "user": "u",
        "password": "secret",
        "port": 5432,
        "dbname": "db",
        "schema": "dw",
        "sslmode": "require",
    }
    dbt_dag.dbt_project.write_profile(str(tmp_path), settings, output)
    file = tmp_path / "profiles.yml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert '"target": "prod"' in file.read_text()


@pytest.mark.parametrize(
    ("adapter", "fields", "expected"),
    [
        ("duckdb", {"host": "/w.db"}, {"path": "/w.db"}),
        (
            "redshift",
            {"host": "h", "login": "u", "password": "p", "schema": "db", "extra": {"cluster_identifier": "c"}},
            {"host": "h", "user": "u", "password": "p", "port": 5439, "dbname": "db", "schema": "public"},
        ),
        (
            "snowflake",
            {
                "login": "u",
                "password": "p",
                "schema": "dw",
                "extra": {
                    "extra__snowflake__account": "a",
                    "region": "eu",
                    "warehouse": "w",
                    "database": "d",
                    "role": "r",
                },
            },
            {
                "account": "a.eu",
                "user": "u",
                "password": "p",
                "schema": "dw",
                "warehouse": "w",
                "database": "d",
                "role": "r",
            },
        ),
        (
            "snowflake",
            {"login": "u", "password": "words", "extra": {"account": "a", "private_key_file": "/k.p8"}},
            {
                "account": "a",
                "user": "u",
                "private_key_passphrase": "words",
                "private_key_path": "/k.p8",
                "schema": "public",
            },
        ),
        (
            "bigquery",
            {"schema": "ds", "extra": {"project": "p", "keyfile_dict": '{"type": "x"}', "num_retries": 3}},
            {"method": "service-account-json", "keyfile_json": {"type": "x"}, "project": "p", "dataset": "ds"},
        ),
        (
            "bigquery",
            {"extra": {"project": "p", "key_path": "/k.json", "dataset": "own"}},
            {"method": "service-account", "keyfile": "/k.json", "project": "p", "dataset": "own"},
        ),
        ("bigquery", {"extra": {"project": "p"}}, {"method": "oauth", "project": "p", "dataset": "public"}),
        (
            "databricks",
            {
                "host": "https://adb.net/",
                "login": "token",
                "password": "t",
                "extra": {"http_path": "/sql", "catalog": "c"},
            },
            {"host": "adb.net", "token": "t", "http_path": "/sql", "catalog": "c", "schema": "default"},
        ),
    ],
)
def test_a_profile_of_each_adapter(
    dbt_dag: Any, adapter: str, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    connection = importlib.import_module("airflow._leoflow.services").Connection
    given = connection(**{**fields, "extra": json.dumps(fields.get("extra", {}))})
    assert dbt_dag.output_of(given, adapter) == {"type": adapter, **expected}


GROUP = """
from airflow.sdk import DAG
from leoflow.dbt import dbt_group
with DAG("d"):
    dbt_group("g", project_dir="shop", {})
"""


@pytest.mark.parametrize(
    ("arguments", "files", "words"),
    [
        ("tests='before'", {}, ["tests is 'before'", "after, end, none"]),
        ("granularity='model'", {}, ["granularity is 'model'", "node, level, folder"]),
        ("adapter='duckdb'", {}, ["no dbt_project.yml in 'shop'"]),
        ("adapter='duckdb'", {"shop/dbt_project.yml": "name: shop\n"}, ["dbt is not installed", "dbt-duckdb"]),
        ("threads=1", {"leoflow.yaml": "connectors: [http]\n"}, ["beside operators of providers"]),
    ],
)
def test_a_wrong_group_is_refused_with_its_line(
    refused: Refuse, arguments: str, files: dict[str, str], words: list[str]
) -> None:
    error = refused(GROUP.replace("{}", arguments), files=files)
    assert (error.path, error.line) == ("dag.py", 4)
    for word in ("dbt_group('g')", *words):
        assert word in str(error)


@pytest.mark.parametrize(
    ("files", "lacks"),
    [
        ({}, False),
        ({"packages.yml": "packages: []\n"}, False),
        ({"packages.yml": "packages:\n  - local: x\n"}, True),
        ({"dependencies.yml": "packages: # ours\n- git: x\n"}, True),
        ({"packages.yml": "packages:\n- git: x\n", "dbt_packages/x/dbt_project.yml": ""}, False),
        (
            {
                "packages.yml": "packages:\n- git: x\n",
                "dbt_packages/x/y": "",
                "dbt_project.yml": "packages-install-path: 'lib'\n",
            },
            True,
        ),
    ],
)
def test_packages_are_installed_where_they_are_named_and_not_there(
    dbt_dag: Any, project: MakeProject, files: dict[str, str], lacks: bool
) -> None:
    assert dbt_dag.dbt_project._lacks_packages(str(project(files=files))) is lacks
