"""`leoflow test`: run a DAG to the end here, without a server and without a database.

The same pure core decides that schedules the real thing, over a view in memory; each task is the real runner in a
process of its own, in the DAG's own environment. Nothing is waited for that only takes time (`local_clock`). Nothing is
stored. A task that asks a person asks at the terminal.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.local_clock import Clock, shown_ahead
from leoflowd.cli.local_compile import Compiler, data_dir_option, failure_of, faults_of, opened, python_option
from leoflowd.cli.local_display import display_for, time_of
from leoflowd.cli.local_human import Answers, answer_option, read_answers, terminal
from leoflowd.cli.local_run import LocalRun
from leoflowd.cli.options import given_moment, output_option
from leoflowd.cli.output import Output, echo
from leoflowd.cli.variable_sources import loadable_of_file, read_file, variables_option
from leoflowd.contract.dag_spec import DagSpec
from leoflowd.contract.states import DagRunState, TriggerRule
from leoflowd.core.dag_shape import shape_of
from leoflowd.core.run_conf import checked_conf

if TYPE_CHECKING:
    from leoflowd.authoring.compiler import Compilation
    from leoflowd.authoring.project import Project

PARALLEL = max(2, os.cpu_count() or 2)


@click.command()
@click.argument("target", metavar="[DIR|FILE|DAG]", default=".")
@click.option("--dag-id", help="Of a project with several DAGs: this one.")
@click.option("--task", "task_id", help="Only this task; outputs of its upstream tasks are absent.")
@click.option("--conf", metavar="JSON", help="The run's configuration, a JSON object.")
@click.option("--conf-file", type=click.Path(dir_okay=False, path_type=Path), help="The same, from a file; - is stdin.")
@click.option(
    "--logical-date", metavar="ISO", help="2026-01-31, or 2026-01-31T06:00, in UTC unless it names a zone; else now."
)
@variables_option
@answer_option
@click.option("--parallel", type=click.IntRange(min=1), default=PARALLEL, show_default=True, help="Tasks at once.")
@click.option("--real-time", is_flag=True, help="Wait for retry delays, pokes, moments and timeouts as a server does.")
@python_option
@data_dir_option
@output_option
@click.pass_obj
def test(
    out: Output,
    target: str,
    dag_id: str | None,
    task_id: str | None,
    conf: str | None,
    conf_file: Path | None,
    logical_date: str | None,
    variables: Path | None,
    answers: tuple[str, ...],
    parallel: int,
    real_time: bool,
    python: Path | None,
    data_dir: Path,
) -> None:
    """Run a DAG to the end here: of a project or a DAG file, or the one of that id below this folder.

    Exit code 0 when the run succeeds, 1 when it fails.
    """
    from leoflowd.cli.runs import read_conf

    values = read_conf(conf, conf_file)
    moment = None if logical_date is None else given_moment(logical_date, "--logical-date")
    compiler = Compiler(out, python, data_dir, loadable_of_file(variables))
    folder, spec, interpreter = _find(compiler, target, dag_id)
    try:
        values = checked_conf(spec.params, values)
    except ValueError as fault:
        raise CommandFailed(ExitCode.INVALID, f"{fault}; give it as `--conf`") from fault
    if task_id is not None:
        spec = only_task(spec, task_id)
    if spec.alerts or any(task.email for task in spec.tasks):
        out.note("mails and alerts are not sent by `leoflow test`")
    display = display_for(out)
    with _code(folder, spec) as code, tempfile.TemporaryDirectory(prefix="leoflow-staging-") as staging:
        clock = Clock(is_real=real_time)
        _run(out, display, spec, code, Path(staging), interpreter, values, moment, parallel, variables, answers, clock)


def _run(
    out: Output,
    display: Any,
    spec: DagSpec,
    code: Path,
    staging: Path,
    interpreter: Path,
    values: Any,
    logical_date: datetime | None,
    parallel: int,
    variables: Path | None,
    answers: tuple[str, ...],
    clock: Clock,
) -> None:
    run = LocalRun(
        spec,
        code,
        interpreter,
        staging=staging,
        conf=values,
        logical_date=logical_date,
        parallel=parallel,
        told=display.line,
        variables=_values_in(variables),
        clock=clock,
        answers=Answers(
            read_answers(answers, {task.task_id for task in spec.tasks}), display.paused if terminal(out) else None
        ),
    )
    display.show(run)
    try:
        run.to_the_end(display.refresh)
    finally:
        display.close()
    out.show(run.document(), lambda: _print_end(out, run))
    if run.view.state is not DagRunState.SUCCESS:
        raise click.exceptions.Exit(ExitCode.RUN_FAILED)


@contextmanager
def _code(folder: Path, spec: DagSpec) -> Iterator[Path]:
    """Where the tries load the DAG from: of a YAML DAG a copy, which has the form that needs no parser."""
    from leoflowd.authoring.bundle import copy_bundle

    if not spec.source_path.endswith((".yaml", ".yml")):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="leoflow-test-") as top:
        copy_bundle(folder, Path(top) / "code")
        yield Path(top) / "code"


# --- what to run -------------------------------------------------------------------------------------------------


def _find(compiler: Compiler, target: str, dag_id: str | None) -> tuple[Path, DagSpec, Path]:
    """Project folder, DAG, and the interpreter of its environment."""
    from leoflowd.authoring.discovery import find_projects

    is_path = _is_path(target)
    # the folder or file that has the name first: usually no other project is compiled
    candidates = (
        opened(Path(target))
        if is_path
        else sorted(find_projects(Path()).projects, key=lambda project: target not in _names_of(project))
    )
    wanted = dag_id if is_path else target
    found: list[tuple[Project, Compilation, DagSpec]] = []
    for project in candidates:
        done = _compiled(compiler, project, Path(target) if is_path else None)
        found += [(project, done, spec) for spec in done.specs if wanted in (None, spec.dag_id)] if done else []
        if found and wanted is not None:
            break
    if len(found) == 1:
        ((project, done, spec),) = found
        return project.folder, spec, Path(compiler.environment(done.needs))
    if found:
        ids = ", ".join(spec.dag_id for _, _, spec in found)
        raise CommandFailed(ExitCode.USAGE, f"{target} defines these DAGs: {ids}; choose one with --dag-id")
    if is_path:
        raise CommandFailed(
            ExitCode.NOT_FOUND, f"{target} defines no DAG" + (f" of the id {wanted!r}" if wanted else "")
        )
    raise CommandFailed(
        ExitCode.NOT_FOUND, f"{target!r} is no folder, and no project below this folder defines a DAG of that id"
    )


def _names_of(project: Project) -> tuple[str, str]:
    return project.folder.name, Path(project.source_path).stem


def _is_path(target: str) -> bool:
    """Also for a text that is too long to be one."""
    try:
        Path(target).stat()
    except OSError:
        return False
    return True


def _compiled(compiler: Compiler, project: Project, named: Path | None) -> Compilation | None:
    """None when it cannot be compiled and nobody named it."""
    from leoflowd.authoring.errors import DagCompileError

    try:
        return compiler.compiled(project)
    except DagCompileError as error:
        if named is not None:
            raise failure_of(faults_of(named, project, error)) from error
        return None


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
        (run.name_of(i), str(facts.state), facts.try_number, time_of(facts, run.clock.now()), facts.because)
        for i, facts in enumerate(run.view.facts)
    ]
    echo()
    out.table(("task_id", "state", "try", "time", "because"), rows)
    ahead = shown_ahead(run.clock.ahead)
    passed = f"; {ahead} that were not waited for" if ahead else ""
    echo(f"\n{run.spec.dag_id}: {run.view.state} ({run.because}){passed}")
