"""Requirements as uv, Poetry and pipenv write them; and those that lie in the folder, which no index is asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leoflowd.authoring.compiler import compile_opened
from leoflowd.authoring.discovery import discover, open_projects
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.project import Project
from leoflowd.authoring.requirements import Requirements, read_requirements
from tests.fakes.dag_trees import dag, plant

OURS = {
    "libs/ours/src/ours/__init__.py": "",
    "libs/ours/src/ours/names.py": "NAME = 'a'\n",
    "libs/ours/src/ours/other.py": "1 / 0\n",
    "libs/ours/pyproject.toml": '[project]\nname = "ours"\ndependencies = ["duckdb==1.2"]\n',
}
DAGS = {"dags/a.py": dag("a", "from ours.names import NAME\n")}
UV = '[project]\nname = "p"\ndependencies = ["ours>=1"]\n'
POETRY = '[tool.poetry.dependencies]\npython = "^3.11"\n'
PLUGIN = """\
from airflow.plugins_manager import AirflowPlugin
class P(AirflowPlugin):
    listeners = [1]
"""
BROKEN_WORKSPACE = "[tool.uv.sources]\nours = { workspace = true }\n[tool.uv.workspace]\nmembers = ['***']\n"
WORKSPACE = '[tool.uv.workspace]\nmembers = ["libs/*", "flows"]\n'


def packages(found: Requirements) -> list[str]:
    return [one.text for one in found.packages]


def project_of(folder: Path) -> Project:
    (found,) = discover(folder).projects
    return found


@pytest.mark.parametrize(
    "required",
    [
        {"requirements.txt": "./libs/ours\n"},
        {"requirements.txt": "libs/ours[extra] ; python_version > '3'\n"},
        {"requirements.txt": "-e ./libs/ours\n"},
        {"requirements.txt": "--editable=libs/ours[extra]\n"},
        {"requirements.txt": "ours @ file:libs/ours\n"},
        {"requirements.txt": "-r more/all.txt\n", "more/all.txt": "-e ../libs/ours\n"},
        {"pyproject.toml": f'{UV}[tool.uv.sources]\nours = {{ path = "libs/ours", editable = true }}\n'},
        {"pyproject.toml": f"{UV}[tool.uv.sources]\nours = {{ workspace = true }}\n{WORKSPACE}"},
        {"pyproject.toml": f'{POETRY}ours = {{ path = "libs/ours", develop = true }}\n'},
        {"pyproject.toml": f'{UV}{POETRY}ours = {{ path = "libs/ours" }}\n'},
        {"Pipfile": '[packages]\nours = {path = "libs/ours", editable = true}\n'},
    ],
    ids=lambda files: next(iter(reversed(files.values()))).splitlines()[-1],
)
def test_a_package_of_the_folder_is_its_code_and_brings_what_it_needs(tmp_path: Path, required: dict[str, str]) -> None:
    """By its name an index would give somebody else's."""
    tree = plant(tmp_path, {**DAGS, **OURS, **required})
    found = read_requirements(tree)
    assert (found.folders, packages(found), found.notes) == (("libs/ours/src",), ["duckdb==1.2"], ())
    done = compile_opened(project_of(tree))
    assert done.modules is not None
    assert "libs/ours/src/ours/names.py" in done.modules
    assert "libs/ours/src/ours/other.py" not in done.modules
    assert done.specs[0].import_paths == ("dags", ".", "libs/ours/src")


def test_a_file_that_is_named_alone_has_them_too(tmp_path: Path) -> None:
    tree = plant(tmp_path, {**DAGS, **OURS, "requirements.txt": "-e libs/ours\n"})
    assert open_projects(tree / "dags/a.py") == (project_of(tree),)
    loose = plant(tmp_path / "loose", {**OURS, "a.py": dag("a", "import ours\n"), "requirements.txt": "-e libs/ours\n"})
    assert "libs/ours/src" in open_projects(loose / "a.py")[0].import_paths


def test_a_project_of_its_own_has_them_too(tmp_path: Path) -> None:
    tree = plant(tmp_path, {**OURS, "dag.py": dag("a", "import ours\n"), "requirements.txt": "-e libs/ours\n"})
    assert compile_opened(project_of(tree)).specs[0].import_paths == (".", "libs/ours/src")


@pytest.mark.parametrize(
    "required",
    ["[tool.uv.sources]\nours = { workspace = true }\n", '[tool.uv.sources]\nours = { path = "../libs/ours" }\n'],
)
def test_a_package_beside_the_folder_moves_the_root_as_far_as_the_repository(tmp_path: Path, required: str) -> None:
    """A monorepo: flows/ and libs/ are members of one workspace of uv."""
    clone = plant(
        tmp_path / "clone",
        {
            **OURS,
            "pyproject.toml": WORKSPACE,
            "flows/pyproject.toml": UV + required,
            "flows/dags/a.py": DAGS["dags/a.py"],
        },
    )
    alone = project_of(clone / "flows")
    assert (alone.folder, alone.base) == (clone / "flows", "")
    assert alone.import_paths == ("dags", ".")
    assert open_projects(clone / "flows") == (alone,)
    (clone / ".git").mkdir()
    (whole,) = open_projects(clone / "flows/dags/a.py")
    assert (whole.folder, whole.base) == (clone, "flows/")
    assert whole.import_paths == ("flows/dags", "flows", ".", "libs/ours/src")
    assert compile_opened(whole).specs[0].environment.dependencies == ("duckdb==1.2",)
    assert discover(clone).projects == (whole,)
    for named in ("", "flows", "flows/dags"):
        assert open_projects(clone / named) == (whole,)
    with pytest.raises(DagCompileError, match=r"'ours' is imported; .* lies outside; name a folder that holds both"):
        compile_opened(alone)


@pytest.mark.parametrize("named", ["", "src", "src/dags", "src/dags/a.py"])
def test_requirements_further_up_in_the_repository_count(tmp_path: Path, named: str) -> None:
    """A repository with `src/dags/` beside its requirements; nothing above a folder that is no clone is read."""
    plant(
        tmp_path,
        {"requirements.txt": "duckdb==1.2\n-r more.txt\n", "more.txt": "polars==1\n", "src/dags/a.py": dag("a")},
    )
    assert packages(read_requirements(tmp_path / "src", in_tree=True)) == []
    (tmp_path / ".git").mkdir()
    assert packages(read_requirements(tmp_path / "src", in_tree=False)) == []
    (project,) = open_projects(tmp_path / named)
    assert packages(read_requirements(project.folder, project.base, in_tree=True)) == ["duckdb==1.2", "polars==1"]
    (tmp_path / "src" / "Pipfile").write_text("")
    assert packages(read_requirements(project.folder, project.base, in_tree=True)) == []


def test_members_of_a_workspace_are_importable_though_nobody_requires_them(tmp_path: Path) -> None:
    """A repository that is somebody's dags folder; what it needs is not what all of its packages need."""
    tree = plant(tmp_path, {**OURS, ".airflowignore": "", "pyproject.toml": WORKSPACE, "flows/a.py": DAGS["dags/a.py"]})
    project = project_of(tree)
    assert project.import_paths == (".", "libs/ours/src")
    assert compile_opened(project).specs[0].environment.dependencies == ()


def test_a_package_that_holds_the_dags_is_imported_from_its_src(tmp_path: Path) -> None:
    tree = plant(
        tmp_path,
        {
            "air/pyproject.toml": '[project]\ndependencies = ["duckdb==1.2"]\n',
            "air/src/flows/dags/a.py": dag("a", "from flows.names import NAME\n"),
            "air/src/flows/names.py": "NAME = 'a'\n",
        },
    )
    project = project_of(tree)
    assert (project.folder, project.base) == (tree / "air", "src/flows/")
    done = compile_opened(project)
    assert done.specs[0].environment.dependencies == ("duckdb==1.2",)
    assert done.modules is not None
    assert "src/flows/names.py" in done.modules


def test_tests_of_a_repository_are_no_dag_files(tmp_path: Path) -> None:
    files = {"air/dags/a.py": dag("a"), "air/tests/b.py": dag("b"), "tests/c.py": dag("c"), "loose.py": dag("d")}
    found = discover(plant(tmp_path, files)).projects
    assert [project.path for project in found] == ["air/dags/a.py", "loose.py"]
    assert [project.path for project in discover(tmp_path / "tests").projects] == ["c.py"]


def test_a_folder_that_requires_what_it_lies_in_belongs_to_that(tmp_path: Path) -> None:
    tree = plant(
        tmp_path,
        {
            "pyproject.toml": '[project]\ndependencies = ["duckdb==1.2"]\n',
            "src/ours/names.py": "NAME = 'a'\n",
            "air/requirements.txt": "-e ..\n",
            **{f"air/{path}": text for path, text in DAGS.items()},
        },
    )
    project = project_of(tree)
    assert (project.folder, project.base, project.import_paths[-1]) == (tree, "air/", "src")
    assert compile_opened(project).specs[0].environment.dependencies == ("duckdb==1.2",)


def test_requirements_beside_the_dags_count_where_the_root_lies_further_up(tmp_path: Path) -> None:
    tree = plant(
        tmp_path,
        {
            "services/x.py": "",
            "air/dags/a.py": dag("a", "import services.x\n"),
            "air/requirements.txt": "duckdb==1.2\n",
            "air/plugins/p.py": PLUGIN,
            "requirements.txt": "duckdb==1.1\npolars==1\n",
        },
    )
    project = project_of(tree)
    assert (project.folder, project.base) == (tree, "air/")
    done = compile_opened(project)
    assert done.specs[0].environment.dependencies == ("duckdb==1.2", "polars==1")
    assert any("air/plugins/p.py: its AirflowPlugin registers listeners" in note for note in done.folder_notes)


def test_settings_beside_the_dags_are_refused_where_the_root_lies_further_up(tmp_path: Path) -> None:
    tree = plant(
        tmp_path,
        {
            "services/x.py": "",
            "air/dags/a.py": dag("a", "import services.x\n"),
            "air/requirements.txt": "",
            "air/leoflow.yaml": "pool: small\n",
        },
    )
    with pytest.raises(DagCompileError, match=re.escape("air/leoflow.yaml:1: these settings have no effect here")):
        compile_opened(project_of(tree))


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("../elsewhere", "requirements.txt:1: ../elsewhere is left out: ../elsewhere lies outside; name a folder"),
        ("./no/such", "requirements.txt:1: ./no/such is left out: there is no folder no/such"),
        ("own @ file:own-1.whl", "requirements.txt:1: own is left out: own-1.whl is a file"),
    ],
)
def test_what_cannot_be_code_of_the_folder_is_left_out_and_said(tmp_path: Path, line: str, note: str) -> None:
    found = read_requirements(plant(tmp_path / "p", {"requirements.txt": line, "own-1.whl": ""}))
    assert (found.folders, found.packages) == ((), ())
    assert found.notes[0].startswith(note)


@pytest.mark.parametrize("line", [".", "-e .", "-e .[airflow]"])
def test_the_folder_itself_is_there_already(tmp_path: Path, line: str) -> None:
    files = {"requirements.txt": line, "pyproject.toml": '[project]\ndependencies = ["duckdb"]\n'}
    found = read_requirements(plant(tmp_path, files))
    assert (found.folders, packages(found), found.notes) == ((), ["duckdb"], ())


def test_a_workspace_without_the_member_gives_no_package_of_that_name(tmp_path: Path) -> None:
    text = f"{UV}[tool.uv.sources]\nours = {{ workspace = true }}\n{WORKSPACE}"
    tree = plant(tmp_path, {**DAGS, "pyproject.toml": text})
    found = read_requirements(tree)
    assert packages(found) == []
    assert "pyproject.toml: ours is left out: no workspace of uv around it" in found.notes[0]
    with pytest.raises(DagCompileError, match="'ours' is imported; no workspace of uv around it"):
        compile_opened(project_of(tree))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            '{ git = "https://e.org/o.git", tag = "v1", subdirectory = "x" }',
            "@ git+https://e.org/o.git@v1#subdirectory=x",
        ),
        ('{ git = "https://e.org/o.git" }', "@ git+https://e.org/o.git"),
        ('{ url = "https://e.org/o.whl" }', "@ https://e.org/o.whl"),
    ],
)
def test_a_source_of_uv_is_where_it_is_installed_from(tmp_path: Path, source: str, text: str) -> None:
    project = f"[project]\ndependencies = [\"ours[x]>=1 ; python_version > '3'\"]\n[tool.uv.sources]\nours = {source}\n"
    assert packages(read_requirements(plant(tmp_path, {"pyproject.toml": project}))) == [
        f"ours[x] {text} ; python_version > '3'"
    ]


@pytest.mark.parametrize(
    "text",
    [
        f'{UV}[tool.uv.sources]\nours = {{ index = "mine" }}\n',
        f'{UV}[tool.uv.sources]\nours = [{{ index = "mine", marker = "x" }}]\n',
        f'{UV}[tool.uv.sources]\nours = [{{ index = "mine" }}, {{ index = "other" }}]\n',
        f'{POETRY}ours = {{ version = ">=1", source = "mine" }}\n',
    ],
)
def test_an_index_is_said_since_the_installer_has_to_know_it(tmp_path: Path, text: str) -> None:
    found = read_requirements(plant(tmp_path, {"pyproject.toml": text}))
    assert packages(found)
    assert re.search(r"ours comes from the index 'mine(, other)?': set UV_INDEX", found.notes[0])


def test_of_several_places_of_uv_none_is_chosen(tmp_path: Path) -> None:
    places = '[{ path = "libs/ours", marker = "a" }, { git = "https://e.org/o.git", marker = "b" }]'
    text = f"{UV}[tool.uv.sources]\nours = {places}\n"
    found = read_requirements(plant(tmp_path, {**OURS, "pyproject.toml": text}))
    assert (packages(found), found.folders) == ([], ())
    assert "ours is left out: uv has several places for it" in found.notes[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"^1.2"', "own (>=1.2,<2.0)"),
        ('"~1.2"', "own (>=1.2,<1.3)"),
        ('"*"', "own"),
        ('{ version = "1.2", extras = ["x"], python = "<4" }', 'own[x] (==1.2) ; python_version < "4"'),
        ('{ git = "https://e.org/o.git", branch = "main" }', "own @ git+https://e.org/o.git@main"),
    ],
)
def test_versions_of_poetry_are_those_of_an_installer(tmp_path: Path, value: str, text: str) -> None:
    found = read_requirements(plant(tmp_path, {"pyproject.toml": f"{POETRY}own = {value}\n"}))
    assert (packages(found), found.notes) == ([text], ())


def test_what_no_installer_understands_of_poetry_is_said(tmp_path: Path) -> None:
    lines = 'one = "^1 || ^3"\ntwo = "x y z"\nthree = { version = "1", optional = true }\n'
    found = read_requirements(plant(tmp_path, {"pyproject.toml": f'{POETRY}apache-airflow = "^2"\n{lines}'}))
    assert packages(found) == ["one", "two"]
    left = [re.sub(r" is left out.*", "", note) for note in found.notes]
    assert left == [
        "pyproject.toml: apache-airflow (>=2,<3)",
        "pyproject.toml: one: its version",
        "pyproject.toml: two: its version",
    ]


def test_a_pipfile_is_read(tmp_path: Path) -> None:
    text = """\
        [packages]
        one = "*"
        two = "==2.0"
        three = {version = ">=3", extras = ["x"], markers = "python_version > '3'"}
        four = {git = "https://e.org/f.git", ref = "main"}
        [dev-packages]
        five = "*"
        """
    assert packages(read_requirements(plant(tmp_path, {"Pipfile": text}))) == [
        "one",
        "two==2.0",
        "three[x]>=3; python_version > '3'",
        "four @ git+https://e.org/f.git@main",
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"Pipfile": "[packages]\none = {extras = 3}\n"},
        {"pyproject.toml": UV + BROKEN_WORKSPACE},
    ],
)
def test_what_is_not_written_as_its_tool_has_it_is_an_error_of_that_file(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(DagCompileError, match=f"{next(iter(files))}:1: what it requires is not written"):
        read_requirements(plant(tmp_path, files))
