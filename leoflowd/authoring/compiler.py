"""A project folder -> its DAGs as artifacts. The CLI, the Lite watcher and CI call `compile_project`.

`loader_processes` runs `loader.py` in processes of their own; nothing here imports the file. `project_settings` lays
leoflow.yaml over what the file says. Synchronous on purpose: it works without Trio, and in a worker thread.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from leoflowd.authoring.bundle import bundle_digest
from leoflowd.authoring.errors import DagCompileError
from leoflowd.authoring.loader_processes import Answer, load_twice, odd_answer
from leoflowd.authoring.project import Project, ProjectConfig, airflow_packages, open_project, read_project
from leoflowd.authoring.project_settings import choose, finish
from leoflowd.authoring.reading import check_name, read_file
from leoflowd.authoring.yaml_lines import read_yaml
from leoflowd.contract.dag_spec import SOURCE_MAX, DagSpec, EnvironmentSpec
from leoflowd.contract.loading import EMPTY, Loadable, Read, ReadKind, read_now

__all__ = ["DagCompileError", "compile_project"]

SHIM = Path(__file__).parent / "airflow_shim"
DEFAULT_MEMORY_BYTES = 4 * 1024**3
"""Address space, not resident memory: numeric libraries reserve gigabytes that they never touch."""


def compile_project(
    folder: Path,
    *,
    python: str | None = None,
    dag_id: str | None = None,
    deadline_s: float = 30,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    loadable: Loadable = EMPTY,
) -> tuple[DagSpec, ...]:
    """All DAGs of the project (a folder, or a bare DAG file), sorted by id; `dag_id` picks one of several.

    `python` is the interpreter of the project's environment, by default this one; `loadable` is what `Variable.get` and
    `Connection.get` find while the file is loaded, after its environment, which is ours. Raises `DagCompileError`.
    """
    return compile_opened(
        open_project(folder),
        python=python,
        dag_id=dag_id,
        deadline_s=deadline_s,
        memory_bytes=memory_bytes,
        loadable=loadable,
    )


def compile_opened(
    project: Project,
    *,
    python: str | None = None,
    dag_id: str | None = None,
    deadline_s: float = 30,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    loadable: Loadable = EMPTY,
) -> tuple[DagSpec, ...]:
    """`compile_project` for a project that `discover` has found."""
    check_name(f"{project.folder}/{project.source_path}")
    config = ProjectConfig() if project.single_file else read_project(project.folder)
    source = _read_source(project)
    request = {
        "shim": str(SHIM),
        "folder": str(project.folder),
        "source_path": project.source_path,
        "declarative": _declarative(project, config),
        "packages": airflow_packages(config),
        "memory_bytes": memory_bytes,
        "cpu_s": int(deadline_s) + 5,
        "loadable": msgspec.to_builtins(loadable),
    }
    asked: Sequence[tuple[ReadKind, str]] = ()
    try:
        answer = load_twice(request, python or sys.executable, deadline_s, project)
        asked = answer.reads
        reads = _reads(asked, loadable)
        return _finished(answer, reads, source, config, project, dag_id)
    except DagCompileError as error:
        error.reads = _reads(asked or error.asked, loadable)
        raise


def _reads(asked: Sequence[tuple[ReadKind, str]], loadable: Loadable) -> tuple[Read, ...]:
    return tuple(read_now(kind, key, loadable, os.environ) for kind, key in asked)


def _finished(
    answer: Answer,
    reads: tuple[Read, ...],
    source: str,
    config: ProjectConfig,
    project: Project,
    dag_id: str | None,
) -> tuple[DagSpec, ...]:
    common = {
        "environment": EnvironmentSpec(
            python_version=config.python_version,
            dependencies=config.dependencies,
            connectors=config.connectors,
            system_packages=config.system_packages,
            warm=config.warm,
            preload=tuple(answer.preload),
        ),
        "staging": config.staging,
        "source_path": project.source_path,
        "source": source,
        "bundle_digest": digest_of(project, config),
        "reads": reads,
    }
    try:
        chosen = choose(answer.dags, dag_id, config, project)
        return tuple(finish(raw, config, common, project) for raw in sorted(chosen, key=lambda raw: raw["dag_id"]))
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise odd_answer(project.source_path, f"{type(error).__name__}: {error}") from error


def digest_of(project: Project, config: ProjectConfig) -> str:
    """The digest of the files that a version of this project is made of."""
    return bundle_digest(
        project.folder, config.include_paths, excluded_of(project, config), is_shared=project.single_file
    )


def excluded_of(project: Project, config: ProjectConfig) -> tuple[str, ...]:
    """Patterns: the author's, and the names of neighbours as they are."""
    return (*config.exclude_paths, *map(glob.escape, project.excluded))


def _read_source(project: Project) -> str:
    content = read_file(project.folder / project.source_path, project.source_path, SOURCE_MAX)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DagCompileError(
            project.source_path, 1, "the file is not UTF-8 text", str(error), "save it as UTF-8"
        ) from error


def _declarative(project: Project, config: ProjectConfig) -> tuple[Any, dict[str, int]] | None:
    """`dag.yaml` as data; its id is by default the one of leoflow.yaml, else the folder's name."""
    if not project.source_path.endswith((".yaml", ".yml")):
        return None
    document = read_yaml(project.folder / project.source_path)
    content = document.content
    if isinstance(content, dict) and "dag_id" not in content:
        content = {"dag_id": config.dag_id or project.folder.name, **content}
    return content, document.lines
