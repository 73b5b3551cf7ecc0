"""`dbt:` of leoflow.yaml -> a DAG whose tasks run dbt (ADR 51); `dbt_group(...)` in a DAG file -> a group of such tasks
(ADR 71).

    dag_id: shop
    dependencies: [dbt-core, dbt-duckdb]
    dbt:
      project_dir: .           # where dbt_project.yml is
      connection: warehouse    # absent: the project's own profiles.yml
      adapter: duckdb
      target: prod
      select: [+orders]        # as `dbt --select`; exclude the same
      granularity: node        # node, level or folder
      tests: after             # after, end or none
      vars: {day: "{{ ds }}"}
      threads: 4
      schedule: "@daily"
      start_date: 2026-01-01

`declarative.build_dags` makes the DAG and has it filled here; `authoring.project` has checked the keys.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from airflow._leoflow import connectors, dbt_project
from airflow._leoflow.base_operator import BaseOperator
from airflow._leoflow.dag import DAG
from airflow._leoflow.dbt_profiles import ADAPTERS, output_of
from airflow._leoflow.dbt_project import RUNS, TESTS, Failed, Node, NothingSelected, Settings
from airflow._leoflow.errors import AirflowException, AuthoringError, Location, user_location
from airflow._leoflow.operators import logged
from airflow._leoflow.services import Connection
from airflow._leoflow.task_group import TaskGroup

GRANULARITIES = ("node", "level", "folder")
TEST_TASKS = ("after", "end", "none")
TEST = ".test"


class DbtOperator(BaseOperator):
    """One call of dbt. Its failure names the nodes that failed."""

    template_fields: Sequence[str] = ("dbt_command", "dbt_select", "dbt_vars")
    ui_color = "#ff694a"

    def __init__(
        self,
        *,
        dbt_command: list[str],
        dbt_select: list[str],
        settings: Settings,
        conn_id: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dbt_command = dbt_command
        self.dbt_select = dbt_select
        self.dbt_vars = settings.vars
        self.settings = settings
        self.conn_id = conn_id
        self._child: Any = None

    def execute(self, context: Any) -> Any:
        settings = self.settings._replace(vars=self.dbt_vars)
        with tempfile.TemporaryDirectory(prefix="leoflow-dbt-") as scratch:
            output: dict[str, Any] = {}
            if self.conn_id is not None:
                output = output_of(Connection.get(self.conn_id), str(settings.adapter))
                dbt_project.write_profile(scratch, settings, output)
            kept = dbt_project.warm(self.settings, output, scratch)
            given = [*self.dbt_command, *dbt_project.arguments(settings, scratch), "--select", *self.dbt_select]
            if settings.threads is not None:
                given += ["--threads", str(settings.threads)]
            self.log.info("Running: dbt %s", " ".join(given))
            self._child = subprocess.Popen(
                [*dbt_project.DBT, *given],
                env=dbt_project.environment(scratch),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            exit_code, _ = logged(self._child, self.log)
            results = _results(scratch)
            dbt_project.keep(scratch, kept)
        failed = [f"{node} ({message})" for node, status, message in results if status in ("error", "fail")]
        if exit_code != 0:
            raise AirflowException(f"dbt {self.dbt_command[0]} failed: {'; '.join(failed) or f'exit code {exit_code}'}")
        return {node: status for node, status, _ in results}

    def on_kill(self) -> None:
        if self._child is not None:
            self._child.terminate()


def _results(target: str) -> list[tuple[str, str, str]]:
    """Unique id, status and message of each node; none when dbt did not come so far."""
    try:
        with open(os.path.join(target, "run_results.json"), encoding="utf-8") as file:
            found = json.load(file)["results"]
    except FileNotFoundError:
        return []
    return [(one["unique_id"], one["status"], " ".join(str(one.get("message")).split())[:300]) for one in found]


# --- the DAG -----------------------------------------------------------------------------------------------------


class Unit(NamedTuple):
    """What one task makes."""

    task_id: str
    nodes: list[Node]


def fill(dag: DAG, block: Mapping[str, Any], at: Any) -> None:
    """Make the tasks of the block; `at` is the `_At` of `declarative`. Raises `AuthoringError`."""
    with dag:
        _fill(block, at)


def dbt_group(
    group_id: str,
    *,
    project_dir: str,
    connection: str | None = None,
    adapter: str | None = None,
    target: str | None = None,
    select: Sequence[str] = (),
    exclude: Sequence[str] = (),
    granularity: str = "node",
    tests: str = "after",
    vars: Mapping[str, Any] | None = None,  # noqa: A002  dbt's name
    threads: int | None = None,
    **group: Any,
) -> TaskGroup:
    """A task group of a dbt project's models, seeds, snapshots and tests, each a task, in the DAG that is open.

    The arguments are those of `dbt:` in leoflow.yaml (docs/operators.md), `project_dir` relative to this file; others
    are the `TaskGroup`'s. dbt-core and an adapter have to be in the DAG's environment.
    """
    at = _Call(f"dbt_group({group_id!r})", user_location())
    if connectors.names_any():
        raise at.error(
            "", "it is beside operators of providers", "their tasks run with Airflow's packages, those of dbt without",
            "give the dbt project a DAG of its own, or take the providers out of this one",
        )  # fmt: skip
    for name, value, known in (("granularity", granularity, GRANULARITIES), ("tests", tests, TEST_TASKS)):
        if value not in known:
            raise at.error(name, f"{name} is {value!r}", f"it must be one of {', '.join(known)}", "correct it")
    given = {"project_dir": project_dir, "connection": connection, "adapter": adapter, "target": target}
    more = {"select": select, "exclude": exclude, "granularity": granularity, "tests": tests, "vars": vars}
    block = {name: value for name, value in {**given, **more, "threads": threads}.items() if value is not None}
    with TaskGroup(group_id, **group) as made:
        _fill(block, at)
    return made


class _Call:
    """Where a group is asked for, as `declarative._At` says it of a block."""

    def __init__(self, who: str, location: Location) -> None:
        self._who = who
        self._location = location
        self.source = location[0]
        self.lines = {"dbt": location[1]}

    def error(self, path: str, what: str, why: str, remedy: str) -> AuthoringError:
        return AuthoringError(f"{self._who}: {what}", why, remedy, self._location)


def _fill(block: Mapping[str, Any], at: Any) -> None:
    settings = _settings(block, at)
    nodes = _nodes(settings, at)
    units = _units(nodes, block.get("granularity", "node"))
    before = _before(units)
    order = _order(units, before, at)
    tasks = {unit.task_id: _run(unit, settings, block, at) for unit in order}
    checks = _tests(order, before, nodes, block.get("tests", "after"))
    tests = {task_id: _test(task_id, names, settings, block, at) for task_id, (_, names) in checks.items()}
    for unit in order:
        for upstream in sorted(before[unit.task_id]):
            tasks[unit.task_id].set_upstream(tests.get(upstream + TEST, tasks[upstream]))
    for task_id, (upstreams, _) in checks.items():
        for upstream in sorted(upstreams):
            tests[task_id].set_upstream(tasks[upstream])


def _settings(block: Mapping[str, Any], at: Any) -> Settings:
    folder = os.path.normpath(os.path.join(os.path.dirname(at.source), block.get("project_dir", ".")))
    if not os.path.isfile(os.path.join(folder, "dbt_project.yml")):
        raise at.error(
            "dbt.project_dir",
            f"there is no dbt_project.yml in {block.get('project_dir', '.')!r}",
            "the dbt block is about a dbt project",
            "set dbt.project_dir to its folder",
        )
    if importlib.util.find_spec("dbt") is None:
        raise at.error(
            "dbt",
            "dbt is not installed in the DAG's environment",
            "the tasks of the DAG come from `dbt ls`",
            "add dbt-core and an adapter to `dependencies:`, e.g. [dbt-core, dbt-duckdb]",
        )
    adapter = block.get("adapter")
    has_profiles = os.path.isfile(os.path.join(folder, "profiles.yml"))
    if "connection" in block and adapter not in ADAPTERS:
        raise at.error(
            "dbt.adapter",
            f"dbt.connection is set and dbt.adapter is {adapter!r}",
            f"a profile is made of a connection for {', '.join(ADAPTERS)}",
            "set dbt.adapter to one of them, or leave the connection out and put a profiles.yml with env_var() there",
        )
    if "connection" not in block and not has_profiles:
        raise at.error(
            "dbt",
            "there is neither dbt.connection nor a profiles.yml beside dbt_project.yml",
            "dbt needs to know its database",
            "add `connection:` with the id of a connection and `adapter:`, or a profiles.yml",
        )
    settings = Settings(
        folder,
        adapter if "connection" in block else None,
        block.get("target"),
        list(block.get("select", ())),
        list(block.get("exclude", ())),
        dict(block.get("vars", {})),
        block.get("threads"),
    )
    try:
        return dbt_project.with_packages(settings)
    except Failed as error:
        raise at.error(
            "dbt",
            f"the packages of the dbt project are not there: {' '.join(error.lines)}",
            "packages.yml names them, and `dbt deps` has to fetch them",
            "correct packages.yml, or run `dbt deps` where there is a network: dbt_packages/ is part of the project",
        ) from error


def _nodes(settings: Settings, at: Any) -> list[Node]:
    try:
        found = dbt_project.nodes_of(settings)
    except NothingSelected as error:
        raise at.error(
            "dbt.select", str(error), "dbt finds no node of it", "correct dbt.select and dbt.exclude"
        ) from error
    except Failed as error:
        raise _of_dbt(error, settings, at) from error
    if not any(node.kind in RUNS for node in found):
        raise at.error(
            "dbt.select", "the dbt project has nothing to run", "no model, seed or snapshot is selected", "correct it"
        )
    return found


def _of_dbt(error: Failed, settings: Settings, at: Any) -> AuthoringError:
    """With the file that dbt names, where it names one of the project's."""
    said = " ".join(error.lines)
    named = re.search(r"([\w./-]+\.(?:sql|ya?ml|py))\b", said)
    path = os.path.join(settings.folder, named[1]) if named else ""
    line = re.search(r"\bline (\d+)", said)
    what = f"dbt cannot read the project: {said}"
    if os.path.isfile(path):
        return AuthoringError(what, "its graph is the DAG", "correct it", (path, int(line[1]) if line else 1))
    return at.error("dbt", what, "its graph is the DAG", "correct it")  # type: ignore[no-any-return]


# --- units and their order ---------------------------------------------------------------------------------------


def _units(nodes: list[Node], granularity: str) -> list[Unit]:
    made = [node for node in nodes if node.kind in RUNS]
    names = [node.name for node in made]
    levels = _levels(made) if granularity == "level" else {}
    grouped: dict[str, list[Node]] = {}
    for node in made:
        if granularity == "node":
            name = node.name if names.count(node.name) == 1 else f"{node.fqn[0]}.{node.name}"
        elif granularity == "level":
            name = f"level_{levels[node.id]:02}"
        else:
            name = re.sub(r"[^\w.-]+", "_", node.folder.partition("/")[2].replace("/", ".") or node.folder)
        grouped.setdefault(name, []).append(node)
    return [Unit(name, grouped[name]) for name in sorted(grouped)]


def _levels(made: list[Node]) -> dict[str, int]:
    """0 for what comes first; dbt has made sure that there is no circle."""
    by_id = {node.id: node for node in made}
    found: dict[str, int] = {}

    def level(node_id: str) -> int:
        if node_id not in found:
            found[node_id] = max((level(before) + 1 for before in by_id[node_id].parents if before in by_id), default=0)
        return found[node_id]

    for node in made:
        level(node.id)
    return found


def _before(units: list[Unit]) -> dict[str, set[str]]:
    owner = {node.id: unit.task_id for unit in units for node in unit.nodes}
    return {
        unit.task_id: {owner[up] for node in unit.nodes for up in node.parents if up in owner} - {unit.task_id}
        for unit in units
    }


def _order(units: list[Unit], before: Mapping[str, set[str]], at: Any) -> list[Unit]:
    left, done, found = {unit.task_id: unit for unit in units}, set[str](), list[Unit]()
    while left:
        ready = [name for name in left if before[name] <= done]
        if not ready:
            raise at.error(
                "dbt.granularity",
                f"the folders {', '.join(sorted(left))} need each other",
                "a task runs the models of one folder, and tasks cannot be in a circle",
                "use granularity node or level",
            )
        done |= set(ready)
        found += [left.pop(name) for name in ready]
    return found


def _tests(
    units: list[Unit], before: Mapping[str, set[str]], nodes: list[Node], where: str
) -> dict[str, tuple[set[str], list[str]]]:
    """Task id -> the units that it waits for, and the names of its tests. `units` are in their order."""
    found: dict[str, tuple[set[str], list[str]]] = {}
    owner = {node.id: unit.task_id for unit in units for node in unit.nodes}
    ancestors: dict[str, set[str]] = {}
    for unit in units:
        ups = before[unit.task_id]
        ancestors[unit.task_id] = ups.union(*(ancestors[up] for up in ups))
    for test in (node for node in nodes if node.kind in TESTS and where != "none"):
        over = {owner[up] for up in test.parents if up in owner}
        over = set(owner.values()) if where == "end" else _last_of(over, ancestors)
        task_id = "test" if where == "end" else _test_id(over)
        found.setdefault(task_id, (over, []))[1].append(test.name)
    return found


def _last_of(over: set[str], ancestors: Mapping[str, set[str]]) -> set[str]:
    """The one unit that comes after all others of them, if there is one."""
    return next(({unit} for unit in sorted(over) if over - {unit} <= ancestors[unit]), over)


def _test_id(over: set[str]) -> str:
    joined = "-".join(sorted(over)) or "sources"
    if len(joined) > 200:
        joined = f"{joined[:180]}-{hashlib.sha256(joined.encode()).hexdigest()[:12]}"
    return joined + TEST


# --- tasks -------------------------------------------------------------------------------------------------------


def _run(unit: Unit, settings: Settings, block: Mapping[str, Any], at: Any) -> DbtOperator:
    kinds = sorted({node.kind for node in unit.nodes})
    if len(kinds) == 1:
        command = [RUNS[kinds[0]]]
    else:
        command = ["build", *(text for kind in kinds for text in ("--resource-type", kind))]
    chosen = [f"fqn:{'.'.join(node.fqn)}" for node in unit.nodes]
    return _task(unit.task_id, command, chosen, settings, block, at)


def _test(task_id: str, names: list[str], settings: Settings, block: Mapping[str, Any], at: Any) -> DbtOperator:
    return _task(task_id, ["test", "--indirect-selection", "empty"], names, settings, block, at)


def _task(
    task_id: str, command: list[str], chosen: list[str], settings: Settings, block: Mapping[str, Any], at: Any
) -> DbtOperator:
    made = DbtOperator(
        task_id=task_id, dbt_command=command, dbt_select=chosen, settings=settings, conn_id=block.get("connection")
    )
    made._location = (at.source, at.lines.get("dbt", 1))
    return made
