"""The DAG files of a folder share an environment, and each has its own where that one cannot be built (ADR 52)."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

from leoflowd.authoring.compiler import compile_opened
from leoflowd.authoring.discovery import discover, open_projects
from leoflowd.authoring.errors import DagCompileError, EnvironmentFailed
from leoflowd.authoring.packages import Needs
from leoflowd.authoring.project import Project
from leoflowd.contract.dag_spec import EnvironmentSpec, has_airflow
from tests.fakes.dag_trees import dag, plant

FTP = "def f():\n    from airflow.providers.ftp.hooks.ftp import FTPHook\n"
IMAP = "def f():\n    import duckdb\n    from airflow.providers.imap.hooks.imap import ImapHook\n"
FOLDER = {
    "dags/ftp.py": dag("ftp", FTP),
    "dags/imap.py": dag("imap", IMAP),
    "dags/table.py": dag("table", "def f():\n    import polars\n"),
    "dags/plain.py": dag("plain"),
}


def projects(folder: Path) -> dict[str, Project]:
    return {Path(project.source_path).stem: project for project in discover(folder).projects}


def environments(folder: Path) -> dict[str, EnvironmentSpec]:
    return {name: compile_opened(one).specs[0].environment for name, one in projects(folder).items()}


def unless_shared(needs: Needs) -> str:
    if needs.alone is not None:
        raise EnvironmentFailed("cannot install 'duckdb' beside 'polars'")
    return sys.executable


def for_the_shim_only(needs: Needs) -> str:
    if "airflow" in needs.modules:
        raise EnvironmentFailed("cannot install")
    return sys.executable


def test_who_needs_airflow_shares_what_anybody_needs(tmp_path: Path) -> None:
    found = environments(plant(tmp_path, FOLDER))
    assert found["ftp"] == found["imap"]
    assert found["ftp"].connectors == ("ftp", "imap")
    assert found["ftp"].dependencies == ("duckdb", "polars")


def test_who_only_needs_packages_shares_those_and_stays_without_airflow(tmp_path: Path) -> None:
    found = environments(plant(tmp_path, {**FOLDER, "dags/cosmic.py": dag("cosmic", "def f():\n    import cosmos\n")}))
    assert found["table"].dependencies == ("duckdb", "polars")
    assert not has_airflow(found["table"])


def test_who_needs_nothing_waits_for_nobodys_packages(tmp_path: Path) -> None:
    assert environments(plant(tmp_path, FOLDER))["plain"] == EnvironmentSpec()


def test_requirements_of_the_folder_are_everybodys(tmp_path: Path) -> None:
    found = environments(plant(tmp_path, {**FOLDER, "requirements.txt": "polars==1\n"}))
    assert {name: one.dependencies for name, one in found.items()} == {
        "ftp": ("polars==1", "duckdb"),
        "imap": ("polars==1", "duckdb"),
        "table": ("polars==1",),
        "plain": ("polars==1",),
    }


def test_a_project_of_its_own_shares_nothing(tmp_path: Path) -> None:
    apart = {"apart/dag.py": dag("apart", FTP), "apart/leoflow.yaml": "owner: me\n"}
    assert environments(plant(tmp_path, {**FOLDER, **apart}))["dag"].connectors == ("ftp",)


def test_what_a_neighbour_inferred_is_not_told_of_this_file(tmp_path: Path) -> None:
    done = compile_opened(projects(plant(tmp_path, FOLDER))["ftp"])
    assert [one.package for one in done.needs.inferred] == ["apache-airflow-providers-ftp"]


def test_a_neighbours_unknown_module_is_its_own_error(tmp_path: Path) -> None:
    folder = plant(tmp_path, {**FOLDER, "dags/broken.py": dag("broken", "import pandsa\n")})
    assert compile_opened(projects(folder)["ftp"]).specs


def test_where_the_shared_one_cannot_be_built_each_has_its_own_and_says_why(tmp_path: Path) -> None:
    project = projects(plant(tmp_path, FOLDER))["ftp"]
    done = compile_opened(project, python_for=unless_shared)
    assert done.specs[0].environment == EnvironmentSpec(connectors=("ftp",))
    (why,) = done.folder_notes
    assert why.endswith("each gets its own: cannot install 'duckdb' beside 'polars'")


def test_where_its_own_cannot_be_built_either_that_is_the_error(tmp_path: Path) -> None:
    asked: list[EnvironmentSpec | None] = []

    def python_for(needs: Needs) -> str:
        asked.append(needs.alone)
        raise EnvironmentFailed("cannot install")

    with pytest.raises(EnvironmentFailed):
        compile_opened(projects(plant(tmp_path, FOLDER))["ftp"], python_for=python_for)
    assert asked == [EnvironmentSpec(connectors=("ftp",)), None]


@pytest.mark.parametrize("beside", [{}, FOLDER], ids=["alone", "in a folder"])
def test_a_file_for_airflow_whose_environment_fails_shows_why_the_shim_was_not_enough(
    tmp_path: Path, beside: dict[str, str]
) -> None:
    text = "from airflow.providers.ftp.hooks.ftp import FTPHook\nHOST = FTPHook.conn_name_attr + FTPHook.no_such\n"
    plant(tmp_path, {"dags/needy.py": dag("needy", text), **beside})
    (project,) = [one for one in open_projects(tmp_path) if one.source_path == "dags/needy.py"]
    with pytest.raises(EnvironmentFailed) as caught:
        compile_opened(project, python_for=for_the_shim_only)
    first, second = str(caught.value).splitlines()
    assert first.startswith("dags/needy.py:2: ")
    assert second == "Airflow's own packages may load it, but their environment cannot be built: cannot install"


def with_packages(folder: Path, **modules: str) -> str:
    """An interpreter that has these modules."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name, text in modules.items():
        (packages / f"{name}.py").write_text(text)
    return str(folder / "bin" / "python")


def test_what_a_package_imports_and_does_not_bring_is_installed_with_it(tmp_path: Path) -> None:
    """pkg_resources left setuptools, and environments have no setuptools of themselves."""
    without = with_packages(tmp_path / "without", duckdb="import pkg_resources\n")
    whole = with_packages(tmp_path / "whole", duckdb="import pkg_resources\n", pkg_resources="")
    (project,) = projects(plant(tmp_path / "tree", {"dags/one.py": dag("one", "import duckdb\n")})).values()

    def python_for(needs: Needs) -> str:
        return whole if "setuptools<82" in needs.environment.dependencies else without

    done = compile_opened(project, python_for=python_for)
    assert done.specs[0].environment.dependencies == ("duckdb", "setuptools<82")
    assert [(one.package, one.path, one.line) for one in done.needs.inferred][1:] == [
        ("setuptools<82", "dags/one.py", 1)
    ]
    with pytest.raises(DagCompileError, match=f"{without} does not have it, although the environment is to have setup"):
        compile_opened(project, python=without)


def test_a_provider_that_another_one_imports_is_installed_once_loading_shows_it(tmp_path: Path) -> None:
    missing = "name='airflow.providers.postgres.hooks'"
    plant(tmp_path, {"dag.py": f"raise ModuleNotFoundError('airflow.providers.postgres.hooks', {missing})\n"})
    asked: list[tuple[str, ...]] = []

    def python_for(needs: Needs) -> str:
        asked.append(needs.environment.connectors)
        return sys.executable

    with pytest.raises(DagCompileError, match=r"airflow\.providers\.postgres\.hooks"):
        compile_opened(*open_projects(tmp_path / "dag.py"), python_for=python_for)
    assert list(dict.fromkeys(asked)) == [(), ("postgres",)]
