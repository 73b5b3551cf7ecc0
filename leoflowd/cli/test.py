"""`leoflow test`: run a DAG to the end here, without a server and without a database.

The same pure core decides that schedules the real thing, over a view in memory; each task is the real runner in a
process of its own, in the DAG's own environment. Retry delays are not waited for. Nothing is stored.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.local_display import display_for, time_of
from leoflowd.cli.local_run import LocalRun
from leoflowd.cli.options import output_option
from leoflowd.cli.output import Output, echo
from leoflowd.cli.variable_sources import loadable_of_file, read_file, variables_option
from leoflowd.contract.dag_spec import DagSpec, EnvironmentSpec
from leoflowd.contract.states import DagRunState, TriggerRule
from leoflowd.core.dag_shape import shape_of

if TYPE_CHECKING:
    from leoflowd.authoring.project import Project
    from leoflowd.contract.loading import Loadable

DEFAULT_DATA_DIR = Path("~/.leoflow")
PARALLEL = max(2, os.cpu_count() or 2)


@click.command()
@click.argument("target", metavar="DIR|DAG")
@click.option("--dag-id", help="Of a project with several DAGs: this one.")
@click.option("--task", "task_id", help="Only this task; outputs of its upstream tasks are absent.")
@click.option("--conf", metavar="JSON", help="The run's configuration, a JSON object.")
@click.option("--conf-file", type=click.Path(dir_okay=False, path_type=Path), help="The same, from a file; - is stdin.")
@variables_option
@click.option("--parallel", type=click.IntRange(min=1), default=PARALLEL, show_default=True, help="Tasks at once.")
@click.option(
    "--python",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Run the tasks with this interpreter; else with the DAG's own environment, built when missing.",
)
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_DATA_DIR)
@output_option
@click.pass_obj
def test(
    out: Output,
    target: str,
    dag_id: str | None,
    task_id: str | None,
    conf: str | None,
    conf_file: Path | None,
    variables: Path | None,
    parallel: int,
    python: Path | None,
    data_dir: Path,
) -> None:
    """Run a DAG to the end here: the project DIR, or the DAG of that id below this folder.

    Exit code 0 when the run succeeds, 1 when it fails.
    """
    from leoflowd.cli.runs import read_conf

    values = read_conf(conf, conf_file)
    folder, spec, interpreter = _find(
        out, target, dag_id, python, data_dir.expanduser().absolute(), loadable_of_file(variables)
    )
    if task_id is not None:
        spec = only_task(spec, task_id)
    display = display_for(out)
    run = LocalRun(
        spec, folder, interpreter, conf=values, parallel=parallel, told=display.line, variables=_values_in(variables)
    )
    display.show(run)
    try:
        run.to_the_end(display.refresh)
    finally:
        display.close()
    out.show(run.document(), lambda: _print_end(out, run))
    if run.view.state is not DagRunState.SUCCESS:
        raise click.exceptions.Exit(ExitCode.RUN_FAILED)


# --- what to run -------------------------------------------------------------------------------------------------


def _find(
    out: Output, target: str, dag_id: str | None, python: Path | None, data_dir: Path, loadable: Loadable
) -> tuple[Path, DagSpec, Path]:
    """Project folder, DAG, and the interpreter of its environment."""
    from leoflowd.authoring.project import discover, open_project

    candidates: tuple[Project, ...]
    if _is_path(target):
        candidates, wanted = (open_project(Path(target)),), dag_id
    else:
        candidates, wanted = discover(Path()).projects, target
        # the folder that has the name first: usually no other project is compiled
        candidates = tuple(sorted(candidates, key=lambda project: project.folder.name != target))
    for project in candidates:
        interpreter = python or _interpreter(out, project, data_dir)
        specs = _compiled(project, interpreter, target, loadable)
        if specs is None:
            continue
        if wanted is None and len(specs) == 1:
            return project.folder, specs[0], interpreter
        for spec in specs:
            if spec.dag_id == wanted:
                return project.folder, spec, interpreter
        if wanted is None or _is_path(target):
            ids = ", ".join(spec.dag_id for spec in specs)
            code = ExitCode.USAGE if wanted is None else ExitCode.NOT_FOUND
            raise CommandFailed(code, f"{target} defines these DAGs: {ids}; choose one with --dag-id")
    raise CommandFailed(
        ExitCode.NOT_FOUND, f"{target!r} is no folder, and no project below this folder defines a DAG of that id"
    )


def _is_path(target: str) -> bool:
    """Also for a text that is too long to be one."""
    try:
        Path(target).stat()
    except OSError:
        return False
    return True


def _compiled(project: Project, interpreter: Path, target: str, loadable: Loadable) -> tuple[DagSpec, ...] | None:
    """The project's DAGs; None when it cannot be compiled and nobody named it."""
    from leoflowd.authoring.compiler import compile_opened
    from leoflowd.authoring.errors import DagCompileError
    from leoflowd.cli.compile import compile_failure

    try:
        return compile_opened(project, python=str(interpreter), loadable=loadable)
    except DagCompileError as error:
        if _is_path(target):
            raise compile_failure(Path(target), error) from error
        return None


def _interpreter(out: Output, project: Project, data_dir: Path) -> Path:
    from leoflowd.authoring.errors import DagCompileError
    from leoflowd.authoring.project import ProjectConfig, read_project
    from leoflowd.cli.compile import compile_failure
    from leoflowd.lite.environments import EnvironmentFailed, Environments

    try:
        config = ProjectConfig() if project.single_file else read_project(project.folder)
    except DagCompileError as error:
        raise compile_failure(project.folder, error) from error
    wanted = EnvironmentSpec(
        python_version=config.python_version, dependencies=config.dependencies, connectors=config.connectors
    )
    try:
        return Environments(data_dir).ensure(wanted, out.note)
    except EnvironmentFailed as error:
        raise CommandFailed(ExitCode.NOT_READY, str(error)) from error


def _values_in(file: Path | None) -> dict[str, str]:
    """What the tasks find: there are no secrets between a person and his own file."""
    return {} if file is None else {facts.key: facts.value for facts in read_file(file)}


def only_task(spec: DagSpec, task_id: str) -> DagSpec:
    """The DAG with this task alone."""
    shape = shape_of(spec)
    for task in spec.tasks:
        if task.task_id == task_id:
            mapped = shape.nodes[shape.index_of[task_id]].mapped
            if mapped is not None and mapped.needs:
                needs = ", ".join(map(repr, mapped.needs))
                message = f"task {task_id!r} is mapped over the output of {needs}: run the whole DAG"
                raise CommandFailed(ExitCode.INVALID, message)
            alone = msgspec.structs.replace(
                task, upstream_task_ids=(), trigger_rule=TriggerRule.ALL_SUCCESS, is_setup=False, is_teardown=False
            )
            return msgspec.structs.replace(spec, tasks=(alone,))
    names = ", ".join(task.task_id for task in spec.tasks)
    raise CommandFailed(ExitCode.NOT_FOUND, f"dag {spec.dag_id!r} has no task {task_id!r}; it has: {names}")


def _print_end(out: Output, run: LocalRun) -> None:
    rows = [
        (run.name_of(i), str(facts.state), facts.try_number, time_of(facts), facts.because)
        for i, facts in enumerate(run.view.facts)
    ]
    echo()
    out.table(("task_id", "state", "try", "time", "because"), rows)
    echo(f"\n{run.spec.dag_id}: {run.view.state} ({run.because})")
