"""An Airflow folder as it is, compiled: imports as in Airflow, a bundle per file, notes instead of errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from leoflowd.authoring.bundle import copy_bundle
from leoflowd.authoring.compiler import Compilation, compile_opened, compile_project, excluded_of
from leoflowd.authoring.discovery import discover, open_projects
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.project import Project, config_of
from leoflowd.contract.dag_spec import DagSpec
from tests.fakes.dag_trees import dag, plant

ASTRO = {
    "dags/etl.py": dag(
        "etl", "import common\nfrom operators import Own\nfrom include.sql import NAME\nimport settings\n"
    ),
    "dags/report.py": dag("report", "import common\n"),
    "dags/alone/lonely.py": dag("lonely"),
    "dags/common.py": "import deeper\n",
    "dags/deeper.py": "",
    "plugins/operators.py": "class Own: ...\n",
    "config/settings.py": "",
    "include/sql.py": "NAME = 'x'\n",
    "include/query.sql": "select 1\n",
    "requirements.txt": "",
    "airflow.db": "x",
    "logs/scheduler.log": "x",
}


def project_of(folder: Path, name: str) -> Project:
    (found,) = [project for project in discover(folder).projects if Path(project.source_path).stem == name]
    return found


def compiled(folder: Path, name: str) -> Compilation:
    return compile_opened(project_of(folder, name))


def spec_of(folder: Path, name: str) -> DagSpec:
    (spec,) = compiled(folder, name).specs
    return spec


def bundle_of(folder: Path, name: str, target: Path) -> list[str]:
    """The files that its tries get, whose digest must be the one of the artifact."""
    project, done = project_of(folder, name), compiled(folder, name)
    exclude = excluded_of(project, config_of(project))
    assert (
        copy_bundle(folder, target, exclude=exclude, is_shared=True, modules=done.modules)
        == done.specs[0].bundle_digest
    )
    return sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())


def test_a_file_imports_from_dags_plugins_config_and_the_root(tmp_path: Path) -> None:
    spec = spec_of(plant(tmp_path, ASTRO), "etl")
    assert spec.source_path == "dags/etl.py"
    assert spec.import_paths == ("dags", "plugins", "config", ".")


@pytest.mark.parametrize(("beside", "is_found"), [("pyproject.toml", True), ("setup.py", True), ("README.md", False)])
def test_a_package_that_images_install_beside_the_dags_is_found(tmp_path: Path, beside: str, is_found: bool) -> None:
    files = {
        "dags/etl.py": dag("etl", "from company.tables import NAMES\n"),
        "src/company/__init__.py": "",
        "src/company/tables.py": "from company.words import NAMES\n",
        "src/company/words.py": "NAMES = ['a']\n",
        "src/company/other.py": "1 / 0\n",
        beside: "",
    }
    folder = plant(tmp_path / "clone", files)
    assert ("src" in project_of(folder, "etl").import_paths) is is_found
    if is_found:
        found = bundle_of(folder, "etl", tmp_path / "bundle")
        assert {f"src/company/{name}.py" for name in ("__init__", "tables", "words")} <= set(found)
        assert "src/company/other.py" not in found


def test_macros_of_plugins_are_imported_from_airflow_macros(tmp_path: Path) -> None:
    plugin = "class Ours(AirflowPlugin):\n    name = 'ours'\n    macros = [twice]\n"
    given = f"from airflow.plugins_manager import AirflowPlugin\ndef twice(x):\n    return x * 2\n{plugin}"
    module = "from airflow.macros.ours import twice\nfrom airflow.macros import ds_add, ours\n"
    ours = dag("ours", f"{module}assert twice(2) == ours.twice(2) == 4 and ds_add('2024-01-31', 1) == '2024-02-01'\n")
    theirs = dag("theirs", "from airflow.macros.theirs import twice\n")
    folder = plant(tmp_path, {"dags/ours.py": ours, "dags/theirs.py": theirs, "plugins/registered.py": given})
    assert spec_of(folder, "ours").dag_id == "ours"
    with pytest.raises(DagCompileError, match=r"airflow\.macros\.theirs"):
        compiled(folder, "theirs")


@pytest.mark.parametrize("init", [{}, {"__init__.py": "NAME = 'x'\n"}])
def test_a_clone_that_is_its_own_package(tmp_path: Path, init: dict[str, str]) -> None:
    etl = dag("etl", "from myrepo.dags.common import NAME\nassert NAME == 'x'\n")
    common = "from myrepo import NAME\n" if init else "from myrepo.lib import NAME\n"
    files = {"dags/etl.py": etl, "dags/common.py": common, "lib.py": "NAME = 'x'\n", "dags/other.py": ""}
    folder = plant(tmp_path / "myrepo", {**files, **init})
    assert spec_of(folder, "etl").import_paths == ("dags", ".", "myrepo=.")
    assert bundle_of(folder, "etl", tmp_path / "bundle") == [
        *init,
        "dags/common.py",
        "dags/etl.py",
        *([] if init else ["lib.py"]),
    ]


def test_a_bundle_holds_what_the_file_imports_and_all_that_is_no_python(tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", ASTRO)
    assert bundle_of(folder, "etl", tmp_path / "etl") == [
        "config/settings.py",
        "dags/common.py",
        "dags/deeper.py",
        "dags/etl.py",
        "include/query.sql",
        "include/sql.py",
        "plugins/operators.py",
        "requirements.txt",
    ]
    assert bundle_of(folder, "lonely", tmp_path / "lonely") == [
        "dags/alone/lonely.py",
        "include/query.sql",
        "requirements.txt",
    ]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("dags/deeper.py", {"etl", "report"}),
        ("plugins/operators.py", {"etl"}),
        ("dags/alone/lonely.py", {"lonely"}),
        ("include/query.sql", {"etl", "report", "lonely"}),
        ("logs/scheduler.log", set()),
        ("dags/new_helper.py", set()),
    ],
)
def test_a_saved_file_makes_new_versions_of_those_that_use_it(tmp_path: Path, changed: str, again: set[str]) -> None:
    folder = plant(tmp_path, ASTRO)
    names = ("etl", "report", "lonely")
    before = {name: spec_of(folder, name).bundle_digest for name in names}
    with (folder / changed).open("a") as file:
        file.write("\n# saved\n")
    assert {name for name in names if spec_of(folder, name).bundle_digest != before[name]} == again


def test_computed_imports_take_the_whole_tree(tmp_path: Path) -> None:
    folder = plant(tmp_path / "tree", {**ASTRO, "dags/lucky.py": dag("lucky", "import pkgutil\n")})
    assert "plugins/operators.py" in bundle_of(folder, "lucky", tmp_path / "copy")


def test_what_only_loading_tells_is_in_the_bundle_too(tmp_path: Path) -> None:
    text = (
        "import sys, os\nadd = getattr(sys, 'pa' + 'th').append\nadd(os.path.join(os.path.dirname(__file__), 'lib'))\n"
    )
    text += "exec('import hidden')\n"
    folder = plant(tmp_path / "tree", {"dags/x.py": dag("x", text), "dags/lib/hidden.py": "", "requirements.txt": ""})
    assert compiled(folder, "x").beyond == {"dags/lib/hidden.py"}
    assert "dags/lib/hidden.py" in bundle_of(folder, "x", tmp_path / "copy")


def test_the_tree_comes_last_on_the_path_as_in_airflow(tmp_path: Path) -> None:
    """`dags/yaml.py` does not hide the library, and a DAG file may be called like one."""
    text = "import yaml\nassert yaml.safe_load('1') == 1\n"
    folder = plant(tmp_path, {"dags/yaml.py": dag("named_like_it", text), "dags/b.py": dag("b", text)})
    assert spec_of(folder, "yaml").dag_id == "named_like_it"
    assert spec_of(folder, "b").dag_id == "b"


def test_a_file_without_a_dag_is_noted_and_one_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    folder = plant(tmp_path, {"dags/helper.py": "# makes airflow dags\n", "dags/bad.py": "# airflow dag\n1/0\n"})
    helper = compiled(folder, "helper")
    assert helper.specs == ()
    assert "dags/helper.py defines no DAG" in helper.notes[0]
    with pytest.raises(DagCompileError, match=r"dags/bad.py:2: .*ZeroDivisionError"):
        compiled(folder, "bad")


def test_a_file_that_a_person_names_must_define_a_dag(tmp_path: Path) -> None:
    plant(tmp_path, {"dags/helper.py": "# makes airflow dags\n"})
    with pytest.raises(DagCompileError, match="defines no DAG"):
        compile_project(tmp_path / "dags" / "helper.py")


def test_settings_at_the_root_count_for_all_files(tmp_path: Path) -> None:
    folder = plant(tmp_path, {**ASTRO, "leoflow.yaml": "owner: everyone\ntags: [team]\ndefaults: {retries: 3}\n"})
    for name in ("etl", "report"):
        spec = spec_of(folder, name)
        assert (spec.tags, spec.tasks[0].owner, spec.tasks[0].retries) == (("team",), "everyone", 3)


@pytest.mark.parametrize("setting", ["dag_id: etl", "description: x", "tasks: {a: {retries: 1}}"])
def test_settings_of_one_dag_are_refused_over_many(tmp_path: Path, setting: str) -> None:
    folder = plant(tmp_path, {**ASTRO, "leoflow.yaml": f"owner: me\n{setting}\n"})
    with pytest.raises(DagCompileError, match=r"leoflow.yaml:2: .*over a folder of DAG files"):
        compiled(folder, "etl")


def test_what_a_file_imports_is_in_its_environment(tmp_path: Path) -> None:
    text = "def f():\n    import duckdb\n    from airflow.providers.ftp.hooks.ftp import FTPHook\n"
    folder = plant(tmp_path, {"dags/a.py": dag("a", text), "dags/b.py": dag("b"), "requirements.txt": "polars==1\n"})
    environment = spec_of(folder, "a").environment
    assert (environment.dependencies, environment.connectors) == (("polars==1", "duckdb"), ("ftp",))
    assert spec_of(folder, "b").environment.connectors == ()


def test_a_module_that_nobody_knows_is_told_before_anything_is_built(tmp_path: Path) -> None:
    plant(tmp_path, {"dags/a.py": dag("a", "import pandsa\nimport nmpy\n")})

    def build(_: object) -> str:
        raise AssertionError("nothing may be built")

    with pytest.raises(DagCompileError) as caught:
        compile_opened(*open_projects(tmp_path), python_for=build)
    assert [(one.path, one.line) for one in caught.value.all] == [("dags/a.py", 1), ("dags/a.py", 2)]


def test_a_provider_that_only_loading_shows_is_taken_in(tmp_path: Path) -> None:
    text = """\
from airflow.sdk import DAG
from airflow.providers.http.operators.http import HttpOperator

with DAG("calls"):
    HttpOperator(task_id="a", endpoint="x", auth_type=object)
"""
    plant(tmp_path, {"dags/a.py": text})
    asked: list[tuple[str, ...]] = []

    def python_for(needs: object) -> str:
        asked.append(needs.environment.connectors)  # type: ignore[attr-defined]
        return sys.executable

    done = compile_opened(*open_projects(tmp_path), python_for=python_for)
    assert asked == [(), ("http",)]
    assert done.specs[0].environment.connectors == ("http",)
    assert done.notes[0].startswith("apache-airflow-providers-http, because dags/a.py:5: ")


def test_all_tasks_that_are_refused_are_told(tmp_path: Path) -> None:
    text = """\
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("many"):
    EmptyOperator(task_id="a", run_as_user="root")
    EmptyOperator(task_id="b")
    EmptyOperator(task_id="c", run_as_user="root")
"""
    plant(tmp_path, {"dags/a.py": text})
    with pytest.raises(DagCompileError) as caught:
        compile_project(tmp_path)
    assert [one.line for one in caught.value.all] == [5, 7]


def test_a_missing_module_that_is_named_already_has_another_remedy(tmp_path: Path) -> None:
    """`../cases/deps`: to name pendulum again cannot help."""
    plant(tmp_path, {"dag.py": "import zeep\n" + dag("a"), "leoflow.yaml": "dependencies: [zeep]\n"})
    with pytest.raises(DagCompileError) as caught:
        compile_project(tmp_path)
    assert "--python" in caught.value.remedy
    assert "requirements" not in caught.value.remedy


IN_A_PACKAGE = {
    "ours/dags/a.py": dag("a", "from ours.plugins.operators import Own\nimport near\n"),
    "ours/dags/near.py": "",
    "ours/plugins/operators.py": "class Own: ...\n",
    "ours/include/query.sql": "select 1\n",
    "requirements.txt": "polars==1\n",
}


def test_a_dags_folder_in_a_package_that_its_files_name_is_imported_from_above(tmp_path: Path) -> None:
    project = project_of(plant(tmp_path, IN_A_PACKAGE), "a")
    assert (project.folder, project.source_path, project.path) == (tmp_path, "ours/dags/a.py", "ours/dags/a.py")
    assert spec_of(tmp_path, "a").environment.dependencies == ("polars==1",)
    names = bundle_of(tmp_path, "a", tmp_path.parent / f"{tmp_path.name}-bundle")
    assert names == [*sorted(name for name in IN_A_PACKAGE if name.startswith("ours/")), "requirements.txt"]


def test_such_a_file_is_the_same_when_it_is_named_alone(tmp_path: Path) -> None:
    plant(tmp_path, IN_A_PACKAGE)
    (named,) = open_projects(tmp_path / "ours/dags/a.py")
    assert named == project_of(tmp_path, "a")


UNDER_A_REPOSITORY = {
    "services/__init__.py": "",
    "services/load.py": "from services.config import NAME\n",
    "services/config.py": "NAME = 'a'\n",
    "services/other.py": "1 / 0\n",
    "deploy/airflow/dags/a.py": dag("a", "from services.load import NAME\nimport near\n"),
    "deploy/airflow/dags/near.py": "",
    "deploy/airflow/requirements.txt": "",
}


def test_what_a_repository_has_on_its_path_is_found_above_the_dags(tmp_path: Path) -> None:
    project = project_of(plant(tmp_path, UNDER_A_REPOSITORY), "a")
    assert (project.folder, project.source_path) == (tmp_path, "deploy/airflow/dags/a.py")
    names = bundle_of(tmp_path, "a", tmp_path.parent / f"{tmp_path.name}-bundle")
    assert {f"services/{name}.py" for name in ("__init__", "load", "config")} <= set(names)
    assert "services/other.py" not in names


def test_of_a_file_that_is_named_alone_the_repository_is_looked_at_and_nothing_above(tmp_path: Path) -> None:
    (repository := tmp_path / "clone").mkdir()
    plant(repository, UNDER_A_REPOSITORY)
    file = repository / "deploy/airflow/dags/a.py"
    assert open_projects(file)[0].folder == repository / "deploy/airflow"
    (repository / ".git").mkdir()
    assert open_projects(file) == (project_of(repository, "a"),)
    (repository / "services").rename(tmp_path / "services")
    assert open_projects(file)[0].folder == repository / "deploy/airflow"


@pytest.mark.parametrize("name", ["airflow", "json", "pandas", "near"])
def test_a_folder_that_has_the_name_of_something_else_is_no_package(tmp_path: Path, name: str) -> None:
    files = {f"{name}/dags/a.py": dag("a", f"import {name}\n"), f"{name}/dags/near.py": ""}
    assert project_of(plant(tmp_path, files), "a").folder == tmp_path / name


PLUGIN = """\
from airflow.plugins_manager import AirflowPlugin

def twice(word):
    return word * 2

class Ours(AirflowPlugin):
    name = "ours"
    macros = [twice]
    listeners = [twice]
    flask_blueprints = []
"""


def test_a_plugin_with_macros_belongs_to_every_file_of_the_folder_and_the_rest_of_it_is_told(tmp_path: Path) -> None:
    plant(tmp_path, {"dags/a.py": dag("a"), "plugins/ours.py": PLUGIN, "plugins/other.py": "X = 1\n"})
    done = compiled(tmp_path, "a")
    assert done.modules == {"dags/a.py", "plugins/ours.py"}
    (note,) = done.folder_notes
    assert note.startswith("plugins/ours.py: its AirflowPlugin registers listeners, which has no effect here; ")


def test_what_a_plugin_with_macros_imports_keeps_no_file_from_loading(tmp_path: Path) -> None:
    plant(tmp_path, {"dags/a.py": dag("a"), "plugins/ours.py": f"import duckdb\n{PLUGIN}"})
    done = compiled(tmp_path, "a")
    assert (done.needs.loads_with_base, done.needs.environment.dependencies) == (True, ("duckdb",))
