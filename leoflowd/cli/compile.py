"""`leoflow compile` and `leoflow validate`: a project, or a folder of DAG files -> artifacts, canonical to the byte.

A fault exits 2 and prints `path:line: what; why; what to do`, with the path as the caller can open it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.local_compile import (
    Compiler,
    compile_all,
    data_dir_option,
    faults_of,
    line_of,
    notes_of,
    opened,
    python_option,
    warning_lines,
)
from leoflowd.cli.options import OUTPUT_FORMATS, output_option
from leoflowd.cli.output import Output, echo
from leoflowd.cli.variable_sources import loadable_options, named_server

if TYPE_CHECKING:
    from leoflowd.authoring.project import Project
    from leoflowd.cli.client import Client
    from leoflowd.contract.dag_spec import DagSpec
    from leoflowd.contract.loading import Loadable

ARTIFACT = "dag.json"
SOURCE_MAX_BYTES = 8 * 1024 * 1024
LINE_MAX = 200
"""Characters of a line that a finding shows."""
ARTIFACTS = "artifacts"
"""Of several DAGs: `<dag id>.json` in it."""


@click.command("compile")
@click.argument("folder", metavar="DIR|FILE", default=".", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    "target",
    metavar="FILE|DIR|-",
    help=f"Where to: a file ({ARTIFACT}), for several DAGs a folder ({ARTIFACTS}); - is stdout.",
)
@click.option("--dag-id", help="Of several DAGs: this one.")
@click.option("--dag-version", default="", help="A label for people, e.g. `$(git describe --always --dirty)`.")
@python_option
@data_dir_option
@loadable_options
@click.pass_obj
def compile_project(
    out: Output,
    folder: Path,
    target: str | None,
    dag_id: str | None,
    dag_version: str,
    python: Path | None,
    data_dir: Path,
    loadable: Loadable,
) -> None:
    """Compile a project, a DAG file, or a folder of DAG files to artifacts.

    The bytes depend on the project alone: compiling twice gives the same file. For a report as JSON write
    `leoflow -o json compile DIR`; here -o names the file.
    """
    import msgspec

    if target in OUTPUT_FORMATS:
        raise CommandFailed(
            ExitCode.USAGE,
            f"-o names a file here: for a report write `leoflow -o {target} compile`, for a file -o ./{target}",
        )
    done = compile_all(Compiler(out, python, data_dir, loadable), folder, out.note)
    specs = [msgspec.structs.replace(spec, dag_version=dag_version) for _, one in done for spec in one.specs]
    is_tree = folder.is_dir() and any(project.in_tree for project, _ in done)
    if dag_id is None and (is_tree or (len(specs) > 1 and _may_be_folder(target))):
        _write_all(out, Path(target or ARTIFACTS), _each_once(specs))
    else:
        _write_one(out, target or ARTIFACT, _chosen(specs, folder, dag_id))


def _may_be_folder(target: str | None) -> bool:
    return target is None or (target != "-" and Path(target).suffix != ".json")


def specs_of(compiler: Compiler, out: Output, path: Path, dag_id: str | None) -> list[DagSpec]:
    """The DAGs of a project or a folder. Raises `CommandFailed`."""
    done = compile_all(compiler, path, out.note)
    specs = [spec for _, one in done for spec in one.specs]
    return _each_once(specs) if dag_id is None else [_chosen(specs, path, dag_id)]


def chosen_spec(compiler: Compiler, out: Output, path: Path, dag_id: str | None) -> DagSpec:
    """The one DAG there, or that of this id. Raises `CommandFailed`."""
    return _chosen([spec for _, one in compile_all(compiler, path, out.note) for spec in one.specs], path, dag_id)


def _chosen(specs: list[DagSpec], folder: Path, dag_id: str | None) -> DagSpec:
    found = [spec for spec in specs if dag_id in (None, spec.dag_id)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(spec.dag_id for spec in specs)
    if not specs:
        raise CommandFailed(
            ExitCode.INVALID, f"{folder} defines no DAG; call your @dag function at the end of the file"
        )
    if dag_id is None:
        raise CommandFailed(ExitCode.USAGE, f"{folder} defines several DAGs; choose one with --dag-id: {ids}")
    how = "no DAG" if not found else "more than one DAG"
    raise CommandFailed(ExitCode.INVALID, f"{folder} defines {how} of the id {dag_id!r}; it defines {ids}")


def _each_once(specs: list[DagSpec]) -> list[DagSpec]:
    seen: dict[str, str] = {}
    for spec in specs:
        if spec.dag_id in seen:
            raise CommandFailed(
                ExitCode.INVALID,
                f"dag_id {spec.dag_id!r} is defined by {seen[spec.dag_id]} and {spec.source_path}; give one another id",
            )
        seen[spec.dag_id] = spec.source_path
    if not specs:
        raise CommandFailed(ExitCode.INVALID, "no file there defines a DAG; see `leoflow init`")
    return specs


def _write_one(out: Output, target: str, spec: DagSpec) -> None:
    from leoflowd.contract import dag_spec

    content = dag_spec.encode_canonical(spec)
    if target == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    _write(Path(target), content)
    document = _report(spec, target)
    out.show(document, lambda: echo(_line(document)))


def _write_all(out: Output, folder: Path, specs: list[DagSpec]) -> None:
    from leoflowd.contract import dag_spec

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(ExitCode.USAGE, f"cannot make {folder}: {error.strerror}; name another with -o") from error
    documents = []
    for spec in specs:
        file = folder / f"{spec.dag_id}.json"
        _write(file, dag_spec.encode_canonical(spec))
        documents.append(_report(spec, str(file)))
    out.show({"dags": documents}, lambda: echo("\n".join(map(_line, documents))))


def _report(spec: DagSpec, target: str) -> dict[str, Any]:
    from leoflowd.contract import dag_spec

    return {"dag_id": spec.dag_id, "file": target, "digest": dag_spec.digest(spec), "tasks": len(spec.tasks)}


def _line(document: dict[str, Any]) -> str:
    return f"{document['file']}: {document['dag_id']}, {document['tasks']} tasks, {document['digest'][:12]}"


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
@click.argument("folders", metavar="[DIR|FILE]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@python_option
@data_dir_option
@loadable_options
@output_option
@click.pass_obj
def validate(out: Output, folders: tuple[Path, ...], python: Path | None, data_dir: Path, loadable: Loadable) -> None:
    """Compile all DAG files and projects in DIR and report every finding; writes nothing.

    With --server also what that server would refuse, and pools that it does not have. Exit code 2 when a file does not
    compile or would be refused.
    """
    compiler = Compiler(out, python, data_dir, loadable)
    reports: list[dict[str, Any]] = []
    told: set[str] = set()
    with named_server() as client:
        for named in folders or (Path(),):
            for project in opened(named):
                report = _validated(compiler, named, project, client)
                reports.append(report)
                if not out.as_json:  # at once: the environment of the next one may take minutes
                    _print(report, told, shares=project.in_tree)
    faults = [fault for report in reports for fault in report["errors"]]
    out.show({"valid": not faults, "projects": reports}, lambda: _print_sum(reports))
    if faults:
        raise click.exceptions.Exit(ExitCode.INVALID)


def _validated(compiler: Compiler, named: Path, project: Project, client: Client | None) -> dict[str, Any]:
    from leoflowd.authoring.errors import DagCompileError
    from leoflowd.authoring.project import config_of, unused_in_lite

    path = project.folder / project.source_path if project.in_tree else project.folder
    base = named.parent if named.is_file() else named
    shown = base / os.path.relpath(path, base.resolve())
    report: dict[str, Any] = {"project": os.path.normpath(shown), "dags": [], "notes": [], "warnings": [], "errors": []}
    try:
        done = compiler.compiled(project)
        report["dags"] = [{"dag_id": spec.dag_id, "tasks": len(spec.tasks)} for spec in done.specs]
        report["notes"] = notes_of(done)
        unused = [f"in Lite without effect: {one}" for one in unused_in_lite(config_of(project))]
        report["warnings"] = [*done.folder_notes, *unused]
        report["code_warnings"] = warning_lines(named, project, done)
    except DagCompileError as error:
        report["errors"] = [{**fault, "source": _source_line(fault)} for fault in faults_of(named, project, error)]
    except CommandFailed as failure:  # its environment cannot be built: the others' can
        fault = {"path": report["project"], "line": 1, "what": str(failure), "why": "its tasks could not run"}
        report["errors"] = [{**fault, "what_to_do": "see above", "source": ""}]
    else:
        if client is not None:
            _ask(client, done.specs, report)
    return report


def _ask(client: Client, specs: tuple[DagSpec, ...], report: dict[str, Any]) -> None:
    """Adds what the server would say of them. Raises `CommandFailed` when it cannot be asked."""
    from leoflowd.cli.push import CHECK, warnings_of
    from leoflowd.contract import dag_spec

    for spec in specs:
        try:
            report["warnings"] += warnings_of(client.post_bytes(CHECK, dag_spec.encode_canonical(spec)))
        except CommandFailed as error:
            if error.code in {ExitCode.NOT_ALLOWED, ExitCode.NOT_FOUND}:  # no such right, or an older server
                report["warnings"].append(f"{spec.dag_id}: the server does not say whether its pools exist: {error}")
            elif error.code in {ExitCode.INVALID, ExitCode.CONFLICT}:
                fault = {"path": report["project"], "line": 1, "what": str(error), "why": "the server would refuse it"}
                report["errors"].append({**fault, "what_to_do": "see above", "source": ""})
            else:
                raise
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise client.odd_answer(error) from error


def _source_line(fault: dict[str, Any]) -> str:
    """The line that a fault is about, without its indent; empty when it cannot be read."""
    from leoflowd.authoring.errors import DagCompileError
    from leoflowd.authoring.reading import read_file

    try:
        lines = read_file(Path(fault["path"]), fault["path"], SOURCE_MAX_BYTES).decode("utf-8", "replace").splitlines()
    except DagCompileError:
        return ""
    line = lines[fault["line"] - 1].strip() if 0 < fault["line"] <= len(lines) else ""
    return line if len(line) <= LINE_MAX else f"{line[:LINE_MAX]}..."


def _print(report: dict[str, Any], told: set[str], *, shares: bool) -> None:
    """`told`: what was told for another file of the folder: warnings of it, faults of what both import, what tools said
    of requirements that both have, and, where all of it `shares` an environment, what that needs."""
    from leoflowd.authoring.compiler import LEFT_ALONE

    faults = {f"{_place(fault)}: {fault['what']}": fault for fault in report["errors"]}
    if places := dict.fromkeys(_place(fault) for key, fault in faults.items() if key in told):
        echo(f"{report['project']}: stopped by {', '.join(places)} as well", err=True)
    for key, fault in faults.items():
        if key in told:
            continue
        what = fault["what"]
        if "\n" in what and what in told:  # the output of a tool
            echo(f"{_place(fault)}: {what.splitlines()[0]} The same as above", err=True)
            continue
        told |= {key, what}
        echo(line_of(fault), err=True)
        if fault["source"]:
            echo(f"  {fault['line']:>5} | {fault['source']}", err=True)
        if not f"{fault['path']}/".startswith(f"{report['project']}/"):
            echo(f"        | which {report['project']} imports", err=True)
    if not report["errors"]:
        dags = ", ".join(f"{dag['dag_id']} ({dag['tasks']} tasks)" for dag in report["dags"])
        echo(f"{report['project']}: {f'ok: {dags}' if dags else 'skipped, it defines no DAG'}")
    for line in report.get("code_warnings", ()):
        echo(line, err=True)
    for note in report["notes"]:
        said = note.partition(", because ")[0] if note.startswith("needs ") else note
        if note.endswith(LEFT_ALONE) or (shares and said in told):
            continue
        echo(f"{report['project']}: {note}", err=True)
        if shares:
            told.add(said)
    for warning in report["warnings"]:
        if warning not in told:
            echo(warning, err=True)
            told.add(warning)


def _place(fault: dict[str, Any]) -> str:
    return f"{fault['path']}:{fault['line']}"


def _print_sum(reports: list[dict[str, Any]]) -> None:
    if len(reports) > 1:
        bad = sum(bool(report["errors"]) for report in reports)
        skipped = sum(not report["errors"] and not report["dags"] for report in reports)
        dags = sum(len(report["dags"]) for report in reports)
        echo(f"{len(reports)} files: {dags} DAGs; {bad} with errors, {skipped} without a DAG")
