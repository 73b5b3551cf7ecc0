"""The Python of a project: what its folder says, what can read its files, and what there is (ADR 111)."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from leoflowd.authoring import pythons
from leoflowd.authoring.compiler import compile_opened
from leoflowd.authoring.discovery import open_projects
from leoflowd.authoring.errors import DagCompileError, EnvironmentFailed
from leoflowd.authoring.packages import Needs
from leoflowd.authoring.project import Project
from leoflowd.authoring.pythons import Choice, Here, Said, by_nearness, choose_python, find_python, said_in
from tests.fakes.dag_trees import dag, plant

NOBODYS = "def f(:\n"
"""No Python reads it; the interpreters of these tests say that they do."""


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "own_version", lambda: "3.11")


@pytest.fixture
def here(tmp_path: Path) -> dict[str, bool]:
    """Versions of this machine, and whether they can read everything."""
    return {}


@pytest.fixture
def find(here: dict[str, bool], tmp_path: Path) -> Here:
    def found(version: str) -> Path | None:
        if version not in here:
            return None
        return program(tmp_path / f"python{version}", f"exit {int(not here[version])}")

    return found


def program(file: Path, code: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{code}\n")
    file.chmod(0o755)
    return file


def of(folder: Path) -> Project:
    return Project(folder=folder, source_path="dag.py", path="p")


def project(wanted: str, poetry: str = "") -> str:
    return f'[project]\nname = "x"\nrequires-python = "{wanted}"\n[tool.poetry.dependencies]\npython = "{poetry}"\n'


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, None),
        ({".python-version": "3.12.3\n"}, Said("==3.12.*", ".python-version")),
        ({".python-version": "# mine\n3.12\n"}, Said("==3.12.*", ".python-version")),
        ({".python-version": "anaconda3-4.1.0\n"}, None),
        ({".python-version": "3.12.1/envs/mine\n"}, None),
        ({"Dockerfile": "FROM apache/airflow:3.1.5-python3.12\nRUN x\n"}, Said("==3.12.*", "Dockerfile")),
        (
            {"Dockerfile": "from --platform=linux/amd64 example.org/python:3.13-slim AS x\n"},
            Said("==3.13.*", "Dockerfile"),
        ),
        ({"Dockerfile": "FROM python:3.10 AS b\nFROM python:3.12\nFROM b\n"}, Said("==3.12.*", "Dockerfile")),
        ({"Dockerfile": "FROM apache/airflow:2.10.2\nRUN python3.9 x\n"}, None),
        ({"pyproject.toml": project(">=3.12, <3.12.99")}, Said(">=3.12, <3.12.99", "pyproject.toml")),
        ({"pyproject.toml": project("", "^3.12")}, Said("^3.12", "pyproject.toml")),
        ({"pyproject.toml": project("new enough")}, None),
        ({"pyproject.toml": "not [toml"}, None),
        ({".python-version": "3.12", "Dockerfile": "FROM python:3.13"}, Said("==3.12.*", ".python-version")),
        ({"Dockerfile": "FROM python:3.13", "pyproject.toml": project(">=3.10")}, Said("==3.13.*", "Dockerfile")),
        ({"a/pyproject.toml": project(">=3.12"), ".python-version": "3.10"}, Said(">=3.12", "a/pyproject.toml")),
        ({"b/.python-version": "3.12"}, None),
    ],
)
def test_the_nearest_folder_that_names_a_python_counts(
    tmp_path: Path, files: dict[str, str], said: Said | None
) -> None:
    plant(tmp_path, {"a/dag.py": "", **files})
    assert said_in(Project(folder=tmp_path, source_path="a/dag.py", path="a", base="a/")) == said


@pytest.mark.parametrize(
    ("wanted", "versions"),
    [
        ("==3.12.*", ["3.12"]),
        (">=3.12, <3.12.99", ["3.12"]),
        ("==3.11.4", ["3.11"]),
        ("^3.11", ["3.11", "3.12", "3.13"]),
        (">=3.10,!=3.11.*", ["3.12", "3.13", "3.10"]),
        ("<3.11", ["3.10"]),
        ("~=3.8.0", []),
    ],
)
def test_what_a_range_takes_by_nearness(wanted: str, versions: list[str]) -> None:
    said = Said(wanted, "x")
    assert [one for one in by_nearness("3.11") if said.takes(one)] == versions


def test_newer_ones_are_nearer_than_older_ones() -> None:
    assert by_nearness("3.11") == ["3.11", "3.12", "3.13", "3.10"]
    assert by_nearness("3.14") == ["3.14", "3.13", "3.12", "3.11", "3.10"]


@pytest.mark.parametrize(
    ("wanted", "there", "version", "words"),
    [
        ("3.11", ["3.12"], None, ""),
        ("3.12", ["3.12", "3.13"], "3.12", "Python 3.12, since .python-version asks for Python 3.12"),
        ("3.12", ["3.13"], None, "is not on this machine (`uv python install 3.12` does it): 3.11 is taken"),
        ("3.8", ["3.10"], None, "there is no Airflow 3.2: 3.11 is taken"),
    ],
)
def test_what_the_folder_says_is_taken_where_it_is(
    tmp_path: Path, here: dict[str, bool], find: Here, wanted: str, there: list[str], version: str | None, words: str
) -> None:
    here.update(dict.fromkeys(there, True))
    plant(tmp_path, {".python-version": wanted, "dag.py": ""})
    found = choose_python(of(tmp_path), ["dag.py"], find)
    assert (found.version, found.note) == (version, "")
    assert words in found.folder_note
    assert bool(words) == bool(found.folder_note)


@pytest.mark.parametrize(
    ("there", "said", "version"),
    [
        ({}, "", None),
        ({"3.13": True}, "", "3.13"),
        ({"3.12": True, "3.13": True}, "", "3.12"),
        ({"3.12": False, "3.13": True}, "", "3.13"),
        ({"3.12": False, "3.13": False}, "", None),
        ({"3.10": True}, "", None),
        ({"3.12": True, "3.13": True}, ">=3.11,!=3.12.*", "3.13"),
        ({"3.12": True}, "<3.12", None),
    ],
)
def test_a_file_that_ours_cannot_read_gets_the_first_newer_one_that_can(
    tmp_path: Path, here: dict[str, bool], find: Here, there: dict[str, bool], said: str, version: str | None
) -> None:
    here.update(there)
    plant(tmp_path, {"dag.py": "import used\n", "used.py": f"x = 1\n{NOBODYS}", "pyproject.toml": project(said)})
    note = version and f"Python {version}, since 3.11 cannot read used.py:2"
    assert choose_python(of(tmp_path), ["dag.py", "used.py"], find) == Choice(version, note=note or "")
    assert choose_python(of(tmp_path), ["dag.py"], find) == Choice(None)


def test_the_choice_is_the_environments_and_leoflow_yaml_says_more(
    tmp_path: Path, here: dict[str, bool], find: Here
) -> None:
    here.update({"3.12": True})
    plant(tmp_path, {"dag.py": dag("d"), "leoflow.yaml": "dag_source: dag.py\n", ".python-version": "3.12"})
    (opened,) = open_projects(tmp_path)
    done = compile_opened(opened, here=find)
    assert done.specs[0].environment.python_version == "3.12"
    assert done.folder_notes == ("Python 3.12, since .python-version asks for Python 3.12",)
    assert compile_opened(opened).specs[0].environment.python_version is None
    (tmp_path / "leoflow.yaml").write_text("dag_source: dag.py\npython_version: '3.13'\n")
    (opened,) = open_projects(tmp_path)
    assert compile_opened(opened, here=find).specs[0].environment.python_version == "3.13"


def test_modules_count_and_the_note_is_the_files(tmp_path: Path, here: dict[str, bool], find: Here) -> None:
    """Each DAG file for itself: a neighbour is not what makes it wait for an environment."""
    here.update({"3.12": True})
    plant(tmp_path, {"dags/a.py": "import new\n" + dag("a"), "dags/new.py": NOBODYS, "dags/b.py": dag("b")})
    asked: dict[str, str | None] = {}

    def python_for(needs: Needs) -> str:
        asked[one.path] = needs.environment.python_version
        return sys.executable

    for one in open_projects(tmp_path):
        with suppress(DagCompileError):  # no Python reads the module
            compile_opened(one, python_for=python_for, here=find)
    assert asked == {"dags/a.py": "3.12", "dags/b.py": None}


def test_one_that_shares_no_environment_keeps_its_python(tmp_path: Path, here: dict[str, bool], find: Here) -> None:
    here.update({"3.12": True})
    code = "def f():\n    from airflow.providers.{0}.hooks.{0} import H\n"
    plant(tmp_path, {f"dags/{one}.py": dag(one, code.format(one)) for one in ("ftp", "imap")})
    (tmp_path / ".python-version").write_text("3.12")

    def python_for(needs: Needs) -> str:
        if needs.alone is not None:
            raise EnvironmentFailed("no")
        return sys.executable

    done = compile_opened(open_projects(tmp_path)[0], python_for=python_for, here=find)
    assert done.specs[0].environment.python_version == "3.12"
    assert [note.partition(",")[0] for note in done.folder_notes] == [
        "Python 3.12",
        "its DAG files cannot share one environment",
    ]


def test_ours_is_taken_where_the_packages_cannot_be_had_with_the_one_that_is_named(
    tmp_path: Path, here: dict[str, bool], find: Here
) -> None:
    """A Dockerfile may be of something else. What only the newer one can read stays with that."""
    here.update({"3.12": True})
    code = "def f():\n    from airflow.providers.{0}.hooks.{0} import H\n"
    plant(tmp_path, {f"dags/{one}.py": dag(one, code.format(one)) for one in ("ftp", "imap")})
    (tmp_path / "Dockerfile").write_text("FROM python:3.12")
    asked: list[tuple[str | None, bool]] = []

    def python_for(needs: Needs) -> str:
        asked.append((needs.environment.python_version, needs.alone is not None))
        if needs.environment.python_version is not None:
            raise EnvironmentFailed("no wheels")
        return sys.executable

    project = open_projects(tmp_path)[0]
    done = compile_opened(project, python_for=python_for, here=find)
    assert asked == [("3.12", True), ("3.12", False), (None, True)]
    assert done.specs[0].environment.python_version is None
    assert done.folder_notes == (
        "Python 3.12, since Dockerfile asks for Python 3.12; its packages cannot be had there, and 3.11 is taken: "
        "no wheels",
    )
    plant(tmp_path, {"dags/ftp.py": dag("ftp", code.format("ftp") + "import new\n"), "dags/new.py": NOBODYS})
    (tmp_path / "Dockerfile").unlink()
    with pytest.raises(EnvironmentFailed, match="no wheels"):
        compile_opened(open_projects(tmp_path)[0], python_for=python_for, here=find)


def test_a_python_is_found_by_its_name_and_under_pyenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "LOOK_AGAIN_S", 1e-9)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert find_python("3.12", None) is None
    program(tmp_path / "bin" / "python3.12", "exit 127")  # a shim that was told to run another one
    assert find_python("3.12", None) is None
    of_pyenv = program(tmp_path / "pyenv" / "versions" / "3.12.1" / "bin" / "python3.12", "echo $0")
    assert find_python("3.12", None) == of_pyenv
    on_path = program(tmp_path / "bin" / "python3.12", "echo $0")
    assert find_python("3.12", None) == on_path
    assert find_python("3.12", program(tmp_path / "uv", "echo /of/uv")) == Path("/of/uv")
    assert find_python("3.11", None) == Path(sys.executable)
