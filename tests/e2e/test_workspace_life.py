"""The workspace of a real Lite while its author works in it: broken files, saves, removals, double names, a restart.

Each test has projects of its own in one Lite that is this module's own: import errors do not belong into the shared
one. The test of the second start comes last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.lite_process import Api, Lite, free_port, temporary_folder, wait_until

SEEN_WITHIN_S = 60.0
LOOP_SEEN_WITHIN_S = 120.0
"""A file that never ends is given up after the compiler's deadline of 30 s."""

GOOD = """\
from airflow.sdk import DAG, task


@task
def answer():
    return 42


with DAG("DAG_ID", schedule=None):
    answer()
"""
RAISES = (
    GOOD
    + """

def fail():
    raise LookupError("no such table")  # <- here


fail()
"""
)
LOOPS = """\
import time

from airflow.sdk import DAG

with DAG("DAG_ID", schedule=None):
    while True:
        time.sleep(0.05)  # <- here
"""
EXITS = (
    GOOD
    + """
raise SystemExit(0)  # <- here
"""
)
SYS_EXITS = (
    "import sys\n"
    + GOOD
    + """
sys.exit("bye")  # <- here
"""
)
PRINTS = """\
from airflow.sdk import DAG

with DAG("DAG_ID", schedule=None):
    while True:
        print("x" * 10_000)  # <- here
"""
EATS = """\
from airflow.sdk import DAG

with DAG("DAG_ID", schedule=None):
    memory = bytearray(64 * 2**30)  # <- here
"""
OS_EXITS = (
    "import os\n"
    + GOOD
    + """
os._exit(0)  # <- here
"""
)
KILLS = (
    "import os  # <- here: nobody can tell the line\n"
    + GOOD
    + """
os.kill(os.getpid(), 9)
"""
)
IS_NO_PYTHON = GOOD + "def  # <- here\n"
BROKEN = {
    "raises": (RAISES, "loading it raised LookupError: no such table"),
    "loops": (LOOPS, "loading it took longer than 30 s"),
    "exits": (EXITS, "loading it called sys.exit()"),
    "sys_exits": (SYS_EXITS, "loading it called sys.exit()"),
    "prints": (PRINTS, "loading it printed more than 8 MiB"),
    "eats": (EATS, "loading it needs more memory than allowed"),
    "os_exits": (OS_EXITS, "loading it called os._exit()"),
    "kills": (KILLS, "loading it ended its interpreter by signal SIGKILL"),
    "is_no_python": (IS_NO_PYTHON, "the file is not valid Python"),
}


class Workspace:
    """The Lite of this module and its projects."""

    def __init__(self, lite: Lite, api: Api) -> None:
        self.lite = lite
        self.api = api

    def save(self, name: str, source: str, file: str = "dag.py") -> None:
        """As an editor does it: whole or not at all. `DAG_ID` in the source is the project's name."""
        path = self.lite.workspace / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(source.replace("DAG_ID", name))
        fresh.rename(path)

    def import_errors(self) -> dict[str, str]:
        """File -> text of all import errors."""
        found = self.api.call("GET", "/importErrors", params={"limit": 100})["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in found}

    def error_of(self, filename: str, *, within_s: float = SEEN_WITHIN_S) -> str:
        return wait_until(
            lambda: self.import_errors().get(filename), within_s=within_s, what=f"an import error of {filename}"
        )

    def wait_until_clear(self, filename: str) -> None:
        wait_until(
            lambda: filename not in self.import_errors(), within_s=SEEN_WITHIN_S, what=f"{filename} to be no error"
        )

    def listed(self, **filters: Any) -> dict[str, dict[str, Any]]:
        found = self.api.call("GET", "/dags", params={"limit": 100, **filters})["dags"]
        return {dag["dag_id"]: dag for dag in found}

    def wait_for(self, dag_id: str) -> dict[str, Any]:
        return wait_until(lambda: self.listed().get(dag_id), within_s=SEEN_WITHIN_S, what=f"DAG {dag_id}")

    def version_of(self, dag_id: str) -> int:
        details = self.api.call("GET", f"/dags/{dag_id}/details")
        return int(details["latest_dag_version"]["version_number"])

    def wait_for_version(self, dag_id: str, number: int) -> None:
        wait_until(
            lambda: self.version_of(dag_id) == number, within_s=SEEN_WITHIN_S, what=f"version {number} of {dag_id}"
        )

    def add(self, name: str, source: str = GOOD) -> None:
        self.save(name, source)
        self.wait_for(name)
        self.api.unpause(name)

    def run(self, dag_id: str) -> str:
        """A run to its good end; the run id."""
        run_id = self.api.trigger(dag_id)
        assert self.api.wait_for_run(dag_id, run_id)["state"] == "success"
        return run_id

    def result_of(self, dag_id: str, run_id: str, task_id: str = "answer") -> Any:
        return self.api.xcoms(dag_id, run_id)[task_id]["return_value"]


@pytest.fixture(scope="module")
def workspace(lite_environment: dict[str, str], artifacts: Path) -> Iterator[Workspace]:
    """A Lite on an empty workspace, into which all broken projects are saved at once: the slowest takes 30 s."""
    with temporary_folder("leoflow-workspace-") as root:
        lite = Lite(workspace=root / "workspace", data_dir=root / "data", env=lite_environment)
        try:
            with lite, lite.api() as api:
                workspace = Workspace(lite, api)
                for name, (source, _) in BROKEN.items():
                    workspace.save(name, source)
                yield workspace
        finally:
            outputs = [path.read_text(errors="replace") for path in sorted(root.glob("*.output-*.txt"))]
            (artifacts / "test_workspace_life.txt").write_text("\n--- next start ---\n".join(outputs))


# --- while other projects are broken (the loop is being compiled all the time) --------------------------------------


def test_an_empty_workspace_begins_with_a_project_that_runs(workspace: Workspace) -> None:
    workspace.wait_for("hello")
    workspace.api.unpause("hello")
    run_id = workspace.run("hello")
    assert workspace.result_of("hello", run_id, "greet") == "Hello, world!"


def test_saving_a_helper_module_gives_a_new_version_that_runs_the_new_code(workspace: Workspace) -> None:
    workspace.save("with_helper", "ANSWER = 'old'\n", "helper.py")
    workspace.add("with_helper", GOOD.replace("return 42", "import helper; return helper.ANSWER"))
    assert workspace.result_of("with_helper", workspace.run("with_helper")) == "old"
    workspace.save("with_helper", "ANSWER = 'new'\n", "helper.py")
    workspace.wait_for_version("with_helper", 2)
    assert workspace.result_of("with_helper", workspace.run("with_helper")) == "new"


def test_a_broken_save_shows_an_error_and_the_last_good_version_goes_on(workspace: Workspace) -> None:
    api = workspace.api
    workspace.add("often_saved")
    run_id = workspace.run("often_saved")
    workspace.save("often_saved", RAISES)
    assert "LookupError" in workspace.error_of("often_saved/dag.py")
    assert workspace.listed()["often_saved"]["has_import_errors"] is True
    assert workspace.result_of("often_saved", workspace.run("often_saved")) == 42  # other than in Airflow
    body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
    api.call("POST", "/dags/often_saved/clearTaskInstances", json=body)
    assert api.wait_for_run("often_saved", run_id)["state"] == "success"
    assert api.task_instances("often_saved", run_id)["answer"]["try_number"] == 2
    workspace.save("often_saved", GOOD.replace("42", "43"))
    workspace.wait_until_clear("often_saved/dag.py")
    assert workspace.version_of("often_saved") == 2
    assert workspace.listed()["often_saved"]["has_import_errors"] is False
    assert workspace.result_of("often_saved", workspace.run("often_saved")) == 43


def test_a_variable_that_a_file_waits_for_makes_its_dag_and_a_new_value_a_new_version(workspace: Workspace) -> None:
    """The task reads what the file read, anew, and writes what another one reads in a template."""
    source = GOOD.replace("from airflow.sdk import DAG", "from airflow.sdk import DAG, Variable").replace(
        "    return 42",
        "    Variable.set('of_the_task', Variable.get('of_the_file') + '!')\n    return Variable.get('of_the_task')",
    )
    workspace.save("reads", source.replace("schedule=None", "schedule=None, tags=[Variable.get('of_the_file')]"))
    assert "`leoflow variables set of_the_file VALUE`" in workspace.error_of("reads/dag.py")
    workspace.api.call("POST", "/variables", json={"key": "of_the_file", "value": "one"})
    assert [tag["name"] for tag in workspace.wait_for("reads")["tags"]] == ["one"]
    workspace.wait_until_clear("reads/dag.py")
    workspace.api.unpause("reads")
    assert workspace.result_of("reads", workspace.run("reads")) == "one!"
    assert workspace.api.call("GET", "/variables/of_the_task")["value"] == "one!"
    workspace.api.call("PATCH", "/variables/of_the_file", json={"key": "of_the_file", "value": "two"})
    workspace.wait_for_version("reads", 2)
    assert [tag["name"] for tag in workspace.listed()["reads"]["tags"]] == ["two"]
    assert workspace.result_of("reads", workspace.run("reads")) == "two!"


def test_a_removed_project_is_stale_and_its_history_stays_and_comes_back(workspace: Workspace) -> None:
    workspace.add("removed")
    run_id = workspace.run("removed")
    shutil.rmtree(workspace.lite.workspace / "removed")
    wait_until(lambda: "removed" not in workspace.listed(), within_s=SEEN_WITHIN_S, what="the DAG to be gone")
    assert workspace.listed(exclude_stale=False)["removed"]["is_stale"] is True
    assert workspace.import_errors().keys() & {"removed/dag.py"} == set()
    assert workspace.api.run("removed", run_id)["state"] == "success"
    assert workspace.result_of("removed", run_id) == 42
    assert "Done. Returned value was: 42" in workspace.api.log("removed", run_id, "answer")
    workspace.save("removed", GOOD)
    workspace.wait_for("removed")
    assert workspace.api.run("removed", run_id)["state"] == "success"


def test_of_two_projects_with_one_dag_id_the_second_is_an_error_that_names_both(workspace: Workspace) -> None:
    workspace.save("twin_a", GOOD.replace("DAG_ID", "twin"))
    workspace.wait_for("twin")
    workspace.api.unpause("twin")
    workspace.save("twin_b", GOOD.replace("DAG_ID", "twin").replace("42", "'of the second'"))
    error = workspace.error_of("twin_b/dag.py")
    assert "'twin'" in error
    assert "'twin_a'" in error
    assert "'twin_b'" in error
    assert "twin_a/dag.py" not in workspace.import_errors()
    assert workspace.result_of("twin", workspace.run("twin")) == 42
    shutil.rmtree(workspace.lite.workspace / "twin_a")
    workspace.wait_until_clear("twin_b/dag.py")
    assert workspace.result_of("twin", workspace.run("twin")) == "of the second"


SLOW = """\
import time
from pathlib import Path

import helper
from airflow.sdk import DAG, task


@task
def first(dag_run=None):
    folder = Path(dag_run.conf["folder"])
    (folder / "started").touch()
    until = time.monotonic() + 120
    while not (folder / "go").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    return "old"


@task
def second(before):
    return [before, "old", helper.ANSWER]


with DAG("DAG_ID", schedule=None):
    second(first())
"""


def test_a_run_keeps_the_version_it_started_with(workspace: Workspace, tmp_path: Path) -> None:
    api = workspace.api
    workspace.save("slow", "ANSWER = 'old'\n", "helper.py")
    workspace.add("slow", SLOW)
    before = api.trigger("slow", conf={"folder": str(tmp_path)})
    wait_until((tmp_path / "started").exists, within_s=SEEN_WITHIN_S, what="the first task to start")
    workspace.save("slow", "ANSWER = 'new'\n", "helper.py")
    workspace.save("slow", SLOW.replace('"old"', '"new"').replace("second", "renamed"))
    wait_until(
        lambda: "renamed" in {task["task_id"] for task in api.call("GET", "/dags/slow/tasks")["tasks"]},
        within_s=SEEN_WITHIN_S,
        what="the version with the renamed task",
    )
    assert api.run("slow", before)["state"] == "running"
    (tmp_path / "go").touch()
    assert api.wait_for_run("slow", before)["state"] == "success"
    assert workspace.result_of("slow", before, "second") == ["old", "old", "old"]
    after = api.trigger("slow", conf={"folder": str(tmp_path)})
    assert api.wait_for_run("slow", after)["state"] == "success"
    assert workspace.result_of("slow", after, "renamed") == ["new", "new", "new"]


# --- broken files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "loops"])
def test_a_file_that_cannot_be_compiled_is_an_import_error_until_it_is_mended(workspace: Workspace, name: str) -> None:
    check_error_and_mend(workspace, name, SEEN_WITHIN_S)


def test_a_file_that_never_ends_is_an_import_error_until_it_is_mended(workspace: Workspace) -> None:
    check_error_and_mend(workspace, "loops", LOOP_SEEN_WITHIN_S)


def check_error_and_mend(workspace: Workspace, name: str, within_s: float) -> None:
    source, what = BROKEN[name]
    error = workspace.error_of(f"{name}/dag.py", within_s=within_s)
    line = next(number for number, text in enumerate(source.splitlines(), 1) if "# <- here" in text)
    assert error.startswith(f"dag.py:{line}: {what}"), error
    assert error.count("; ") >= 2, "it says what, why and what to do"
    assert name not in workspace.listed()
    workspace.add(name)
    workspace.wait_until_clear(f"{name}/dag.py")
    assert workspace.result_of(name, workspace.run(name)) == 42


def test_broken_projects_hold_up_no_other(workspace: Workspace) -> None:
    for name in ("raises_always", "prints_always"):
        workspace.save(name, RAISES if name == "raises_always" else PRINTS)
        workspace.error_of(f"{name}/dag.py")
    workspace.add("neighbour")
    assert workspace.result_of("neighbour", workspace.run("neighbour")) == 42
    assert {"raises_always/dag.py", "prints_always/dag.py"} <= workspace.import_errors().keys()


# --- without network ---------------------------------------------------------------------------------------------


def test_a_second_start_needs_no_network_and_knows_everything(workspace: Workspace) -> None:
    """The last test: it has ended and started the Lite of this module again."""
    workspace.add("survivor")
    run_id = workspace.run("survivor")
    assert workspace.lite.interrupt() in (0, 130)
    nowhere = f"http://127.0.0.1:{free_port()}"
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    indexes = ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX")
    workspace.lite.start(
        LEOFLOW_UI_WHEEL="",
        PIP_NO_INDEX="1",
        PIP_CONFIG_FILE="/dev/null",
        **dict.fromkeys((*proxies, *indexes), nowhere),
    )
    workspace.save("needs_network", GOOD)
    workspace.save("needs_network", "dependencies: [leoflow-not-there]\n", "leoflow.yaml")
    page = workspace.api.http.get("/")
    assert page.status_code == 200
    assert "<script" in page.text
    assert workspace.api.run("survivor", run_id)["state"] == "success"
    assert workspace.result_of("survivor", workspace.run("survivor")) == 42
    workspace.add("born_offline")
    assert workspace.result_of("born_offline", workspace.run("born_offline")) == 42
    assert "cannot install the packages" in workspace.error_of("needs_network/dag.py")  # there really was none
