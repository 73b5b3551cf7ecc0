"""`leoflow compile` and `leoflow validate`: a project folder -> its artifact `dag.json`, canonical to the byte.

A fault exits 2 and prints `path:line: what; why; what to do`, with the path as the caller can open it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.options import output_option
from leoflowd.cli.output import Output, echo
from leoflowd.cli.variable_sources import loadable_options

if TYPE_CHECKING:
    from leoflowd.authoring.errors import DagCompileError
    from leoflowd.contract.dag_spec import DagSpec
    from leoflowd.contract.loading import Loadable

python_option = click.option(
    "--python",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Interpreter that loads the project, for what its DAG file imports; else this one.",
)


def compiled_specs(folder: Path, dag_id: str | None, python: Path | None, loadable: Loadable) -> tuple[DagSpec, ...]:
    """The project's DAGs. Raises `CommandFailed` with the fault in the form that editors read."""
    from leoflowd.authoring.compiler import compile_project
    from leoflowd.authoring.errors import DagCompileError

    try:
        return compile_project(folder, python=None if python is None else str(python), dag_id=dag_id, loadable=loadable)
    except DagCompileError as error:
        raise compile_failure(folder, error) from error


def compile_failure(folder: Path, error: DagCompileError) -> CommandFailed:
    fault = _fault(folder, error)
    return CommandFailed(ExitCode.INVALID, _line(fault), compile_errors=[fault])


def _fault(folder: Path, error: DagCompileError) -> dict[str, Any]:
    base = folder.parent if folder.is_file() else folder
    path = Path(os.path.normpath(base / error.path))
    return {
        "path": str(path),
        "line": error.line,
        "what": error.what,
        "why": error.why,
        "what_to_do": error.remedy,
    }


def _line(fault: dict[str, Any]) -> str:
    return f"{fault['path']}:{fault['line']}: {fault['what']}; {fault['why']}; {fault['what_to_do']}"


def warning_lines(folder: Path, specs: Iterable[DagSpec]) -> list[str]:
    """`path:line: warning: what; what to do`, each once; a file that makes several DAGs has them in each."""
    base = folder.parent if folder.is_file() else folder
    found = {
        f"{Path(os.path.normpath(base / one.path))}:{one.line}: warning: {one.what}; {one.remedy}": None
        for spec in specs
        for one in spec.warnings
    }
    return list(found)


# --- compile -----------------------------------------------------------------------------------------------------


@click.command("compile")
@click.argument("folder", metavar="DIR", default=".", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", "target", default="dag.json", show_default=True, metavar="FILE|-", help="Where to; - is stdout."
)
@click.option("--dag-id", help="Of a project with several DAGs: this one.")
@click.option("--dag-version", default="", help="A label for people, e.g. `$(git describe --always --dirty)`.")
@python_option
@loadable_options
@click.pass_obj
def compile_project(
    out: Output,
    folder: Path,
    target: str,
    dag_id: str | None,
    dag_version: str,
    python: Path | None,
    loadable: Loadable,
) -> None:
    """Compile the project DIR to an artifact.

    The bytes depend on the project alone: compiling twice gives the same file. For a report as JSON write
    `leoflow -o json compile DIR`; here -o names the file.
    """
    import msgspec

    from leoflowd.contract import dag_spec

    specs = compiled_specs(folder, dag_id, python, loadable)
    for line in warning_lines(folder, specs):
        echo(line, err=True)
    if len(specs) > 1:
        ids = ", ".join(spec.dag_id for spec in specs)
        raise CommandFailed(ExitCode.USAGE, f"{folder} defines several DAGs; choose one with --dag-id: {ids}")
    spec = msgspec.structs.replace(specs[0], dag_version=dag_version)
    content = dag_spec.encode_canonical(spec)
    if target == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    _write(Path(target), content)
    digest = dag_spec.digest(spec)
    document = {"dag_id": spec.dag_id, "file": target, "digest": digest, "tasks": len(spec.tasks)}
    out.show(document, lambda: echo(f"{target}: {spec.dag_id}, {len(spec.tasks)} tasks, {digest[:12]}"))


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all: a reader never sees half an artifact."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CommandFailed(
            ExitCode.USAGE, f"cannot write {file}: {error.strerror}; name another file with -o"
        ) from error


# --- validate ----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("folders", metavar="[DIR]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@python_option
@loadable_options
@output_option
@click.pass_obj
def validate(out: Output, folders: tuple[Path, ...], python: Path | None, loadable: Loadable) -> None:
    """Compile each project in DIR (a project, or a folder of projects) and report; writes nothing."""
    reports = [_validated(path, python, loadable) for folder in folders or (Path(),) for path in _projects(folder)]
    faults = [report["error"] for report in reports if report["error"]]
    out.show({"valid": not faults, "projects": reports}, lambda: _print(reports))
    if faults:
        raise click.exceptions.Exit(ExitCode.INVALID)


def _projects(folder: Path) -> list[Path]:
    """The paths that `compile` would take."""
    from leoflowd.authoring.project import discover

    if folder.is_file():
        return [folder]
    found = discover(folder).projects
    if not found:
        raise CommandFailed(
            ExitCode.NOT_FOUND,
            f"{folder} has no project: no dag.py, dag.yaml or leoflow.yaml in it; see `leoflow init`",
        )
    root = folder.resolve()
    paths = [project.folder / project.source_path if project.single_file else project.folder for project in found]
    return [folder / path.relative_to(root) for path in paths]


def _validated(path: Path, python: Path | None, loadable: Loadable) -> dict[str, Any]:
    from leoflowd.authoring.errors import DagCompileError
    from leoflowd.authoring.project import read_project, unused_in_lite

    report: dict[str, Any] = {"project": str(path), "dags": [], "warnings": [], "code_warnings": [], "error": None}
    try:
        specs = compiled_specs(path, None, python, loadable)
        report["dags"] = [{"dag_id": spec.dag_id, "tasks": len(spec.tasks)} for spec in specs]
        report["code_warnings"] = warning_lines(path, specs)
        if path.is_dir():
            report["warnings"] = list(unused_in_lite(read_project(path)))
    except CommandFailed as failure:
        report["error"] = failure.facts["compile_errors"][0]
    except DagCompileError as error:
        report["error"] = _fault(path, error)
    return report


def _print(reports: list[dict[str, Any]]) -> None:
    for report in reports:
        if report["error"]:
            echo(_line(report["error"]), err=True)
            continue
        dags = ", ".join(f"{dag['dag_id']} ({dag['tasks']} tasks)" for dag in report["dags"])
        echo(f"{report['project']}: ok: {dags}")
        for line in report["code_warnings"]:
            echo(line, err=True)
        for warning in report["warnings"]:
            echo(f"{report['project']}: in Lite without effect: {warning}", err=True)
