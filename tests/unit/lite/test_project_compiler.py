"""Environments take minutes: who waits for one holds up nobody else, and who loads without is not kept waiting."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typing_extensions import override

from leoflowd.authoring.discovery import discover
from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.authoring.project import Project
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.contract.loading import EMPTY
from leoflowd.lite.environments import Environments
from leoflowd.lite.project_compiler import BUILDS, LOADS, ProjectCompiler
from leoflowd.lite.watched_project import Compiled
from tests.conftest import PATIENCE_S
from tests.fakes.dag_trees import dag, plant

AT_LOAD = "try:\n    import duckdb\nexcept ImportError:\n    pass\n"
IN_A_TASK = "def f():\n    from airflow.providers.ftp.hooks.ftp import FTPHook\n"


class SlowEnvironments(Environments):
    """The default one is there; each other one is built when the test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.finish = threading.Event()
        self.begun: list[EnvironmentSpec] = []
        self.built: set[EnvironmentSpec] = {EnvironmentSpec()}
        self.fails = False

    @override
    def has(self, spec: EnvironmentSpec) -> bool:
        return spec in self.built

    @override
    def ensure(self, spec: EnvironmentSpec, say: Callable[[str], None] = lambda _: None) -> Path:
        if spec not in self.built:
            self.begun.append(spec)
            assert self.finish.wait(PATIENCE_S)
            if self.fails:
                raise EnvironmentFailed("cannot install it")
            self.built.add(spec)
        return Path(sys.executable)


@pytest.fixture
def environments(tmp_path: Path) -> SlowEnvironments:
    return SlowEnvironments(tmp_path / "data")


@pytest.fixture
def compiler(tmp_path: Path, environments: SlowEnvironments) -> ProjectCompiler:
    (tmp_path / "bundles").mkdir()
    return ProjectCompiler(environments, tmp_path / "bundles", lambda: EMPTY)


def projects(tmp_path: Path, files: dict[str, str]) -> dict[str, Project]:
    plant(tmp_path / "tree", files)
    return {Path(project.source_path).stem: project for project in discover(tmp_path / "tree").projects}


def test_who_waits_for_an_environment_holds_up_nobody(
    tmp_path: Path, environments: SlowEnvironments, compiler: ProjectCompiler
) -> None:
    many = {f"dags/slow{n}.py": dag(f"slow{n}", AT_LOAD) for n in range(LOADS + BUILDS + 1)}
    found = projects(tmp_path, {**many, "dags/plain.py": dag("plain")})
    outcomes: list[Compiled] = []
    slow = [project for name, project in found.items() if name != "plain"]
    threads = [threading.Thread(target=lambda one=one: outcomes.append(compiler(one))) for one in slow]
    for thread in threads:
        thread.start()
    assert compiler(found["plain"]).specs[0].dag_id == "plain"
    environments.finish.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(one.specs[0].dag_id for one in outcomes) == sorted(project.source_path[5:-3] for project in slow)
    assert len(environments.begun) == 1, "and those that wait for the same one build it once"


def test_what_loads_without_packages_is_compiled_before_its_environment_is_built(
    tmp_path: Path, environments: SlowEnvironments, compiler: ProjectCompiler
) -> None:
    project = projects(tmp_path, {"dags/a.py": dag("a", IN_A_TASK)})["a"]
    outcome = compiler(project)
    assert outcome.specs[0].environment.connectors == ("ftp",)
    assert environments.begun == []
    environments.finish.set()
    compiler.build(project, outcome.specs)
    assert [spec.connectors for spec in environments.begun] == [("ftp",)]


def test_one_whose_environment_could_not_be_built_is_compiled_when_it_can(
    tmp_path: Path, environments: SlowEnvironments, compiler: ProjectCompiler
) -> None:
    project = projects(tmp_path, {"dags/a.py": dag("a", IN_A_TASK)})["a"]
    outcome = compiler(project)
    environments.finish.set()
    environments.fails = True
    with pytest.raises(EnvironmentFailed):
        compiler.build(project, outcome.specs)
    with pytest.raises(EnvironmentFailed):
        compiler(project)
    environments.fails = False
    assert compiler(project).specs == outcome.specs


IN_ANOTHER_TASK = "def f():\n    from airflow.providers.imap.hooks.imap import ImapHook\n"
FTP, IMAP = (EnvironmentSpec(connectors=(name,)) for name in ("ftp", "imap"))
SHARED = EnvironmentSpec(connectors=("ftp", "imap"))


def test_a_shared_environment_that_cannot_be_built_is_tried_once(
    tmp_path: Path, environments: SlowEnvironments, compiler: ProjectCompiler
) -> None:
    found = projects(tmp_path, {"dags/a.py": dag("a", IN_A_TASK), "dags/b.py": dag("b", IN_ANOTHER_TASK)})
    a = compiler(found["a"])
    assert [spec.environment for spec in a.specs] == [SHARED]
    environments.finish.set()
    environments.fails = True
    with pytest.raises(EnvironmentFailed):
        compiler.build(found["a"], a.specs)
    environments.fails = False
    own = {name: compiler(project) for name, project in found.items()}
    for name, one in own.items():
        compiler.build(found[name], one.specs)
    assert environments.begun == [SHARED, FTP, IMAP]


def test_a_shared_environment_is_tried_again_once_its_projects_cannot_have_others_either(
    tmp_path: Path, environments: SlowEnvironments, compiler: ProjectCompiler
) -> None:
    at_load = {"dags/a.py": dag("a", AT_LOAD + IN_A_TASK), "dags/b.py": dag("b", IN_ANOTHER_TASK)}
    found = projects(tmp_path, at_load)
    environments.finish.set()
    environments.fails = True  # no network
    with pytest.raises(EnvironmentFailed):
        compiler(found["a"])
    environments.fails = False
    assert compiler(found["a"]).specs[0].environment.connectors == ("ftp", "imap")
