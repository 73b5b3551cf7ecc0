"""A project -> its DAGs as artifacts. The CLI, the Lite watcher and CI call `compile_opened`.

What the code imports says which packages it needs (`packages`), and the caller which interpreter has them.
`loader_processes` runs `loader.py` there, in processes of their own; nothing here imports the file. `project_settings`
lays leoflow.yaml over what the file says. Synchronous on purpose: it works without Trio, and in a worker thread.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from leoflowd.authoring.bundle import bundle_digest
from leoflowd.authoring.closure import DBT_PROJECT, Closure, Outside, closure_of, python_files
from leoflowd.authoring.discovery import open_projects
from leoflowd.authoring.errors import DagCompileError, EnvironmentFailed
from leoflowd.authoring.import_names import BASE, PROVIDERS
from leoflowd.authoring.loader_processes import Answer, load_twice, odd_answer
from leoflowd.authoring.missing_values import with_all_missing
from leoflowd.authoring.module_facts import Asked, Import, facts_of, stamp_of
from leoflowd.authoring.packages import PREFIX, Needs, Shim, distributions_of, needs_of, provider_of
from leoflowd.authoring.project import Project, ProjectConfig, airflow_packages, config_of
from leoflowd.authoring.project_settings import choose, finish, no_dag
from leoflowd.authoring.pythons import Choice, Here, choose_python, own_version
from leoflowd.authoring.reading import check_name, read_file
from leoflowd.authoring.requirement_names import name_of
from leoflowd.authoring.requirements import Requirements, read_requirements
from leoflowd.authoring.secret_references import settle
from leoflowd.authoring.yaml_lines import read_yaml
from leoflowd.contract.dag_spec import SOURCE_MAX, DagSpec
from leoflowd.contract.loading import EMPTY, Loadable, Read, ReadKind, read_now

__all__ = ["Compilation", "DagCompileError", "compile_opened", "compile_project"]

SHIM = Path(__file__).parent / "airflow_shim"
DEFAULT_MEMORY_BYTES = 4 * 1024**3
"""Address space, not resident memory: numeric libraries reserve gigabytes that they never touch."""
PLUGINS = "plugins"
MACROS = "macros"
LEFT_ALONE = "defines no DAG: it is left alone, as Airflow does"
"""The end of what is said of a file of a tree."""
LEFT_BY_AIRFLOW = ("*.log", "airflow.db*", "airflow.cfg", "*.pid")
"""What a running Airflow leaves in the folder that it works in."""

MISSING = ("Variable.get(", "the environment variable ")
"""How messages begin that are about a value that nobody has given."""

SDK_IMPORT_S = 60.0
"""How much longer a file may take that Airflow's own packages load: they are imported first."""

FOLDERS = 32
"""Of which it is remembered what their DAG files import."""

PythonFor = Callable[[Needs], str]
"""The interpreter of an environment, which may be built first; raises `EnvironmentFailed`."""


class Loader(StrEnum):
    """What a file is loaded by (ADR 40)."""

    SHIM = "shim"
    """Structure only; no package of Airflow is needed."""
    SDK = "sdk"
    """Airflow's own SDK and packages, in an environment that has them."""


class Compilation(msgspec.Struct, frozen=True, kw_only=True):
    specs: tuple[DagSpec, ...]
    """By id; none for a file of a tree that only looks like a DAG file."""
    needs: Needs
    modules: frozenset[str] | None
    """Of the folder's Python files those that belong to the bundle; None: all."""
    beyond: frozenset[str] = frozenset()
    """Those of them that only loading told of."""
    notes: tuple[str, ...] = ()
    """Sentences for the author, beside those of `needs`."""
    folder_notes: tuple[str, ...] = ()
    """The same for every file of the folder."""
    reads: tuple[Read, ...] = ()
    """What the file read while it was loaded, with what it was given."""


class Job(msgspec.Struct, frozen=True):
    """One project while it is compiled."""

    project: Project
    config: ProjectConfig
    files: frozenset[str]
    """Python files of its folder."""
    code: Closure
    deadline_s: float
    memory_bytes: int
    loadable: Loadable
    asked: list[tuple[ReadKind, str]]
    """What the file asked for while it was loaded, whether that succeeded or not."""
    only: Loader | None = None
    for_pods: bool = False
    here: Here | None = None

    def reads(self) -> tuple[Read, ...]:
        return tuple(read_now(kind, key, self.loadable, os.environ) for kind, key in self.asked)


def compile_project(
    path: Path,
    *,
    python: str | None = None,
    dag_id: str | None = None,
    deadline_s: float = 30,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    loadable: Loadable = EMPTY,
) -> tuple[DagSpec, ...]:
    """All DAGs of a folder or of a DAG file, by project and id; `dag_id` picks one of several.

    `python` is the interpreter that loads them, by default this one; `loadable` is what `Variable.get` and
    `Connection.get` find while they are loaded, after their environment, which is ours. Raises `DagCompileError`.
    """
    projects = open_projects(path)
    specs: list[DagSpec] = []
    for project in projects:
        specs += compile_opened(
            project,
            python=python or sys.executable,
            dag_id=dag_id,
            deadline_s=deadline_s,
            memory_bytes=memory_bytes,
            loadable=loadable,
        ).specs
    if not specs:
        raise no_dag(projects[0])
    return tuple(specs)


def compile_opened(
    project: Project,
    *,
    python: str | None = None,
    python_for: PythonFor | None = None,
    dag_id: str | None = None,
    deadline_s: float = 30,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    loadable: Loadable = EMPTY,
    only: Loader | None = None,
    for_pods: bool = False,
    here: Here | None = None,
) -> Compilation:
    """`compile_project` for a project that `discovery` has found, in this interpreter or in that of its needs.
    `for_pods`: what a cluster would refuse at a launch is refused now, as it is for a project with an `image`. `here`:
    the Pythons to choose from, where the project does not name its own.

    By the shim, and where the file needs more than it models, by Airflow's SDK; `only` by one of the two.

    Raises `DagCompileError`, and whatever `python_for` raises.
    """
    check_name(f"{project.folder}/{project.source_path}")
    config = config_of(project)
    source = _read_source(project)
    files = python_files(project.folder, excluded_of(project, config))
    code = code_of(project, config, files)
    job = Job(project, config, files, code, deadline_s, memory_bytes, loadable, [], only, for_pods, here)
    try:
        return _compiled(job, source, dag_id, python_for or (lambda _: python or sys.executable))
    except DagCompileError as error:
        error.reads = job.reads()
        if error.what.startswith(MISSING):
            with_all_missing(error, _asked_in(job), loadable, os.environ)
        raise


def _compiled(job: Job, source: str, dag_id: str | None, python_for: PythonFor) -> Compilation:
    project, config = job.project, job.config
    requirements = read_requirements(project.folder, project.base, in_tree=project.in_tree)
    needs, answer, notes, apart = _load(job, requirements, python_for)
    folder_notes = (*requirements.notes, *_plugin_notes(project), *apart)
    if not answer.dags and project.in_tree:
        notes = (*notes, f"{project.source_path} {LEFT_ALONE}")
        return Compilation(
            specs=(), needs=needs, modules=None, notes=notes, folder_notes=folder_notes, reads=job.reads()
        )
    modules, beyond = _modules(job, answer)
    common = {
        "environment": msgspec.structs.replace(needs.environment, preload=tuple(answer.preload)),
        "loaded_by": (Loader.SDK if answer.by_sdk else Loader.SHIM).value,
        "staging": config.staging,
        "image": config.image or "",
        "source_path": project.source_path,
        "import_paths": project.import_paths,
        "source": source,
        "bundle_digest": digest_of(project, config, modules),
        "reads": job.reads(),
    }
    try:
        chosen = choose(answer.dags, dag_id, config, project)
        chosen = sorted(chosen, key=lambda raw: raw["dag_id"])
        specs = tuple(finish(raw, config, common, project, for_pods=job.for_pods) for raw in chosen)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise odd_answer(project.source_path, f"{type(error).__name__}: {error}") from error
    return Compilation(
        specs=specs,
        needs=needs,
        modules=modules,
        beyond=beyond,
        notes=notes,
        folder_notes=folder_notes,
        reads=job.reads(),
    )


def _plugin_notes(project: Project) -> list[str]:
    plugins = project.folder / project.base / PLUGINS
    files = [plugins / name for name in sorted(python_files(plugins, ()))] if project.in_tree else ()
    unused = {file: facts_of(file).registers - {MACROS} for file in files}
    return [
        f"{file.relative_to(project.folder)}: its AirflowPlugin registers {', '.join(sorted(names))}, which has no "
        "effect here; its macros are there, and it can be imported"
        for file, names in unused.items()
        if names
    ]


# --- what it needs -----------------------------------------------------------------------------------------------


def code_of(project: Project, config: ProjectConfig, files: frozenset[str]) -> Closure:
    """The Python files that the project is made of, of the `files` there are, and what they import from outside."""
    # a declarative DAG names functions of any file beside it
    sources = sorted(files) if _is_declarative(project) else [project.source_path]
    if config.dbt:
        sources = []  # dbt runs what is there
    return closure_of(
        sources,
        files,
        project.import_paths or (".",),
        lambda path: facts_of(project.folder / path),
        for_tasks=plugins_with_macros(project, files),
        dbt_projects=_dbt_projects(project.folder, files),
    )


def _dbt_projects(folder: Path, files: Iterable[str]) -> list[str]:
    """Folders of the tree that are some and have Python files."""
    around = {parent.as_posix() for file in files for parent in PurePosixPath(file).parents}
    return [f"{name}/" if name != "." else "" for name in around if (folder / name / DBT_PROJECT).is_file()]


def plugins_with_macros(project: Project, files: Iterable[str]) -> list[str]:
    """Of the files of a tree: any template may use what they register."""
    folders = tuple(f"{path}/" for path in project.import_paths if path.rpartition("/")[2] == PLUGINS)
    return [one for one in files if one.startswith(folders) and MACROS in facts_of(project.folder / one).registers]


def _asked_in(job: Job) -> list[tuple[str, Asked]]:
    """What the files that loading runs ask for, by their paths."""
    paths = sorted(job.code.modules)
    return [(path, one) for path in paths for one in facts_of(job.project.folder / path).asks]


def static_needs(project: Project) -> Needs:
    """By its text alone: nothing is loaded. Raises `DagCompileError`."""
    config = config_of(project)
    files = python_files(project.folder, excluded_of(project, config))
    requirements = read_requirements(project.folder, project.base, in_tree=project.in_tree)
    return needs_of(code_of(project, config, files).outside, config, requirements, shim_tables())


def _of_neighbours(job: Job) -> tuple[Outside, ...]:
    """What the DAG files of the folder import from outside, this one's first."""
    project = job.project
    if len(project.neighbours) < 2:
        return ()
    stamps = tuple((file, stamp_of(project.folder / file)) for file in sorted(job.files))
    return _outside_of(project.folder, project.neighbours, project.import_paths or (".",), stamps)


@lru_cache(maxsize=FOLDERS)
def _outside_of(
    folder: Path,
    sources: tuple[str, ...],
    import_paths: tuple[str, ...],
    stamps: tuple[tuple[str, tuple[int, int] | None], ...],
) -> tuple[Outside, ...]:
    """Once for all DAG files of a folder, until one of its `stamps` is another."""
    files = [file for file, _ in stamps]
    return closure_of(sources, files, import_paths, lambda path: facts_of(folder / path)).outside


def _load(
    job: Job, requirements: Requirements, python_for: PythonFor
) -> tuple[Needs, Answer, tuple[str, ...], tuple[str, ...]]:
    """Load the file where it finds what it needs, once more for each package that only loading shows to be needed.

    In the environment that the folder shares; in one of its own where that cannot be built; with our Python where it
    cannot be built with the one that the folder names. That one package excludes another is known when the installer
    has tried: pins of requirements.txt are everybody's, what is inferred has none.
    Gives what it needs, the answer, notes on this file, and notes on the folder.
    """
    neighbours = _of_neighbours(job)
    outside = list(job.code.outside)
    found: dict[str, str] = {}
    python = _python_of(job)
    config = job.config
    if python.version is not None:
        config = msgspec.structs.replace(config, python_version=python.version)
    apart: tuple[str, ...] = (python.folder_note,) if python.folder_note else ()
    while True:
        needs = needs_of(outside, config, requirements, shim_tables(), found, neighbours=neighbours)
        if needs.unknown:
            first, *others = needs.unknown
            raise first.with_others(others)
        if job.config.dbt:  # it is asked what the tasks are
            needs = msgspec.structs.replace(needs, modules=needs.modules | {"dbt"})
        try:
            answer, notes = _load_with(needs, job, python_for, found)
            return needs, answer, (*filter(None, [python.note]), *found.values(), *notes), apart
        except EnvironmentFailed as error:
            why = error.__cause__ or error
            if needs.alone is not None:
                neighbours = ()
                apart = (*apart, f"its DAG files cannot share one environment, each gets its own: {why}")
            elif python.is_said and config is not job.config:
                config, neighbours = job.config, _of_neighbours(job)
                apart = (
                    f"{python.folder_note}; its packages cannot be had there, and {own_version()} is taken: {why}",
                )
            else:
                raise
        except DagCompileError as error:
            if _is_undeclared(error, needs):
                outside.append(Outside(error.path, Import(error.module, (), 0, error.line, "load")))
            elif name := _missing_provider(error, found):
                found[name] = f"apache-airflow-providers-{name}, because {error.path}:{error.line}: {error.what}"
            else:
                raise


def _python_of(job: Job) -> Choice:
    project = job.project
    if job.config.python_version is not None or job.here is None:
        return Choice(None)
    return choose_python(project, job.code.modules, job.here)


def _missing_provider(error: DagCompileError, found: Container[str]) -> str:
    """That would help, and has not been taken in yet: the file's own, or one that another imports without bringing it.
    Empty when there is none."""
    name = error.connector.replace(".", "-") or (provider_of(error.module) if error.module.startswith(PREFIX) else "")
    return name if name and name in PROVIDERS and name not in found else ""


def _is_undeclared(error: DagCompileError, needs: Needs) -> bool:
    """A package imports what it does not bring; what files of the project import is asked for already."""
    top = error.module.partition(".")[0]
    brings = {name_of(one) for one in distributions_of(error.module) or ()}
    return (
        bool(brings)
        and top not in needs.modules | BASE.keys()
        and brings.isdisjoint(map(name_of, needs.environment.dependencies))
    )


def _load_with(needs: Needs, job: Job, python_for: PythonFor, found: Container[str]) -> tuple[Answer, tuple[str, ...]]:
    """By the shim; by Airflow's SDK, with a note, when the shim is not enough."""
    loader = job.only or Loader.SHIM
    python = _with_airflow(needs, python_for) if loader is Loader.SDK else python_for(needs)
    try:
        return _load_in(python, job, needs, loader), ()
    except DagCompileError as error:
        if _is_undeclared(error, needs) or _missing_provider(error, found):
            raise
        refused = _about_missing(error, needs, python)
        is_code = not _is_declarative(job.project)
        if not (error.needs_more and is_code and airflow_packages(needs.environment)) or job.only:
            raise refused from error
        answer = _load_by_sdk(job, needs, python_for, refused)
        return answer, (f"loaded by Airflow's own packages, because {error.path}:{error.line}: {error.what}",)


def _load_by_sdk(job: Job, needs: Needs, python_for: PythonFor, refused: DagCompileError) -> Answer:
    """Raises `refused` where there is no Airflow; what Airflow refuses as well, or that it cannot be had, with both
    reasons."""
    try:
        python = _with_airflow(needs, python_for)
    except EnvironmentFailed as error:
        why = "Airflow's own packages may load it, but their environment cannot be built"
        raise EnvironmentFailed(f"{refused}\n{why}: {error}") from error
    try:
        return _load_in(python, job, needs, Loader.SDK)
    except DagCompileError as error:
        if error.module in ("airflow", "airflow.sdk") or _says_no_more(error, refused):
            raise refused from error
        if str(error) != str(refused):
            error.others = (*error.others, refused)
        raise


def _says_no_more(error: DagCompileError, refused: DagCompileError) -> bool:
    """The same line has the same remedy, or is an import that fails for both: the shim's words are the better ones."""
    is_import = error.what.startswith("loading it raised ImportError")
    at_one_place = (error.path, error.line) == (refused.path, refused.line)
    return at_one_place and (is_import or error.remedy == refused.remedy)


def _with_airflow(needs: Needs, python_for: PythonFor) -> str:
    """The interpreter of an environment that has all packages, though loading by the shim would need none of them."""
    return python_for(msgspec.structs.replace(needs, modules=needs.modules | {"airflow"}))


def _load_in(python: str, job: Job, needs: Needs, loader: Loader) -> Answer:
    project = job.project
    by_sdk = loader is Loader.SDK
    deadline_s = job.deadline_s + (SDK_IMPORT_S if by_sdk or "dbt" in needs.modules else 0)
    request = {
        "shim": str(SHIM),
        "sdk": by_sdk,
        "folder": str(project.folder),
        "source_path": project.source_path,
        "import_paths": project.import_paths,
        "declarative": _declarative(project, job.config),
        "packages": airflow_packages(needs.environment),
        "memory_bytes": job.memory_bytes,
        "cpu_s": int(deadline_s) + 5,
        "loadable": msgspec.to_builtins(job.loadable),
        "now": datetime.now(UTC).isoformat(),
    }
    try:
        answer = load_twice(request, python, deadline_s, project)
    except DagCompileError as error:
        job.asked[:] = error.asked
        raise
    job.asked[:] = answer.reads
    settle(answer.dags, answer.references, project.folder)
    answer.by_sdk = by_sdk
    return answer


def _about_missing(error: DagCompileError, needs: Needs, python: str) -> DagCompileError:
    """A module whose package the environment is asked for already needs another remedy than to ask for it."""
    top = error.module.partition(".")[0]
    brings = {name_of(one) for one in distributions_of(error.module) or (top,)}
    named = [text for text in needs.environment.dependencies if name_of(text) in brings]
    if not top or not (named or top in BASE):
        return error
    return DagCompileError(
        error.path,
        error.line,
        error.what,
        f"{python} does not have it, although the environment is to have {', '.join(named) or top}",
        "leave out --python, so that the DAG's own environment is built and used, or install it there",
    )


@lru_cache(maxsize=1)
def shim_tables() -> Shim:
    """The shim is no package of this process; these modules of it are data, and import the standard library only."""
    names = _module_of_shim("names").MODULES
    moved = _module_of_shim("moved")

    def today(module: str, name: str) -> tuple[str, str]:
        found = moved.resolve(module, name)
        return (module, name) if found is None else (found.module, found.name)

    return Shim(names, today, moved.modules_of)


def _module_of_shim(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"_leoflow_{name}", SHIM / "airflow" / "_leoflow" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- which files it is made of -----------------------------------------------------------------------------------


def _modules(job: Job, answer: Answer) -> tuple[frozenset[str] | None, frozenset[str]]:
    """A project of its own has all of its folder; a file of a tree what it imports, and what loading it imported."""
    if not job.project.in_tree or job.code.is_whole:
        return None, frozenset()
    beyond = frozenset(answer.modules) - job.code.modules
    return job.code.modules | beyond, beyond


def digest_of(project: Project, config: ProjectConfig, modules: frozenset[str] | None) -> str:
    """The digest of the files that a version of this project is made of."""
    return bundle_digest(
        project.folder,
        config.include_paths,
        excluded_of(project, config),
        is_shared=project.in_tree,
        modules=modules,
    )


def excluded_of(project: Project, config: ProjectConfig) -> tuple[str, ...]:
    """Patterns: the author's, and the names of neighbours as they are."""
    left: tuple[str, ...] = LEFT_BY_AIRFLOW if project.in_tree else ()
    return (*config.exclude_paths, *map(glob.escape, project.excluded), *left)


def _read_source(project: Project) -> str:
    content = read_file(project.folder / project.source_path, project.source_path, SOURCE_MAX)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DagCompileError(
            project.source_path, 1, "the file is not UTF-8 text", str(error), "save it as UTF-8"
        ) from error


def _is_declarative(project: Project) -> bool:
    return project.source_path.endswith((".yaml", ".yml"))


def _declarative(project: Project, config: ProjectConfig) -> tuple[Any, Mapping[str, int]] | None:
    """`dag.yaml` as data; its id is by default the one of leoflow.yaml, else the folder's name."""
    if not _is_declarative(project):
        return None
    document = read_yaml(project.folder / project.source_path)
    content = document.content
    if isinstance(content, dict) and "dag_id" not in content:
        content = {"dag_id": config.dag_id or project.folder.name, **content}
    return content, document.lines
