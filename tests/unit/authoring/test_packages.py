"""Which packages a DAG's environment has: those that are named, those that imports ask for, and never a guess."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from leoflowd.authoring.closure import Outside
from leoflowd.authoring.compiler import shim_tables
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.import_names import (
    BASE,
    NAMED_LIKE_THEIR_MODULE,
    NEEDING_AIRFLOW,
    OTHERWISE_NAMED,
    PROVIDERS,
)
from leoflowd.authoring.module_facts import Import, When
from leoflowd.authoring.packages import BESIDE, DISTRIBUTIONS, Needs, Shim, beside, needs_of, provider_of
from leoflowd.authoring.project import ProjectConfig
from leoflowd.authoring.requirement_names import normalised
from leoflowd.authoring.requirements import Requirement, Requirements, read_requirements
from leoflowd.lite.environments import default_lock, requirements_of
from tests.fakes.dag_trees import plant

SHIM = shim_tables()


def said(text: str, when: When = "load", line: int = 1) -> Outside:
    """`import x` or `from x import a, b`, in dags/a.py."""
    words = text.replace(",", " ").split()
    names = tuple(words[3:]) if words[0] == "from" else ()
    return Outside("dags/a.py", Import(words[1], names, 0, line, when))


def needs(
    *imports: str | Outside, config: ProjectConfig | None = None, lines: str = "", folder: Path | None = None
) -> Needs:
    outside = [said(one) if isinstance(one, str) else one for one in imports]
    if folder is not None:
        plant(folder, {"requirements.txt": lines})
    requirements = read_requirements(folder or Path("/nowhere"))
    return needs_of(outside, config or ProjectConfig(), requirements, SHIM)


# --- third parties -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("import pandas as pd", "pandas"),
        ("from pygsheets import authorize", "pygsheets"),
        ("import flask_cors", "flask-cors"),
        ("import mysql", "mysql-connector-python"),
        ("import sklearn.linear_model", "scikit-learn"),
        ("from bs4 import BeautifulSoup", "beautifulsoup4"),
        ("import psycopg2.extras", "psycopg2-binary"),
        ("import psycopg", "psycopg[binary]"),
        ("import snowflake.connector", "snowflake-connector-python"),
        ("from google.cloud import bigquery", "google-cloud-bigquery"),
        ("from google.cloud.storage import Client", "google-cloud-storage"),
        ("from google.oauth2 import service_account", "google-auth"),
        ("from azure.storage.blob import BlobServiceClient", "azure-storage-blob"),
        ("from dagfactory import DagFactory", "dag-factory"),
    ],
)
def test_a_known_module_brings_its_distribution(text: str, distribution: str) -> None:
    found = needs(text)
    assert found.environment.dependencies == (distribution,)
    (why,) = [one for one in found.inferred if one.package == distribution]
    assert (why.path, why.line) == ("dags/a.py", 1)
    assert f"{distribution}, because dags/a.py:1 imports {text.split()[1]}" == str(why)


@pytest.mark.parametrize("text", ["import json", "import distutils.util", "import airflow", "import leoflow.sensors"])
def test_what_python_and_airflow_bring_needs_nothing(text: str) -> None:
    assert needs(text).environment.dependencies == ()
    assert needs(text).modules == frozenset()


@pytest.mark.parametrize("module", sorted(BASE))
def test_what_every_environment_has_needs_nothing(module: str) -> None:
    found = needs(f"import {module}")
    assert (found.environment.dependencies, found.unknown, found.modules) == ((), (), {module})


def test_the_base_is_what_the_lock_of_the_default_environment_holds() -> None:
    """Without what only an older Python has to be given."""
    lines = [line for line in default_lock().read_text().splitlines() if "python_full_version < '3.11'" not in line]
    locked = {normalised(found[1]) for line in lines if (found := re.match(r"([\w.-]+)==", line))}
    assert {normalised(name) for name in BASE.values()} == locked


def test_a_module_that_nobody_knows_is_an_error_with_its_line_and_no_guess() -> None:
    found = needs(said("import pandsa", line=7), said("import pandsa.sub", line=9), "import requestz")
    assert found.environment.dependencies == ()
    assert [str(one).partition(";")[0] for one in found.unknown] == [
        "dags/a.py:7: the module 'pandsa' is imported",
        "dags/a.py:1: the module 'requestz' is imported",
    ]
    assert "requirements.txt" in found.unknown[0].remedy


def test_each_part_of_a_namespace_is_a_package_of_its_own() -> None:
    found = needs("from google.cloud import bigquery, storage")
    assert found.environment.dependencies == ("google-cloud-bigquery", "google-cloud-storage")


def test_a_namespace_without_a_known_part_is_not_guessed() -> None:
    assert needs("from google.cloud import nosuchthing").unknown
    assert needs("from azure import nosuchthing").unknown


@pytest.mark.parametrize(("when", "notes"), [("call", 1), ("optional", 0)])
def test_what_loading_does_not_need_is_no_error(when: When, notes: int) -> None:
    found = needs(said("import pandsa", when))
    assert (found.unknown, len(found.notes)) == ((), notes)


@pytest.mark.parametrize(("when", "is_loaded"), [("load", True), ("optional", True), ("call", False)])
def test_loading_needs_the_modules_that_it_imports(when: When, is_loaded: bool) -> None:
    found = needs(said("import pandas", when))
    assert found.environment.dependencies == ("pandas",)
    assert found.modules == ({"pandas"} if is_loaded else set())


def test_a_module_between_two_providers_needs_both() -> None:
    """Which the package of neither requires: Airflow's image has them all."""
    found = needs("from airflow.providers.amazon.aws.transfers.ftp_to_s3 import FTPToS3Operator")
    assert found.environment.connectors == ("amazon", "ftp")
    assert [str(one) for one in found.inferred] == [
        f"apache-airflow-providers-{name}, because dags/a.py:1 imports airflow.providers.amazon.aws.transfers.ftp_to_s3"
        for name in ("amazon", "ftp")
    ]


@pytest.mark.parametrize(
    ("text", "connectors", "dependencies"),
    [
        ("from airflow.providers.amazon.aws.transfers import gcs_to_s3", ("amazon", "google"), ()),
        ("import airflow.providers.google.cloud.operators.dataflow", ("apache.beam", "google"), ()),
        ("from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator", ("amazon",), ("pandas",)),
        ("from airflow.providers.amazon.aws.transfers.local_to_s3 import X", ("amazon",), ()),
        ("from airflow.providers.apache.spark.operators.spark_submit import X", ("apache.spark",), ()),
    ],
)
def test_what_a_provider_needs_beside_itself(
    text: str, connectors: tuple[str, ...], dependencies: tuple[str, ...]
) -> None:
    environment = needs(text).environment
    assert (environment.connectors, environment.dependencies) == (connectors, dependencies)


def test_the_authors_own_version_of_what_it_needs_stays(tmp_path: Path) -> None:
    text = "from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator"
    assert needs(text, lines="pandas==2.2.3\n", folder=tmp_path).environment.dependencies == ("pandas==2.2.3",)


def test_the_table_of_such_modules_names_what_there_is() -> None:
    assert all(provider_of(module) for module in BESIDE)
    assert {one for others in BESIDE.values() for one in others} <= PROVIDERS | {"pandas"}
    assert not [module for module, others in BESIDE.items() if beside(module.rpartition(".")[0]) == others]


# --- the project's own requirements --------------------------------------------------------------------------------


def test_requirements_are_installed_as_they_are_and_win_over_the_table(tmp_path: Path) -> None:
    lines = "pandas==2.1.0\npsycopg2\ndbt-core>=1.7 ; python_version > '3.8'\n"
    found = needs("import pandas", "import psycopg2", "import numpy", lines=lines, folder=tmp_path)
    assert found.environment.dependencies == (
        "pandas==2.1.0",
        "psycopg2",
        "dbt-core>=1.7 ; python_version > '3.8'",
        "numpy",
    )
    assert [one.package for one in found.inferred] == ["numpy"]


def test_settings_win_over_requirements(tmp_path: Path) -> None:
    config = ProjectConfig(dependencies=("Pandas>=2",))
    found = needs("import pandas", config=config, lines="pandas==1.0\nduckdb\n", folder=tmp_path)
    assert found.environment.dependencies == ("Pandas>=2", "duckdb")


def test_a_named_package_of_the_modules_name_is_no_guess(tmp_path: Path) -> None:
    assert needs("import our_library", lines="our-library==1\n", folder=tmp_path).unknown == ()


def test_a_named_package_that_we_do_not_know_may_bring_any_module(tmp_path: Path) -> None:
    assert needs("import secret", lines="our-library==1\n", folder=tmp_path).unknown == ()
    assert needs("import secret", lines="pandas==1\n", folder=tmp_path / "b").unknown != ()


def test_pendulum_may_be_named_although_it_is_there() -> None:
    found = needs("import pendulum", config=ProjectConfig(dependencies=("pendulum",)))
    assert (found.environment.dependencies, found.unknown) == (("pendulum",), ())


# --- Airflow's providers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "connector"),
    [
        ("from airflow.providers.snowflake.operators.snowflake import SnowflakeSqlApiOperator", "snowflake"),
        ("from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator", "cncf.kubernetes"),
        ("from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator", "apache.spark"),
        ("from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator", "dbt.cloud"),
        ("from airflow.providers.microsoft.azure.hooks.wasb import WasbHook", "microsoft.azure"),
        ("from airflow.providers.http.hooks.http import HttpHook", "http"),
        ("from airflow.providers import sftp", "sftp"),
    ],
)
def test_a_provider_goes_by_its_published_name(text: str, connector: str) -> None:
    found = needs(text)
    assert found.environment.connectors == (connector,)
    package = f"apache-airflow-providers-{connector.replace('.', '-')}"
    assert [one.package for one in found.inferred] == [package]
    assert package in requirements_of(found.environment)


def test_a_provider_that_a_task_imports_is_needed_too() -> None:
    text = "from airflow.providers.postgres.hooks.postgres import PostgresHook"
    assert needs(said(text, "call")).environment.connectors == ("postgres",)


def test_what_we_run_ourselves_needs_no_provider() -> None:
    found = needs(
        "from airflow.providers.http.operators.http import HttpOperator",
        "from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor",
        "from airflow.providers.standard.operators.bash import BashOperator",
    )
    assert (found.environment.connectors, found.inferred) == ((), ())


def test_beside_the_real_airflow_our_own_needs_its_provider() -> None:
    """All tasks of such a DAG run under Airflow, which then has to find the class."""
    found = needs(
        "from airflow.providers.http.operators.http import HttpOperator",
        "from airflow.providers.ftp.hooks.ftp import FTPHook",
        "from airflow.providers.standard.operators.bash import BashOperator",
    )
    assert found.environment.connectors == ("ftp", "http")


def test_a_name_that_we_do_not_have_needs_the_provider() -> None:
    text = "from airflow.providers.http.operators.http import HttpOperator, Other"
    assert needs(text).environment.connectors == ("http",)


def test_a_provider_brings_the_libraries_of_its_cloud() -> None:
    imports = ("from google.cloud import nosuchthing", "from airflow.providers.google.cloud.hooks.gcs import GCSHook")
    assert needs(*imports).unknown == ()


def test_connectors_of_the_settings_come_first_and_once() -> None:
    found = needs(
        "from airflow.providers.ftp.hooks.ftp import FTPHook", config=ProjectConfig(connectors=("sftp", "ftp"))
    )
    assert (found.environment.connectors, found.inferred) == (("sftp", "ftp"), ())


def test_providers_of_the_requirements_come_along_where_airflow_is_needed(tmp_path: Path) -> None:
    lines = "apache-airflow-providers-snowflake==4.0\napache-airflow[postgres]==2.7\n"
    with_airflow = needs("from airflow.providers.ftp.hooks.ftp import FTPHook", lines=lines, folder=tmp_path)
    assert with_airflow.environment.connectors == ("ftp", "postgres", "snowflake")
    assert needs("import json", folder=tmp_path, lines=lines).environment.connectors == ()


def test_what_the_requirements_want_of_a_provider_beside_itself_comes_along(tmp_path: Path) -> None:
    """Deferrable operators of Amazon need aiobotocore, which the provider brings for who asks for it."""
    lines = "apache-airflow-providers-amazon[aiobotocore]==9.1\napache-airflow[s3fs, postgres]==3.0\n"
    head = "from airflow.providers.amazon.aws.operators.s3 import S3CopyObjectOperator"
    found = needs(head, lines=lines, folder=tmp_path).environment
    whole = "apache-airflow-providers-amazon"
    assert (found.connectors, found.dependencies) == (
        ("amazon", "postgres"),
        (f"{whole}[aiobotocore]", f"{whole}[s3fs]"),
    )
    assert needs("import json", folder=tmp_path, lines=lines).environment.dependencies == ()


def test_a_package_made_for_airflow_needs_the_real_one() -> None:
    assert needs("from dagfactory import DagFactory").environment.connectors == ("standard",)


def test_cosmos_is_refused_with_what_takes_its_place() -> None:
    (error,) = needs(said("from cosmos.airflow.task_group import DbtTaskGroup", line=2)).unknown
    assert (error.path, error.line) == ("dags/a.py", 2)
    assert "dbt_group(...) of leoflow.dbt" in error.remedy


@pytest.mark.parametrize("text", ["from leoflow.dbt import dbt_group", "from leoflow import dbt", "import leoflow.dbt"])
def test_a_group_of_dbt_needs_dbt_where_its_file_is_loaded(text: str) -> None:
    found = needs(text)
    assert (found.environment.dependencies, found.modules) == (("dbt-core",), {"dbt"})


def test_a_stranger_that_calls_itself_a_provider_is_not_installed() -> None:
    found = needs("from airflow.providers.pandsa.hooks.x import Y")
    assert found.environment.connectors == ()
    assert "Airflow has no provider of this name" in str(found.unknown[0])


def test_modules_of_earlier_airflow_ask_for_the_provider_that_has_them_today() -> None:
    chain = ("airflow.providers.postgres.operators.postgres", "airflow.providers.common.sql.operators.sql")
    shim = Shim(SHIM.modules, behind=lambda module, name: chain if name == "PostgresOperator" else (module,))
    outside = [said("from airflow.operators.postgres_operator import PostgresOperator")]
    found = needs_of(outside, ProjectConfig(), read_requirements(Path("/nowhere")), shim)
    assert found.environment.connectors == ("common.sql", "postgres"), "the class, and the one of its connections"


def test_a_name_of_earlier_airflow_that_we_run_today_needs_nothing() -> None:
    today = ("airflow.providers.http.operators.http", "HttpOperator")
    shim = Shim(SHIM.modules, lambda module, name: today, lambda module, name: (today[0],))
    outside = [said("from airflow.operators.http_operator import SimpleHttpOperator")]
    found = needs_of(outside, ProjectConfig(), read_requirements(Path("/nowhere")), shim)
    assert found.environment.connectors == ()


def test_a_connector_that_loading_asks_for_is_taken_in() -> None:
    found = needs_of([], ProjectConfig(), read_requirements(Path("/nowhere")), SHIM, ["common-sql"])
    assert found.environment.connectors == ("common.sql",)


@pytest.mark.parametrize(
    ("module", "provider"),
    [
        ("airflow.providers.apache.hive.hooks.hive", "apache-hive"),
        ("airflow.providers.apache", None),
        ("airflow.providers.common.sql", "common-sql"),
        ("airflow.providers.google.cloud.operators.bigquery", "google"),
        ("airflow.providers.nosuch.x", None),
    ],
)
def test_a_module_of_a_provider(module: str, provider: str | None) -> None:
    assert provider_of(module) == provider


def test_the_table_is_well_formed() -> None:
    assert all(DISTRIBUTIONS.values())
    assert len(DISTRIBUTIONS) > 300
    known = {normalised(one) for found in DISTRIBUTIONS.values() for one in found}
    assert {"astronomer-cosmos", "dag-factory"} <= NEEDING_AIRFLOW & known
    assert not [module for module in DISTRIBUTIONS if module.startswith("airflow.")]
    alike = NAMED_LIKE_THEIR_MODULE.split()
    assert alike == sorted(set(alike), key=lambda name: (name.lower(), name))
    assert not set(alike) & {line.split()[0] for line in OTHERWISE_NAMED.strip().splitlines()}
    assert not set(alike) & sys.stdlib_module_names


def test_only_versions_of_the_folders_own_requirements_give_way() -> None:
    requirements = Requirements(packages=(Requirement("polars", "polars<1"), Requirement("numpy", "numpy==1.20")))
    config = ProjectConfig(dependencies=("numpy==2.0",))
    found = needs_of((), config, requirements, SHIM).environment
    assert found.yielding == ("polars<1",)
    assert found.dependencies == ("numpy==2.0", "polars<1")


# --- the files of requirements -------------------------------------------------------------------------------------


def test_requirements_files_are_read_as_pip_reads_them(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "requirements.txt": """\
                # what we need
                pandas[excel]>=2,<3   # spreadsheets
                -r more/extra.txt
                --extra-index-url https://somewhere
                numpy==1.26.0 \\
                    --hash=sha256:00 \\
                    --hash=sha256:11
                git+https://example.com/x.git@main#egg=x
                mine @ https://example.com/mine.whl
                Pandas==1
                ???
                """,
            "more/extra.txt": "polars\n-r ../requirements.txt\n",
        },
    )
    found = read_requirements(tmp_path)
    assert [one.text for one in found.packages] == [
        "pandas[excel]>=2,<3",
        "polars",
        "numpy==1.26.0",
        "git+https://example.com/x.git@main#egg=x",
        "mine @ https://example.com/mine.whl",
    ]
    assert found.notes == (
        "requirements.txt:4: --extra-index-url is left out: it is an option of pip",
        "requirements.txt:11: '???' is left out: it is no requirement",
    )


def test_airflow_itself_is_left_out_and_said(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "requirements.txt": "apache-airflow[amazon, cncf.kubernetes]==2.9\napache-airflow-providers-google==10.1\n"
            "apache_airflow_providers_ftp\n"
        },
    )
    found = read_requirements(tmp_path)
    assert found.packages == ()
    assert found.providers == ("amazon", "cncf-kubernetes", "ftp", "google")
    assert [note.partition(" ")[0] for note in found.notes] == ["requirements.txt:1:", "requirements.txt:2:"]


MADE = "# This file is autogenerated by pip-compile with Python 3.11\n"


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        (MADE + "apache-airflow==2.10\npandas==1.0\nflask==2.0\n", "apache-airflow\npandas<2\n", ["pandas<2"]),
        (MADE + "pandas==1.0\nflask==2.0\n", "pandas<2\n", ["pandas==1.0", "flask==2.0"]),
        ("apache-airflow==2.10\npandas==1.0\n", "pandas<2\n", ["pandas==1.0"]),
        (MADE + "apache-airflow==2.10\npandas==1.0\n", None, ["pandas==1.0"]),
    ],
)
def test_a_lock_of_another_airflow_is_replaced_by_what_it_was_made_of(
    tmp_path: Path, text: str, source: str | None, expected: list[str]
) -> None:
    plant(tmp_path, {"requirements.txt": text, **({"requirements.in": source} if source else {})})
    assert [one.text for one in read_requirements(tmp_path).packages] == expected


def test_dependencies_of_a_pyproject_count_after_the_requirements(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            "requirements.txt": "pandas==2.0\n",
            "pyproject.toml": '[project]\ndependencies = ["pandas>=1", "duckdb>=1"]\n',
        },
    )
    assert [one.text for one in read_requirements(tmp_path).packages] == ["pandas==2.0", "duckdb>=1"]


@pytest.mark.parametrize(
    "text", ["[project]\n", "[project]\ndependencies = 3\n", "project = 1\n", "[tool]\npoetry = {}\n"]
)
def test_a_pyproject_without_dependencies_names_none(tmp_path: Path, text: str) -> None:
    plant(tmp_path, {"pyproject.toml": text})
    assert read_requirements(tmp_path).packages == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"pyproject.toml": "[project\n"}, "pyproject.toml:1: this is not valid TOML"),
        ({"requirements.txt": "-r missing.txt"}, "missing.txt:1: the file does not exist"),
        ({"requirements.txt": "-r ../out.txt"}, "../out.txt:1: this file is included; it lies outside"),
    ],
)
def test_files_that_cannot_be_read_are_errors(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(DagCompileError, match=re.escape(message)):
        read_requirements(plant(tmp_path / "p", files))


def test_system_packages_are_said(tmp_path: Path) -> None:
    assert "no system packages" in read_requirements(plant(tmp_path, {"packages.txt": "libpq-dev"})).notes[0]
