"""Compiling here, for `compile`, `validate`, `push` and `test`: which interpreter loads, and how faults are shown.

A file that imports nothing from outside needs no environment: this interpreter loads it at once. Any other is loaded in
the environment that Lite would give it, from the same folder, built when it is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.output import Output

if TYPE_CHECKING:
    from leoflowd.authoring.compiler import Compilation
    from leoflowd.authoring.errors import DagCompileError, EnvironmentFailed
    from leoflowd.authoring.packages import Needs
    from leoflowd.authoring.project import Project
    from leoflowd.contract.dag_spec import EnvironmentSpec
    from leoflowd.contract.loading import Loadable

DEFAULT_DATA_DIR = Path("~/.leoflow")
SOURCES = (".py", ".yaml", ".yml")
"""What a file that makes DAGs ends in."""

python_option = click.option(
    "--python",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Interpreter that loads the project; else the DAG's own environment where its file imports packages.",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="Where environments are kept; Lite's are the same.",
)


class Compiler:
    """`python`: the caller's choice, relative to the caller's folder; `loadable`: what files may read while they are
    loaded; `for_pods`: tasks run in pods, wherever that is."""

    def __init__(
        self, out: Output, python: Path | None, data_dir: Path, loadable: Loadable, *, for_pods: bool = False
    ) -> None:
        self._for_pods = for_pods
        self._out = out
        self._loadable = loadable
        self._python = None if python is None else str(python.absolute())
        self._data_dir = data_dir.expanduser().absolute()
        self._failed: dict[EnvironmentSpec, EnvironmentFailed] = {}

    def compiled(self, project: Project) -> Compilation:
        """Raises `DagCompileError`, and `CommandFailed` when its environment cannot be built."""
        from leoflowd.authoring.compiler import compile_opened
        from leoflowd.authoring.errors import EnvironmentFailed
        from leoflowd.lite.environments import Environments

        try:
            return compile_opened(
                project,
                python_for=self._python_for_loading,
                loadable=self._loadable,
                for_pods=self._for_pods,
                here=None if self._python or self._for_pods else Environments(self._data_dir).python,
            )
        except EnvironmentFailed as error:
            raise CommandFailed(ExitCode.NOT_READY, str(error)) from error

    def environment(self, needs: Needs) -> str:
        """The interpreter that runs the project's tasks. Raises `CommandFailed` when that cannot be built."""
        from leoflowd.authoring.errors import EnvironmentFailed

        try:
            return self._built(needs.environment)
        except EnvironmentFailed as error:
            if needs.alone is None:
                raise CommandFailed(ExitCode.NOT_READY, str(error)) from error
            self._out.note(f"the DAG files of the folder cannot share one environment, this one gets its own: {error}")
        return self.environment(msgspec.structs.replace(needs, environment=needs.alone, alone=None))

    def _built(self, wanted: EnvironmentSpec) -> str:
        """Raises `EnvironmentFailed`; a shared one that failed is not tried for each file of a folder."""
        from leoflowd.authoring.errors import EnvironmentFailed
        from leoflowd.lite.environments import Environments

        if self._python is not None:
            return self._python
        if failed := self._failed.get(wanted):
            raise failed
        try:
            return str(Environments(self._data_dir).ensure(wanted, self._out.note))
        except EnvironmentFailed as error:
            self._failed[wanted] = error
            raise

    def _python_for_loading(self, needs: Needs) -> str:
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        is_enough = needs.loads_with_base and all(find_spec(name) is not None for name in needs.modules)
        if self._python is None and is_enough and needs.environment.python_version in (None, own):
            return sys.executable
        return self._built(needs.environment)


def opened(path: Path) -> tuple[Project, ...]:
    """Those that a person names by a folder or file, at least one. Raises `CommandFailed`."""
    from leoflowd.authoring.discovery import find_projects

    if path.is_file() and path.suffix not in SOURCES:
        raise CommandFailed(
            ExitCode.USAGE,
            f"{path} is no DAG file: name one ({', '.join(SOURCES)}) or a folder; artifacts are for `leoflow push`",
        )
    found = find_projects(path)
    if not found.projects:
        why = f" Not looked into: {'; '.join(found.skipped)}." if found.skipped else ""
        raise CommandFailed(
            ExitCode.NOT_FOUND,
            f"{path} has no project: no dag.py, dag.yaml, leoflow.yaml or DAG file in it.{why} See `leoflow init`",
        )
    return found.projects


def requirements_in_image(environment: EnvironmentSpec) -> tuple[tuple[str, ...], str]:
    """What an image of it installs on top of the base's packages, and the constraints that go with that. Raises
    `EnvironmentFailed`."""
    from leoflowd.contract.dag_spec import has_airflow
    from leoflowd.lite.environments import airflow_constraints, requirements_of

    constraints = airflow_constraints().read_text() if has_airflow(environment) else ""
    return requirements_of(environment), constraints


def static_needs(project: Project) -> Needs:
    """What the project needs by its text alone: nothing is loaded or built. Raises `DagCompileError`."""
    from leoflowd.authoring.compiler import static_needs as needs_by_text

    return needs_by_text(project)


def notes_of(done: Compilation) -> list[str]:
    """What was inferred, and what else the author of this file should know."""
    empty = [
        f"dag {spec.dag_id!r} has no task; a @task function is one where it is called"
        for spec in done.specs
        if not spec.tasks
    ]
    return [*(f"needs {one}" for one in done.needs.inferred), *done.notes, *done.needs.notes, *empty]


def told_of(project: Project, done: Compilation) -> list[str]:
    return [*done.folder_notes, *(f"{project.path}: {note}" for note in notes_of(done))]


def warning_lines(named: Path, project: Project, done: Compilation) -> list[str]:
    """`path:line: warning: what; what to do`, each once; a file that makes several DAGs has them in each."""
    base = named.parent if named.is_file() else named
    found = {
        f"{_as_named(project.folder / one.path, base)}:{one.line}: warning: {one.what}; {one.remedy}": None
        for spec in done.specs
        for one in spec.warnings
    }
    return list(found)


# --- faults ------------------------------------------------------------------------------------------------------


def faults_of(named: Path, project: Project, error: DagCompileError) -> list[dict[str, Any]]:
    """With paths as the caller can open them, who has named the project, or a folder of it, as `named`."""
    base = named.parent if named.is_file() else named
    return [
        {
            "path": _as_named(project.folder / one.path, base),
            "line": one.line,
            "what": one.what,
            "why": one.why,
            "what_to_do": one.remedy,
        }
        for one in error.all
    ]


def _as_named(file: Path, base: Path) -> str:
    inside = os.path.relpath(file, base.resolve())
    return str(file) if inside.startswith(os.pardir) else os.path.normpath(base / inside)


def line_of(fault: dict[str, Any]) -> str:
    return f"{fault['path']}:{fault['line']}: {fault['what']}; {fault['why']}; {fault['what_to_do']}"


def failure_of(faults: Iterable[dict[str, Any]]) -> CommandFailed:
    found = list(faults)
    return CommandFailed(ExitCode.INVALID, "\n".join(map(line_of, found)), compile_errors=found)


def compile_all(compiler: Compiler, named: Path, told: Callable[[str], None]) -> list[tuple[Project, Compilation]]:
    """Every project that `named` leads to. Raises `CommandFailed` with the faults of all of them."""
    from leoflowd.authoring.errors import DagCompileError

    done: list[tuple[Project, Compilation]] = []
    faults: list[dict[str, Any]] = []
    for project in opened(named):
        try:
            done.append((project, compiler.compiled(project)))
        except DagCompileError as error:
            faults += faults_of(named, project, error)
    for note in dict.fromkeys(note for project, one in done for note in told_of(project, one)):
        told(note)
    for project, one in done:
        for line in warning_lines(named, project, one):
            told(line)
    if faults:
        raise failure_of(faults)
    return done
