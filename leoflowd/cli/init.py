"""`leoflow init`: a new project, a copy of an example, or a leoflow.yaml for DAG files that are there already.

Never overwrites a file.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

import leoflowd
from leoflowd.cli.failures import CommandFailed, ExitCode
from leoflowd.cli.local_compile import failure_of, faults_of, static_needs
from leoflowd.cli.options import output_option
from leoflowd.cli.output import Output, echo

if TYPE_CHECKING:
    from leoflowd.authoring.packages import Needs

# A path, not an import: the CLI must not load the package `lite`.
EXAMPLES = Path(leoflowd.__file__).parent / "lite" / "examples"

LEOFLOW_YAML = """\
schema_version: "1.0"
dag_id: {dag_id}
description: Say hello, then count the letters.
# dependencies: [pandas>=2.2]   # what the tasks import; each distinct list gets an environment of its own
"""

DAG_PY = '''\
"""Two tasks: the second one gets what the first one returned."""

from datetime import datetime

from airflow.sdk import dag, task


@dag(dag_id="{dag_id}", schedule=None, start_date=datetime(2025, 1, 1), catchup=False)
def hello():
    @task
    def greet(name: str) -> str:
        print(f"hello, {{name}}")
        return name

    @task
    def count(name: str) -> int:
        return len(name)

    count(greet("world"))


hello()
'''


@click.command()
@click.argument("folder", metavar="DIR", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--example", metavar="NAME", help="Copy this example instead; --example list names them.")
@output_option
@click.pass_obj
def init(out: Output, folder: Path | None, example: str | None) -> None:
    """Make a new project in DIR; where DAG files are, a leoflow.yaml that names what they import."""
    if example == "list":
        names = _example_names()
        out.show({"examples": names}, lambda: echo("\n".join(names)))
        return
    if folder is None:
        raise CommandFailed(ExitCode.USAGE, "name the folder of the new project: leoflow init DIR")
    files = _example_files(example) if example else _settings_for(folder) or _new_files(folder)
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise CommandFailed(
            ExitCode.CONFLICT,
            f"{folder} already has {', '.join(taken)}; nothing was written; name a new folder",
            files=taken,
        )
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # "x": a file that appeared since we looked is not overwritten either
        with (folder / name).open("xb") as file:
            file.write(content)
    document = {"folder": str(folder), "files": sorted(files)}
    step = "test" if "dag.py" in files else "validate"
    following = shlex.join(["leoflow", step, str(folder)])
    out.show(document, lambda: echo(f"made {folder}: {', '.join(sorted(files))}\nnext: {following}"))


def _settings_for(folder: Path) -> dict[str, bytes] | None:
    """For a folder with DAG files and without settings; None for any other."""
    from leoflowd.authoring.discovery import airflow_folder_around, find_projects
    from leoflowd.authoring.errors import DagCompileError

    if not folder.is_dir() or (folder / "leoflow.yaml").exists():
        return None
    found, around = find_projects(folder).projects, airflow_folder_around(folder.resolve())
    if found and around is not None:
        raise CommandFailed(
            ExitCode.CONFLICT,
            f"the DAG files in {folder} belong to {around}; a leoflow.yaml beside them would take them out of it, and "
            f"its plugins and modules from them; nothing was written; run `leoflow init {shlex.quote(str(around))}`",
        )
    own = [project for project in found if project.folder == folder.resolve()]
    if not own:
        return None
    try:
        needs = [static_needs(project) for project in own]
    except DagCompileError as error:
        raise failure_of(faults_of(folder, own[0], error)) from error
    return {"leoflow.yaml": _settings(needs).encode()}


def _settings(needs: list[Needs]) -> str:
    """What was inferred, each with the first import that asks for it."""
    prefix = "apache-airflow-providers-"
    inferred = {one.package: one for need in reversed(needs) for one in reversed(need.inferred)}
    lines = ['schema_version: "1.0"']
    for key, is_connector in (("connectors", True), ("dependencies", False)):
        found = [one for name, one in sorted(inferred.items()) if name.startswith(prefix) is is_connector]
        lines += [f"{key}:"] if found else []
        for one in found:
            name = one.package.removeprefix(prefix).replace("-", ".") if is_connector else one.package
            lines.append(f"  - {name}   # {one.path}:{one.line} imports {one.module}")
    if len(lines) == 1:
        lines.append("# dependencies: [pandas>=2.2]   # nothing is needed now beyond what every environment has")
    return "\n".join(lines) + "\n"


def _new_files(folder: Path) -> dict[str, bytes]:
    dag_id = re.sub(r"[^A-Za-z0-9_-]+", "_", folder.resolve().name).strip("-")[:200] or "hello"
    texts = {"leoflow.yaml": LEOFLOW_YAML, "dag.py": DAG_PY}
    return {name: text.format(dag_id=dag_id).encode() for name, text in texts.items()}


def _example_files(name: str) -> dict[str, bytes]:
    if name not in _example_names():
        raise CommandFailed(
            ExitCode.NOT_FOUND, f"there is no example {name!r}; there are: {', '.join(_example_names()) or 'none'}"
        )
    root = EXAMPLES / name
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def _example_names() -> list[str]:
    if not EXAMPLES.is_dir():
        return []
    return sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
