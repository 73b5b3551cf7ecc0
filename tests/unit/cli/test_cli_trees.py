"""`compile`, `validate`, `test`, `push` and `init` over an Airflow folder as it is, and the environments they take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from leoflowd.authoring.errors import EnvironmentFailed
from leoflowd.cli.compile import _print
from leoflowd.cli.failures import ExitCode
from leoflowd.contract import dag_spec
from leoflowd.contract.dag_spec import EnvironmentSpec
from leoflowd.lite.environments import Environments
from tests.fakes.dag_trees import dag, plant

TASK = """\
from airflow.sdk import dag, task
import common


@dag(dag_id="runs")
def runs():
    @task
    def work():
        from include.sql import NAME
        return NAME + common.END

    work()


runs()
"""
TREE = {
    "dags/runs.py": TASK,
    "dags/team/other.py": dag("other", "from common import END\n"),
    "dags/common.py": "END = '!'\n",
    "dags/notes.py": "# no airflow dag\n",
    "include/sql.py": "NAME = 'here'\n",
    "requirements.txt": "",
}


TWO = ("duckdb", "polars")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", TREE)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[EnvironmentSpec]:
    """The environments that were asked for; each is this interpreter."""
    asked: list[EnvironmentSpec] = []

    def ensure(self: Environments, spec: EnvironmentSpec, say: Callable[[str], None] = lambda _: None) -> Path:
        asked.append(spec)
        if "broken" in spec.dependencies:
            raise EnvironmentFailed("cannot install 'broken'")
        return Path(sys.executable)

    monkeypatch.setattr(Environments, "ensure", ensure)
    return asked


# --- compile -----------------------------------------------------------------------------------------------------


def test_a_folder_is_compiled_to_an_artifact_per_dag(leoflow, tree: Path, tmp_path: Path) -> None:
    result = leoflow("compile", str(tree), "-o", str(tmp_path / "out"))
    assert result.code == 0
    specs = {file.name: dag_spec.decode(file.read_bytes()) for file in (tmp_path / "out").iterdir()}
    assert {name: spec.source_path for name, spec in specs.items()} == {
        "other.json": "dags/team/other.py",
        "runs.json": "dags/runs.py",
    }
    assert "notes.py defines no DAG" in result.err


@pytest.mark.parametrize("inside", ["dags", "dags/team"])
def test_a_folder_inside_of_an_airflow_folder_is_part_of_it_as_each_of_its_files_is(
    leoflow, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """`cd dags` and `validate`: plugins, include and modules above it were not found."""
    leoflow("compile", str(tree), "-o", str(tmp_path / "whole"))
    monkeypatch.chdir(tree / inside)
    assert leoflow("validate").code == ExitCode.OK
    assert leoflow("compile", "-o", str(tmp_path / "part")).code == ExitCode.OK
    for artifact in (tmp_path / "part").iterdir():
        assert artifact.read_bytes() == (tmp_path / "whole" / artifact.name).read_bytes()
    names = {artifact.stem for artifact in (tmp_path / "part").iterdir()}
    assert names == ({"other", "runs"} if inside == "dags" else {"other"})


@pytest.mark.parametrize("settings", [None, "", "dag_source: dag.py\n"])
def test_a_dag_has_one_artifact_however_its_folder_is_named(
    leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str | None
) -> None:
    """`push dags/warehouse`, `push dags` and Lite over `dags` made two versions, one after the other."""
    files = {"dags/warehouse/dag.py": dag("warehouse", "import helper\n"), "dags/warehouse/helper.py": ""}
    if settings is not None:
        files["dags/warehouse/leoflow.yaml"] = settings
    dags = plant(tmp_path, {**files, "dags/other/dag.py": dag("other"), "dags/other/q.sql": ""}) / "dags"
    artifacts = set()
    for number, (folder, named) in enumerate(
        [
            (tmp_path, "dags"),
            (tmp_path, "dags/warehouse"),
            (tmp_path, "dags/warehouse/dag.py"),
            (dags, "."),
            (dags / "warehouse", "."),
        ]
    ):
        monkeypatch.chdir(folder)
        target = tmp_path / f"{number}.json"
        result = leoflow("compile", named, "--dag-id", "warehouse", "-o", str(target))
        assert result.code == ExitCode.OK, result.err
        artifacts.add(target.read_bytes())
    assert len(artifacts) == 1


def test_what_stops_several_files_is_said_once_with_each_of_them(leoflow, tmp_path: Path) -> None:
    importing = {f"dags/{name}.py": dag(name, "import shared\n") for name in ("one", "two")}
    tree = plant(
        tmp_path, {**importing, "dags/shared.py": "from itertools import no_such\n", "dags/fine.py": dag("fine")}
    )
    result = leoflow("validate", str(tree))
    assert result.code == ExitCode.INVALID
    at = f"{tree}/dags/shared.py:1"
    assert result.err.count(f"{at}: cannot import name 'no_such' from 'itertools'; Python ") == 1
    assert f"which {tree}/dags/one.py imports" in result.err
    assert f"{tree}/dags/two.py: stopped by {at} as well" in result.err
    assert "`python_version:`" in result.err


def test_what_several_files_are_told_of_a_module_that_they_share_is_said_once(leoflow, tmp_path: Path) -> None:
    importing = {f"dags/{name}.py": dag(name, "import shared\n") for name in ("one", "two")}
    helper = "def first():\n    import no_such_thing\n\ndef second():\n    import no_such_thing.part\n"
    tree = plant(tmp_path, {**importing, "dags/shared.py": helper})
    result = leoflow("validate", str(tree))
    assert result.code == ExitCode.OK, result.err
    assert result.err.count("the module 'no_such_thing' is imported in a function") == 1


def test_a_place_that_lacks_two_variables_stops_another_file_once(leoflow, tmp_path: Path) -> None:
    importing = {f"dags/{name}.py": dag(name, "import shared\n") for name in ("one", "two")}
    reads = "from airflow.sdk import Variable\n\nA = Variable.get('a')\nB = Variable.get('b')\n"
    tree = plant(tmp_path, {**importing, "dags/shared.py": reads})
    result = leoflow("validate", str(tree))
    assert result.err.count("2 variables are read without a default: a, b") == 1
    assert result.err.count(f"{tree}/dags/two.py: stopped by {tree}/dags/shared.py:3 as well") == 1


def test_a_place_that_each_file_comes_to_from_its_own_line_is_said_once(leoflow, tmp_path: Path) -> None:
    calling = {f"dags/{name}.py": dag(name, "import shared\nshared.read()\n") for name in ("one", "two")}
    reads = "def read():\n    return open('config.json').read()\n"
    tree = plant(tmp_path, {**calling, "dags/shared.py": reads})
    result = leoflow("validate", str(tree))
    assert result.err.count("FileNotFoundError") == 1
    assert f"{tree}/dags/two.py: stopped by {tree}/dags/shared.py:2 as well" in result.err


def test_what_the_environment_of_a_folder_needs_is_said_once(leoflow, tmp_path: Path, built) -> None:
    tree = plant(
        tmp_path, {f"dags/{name}.py": dag(name, "def later():\n    import duckdb\n") for name in ("one", "two")}
    )
    result = leoflow("validate", str(tree))
    assert result.code == ExitCode.OK, result.err
    assert result.err.count("needs duckdb, because") == 1


def test_a_project_of_its_own_says_its_needs_though_a_folder_has_said_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    note = "needs duckdb, because a.py:1 imports duckdb"
    told: set[str] = set()
    for name, shares in (("dags/a.py", True), ("dags/b.py", True), ("own", False)):
        report = {"project": name, "dags": [], "errors": [], "notes": [note], "warnings": []}
        _print(report, told, shares=shares)
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["dags/a.py", "own"]


def test_the_output_of_a_tool_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    fault = {"line": 1, "what": "cannot install pins==1: uv ended.\nerror: no", "why": "w", "what_to_do": "see above"}
    told: set[str] = set()
    for name in ("one", "two"):
        report = {"project": name, "errors": [{**fault, "path": name, "source": ""}], "notes": [], "warnings": []}
        _print(report, told, shares=True)
    assert capsys.readouterr().err.splitlines() == [
        "one:1: cannot install pins==1: uv ended.",
        "error: no; w; see above",
        "two:1: cannot install pins==1: uv ended. The same as above",
    ]


def test_a_dag_is_found_by_its_id_from_inside_of_the_dags_folder(
    leoflow, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree / "dags")
    result = leoflow("test", "runs", "--python", sys.executable)
    assert result.code == ExitCode.OK, result.err
    assert "here!" in result.out


def test_init_writes_nothing_beside_dag_files_of_an_airflow_folder(leoflow, tree: Path) -> None:
    """It made the dags folder a project of its own, and every file lost what lies beside it."""
    result = leoflow("init", str(tree / "dags"))
    assert result.code == ExitCode.CONFLICT
    assert f"leoflow init {tree}" in result.err
    assert not (tree / "dags/leoflow.yaml").exists()
    assert leoflow("init", str(tree / "dags/new")).code == ExitCode.OK, "no DAG file of the folder lies there"


def test_a_file_of_a_folder_is_compiled_as_part_of_it(leoflow, tree: Path, tmp_path: Path) -> None:
    """Alone, or chosen by the id of its DAG: the same bytes."""
    one, other = tmp_path / "1.json", tmp_path / "2.json"
    assert leoflow("compile", str(tree / "dags" / "team" / "other.py"), "-o", str(one)).code == 0
    assert leoflow("compile", str(tree), "--dag-id", "other", "-o", str(other)).code == 0
    assert one.read_bytes() == other.read_bytes()


def test_nothing_is_written_when_a_file_fails_and_all_faults_are_told(leoflow, tree: Path, tmp_path: Path) -> None:
    plant(tree, {"dags/bad.py": "# airflow dag\n1/0\n", "dags/worse.py": "# airflow dag\nimport pandsa\n"})
    result = leoflow("compile", str(tree), "-o", str(tmp_path / "out"))
    assert result.code == ExitCode.INVALID
    lines = result.err.splitlines()
    assert any(line.startswith(f"{tree}/dags/bad.py:2: ") for line in lines)
    assert any(line.startswith(f"{tree}/dags/worse.py:2: ") for line in lines)
    assert not (tmp_path / "out").exists()


def test_one_id_in_two_files_is_an_error(leoflow, tree: Path, tmp_path: Path) -> None:
    plant(tree, {"dags/twin.py": dag("other")})
    result = leoflow("compile", str(tree), "-o", str(tmp_path / "out"))
    assert (result.code, "dags/team/other.py and dags/twin.py" in result.err) == (ExitCode.INVALID, True)


def test_paths_of_faults_are_as_the_caller_named_the_folder(
    leoflow, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tree, {"dags/bad.py": "# airflow dag\nimport worse\n", "include/x.py": "", "dags/worse.py": "1/0\n"})
    monkeypatch.chdir(tree.parent)
    assert leoflow("validate", "tree").err.startswith("tree/dags/worse.py:1: ")
    monkeypatch.chdir(tree / "dags")
    assert leoflow("compile", "bad.py").err.startswith("worse.py:1: ")


def test_a_folder_is_pushed_dag_by_dag(leoflow, server, tree: Path) -> None:
    requests = server(lambda _: httpx.Response(201, json={"dag_id": "x", "version_number": 1, "created": True}))
    assert leoflow("push", str(tree)).code == 0
    assert [dag_spec.decode(request.read()).dag_id for request in requests] == ["runs", "other"]


# --- validate ----------------------------------------------------------------------------------------------------

REFUSED = """\
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("refused"):
    EmptyOperator(task_id="a", run_as_user="root")
    EmptyOperator(task_id="c", run_as_user="root")
"""


def test_validate_shows_every_finding_of_every_file_with_its_line(leoflow, tree: Path) -> None:
    plant(tree, {"dags/refused.py": REFUSED, "dags/bad.py": "# airflow dag\n1/0\n"})
    result = leoflow("validate", str(tree))
    assert result.code == ExitCode.INVALID
    assert f"{tree}/dags/refused.py:5: " in result.err
    assert f"{tree}/dags/refused.py:6: " in result.err
    assert '\n      5 | EmptyOperator(task_id="a", run_as_user="root")\n' in result.err
    assert "\n      2 | 1/0\n" in result.err
    assert f"{tree}/dags/runs.py: ok: runs (1 tasks)" in result.out
    assert f"{tree}/dags/notes.py: skipped, it defines no DAG" in result.out
    assert result.out.splitlines()[-1] == "5 files: 2 DAGs; 2 with errors, 1 without a DAG"


def test_validate_as_json_has_the_same(leoflow, tree: Path) -> None:
    plant(tree, {"dags/refused.py": REFUSED})
    document = leoflow("validate", str(tree), "-o", "json").document
    assert document["valid"] is False
    by_name = {Path(report["project"]).stem: report for report in document["projects"]}
    assert [fault["line"] for fault in by_name["refused"]["errors"]] == [5, 6]
    assert by_name["refused"]["errors"][0]["source"].startswith("EmptyOperator(")
    assert by_name["runs"]["dags"] == [{"dag_id": "runs", "tasks": 1}]
    assert by_name["notes"]["dags"] == by_name["notes"]["errors"] == []


def test_validate_tells_what_was_inferred(leoflow, tree: Path, built: list[EnvironmentSpec]) -> None:
    plant(tree, {"dags/loads.py": dag("loads", "def f():\n    import duckdb\n")})
    result = leoflow("validate", str(tree))
    assert result.code == 0
    assert f"{tree}/dags/loads.py: needs duckdb, because dags/loads.py:2 imports duckdb" in result.err


# --- environments ------------------------------------------------------------------------------------------------


def test_what_loads_without_packages_needs_no_environment(leoflow, tree: Path, built: list[EnvironmentSpec]) -> None:
    text = "def f():\n    import duckdb\n    from airflow.providers.ftp.hooks.ftp import FTPHook\n"
    plant(tree, {"dags/a.py": dag("a", f"import pendulum, yaml, json\n{text}"), "requirements.txt": "dbt-core\n"})
    assert leoflow("validate", str(tree)).code == 0
    assert built == []


def test_what_loading_imports_is_taken_from_the_dags_own_environment(
    leoflow, tree: Path, built: list[EnvironmentSpec], tmp_path: Path
) -> None:
    plant(tree, {"dags/a.py": dag("a", "try:\n    import duckdb\nexcept ImportError:\n    pass\n")})
    target = tmp_path / "a.json"
    assert leoflow("compile", str(tree / "dags" / "a.py"), "-o", str(target)).code == 0
    assert [spec.dependencies for spec in built] == [("duckdb",)]
    assert dag_spec.decode(target.read_bytes()).environment.dependencies == ("duckdb",)


def test_an_interpreter_that_is_named_relative_to_the_caller_is_used(
    leoflow, tree: Path, built: list[EnvironmentSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader works in the project's folder."""
    plant(tree, {"dags/a.py": dag("a", "try:\n    import duckdb\nexcept ImportError:\n    pass\n")})
    (tree.parent / "bin").mkdir()
    (tree.parent / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tree.parent)
    assert leoflow("validate", "tree", "--python", "bin/python").code == 0
    assert built == []


def test_an_environment_that_cannot_be_built_is_a_finding_of_its_file(
    leoflow, tree: Path, built: list[EnvironmentSpec]
) -> None:
    plant(tree, {"own/dag.py": dag("own", "import broken\n"), "own/leoflow.yaml": "dependencies: [broken]\n"})
    result = leoflow("validate", str(tree))
    assert result.code == ExitCode.INVALID
    assert "cannot install 'broken'" in result.err
    assert f"{tree}/dags/runs.py: ok: runs (1 tasks)" in result.out


# --- test --------------------------------------------------------------------------------------------------------


def test_a_dag_file_of_a_tree_runs_with_its_modules(leoflow, tree: Path) -> None:
    result = leoflow("test", str(tree / "dags" / "runs.py"), "--python", sys.executable, "-o", "json")
    assert result.code == 0, result.err
    assert result.document["task_instances"][0]["xcoms"] == {"return_value": "here!"}


def test_a_dag_of_a_tree_is_found_by_its_id(
    leoflow, tree: Path, built: list[EnvironmentSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    assert leoflow("test", "runs", "-o", "json").document["state"] == "success"
    assert built == [EnvironmentSpec()], "its tasks run in the DAG's own environment"


# --- init --------------------------------------------------------------------------------------------------------


def test_init_writes_down_what_was_inferred(leoflow, tree: Path) -> None:
    text = "def f():\n    import duckdb\n    from airflow.providers.cncf.kubernetes.hooks.kubernetes import X\n"
    plant(tree, {"dags/a.py": dag("a", text)})
    assert leoflow("init", str(tree)).code == 0
    assert (tree / "leoflow.yaml").read_text() == (
        'schema_version: "1.0"\n'
        "connectors:\n"
        "  - cncf.kubernetes   # dags/a.py:3 imports airflow.providers.cncf.kubernetes.hooks.kubernetes\n"
        "dependencies:\n"
        "  - duckdb   # dags/a.py:2 imports duckdb\n"
    )
    result = leoflow("validate", str(tree), "-o", "json")
    assert result.document["valid"], "and it is a settings file over all of them"


def test_init_of_a_folder_that_needs_nothing_says_so(leoflow, tree: Path) -> None:
    assert leoflow("init", str(tree)).code == 0
    assert "nothing is needed" in (tree / "leoflow.yaml").read_text()
    assert leoflow("validate", str(tree)).code == 0


def test_a_file_whose_folder_cannot_share_an_environment_is_validated_in_its_own(
    leoflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def ensure(self: Environments, spec: EnvironmentSpec, say: Callable[[str], None] = lambda _: None) -> Path:
        asked.append(spec.dependencies)
        if len(spec.dependencies) > 1:
            raise EnvironmentFailed("duckdb excludes polars")
        return Path(sys.executable)

    monkeypatch.setattr(Environments, "ensure", ensure)
    files = {f"dags/{name}.py": dag(name, f"try:\n    import {name}\nexcept ImportError:\n    pass\n") for name in TWO}
    result = leoflow("validate", str(plant(tmp_path / "tree", files)))
    assert result.code == 0
    assert "each gets its own: duckdb excludes polars" in result.err
    assert asked == [("duckdb", "polars"), ("duckdb",), ("polars",)]
